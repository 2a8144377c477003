// SPDX-License-Identifier: Apache-2.0
// write, landing, adopt: from plain bytes or from a record to an image.
#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/record/payload_codec.h"
#include "tiers/warm/warm_builder.h"
#include "tiers/warm/warm_tier_impl.h"

namespace cairn::tiers {
namespace {

/// Whether these fields can be a block's, so that a header can be made of them.
absl::Status check_adoptable(const RecordFields& fields) {
  const bool sound =
      fields.kind == RecordKind::block && is_valid_key(fields.key) &&
      fields.plain_length <= kBlockBytesMax && fields.payload_length <= fields.plain_length &&
      (fields.plain_length == 0) == (fields.chunk_bytes == 0) && fields.codec <= Codec::planes &&
      fields.chunk_table.size() ==
          chunk_count_for(fields.plain_length, fields.chunk_bytes) * sizeof(ChunkEntry);
  return sound ? absl::OkStatus()
               : make_error(ErrorCode::corruption, "the fields are not those of a block");
}

absl::Status check_sums(const Image& image, const RecordFields& fields, CodecWorker& worker) {
  ImageCursor cursor(image, 0);
  for (std::uint32_t i = 0; i < fields.chunk_count(); ++i) {
    const ChunkEntry entry = fields.chunk(i);
    CAIRN_RETURN_IF_ERROR(
        check_chunk(entry, cursor.next(entry.stored_length, worker.scratch(entry.stored_length))));
  }
  return absl::OkStatus();
}

}  // namespace

/// One batch, of writes or of adoptions. Work is a run of blocks.
struct WarmTierImpl::WriteJob {
  struct Item {
    TierWrite* write = nullptr;
    WarmAdoption* adoption = nullptr;
    WarmCoding coding;
    std::vector<PageRun> landed;
    Location& location() const { return write != nullptr ? write->location : adoption->location; }
    absl::Status& status() const { return write != nullptr ? write->status : adoption->status; }
    std::size_t bytes() const {
      return write != nullptr ? write->payload.size() : adoption->fields.payload_length;
    }
  };
  WarmTierImpl* tier = nullptr;
  std::thread::id submitter = std::this_thread::get_id();
  std::vector<Item> items;
  std::vector<std::size_t> ends;  // of each piece of work, in items
  std::atomic<std::size_t> left{0};
  Done done;
};

/// What was reserved, or has landed, goes back.
void WarmTierImpl::refuse(Location& location, absl::Status& status, absl::Status why) {
  const Location refused = std::exchange(location, Location());
  status = std::move(why);
  std::vector<PageRun> landed;
  {
    MutexLock lock(mutex_);
    if (begin_filling(refused, landed) == nullptr) return;
  }
  drop(index_of(refused), landed);
}

absl::Status WarmTierImpl::check_write(const TierWrite& write,
                                       const std::optional<WarmCoding>& coding) const {
  if (!coding || !is_valid_key(write.name.key)) {
    return make_error(ErrorCode::invalid_argument, "the name is not valid");
  }
  if (write.facts.plain_bytes != write.payload.size()) {
    return make_error(ErrorCode::invalid_argument, "the facts say another length");
  }
  return absl::OkStatus();
}

void WarmTierImpl::write(std::span<TierWrite> batch, Durability durability, Done done) {
  const bool open = begin_operation();
  auto job = std::make_unique<WriteJob>();
  job->tier = this;
  job->done = std::move(done);
  for (TierWrite& write : batch) {
    write.status = absl::OkStatus();
    const std::optional<WarmCoding> coding = context_.coding(write.name.namespace_id);
    absl::Status status =
        !open ? closed_error()
        : durability != Durability::memory
            ? make_error(ErrorCode::invalid_argument, "warm memory promises `memory` alone")
            : check_write(write, coding);
    if (!status.ok()) {
      refuse(write.location, write.status, std::move(status));
      continue;
    }
    job->items.push_back({.write = &write, .adoption = nullptr, .coding = *coding, .landed = {}});
  }
  if (open) {
    run_writes(std::move(job));
  } else {
    job->done();
  }
}

absl::StatusOr<std::vector<MutableByteSpan>> WarmTierImpl::landing(Location location,
                                                                   std::uint32_t payload_bytes) {
  std::vector<MutableByteSpan> parts;
  MutexLock lock(mutex_);
  if (closing_) return closed_error();
  Slot* const slot = find(location);
  if (slot == nullptr || slot->state != State::reserved || payload_bytes > slot->plain_bytes) {
    return make_error(ErrorCode::invalid_argument, "not reserved for that length");
  }
  const auto pages = static_cast<std::uint32_t>((payload_bytes + kPage - 1) / kPage);
  slot->state = State::landing;
  slot->landed = std::make_unique<std::vector<PageRun>>();
  slot->pages_left -= pages;
  reserved_pages_ -= pages;
  pool_.take(pages, *slot->landed);
  for (const PageRun& run : *slot->landed) parts.emplace_back(run.data, run.bytes());
  return parts;
}

void WarmTierImpl::adopt(std::span<WarmAdoption> batch, Done done) {
  const bool open = begin_operation();
  auto job = std::make_unique<WriteJob>();
  job->tier = this;
  job->done = std::move(done);
  for (WarmAdoption& adoption : batch) {
    adoption.status = absl::OkStatus();
    absl::Status status = open ? check_adoptable(adoption.fields) : closed_error();
    if (!status.ok()) {
      refuse(adoption.location, adoption.status, std::move(status));
      continue;
    }
    job->items.push_back({.write = nullptr, .adoption = &adoption, .coding = {}, .landed = {}});
  }
  if (open) {
    run_writes(std::move(job));
  } else {
    job->done();
  }
}

/// Takes the slots and cuts the batch into work.
void WarmTierImpl::run_writes(std::unique_ptr<WriteJob> job) {
  std::vector<WriteJob::Item> wanted;
  for (WriteJob::Item& item : job->items) {
    const std::uint32_t plain_bytes =
        item.write != nullptr ? item.write->facts.plain_bytes : item.adoption->fields.plain_length;
    bool is_ours = false, fits = false;
    {
      MutexLock lock(mutex_);
      const Slot* const slot = begin_filling(item.location(), item.landed);
      is_ours = slot != nullptr;
      fits = is_ours && slot->plain_bytes == plain_bytes;
    }
    if (fits) {
      wanted.push_back(std::move(item));
      continue;
    }
    item.status() =
        make_error(ErrorCode::invalid_argument,
                   is_ours ? "reserved for another length" : "the location was not reserved");
    if (is_ours) drop(index_of(item.location()), item.landed);
    item.location() = {};
  }
  job->items = std::move(wanted);
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < job->items.size(); ++i) {
    bytes += job->items[i].bytes();
    if (bytes < kWarmWorkBytesMin && i + 1 < job->items.size()) continue;
    job->ends.push_back(i + 1);
    bytes = 0;
  }
  const std::size_t works = job->ends.size();
  if (works == 0) {
    finish_operation(std::move(job->done));
    return;
  }
  job->left.store(works);
  WriteJob* const running = job.release();  // whoever is last deletes it
  for (std::size_t i = 0; i < works; ++i) {
    context_.codec->submit(
        [running, i](CodecWorker& worker) { running->tier->run_write_work(running, i, worker); });
  }
}

