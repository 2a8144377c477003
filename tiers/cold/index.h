// SPDX-License-Identifier: Apache-2.0
// index.h — the durable map from a block's name to where it is, as the cold tier sees it.
//
// It holds names, locations and facts, never payloads, and it is a cache of the segments:
// when it is lost, repair makes it again. Beside the entries it keeps what the cold tier
// must know before it reads any segment: a row for each segment, persistent counters, and
// a ceiling for the sequence numbers given out.
//
// One write() is one atomic batch: after a crash all of it is there or none, and if a
// later batch is there, so is every earlier one (also across a power cut, up to the last
// sync).
//
// Threading:  thread-safe; a writer waits for writers, readers for nobody (but for the
//             reopening after a full disk).
// Blocking:   disk, all of it but the counters, health and memory_bytes.
// Failure:    `no_space`: the share or the disk is full, nothing was written, reads go on,
//             and writes resume when there is room again. `io`: the medium failed; `corruption`:
//             a damaged block was met, never taken for the end of the data. After a failed
//             sync the index refuses every write for good (`degraded`); reads go on.
//
// Invariants:
//   X1  a name has at most one entry
//   X2  no sequence number is handed out twice, also not after a crash
//   X3  what a synced write() wrote is there after a power cut
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/block.h"
#include "engine/key.h"
#include "tiers/record/format.h"

namespace cairn::tiers {

struct IndexEntry {
  BlockId id;
  Location location;               // of the block's record, or of the tombstone's
  std::uint32_t stored_bytes = 0;  // the whole record on the medium
  std::uint32_t epoch = 0;         // of the namespace when it was written
  BlockFacts facts;
  std::uint32_t heat = 0;  // uses at the last save
  bool tombstone = false;  // the name is dead up to facts.sequence, and must stay so
  /// A block in whose place a tombstone was: an older version was removed for good. If this one
  /// goes it must leave a tombstone too, also where evictions leave none.
  bool follows_tombstone = false;
  friend bool operator==(const IndexEntry&, const IndexEntry&) = default;
};

struct IndexChange {
  BlockName name;                 // borrowed for the call
  std::optional<IndexEntry> put;  // empty: delete
};

enum class SegmentState : std::uint8_t {
  free = 0,
  open = 1,         // being appended to
  sealed = 2,       // has a footer
  quarantined = 3,  // read errors: nothing new goes here
  poisoned = 4,     // a sync failed: what it holds may not be on the medium
  unsealed = 5,     // left open by a process that stopped: no footer, nothing new goes here
};
std::string_view segment_state_name(SegmentState state);

struct SegmentRow {
  SegmentId segment{};
  SegmentState state = SegmentState::free;
  std::uint32_t generation = 0;
  std::uint64_t opened_at_sequence = 0;
  std::uint64_t live_bytes = 0;  // a hint: counted again while the catalog is loaded
  friend bool operator==(const SegmentRow&, const SegmentRow&) = default;
};

/// Counters that outlive the process; a delta is added by the write() that makes it true.
struct IndexCounters {
  std::uint64_t evicted = 0;
  std::uint64_t erased = 0;
  std::uint64_t expired = 0;
  std::uint64_t payload_bytes_written = 0;
  std::uint64_t media_bytes_written = 0;
  std::uint64_t cleaned_segments = 0;
  std::uint64_t cleaner_moved_bytes = 0;
  std::uint64_t dirty_openings = 0;
  IndexCounters& operator+=(const IndexCounters& other);
  friend bool operator==(const IndexCounters&, const IndexCounters&) = default;
};
using CounterDelta = IndexCounters;

struct IndexHealth {
  bool full = false;    // writes are refused until there is room
  bool failed = false;  // writes are refused for good
  std::string reason;
  std::uint64_t reopened = 0;  // times that it came back after an error
};

/// What this opening found: how long the log was, whether its end was torn.
struct IndexRecovery {
  std::uint64_t log_bytes = 0;
  bool log_torn = false;  // the tail after the last whole batch was dropped
  /// An opening before this one found it so, and did not come to the end of catching up.
  bool is_behind = false;
  /// The process before this one gave out sequence numbers from here on; 0: not known. What the
  /// log lost is of that process alone: an opening takes the log into tables.
  std::uint64_t first_sequence = 0;
  /// The first that was not given out, as far as the log knows. Where it was lost whole, this and
  /// not the one above is where that process began.
  std::uint64_t sequence_ceiling = 0;
};

class Index {
 public:
  virtual ~Index() = default;

  /// Puts and deletes, segment rows and counters in one atomic batch, handed to the kernel
  /// when this returns OK, and with `sync` on the medium. On any error nothing of it is seen by
  /// this process; after a failed sync a restart may find it, and may not.
  virtual absl::Status write(std::span<const IndexChange> changes, std::span<const SegmentRow> rows,
                             const CounterDelta& delta, bool sync) = 0;
  /// Everything written before is on the medium when this returns OK.
  virtual absl::Status sync() = 0;

  virtual absl::StatusOr<std::optional<IndexEntry>> get(const BlockName& name) = 0;
  /// One result for each name, in order.
  virtual std::vector<absl::StatusOr<std::optional<IndexEntry>>> get_batch(
      std::span<const BlockName> names) = 0;

  /// Up to `limit` entries in key order, tombstones too, from behind `cursor` (empty: the
  /// beginning), and sets `cursor` to go on from, empty again at the end. Consistent within one
  /// call. A damaged block ends it with `corruption`; what was visited before is sound. The
  /// visited name borrows for its call; the visitor must not write to the index.
  virtual absl::Status scan(
      std::string& cursor, std::size_t limit,
      const std::function<void(const BlockName&, const IndexEntry&)>& visit) = 0;

  /// Removes every entry of a namespace that was written before the call, in one step, synced.
  virtual absl::Status erase_namespace(NamespaceId id) = 0;

  virtual absl::StatusOr<std::vector<SegmentRow>> segments() = 0;
  virtual IndexCounters counters() const = 0;

  /// Hands out `count` numbers that were never handed out before, and returns the first. The
  /// new ceiling is on the medium before this returns, so take many at a time (1 Mi).
  virtual absl::StatusOr<std::uint64_t> reserve_sequences(std::uint64_t count) = 0;

  /// Around the changes that an opening takes from the segments after a damaged log: where it ends
  /// in between, recovery() tells the next one. No number below `first` is handed out any more;
  /// again with a higher one as the segments are read. On the medium when it returns.
  virtual absl::Status begin_catching_up(std::uint64_t first) = 0;
  virtual absl::Status end_catching_up() = 0;

  /// Allocated on the medium now, the log's preallocation included (st_blocks).
  virtual std::uint64_t usage_bytes() = 0;
  /// Handed to the file system since the opening, logs and compaction included.
  virtual std::uint64_t bytes_written() const = 0;
  /// Memtables, block cache and table readers.
  virtual std::uint64_t memory_bytes() = 0;
  virtual IndexHealth health() const = 0;
  virtual IndexRecovery recovery() const = 0;
};

}  // namespace cairn::tiers
