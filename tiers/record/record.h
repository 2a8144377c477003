// SPDX-License-Identifier: Apache-2.0
// record.h — headers of records, segments and footers: values to bytes and back.
//
// Pure. A parser takes any bytes at all, never reads past them, and either gives back
// what an encoder could have written or says `corruption` (`format` where the bytes are
// sound but of a version, codec, encoding or kind that this build does not know). Whether
// a sound record is the one that was wanted (this store, segment, generation, offset,
// key) is asked separately by check_place(), because repair must read what it did not
// expect.
//
// Threading: pure functions. Blocking: cpu.
// Lifetime:  RecordFields borrows key and chunk table from what was parsed or given.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/block.h"
#include "engine/namespace.h"
#include "tiers/record/format.h"

namespace cairn::tiers {

/// The smallest chunk a writer makes gives the most chunks a header can list.
constexpr std::uint32_t kChunksMax =
    static_cast<std::uint32_t>(kBlockBytesMax / kPlaneChunkBytesMin);
constexpr std::uint32_t kRecordHeaderBytesMax =
    sizeof(RecordHeader) + kKeyLengthMax + kChunksMax * sizeof(ChunkEntry) + sizeof(Hash128);

/// One record, decoded. What `sequence` means by kind:
///   block      the version; kept when the record moves
///   tombstone  every block record of this name with this sequence or a lower one is dead
///   note       the block version whose expiry and pin this replaces; note_sequence orders notes
/// At equal sequences a tombstone beats a block.
struct RecordFields {
  RecordKind kind = RecordKind::block;
  StoreUuid store{};
  SegmentId segment{};
  std::uint32_t generation = 0;
  std::uint64_t offset = 0;  // of the header in its segment
  std::uint64_t sequence = 0;
  NamespaceId namespace_id{};
  std::uint32_t epoch = 0;
  Part part = 0;
  std::string_view key;
  WallMicros expiry = 0;
  BlockId parent;
  bool pinned = false;
  Codec codec = Codec::none;
  std::uint32_t chunk_bytes = 0;  // 0 exactly when there is no payload
  std::uint32_t plain_length = 0;
  std::uint32_t payload_length = 0;  // stored
  std::uint32_t payload_offset = 0;  // from the header's first byte
  std::uint64_t plain_sum = 0;       // blocks: XXH3-64 of the plain payload
  std::uint64_t note_sequence = 0;   // notes: the note's own place in the store's order
  ByteSpan chunk_table;              // chunk_count() entries
  std::uint32_t header_length = 0;

