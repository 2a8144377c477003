// SPDX-License-Identifier: Apache-2.0
// mutex.h — std::mutex that teaches the compiler and knows its rank.
//
// Exists because libstdc++'s own mutex carries no capability attributes and Debian's
// absl::Mutex is not instrumented for TSan. Not recursive, no try_lock: both hide a
// wrong order.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "engine/base/lock_rank.h"

#if defined(__clang__)
#define CAIRN_ANNOTATE(x) __attribute__((x))
#else
#define CAIRN_ANNOTATE(x)
#endif
#define CAIRN_CAPABILITY(name) CAIRN_ANNOTATE(capability(name))
#define CAIRN_SCOPED_CAPABILITY CAIRN_ANNOTATE(scoped_lockable)
#define CAIRN_GUARDED_BY(mu) CAIRN_ANNOTATE(guarded_by(mu))
#define CAIRN_REQUIRES(...) CAIRN_ANNOTATE(requires_capability(__VA_ARGS__))
#define CAIRN_EXCLUDES(...) CAIRN_ANNOTATE(locks_excluded(__VA_ARGS__))
#define CAIRN_ACQUIRE(...) CAIRN_ANNOTATE(acquire_capability(__VA_ARGS__))
#define CAIRN_RELEASE(...) CAIRN_ANNOTATE(release_capability(__VA_ARGS__))
#define CAIRN_NO_THREAD_SAFETY_ANALYSIS CAIRN_ANNOTATE(no_thread_safety_analysis)

namespace cairn {

class CAIRN_CAPABILITY("mutex") Mutex {
 public:
  explicit Mutex(LockRank rank) : rank_(rank) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() CAIRN_ACQUIRE() {
    before_lock();
    mutex_.lock();
    after_lock();
  }
  void unlock() CAIRN_RELEASE() {
    before_unlock();
    mutex_.unlock();
  }

  LockRank rank() const { return rank_; }

 private:
  friend class CondVar;
#if defined(CAIRN_DCHECKS)
  void before_lock() const;
  void after_lock() const;
  void before_unlock() const;
#else
  void before_lock() const {}
  void after_lock() const {}
  void before_unlock() const {}
#endif
  std::mutex mutex_;
  const LockRank rank_;
};

class CAIRN_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) CAIRN_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() CAIRN_RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// Always wait in a loop that checks the condition. While waiting the rank stays
/// registered: a waiter takes no other lock, so nothing can be missed.
class CondVar {
 public:
  void notify_one() { cv_.notify_one(); }
  void notify_all() { cv_.notify_all(); }
  void wait(Mutex& mutex) CAIRN_REQUIRES(mutex) CAIRN_NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  /// False when the time ran out.
  bool wait_for(Mutex& mutex, std::chrono::nanoseconds timeout)
      CAIRN_REQUIRES(mutex) CAIRN_NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool notified = cv_.wait_for(lock, timeout) == std::cv_status::no_timeout;
    lock.release();
    return notified;
  }

 private:
  std::condition_variable cv_;
};

}  // namespace cairn
