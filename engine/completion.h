// SPDX-License-Identifier: Apache-2.0
// completion.h — waits for one callback, for the calls that end in _sync.
//
// Threading:  thread-safe. notify() may be called once.
// Blocking:   wait.
// Lifetime:   may be destroyed when wait() has returned true; notify() then touches it no more.
#pragma once

#include <algorithm>
#include <functional>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"

namespace cairn::detail {

class Completion {
 public:
  void notify() {
    MutexLock lock(mutex_);
    done_ = true;
    arrived_.notify_all();
  }
  bool is_done() const {
    MutexLock lock(mutex_);
    return done_;
  }
  /// `pump` runs the loops once and returns false where threads run them.
  void wait(const std::function<bool()>& pump) {
    while (!is_done()) {
      if (pump()) continue;
      MutexLock lock(mutex_);
      while (!done_) arrived_.wait(mutex_);
    }
  }
  /// False when the deadline came first.
  bool wait_until(const std::function<bool()>& pump, const Clock& clock, Deadline deadline) {
    while (!is_done()) {
      const TimePoint now = clock.now();
      if (now >= deadline) return false;
      if (pump()) continue;
      const std::int64_t left = std::min<std::int64_t>((deadline - now).ns, 100'000'000);
      MutexLock lock(mutex_);
      if (!done_) arrived_.wait_for(mutex_, std::chrono::nanoseconds(left));
    }
    return true;
  }

 private:
  mutable Mutex mutex_{LockRank::engine_operations};
  CondVar arrived_;
  bool done_ CAIRN_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::detail
