// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/index_queue.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/base/check.h"
#include "tiers/cold/index_codec.h"
#include "tiers/cold/location.h"

namespace cairn::tiers {
namespace {

constexpr Duration kRowsRetry = Duration::seconds(1);

std::int64_t bytes_at(Location location) {
  return static_cast<std::int64_t>(unpack_location(location).record_bytes);
}

/// Adds up what comes and goes, so that a group costs one message.
class Balance {
 public:
  void add(const BlockName& name, const IndexEntry& entry, std::int64_t sign) {
    live_[unpack_location(entry.location).segment] += sign * bytes_at(entry.location);
    blocks_ += entry.tombstone ? 0 : sign;
    entry_bytes_ += sign * static_cast<std::int64_t>(index_entry_cost(name.key.size()));
  }
  void publish(Space& space) const { space.count_entry(blocks_, entry_bytes_); }
  std::vector<LiveChange> live() const {
    std::vector<LiveChange> out;
    for (const auto& [segment, bytes] : live_) {
      if (bytes != 0) out.push_back({segment, bytes});
    }
    return out;
  }

 private:
  absl::flat_hash_map<SegmentId, std::int64_t> live_;
  std::int64_t blocks_ = 0, entry_bytes_ = 0;
};

}  // namespace

IndexQueue::IndexQueue(ColdCore& core, Space& space, Hooks hooks)
    : core_(core), space_(space), hooks_(std::move(hooks)) {}

IndexQueue::~IndexQueue() {
  MutexLock lock(mutex_);
  CAIRN_CHECK(works_.empty() && syncs_.empty());
}

void IndexQueue::post(IndexWork& work) {
  IndexWork* one = &work;
  post(std::span<IndexWork* const>(&one, 1));
}

void IndexQueue::post(std::span<IndexWork* const> works) {
  {
    MutexLock lock(mutex_);
    works_.insert(works_.end(), works.begin(), works.end());
  }
  schedule();
}

void IndexQueue::post_row(const SegmentRow& row) {
  {
    MutexLock lock(mutex_);
    rows_.push_back(row);
  }
  schedule();
}

void IndexQueue::post_counters(const CounterDelta& delta) {
  {
    MutexLock lock(mutex_);
    counters_ += delta;
  }
  schedule();
}

void IndexQueue::post_sync(std::function<void(absl::Status)> done) {
  {
    MutexLock lock(mutex_);
    syncs_.push_back(std::move(done));
  }
  schedule();
}

void IndexQueue::schedule() {
  CAIRN_CHECK(!core_.read_only);  // whoever comes this far would write
  {
    MutexLock lock(mutex_);
    if (scheduled_) return;
    scheduled_ = true;
  }
  core_.index_loop.post([this] { run(); });
}

void IndexQueue::run() {
  std::vector<IndexWork*> works;
  std::vector<SegmentRow> rows;
  CounterDelta counters;
  std::vector<std::function<void(absl::Status)>> syncs;
  {
    MutexLock lock(mutex_);
    scheduled_ = false;
    works.swap(works_);
    rows.swap(rows_);
    std::swap(counters, counters_);
    syncs.swap(syncs_);
  }
  if (const absl::Status told = write_rows(std::move(rows), counters); !told.ok()) {
    for (IndexWork* work : works) work->finished(told);
    works.clear();
  }
  // Those who need no sync need not wait for the others' one.
  std::vector<IndexWork*> plain, synced;
  for (IndexWork* work : works) (work->sync_wanted ? synced : plain).push_back(work);
  if (!plain.empty()) run_group(plain, false);
  if (!synced.empty()) {
#if defined(CAIRN_PLANTED_INDEX_SYNC_SKIPPED)
    run_group(synced, false);
#else
    run_group(synced, true);
#endif
  }
  if (syncs.empty()) return;
  const absl::Status status = core_.index->sync();
  if (!status.ok()) core_.writes.turn_off(std::string(message_of(status)));
  for (auto& done : syncs) done(status);
}

/// Whatever is not written goes back to the front. An error means that rows wait.
absl::Status IndexQueue::write_rows(std::vector<SegmentRow> rows, const CounterDelta& counters) {
  if (rows.empty() && counters == CounterDelta{}) return absl::OkStatus();
  absl::Status status = core_.index->write({}, rows, counters, false);
  if (status.ok()) return status;
  if (!has_code(status, ErrorCode::no_space)) {
    core_.writes.turn_off(std::string(message_of(status)));
  }
  bool arm = false;
  {
    MutexLock lock(mutex_);
    counters_ += counters;
    // Of each segment the newest, so that what waits is bounded by the segments there are.
    for (SegmentRow& row : rows_) rows.push_back(row);
    rows_.clear();
    absl::flat_hash_set<SegmentId> newer;
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
      if (newer.insert(row->segment).second) rows_.push_back(*row);
    }
    arm = !rows_.empty() && !retry_armed_ && !core_.writes.is_off();
    retry_armed_ = retry_armed_ || arm;
    if (rows_.empty()) return absl::OkStatus();
  }
  if (!arm) return status;
  // Marks of poison and quarantine must not wait for somebody to put something.
  core_.io_loop.run_at(core_.clock.now() + kRowsRetry, [this, alive = core_.alive] {
    if (!*alive) return;
    {
      MutexLock lock(mutex_);
      retry_armed_ = false;
      if (rows_.empty()) return;
    }
    if (!core_.writes.is_off()) schedule();
  });
  return status;
}