void WarmTierImpl::run_write_work(WriteJob* job, std::size_t number, CodecWorker& of_pool) {
  {
    const Worker worker(*this, of_pool, job->submitter);
    for (std::size_t i = number == 0 ? 0 : job->ends[number - 1]; i < job->ends[number]; ++i) {
      fill(*job, i, *worker);
    }
  }
  if (job->left.fetch_sub(1) > 1) return;
  const std::unique_ptr<WriteJob> mine(job);
  finish_operation(std::move(mine->done));
}

void WarmTierImpl::fill(WriteJob& job, std::size_t i, CodecWorker& worker) {
  WriteJob::Item& item = job.items[i];
  Builder builder(*this, item.location(), std::move(item.landed));
  if (item.write != nullptr) {
    encode(builder, *item.write, item.coding, worker);
    item.write->stored_bytes = static_cast<std::uint32_t>(builder.publish());
    return;
  }
  WarmAdoption& adoption = *item.adoption;
  const Location location = std::exchange(adoption.location, Location());
  std::uint64_t length = 0;
  for (const ByteSpan part : adoption.payload) length += part.size();
  const bool has_landed = builder.capacity() > 0 || adoption.fields.payload_length == 0;
  if (has_landed && adoption.payload.empty() &&
      adoption.fields.payload_length <= builder.capacity()) {
    builder.set_length(adoption.fields.payload_length);
  } else if (builder.capacity() == 0 && length == adoption.fields.payload_length) {
    for (const ByteSpan part : adoption.payload) builder.append(part);
  } else {
    adoption.status = make_error(ErrorCode::corruption, "the payload has another length");
    return;
  }
  const Image& image = builder.finish(adoption.fields, worker);
  const absl::StatusOr<RecordFields> fields = parse_record_header(image.header());
  adoption.status = fields.ok() ? check_sums(image, *fields, worker) : fields.status();
  if (!adoption.status.ok()) return;
  adoption.location = location;
  adoption.stored_bytes = static_cast<std::uint32_t>(builder.publish());
}

/// Chunk by chunk, each from the thread's scratch to the pages while it is in the cache.
void WarmTierImpl::encode(Builder& builder, const TierWrite& write, const WarmCoding& coding,
                          CodecWorker& worker) const {
  const auto plain_bytes = static_cast<std::uint32_t>(write.payload.size());
  std::vector<ChunkEntry> table(chunk_count_for(plain_bytes, coding.chunk_bytes));
  if (options_.codec && plain_bytes >= kCodedBytesMin) {
    ChunkEncoder& encoder = worker.encoder(coding.chunk_bytes);
    const MutableByteSpan scratch = worker.scratch(coding.chunk_bytes);
    for (std::uint32_t i = 0; i < table.size(); ++i) {
      const std::size_t stored = encode_chunks(encoder, coding.dtype, write.payload,
                                               coding.chunk_bytes, {i, i + 1}, table, scratch);
      builder.append(ByteSpan(scratch).first(stored));
    }
  } else {
    sum_chunks(write.payload, coding.chunk_bytes, table);
    builder.append(write.payload);
  }
  RecordFields fields = fields_of_block(write.name, write.facts, coding.chunk_bytes, table);
  fields.codec = builder.length() < plain_bytes ? Codec::planes : Codec::none;
  fields.payload_length = builder.length();
  builder.finish(fields, worker);
}

}  // namespace cairn::tiers
