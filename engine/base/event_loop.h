// SPDX-License-Identifier: Apache-2.0
// event_loop.h — a queue of tasks and timers that one thread runs.
//
// Everything in the background runs on a loop: the cold tier's I/O, its index, the
// mover, recovery. In production each loop has a thread (LoopThread); in simulation
// they all share one loop that a test pumps by hand with a manual clock, and then a
// run is a pure function of its seed.
//
// Threading:  post, run_at and wake are thread-safe; run_once and run belong to the
//             thread that runs the loop.
// Blocking:   post never. Tasks of an I/O loop never block; those of others may.
// Failure:    tasks do not throw.
// Invariants: tasks posted by one thread run in the order in which it posted them; every
//             task posted before stop() runs; timers run at or after their time, in its order.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"

namespace cairn {

using Task = absl::AnyInvocable<void()>;

/// What a loop waits in when it has nothing to do: a device with completions to reap.
class Poller {
 public:
  virtual ~Poller() = default;
  /// Runs the callbacks of what has finished; waits at most `max_wait` for the first.
  /// Returns how many ran. Called by the loop's thread only.
  virtual std::size_t poll(Duration max_wait) = 0;
  /// Makes a waiting poll return. Thread-safe.
  virtual void wake() = 0;
};

class EventLoop {
 public:
  /// `poller` may be null; otherwise it outlives the loop.
  explicit EventLoop(const Clock& clock, Poller* poller = nullptr);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void post(Task task);
  /// Runs once `when` is reached. Never cancelled: a task checks whether it is still wanted.
  void run_at(TimePoint when, Task task);

  /// Runs what is due, waiting up to `max_wait` when nothing is. Returns how many tasks,
  /// timers and completions ran.
  std::size_t run_once(Duration max_wait);
  /// run_once until stop() was called and the inbox is empty.
  void run();
  void stop();

  /// When the next timer is due; never() if there is none. For simulations.
  TimePoint next_timer() const;
  const Clock& clock() const { return clock_; }

 private:
  std::size_t run_inbox();
  std::size_t run_timers();
  void wait(Duration max_wait);

  const Clock& clock_;
  Poller* const poller_;
  mutable Mutex mutex_{LockRank::event_loop};
  CondVar arrived_;
  std::vector<Task> inbox_ CAIRN_GUARDED_BY(mutex_);
  std::multimap<TimePoint, Task> timers_ CAIRN_GUARDED_BY(mutex_);
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  std::vector<Task> running_;  // confined to the running thread
};

/// A named thread that runs one loop until destroyed.
class LoopThread {
 public:
  /// `busy` when the process may have no more threads. The loop outlives what is returned.
  static absl::StatusOr<std::unique_ptr<LoopThread>> start(std::string name, EventLoop& loop);
  ~LoopThread();
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

 private:
  LoopThread(EventLoop& loop, std::thread thread);

  EventLoop& loop_;
  std::thread thread_;
};

}  // namespace cairn
