// SPDX-License-Identifier: Apache-2.0
// reserve, write, read, free.
#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tiers/cold/cold_tier_impl.h"
#include "tiers/record/stored_image.h"

namespace cairn::tiers {
namespace {

constexpr std::uint64_t kReservationDevice = 15;

/// What a block of that size may take, with the longest key and its copy in the footer.
std::uint64_t record_bytes_max(std::uint32_t plain_bytes, std::uint32_t chunk_bytes) {
  const RecordLayout layout = lay_out_record(kKeyLengthMax, plain_bytes, chunk_bytes);
  return layout.total_bytes + layout.header_length;
}

/// device 4 | plain bytes 28 | bytes ÷ 64, 32
Location make_reservation(std::uint64_t bytes, std::uint32_t plain_bytes) {
  static_assert(kBlockBytesMax < (std::uint64_t{1} << 28));
  return {(kReservationDevice << 60) | (std::uint64_t{plain_bytes} << 32) |
          (bytes / kSmallAlignment)};
}
bool is_reservation(Location location) {
  return location.bits >> 60 == kReservationDevice;
}
std::uint64_t reserved_bytes(Location location) {
  return (location.bits & 0xffffffff) * kSmallAlignment;
}
/// What the day's write budget was asked for.
std::uint64_t budgeted_bytes(Location location) {
  return (location.bits >> 32) & 0xfffffff;
}

}  // namespace

/// One batch on its way.
struct ColdTier::WriteJob {
  struct Item final : IndexWork {
    WriteJob* job = nullptr;
    TierWrite* write = nullptr;
    ColdCore* core = nullptr;
    std::vector<ChunkEntry> chunks;
    ColdEncoder::Encoding encoding;
    StoredImagePtr image;  // what is written lies there
    bool is_ready = true;  // encoded, or needs not be; an image: its sums are checked
    Append append;
    std::uint64_t reserved = 0;
    std::uint64_t budgeted = 0;  // of the write budget, as long as nothing was written
    absl::Status status;
    bool is_wanted = false;  // prepared
    bool is_appended = false;
    bool is_synced = false;   // the data is on the medium
    bool needs_sync = false;  // it replaces a block that may be durable: data first

