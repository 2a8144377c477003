// SPDX-License-Identifier: Apache-2.0
// loop_scope.h — tasks of one owner on a loop that outlives it.
//
// A loop's timers cannot be cancelled, and the engine goes before its loops do. What is posted
// through a scope is dropped once the scope has ended, so no task ever meets a dead engine.
//
// Threading:  thread-safe.
// Blocking:   only end().
// Lifetime:   end() runs before the owner is destroyed, and not on the loop's own thread unless
//             it is pumped.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "engine/base/event_loop.h"
#include "engine/completion.h"

namespace cairn::detail {

class LoopScope {
 public:
  explicit LoopScope(EventLoop& loop) : loop_(loop), alive_(std::make_shared<bool>(true)) {}

  void post(Task task) { loop_.post(guarded(std::move(task))); }
  void run_at(TimePoint when, Task task) { loop_.run_at(when, guarded(std::move(task))); }
  void run_after(Duration wait, Task task) { run_at(clock().now() + wait, std::move(task)); }
  const Clock& clock() const { return loop_.clock(); }

  /// Runs what was posted before, drops what comes after.
  void end(const std::function<bool()>& pump) {
    Completion ended;
    loop_.post([alive = alive_, &ended] {
      *alive = false;
      ended.notify();
    });
    ended.wait(pump);
  }

 private:
  Task guarded(Task task) {
    return [alive = alive_, task = std::move(task)]() mutable {
      if (*alive) task();
    };
  }

  EventLoop& loop_;
  std::shared_ptr<bool> alive_;  // read and written on the loop's thread alone
};

}  // namespace cairn::detail
