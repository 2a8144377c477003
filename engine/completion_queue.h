// SPDX-License-Identifier: Apache-2.0
// completion_queue.h — completions for a loop that waits on descriptors: epoll, libuv, asyncio.
//
//   engine.acquire(ns, keys, {}, queue.deliver<absl::StatusOr<Lease>>(
//                                    [](absl::StatusOr<Lease> lease) { … }));
//   // the loop: when queue.descriptor() is readable
//   queue.run();
//
// The engine calls back on its own threads, where nothing may block. What goes through a queue is
// called by whoever runs it instead; the descriptor is readable as long as something waits.
//
// Threading:  deliver and what it returns are thread-safe; run belongs to one thread at a time.
// Blocking:   never; run as long as the completions it calls.
// Failure:    out of descriptors is an error of make(). What was delivered and never run is
//             destroyed with the queue: leases end.
// Lifetime:   outlives every operation whose completion goes through it.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/event_loop.h"
#include "engine/base/mutex.h"

namespace cairn {

class CompletionQueue {
 public:
  static absl::StatusOr<std::unique_ptr<CompletionQueue>> make();
  ~CompletionQueue();
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  /// An eventfd, non-blocking, close-on-exec; the queue's own. To be waited on, not read.
  int descriptor() const { return descriptor_; }

  /// A callback for the engine that hands its result to `done` when the queue is run.
  template <typename Result>
  std::function<void(Result)> deliver(std::function<void(Result)> done) {
    return [this, done = std::move(done)](Result result) {
      push([done, result = std::move(result)]() mutable { done(std::move(result)); });
    };
  }

  /// Calls what has come, in the order in which it came. Returns how many.
  std::size_t run();

 private:
  explicit CompletionQueue(int descriptor) : descriptor_(descriptor) {}
  void push(Task task);

  const int descriptor_;
  Mutex mutex_{LockRank::event_loop};
  std::vector<Task> waiting_ CAIRN_GUARDED_BY(mutex_);
};

}  // namespace cairn
