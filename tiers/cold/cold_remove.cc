// SPDX-License-Identifier: Apache-2.0
// lookup, remove, annotate.
#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "tiers/cold/cold_tier_impl.h"

namespace cairn::tiers {
namespace {

/// Evicting a block that is its own version costs nothing if it comes back: no tombstone. All
/// else must stay away, also after the index was made again from the segments.
bool needs_tombstone(RemovalReason reason, NamespaceKind kind) {
#if defined(CAIRN_PLANTED_ERASED_RESURRECTED)
  static_cast<void>(reason);
  static_cast<void>(kind);
  return false;
#else
  return reason != RemovalReason::evicted || kind == NamespaceKind::mutable_;
#endif
}

void count_removal(RemovalReason reason, CounterDelta& delta) {
  switch (reason) {
    case RemovalReason::evicted:
      delta.evicted += 1;
      return;
    case RemovalReason::erased:
      delta.erased += 1;
      return;
    case RemovalReason::expired:
      delta.expired += 1;
      return;
    case RemovalReason::overwritten:
    case RemovalReason::corrupt:
      return;
  }
  CAIRN_UNREACHABLE();
}

}  // namespace

struct ColdTier::RemoveJob {
  struct Item final : IndexWork {
    RemoveJob* job = nullptr;
    Removal* removal = nullptr;
    NamespaceFacts facts;
    std::uint64_t sequence = 0;  // what dies: this and older
    bool has_tombstone = false;
    Append append;
    absl::Status status;
    bool is_wanted = false;
    bool is_appended = false;
    bool turned_out_to_need_one = false;  // an eviction of a block that follows a tombstone

    Verdict decide(const std::optional<IndexEntry>& existing, IndexEntry& entry,
                   CounterDelta& delta) override;
    void finished(const absl::Status& result) override {
      status = result;
      if (--job->left > 0) return;
      const auto go_on = std::move(job->when_removed);  // keeps the job: it may end meanwhile
      go_on();
    }
  };
  std::vector<Item> items;
  std::size_t left = 0;
  std::function<void()> when_removed;
  Done done;
};

struct ColdTier::NoteJob {
  struct Item final : IndexWork {
    NoteJob* job = nullptr;
    Note* note = nullptr;
    Append append;
    absl::Status status;
    bool is_appended = false;

    Verdict decide(const std::optional<IndexEntry>& existing, IndexEntry& entry,
                   CounterDelta& delta) override {
      static_cast<void>(delta);
      if (!existing || existing->tombstone || existing->facts.sequence != note->sequence) {
        status = make_error(ErrorCode::not_found, "that version is not stored");
        return Verdict::leave;
      }
      entry = *existing;
      if (note->expiry) entry.facts.expiry = *note->expiry;
      if (note->pinned) entry.facts.pinned = *note->pinned;
      return Verdict::put;
    }
    void finished(const absl::Status& result) override {
      if (status.ok()) status = result;
      if (--job->left > 0) return;
      const auto go_on = std::move(job->when_noted);
      go_on();
    }
  };
  std::vector<Item> items;
  std::size_t left = 0;
  std::function<void()> when_noted;
  Done done;
};

void ColdTier::lookup(std::span<StoredLookup> batch, Done done) {
  if (!begin_operation()) {
    for (StoredLookup& wanted : batch)
      wanted.status = make_error(ErrorCode::closed, "the store is closing");
    done();
    return;
  }
  core_.index_loop.post([this, batch, done = std::move(done)]() mutable {
    std::vector<BlockName> names;
    for (const StoredLookup& wanted : batch) names.push_back(wanted.name);
    const auto found = core_.index->get_batch(names);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      batch[i].found.reset();
      batch[i].status = found[i].status();
      NamespaceFacts facts;
      if (!found[i].ok() || !*found[i] || !core_.namespaces.find(names[i].namespace_id, facts))
        continue;
      const IndexEntry& entry = **found[i];
      if (entry.tombstone || entry.epoch != facts.epoch) continue;
      batch[i].found = StoredBlock{.name = names[i],
                                   .id = entry.id,
                                   .facts = entry.facts,
                                   .location = entry.location,
                                   .stored_bytes = entry.stored_bytes,
                                   .heat = entry.heat};
    }
    std::exchange(done, nullptr)();  // what it owns is gone before close() returns
    end_operation();
  });
}

