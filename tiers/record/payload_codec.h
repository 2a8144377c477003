// SPDX-License-Identifier: Apache-2.0
// payload_codec.h — a block's payload as its record stores it, and back, chunk by chunk.
//
// Chunks are coded one by one and stored one behind the other, so a range of them can be coded by
// itself, and several ranges at once. Sums are of the stored bytes, and are checked before they are
// decoded.
//
// Threading: pure but for the encoder and decoder, which are confined. Blocking: cpu.
// Failure:   decoding says `corruption`; the target then holds garbage.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "tiers/codec/plane_codec.h"
#include "tiers/record/record.h"

namespace cairn::tiers {

/// Shorter payloads are stored as they are: they win less than a record's header takes.
constexpr std::size_t kCodedBytesMin = kKiB;

/// Chunks [begin, end) of a payload.
struct ChunkRange {
  std::uint32_t begin = 0, end = 0;
  std::uint32_t count() const { return end - begin; }
};
/// `count` chunks in at most `pieces` ranges of about the same length, none empty.
std::vector<ChunkRange> cut_chunks(std::uint32_t count, std::size_t pieces);
/// Of a payload of so many plain bytes, for so many threads: no range is less than is worth waking
/// one for.
std::vector<ChunkRange> share_chunks(std::uint32_t count, std::size_t plain_bytes,
                                     std::size_t threads);
/// The same of some of its chunks, which have so many plain bytes.
std::vector<ChunkRange> share_chunks(ChunkRange chunks, std::size_t plain_bytes,
                                     std::size_t threads);

/// Those that `bytes` plain bytes from `offset` on lie in; none for no bytes.
ChunkRange chunks_of(const RecordFields& fields, std::uint32_t offset, std::size_t bytes);
/// Where the chunks of `range` lie in the stored payload.
struct StoredRange {
  std::uint32_t offset = 0, bytes = 0;
};
StoredRange stored_range(const RecordFields& fields, ChunkRange range);

/// What a part of a payload wants of one chunk that it lies in.
struct ChunkPiece {
  std::uint32_t skip = 0;  // plain bytes of the chunk before it
  MutableByteSpan target;  // where it belongs; as long as the chunk where all of it is wanted
};
/// `part` receives the payload from `offset` on.
ChunkPiece piece_of(const RecordFields& fields, std::uint32_t chunk, std::uint32_t offset,
                    MutableByteSpan part);

/// Writes the chunks of `range` to the beginning of `out`, which has room for their plain bytes,
/// and fills in their entries of `table`. Returns how many bytes that took.
std::size_t encode_chunks(ChunkEncoder& encoder, Dtype dtype, ByteSpan plain,
                          std::uint32_t chunk_bytes, ChunkRange range, std::span<ChunkEntry> table,
                          MutableByteSpan out);

/// `stored` is the whole payload of the record, `plain` has fields.plain_length bytes; only those
/// of `range` are written.
absl::Status decode_chunks(ChunkDecoder& decoder, const RecordFields& fields, ByteSpan stored,
                           ChunkRange range, MutableByteSpan plain);
/// The same for a part of the payload, from plain byte `offset` on. `stored` is what the chunks of
/// `range` take and no more; of `part` only what lies in them is written. `scratch` has a chunk's
/// plain bytes: one that is wanted in part is decoded there.
absl::Status decode_part(ChunkDecoder& decoder, const RecordFields& fields, ByteSpan stored,
                         ChunkRange range, std::uint32_t offset, MutableByteSpan part,
                         MutableByteSpan scratch);
/// The same where nothing is coded: Codec::none.
absl::Status copy_part(const RecordFields& fields, ByteSpan stored, ChunkRange range,
                       std::uint32_t offset, MutableByteSpan part);
/// The sums of those of `range`, without decoding them.
absl::Status check_chunks(const RecordFields& fields, ByteSpan stored, ChunkRange range);

}  // namespace cairn::tiers
