// SPDX-License-Identifier: Apache-2.0
#include "engine/base/event_loop.h"

#include <algorithm>

#include "engine/base/process_limits.h"
#include "engine/base/status.h"

namespace cairn {

EventLoop::EventLoop(const Clock& clock, Poller* poller) : clock_(clock), poller_(poller) {}
EventLoop::~EventLoop() = default;

void EventLoop::post(Task task) {
  bool was_empty = false;
  {
    MutexLock lock(mutex_);
    was_empty = inbox_.empty();
    inbox_.push_back(std::move(task));
  }
  if (!was_empty) return;  // whoever made it non-empty has woken the runner
  if (poller_ != nullptr) {
    poller_->wake();
  } else {
    arrived_.notify_one();
  }
}

void EventLoop::run_at(TimePoint when, Task task) {
  {
    MutexLock lock(mutex_);
    timers_.emplace(when, std::move(task));
  }
  if (poller_ != nullptr) {
    poller_->wake();
  } else {
    arrived_.notify_one();
  }
}

std::size_t EventLoop::run_once(Duration max_wait) {
  std::size_t ran = run_inbox() + run_timers();
  if (poller_ != nullptr) ran += poller_->poll(Duration{});
  if (ran > 0 || max_wait <= Duration{}) return ran;
  wait(max_wait);
  return run_inbox() + run_timers();
}

void EventLoop::run() {
  for (;;) {
    run_once(Duration::seconds(1));
    MutexLock lock(mutex_);
    if (stopping_ && inbox_.empty()) return;
  }
}

void EventLoop::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  if (poller_ != nullptr) poller_->wake();
  arrived_.notify_all();
}

TimePoint EventLoop::next_timer() const {
  MutexLock lock(mutex_);
  return timers_.empty() ? TimePoint::never() : timers_.begin()->first;
}

std::size_t EventLoop::run_inbox() {
  {
    MutexLock lock(mutex_);
    running_.swap(inbox_);
  }
  const std::size_t count = running_.size();
  for (Task& task : running_) {
    task();
    task = nullptr;  // what it captured ends before the next one runs
  }
  running_.clear();
  return count;
}

std::size_t EventLoop::run_timers() {
  const TimePoint now = clock_.now();
  std::size_t count = 0;
  for (;;) {
    Task task;
    {
      MutexLock lock(mutex_);
      if (timers_.empty() || timers_.begin()->first > now) return count;
      task = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
    }
    task();
    ++count;
  }
}

void EventLoop::wait(Duration max_wait) {
  const TimePoint next = next_timer();
  if (next != TimePoint::never()) {
    max_wait = std::clamp(next - clock_.now(), Duration{}, max_wait);
  }
  if (poller_ != nullptr) {
    poller_->poll(max_wait);
    return;
  }
  MutexLock lock(mutex_);
  if (inbox_.empty() && !stopping_) {
    arrived_.wait_for(mutex_, std::chrono::nanoseconds(max_wait.ns));
  }
}

absl::StatusOr<std::unique_ptr<LoopThread>> LoopThread::start(std::string name, EventLoop& loop) {
  CAIRN_ASSIGN_OR_RETURN(std::thread thread,
                         start_thread(std::move(name), [&loop] { loop.run(); }));
  return std::unique_ptr<LoopThread>(new LoopThread(loop, std::move(thread)));
}

LoopThread::LoopThread(EventLoop& loop, std::thread thread)
    : loop_(loop), thread_(std::move(thread)) {}

LoopThread::~LoopThread() {
  loop_.stop();
  thread_.join();
}

}  // namespace cairn
