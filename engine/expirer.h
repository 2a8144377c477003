// SPDX-License-Identifier: Apache-2.0
// expirer.h — takes out blocks whose time has come.
//
// An expired block is a miss from the moment it is seen to be expired, and what has been seen
// to be expired is taken out, so that a wall clock that jumps back resurrects nothing. Without
// readers a sweep does it once a second, as long as there is anything that expires.
//
// Threading:  thread-safe.
// Blocking:   never.
#pragma once

#include <atomic>
#include <vector>

#include "engine/core.h"
#include "engine/mover.h"

namespace cairn::detail {

class Expirer {
 public:
  Expirer(EngineCore& core, Mover& mover) : core_(core), mover_(mover) {}

  /// This version has been seen to be expired.
  void expire(BlockId id, std::uint64_t sequence);
  /// A block that expires has been published.
  void note(BlockId id, WallMicros expiry);
  /// What the expiries that are noted take.
  std::uint64_t bytes() const {
    MutexLock lock(mutex_);
    return heap_.capacity() * sizeof(Due);
  }

 private:
  struct Due {
    WallMicros expiry = 0;
    BlockId id;
    friend auto operator<=>(const Due&, const Due&) = default;
  };
  void sweep();
  void arm(Duration after) CAIRN_REQUIRES(mutex_);
  void compact();
  void remove_gated(BlockId id, std::uint64_t sequence);

  EngineCore& core_;
  Mover& mover_;
  mutable Mutex mutex_{LockRank::engine_operations};
  static constexpr std::size_t kCompactMin = 4096;
  /// A heap, earliest first. One element for each version that was published with an expiry; the
  /// catalog says whether it still holds. Those that do not are dropped when they are half of it:
  /// it has at most twice as many as there are blocks that expire, and what a second adds.
  std::vector<Due> heap_ CAIRN_GUARDED_BY(mutex_);
  std::size_t compact_at_ CAIRN_GUARDED_BY(mutex_) = kCompactMin;
  bool armed_ CAIRN_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::detail
