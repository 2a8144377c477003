// SPDX-License-Identifier: Apache-2.0
#include "tiers/io/ring.h"

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace cairn::tiers {
namespace {

/// Ops gathered before a system call; more delays the disk more than it saves.
constexpr std::uint32_t kGatherMax = 8;

__kernel_timespec to_timespec(Duration duration) {
  return {.tv_sec = duration.ns / 1'000'000'000, .tv_nsec = duration.ns % 1'000'000'000};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ring>> Ring::open(std::uint32_t depth) {
  if (depth == 0 || depth > 4096) {
    return make_error(ErrorCode::invalid_argument, "io_uring depth must be 1…4096");
  }
  auto ring = std::unique_ptr<Ring>(new Ring(depth));
  auto uring = std::make_unique<io_uring>();
  // Completions are picked up when we ask, not by interrupting the thread; kernels before 5.19
  // do not know the flag.
  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
  int error = io_uring_queue_init_params(depth + 1, uring.get(), &parameters);
  if (error == -EINVAL) {
    parameters = {};
    error = io_uring_queue_init_params(depth + 1, uring.get(), &parameters);
  }
  if (error != 0) return from_errno(-error, "io_uring_setup");
  ring->ring_ = std::move(uring);
  if ((parameters.features & IORING_FEAT_EXT_ARG) == 0) {
    return make_error(ErrorCode::io,
                      "io_uring_setup: a kernel before 5.11 cannot wait with a timeout");
  }
  ring->wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (ring->wake_fd_ < 0) return from_errno(errno, "eventfd");
  return ring;
}

Ring::Ring(std::uint32_t depth) : depth_(depth) {}

Ring::~Ring() {
  CAIRN_CHECK(in_flight_ == 0);
  if (ring_ != nullptr) io_uring_queue_exit(ring_.get());
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

bool Ring::submit(IoOp& op) {
  if (in_flight_ >= depth_) return false;
  op.error = 0;
  op.transferred = 0;
  queue(op);
  ++in_flight_;
  const bool idle = in_flight_ == unflushed_;
  if (idle || unflushed_ >= kGatherMax) flush();
  return true;
}

void Ring::reap(Duration wait, std::vector<IoOp*>& finished) {
  collect(finished);
  arm_wake();
  const bool woken = wait > Duration{} && std::exchange(woken_, false);
  if (finished.empty() && wait > Duration{} && !woken) {
    __kernel_timespec timeout = to_timespec(wait);
    io_uring_cqe* first = nullptr;
    // Its errors are a timeout, a signal, or a submission that is tried again next time.
    io_uring_submit_and_wait_timeout(ring_.get(), &first, 1, &timeout, nullptr);
    unflushed_ = io_uring_sq_ready(ring_.get());
    collect(finished);
    woken_ = false;  // the wait it was to end has ended
  } else if (unflushed_ > 0) {
    flush();
    if (finished.empty()) collect(finished);
  }
}

void Ring::wake() {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the reader is being woken already.
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof(one));
}

void Ring::queue(IoOp& op) {
  io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
  CAIRN_CHECK(entry != nullptr);  // I1
  const int fd = static_cast<int>(op.file);
  const auto parts = static_cast<unsigned>(op.buffers.size());
  switch (op.kind) {
    case IoKind::read:
      io_uring_prep_readv(entry, fd, op.buffers.data(), parts, op.offset);
      break;
    case IoKind::write:
      io_uring_prep_writev(entry, fd, op.buffers.data(), parts, op.offset);
      break;
    case IoKind::sync:
      io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
      break;
  }
  io_uring_sqe_set_data(entry, &op);
  ++unflushed_;
}

void Ring::flush() {
  // What a full completion queue or a lack of memory leaves behind goes with the next call.
  io_uring_submit(ring_.get());
  unflushed_ = io_uring_sq_ready(ring_.get());
}

void Ring::arm_wake() {
  if (wake_armed_) return;
  io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
  CAIRN_CHECK(entry != nullptr);  // I1
  io_uring_prep_poll_add(entry, wake_fd_, POLLIN);
  io_uring_sqe_set_data(entry, this);
  ++unflushed_;
  wake_armed_ = true;
}

void Ring::collect(std::vector<IoOp*>& finished) {
  io_uring_cqe* entry = nullptr;
  while (io_uring_peek_cqe(ring_.get(), &entry) == 0) {
    void* const data = io_uring_cqe_get_data(entry);
    const int result = entry->res;
    io_uring_cqe_seen(ring_.get(), entry);
    if (data == this) {
      std::uint64_t wakes = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake_fd_, &wakes, sizeof(wakes));
      wake_armed_ = false;
      woken_ = true;
      continue;
    }
    IoOp& op = *static_cast<IoOp*>(data);
    // Not a sync: what a failed one had in hand may be gone, and the next would succeed over it.
    if (op.kind != IoKind::sync && (result == -EINTR || result == -EAGAIN)) {
      queue(op);
      continue;
    }
    if (result < 0) {
      op.error = -result;
    } else if (op.kind != IoKind::sync) {
      op.transferred = static_cast<std::uint64_t>(result);
    }
    --in_flight_;
    finished.push_back(&op);
  }
}

}  // namespace cairn::tiers
