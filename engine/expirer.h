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

 private:
  struct Due {
    WallMicros expiry = 0;
    BlockId id;
    friend bool operator>(const Due& a, const Due& b) { return a.expiry > b.expiry; }
  };
  void sweep();
  void arm() CAIRN_REQUIRES(mutex_);
  void remove_gated(BlockId id, std::uint64_t sequence);

  EngineCore& core_;
  Mover& mover_;
  Mutex mutex_{LockRank::engine_operations};
  /// A heap, earliest first. One element for each version that was published with an expiry,
  /// dropped when its time comes: the catalog says whether it still holds.
  std::vector<Due> heap_ CAIRN_GUARDED_BY(mutex_);
  bool armed_ CAIRN_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::detail
