// SPDX-License-Identifier: Apache-2.0
// format.h — every byte that Cairn puts on disk itself (RocksDB's files are RocksDB's).
//
// Three kinds of file: the superblock, segments, and small state files. Everything is
// little-endian, self-describing, and closed by an XXH3-128 over all bytes before the sum,
// so that a damaged, misplaced, stale or foreign piece fails its check instead of being
// believed. Parsers are pure functions over untrusted bytes and are fuzzed.
//
//   segment file, fixed size, a multiple of 4 KiB
//   ├─ SegmentHeader (4 KiB)
//   ├─ extent ─ starts and ends on 4 KiB, written once
//   │   ├─ record: RecordHeader · key · chunk table · XXH3-128 · (pad) payload · (pad)
//   │   └─ …    large (payload ≥ 256 KiB): header and payload each start on 4 KiB
//   │           small: header and payload each start on 64 B
//   ├─ …
//   └─ footer, once sealed: copies of all record headers, then SegmentFooter in the last 4 KiB
//
// A record says where it lies (store, segment, generation, offset) and whose it is (namespace,
// epoch, key, part), so a block that is read from the wrong place or after its segment was
// reused cannot pass for another. A page that holds acknowledged bytes is never written again.
//
// Format version 1. A reader refuses another major version and unknown incompatible features
// and leaves the files untouched. docs/format.md tells the same with pictures.
//
// Threading: pure functions and plain values. Blocking: cpu.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/base/hash128.h"
#include "engine/block.h"
#include "engine/namespace.h"
#include "tiers/codec/chunk_encoding.h"

namespace cairn::tiers {

constexpr std::uint16_t kFormatVersion = 1;
constexpr std::uint32_t kSuperblockMagic = 0x4e524943;  // "CIRN"
constexpr std::uint32_t kSegmentMagic = 0x47455343;     // "CSEG"
constexpr std::uint32_t kRecordMagic = 0x43455243;      // "CREC"
constexpr std::uint32_t kFooterMagic = 0x544f4643;      // "CFOT"
constexpr std::uint32_t kStateMagic = 0x54415443;       // "CTAT"

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kSmallAlignment = 64;
constexpr std::uint64_t kLargePayload = 256 * kKiB;
constexpr std::uint64_t kExtentBytesMax = 8 * kMiB;
constexpr std::uint32_t kOpaqueChunkBytes = 64 * 1024;
constexpr std::uint32_t kPlaneChunkBytesMin = 16 * 1024;
constexpr std::uint64_t kSegmentBytesMin = 4 * kMiB;
constexpr std::uint64_t kSegmentBytesMax = 256 * kMiB;
constexpr std::uint32_t kSegmentsMax = 1U << 17;

using StoreUuid = std::array<std::uint8_t, 16>;

enum class SegmentId : std::uint32_t {};

enum class RecordKind : std::uint8_t { block = 1, tombstone = 2, note = 3 };
/// Readers refuse those they do not know.
enum class Codec : std::uint16_t {
  none = 0,    // every chunk as it is
  planes = 1,  // each chunk as its entry says (tiers/codec/chunk_encoding.h)
};

struct SegmentHeader {
  std::uint32_t magic = kSegmentMagic;
  std::uint16_t version = kFormatVersion;
  std::uint16_t device = 0;  // which data directory
  StoreUuid store{};
  std::uint32_t segment = 0;
  std::uint32_t generation = 0;  // rises with each reuse; records of another one are stale
  std::uint64_t segment_bytes = 0;
  std::uint64_t opened_at_sequence = 0;  // lower bound of what may be superseded by later segments
  std::uint64_t sum_low = 0;             // XXH3-128 of the 48 bytes above
  std::uint64_t sum_high = 0;
};
static_assert(sizeof(SegmentHeader) == 64 && offsetof(SegmentHeader, sum_low) == 48);
static_assert(std::has_unique_object_representations_v<SegmentHeader>);

/// Fixed part; then key, zero padding to 8, chunk table, XXH3-128 over all of it.
struct RecordHeader {
  std::uint32_t magic = kRecordMagic;
  std::uint16_t version = kFormatVersion;
  RecordKind kind = RecordKind::block;
  std::uint8_t flags = 0;  // RecordFlags
  StoreUuid store{};
  std::uint32_t segment = 0;
  std::uint32_t generation = 0;
  std::uint64_t offset = 0;    // of this header in its segment
  std::uint64_t sequence = 0;  // kept when the record moves
  std::uint32_t namespace_id = 0;
  std::uint32_t epoch = 0;  // of the namespace when written
  std::uint16_t part = 0;
  std::uint16_t key_length = 0;
  std::uint32_t header_length = 0;  // all of it, with key, table and closing sum
  std::int64_t expiry = 0;          // wall µs, 0: never
  std::uint64_t parent_high = 0;    // BlockId of the parent, 0: none
  std::uint64_t parent_low = 0;
  std::uint16_t codec = 0;        // Codec
  std::uint16_t layout = 0;       // reserved for a namespace's layout versions
  std::uint32_t chunk_bytes = 0;  // plain bytes of every chunk but the last
  std::uint32_t chunk_count = 0;
  std::uint32_t plain_length = 0;
  std::uint32_t payload_length = 0;    // stored, sum of the chunks
  std::uint32_t payload_offset = 0;    // from the header's first byte
  std::uint64_t plain_sum = 0;         // XXH3-64 of the plain payload
  std::uint64_t codec_parameters = 0;  // room for a codec's own; 0 for Codec::none
};
static_assert(sizeof(RecordHeader) == 128);
static_assert(std::has_unique_object_representations_v<RecordHeader>);

enum RecordFlags : std::uint8_t { kRecordPinned = 1 };

struct ChunkEntry {
  std::uint32_t stored_length = 0;
  ChunkEncoding encoding = ChunkEncoding::raw;
  std::array<std::uint8_t, 3> reserved{};
  std::uint64_t sum = 0;  // XXH3-64 of the stored bytes
};
static_assert(sizeof(ChunkEntry) == 16 && std::has_unique_object_representations_v<ChunkEntry>);

/// In the last 64 bytes of a sealed segment's last page.
struct SegmentFooter {
  std::uint32_t magic = kFooterMagic;
  std::uint16_t version = kFormatVersion;
  std::uint16_t reserved = 0;
  StoreUuid store{};
  std::uint32_t segment = 0;
  std::uint32_t generation = 0;
  std::uint32_t record_count = 0;
  std::uint32_t headers_length = 0;  // bytes of all header copies
  std::uint64_t headers_offset = 0;  // in the segment
  std::uint64_t sum_low =
      0;  // XXH3-128 of (XXH3-128 of the copies, low then high) and the 48 above
  std::uint64_t sum_high = 0;
};
static_assert(sizeof(SegmentFooter) == 64 &&
              std::has_unique_object_representations_v<SegmentFooter>);

}  // namespace cairn::tiers
