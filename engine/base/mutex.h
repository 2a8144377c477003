// SPDX-License-Identifier: Apache-2.0
// mutex.h — std::mutex that teaches the compiler and knows its rank.
//
// Exists because libstdc++'s own mutex carries no capability attributes and Debian's
// absl::Mutex is not instrumented for TSan. Not recursive, no try_lock: both hide a
// wrong order. SharedMutex has a shared half for those who only read, and prefers writers.
#pragma once

#include <pthread.h>

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
#define CAIRN_ACQUIRE_SHARED(...) CAIRN_ANNOTATE(acquire_shared_capability(__VA_ARGS__))
#define CAIRN_RELEASE_SHARED(...) CAIRN_ANNOTATE(release_shared_capability(__VA_ARGS__))
#define CAIRN_RELEASE_ANY(...) CAIRN_ANNOTATE(release_generic_capability(__VA_ARGS__))
#define CAIRN_NO_THREAD_SAFETY_ANALYSIS CAIRN_ANNOTATE(no_thread_safety_analysis)

namespace cairn {

namespace detail {
/// The order in which a thread takes locks, in checked builds.
#if defined(CAIRN_DCHECKS)
void before_lock(LockRank rank);
void after_lock(const void* lock, LockRank rank);
void before_unlock(const void* lock);
#else
inline void before_lock(LockRank) {}
inline void after_lock(const void*, LockRank) {}
inline void before_unlock(const void*) {}
#endif
}  // namespace detail

class CAIRN_CAPABILITY("mutex") Mutex {
 public:
  explicit Mutex(LockRank rank) : rank_(rank) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() CAIRN_ACQUIRE() {
    detail::before_lock(rank_);
    mutex_.lock();
    detail::after_lock(this, rank_);
  }
  void unlock() CAIRN_RELEASE() {
    detail::before_unlock(this);
    mutex_.unlock();
  }

  LockRank rank() const { return rank_; }

 private:
  friend class CondVar;
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

/// Many readers or one writer. pthread's own lock and not std::shared_mutex, which lets readers
/// in for as long as there are any while a writer waits. Not recursive, in neither half.
class CAIRN_CAPABILITY("shared mutex") SharedMutex {
 public:
  explicit SharedMutex(LockRank rank);
  ~SharedMutex() { pthread_rwlock_destroy(&lock_); }
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;

  void lock() CAIRN_ACQUIRE();
  void lock_shared() CAIRN_ACQUIRE_SHARED();
  /// Of either half.
  void unlock() CAIRN_RELEASE_ANY();

 private:
  pthread_rwlock_t lock_;
  const LockRank rank_;
};

class CAIRN_SCOPED_CAPABILITY SharedMutexLock {
 public:
  explicit SharedMutexLock(SharedMutex& mutex) CAIRN_ACQUIRE(mutex) : mutex_(mutex) {
    mutex_.lock();
  }
  ~SharedMutexLock() CAIRN_RELEASE() { mutex_.unlock(); }
  SharedMutexLock(const SharedMutexLock&) = delete;
  SharedMutexLock& operator=(const SharedMutexLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class CAIRN_SCOPED_CAPABILITY SharedMutexReadLock {
 public:
  explicit SharedMutexReadLock(SharedMutex& mutex) CAIRN_ACQUIRE_SHARED(mutex) : mutex_(mutex) {
    mutex_.lock_shared();
  }
  ~SharedMutexReadLock() CAIRN_RELEASE() { mutex_.unlock(); }
  SharedMutexReadLock(const SharedMutexReadLock&) = delete;
  SharedMutexReadLock& operator=(const SharedMutexReadLock&) = delete;

 private:
  SharedMutex& mutex_;
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
