// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/segment_sync.h"

#include <memory>
#include <utility>
#include <vector>

#include "engine/base/text.h"

namespace cairn::tiers {

void SegmentSync::sync(Segment& segment, SyncDone done) {
  if (segment.poisoned) {
    done(make_error(ErrorCode::io, concat("segment ", static_cast<std::uint32_t>(segment.id),
                                          " is poisoned: an earlier sync of it failed")));
    return;
  }
  if (!segment.unsynced && !segment.sync_in_flight) {
    done(absl::OkStatus());
    return;
  }
  if (!segment.unsynced) {  // the one under way covers all there is
    segment.syncing.push_back(std::move(done));
    return;
  }
  // A segment of the process before this one may not have been opened yet. Where its file is
  // gone there is nothing that a sync could keep.
  if (const absl::Status opened = ensure_file_(segment); !opened.ok()) {
    const bool gone = has_code(opened, ErrorCode::corruption);
    if (gone) segment.unsynced = false;
    done(gone ? absl::OkStatus() : opened);
    return;
  }
  segment.sync_waiting.push_back(std::move(done));
  if (!segment.sync_in_flight) submit(segment);
}

void SegmentSync::sync_all(SyncDone done) {
  struct Round {
    std::size_t left = 1;
    absl::Status status;
    SyncDone done;
  };
  auto round = std::make_shared<Round>();
  round->done = std::move(done);
  const auto one = [round](const absl::Status& status) {
    if (round->status.ok()) round->status = status;
    if (--round->left == 0) round->done(round->status);
  };
  std::vector<Segment*> dirty;
  table_.for_each([&](Segment& segment) {
    // What a poisoned segment holds cannot be made durable; that counts as long as it lives.
    const bool lost = segment.poisoned && segment.live() > 0;
    if (segment.unsynced || segment.sync_in_flight || lost) dirty.push_back(&segment);
  });
  round->left += dirty.size();
  for (Segment* segment : dirty) sync(*segment, one);
  one(absl::OkStatus());
}

void SegmentSync::submit(Segment& segment) {
  segment.sync_in_flight = true;
  segment.unsynced = false;
  segment.syncing = std::move(segment.sync_waiting);
  segment.sync_waiting.clear();
#if defined(CAIRN_PLANTED_DATA_SYNC_SKIPPED)
  Transfer skipped;
  finished(segment, skipped);
  return;
#endif
  auto transfer = std::make_unique<Transfer>();
  transfer->kind = IoKind::sync;
  transfer->file = segment.file;
  transfer->finished = [this, &segment](Transfer& done) { finished(segment, done); };
  queue_.submit(std::move(transfer), Lane::foreground);
}

void SegmentSync::finished(Segment& segment, const Transfer& transfer) {
  segment.sync_in_flight = false;
  std::vector<SyncDone> waiters = std::move(segment.syncing);
  segment.syncing.clear();
  absl::Status status;
  if (transfer.error != 0) {
    status = from_errno(transfer.error,
                        concat("sync of segment ", static_cast<std::uint32_t>(segment.id)));
    add(core_.counts.sync_failures);
    for (SyncDone& waiter : segment.sync_waiting) waiters.push_back(std::move(waiter));
    segment.sync_waiting.clear();
    poison(segment, status);
    core_.writes.write_failed(status);
  } else if (segment.unsynced && !segment.sync_waiting.empty()) {
    submit(segment);
  }
  for (SyncDone& waiter : waiters) waiter(status);
}

void SegmentSync::poison(Segment& segment, const absl::Status& why) {
  if (segment.poisoned) return;
  segment.poisoned = true;
  add(core_.counts.poisoned_segments);
  log_line(LogLevel::error,
           concat("segment ", static_cast<std::uint32_t>(segment.id),
                  " is poisoned and will not be written again: ", message_of(why)));
  table_.touch(segment);
  poisoned_(segment);
}

}  // namespace cairn::tiers
