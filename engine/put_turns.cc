// SPDX-License-Identifier: Apache-2.0
#include "engine/put_turns.h"

#include <utility>

#include "engine/base/check.h"

namespace cairn::detail {

void PutTurns::enter(std::uint64_t bytes, std::uint64_t limit, Task go) {
  {
    MutexLock lock(mutex_);
    // Those that have been waiting go first, also when let_in() has only just taken them out.
    if (letting_in_ || !waiting_.empty() || !may_enter(bytes, limit)) {
      waiting_.push_back({bytes, limit, std::move(go)});
      return;
    }
    under_way_ += bytes;
  }
  go();
}

void PutTurns::leave(std::uint64_t bytes) {
  {
    MutexLock lock(mutex_);
    CAIRN_CHECK(under_way_ >= bytes);
    under_way_ -= bytes;
    if (waiting_.empty() || letting_in_) return;
    letting_in_ = true;
  }
  loop_.post([this] { let_in(); });
}

void PutTurns::let_in() {
  for (;;) {
    Task go;
    {
      MutexLock lock(mutex_);
      if (waiting_.empty() || !may_enter(waiting_.front().bytes, waiting_.front().limit)) {
        letting_in_ = false;
        return;
      }
      under_way_ += waiting_.front().bytes;
      go = std::move(waiting_.front().go);
      waiting_.pop_front();
    }
    go();
  }
}

}  // namespace cairn::detail
