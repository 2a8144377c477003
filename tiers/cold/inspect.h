// SPDX-License-Identifier: Apache-2.0
// inspect.h — what lies on the medium, decoded, for people. Prints nothing itself.
//
// Works on a store that nobody has open, or that is open for reading; changes no byte.
//
// Threading:  the device must have no other poller while it runs.
// Blocking:   disk.
// Failure:    `not_found`, `io`; damage is part of the answer wherever something can be said.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tier.h"
#include "tiers/cold/location.h"
#include "tiers/cold/segment_walk.h"
#include "tiers/cold/superblock.h"
#include "tiers/io/device.h"
#include "tiers/record/format.h"
#include "tiers/record/record.h"

namespace cairn::tiers {

std::string_view record_kind_name(RecordKind kind);
std::string_view copy_state_name(CopyState state);
/// 8-4-4-4-12 hexadecimal digits.
std::string uuid_text(const StoreUuid& uuid);

absl::StatusOr<LoadedSuperblock> inspect_superblock(Device& device, const std::string& directory);

/// What a store cannot do without, as far as names and lengths tell: no payload is read, and of the
/// index its rows alone.
struct InspectedFiles {
  CopyState superblock = CopyState::sound;
  CopyState superblock_copy = CopyState::sound;
  std::vector<SegmentId> missing;  // in use, and there is no such file
  std::vector<SegmentId> cut;      // in use, and shorter than a segment is
};
absl::StatusOr<InspectedFiles> inspect_files(Device& device, const std::string& directory);

/// A record's header as found. Owns its key.
struct InspectedRecord {
  RecordFields fields;  // key and chunk table are empty here
  std::string key;
  std::vector<ChunkEntry> chunks;
  bool payload_sound = true;  // and the header at its place
  bool live = false;          // an entry of the index names this very place
};

struct InspectedSegment {
  SegmentSummary summary;
  std::vector<InspectedRecord> records;
  std::uint64_t live_records = 0, live_bytes = 0;
};

/// `tier` says which records live; null: none is said to.
absl::StatusOr<InspectedSegment> inspect_segment(Device& device, const std::string& directory,
                                                 SegmentId segment, DurableTier* tier);

struct InspectedEntry {
  StoredBlock entry;  // its name borrows from the caller's
  Place place;
  absl::Status status;                    // of the record there: ok, or what is wrong with it
  std::optional<InspectedRecord> record;  // where a header could be read
};

/// Empty where the store has no such block.
absl::StatusOr<std::optional<InspectedEntry>> inspect_entry(Device& device,
                                                            const std::string& directory,
                                                            DurableTier& tier,
                                                            const BlockName& name);

}  // namespace cairn::tiers
