// SPDX-License-Identifier: Apache-2.0
#include "engine/completion_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace cairn {

absl::StatusOr<std::unique_ptr<CompletionQueue>> CompletionQueue::make() {
  const int descriptor = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (descriptor < 0) return from_errno(errno, "eventfd");
  return std::unique_ptr<CompletionQueue>(new CompletionQueue(descriptor));
}

CompletionQueue::~CompletionQueue() {
  ::close(descriptor_);
}

void CompletionQueue::push(Task task) {
  MutexLock lock(mutex_);
  waiting_.push_back(std::move(task));
  // One signal until the next run(), given under its lock: it is neither lost nor doubled.
  if (waiting_.size() == 1) CAIRN_CHECK(::eventfd_write(descriptor_, 1) == 0);
}

std::size_t CompletionQueue::run() {
  std::vector<Task> ready;
  {
    MutexLock lock(mutex_);
    if (waiting_.empty()) return 0;
    eventfd_t signals = 0;
    CAIRN_CHECK(::eventfd_read(descriptor_, &signals) == 0);
    ready.swap(waiting_);
  }
  for (Task& task : ready) task();
  return ready.size();
}

}  // namespace cairn
