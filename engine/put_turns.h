// SPDX-License-Identifier: Apache-2.0
// put_turns.h — how much of cold may be on its way there at once.
//
// A put keeps the gates of all its blocks until it ends, and what is behind a closed gate is not
// evicted. Puts that together want more than cold holds would each sit on what they have written
// and wait for the others to give way. So a put takes its turn for all of its bytes, before its
// gates, and the turns of one time take at most a share of cold. One put alone may take any
// number: it waits for nobody.
//
// Turns are given in order of arrival, so of two puts of one name the later one wins here as at
// the gates. Who has a turn waits for gates only of those that have one too, or need none: there
// is no circle.
//
// Threading:  thread-safe.
// Blocking:   never; who has waited goes on as a task of the loop.
#pragma once

#include <cstdint>
#include <deque>

#include "engine/base/mutex.h"
#include "engine/loop_scope.h"

namespace cairn::detail {

class PutTurns {
 public:
  explicit PutTurns(LoopScope& loop) : loop_(loop) {}

  /// Runs `go` now, or when those under way are out of the way: together they take `limit`.
  void enter(std::uint64_t bytes, std::uint64_t limit, Task go);
  void leave(std::uint64_t bytes);

 private:
  struct Waiting {
    std::uint64_t bytes = 0, limit = 0;
    Task go;
  };
  bool may_enter(std::uint64_t bytes, std::uint64_t limit) const CAIRN_REQUIRES(mutex_) {
    return under_way_ == 0 || under_way_ + bytes <= limit;
  }
  void let_in();

  LoopScope& loop_;
  Mutex mutex_{LockRank::engine_operations};
  std::uint64_t under_way_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::deque<Waiting> waiting_ CAIRN_GUARDED_BY(mutex_);
  bool letting_in_ CAIRN_GUARDED_BY(mutex_) = false;  // let_in() is posted, or runs
};

}  // namespace cairn::detail
