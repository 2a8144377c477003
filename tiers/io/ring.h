// SPDX-License-Identifier: Apache-2.0
// ring.h — one io_uring owned by one thread.
//
// Exists so that nothing else includes <liburing.h>. There is deliberately no lock: two threads
// that both need I/O own two Rings. It moves IoOps and results; counting, alignment and callbacks
// are UringDevice's.
//
// Threading:  confined to the thread that calls submit and reap (its owner checks); wake is
//             thread-safe.
// Blocking:   submit never; reap up to its wait.
// Failure:    a finished op carries errno or its count, short counts included. Reads and
//             writes that ended in EINTR or EAGAIN are submitted again here: nothing was
//             moved. A sync never is.
// Lifetime:   the owner reaps until in_flight() is 0 before it destroys the ring.
//
// Invariants:
//   I1  in_flight_ <= depth_, and the submission queue always has room for depth_ + 1
//   I2  every op accepted by submit comes out of reap exactly once
//   I3  a poll on the eventfd is armed whenever reap waits, so that wake always ends the wait
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "tiers/io/device.h"

struct io_uring;

namespace cairn::tiers {

class Ring final {
 public:
  /// Fails where the kernel, a container or a sandbox does not let us have one.
  static absl::StatusOr<std::unique_ptr<Ring>> open(std::uint32_t depth);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// False when depth operations are in flight; the op is then untouched. The kernel may see the
  /// op only at the next reap: some are gathered for one system call, unless the disk is idle.
  bool submit(IoOp& op);
  /// Appends the finished ops; waits up to `wait` for the first of them or for wake(). A wake is
  /// used up by a reap that may wait, never by one that only looks: it would be lost there.
  void reap(Duration wait, std::vector<IoOp*>& finished);
  void wake();

  std::uint32_t in_flight() const { return in_flight_; }

 private:
  explicit Ring(std::uint32_t depth);
  void queue(IoOp& op);
  void flush();
  void arm_wake();
  void collect(std::vector<IoOp*>& finished);

  const std::uint32_t depth_;
  std::unique_ptr<io_uring> ring_;
  int wake_fd_ = -1;
  bool wake_armed_ = false;
  bool woken_ = false;
  std::uint32_t in_flight_ = 0;
  std::uint32_t unflushed_ = 0;
};

}  // namespace cairn::tiers
