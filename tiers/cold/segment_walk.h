// SPDX-License-Identifier: Apache-2.0
// segment_walk.h — every record that one segment file holds, in whatever state it is.
//
// A sealed segment is listed from its footer: a few pages, unless every byte is asked for. One
// without a sound footer is walked from its first page to its last; a record that fails its check
// does not end the walk, which goes on at the next 64-byte boundary where a record of this segment
// begins. In such a segment payloads are always verified: its end may have been torn.
//
// For tools and repair, not for the data path: it blocks, and polls the device itself.
//
// Threading:  the device must have no other poller while it runs.
// Blocking:   disk.
// Failure:    damage is counted, never an error, and so are pages that cannot be read, up to a
//             limit and unless they are wanted as errors; other I/O errors end it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "tiers/cold/file_window.h"
#include "tiers/io/device.h"
#include "tiers/record/format.h"
#include "tiers/record/record.h"

namespace cairn::tiers {

struct WalkOptions {
  StoreUuid store{};
  std::uint64_t segment_bytes = 0;
  /// Every byte, also where a footer says that all was well: headers at their places, payloads.
  bool verify_payloads = false;
  /// Syncs the file before it is read. Whoever names what is visited needs it: a kill leaves
  /// records that were never synced, and a name that outlives them would have replaced what was.
  bool sync_first = false;
  Unreadable unreadable = Unreadable::fill;
  /// Where the segment's header is damaged: its generation, if anybody knows it. Without it
  /// nothing in the segment is believed, for what was superseded cannot be told from the rest.
  std::optional<std::uint32_t> generation;
};

struct WalkedRecord {
  RecordFields fields;        // borrows until the visitor returns
  bool payload_sound = true;  // verified where the walk verifies
  /// A footer lists it, so it was once written whole: where its payload is bad it was damaged
  /// since. Without a footer a put that never ended looks the same.
  bool vouched = false;
  /// False where the fields are the footer's copy, which is sound, and what lies at the record's
  /// own place differs from it. No reader gets such a block; what a tombstone or a note says is
  /// known.
  bool header_sound = true;
};

struct SegmentSummary {
  bool header_sound = false;
  bool footer_sound = false;
  SegmentHeader header;              // where it is sound
  std::uint32_t generation = 0;      // whose records were visited
  std::uint32_t generation_max = 0;  // the highest that any sound header in the file names
  std::uint64_t records = 0;         // visited
  std::uint64_t bad_headers = 0;     // began like a record and were none, or not the listed one
  std::uint64_t bad_payloads = 0;    // visited with payload_sound == false
  std::uint64_t stale = 0;           // of another generation
  std::uint64_t foreign = 0;         // of another store, segment or offset
  std::uint64_t bytes_read = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t unreadable_bytes = 0;  // whole pages; what lies there counts as damaged
};

absl::StatusOr<SegmentSummary> walk_segment(
    Device& device, const std::string& path, SegmentId id, const WalkOptions& options,
    const std::function<absl::Status(const WalkedRecord&)>& visit);

/// One record at a place, each check for itself.
struct RecordCheck {
  absl::Status header;  // a sound one is there
  absl::Status place;   // and says that it belongs there
  absl::Status name;    // and is the wanted one
  absl::Status payload;
  bool ok() const { return header.ok() && place.ok() && name.ok() && payload.ok(); }
  /// The first that is not OK.
  absl::Status status() const;
};
/// `seen` is called with the header where it is sound; it borrows for the call. An error is one
/// of I/O.
absl::StatusOr<RecordCheck> check_record(FileWindow& file, const RecordPlace& place,
                                         const BlockName& name,
                                         const std::function<void(const RecordFields&)>& seen);

}  // namespace cairn::tiers
