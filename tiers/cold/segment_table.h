// SPDX-License-Identifier: Apache-2.0
// segment_table.h — every segment, the state it is in, and how much of it still lives.
//
//            take()            opened()            close()              sealed()
//     free ─────────► opening ─────────► open ─────────────► closing ─────────► sealed
//      ▲                 │ failed()            ▲                                   │ clean()
//      │                 ▼                     └──── resumed(): closed clean ──────┤
//      └──────────────  free ◄──────────── freeing ◄────────────────────────── cleaning
//                              freed()              empty(): entries gone and
//                                                   synced, no reads in flight
//
// Quarantine (too many corruptions) and poison (a failed sync) are not states but marks on
// one: what bears a mark is never appended to, is cleaned first, and when it is empty a
// quarantined segment stays out of use while a poisoned one's file is made anew.
//
// Live bytes are the sum of the records that the index names. They are counted up and down
// with the index's changes, never looked up.
//
// Threading:  confined to the I/O loop.
// Blocking:   never.
//
// Invariants (check_invariants):
//   S1  files that exist, or are being made, never outnumber the limit but by those that
//       were there when the limit was lowered
//   S2  a free segment has no reads and no writes, and one that is given out no live bytes
//   S3  the generation of a segment never falls
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/thread_checker.h"
#include "tiers/cold/index.h"
#include "tiers/cold/space.h"
#include "tiers/io/device.h"

namespace cairn::tiers {

enum class SegmentPhase : std::uint8_t { free, opening, open, closing, sealed, cleaning, freeing };

/// Who appends.
enum class Stream : std::uint8_t { user = 0, cleaner = 1 };

using SyncDone = std::function<void(const absl::Status&)>;

struct Segment {
  SegmentId id{};
  SegmentPhase phase = SegmentPhase::free;
  Stream stream = Stream::user;
  bool has_file = false;
  bool is_counted = false;  // among the files; one in use may have lost its own before the opening
  bool has_footer = false;
  bool quarantined = false;
  bool poisoned = false;
  /// Not sealed when the process before this one stopped: bytes may be missing without any
  /// fault of the medium's, so what is missing here is no reason for quarantine.
  bool is_suspect = false;
  /// Sealed by a clean close with room left: users' next records may go on in it.
  bool is_resumable = false;
  bool is_resuming = false;  // its footer is being taken off; still sealed
  FileId file = FileId::none;
  std::uint32_t generation = 0;
  std::uint64_t opened_at_sequence =
      0;  // no record in it can be older than its tombstone if … (cleaner.h)
  std::int64_t live_bytes = 0;
  std::uint64_t data_end = 0;  // where the next extent goes; where the last one ended
  std::uint32_t reads_in_flight = 0;
  std::uint32_t writes_in_flight = 0;  // extents
  std::uint32_t records_pending = 0;   // placed, and not yet named by the index or given up
  std::uint64_t pending_bytes = 0;     // of those
  bool owes_row = false;               // sealed, and the index is told when none are pending
  std::uint32_t corruptions = 0;
  std::uint32_t cleaning_failures = 0;
  std::uint32_t opening_failures = 0;  // others are taken first
  // what makes the footer
  std::uint64_t headers_planned = 0;
  std::vector<std::pair<std::uint64_t, std::string>> headers;  // by offset; of whole records only
  // syncing
  bool unsynced = false;  // bytes arrived after the last sync was submitted
  bool sync_in_flight = false;
  std::vector<SyncDone> syncing, sync_waiting;

  /// Nothing goes here any more, and its file stays.
  bool is_out_of_use() const { return quarantined && has_file; }
  bool is_open_for_append() const { return phase == SegmentPhase::open; }
  /// A location in a segment that is free or on its way there names nothing any more.
  bool is_readable() const { return is_in_use() && phase != SegmentPhase::freeing; }
  bool is_in_use() const { return phase != SegmentPhase::free && phase != SegmentPhase::opening; }
  std::uint64_t live() const { return live_bytes > 0 ? static_cast<std::uint64_t>(live_bytes) : 0; }
  /// What the cleaner can win back.
  std::uint64_t dead() const {
    if (quarantined) return 0;
    const std::uint64_t filled = data_end > kPage ? data_end - kPage : 0;
    const std::uint64_t wanted = live() + pending_bytes;
    return filled > wanted ? filled - wanted : 0;
  }
};

class SegmentTable {
 public:
  SegmentTable(std::uint64_t segment_bytes, std::uint32_t limit, Space& space);