CounterDelta IndexQueue::abandon_rows() {
  MutexLock lock(mutex_);
  rows_.clear();
  return std::exchange(counters_, CounterDelta{});
}

void IndexQueue::run_group(std::span<IndexWork* const> works, bool sync) {
  std::vector<BlockName> names;
  names.reserve(works.size());
  for (const IndexWork* work : works) names.push_back(work->name);
  std::vector<absl::StatusOr<std::optional<IndexEntry>>> found;
  if (!names.empty()) found = core_.index->get_batch(names);

  // What earlier works of this group have made of a name; by index into `changes`.
  absl::flat_hash_map<std::string, std::size_t> earlier;
  std::vector<IndexChange> changes;
  std::vector<absl::Status> refused(works.size());
  CounterDelta delta;
  Balance balance;
  for (std::size_t i = 0; i < works.size(); ++i) {
    if (!found[i].ok()) {
      refused[i] = found[i].status();
      continue;
    }
    std::string key = index_key(works[i]->name);
    const auto before = earlier.find(key);
    const std::optional<IndexEntry> existing =
        before == earlier.end() ? *found[i] : changes[before->second].put;
    IndexEntry entry;
    const Verdict verdict = works[i]->decide(existing, entry, delta);
    if (verdict == Verdict::leave || (verdict == Verdict::erase && !existing)) continue;
    if (is_counted(works[i]->name)) {
      if (existing) balance.add(works[i]->name, *existing, -1);
      if (verdict == Verdict::put) balance.add(works[i]->name, entry, 1);
    }
    const std::optional<IndexEntry> put =
        verdict == Verdict::put ? std::optional(entry) : std::nullopt;
    if (before != earlier.end()) {
      changes[before->second].put = put;
    } else {
      earlier.emplace(std::move(key), changes.size());
      changes.push_back({works[i]->name, put});
    }
  }

  absl::Status status;
  if (!changes.empty() || delta != CounterDelta{}) {
    status = core_.index->write(changes, {}, delta, sync);
  } else if (sync) {
    status = core_.index->sync();
  }
  if (status.ok()) {
    balance.publish(space_);
    std::vector<LiveChange> live = balance.live();
    if (!live.empty()) hooks_.live_changed(std::move(live));
  } else if (!has_code(status, ErrorCode::no_space)) {
    core_.writes.turn_off(std::string(message_of(status)));
  }
  for (std::size_t i = 0; i < works.size(); ++i) {
    works[i]->finished(status.ok() ? refused[i] : status);
  }
}

void IndexQueue::start_counting() {
  counting_ = true;
  counted_to_.clear();
}

bool IndexQueue::is_counted(const BlockName& name) const {
  return !counting_ || (!counted_to_.empty() && index_key(name) <= counted_to_);
}

absl::StatusOr<bool> IndexQueue::count_some(std::size_t limit) {
  Balance balance;
  std::vector<std::string> dead_keys;  // of epochs that a clear has ended
  std::vector<BlockName> dead;
  std::string cursor = counted_to_;
  const absl::Status status =
      core_.index->scan(cursor, limit, [&](const BlockName& name, const IndexEntry& entry) {
        NamespaceFacts facts;
        if (core_.namespaces.find(name.namespace_id, facts) && entry.epoch < facts.epoch) {
          dead_keys.emplace_back(name.key);
          dead.push_back(name);
        } else {
          balance.add(name, entry, 1);
        }
      });
  CAIRN_RETURN_IF_ERROR(status);
  std::vector<IndexChange> changes;
  for (std::size_t i = 0; i < dead.size(); ++i) {
    dead[i].key = dead_keys[i];
    changes.push_back({dead[i], std::nullopt});
  }
  if (!changes.empty() && !core_.read_only) {
    CAIRN_RETURN_IF_ERROR(core_.index->write(changes, {}, {}, false));
  }
  counted_to_ = cursor;
  counting_ = !cursor.empty();
  balance.publish(space_);
  hooks_.live_changed(balance.live());
  return cursor.empty();
}

absl::StatusOr<bool> IndexQueue::purge_some(NamespaceId id, std::uint32_t epoch,
                                            std::string& cursor, std::size_t limit) {
  if (cursor.empty()) cursor = index_namespace_begin(static_cast<std::uint32_t>(id));
  Balance balance;
  bool left_namespace = false;
  std::vector<std::pair<std::string, Part>> names;
  CAIRN_RETURN_IF_ERROR(
      core_.index->scan(cursor, limit, [&](const BlockName& name, const IndexEntry& entry) {
        if (name.namespace_id != id) {
          left_namespace = true;
          return;
        }
        if (entry.epoch >= epoch) return;
        names.emplace_back(std::string(name.key), name.part);
        if (is_counted(name)) balance.add(name, entry, -1);
      }));
  std::vector<IndexChange> changes;
  changes.reserve(names.size());
  for (const auto& [key, part] : names) changes.push_back({{id, key, part}, std::nullopt});
  if (!changes.empty()) CAIRN_RETURN_IF_ERROR(core_.index->write(changes, {}, {}, false));
  balance.publish(space_);
  hooks_.live_changed(balance.live());
  return left_namespace || cursor.empty();
}

}  // namespace cairn::tiers
