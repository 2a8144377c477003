// SPDX-License-Identifier: Apache-2.0
// wait_for.h — a tier's asynchronous call, waited for. For tools.
//
// Threading:  any thread but the tier's own loops.
// Blocking:   as the call.
#pragma once

#include <functional>
#include <utility>

#include "engine/base/mutex.h"
#include "engine/tier.h"

namespace cairn::tiers {

/// `pump` runs the loops where no thread does; null otherwise.
template <typename Start>
void wait_for(Start&& start, const std::function<void()>& pump) {
  Mutex mutex{LockRank::tool};
  CondVar finished;
  bool done = false;
  std::forward<Start>(start)(Done([&] {
    MutexLock lock(mutex);
    done = true;
    finished.notify_all();
  }));
  if (pump) {
    for (;;) {
      {
        MutexLock lock(mutex);
        if (done) return;
      }
      pump();
    }
  }
  MutexLock lock(mutex);
  // NOLINTNEXTLINE(bugprone-infinite-loop): what was started makes `done` true
  while (!done) finished.wait(mutex);
}

}  // namespace cairn::tiers
