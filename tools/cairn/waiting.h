// SPDX-License-Identifier: Apache-2.0
// waiting.h — waits for the callbacks of asynchronous calls.
//
// Threading:  thread-safe.
// Blocking:   wait.
// Lifetime:   outlives the last arrive().
#pragma once

#include <cstdint>

#include "engine/base/mutex.h"

namespace cairn::tools {

/// Counts things under way.
class Waiter {
 public:
  void expect(std::uint64_t count = 1) {
    MutexLock lock(mutex_);
    expected_ += count;
  }
  void arrive() {
    MutexLock lock(mutex_);
    --expected_;
    // Inside the lock: the waiter may destroy this as soon as it sees zero.
    arrived_.notify_all();
  }
  void wait() {
    MutexLock lock(mutex_);
    while (expected_ != 0) arrived_.wait(mutex_);
  }

 private:
  Mutex mutex_{LockRank::tool};
  CondVar arrived_;
  std::uint64_t expected_ CAIRN_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::tools
