// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/space.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/record/format.h"
#include "tiers/record/record.h"

namespace cairn::tiers {

namespace {

/// Less its header, and a page of footer.
std::uint64_t payload_room(std::uint64_t segment_bytes) {
  return segment_bytes - std::min(segment_bytes, 2 * kPage);
}

/// What can be appended without any cleaning, in the unit that records are charged in.
std::uint64_t writable_for(const SpaceView& view, std::uint64_t record_bytes) {
  std::uint64_t room = view.free * payload_room(view.segment_bytes);
  for (const std::uint64_t tail : view.tails) {
    room += tail / std::max<std::uint64_t>(record_bytes, 1) *
            room_for(record_bytes, view.segment_bytes);
  }
  return room;
}

}  // namespace

std::uint64_t room_for(std::uint64_t record_bytes, std::uint64_t segment_bytes) {
  const std::uint64_t room = payload_room(segment_bytes);
  const std::uint64_t records = room / std::max<std::uint64_t>(record_bytes, 1);
  return std::max(record_bytes, room / std::max<std::uint64_t>(records, 1));
}

absl::Status Space::admit(std::uint64_t bytes, std::uint64_t largest) {
  MutexLock lock(mutex_);
  if (entry_bytes_max_ != 0 && entry_bytes_ > static_cast<std::int64_t>(entry_bytes_max_)) {
    return make_error(ErrorCode::no_space, "the index has reached its share of the limit");
  }
  const std::uint64_t wanted = reserved_ + bytes;
  if (view_.is_known && view_.capacity == 0) {  // no eviction would help
    return make_error(ErrorCode::degraded, "nearly all segments are out of use; check the disk");
  }
  if (view_.is_known && view_.occupied + wanted > view_.capacity) {
    return make_error(ErrorCode::no_space,
                      concat("the cold tier is full: ", view_.occupied, " of ", view_.capacity,
                             " bytes are in use and ", reserved_, " promised"));
  }
  const std::uint64_t writable = writable_for(view_, largest);
  if (wanted > writable) {
    if (!view_.is_known) return make_error(ErrorCode::busy, "free space is still being counted");
    if (!view_.is_cleanable) {
      return make_error(ErrorCode::no_space,
                        "the cold tier is full and cleaning would win nothing");
    }
    // As much as one cleaned segment holds may wait for the cleaner.
    if (wanted > writable + view_.segment_bytes) {
      return make_error(ErrorCode::busy, "segments are being cleaned");
    }
  }
  reserved_ = wanted;
  return absl::OkStatus();
}

void Space::release(std::uint64_t bytes) {
  MutexLock lock(mutex_);
  CAIRN_CHECK(reserved_ >= bytes);
  reserved_ -= bytes;
}

void Space::publish(const SpaceView& view) {
  MutexLock lock(mutex_);
  view_ = view;
}

void Space::count_entry(std::int64_t blocks, std::int64_t entry_bytes) {
  MutexLock lock(mutex_);
  blocks_ += blocks;
  entry_bytes_ += entry_bytes;
}

void Space::set_index_limit(std::uint64_t entry_bytes_max) {
  MutexLock lock(mutex_);
  entry_bytes_max_ = entry_bytes_max;
}

TierUsage Space::usage() const {
  MutexLock lock(mutex_);
  return {.capacity_bytes = view_.capacity,
          .used_bytes = view_.occupied + reserved_,
          .dead_bytes = view_.dead,
          .blocks = static_cast<std::uint64_t>(std::max<std::int64_t>(0, blocks_))};
}

std::uint64_t Space::blocks() const {
  return usage().blocks;
}

std::uint64_t Space::entry_bytes() const {
  MutexLock lock(mutex_);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, entry_bytes_));
}

std::uint64_t Space::reserved() const {
  MutexLock lock(mutex_);
  return reserved_;
}

std::uint64_t segment_bytes_for(std::uint64_t cold_bytes) {
  return std::clamp(cold_bytes / 128 / kMiB * kMiB, kSegmentBytesMin, kSegmentBytesMax);
}

std::uint64_t index_bytes_for(std::uint64_t cold_bytes) {
  return std::max(16 * kMiB, round_up(cold_bytes / 32, kMiB));
}

std::uint64_t block_bytes_max_for(std::uint64_t segment_bytes) {
  const auto chunks =
      static_cast<std::uint32_t>(std::min(segment_bytes, kBlockBytesMax) / kPlaneChunkBytesMin + 1);
  const std::uint64_t header = record_header_bytes(kKeyLengthMax, chunks);
  const std::uint64_t overhead = kPage + round_up(header, kPage) + footer_bytes(header);
  return std::min(kBlockBytesMax, segment_bytes / kPage * kPage - overhead);
}

SpacePlan plan_space(std::uint64_t cold_bytes, std::uint64_t segment_bytes,
                     std::uint64_t index_bytes) {
  SpacePlan plan;
  plan.segment_bytes = segment_bytes;
  plan.index_bytes = index_bytes;
  const std::uint64_t rest = cold_bytes > index_bytes ? cold_bytes - index_bytes : 0;
  plan.segments =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(rest / segment_bytes, kSegmentsMax));
#if defined(CAIRN_PLANTED_LIMIT_EXCEEDED)
  plan.segments += 1 + static_cast<std::uint32_t>(index_bytes / segment_bytes);
#endif
  return plan;
}

}  // namespace cairn::tiers
