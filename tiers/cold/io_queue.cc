// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/io_queue.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace cairn::tiers {

IoQueue::IoQueue(Device& device, EventLoop& loop, std::shared_ptr<const bool> alive)
    : device_(device),
      loop_(loop),
      background_max_(std::max<std::size_t>(1, device.device_info().depth / 4)),
      alive_(std::move(alive)) {}

IoQueue::~IoQueue() {
  CAIRN_CHECK(in_flight_ == 0 && foreground_.empty() && background_.empty());
}

void IoQueue::submit(std::unique_ptr<Transfer> transfer, Lane lane) {
  thread_.check();
  Transfer& t = *transfer;
  t.queue_ = this;
  t.background_ = lane == Lane::background;
  t.op_.kind = t.kind;
  t.op_.file = t.file;
  t.op_.offset = t.offset;
  t.op_.buffers = t.parts;
  t.op_.done = &IoQueue::on_done;
  t.op_.context = &t;
  (t.background_ ? background_ : foreground_).push_back(std::move(transfer));
  pump();
}

void IoQueue::pump() {
  while (!foreground_.empty()) {
    if (!start(foreground_)) return;
  }
  while (!background_.empty() && background_in_flight_ < background_max_) {
    if (!start(background_)) return;
  }
}

bool IoQueue::start(std::deque<std::unique_ptr<Transfer>>& waiting) {
  // Counted and let go of before it is handed over: a device may finish it at once.
  Transfer* transfer = waiting.front().release();
  waiting.pop_front();
  const bool background = transfer->background_;
  ++in_flight_;
  if (background) ++background_in_flight_;
  if (device_.submit(transfer->op_)) return true;
  --in_flight_;
  if (background) --background_in_flight_;
  waiting.push_front(std::unique_ptr<Transfer>(transfer));
  // Somebody else fills the device; with nothing of ours under way no completion would bring
  // us back here.
  if (in_flight_ == 0) {
    loop_.run_at(loop_.clock().now() + Duration::millis(1), [this, alive = alive_] {
      if (*alive) pump();
    });
  }
  return false;
}

void IoQueue::on_done(IoOp& op) {
  auto* transfer = static_cast<Transfer*>(op.context);
  transfer->queue_->complete(std::unique_ptr<Transfer>(transfer));
}

void IoQueue::complete(std::unique_ptr<Transfer> transfer) {
  thread_.check();
  --in_flight_;
  if (transfer->background_) --background_in_flight_;
  transfer->error = transfer->op_.error;
  transfer->transferred = transfer->op_.transferred;
  transfer->finished(*transfer);
  transfer.reset();
  pump();
}

}  // namespace cairn::tiers
