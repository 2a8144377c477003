// SPDX-License-Identifier: Apache-2.0
// segment_sync.h — one sync for all who wait for one, and never a second try.
//
// A sync covers what the device had taken before it was submitted. Who asks while one is
// under way waits for the next. When a sync fails the kernel may have dropped the pages and
// may call the next sync a success (seen on Linux: ENOSPC, EIO, OK, data gone), so the
// segment is poisoned: never written or synced again, and everybody who waits is told.
//
// Threading:  confined to the I/O loop. Blocking: never.
#pragma once

#include <functional>

#include "tiers/cold/cold_core.h"
#include "tiers/cold/io_queue.h"
#include "tiers/cold/segment_table.h"

namespace cairn::tiers {

class SegmentSync {
 public:
  SegmentSync(ColdCore& core, SegmentTable& table, IoQueue& queue)
      : core_(core), table_(table), queue_(queue) {}

  /// Called once for each segment that is poisoned.
  void set_poisoned(std::function<void(Segment&)> poisoned) { poisoned_ = std::move(poisoned); }
  /// Opens a segment's file where that has not been done yet.
  void set_ensure_file(std::function<absl::Status(Segment&)> ensure_file) {
    ensure_file_ = std::move(ensure_file);
  }
  /// `done` runs when everything the device has taken of the segment is on the medium, at
  /// once if it is already; with `io` when that cannot be said any more.
  void sync(Segment& segment, SyncDone done);
  /// Every segment with unsynced bytes; the first error, after all have ended.
  void sync_all(SyncDone done);
  void poison(Segment& segment, const absl::Status& why);

 private:
  void submit(Segment& segment);
  void finished(Segment& segment, const Transfer& transfer);

  ColdCore& core_;
  SegmentTable& table_;
  IoQueue& queue_;
  std::function<void(Segment&)> poisoned_;
  std::function<absl::Status(Segment&)> ensure_file_;
};

}  // namespace cairn::tiers
