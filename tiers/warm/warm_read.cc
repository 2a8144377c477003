// SPDX-License-Identifier: Apache-2.0
// read and image: from an image to plain bytes, or to who writes it elsewhere.
#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/record/payload_codec.h"
#include "tiers/warm/warm_tier_impl.h"

namespace cairn::tiers {
namespace {

absl::Status gone() {
  return make_error(ErrorCode::corruption, "nothing is stored under that location");
}

absl::StatusOr<RecordFields> check_header(const Image& image, const TierRead& read) {
  CAIRN_ASSIGN_OR_RETURN(const RecordFields fields, parse_record_header(image.header()));
  CAIRN_RETURN_IF_ERROR(check_name(fields, read.name));
  if (fields.sequence != read.sequence || fields.plain_length != read.payload_bytes() ||
      fields.payload_length != image.payload_bytes()) {
    return make_error(ErrorCode::corruption, "another version is stored there");
  }
  return fields;
}

/// Chunks that are stored as they are go straight to where they belong, and are summed there; one
/// that is wanted in part goes through the scratch.
absl::Status decode_image(const Image& image, const RecordFields& fields, ChunkRange range,
                          const TierRead& read, CodecWorker& worker) {
  ImageCursor cursor(image, stored_range(fields, range).offset);
  const std::uint32_t chunk_bytes_max = std::min(fields.chunk_bytes, fields.plain_length);
  for (std::uint32_t i = range.begin; i < range.end; ++i) {
    const ChunkEntry entry = fields.chunk(i);
    const std::uint32_t plain_bytes = fields.plain_bytes(i);
    const ChunkPiece piece = piece_of(fields, i, read.offset, read.destination);
    const bool is_whole = piece.target.size() == plain_bytes;
    const bool is_raw = entry.encoding == ChunkEncoding::raw;
    if (is_whole && is_raw) {
      cursor.copy(piece.target);
      CAIRN_RETURN_IF_ERROR(check_chunk(entry, piece.target));
      continue;
    }
    const MutableByteSpan scratch =
        worker.scratch(entry.stored_length + std::size_t{is_whole || is_raw ? 0 : plain_bytes});
    const ByteSpan stored = cursor.next(entry.stored_length, scratch.first(entry.stored_length));
    CAIRN_RETURN_IF_ERROR(check_chunk(entry, stored));
    if (is_raw) {
      std::memcpy(piece.target.data(), stored.data() + piece.skip, piece.target.size());
      continue;
    }
    const MutableByteSpan plain =
        is_whole ? piece.target : scratch.subspan(entry.stored_length, plain_bytes);
    CAIRN_RETURN_IF_ERROR(worker.decoder(chunk_bytes_max).decode(entry.encoding, stored, plain));
    if (!is_whole) {
      std::memcpy(piece.target.data(), plain.data() + piece.skip, piece.target.size());
    }
  }
  return absl::OkStatus();
}

}  // namespace

/// One batch. Work is a run of whole blocks, or a part of a large one.
struct WarmTierImpl::ReadJob {
  struct Item {
    TierRead* read = nullptr;
    Image* image = nullptr;
    RecordFields fields;
    ChunkRange chunks;  // that are wanted
  };
  struct Work {
    std::size_t begin = 0, end = 0;  // items
    ChunkRange range;                // of one item's; empty: all of theirs
    absl::Status status;             // of a range
    bool is_part() const { return range.begin < range.end; }
  };
  WarmTierImpl* tier = nullptr;
  std::thread::id submitter = std::this_thread::get_id();
  std::vector<Item> items;
  std::vector<Work> works;
  std::atomic<std::size_t> left{0};
  Done done;
};

void WarmTierImpl::read(std::span<TierRead> batch, Done done) {
  if (!begin_operation()) {
    for (TierRead& read : batch) read.status = closed_error();
    done();
    return;
  }
  auto job = std::make_unique<ReadJob>();
  job->tier = this;
  job->done = std::move(done);
  job->items.reserve(batch.size());
  const TimePoint now = context_.clock->now();
  for (TierRead& read : batch) {
    read.status = read.deadline <= now
                      ? make_error(ErrorCode::deadline, "the deadline had passed already")
                      : check_part(read);
    if (read.status.ok()) {
      job->items.push_back({.read = &read, .image = nullptr, .fields = {}, .chunks = {}});
    }
  }
  {
    MutexLock lock(mutex_);
    for (ReadJob::Item& item : job->items) item.image = hold(item.read->location);
  }
  for (ReadJob::Item& item : job->items) {
    if (item.image == nullptr) {
      item.read->status = gone();
      continue;
    }
    auto fields = check_header(*item.image, *item.read);
    if (fields.ok()) {
      item.fields = *fields;
      item.chunks = chunks_of(*fields, item.read->offset, item.read->destination.size());
    } else {
      item.read->status = fields.status();
    }
  }
  run_reads(std::move(job));
}

/// Cuts the batch into work: small blocks together, large ones into pieces.
void WarmTierImpl::run_reads(std::unique_ptr<ReadJob> job) {
  job->works.reserve(job->items.size());
  std::size_t begin = 0, bytes = 0;
  const auto end_run = [&job, &begin, &bytes](std::size_t end) {
    if (bytes > 0) job->works.push_back({.begin = begin, .end = end, .range = {}, .status = {}});
    begin = end;
    bytes = 0;
  };
  for (std::size_t i = 0; i < job->items.size(); ++i) {
    const ReadJob::Item& item = job->items[i];
    if (!item.read->status.ok()) continue;
    const std::size_t size = item.read->destination.size();
    if (size >= kWarmWorkBytesMin && context_.codec->width() > 1) {
      end_run(i);
      for (const ChunkRange range : share_chunks(item.chunks, size, context_.codec->width())) {
        job->works.push_back({.begin = i, .end = i + 1, .range = range, .status = {}});
      }
      begin = i + 1;
      continue;
    }
    bytes += size;
    if (bytes >= kWarmWorkBytesMin) end_run(i + 1);
  }
  end_run(job->items.size());
  const std::size_t works = job->works.size();
  ReadJob* const running = job.release();  // whoever is last deletes it
  if (works == 0) {
    finish_reads(running);
    return;
  }
  running->left.store(works);
  for (std::size_t i = 0; i < works; ++i) {
    // Two words: what AnyInvocable holds without an allocation.
    context_.codec->submit(
        [running, i](CodecWorker& worker) { running->tier->run_read_work(running, i, worker); });
  }
}

void WarmTierImpl::run_read_work(ReadJob* job, std::size_t number, CodecWorker& of_pool) {
  {
    const Worker worker(*this, of_pool, job->submitter);
    decode(*job, number, *worker);
  }
  if (job->left.fetch_sub(1) == 1) finish_reads(job);
}

void WarmTierImpl::decode(ReadJob& job, std::size_t number, CodecWorker& worker) const {
  ReadJob::Work& work = job.works[number];
  for (std::size_t i = work.begin; i < work.end; ++i) {
    const ReadJob::Item& item = job.items[i];
    if (!work.is_part() && !item.read->status.ok()) continue;
    const ChunkRange range = work.is_part() ? work.range : item.chunks;
    const bool is_late =
        item.read->deadline != TimePoint::never() && item.read->deadline <= context_.clock->now();
    absl::Status status = is_late
                              ? make_error(ErrorCode::deadline, "it was not decoded in time")
                              : decode_image(*item.image, item.fields, range, *item.read, worker);
    (work.is_part() ? work.status : item.read->status) = std::move(status);
  }
}

void WarmTierImpl::finish_reads(ReadJob* job) {
  const std::unique_ptr<ReadJob> mine(job);
  for (const ReadJob::Work& work : mine->works) {
    absl::Status& status = mine->items[work.begin].read->status;
    if (work.is_part() && status.ok()) status = work.status;
  }
  for (const ReadJob::Item& item : mine->items) {
    if (item.image != nullptr) let_go(item.image);
  }
  finish_operation(std::move(mine->done));
}

absl::StatusOr<StoredImagePtr> WarmTierImpl::image(Location location) {
  Image* held = nullptr;
  {
    MutexLock lock(mutex_);
    if (closing_) return closed_error();
    held = hold(location);
    if (held != nullptr) ++lent_;
  }
  if (held == nullptr) return gone();
  auto out = std::make_shared<StoredImage>();
  out->hold = std::shared_ptr<const void>(held, [this](const void* image) {
    let_go(static_cast<Image*>(const_cast<void*>(image)));
    --lent_;
  });
  CAIRN_ASSIGN_OR_RETURN(out->fields, parse_record_header(held->header()));
  out->payload.reserve(held->part_count());
  for (std::size_t i = 0; i < held->part_count(); ++i) out->payload.push_back(held->part(i));
  return out;
}

}  // namespace cairn::tiers