  std::uint32_t chunk_count() const {
    return static_cast<std::uint32_t>(chunk_table.size() / sizeof(ChunkEntry));
  }
  ChunkEntry chunk(std::uint32_t i) const {
    return load_le<ChunkEntry>(chunk_table, i * sizeof(ChunkEntry));
  }
  BlockName name() const { return {namespace_id, key, part}; }
  BlockFacts facts() const { return {sequence, plain_length, plain_sum, expiry, parent, pinned}; }
  /// Plain bytes of chunk `i`: all but the last are full.
  std::uint32_t plain_bytes(std::uint32_t i) const {
    return i + 1 == chunk_count() ? plain_length - i * chunk_bytes : chunk_bytes;
  }
  /// From the header's first byte to the next record's earliest place.
  std::uint64_t total_bytes() const;
};

/// Of a block that is stored as it is, nowhere yet. Borrows the key and the chunks.
RecordFields fields_of_block(const BlockName& name, const BlockFacts& facts,
                             std::uint32_t chunk_bytes, std::span<const ChunkEntry> chunks);

/// Whether a record can be made of them: what parse_record_header() demands of a block's name,
/// lengths, codec and chunks. Not of its place, which they need not have.
absl::Status check_block(const RecordFields& fields);

/// With key, table and closing sum; a multiple of 8.
std::uint32_t record_header_bytes(std::size_t key_length, std::uint32_t chunk_count);

struct RecordLayout {
  std::uint32_t header_length = 0;
  std::uint32_t chunk_count = 0;
  std::uint32_t payload_offset = 0;
  std::uint64_t total_bytes = 0;  // a multiple of alignment
  std::uint64_t alignment =
      0;  // of header and payload: kPage from kLargePayload on, else kSmallAlignment
};
RecordLayout lay_out_record(std::size_t key_length, std::uint32_t plain_length,
                            std::uint32_t chunk_bytes, std::uint32_t payload_length);
/// Of a block whose stored payload is as long as the plain one, which it never passes. Tombstones
/// and notes have plain_length 0.
RecordLayout lay_out_record(std::size_t key_length, std::uint32_t plain_length,
                            std::uint32_t chunk_bytes);
/// By the lengths in `fields`.
RecordLayout lay_out_record(const RecordFields& fields);

/// Planes of the namespace's layout grouped up to at least 16 KiB; 64 KiB without a layout.
std::uint32_t chunk_bytes_for(const NamespaceDescriptor& descriptor);
/// 0 for an empty payload.
std::uint32_t chunk_count_for(std::uint32_t plain_length, std::uint32_t chunk_bytes);
/// Length and sum of each stored chunk of an uncoded payload. Costs one XXH3-64 pass; `out`
/// has chunk_count_for() elements.
void sum_chunks(ByteSpan payload, std::uint32_t chunk_bytes, std::span<ChunkEntry> out);

/// Writes header, key, table and closing sum, and zeros up to fields.payload_offset. `out` has
/// payload_offset bytes at least; fields agree with lay_out_record (checked).
void encode_record_header(const RecordFields& fields, MutableByteSpan out);

/// The header at the beginning of `bytes`, which may go on behind it.
absl::StatusOr<RecordFields> parse_record_header(ByteSpan bytes);
/// How many bytes parse_record_header() needs, from the first sizeof(RecordHeader) ones; empty
/// where no header can begin here. Believes nothing else: the closing sum is not checked.
std::optional<std::uint32_t> peek_header_length(ByteSpan bytes);

/// What a reader demands of a header's place. `corruption` names what differs.
struct RecordPlace {
  StoreUuid store{};
  SegmentId segment{};
  std::uint32_t generation = 0;
  std::uint64_t offset = 0;
};
absl::Status check_place(const RecordFields& fields, const RecordPlace& place);
/// The full key, namespace and part. `corruption` where another name is stored.
absl::Status check_name(const RecordFields& fields, const BlockName& wanted);
/// The stored bytes of one chunk against its entry: length and sum.
absl::Status check_chunk(const ChunkEntry& entry, ByteSpan stored);
/// All chunks of a payload of payload_length bytes.
absl::Status check_payload(const RecordFields& fields, ByteSpan payload);

// --- segments ---------------------------------------------------------------------------

/// Writes one page; fills in magic, version and sum.
void encode_segment_header(const SegmentHeader& header, MutableByteSpan page);
absl::StatusOr<SegmentHeader> parse_segment_header(ByteSpan page);

/// Bytes that a footer of these header copies takes at the segment's end; whole pages.
std::uint64_t footer_bytes(std::uint64_t headers_length);
/// Writes footer_bytes(headers.size()) bytes: the copies, zeros, the footer proper. Takes store,
/// segment, generation and record_count from `footer`; `headers_offset` is where `out` will lie.
void encode_footer(const SegmentFooter& footer, ByteSpan headers, std::uint64_t headers_offset,
                   MutableByteSpan out);
/// The footer proper from the segment's last page; bounds and magic are checked, the sum is not,
/// because it covers the copies too.
absl::StatusOr<SegmentFooter> parse_footer(ByteSpan last_page, std::uint64_t segment_bytes);
absl::Status check_footer(const SegmentFooter& footer, ByteSpan headers);
/// Visits the header copies in order; stops at the first that does not parse.
absl::Status for_each_header(ByteSpan headers,
                             const std::function<void(const RecordFields&)>& visit);

}  // namespace cairn::tiers