void ColdTier::remove(std::span<Removal> batch, Durability durability, Done done) {
  auto job = std::make_shared<RemoveJob>();
  job->items = std::vector<RemoveJob::Item>(batch.size());
  job->done = std::move(done);
  const absl::Status refused = refusal();
  if (!refused.ok() || !begin_operation()) {
    const absl::Status status =
        refused.ok() ? make_error(ErrorCode::closed, "the store is closing") : refused;
    for (Removal& removal : batch) removal.status = status;
    job->done();
    return;
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    RemoveJob::Item& item = job->items[i];
    item.job = job.get();
    item.removal = &batch[i];
    item.name = batch[i].name;
    item.sync_wanted = durability == Durability::durable;
    // In a namespace that does not exist nothing is stored.
    if (!is_valid_key(item.name.key) || !core_.namespaces.find(item.name.namespace_id, item.facts))
      continue;
    item.is_wanted = true;
    // "Every version" must not bury those that are yet to come.
    item.sequence = std::min(batch[i].sequence, core_.next_sequence.load() - 1);
    item.has_tombstone = needs_tombstone(batch[i].reason, item.facts.kind);
  }
  core_.io_loop.post([this, job] { bury(job); });
}

/// I/O loop: appends the tombstones that are not in the stream yet, then tells the index.
void ColdTier::bury(const std::shared_ptr<RemoveJob>& job) {
  std::vector<Append*> appends;
  for (RemoveJob::Item& item : job->items) {
    if (!item.is_wanted || !item.has_tombstone) continue;
    RecordFields& fields = item.append.fields;
    fields.kind = RecordKind::tombstone;
    fields.sequence = item.sequence;
    fields.plain_sum = next_sequence();  // its stamp: see cleaner.h
    fields.namespace_id = item.name.namespace_id;
    fields.epoch = item.facts.epoch;
    fields.part = item.name.part;
    fields.key = item.name.key;
    item.append.is_urgent = true;
    item.append.sync_wanted = true;  // before it takes the place of what it buries
    item.append.done = [this, job](Append&) {
      if (--job->left == 0) buried(job);
    };
    appends.push_back(&item.append);
  }
  touched_ = true;
  job->left = appends.size() + 1;
  if (!appends.empty()) log_.append(Stream::user, appends);
  if (--job->left == 0) buried(job);
}

/// I/O loop: the tombstones are in the stream.
void ColdTier::buried(const std::shared_ptr<RemoveJob>& job) {
  std::vector<IndexWork*> works;
  for (RemoveJob::Item& item : job->items) {
    if (!item.is_wanted) continue;
    if (item.has_tombstone) {
      item.status = item.append.status;
      item.is_appended = item.status.ok();
      if (!item.is_appended) continue;
    }
    works.push_back(&item);
  }
  job->left = works.size();
  job->when_removed = [this, job] { core_.io_loop.post([this, job] { removed(job); }); };
  if (works.empty()) {
    const auto go_on = std::move(job->when_removed);
    go_on();
  } else {
    index_queue_.post(works);
  }
}

/// I/O loop: the index has answered. Evictions that need a tombstone after all go round again.
void ColdTier::removed(const std::shared_ptr<RemoveJob>& job) {
  bool again = false;
  touched_ = true;  // once more: a sync may have come while they were on their way
  for (RemoveJob::Item& item : job->items) {
    if (item.is_appended) settle(item.append);
    item.is_appended = false;
    item.has_tombstone = item.turned_out_to_need_one && item.status.ok();
    item.turned_out_to_need_one = false;
    item.is_wanted = item.has_tombstone;
    again = again || item.is_wanted;
  }
  if (again) {
    bury(job);
    return;
  }
  for (RemoveJob::Item& item : job->items) item.removal->status = item.status;
  std::exchange(job->done, nullptr)();
  // What died may make a segment worth cleaning for those who wait.
  if (log_.is_starved()) log_.retry();
  end_operation();
}

Verdict ColdTier::RemoveJob::Item::decide(const std::optional<IndexEntry>& existing,
                                          IndexEntry& entry, CounterDelta& delta) {
  const bool is_known = existing && existing->epoch == facts.epoch;
  // What is newer, and what was stored after a clear that this removal has not seen, also where the
  // number is lower: such a put drew its own early. A repair would leave both alone, too.
  if (existing && (existing->facts.sequence > sequence || existing->epoch > facts.epoch)) {
    return Verdict::leave;
  }
  const bool was_block = is_known && !existing->tombstone;
#if !defined(CAIRN_PLANTED_ERASED_RESURRECTED)
  if (was_block && existing->follows_tombstone && !has_tombstone) {
    turned_out_to_need_one = true;
    return Verdict::leave;
  }
#endif
  if (was_block) count_removal(removal->reason, delta);
  if (!has_tombstone) return was_block ? Verdict::erase : Verdict::leave;
  entry.location = append.location();
  entry.stored_bytes = static_cast<std::uint32_t>(append.place.record_bytes);
  entry.epoch = facts.epoch;
  entry.facts.sequence = sequence;
  entry.facts.plain_sum = append.fields.plain_sum;
  entry.tombstone = true;
  return Verdict::put;
}

