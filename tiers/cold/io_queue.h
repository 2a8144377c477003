// SPDX-License-Identifier: Apache-2.0
// io_queue.h — transfers waiting for the device, foreground before background.
//
// A Device refuses an operation when it is full; here it waits its turn. Cleaning may hold
// only a quarter of the device's depth, so that a read never stands behind a whole segment.
//
// Threading:  confined to the I/O loop.
// Blocking:   never.
// Invariants: every transfer that was accepted finishes exactly once; in_flight() counts
//             those that the device has.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "engine/base/event_loop.h"
#include "engine/base/thread_checker.h"
#include "tiers/cold/buffer_pool.h"
#include "tiers/io/device.h"

namespace cairn::tiers {

class IoQueue;

/// One operation with what it needs to stay alive.
struct Transfer {
  IoKind kind = IoKind::read;
  FileId file = FileId::none;
  std::uint64_t offset = 0;
  std::vector<iovec> parts;
  std::vector<Buffer> buffers;  // memory of ours that parts point into
  absl::AnyInvocable<void(Transfer&)> finished;
  // out, as IoOp:
  int error = 0;
  std::uint64_t transferred = 0;

  void add(MutableByteSpan bytes) { parts.push_back({bytes.data(), bytes.size()}); }
  std::uint64_t requested() const { return op_.requested(); }
  bool is_whole() const { return error == 0 && transferred == requested(); }

 private:
  friend class IoQueue;
  IoOp op_;
  IoQueue* queue_ = nullptr;
  bool background_ = false;
};

enum class Lane : std::uint8_t { foreground, background };

class IoQueue {
 public:
  /// Timers of the queue find nobody once `*alive` is false.
  IoQueue(Device& device, EventLoop& loop, std::shared_ptr<const bool> alive);
  ~IoQueue();

  void submit(std::unique_ptr<Transfer> transfer, Lane lane);
  std::size_t in_flight() const { return in_flight_; }

 private:
  static void on_done(IoOp& op);
  void complete(std::unique_ptr<Transfer> transfer);
  void pump();
  bool start(std::deque<std::unique_ptr<Transfer>>& waiting);

  Device& device_;
  EventLoop& loop_;
  ThreadChecker thread_;
  std::deque<std::unique_ptr<Transfer>> foreground_, background_;
  std::size_t in_flight_ = 0, background_in_flight_ = 0;
  std::size_t background_max_ = 1;
  const std::shared_ptr<const bool> alive_;
};

}  // namespace cairn::tiers
