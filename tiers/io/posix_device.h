// SPDX-License-Identifier: Apache-2.0
// posix_device.h — Device over threads with preadv and pwritev, for where io_uring is blocked.
//
// The same contract and the same tests as io_uring; buffered where O_DIRECT is refused too.
//
// Threading:  as Device. Its worker threads "cairn-io" do nothing but one transfer at a time.
// Blocking:   as Device.
// Failure:    misaligned ops finish with EINVAL. EINTR is retried, except by a sync.
// Lifetime:   as UringDevice.
//
// Invariants:
//   I1  in_flight_ counts what submit accepted and poll has not handed out; never above depth
//   I2  an op is in exactly one of: queue_, a worker's hands, finished_
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/base/thread_checker.h"
#include "tiers/io/posix_files.h"

namespace cairn::tiers {

class PosixDevice final : public PosixFiles {
 public:
  /// At least one thread; `busy` when the process may not have that many.
  static absl::StatusOr<std::unique_ptr<PosixDevice>> open(std::uint32_t depth,
                                                           std::uint32_t threads, bool direct,
                                                           std::string note);
  ~PosixDevice() override;

  bool submit(IoOp& op) override;
  std::size_t poll(Duration max_wait) override;
  void wake() override;

 private:
  PosixDevice(std::uint32_t depth, bool direct, std::string note);
  void work();

  const std::uint32_t depth_;
  ThreadChecker thread_;
  std::size_t in_flight_ = 0;  // confined to the polling thread

  Mutex mutex_{LockRank::device};
  CondVar queued_;
  CondVar arrived_;
  std::deque<IoOp*> queue_ CAIRN_GUARDED_BY(mutex_);
  std::vector<IoOp*> finished_ CAIRN_GUARDED_BY(mutex_);
  bool woken_ CAIRN_GUARDED_BY(mutex_) = false;
  bool stopping_ CAIRN_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace cairn::tiers
