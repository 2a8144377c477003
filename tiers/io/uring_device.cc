// SPDX-License-Identifier: Apache-2.0
#include "tiers/io/uring_device.h"

#include <cerrno>

#include "engine/base/status.h"

namespace cairn::tiers {

absl::StatusOr<std::unique_ptr<UringDevice>> UringDevice::open(std::uint32_t depth, bool direct,
                                                               std::string note) {
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<Ring> ring, Ring::open(depth));
  return std::unique_ptr<UringDevice>(
      new UringDevice(std::move(ring), depth, direct, std::move(note)));
}

UringDevice::UringDevice(std::unique_ptr<Ring> ring, std::uint32_t depth, bool direct,
                         std::string note)
    : PosixFiles("io_uring", depth, direct, std::move(note)), ring_(std::move(ring)) {}

UringDevice::~UringDevice() {
  thread_.detach();
  while (ring_->in_flight() > 0 || !finished_.empty()) poll(Duration::seconds(1));
}

bool UringDevice::submit(IoOp& op) {
  thread_.check();
  if (ring_->in_flight() + finished_.size() >= device_info().depth) return false;
  count_accepted();
  if (op.kind != IoKind::sync && !is_aligned(op)) {
    op.error = EINVAL;
    op.transferred = 0;
    finished_.push_back(&op);
    return true;
  }
  return ring_->submit(op);
}

std::size_t UringDevice::poll(Duration max_wait) {
  thread_.check();
  if (!finished_.empty()) max_wait = Duration{};
  ring_->reap(max_wait, finished_);
  const std::vector<IoOp*> batch = std::move(finished_);
  finished_.clear();  // a done may submit again
  for (IoOp* op : batch) {
    count_finished(*op);
    op->done(*op);
  }
  return batch.size();
}

}  // namespace cairn::tiers
