// SPDX-License-Identifier: Apache-2.0
// evictions_told.h — what a store said that it would evict, by block and version.
//
// The store tells before it removes, so a promised block that is gone and was not told of is
// lost. The other way round proves nothing while the store lives, and less after a death: what
// was told of last may not have been done.
//
// Threading: thread-safe. Blocking: never.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>

#include "engine/base/mutex.h"
#include "engine/engine.h"

namespace cairn::test {

class EvictionsTold {
 public:
  /// For EngineOptions::on_evicted.
  void tell(std::span<const Eviction> evictions) {
    MutexLock lock(mutex_);
    for (const Eviction& eviction : evictions) {
      std::uint64_t& newest = now_[eviction.id];
      newest = std::max(newest, eviction.sequence);
      if (eviction.tier != TierKind::hot) ++from_durable_;
    }
  }

  /// A process died, and the next one is judged: what is there after all is excused no more.
  void begin_life() {
    MutexLock lock(mutex_);
    before_ = std::move(now_);
    now_.clear();
  }

  /// Whether that version of the block, or a later one, was told of in this life or in the one
  /// before it.
  bool covers(BlockId id, std::uint64_t sequence) const {
    MutexLock lock(mutex_);
    for (const auto* told : {&now_, &before_}) {
      const auto found = told->find(id);
      if (found != told->end() && found->second >= sequence) return true;
    }
    return false;
  }

  std::uint64_t from_durable() const {
    MutexLock lock(mutex_);
    return from_durable_;
  }

 private:
  mutable Mutex mutex_{LockRank::tool};
  std::map<BlockId, std::uint64_t> now_ CAIRN_GUARDED_BY(mutex_), before_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t from_durable_ CAIRN_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::test
