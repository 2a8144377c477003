// SPDX-License-Identifier: Apache-2.0
#include "engine/base/mutex.h"

#if defined(CAIRN_DCHECKS)
#include <array>
#include <cstdio>
#include <cstdlib>

namespace cairn {
namespace {

constexpr std::size_t kHeldMax = 16;
struct Held {
  std::array<const Mutex*, kHeldMax> locks{};
  std::size_t count = 0;
};
thread_local Held held;

}  // namespace

void Mutex::before_lock() const {
  for (std::size_t i = 0; i < held.count; ++i) {
    if (held.locks[i]->rank_ > rank_) continue;
    std::fprintf(stderr, "lock order: rank %u taken while rank %u is held\n",
                 static_cast<unsigned>(rank_), static_cast<unsigned>(held.locks[i]->rank_));
    std::abort();
  }
}

void Mutex::after_lock() const {
  if (held.count == kHeldMax) std::abort();
  held.locks[held.count++] = this;
}

void Mutex::before_unlock() const {
  for (std::size_t i = held.count; i-- > 0;) {
    if (held.locks[i] != this) continue;
    held.locks[i] = held.locks[--held.count];
    return;
  }
  std::fprintf(stderr, "unlock of a lock that this thread does not hold\n");
  std::abort();
}

}  // namespace cairn
#endif