void ColdTier::annotate(std::span<Note> batch, Durability durability, Done done) {
  auto job = std::make_shared<NoteJob>();
  job->items = std::vector<NoteJob::Item>(batch.size());
  job->done = std::move(done);
  const absl::Status refused = refusal();
  if (!refused.ok() || !begin_operation()) {
    const absl::Status status =
        refused.ok() ? make_error(ErrorCode::closed, "the store is closing") : refused;
    for (Note& note : batch) note.status = status;
    job->done();
    return;
  }
  // The record says all that a note can say, so what is not changed is read first.
  core_.index_loop.post([this, job, batch, durability] {
    for (std::size_t i = 0; i < batch.size(); ++i) {
      NoteJob::Item& item = job->items[i];
      item.job = job.get();
      item.note = &batch[i];
      item.name = batch[i].name;
      item.sync_wanted = item.append.sync_wanted = durability == Durability::durable;
      const auto found = core_.index->get(item.name);
      NamespaceFacts facts;
      if (!found.ok()) {
        item.status = found.status();
        continue;
      }
      if (!*found || (*found)->tombstone || (*found)->facts.sequence != batch[i].sequence ||
          !core_.namespaces.find(item.name.namespace_id, facts) || (*found)->epoch != facts.epoch) {
        item.status = make_error(ErrorCode::not_found, "that version is not stored");
        continue;
      }
      RecordFields& fields = item.append.fields;
      fields.kind = RecordKind::note;
      fields.sequence = batch[i].sequence;
      fields.note_sequence = next_sequence();
      fields.namespace_id = item.name.namespace_id;
      fields.epoch = facts.epoch;
      fields.part = item.name.part;
      fields.key = item.name.key;
      fields.expiry = batch[i].expiry.value_or((*found)->facts.expiry);
      fields.pinned = batch[i].pinned.value_or((*found)->facts.pinned);
      item.append.is_urgent = true;
    }
    core_.io_loop.post([this, job] {
      std::vector<Append*> appends;
      for (NoteJob::Item& item : job->items) {
        if (!item.status.ok()) continue;
        appends.push_back(&item.append);
        item.append.done = [this, job](Append&) {
          if (--job->left == 0) noted(job);
        };
      }
      touched_ = true;
      job->left = appends.size() + 1;
      if (!appends.empty()) log_.append(Stream::user, appends);
      if (--job->left == 0) noted(job);
    });
  });
}

/// I/O loop: the notes are in the stream.
void ColdTier::noted(const std::shared_ptr<NoteJob>& job) {
  std::vector<IndexWork*> works;
  for (NoteJob::Item& item : job->items) {
    if (!item.status.ok()) continue;
    item.status = item.append.status;
    item.is_appended = item.status.ok();
    if (item.is_appended) works.push_back(&item);
  }
  job->left = works.size();
  job->when_noted = [this, job] {
    core_.io_loop.post([this, job] {
      touched_ = true;  // as in removed()
      for (NoteJob::Item& item : job->items) {
        if (item.is_appended) settle(item.append);
        item.note->status = item.status;
      }
      std::exchange(job->done, nullptr)();
      end_operation();
    });
  };
  if (works.empty()) {
    const auto go_on = std::move(job->when_noted);
    go_on();
  } else {
    index_queue_.post(works);
  }
}

/// The cleaner met blocks that fail their checks: they go as if someone had read them.
void ColdTier::drop_corrupt(std::vector<Cleaner::CorruptBlock> blocks, std::function<void()> done) {
  struct Batch {
    std::vector<Cleaner::CorruptBlock> blocks;
    std::vector<Removal> removals;
  };
  auto batch = std::make_shared<Batch>();
  batch->blocks = std::move(blocks);
  for (const Cleaner::CorruptBlock& block : batch->blocks) {
    batch->removals.push_back({.name = {block.namespace_id, block.key, block.part},
                               .sequence = block.sequence,
                               .reason = RemovalReason::corrupt,
                               .status = {}});
  }
  remove(batch->removals, Durability::written, [this, batch, done = std::move(done)] {
    Removed gone;
    {
      MutexLock lock(mutex_);
      gone = removed_;
    }
    // Before the cleaner goes on: it frees the segment, and the location may come again.
    for (std::size_t i = 0; gone && i < batch->blocks.size(); ++i) {
      if (batch->removals[i].status.ok())
        gone(batch->blocks[i].id, batch->blocks[i].sequence, batch->blocks[i].location);
    }
    core_.io_loop.post([batch, done] { done(); });
  });
}

}  // namespace cairn::tiers
