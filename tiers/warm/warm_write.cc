// SPDX-License-Identifier: Apache-2.0
// write and landing: from plain bytes, or from what a record has, to an image.
#include <algorithm>
#include <functional>
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

absl::Status corrupt(std::string_view why) {
  return make_error(ErrorCode::corruption, why);
}

/// Whether a header can be made of an image's fields, for which there is room where blocks are
/// coded so. What its chunk table says is asked of that header.
absl::Status check_image(const StoredImage& image, const WarmCoding& coding) {
  const RecordFields& fields = image.fields;
  if (fields.kind != RecordKind::block || fields.payload_length > fields.plain_length ||
      (fields.plain_length == 0) != (fields.chunk_bytes == 0)) {
    return corrupt("the fields are not those of a block");
  }
  if (fields.codec > Codec::planes) {
    return make_error(ErrorCode::format, "the image's codec is not known to this build");
  }
  const std::uint32_t chunks = chunk_count_for(fields.plain_length, fields.chunk_bytes);
  if (chunks > kChunksMax || fields.chunk_table.size() != chunks * sizeof(ChunkEntry)) {
    return corrupt("the chunks do not make up the block");
  }
  if (fields.plain_length > 0 && fields.chunk_bytes != coding.chunk_bytes) {
    return make_error(ErrorCode::format, concat("chunks of ", fields.chunk_bytes,
                                                " bytes, where blocks have ", coding.chunk_bytes));
  }
  std::uint64_t left = fields.payload_length;
  for (const ByteSpan part : image.payload) {
    if (part.size() > left) return corrupt("the payload is longer than the fields say");
    left -= part.size();
  }
  return left == 0 ? absl::OkStatus() : corrupt("the payload is cut short");
}

absl::Status check_write(const TierWrite& write, const std::optional<WarmCoding>& coding) {
  if (!coding || !is_valid_key(write.name.key)) {
    return make_error(ErrorCode::invalid_argument, "the name is not valid");
  }
  if (write.image != nullptr && !write.payload.empty()) {
    return make_error(ErrorCode::invalid_argument, "both a payload and an image");
  }
  const std::size_t plain_bytes =
      write.image != nullptr ? write.image->fields.plain_length : write.payload.size();
  if (write.facts.plain_bytes != plain_bytes) {
    return make_error(ErrorCode::invalid_argument, "the facts say another length");
  }
  return write.image != nullptr ? check_image(*write.image, *coding) : absl::OkStatus();
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

/// Whether these bytes are those that landed, from the first on and in order.
bool are_in_place(std::span<const ByteSpan> parts, std::span<const PageRun> landed) {
  std::size_t run = 0;
  std::uint64_t at = 0;  // in that run
  for (ByteSpan rest : parts) {
    while (!rest.empty()) {
      if (run < landed.size() && at == landed[run].bytes()) {
        ++run;
        at = 0;
      }
      if (run == landed.size() || rest.data() != landed[run].data + at) return false;
      const std::uint64_t here = std::min<std::uint64_t>(rest.size(), landed[run].bytes() - at);
      at += here;
      rest = rest.subspan(here);
    }
  }
  return true;
}

/// Whether any of these bytes lies in what landed.
bool touch(std::span<const ByteSpan> parts, std::span<const PageRun> landed) {
  const std::less<> less;  // also where they are not of one array
  for (const ByteSpan part : parts) {
    if (part.empty()) continue;
    for (const PageRun& run : landed) {
      const std::byte* const begin = run.data;
      if (less(part.data(), begin + run.bytes()) && less(begin, part.data() + part.size())) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

/// One batch. Work is a run of blocks.
struct WarmTierImpl::WriteJob {
  struct Item {
    TierWrite* write = nullptr;
    WarmCoding coding;
    std::vector<PageRun> landed;
    std::size_t bytes() const {
      return write->image != nullptr ? write->image->fields.payload_length : write->payload.size();
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
void WarmTierImpl::refuse(TierWrite& write, absl::Status why) {
  const Location refused = std::exchange(write.location, Location());
  write.status = std::move(why);
  std::vector<PageRun> landed;
  {
    MutexLock lock(mutex_);
    if (begin_filling(refused, landed) == nullptr) return;
  }
  drop(index_of(refused), landed);
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
      refuse(write, std::move(status));
      continue;
    }
    job->items.push_back({.write = &write, .coding = *coding, .landed = {}});
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

/// Takes the slots and cuts the batch into work.
void WarmTierImpl::run_writes(std::unique_ptr<WriteJob> job) {
  std::vector<WriteJob::Item> wanted;
  for (WriteJob::Item& item : job->items) {
    TierWrite& write = *item.write;
    const std::uint32_t plain_bytes = write.facts.plain_bytes;
    bool is_ours = false, fits = false;
    {
      MutexLock lock(mutex_);
      const Slot* const slot = begin_filling(write.location, item.landed);
      is_ours = slot != nullptr;
      // Of another namespace's chunks there may be more.
      fits = is_ours && slot->plain_bytes == plain_bytes &&
             slot->side_reserved >= room_for(plain_bytes, item.coding.chunk_bytes).side_bytes;
    }
    if (fits) {
      wanted.push_back(std::move(item));
      continue;
    }
    write.status =
        make_error(ErrorCode::invalid_argument,
                   is_ours ? "reserved for another length" : "the location was not reserved");
    if (is_ours) drop(index_of(write.location), item.landed);
    write.location = {};
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
  TierWrite& write = *item.write;
  const Location location = std::exchange(write.location, Location());
  const bool is_image = write.image != nullptr;
  const std::span<const ByteSpan> parts =
      is_image ? std::span<const ByteSpan>(write.image->payload) : std::span(&write.payload, 1);
  const bool has_landed = is_image && are_in_place(parts, item.landed);
  const bool is_astray = !has_landed && touch(parts, item.landed);
  Builder builder(*this, location, std::move(item.landed));
  if (is_astray) {
    write.status = make_error(ErrorCode::invalid_argument, "it landed otherwise than it is given");
  } else if (is_image) {
    write.status = keep(builder, write, has_landed, worker);
  } else {
    encode(builder, write, item.coding, worker);
  }
  if (!write.status.ok()) return;
  write.location = location;
  write.stored_bytes = static_cast<std::uint32_t>(builder.publish());
}

/// The stored bytes as they are, under a header of their own, which says what the facts say.
absl::Status WarmTierImpl::keep(Builder& builder, const TierWrite& write, bool has_landed,
                                CodecWorker& worker) const {
  const RecordFields& stored = write.image->fields;
  if (has_landed) {
    builder.set_length(stored.payload_length);
  } else {
    for (const ByteSpan part : write.image->payload) builder.append(part);
  }
  RecordFields fields = fields_of_block(write.name, write.facts, stored.chunk_bytes, {});
  fields.codec = stored.codec;
  fields.payload_length = stored.payload_length;
  fields.chunk_table = stored.chunk_table;
  const Image& image = builder.finish(fields, worker);
  CAIRN_ASSIGN_OR_RETURN(const RecordFields kept, parse_record_header(image.header()));
  return check_sums(image, kept, worker);
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
