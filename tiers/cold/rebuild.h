// SPDX-License-Identifier: Apache-2.0
// rebuild.h — an index out of what the segments say.
//
// Records, tombstones and notes are applied in any order; by name, the highest sequence wins,
// a tombstone beats a block of its own sequence, and of notes about one version the latest.
// Records of another epoch than their namespace's, and of namespaces that the superblock
// does not know, are dead. So the result does not depend on the order of the segments, and
// applying the same records twice changes nothing.
//
// A block whose payload is damaged, or whose header is and only a footer still says what it was, is
// never kept. What becomes of the version before it depends on who vouches for the damaged one:
//   - a footer lists it: it was there, whole, and had replaced the older version, which must not
//     come back. The name is dead up to the damaged version.
//   - no footer: most likely its put never ended, nobody was told that it had, and what stood there
//     before may have been promised to be durable. The older version stays.
// Of content-addressed blocks every version is the same, so the older copy always stays.
//
// Two uses: repair fills an empty index from all segments; roll_forward() brings an index that
// has lost the end of its log up to what the segments know, from those few that the lost end
// could have been about.
//
// Threading:  confined. The device must have no other poller while it runs.
// Blocking:   disk.
// Failure:    errors of the index or of I/O end it; what was applied is sound.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tiers/cold/index.h"
#include "tiers/cold/segment_walk.h"
#include "tiers/cold/superblock.h"
#include "tiers/io/device.h"

namespace cairn::tiers {

/// Numbers that were handed out and never reached a segment are skipped with these: a process
/// takes a million or more at a time and may write nothing, thousands of times in a row.
constexpr std::uint64_t kSequenceMargin = std::uint64_t{1} << 32;

/// Why records were not kept; each record is counted once.
struct DroppedRecords {
  std::uint64_t header = 0;   // damaged; with what is known of it from a footer's copy
  std::uint64_t payload = 0;  // torn or damaged
  std::uint64_t stale = 0;    // of an earlier use of the segment
  std::uint64_t foreign = 0;  // of another store, segment or offset
  std::uint64_t epoch = 0;    // cleared
  std::uint64_t unknown_namespace = 0;
  std::uint64_t superseded = 0;  // a higher sequence, or another copy, is kept
  std::uint64_t erased = 0;      // by a tombstone
  std::uint64_t overtaken = 0;   // by a version that is itself lost
};

struct RebuildReport {
  std::uint64_t segments = 0, segments_sealed = 0, segments_damaged = 0;
  std::uint64_t records = 0;     // read, of all kinds, sound and of this generation
  std::uint64_t kept = 0;        // block entries put and not superseded since
  std::uint64_t kept_bytes = 0;  // their records
  std::uint64_t tombstones_applied = 0;
  std::uint64_t notes_applied = 0;
  DroppedRecords dropped;
  std::uint64_t bytes_read = 0;
  std::uint64_t unreadable_bytes = 0;  // whole pages that the device would not give
  std::uint64_t highest_sequence = 0;
};

class Rebuilder {
 public:
  Rebuilder(Index& index, const Superblock& superblock);

  absl::Status apply(const WalkedRecord& record);
  /// Whether a note that was met says otherwise than the index does about the same version.
  absl::StatusOr<bool> has_contradicting_note();
  /// Takes no record for itself, only a later note about what notes were met of.
  void apply_later_note(const WalkedRecord& record);
  /// Writes what is still in memory, then the notes, then buries. Call once, last.
  absl::Status finish();

  /// The index is the one that serves after this and no new one: what it names is never numbered
  /// again, and it knows when it holds a part only.
  void set_catching_up() { catching_up_ = true; }

  /// Was given back and perhaps used again since the index named anything in it: what it names
  /// there loses against any copy.
  void set_used_again(SegmentId segment) { used_again_.insert(segment); }

  RebuildReport& report() { return report_; }

 private:
  struct NoteOfVersion {
    std::uint64_t sequence = 0, note_sequence = 0;
    WallMicros expiry = 0;
    bool pinned = false;
  };
  struct Namespace {
    std::uint32_t epoch = 0;
    NamespaceKind kind = NamespaceKind::content_addressed;
  };
  struct Pending {
    NamespaceId namespace_id{};
    std::string key;
    Part part = 0;
    IndexEntry entry;
  };

  absl::Status flush();
  absl::Status tell_catching_up();
  bool supersedes(const IndexEntry& candidate, const IndexEntry& existing);
  bool is_gone(const IndexEntry& entry) const;
  void take_note(const RecordFields& fields);
  void take_damaged(const RecordFields& fields);
  absl::Status bury_overtaken();

  Index& index_;
  const std::uint64_t secret_;
  absl::flat_hash_map<std::uint32_t, Namespace> namespaces_;  // by id
  absl::flat_hash_map<std::string, Pending> pending_;         // by index key
  absl::flat_hash_map<std::string, NoteOfVersion> notes_;
  absl::flat_hash_map<std::string, IndexEntry> damaged_;  // the newest that a footer vouches for
  RebuildReport report_;
  absl::flat_hash_set<SegmentId> used_again_;
  bool catching_up_ = false;
  std::uint64_t skipped_to_ = 0;  // sequence numbers
};

/// Says that a name is dead up to `sequence`, in the place of a block's record. That record's
/// segment cannot be emptied without making a real tombstone of it: so the name stays dead also
/// when the index is lost again. `newest` is the highest sequence that is known.
IndexEntry tombstone_in_place_of(const IndexEntry& block, std::uint64_t sequence,
                                 std::uint64_t newest);

/// What of a walked segment becomes its row in the index. Where the device could not read it all,
/// nothing new goes: `quarantined`.
SegmentRow row_of(SegmentId id, const SegmentSummary& summary);

/// After a dirty stop whose log was torn (or is empty): applies the segments that were open
/// when the log's last whole batch was written, or were opened since, if the process before this
/// one opened them, and those that it went on with after they were sealed. Erased blocks whose
/// tombstones lie there stay erased; blocks whose entries were lost come back, and their numbers
/// are not given out again. Reads the first page of every segment, the last few of those that are
/// sealed, and all of those few, which it syncs before unless `read_only`: then the index must be
/// one that forgets. A sector that cannot be read is an error: what it held may be a tombstone, and
/// nobody would be told that something erased is back; `repair` goes on around it, and tells. Where
/// a note in one of those contradicts the index, the footers of all others too: the cleaner carries
/// notes to its own segment, where one may lie open although a later one was sealed since.
absl::StatusOr<RebuildReport> roll_forward(Device& device, Index& index,
                                           const std::string& directory,
                                           const Superblock& superblock, bool read_only);

/// After any dirty stop: a file of which the index says that it is free, or says nothing, and
/// whose header is of a newer generation, was opened since and may hold what the index names. It
/// becomes `unsealed` in `rows`: were it taken for free, what it holds would be overwritten.
/// Reads the first page of each file that is free. What cannot be read stays as it is.
void adopt_unnamed(Device& device, const std::string& directory, const Superblock& superblock,
                   std::span<const SegmentId> files, std::vector<SegmentRow>& rows);

}  // namespace cairn::tiers
