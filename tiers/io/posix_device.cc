// SPDX-License-Identifier: Apache-2.0
#include "tiers/io/posix_device.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "engine/base/process_limits.h"
#include "engine/base/status.h"

namespace cairn::tiers {
namespace {

void transfer(IoOp& op) {
  const int fd = static_cast<int>(op.file);
  const auto parts = static_cast<int>(op.buffers.size());
  const auto offset = static_cast<off_t>(op.offset);
  ssize_t result = 0;
  do {
    switch (op.kind) {
      case IoKind::read:
        result = ::preadv(fd, op.buffers.data(), parts, offset);
        break;
      case IoKind::write:
        result = ::pwritev(fd, op.buffers.data(), parts, offset);
        break;
      case IoKind::sync:
        result = ::fdatasync(fd);
        break;
    }
  } while (result < 0 && errno == EINTR && op.kind != IoKind::sync);
  if (result < 0) {
    op.error = errno;
  } else if (op.kind != IoKind::sync) {
    op.transferred = static_cast<std::uint64_t>(result);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<PosixDevice>> PosixDevice::open(std::uint32_t depth,
                                                               std::uint32_t threads, bool direct,
                                                               std::string note) {
  std::unique_ptr<PosixDevice> device(new PosixDevice(depth, direct, std::move(note)));
  for (std::uint32_t i = 0; i < std::max(1U, threads); ++i) {
    CAIRN_ASSIGN_OR_RETURN(std::thread thread,
                           start_thread("cairn-io", [self = device.get()] { self->work(); }));
    device->threads_.push_back(std::move(thread));
  }
  return device;
}

PosixDevice::PosixDevice(std::uint32_t depth, bool direct, std::string note)
    : PosixFiles("posix", depth, direct, std::move(note)), depth_(depth) {}

PosixDevice::~PosixDevice() {
  thread_.detach();
  while (in_flight_ > 0) poll(Duration::seconds(1));
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  queued_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool PosixDevice::submit(IoOp& op) {
  thread_.check();
  if (in_flight_ >= depth_) return false;
  ++in_flight_;
  count_accepted();
  op.error = 0;
  op.transferred = 0;
  {
    MutexLock lock(mutex_);
    if (op.kind != IoKind::sync && !is_aligned(op)) {
      op.error = EINVAL;
      finished_.push_back(&op);
      return true;
    }
    queue_.push_back(&op);
  }
  queued_.notify_one();
  return true;
}

std::size_t PosixDevice::poll(Duration max_wait) {
  thread_.check();
  const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(max_wait.ns);
  std::vector<IoOp*> batch;
  {
    MutexLock lock(mutex_);
    while (finished_.empty() && !woken_ && max_wait > Duration{}) {
      const std::chrono::nanoseconds left = until - std::chrono::steady_clock::now();
      if (left.count() <= 0) break;
      arrived_.wait_for(mutex_, left);
    }
    if (max_wait > Duration{}) woken_ = false;  // one that only looks would lose it
    batch.swap(finished_);
  }
  in_flight_ -= batch.size();
  for (IoOp* op : batch) {
    count_finished(*op);
    op->done(*op);
  }
  return batch.size();
}

void PosixDevice::wake() {
  {
    MutexLock lock(mutex_);
    woken_ = true;
  }
  arrived_.notify_one();
}

void PosixDevice::work() {
  for (;;) {
    IoOp* op = nullptr;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) queued_.wait(mutex_);
      if (queue_.empty()) return;
      op = queue_.front();
      queue_.pop_front();
    }
    transfer(*op);
    {
      MutexLock lock(mutex_);
      finished_.push_back(op);
    }
    arrived_.notify_one();
  }
}

}  // namespace cairn::tiers
