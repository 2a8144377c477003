// SPDX-License-Identifier: Apache-2.0
// entry_count.h — how many operations are inside something that must sometimes be empty.
//
// Stopping as an idea of its own: close() shuts the engine's count and waits until everybody
// has left; clear() does the same with one namespace and opens it again.
//
// Threading:  thread-safe.
// Blocking:   only wait_empty.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/base/check.h"
#include "engine/base/mutex.h"

namespace cairn::detail {

class EntryCount {
 public:
  /// False while it is shut.
  bool enter() {
    MutexLock lock(mutex_);
    if (shut_) return false;
    ++inside_;
    return true;
  }
  /// For who is inside already and begins something more that is to be waited for.
  void enter_again() {
    MutexLock lock(mutex_);
    CAIRN_CHECK(inside_ > 0);
    ++inside_;
  }
  /// For who has shut it and waited until it was empty, and has something left to do in there.
  void enter_alone() {
    MutexLock lock(mutex_);
    CAIRN_CHECK(shut_ && inside_ == 0);
    ++inside_;
  }
  void leave() {
    // Notified under the lock: who waits may destroy this object as soon as it gets the lock.
    MutexLock lock(mutex_);
    CAIRN_CHECK(inside_ > 0);
    if (--inside_ == 0 && shut_) left_.notify_all();
  }
  /// False when it was shut already: only one at a time may wait for emptiness.
  bool shut() {
    MutexLock lock(mutex_);
    if (shut_) return false;
    shut_ = true;
    return true;
  }
  void open() {
    MutexLock lock(mutex_);
    shut_ = false;
  }
  bool is_shut() const {
    MutexLock lock(mutex_);
    return shut_;
  }
  /// After shut(). `pump` runs the loops where no thread does; may be null.
  void wait_empty(const std::function<void()>& pump) {
    for (;;) {
      {
        MutexLock lock(mutex_);
        if (inside_ == 0) return;
        if (!pump) {
          left_.wait(mutex_);
          continue;
        }
      }
      pump();
    }
  }

 private:
  mutable Mutex mutex_{LockRank::engine_operations};
  CondVar left_;
  std::uint64_t inside_ CAIRN_GUARDED_BY(mutex_) = 0;
  bool shut_ CAIRN_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::detail