  /// While opening, before anything runs: what the index knew, and which files there are.
  void restore(const SegmentRow& row, bool has_file, std::uint64_t data_end);
  void restore_file(SegmentId id);
  /// What a clean close sealed before it was full can be gone on with. Of a sealed segment whose
  /// data_end is known.
  void offer_to_resume(SegmentId id);

  /// Null where no such segment was ever made.
  Segment* find(SegmentId id);
  Segment& get(SegmentId id);

  /// A free segment for that stream, now `opening`; null when there is none for it. Two are
  /// kept back from users, the one that the cleaner has open included.
  Segment* take(Stream stream);
  void opened(Segment& segment);
  /// A segment to go on in, before a free one is used; null when there is none. It stays sealed,
  /// and out of the cleaner's reach, until resumed() or not_resumed().
  Segment* take_resumable();
  void resumed(Segment& segment);
  void not_resumed(Segment& segment);
  void failed(Segment& segment);
  void close(Segment& segment);
  void sealed(Segment& segment);
  void clean(Segment& segment);
  void give_up_cleaning(Segment& segment);
  void empty(Segment& segment);
  /// The file is there, of a newer generation, or (`has_file` false) gone.
  void freed(Segment& segment, bool has_file);
  /// The disk had no room for another file: none is made until retry_files().
  void out_of_files();
  void retry_files();

  /// A record was placed; settled once the index names it or it was given up.
  void pending(Segment& segment, std::uint64_t bytes);
  void settled(SegmentId id, std::uint64_t bytes);
  /// The index names `bytes` more (or fewer) in it.
  void add_live(SegmentId id, std::int64_t bytes);
  /// A dirty opening: live bytes begin at nothing and are known once every entry was counted.
  void set_unknown();
  void set_known();
  bool is_known() const { return known_; }

  /// The segment with the most to win, marked ones first; null if none is worth it: a
  /// segment must be at least one sixteenth dead, or bear a mark, or (`any`) have some dead.
  /// One that could not be cleaned three times is left alone.
  Segment* poorest(bool any);
  /// Whether a cleaner should run now: users are about to run out of segments, or one of them bears
  /// a mark and what lives in it should not stay there.
  bool needs_cleaning() const;
  /// A sealed one that is poisoned or quarantined, and worth cleaning.
  bool has_marked() const { return marked_ > 0; }
  bool has_more_files_than_limit() const { return files_ > limit_; }
  std::uint32_t free_segments() const;
  std::uint32_t files() const { return files_; }

  SegmentRow row(const Segment& segment) const;
  std::vector<SegmentRow> rows() const;
  void for_each(const std::function<void(Segment&)>& visit);
  /// The oldest opened_at_sequence of all segments whose bytes may still be read back by a
  /// repair, but for `except`.
  std::uint64_t oldest_opening(const Segment* except) const;

  /// Recomputes what other threads see. Called after every change of data_end or live bytes;
  /// costs O(1).
  void publish();
  void touch(Segment& segment);
  void check_invariants() const;

  std::uint64_t segment_bytes() const { return segment_bytes_; }
  std::uint32_t limit() const { return limit_; }

 private:
  std::uint64_t occupied(const Segment& segment) const;
  bool is_worth_cleaning(const Segment& segment) const;
  Segment& make(SegmentId id);
  void set_phase(Segment& segment, SegmentPhase phase);
  void recount_free(bool was_free, const Segment& segment);
  void count_file(Segment& segment, bool is_counted);

  const std::uint64_t segment_bytes_;
  const std::uint32_t limit_;
  Space& space_;
  ThreadChecker thread_;
  std::vector<std::unique_ptr<Segment>> segments_;  // by id
  std::uint32_t files_ = 0;                         // exist or are being made
  std::uint32_t free_files_ = 0;                    // of them, in phase free
  bool files_blocked_ = false;
  bool known_ = true;
  bool cleaner_is_open_ = false;
  // sums over segments_, kept by touch()
  struct Share {
    std::uint64_t occupied = 0, dead = 0, tail = 0;
    std::uint32_t out_of_use = 0;                 // quarantined, with its file
    bool worth_cleaning = false, marked = false;  // marked: and worth cleaning
  };
  Share share_of(const Segment& segment) const;
  std::vector<Share> shares_;
  std::vector<SegmentId> tails_;  // segments with a tail; few
  Share total_;
  std::uint32_t worth_cleaning_ = 0, marked_ = 0;
};

}  // namespace cairn::tiers
