// SPDX-License-Identifier: Apache-2.0
// rate_budget.h — so many bytes a second, for work that may wait or be left undone.
//
// A token bucket that holds one second's worth. What is taken may be more than is left, so that one
// large block passes, too; then nothing more does until that has been made up for.
//
// Threading:  thread-safe.
// Blocking:   never.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"

namespace cairn::detail {

class RateBudget {
 public:
  /// 0: no limit. May change while running.
  void set_rate(std::uint64_t bytes_per_second) {
    MutexLock lock(mutex_);
    rate_ = bytes_per_second;
    left_ = std::min(left_, static_cast<double>(rate_));
    if (!started_) left_ = static_cast<double>(rate_);
  }
  bool take(std::uint64_t bytes, TimePoint now) {
    MutexLock lock(mutex_);
    if (rate_ == 0) return true;
    const double rate = static_cast<double>(rate_);
    if (started_) left_ = std::min(rate, left_ + rate * (now - last_).as_seconds());
    started_ = true;
    last_ = now;
    if (left_ <= 0) return false;
    left_ -= static_cast<double>(bytes);
    return true;
  }

 private:
  Mutex mutex_{LockRank::metrics};
  std::uint64_t rate_ CAIRN_GUARDED_BY(mutex_) = 0;
  double left_ CAIRN_GUARDED_BY(mutex_) = 0;
  bool started_ CAIRN_GUARDED_BY(mutex_) = false;
  TimePoint last_ CAIRN_GUARDED_BY(mutex_);
};

}  // namespace cairn::detail
