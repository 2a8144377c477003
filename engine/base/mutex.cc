// SPDX-License-Identifier: Apache-2.0
#include "engine/base/mutex.h"

#include "engine/base/check.h"

#if defined(CAIRN_DCHECKS)
#include <array>
#include <cstdio>
#include <cstdlib>
#endif

namespace cairn {

#if defined(CAIRN_DCHECKS)
namespace detail {
namespace {

constexpr std::size_t kHeldMax = 16;
struct Held {
  struct Lock {
    const void* lock = nullptr;
    LockRank rank{};
  };
  std::array<Lock, kHeldMax> locks{};
  std::size_t count = 0;
};
thread_local Held held;

}  // namespace

void before_lock(LockRank rank) {
  for (std::size_t i = 0; i < held.count; ++i) {
    if (held.locks[i].rank > rank) continue;
    std::fprintf(stderr, "lock order: rank %u taken while rank %u is held\n",
                 static_cast<unsigned>(rank), static_cast<unsigned>(held.locks[i].rank));
    std::abort();
  }
}

void after_lock(const void* lock, LockRank rank) {
  if (held.count == kHeldMax) std::abort();
  held.locks[held.count++] = {lock, rank};
}

void before_unlock(const void* lock) {
  for (std::size_t i = held.count; i-- > 0;) {
    if (held.locks[i].lock != lock) continue;
    held.locks[i] = held.locks[--held.count];
    return;
  }
  std::fprintf(stderr, "unlock of a lock that this thread does not hold\n");
  std::abort();
}

}  // namespace detail
#endif

SharedMutex::SharedMutex(LockRank rank) : rank_(rank) {
  pthread_rwlockattr_t attributes;
  pthread_rwlockattr_init(&attributes);
  pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  CAIRN_CHECK(pthread_rwlock_init(&lock_, &attributes) == 0);
  pthread_rwlockattr_destroy(&attributes);
}

void SharedMutex::lock() CAIRN_NO_THREAD_SAFETY_ANALYSIS {
  detail::before_lock(rank_);
  CAIRN_CHECK(pthread_rwlock_wrlock(&lock_) == 0);
  detail::after_lock(this, rank_);
}

void SharedMutex::lock_shared() CAIRN_NO_THREAD_SAFETY_ANALYSIS {
  detail::before_lock(rank_);
  CAIRN_CHECK(pthread_rwlock_rdlock(&lock_) == 0);
  detail::after_lock(this, rank_);
}

void SharedMutex::unlock() CAIRN_NO_THREAD_SAFETY_ANALYSIS {
  detail::before_unlock(this);
  CAIRN_CHECK(pthread_rwlock_unlock(&lock_) == 0);
}

}  // namespace cairn
