// SPDX-License-Identifier: Apache-2.0
// write_budget.h — how many payload bytes a day the SSD is asked to take.
//
// A day begins with the first write after the last one ended. What the budget does not allow
// is refused before anything is reserved, so nothing is half done. The count is not kept over
// a restart: it guards the life of a drive against months, not against an hour.
//
// Threading: thread-safe. Blocking: never.
#pragma once

#include <cstdint>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"

namespace cairn::tiers {

class WriteBudget {
 public:
  WriteBudget(std::uint64_t bytes_per_day, const Clock& clock)
      : limit_(bytes_per_day), clock_(clock) {}

  /// False when the day's budget does not hold them; nothing is taken then.
  bool take(std::uint64_t bytes) {
    if (limit_ == 0) return true;
    MutexLock lock(mutex_);
    const TimePoint now = clock_.now();
    if (now >= day_ends_) {
      day_ends_ = now + Duration::seconds(std::int64_t{24} * 3600);
      taken_ = 0;
    }
    if (taken_ + bytes > limit_) return false;
    taken_ += bytes;
    return true;
  }
  /// What was taken and then not written.
  void give_back(std::uint64_t bytes) {
    if (limit_ == 0) return;
    MutexLock lock(mutex_);
    taken_ -= bytes < taken_ ? bytes : taken_;
  }

 private:
  const std::uint64_t limit_;
  const Clock& clock_;
  Mutex mutex_{LockRank::cold_tier};
  TimePoint day_ends_ CAIRN_GUARDED_BY(mutex_){INT64_MIN};
  std::uint64_t taken_ CAIRN_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::tiers