    void take_plain(const NamespaceFacts& facts);
    absl::Status take_image(const NamespaceFacts& facts);
    Verdict decide(const std::optional<IndexEntry>& existing, IndexEntry& entry,
                   CounterDelta& delta) override;
    void finished(const absl::Status& result) override {
      if (status.ok()) status = result;
      if (--job->left > 0) return;
      const auto go_on = std::move(job->when_named);  // keeps the job: it may end meanwhile
      go_on();
    }
  };
  std::vector<Item> items;
  std::size_t next = 0;  // I/O loop: items before it are with the log, or failed
  std::size_t left = 0;  // I/O loop, then index loop
  std::function<void()> when_named;
#if defined(CAIRN_PLANTED_INDEX_BEFORE_DATA)
  bool data_follows = false;
#endif
  Done done;
};

absl::Status ColdTier::reserve(NamespaceId namespace_id, std::span<const std::uint32_t> plain_sizes,
                               std::span<Location> locations) {
  CAIRN_CHECK(plain_sizes.size() == locations.size());
  CAIRN_RETURN_IF_ERROR(refusal());
  {
    MutexLock lock(mutex_);
    if (closing_) return make_error(ErrorCode::closed, "the store is closing");
  }
  NamespaceFacts facts;
  if (!core_.namespaces.find(namespace_id, facts)) {
    return make_error(ErrorCode::invalid_argument, "there is no such namespace");
  }
  std::uint64_t total = 0, payload = 0, largest = 0;
  for (std::size_t i = 0; i < plain_sizes.size(); ++i) {
    const std::uint32_t size = plain_sizes[i];
    if (size > block_bytes_max_) {
      return make_error(
          ErrorCode::too_large,
          concat("a block of ", size, " bytes; a segment of this store holds ", block_bytes_max_));
    }
    const std::uint64_t record = record_bytes_max(size, facts.chunk_bytes);
    const std::uint64_t charge = round_up(room_for(record, core_.segment_bytes), kSmallAlignment);
    locations[i] = make_reservation(charge, size);
    total += charge;
    payload += size;
    largest = std::max(largest, record);
  }
  if (!budget_.take(payload)) {
    add(core_.counts.refused_by_write_budget, plain_sizes.size());
    return make_error(ErrorCode::refused, "the day's write budget is used up");
  }
  absl::Status admitted = space_.admit(total, largest);
  if (!admitted.ok()) {
    budget_.give_back(payload);
    core_.io_loop.post([this, alive = core_.alive] {
      if (*alive) cleaner_.poke();
    });
  }
  return admitted;
}

void ColdTier::free(std::span<const Location> locations) {
  // What was written is accounted when the index stops naming it; its location is worth
  // nothing from then on. Only reservations are given back here.
  for (const Location location : locations) {
    if (!is_reservation(location)) continue;
    space_.release(reserved_bytes(location));
    budget_.give_back(budgeted_bytes(location));
  }
}

absl::Status ColdTier::prepare(WriteJob& job, std::size_t i, TierWrite& write) {
  WriteJob::Item& item = job.items[i];
  item.job = &job;
  item.write = &write;
  item.core = &core_;
  if (!is_reservation(write.location)) {
    return make_error(ErrorCode::invalid_argument, "the location was not reserved");
  }
  item.reserved = reserved_bytes(write.location);
  item.budgeted = budgeted_bytes(write.location);
  write.location = {};
  NamespaceFacts facts;
  if (!is_valid_key(write.name.key) || !core_.namespaces.find(write.name.namespace_id, facts)) {
    return make_error(ErrorCode::invalid_argument, "the name is not valid");
  }
  item.image = write.image;
  if (item.image != nullptr ? !write.payload.empty()
                            : write.payload.size() != write.facts.plain_bytes) {
    return make_error(ErrorCode::invalid_argument, "the payload is not what the facts say");
  }
  if (record_bytes_max(write.facts.plain_bytes, facts.chunk_bytes) > item.reserved) {
    return make_error(ErrorCode::invalid_argument, "the payload is longer than what was reserved");
  }
  item.append.fields = fields_of_block(write.name, write.facts, facts.chunk_bytes, {});
  item.append.fields.epoch = facts.epoch;
  item.name = write.name;
  if (item.image != nullptr) {
    CAIRN_RETURN_IF_ERROR(item.take_image(facts));
  } else {
    item.take_plain(facts);
  }
  item.is_wanted = true;
  return absl::OkStatus();
}

void ColdTier::WriteJob::Item::take_plain(const NamespaceFacts& facts) {
  const ByteSpan plain = write->payload;
  chunks.resize(chunk_count_for(write->facts.plain_bytes, facts.chunk_bytes));
  if (plain.size() >= kCodedBytesMin && core->codec_choice.should_encode()) {
    encoding.plain = plain;
    encoding.dtype = facts.dtype;
    encoding.chunk_bytes = facts.chunk_bytes;
    encoding.table = chunks;
    is_ready = false;
  } else {
    sum_chunks(plain, facts.chunk_bytes, chunks);
  }
  append.fields.chunk_table = std::as_bytes(std::span(chunks));
  append.payload = plain;
}

/// As it is. Its sums are still to be checked.
absl::Status ColdTier::WriteJob::Item::take_image(const NamespaceFacts& facts) {
  CAIRN_RETURN_IF_ERROR(check_image(*image, write->name, write->facts, facts.chunk_bytes));
  append.fields.codec = image->fields.codec;
  append.fields.payload_length = image->fields.payload_length;
  append.fields.chunk_table = image->fields.chunk_table;
  append.pieces = image->payload;
  is_ready = false;
  return absl::OkStatus();
}

void ColdTier::write(std::span<TierWrite> batch, Durability durability, Done done) {
  auto job = std::make_shared<WriteJob>();
  job->items = std::vector<WriteJob::Item>(batch.size());
  job->done = std::move(done);
  const absl::Status refused = refusal();
  const bool begun = begin_operation();
  for (std::size_t i = 0; i < batch.size(); ++i) {
    WriteJob::Item& item = job->items[i];
    item.status = prepare(*job, i, batch[i]);
    if (item.status.ok()) item.status = refused;
    if (item.status.ok() && !begun)
      item.status = make_error(ErrorCode::closed, "the store is closing");
    if (!item.status.ok()) item.is_wanted = false;
    item.sync_wanted = item.append.sync_wanted = durability == Durability::durable;
#if defined(CAIRN_PLANTED_INDEX_BEFORE_DATA)
    item.append.sync_wanted = false;
#endif
  }
  if (!begun) {
    for (WriteJob::Item& item : job->items) {
      item.image.reset();
      item.write->status = item.status;
      space_.release(item.reserved);
      budget_.give_back(item.budgeted);
    }
    job->done();
    return;
  }
  core_.io_loop.post([this, job] {
    touched_ = true;
    for (WriteJob::Item& item : job->items) job->left += item.is_wanted ? 1 : 0;
    ++job->left;
    for (std::size_t i = 0; i < job->items.size(); ++i) {
      WriteJob::Item& item = job->items[i];
      if (!item.is_wanted) continue;
      item.append.placed = [this, &item] {  // from here on the segment's own count has it
        space_.release(item.reserved);
        item.reserved = 0;
      };
      item.append.done = [this, job, &item](Append&) {
        encoder_.release(item.encoding);
        if (--job->left == 0) written(job);
      };
      if (item.is_ready) continue;
      if (item.image != nullptr) {
        check_sums(job, i);
        continue;
      }
      item.encoding.done = [this, job, &item] {
        item.is_ready = true;
        item.append.payload = item.encoding.stored;
        core_.codec_choice.encoded(item.encoding.plain.size(), item.encoding.stored.size());
        if (item.encoding.has_shrunk) {
          item.append.fields.codec = Codec::planes;
          item.append.fields.payload_length =
              static_cast<std::uint32_t>(item.append.payload.size());
        }
        append_encoded(job);
      };
      encoder_.encode(item.encoding);
    }
    append_encoded(job);
    if (--job->left == 0) written(job);
  });
}

/// An image's, by the codec's threads: bytes that have rotted in memory would lie under a good
/// name, and only a later read would find them.
void ColdTier::check_sums(const std::shared_ptr<WriteJob>& job, std::size_t i) {
  codec_.submit([this, job, i](CodecWorker& worker) mutable {
    const StoredImage& image = *job->items[i].image;
    absl::Status sums = check_image_sums(image, worker.scratch(image.fields.chunk_bytes));
    // The I/O loop has to drop the job.
    core_.io_loop.post([this, job = std::move(job), i, sums = std::move(sums)] {
      WriteJob::Item& item = job->items[i];
      item.is_ready = true;
      if (!sums.ok()) {
        item.status = sums;
        item.is_wanted = false;
        item.append.done = nullptr;  // it keeps the job
      }
      append_encoded(job);
      if (!sums.ok() && --job->left == 0) written(job);
    });
  });
}

/// I/O loop: hands what is ready to the log, in order, so that a chain lies side by side.
void ColdTier::append_encoded(const std::shared_ptr<WriteJob>& job) {
  std::vector<Append*> appends;
  while (job->next < job->items.size()) {
    WriteJob::Item& item = job->items[job->next];
    if (item.is_wanted && !item.is_ready) break;
    ++job->next;
    if (item.is_wanted) appends.push_back(&item.append);
  }
  if (!appends.empty()) log_.append(Stream::user, appends);
}

/// I/O loop: every append of the batch has ended. Names those that succeeded.
void ColdTier::written(const std::shared_ptr<WriteJob>& job) {
  std::vector<IndexWork*> works;
  for (WriteJob::Item& item : job->items) {
    if (item.reserved > 0) space_.release(item.reserved);
    item.reserved = 0;
    if (item.is_wanted) item.status = item.append.status;
    if (!item.status.ok()) {
      budget_.give_back(item.budgeted);
      continue;
    }
    item.is_appended = true;
    item.is_synced = item.append.sync_wanted;
#if defined(CAIRN_PLANTED_INDEX_BEFORE_DATA)
    item.is_synced = true;
#endif
    works.push_back(&item);
  }
  name(job, works);
}

/// I/O loop: hands the works to the index.
void ColdTier::name(const std::shared_ptr<WriteJob>& job, std::span<IndexWork* const> works) {
  if (works.empty()) {
    named(job);
    return;
  }
  job->left = works.size();
  job->when_named = [this, job] { core_.io_loop.post([this, job] { named(job); }); };
  index_queue_.post(works);
}

/// I/O loop: syncs the data of those that replace something, then names them. True if any.
bool ColdTier::sync_replacing(const std::shared_ptr<WriteJob>& job) {
  auto works = std::make_shared<std::vector<IndexWork*>>();
  std::vector<WriteJob::Item*> waiting;
  for (WriteJob::Item& item : job->items) {
    if (item.needs_sync && item.status.ok()) waiting.push_back(&item);
    item.needs_sync = false;
  }
  if (waiting.empty()) return false;
  job->left = waiting.size();
  for (WriteJob::Item* item : waiting) {
    sync_.sync(table_.get(item->append.place.segment),
               [this, job, works, item](const absl::Status& status) {
                 item->status = status;
                 item->is_synced = status.ok();
                 if (status.ok()) works->push_back(item);
                 if (--job->left == 0) name(job, *works);
               });
  }
  return true;
}

Verdict ColdTier::WriteJob::Item::decide(const std::optional<IndexEntry>& existing,
                                         IndexEntry& entry, CounterDelta& delta) {
  NamespaceFacts facts;
  if (!core->namespaces.find(name.namespace_id, facts) || facts.epoch != append.fields.epoch) {
    status =
        make_error(ErrorCode::mismatch, "the namespace was cleared while the block was written");
    return Verdict::leave;
  }
  // A newer version, or the removal of this one, came first: the block is readable where it
  // is until its segment is cleaned, and never named.
  if (existing && existing->epoch == facts.epoch &&
      existing->facts.sequence >= append.fields.sequence) {
    return Verdict::leave;
  }
  // A power cut may keep the entry and drop the data. Where nothing was before, a miss is all
  // that comes of it; here it would take a durable version along, or the tombstone that keeps an
  // older one away.
  if (existing && existing->epoch == facts.epoch && !is_synced) {
    needs_sync = true;
    return Verdict::leave;
  }
  entry.id = write->id;
  entry.location = append.location();
  entry.stored_bytes = static_cast<std::uint32_t>(append.place.record_bytes);
  entry.epoch = append.fields.epoch;
  entry.facts = append.fields.facts();
  entry.follows_tombstone = existing && existing->epoch == facts.epoch &&
                            (existing->tombstone || existing->follows_tombstone);
  delta.payload_bytes_written += append.fields.plain_length;
  return Verdict::put;
}

/// I/O loop: the index has answered. The batch is the caller's again after done.
void ColdTier::named(const std::shared_ptr<WriteJob>& job) {
  if (sync_replacing(job)) return;
#if defined(CAIRN_PLANTED_INDEX_BEFORE_DATA)
  if (!std::exchange(job->data_follows, true)) {
    sync_.sync_all([this, job](const absl::Status&) { named(job); });
    return;
  }
#endif
  touched_ = true;  // once more: a sync may have come while the batch was on its way
  for (WriteJob::Item& item : job->items) {
    if (item.is_appended) settle(item.append);
    item.image.reset();
    item.write->status = item.status;
    if (!item.status.ok()) continue;
    item.write->location = item.append.location();
    item.write->stored_bytes = static_cast<std::uint32_t>(item.append.place.record_bytes);
    add(core_.counts.payload_bytes_written, item.append.fields.plain_length);
  }
  std::exchange(job->done, nullptr)();  // what it owns is gone before close() returns
  end_operation();
}

void ColdTier::settle(const Append& append) {
  log_.settled(append.place.segment, append.place.record_bytes);
}

void ColdTier::read(std::span<TierRead> batch, Done done) {
  if (!begin_operation()) {
    for (TierRead& read : batch)
      read.status = make_error(ErrorCode::closed, "the store is closing");
    done();
    return;
  }
  core_.io_loop.post([this, batch, done = std::move(done)]() mutable {
    reader_.read(batch, [this, done = std::move(done)]() mutable {
      std::exchange(done, nullptr)();
      end_operation();
    });
  });
}

void ColdTier::read_images(std::span<ImageRead> batch, Done done) {
  if (!begin_operation()) {
    for (ImageRead& read : batch) {
      read.image.reset();
      read.status = make_error(ErrorCode::closed, "the store is closing");
    }
    done();
    return;
  }
  core_.io_loop.post([this, batch, done = std::move(done)]() mutable {
    reader_.read_images(batch, [this, done = std::move(done)]() mutable {
      done();
      end_operation();
    });
  });
}

}  // namespace cairn::tiers
