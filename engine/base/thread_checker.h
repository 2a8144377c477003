// SPDX-License-Identifier: Apache-2.0
// thread_checker.h — asserts that a confined class stays with its thread.
#pragma once

#include <atomic>
#include <thread>

#include "engine/base/check.h"

namespace cairn {

/// Binds to the first thread that calls check(); detach() lets the next one take over.
/// Costs nothing unless CAIRN_DCHECKS is defined.
class ThreadChecker {
 public:
#if defined(CAIRN_DCHECKS)
  void check() const {
    std::thread::id unowned{};
    const std::thread::id self = std::this_thread::get_id();
    if (owner_.compare_exchange_strong(unowned, self)) return;
    CAIRN_CHECK(unowned == self);
  }
  void detach() {
    owner_.store(std::thread::id{});
  }

 private:
  mutable std::atomic<std::thread::id> owner_{};
#else
  void check() const {}
  void detach() {}
#endif
};

}  // namespace cairn
