// SPDX-License-Identifier: Apache-2.0
// segment_log.h — appends records to segments, in two streams: users' and the cleaner's.
//
// Records are laid side by side in extents of whole pages, each one write, or a few where it lies
// in more pieces than a device takes at once; small ones wait up to gather_time or gather_bytes for
// company. Payloads of 256 KiB and more go straight from the caller's memory to the device where
// that is page-aligned (of several pieces: all of them, and all but the last are whole pages), else
// through a buffer.
//
// A segment is opened (segment_opener.h), filled, closed, given a footer, and never written
// again, unless a clean close sealed it before it was full: then the next process goes on in it.
// A failed write loses its extent and nothing else. A failed sync poisons the segment: it is
// neither written nor synced again, and whoever waited for the sync is told.
//
//   append() → queue → place (offset known, header encoded) → write → [sync] → done
//
// Threading:  confined to the I/O loop.
// Blocking:   never.
// Failure:    per record: `busy` (no segment can be had until blocks are removed), `no_space` (the
//             disk), `io`, `degraded`. A short write is a failed one.
// Lifetime:   the caller keeps an Append and its payload alive until its done ran.
//
// Invariants:
//   L1  done runs exactly once for every Append
//   L2  a page is written at most once in a generation, but for the last, off which a resumption
//       takes the footer
//   L3  done with OK means: the device took the whole extent; with sync_wanted: and a sync
//       that was submitted after that has succeeded
//   L4  a footer is written after every write of its segment is on the medium, and lists exactly
//       the records that were written whole
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "tiers/cold/cold_core.h"
#include "tiers/cold/io_queue.h"
#include "tiers/cold/location.h"
#include "tiers/cold/segment_opener.h"
#include "tiers/cold/segment_sync.h"
#include "tiers/cold/segment_table.h"
#include "tiers/record/record.h"

namespace cairn::tiers {

/// One record to append. The log fills in store and place.
struct Append {
  RecordFields fields;               // key and chunk_table borrow from the owner
  ByteSpan payload;                  // as it is stored: fields.payload_length bytes
  std::span<const ByteSpan> pieces;  // instead of it: the same, in order; borrowed as well
  bool sync_wanted = false;
  /// Tombstones and notes: go into the cleaner's segment when users have none.
  bool is_urgent = false;
  absl::AnyInvocable<void()> placed;  // may be null: it has its place in a segment
  absl::AnyInvocable<void(Append&)> done;
  // out:
  Place place;
  absl::Status status;

  Location location() const { return pack_location(place); }
  bool is_large() const { return fields.payload_length >= kLargePayload; }
  std::span<const ByteSpan> stored() const {
    return pieces.empty() ? std::span<const ByteSpan>(&payload, 1) : pieces;
  }
};

class SegmentLog {
 public:
  /// `row` hands a segment's row to the index: `open` before any record of it, what it has become
  /// after all of them. `starved` says that a stream waits for a segment: false when there is no
  /// hope.
  struct Hooks {
    std::function<void(const SegmentRow&)> row;
    std::function<bool(Stream)> starved;
  };
  SegmentLog(ColdCore& core, SegmentTable& table, IoQueue& queue, BufferPool& pool,
             SegmentOpener& opener, SegmentSync& sync, Hooks hooks);
  ~SegmentLog();

  void append(Stream stream, std::span<Append* const> batch);
  /// Writes what is being gathered, now.
  void flush();
  /// A segment became free, or there is no hope of one any more.
  void retry();
  /// Flushes, closes both open segments and calls back when their footers are written.
  void close_segments(std::function<void()> done);
  /// A record of this log's is named by the index, or given up.
  void settled(SegmentId id, std::uint64_t bytes);
  /// Never writes to it again; whoever has it open goes on in another.
  void abandon(Segment& segment);

  /// Records that the cleaner appends from now on were alive at this sequence, so whatever
  /// removes one of them is younger: no segment of the cleaner's is opened with a later one.
  void set_cleaner_floor(std::uint64_t sequence) { cleaner_floor_ = sequence; }

  bool is_starved() const;
  std::size_t queued() const;

 private:
  struct Writer {
    Stream stream = Stream::user;
    Segment* open = nullptr;
    bool opening = false;
    std::deque<Append*> queue;      // not yet placed
    std::vector<Append*> gathered;  // small ones, not yet placed
    std::uint64_t gathered_bytes = 0, gathered_headers = 0;
    std::uint64_t gather_round = 0;  // tells an old timer from a new one
    bool gather_armed = false;
  };
  struct Extent;

  void pump(Writer& writer);
  void pump_large(Writer& writer);
  bool gather(Writer& writer, Append& append);
  bool fits(const Writer& writer, std::uint64_t bytes, std::uint64_t headers) const;
  void flush_gathered(Writer& writer);
  void arm_gather_timer(Writer& writer);
  void open_segment(Writer& writer);
  void resume_segment(Writer& writer, Segment& segment);
  void hand_over_urgent(Writer& writer);
  void fail_queue(Writer& writer, const absl::Status& status);
  void close_open(Writer& writer);
  void write_extent(Segment& segment, std::span<Append* const> records);
  void extent_written(Extent& extent);
  void finish(Append& append, absl::Status status);
  void seal_if_quiet(Segment& segment);
  void write_footer(Segment& segment);
  void footer_done(Segment& segment, bool written);
  void tell_row(Segment& segment);
  Writer& writer(Stream stream) { return writers_[static_cast<std::size_t>(stream)]; }

  ColdCore& core_;
  SegmentTable& table_;
  IoQueue& queue_;
  BufferPool& pool_;
  SegmentOpener& opener_;
  SegmentSync& sync_;
  Hooks hooks_;
  Writer writers_[2];
  std::uint64_t cleaner_floor_ = UINT64_MAX;
  std::uint32_t closing_ = 0;  // segments between close and sealed
  std::vector<std::function<void()>> when_sealed_;
};

}  // namespace cairn::tiers
