// SPDX-License-Identifier: Apache-2.0
// space.h — how much room there is, for those who ask from other threads.
//
// The limit is physical: segments and the index's share together never pass cold_bytes,
// because no more segment files are made than fit beside the share. What users may fill is
// two segments less: the cleaner and tombstones need room to work when all else is full.
//
// A segment that is sealed occupies all of itself but the records that died in it: its tail
// and its footer are lost until it is cleaned, so they count. So `used` says what evicting
// would bring back, and nothing it would not.
//
// Bytes are not room: of a segment that holds three blocks, a third is what one of them takes,
// and a tail too short for another is no room at all. So blocks are charged with their share of
// the tail that they will leave (room_for), and tails are asked one by one.
//
// Threading:  thread-safe. publish() is the I/O loop's.
// Blocking:   never.
// Failure:    admit: `no_space` when only removing blocks helps, `busy` when cleaning does.
#pragma once

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "engine/base/mutex.h"
#include "engine/tier.h"

namespace cairn::tiers {

/// The I/O loop's view of the segments, in bytes.
struct SpaceView {
  std::uint64_t capacity = 0;  // what users may fill
  std::uint64_t occupied = 0;  // not free, not dead
  std::uint64_t dead = 0;      // the cleaner can win it back
  std::uint64_t segment_bytes = 0;
  std::uint64_t free = 0;  // segments that users may take without any cleaning
  /// Left in those that users append to, or may go on in; what is beyond kTailsMax is not told.
  static constexpr std::size_t kTailsMax = 8;
  std::array<std::uint64_t, kTailsMax> tails{};
  bool is_known = false;      // the live bytes of every segment have been counted
  bool is_cleanable = false;  // some segment is worth cleaning
};

class Space {
 public:
  /// Promises `bytes`, which records are charged (room_for), the largest of them `largest` long.
  absl::Status admit(std::uint64_t bytes, std::uint64_t largest);
  void release(std::uint64_t bytes);
  void publish(const SpaceView& view);

  /// Entries of the index, counted as they come and go.
  void count_entry(std::int64_t blocks, std::int64_t entry_bytes);
  void set_index_limit(std::uint64_t entry_bytes_max);

  TierUsage usage() const;
  std::uint64_t blocks() const;
  std::uint64_t entry_bytes() const;
  std::uint64_t reserved() const;

 private:
  mutable Mutex mutex_{LockRank::cold_tier};
  SpaceView view_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t reserved_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::int64_t blocks_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::int64_t entry_bytes_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::uint64_t entry_bytes_max_ CAIRN_GUARDED_BY(mutex_) = 0;
};

/// How a limit is shared out. Pure.
struct SpacePlan {
  std::uint64_t segment_bytes = 0;
  std::uint64_t index_bytes = 0;  // set aside for the index
  std::uint32_t segments = 0;     // files that fit beside it
};
constexpr std::uint32_t kReservedSegments = 2;
constexpr std::uint64_t kColdBytesMin = 40 * kMiB;

std::uint64_t segment_bytes_for(std::uint64_t cold_bytes);
std::uint64_t index_bytes_for(std::uint64_t cold_bytes);
/// What a record, with its header's copy in the footer, is charged: its share of a segment that is
/// filled with records like it.
std::uint64_t room_for(std::uint64_t record_bytes, std::uint64_t segment_bytes);
/// The largest payload whose record and footer fit into an empty segment, whatever its key.
std::uint64_t block_bytes_max_for(std::uint64_t segment_bytes);
/// For a store whose segment size is fixed already.
SpacePlan plan_space(std::uint64_t cold_bytes, std::uint64_t segment_bytes,
                     std::uint64_t index_bytes);

/// What one entry is charged against the index's share: key and value in a table file, with
/// room for the second copy that compaction makes.
constexpr std::uint64_t index_entry_cost(std::size_t key_length) {
  return key_length + 112;
}

}  // namespace cairn::tiers
