// SPDX-License-Identifier: Apache-2.0
#include "tiers/record/payload_codec.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"

namespace cairn::tiers {
namespace {

constexpr std::size_t kRangeBytesMin = 256 * kKiB;

}  // namespace

std::vector<ChunkRange> cut_chunks(std::uint32_t count, std::size_t pieces) {
  std::vector<ChunkRange> ranges;
  const auto wanted =
      static_cast<std::uint32_t>(std::min<std::size_t>(std::max<std::size_t>(pieces, 1), count));
  for (std::uint32_t i = 0; i < wanted; ++i) {
    const auto at = [&](std::uint64_t piece) {
      return static_cast<std::uint32_t>(std::uint64_t{count} * piece / wanted);
    };
    ranges.push_back({at(i), at(i + 1)});
  }
  return ranges;
}

std::vector<ChunkRange> share_chunks(std::uint32_t count, std::size_t plain_bytes,
                                     std::size_t threads) {
  return cut_chunks(count, std::min(threads, plain_bytes / kRangeBytesMin + 1));
}

std::vector<ChunkRange> share_chunks(ChunkRange chunks, std::size_t plain_bytes,
                                     std::size_t threads) {
  std::vector<ChunkRange> ranges = share_chunks(chunks.count(), plain_bytes, threads);
  for (ChunkRange& range : ranges) {
    range = {range.begin + chunks.begin, range.end + chunks.begin};
  }
  return ranges;
}

ChunkRange chunks_of(const RecordFields& fields, std::uint32_t offset, std::size_t bytes) {
  if (bytes == 0) return {};
  CAIRN_CHECK(offset + bytes <= fields.plain_length);
  const auto last = static_cast<std::uint32_t>(offset + bytes - 1);
  return {offset / fields.chunk_bytes, last / fields.chunk_bytes + 1};
}

StoredRange stored_range(const RecordFields& fields, ChunkRange range) {
  CAIRN_CHECK(range.end <= fields.chunk_count());
  StoredRange out;
  for (std::uint32_t i = 0; i < range.begin; ++i) out.offset += fields.chunk(i).stored_length;
  for (std::uint32_t i = range.begin; i < range.end; ++i)
    out.bytes += fields.chunk(i).stored_length;
  return out;
}

ChunkPiece piece_of(const RecordFields& fields, std::uint32_t chunk, std::uint32_t offset,
                    MutableByteSpan part) {
  const std::size_t begin = std::size_t{chunk} * fields.chunk_bytes;
  const std::size_t end = begin + fields.plain_bytes(chunk);
  const std::size_t from = std::max<std::size_t>(begin, offset);
  const std::size_t to = std::min<std::size_t>(end, offset + part.size());
  CAIRN_CHECK(from < to);
  return {static_cast<std::uint32_t>(from - begin), part.subspan(from - offset, to - from)};
}

std::size_t encode_chunks(ChunkEncoder& encoder, Dtype dtype, ByteSpan plain,
                          std::uint32_t chunk_bytes, ChunkRange range, std::span<ChunkEntry> table,
                          MutableByteSpan out) {
  std::size_t used = 0;
  for (std::uint32_t i = range.begin; i < range.end; ++i) {
    const std::size_t offset = std::size_t{i} * chunk_bytes;
    const ByteSpan chunk =
        plain.subspan(offset, std::min<std::size_t>(chunk_bytes, plain.size() - offset));
    const MutableByteSpan target = out.subspan(used, chunk.size());
    const EncodedChunk encoded = encoder.encode(dtype, chunk, target);
    const ByteSpan stored = ByteSpan(target).first(encoded.stored_bytes);
    table[i] = {.stored_length = static_cast<std::uint32_t>(stored.size()),
                .encoding = encoded.encoding,
                .sum = xxh3_64(stored)};
    used += stored.size();
  }
  return used;
}

absl::Status decode_chunks(ChunkDecoder& decoder, const RecordFields& fields, ByteSpan stored,
                           ChunkRange range, MutableByteSpan plain) {
  CAIRN_CHECK(plain.size() == fields.plain_length && range.end <= fields.chunk_count());
  if (stored.size() != fields.payload_length) {
    return make_error(ErrorCode::corruption, "payload: cut short");
  }
  const StoredRange lies = stored_range(fields, range);
  return decode_part(decoder, fields, stored.subspan(lies.offset, lies.bytes), range, 0, plain, {});
}

absl::Status decode_part(ChunkDecoder& decoder, const RecordFields& fields, ByteSpan stored,
                         ChunkRange range, std::uint32_t offset, MutableByteSpan part,
                         MutableByteSpan scratch) {
  std::size_t at = 0;
  for (std::uint32_t i = range.begin; i < range.end; ++i) {
    const ChunkEntry entry = fields.chunk(i);
    const ByteSpan bytes = stored.subspan(at, entry.stored_length);
    CAIRN_RETURN_IF_ERROR(check_chunk(entry, bytes));
#if defined(CAIRN_PLANTED_CHUNK_SWAPPED)
    const bool has_twin = (i ^ 1U) >= range.begin && (i ^ 1U) < range.end &&
                          fields.plain_bytes(i ^ 1U) == fields.plain_bytes(i);
    const ChunkPiece piece = piece_of(fields, has_twin ? i ^ 1U : i, offset, part);
#else
    const ChunkPiece piece = piece_of(fields, i, offset, part);
#endif
    if (piece.target.size() == fields.plain_bytes(i)) {
      CAIRN_RETURN_IF_ERROR(decoder.decode(entry.encoding, bytes, piece.target));
    } else {
      const MutableByteSpan whole = scratch.first(fields.plain_bytes(i));
      CAIRN_RETURN_IF_ERROR(decoder.decode(entry.encoding, bytes, whole));
      std::memcpy(piece.target.data(), whole.data() + piece.skip, piece.target.size());
    }
    at += entry.stored_length;
  }
  return absl::OkStatus();
}

absl::Status copy_part(const RecordFields& fields, ByteSpan stored, ChunkRange range,
                       std::uint32_t offset, MutableByteSpan part) {
  std::size_t at = 0;
  for (std::uint32_t i = range.begin; i < range.end; ++i) {
    const ChunkEntry entry = fields.chunk(i);
    const ByteSpan bytes = stored.subspan(at, entry.stored_length);
    CAIRN_RETURN_IF_ERROR(check_chunk(entry, bytes));
    const ChunkPiece piece = piece_of(fields, i, offset, part);
    std::memcpy(piece.target.data(), bytes.data() + piece.skip, piece.target.size());
    at += entry.stored_length;
  }
  return absl::OkStatus();
}

absl::Status check_chunks(const RecordFields& fields, ByteSpan stored, ChunkRange range) {
  CAIRN_CHECK(range.end <= fields.chunk_count());
  if (stored.size() != fields.payload_length) {
    return make_error(ErrorCode::corruption, "payload: cut short");
  }
  std::size_t offset = 0;
  for (std::uint32_t i = 0; i < range.end; ++i) {
    const ChunkEntry entry = fields.chunk(i);
    if (i >= range.begin) {
      CAIRN_RETURN_IF_ERROR(check_chunk(entry, stored.subspan(offset, entry.stored_length)));
    }
    offset += entry.stored_length;
  }
  return absl::OkStatus();
}

}  // namespace cairn::tiers
