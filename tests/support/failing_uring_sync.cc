// SPDX-License-Identifier: Apache-2.0
#include "tests/support/failing_uring_sync.h"

#include <dlfcn.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>

#include "engine/base/check.h"

namespace cairn::test {
namespace {

std::atomic<int> empty_fd{-1};
std::atomic<bool> is_armed{false};
std::atomic<std::uint64_t> seen{0};
std::uint64_t nowhere = 0;

void meddle(io_uring& ring) {
  const int fd = empty_fd;
  if (fd < 0) return;
  for (unsigned at = ring.sq.sqe_head; at != ring.sq.sqe_tail; ++at) {
    io_uring_sqe& entry = ring.sq.sqes[at & ring.sq.ring_mask];
    if (entry.opcode != IORING_OP_FSYNC) continue;
    ++seen;
    if (!is_armed.exchange(false)) continue;
    const auto data = entry.user_data;
    io_uring_prep_read(&entry, fd, &nowhere, sizeof(nowhere), 0);
    entry.rw_flags = RWF_NOWAIT;  // or it would wait until there is something
    entry.user_data = data;
  }
}

/// What liburing itself has by this name.
template <typename Call>
Call* next_of(const char* name) {
  void* const found = dlsym(RTLD_NEXT, name);
  CAIRN_CHECK(found != nullptr);
  return reinterpret_cast<Call*>(found);
}

}  // namespace

FailingUringSync::FailingUringSync() {
  CAIRN_CHECK(empty_fd < 0);
  seen = 0;
  is_armed = true;
  empty_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  CAIRN_CHECK(empty_fd >= 0);
}

FailingUringSync::~FailingUringSync() {
  ::close(empty_fd.exchange(-1));
}

std::uint64_t FailingUringSync::syncs_seen() const {
  return seen;
}

}  // namespace cairn::test

extern "C" int io_uring_submit(io_uring* ring) {
  cairn::test::meddle(*ring);
  static auto* const next = cairn::test::next_of<decltype(io_uring_submit)>("io_uring_submit");
  return next(ring);
}

extern "C" int io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** entry, unsigned wait,
                                                __kernel_timespec* timeout, sigset_t* signals) {
  cairn::test::meddle(*ring);
  static auto* const next = cairn::test::next_of<decltype(io_uring_submit_and_wait_timeout)>(
      "io_uring_submit_and_wait_timeout");
  return next(ring, entry, wait, timeout, signals);
}
