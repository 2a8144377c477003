// SPDX-License-Identifier: Apache-2.0
// superblock.h — what a store is: the one thing that cannot be learned from anything else.
//
// Two copies, DIR/CAIRN and DIR/state/CAIRN.copy, each replaced whole (written beside,
// synced, renamed, directory synced), the copy first. The sound one with the higher
// revision wins, so a crash between the two loses nothing and needs no repair; because
// DIR/CAIRN comes last, a directory without it never finished being made into a store or
// lost it later, and in both cases the copy says everything.
//
// A sound superblock (its closing sum is right: that the last 16 bytes are the XXH3-128 of
// all before them holds in every format version) of another major version or with an
// unknown incompatible feature means: hands off, `format`. A wrong sum means damage, and
// the other copy is asked.
//
// Threading: parse and encode are pure; the rest is for one thread at a time.
// Blocking:  load and replace: disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/namespace.h"
#include "tiers/io/device.h"
#include "tiers/record/format.h"

namespace cairn::tiers {

/// Features that this build knows. Compatible ones may be ignored, read-only-compatible ones
/// allow reading, incompatible ones allow nothing.
constexpr std::uint64_t kKnownReadOnlyFeatures = 0;
constexpr std::uint64_t kKnownIncompatibleFeatures = 0;

/// Of the ids, the highest is the index's own (its rows beside the entries).
constexpr std::uint32_t kNamespaceIdMax = 0xfffffffe;

struct DataDirectory {
  std::uint16_t device = 0;  // as in SegmentHeader and Location
  StoreUuid uuid{};
  std::string path;  // empty: the store's own directory
  friend bool operator==(const DataDirectory&, const DataDirectory&) = default;
};

struct Superblock {
  std::uint16_t format_major = kFormatVersion;
  std::uint16_t format_minor = 0;
  std::uint64_t compatible_features = 0;
  std::uint64_t read_only_features = 0;
  std::uint64_t incompatible_features = 0;
  std::uint64_t revision = 0;  // rises with each replacement
  StoreUuid store{};
  std::uint64_t block_id_secret = 0;
  std::uint64_t segment_bytes = 0;  // fixed at creation
  std::uint64_t cold_bytes = 0;     // the limit: what the last options that named one said
  std::uint64_t index_bytes = 0;    // of that, the share set aside for the index
  WallMicros created = 0;
  std::uint32_t next_namespace_id = 1;
  std::vector<DataDirectory> data_directories;
  std::vector<NamespaceInfo> namespaces;
};

/// A new store's: random uuid and secret, one data directory.
Superblock make_superblock(std::uint64_t segment_bytes, std::uint64_t cold_bytes,
                           std::uint64_t index_bytes, WallMicros now);

std::string encode_superblock(const Superblock& superblock);
absl::StatusOr<Superblock> parse_superblock(ByteSpan bytes);

enum class CopyState : std::uint8_t { sound, older, missing, damaged };

struct LoadedSuperblock {
  Superblock superblock;
  CopyState primary = CopyState::sound;
  CopyState copy = CopyState::sound;
  bool read_only_required = false;  // an unknown read-only-compatible feature is set
  bool needs_healing() const { return primary != CopyState::sound || copy != CopyState::sound; }
};

/// `not_found` where neither file nor any other trace of a store is; `format`, with nothing
/// touched, for another version, an unknown incompatible feature, or bytes that are no
/// superblock at all; `corruption` where a store was and both copies are damaged or gone.
absl::StatusOr<LoadedSuperblock> load_superblock(Device& device, const std::string& directory);

/// How far a replacement that failed came.
enum class Replacement : std::uint8_t {
  untouched,  // every opening will find what was there before
  unknown,    // the next opening may find the old or the new: nothing more may be promised
};

/// Raises the revision and replaces both copies. The first that is on the medium for good is the
/// commit, because every opening takes the higher revision: OK then, and where the other copy
/// could not be written a warning; the next opening heals it. On failure `how` says whether the
/// caller may go on with the old content.
absl::Status replace_superblock(Device& device, const std::string& directory,
                                Superblock& superblock, Replacement* how = nullptr);

}  // namespace cairn::tiers
