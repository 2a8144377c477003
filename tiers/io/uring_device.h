// SPDX-License-Identifier: Apache-2.0
// uring_device.h — Device over io_uring: the fast one.
//
// Buffers are not registered with the ring; docs/decisions/0005 says why.
//
// Threading:  as Device; submit and poll are confined to one thread, checked in debug builds.
// Blocking:   as Device.
// Failure:    misaligned ops finish with EINVAL.
// Lifetime:   the destructor waits for every op and runs its done. The polling thread is gone by
//             then, or is the one that destroys.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/base/thread_checker.h"
#include "tiers/io/posix_files.h"
#include "tiers/io/ring.h"

namespace cairn::tiers {

class UringDevice final : public PosixFiles {
 public:
  /// `note` says what was given up on the way here, for device_info().
  static absl::StatusOr<std::unique_ptr<UringDevice>> open(std::uint32_t depth, bool direct,
                                                           std::string note);
  ~UringDevice() override;

  bool submit(IoOp& op) override;
  std::size_t poll(Duration max_wait) override;
  void wake() override { ring_->wake(); }
  /// What was done up to now was a trial: another thread may poll from here on, and counts from 0.
  void begin() {
    thread_.detach();
    reset_counters();
  }

 private:
  UringDevice(std::unique_ptr<Ring> ring, std::uint32_t depth, bool direct, std::string note);

  ThreadChecker thread_;
  std::unique_ptr<Ring> ring_;
  std::vector<IoOp*> finished_;  // refused ones too, until the next poll
};

}  // namespace cairn::tiers
