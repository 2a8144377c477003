// SPDX-License-Identifier: Apache-2.0
#include "tiers/record/record.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::tiers {
namespace {

absl::Status corrupt(std::string_view why) {
  return make_error(ErrorCode::corruption, why);
}

std::uint64_t alignment_for(std::uint32_t payload_length) {
  return payload_length >= kLargePayload ? kPage : kSmallAlignment;
}

void store_sum(MutableByteSpan out, std::size_t offset, const Hash128& sum) {
  store_le(out, offset, sum.low);
  store_le(out, offset + 8, sum.high);
}

bool sum_matches(ByteSpan bytes, std::size_t summed) {
  const Hash128 stored{load_le<std::uint64_t>(bytes, summed + 8),
                       load_le<std::uint64_t>(bytes, summed)};
  return stored == xxh3_128(bytes.first(summed));
}

/// What the fixed part alone says, before anything of it is believed.
absl::Status check_fixed(const RecordHeader& h) {
  if (h.key_length == 0 || h.key_length > kKeyLengthMax) return corrupt("record: key length");
  if (h.chunk_count > kChunksMax) return corrupt("record: chunk count");
  if (h.header_length != record_header_bytes(h.key_length, h.chunk_count)) {
    return corrupt("record: header length");
  }
  return absl::OkStatus();
}

/// What fields of a sound header owe to each other.
absl::Status check_lengths(const RecordHeader& h) {
  if (h.plain_length > kBlockBytesMax || h.payload_length > kBlockBytesMax) {
    return corrupt("record: payload longer than any block");
  }
  if ((h.plain_length == 0) != (h.chunk_bytes == 0) ||
      h.chunk_count != chunk_count_for(h.plain_length, h.chunk_bytes)) {
    return corrupt("record: chunks do not make up the payload");
  }
  const std::uint64_t alignment = alignment_for(h.payload_length);
  if (h.payload_offset != round_up(h.header_length, alignment)) {
    return corrupt("record: payload offset");
  }
  if (h.offset == 0 || h.offset % alignment != 0 || h.offset >= kSegmentBytesMax) {
    return corrupt("record: offset");
  }
  if (h.segment >= kSegmentsMax) return corrupt("record: segment");
  if (h.kind != RecordKind::block && h.plain_length != 0) {
    return corrupt("record: a payload where none belongs");
  }
  return absl::OkStatus();
}

absl::Status check_known(const RecordHeader& h) {
  const auto unknown = [](std::string_view what, std::uint64_t value) {
    return make_error(ErrorCode::format,
                      concat("record: ", what, " ", value, " is not known to this build"));
  };
  if (h.kind != RecordKind::block && h.kind != RecordKind::tombstone &&
      h.kind != RecordKind::note) {
    return unknown("kind", static_cast<std::uint64_t>(h.kind));
  }
  if (h.codec > static_cast<std::uint16_t>(Codec::planes)) return unknown("codec", h.codec);
  if (h.codec_parameters != 0) return unknown("codec parameters", h.codec_parameters);
  if (h.layout != 0) return unknown("layout", h.layout);
  if ((h.flags & ~kRecordPinned) != 0) return unknown("flags", h.flags);
  return absl::OkStatus();
}

/// Whether a chunk of that codec may be stored so.
bool is_known(Codec codec, ChunkEncoding encoding) {
  return encoding == ChunkEncoding::raw ||
         (codec == Codec::planes && encoding <= ChunkEncoding::planes32);
}

/// Together the chunks are the payload; one that is not raw is shorter than its plain bytes.
absl::Status check_chunk_table(const RecordFields& f) {
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < f.chunk_count(); ++i) {
    const ChunkEntry entry = f.chunk(i);
    if (!is_known(f.codec, entry.encoding)) {
      return make_error(ErrorCode::format,
                        concat("record: encoding ", static_cast<std::uint64_t>(entry.encoding),
                               " is not known to this build"));
    }
    const std::uint32_t plain = f.plain_bytes(i);
    const bool fits = entry.encoding == ChunkEncoding::raw
                          ? entry.stored_length == plain
                          : entry.stored_length > 0 && entry.stored_length < plain;
    if (!fits) return corrupt("record: length of a chunk");
    total += entry.stored_length;
  }
  if (total != f.payload_length) return corrupt("record: payload length");
  return absl::OkStatus();
}

RecordFields decode(const RecordHeader& h, ByteSpan bytes) {
  RecordFields f;
  f.kind = h.kind;
  f.store = h.store;
  f.segment = static_cast<SegmentId>(h.segment);
  f.generation = h.generation;
  f.offset = h.offset;
  f.sequence = h.sequence;
  f.namespace_id = static_cast<NamespaceId>(h.namespace_id);
  f.epoch = h.epoch;
  f.part = h.part;
  f.key = as_text(bytes.subspan(sizeof(RecordHeader), h.key_length));
  f.expiry = h.expiry;
  f.parent = {{h.parent_high, h.parent_low}};
  f.pinned = (h.flags & kRecordPinned) != 0;
  f.codec = static_cast<Codec>(h.codec);
  f.chunk_bytes = h.chunk_bytes;
  f.plain_length = h.plain_length;
  f.payload_length = h.payload_length;
  f.payload_offset = h.payload_offset;
  (h.kind == RecordKind::note ? f.note_sequence : f.plain_sum) = h.plain_sum;
  f.chunk_table = bytes.subspan(sizeof(RecordHeader) + round_up(h.key_length, 8),
                                h.chunk_count * sizeof(ChunkEntry));
  f.header_length = h.header_length;
  return f;
}

RecordHeader fixed_part(const RecordFields& f) {
  RecordHeader h;
  h.kind = f.kind;
  h.flags = f.pinned ? kRecordPinned : 0;
  h.store = f.store;
  h.segment = static_cast<std::uint32_t>(f.segment);
  h.generation = f.generation;
  h.offset = f.offset;
  h.sequence = f.sequence;
  h.namespace_id = static_cast<std::uint32_t>(f.namespace_id);
  h.epoch = f.epoch;
  h.part = f.part;
  h.key_length = static_cast<std::uint16_t>(f.key.size());
  h.header_length = f.header_length;
  h.expiry = f.expiry;
  h.parent_high = f.parent.hash.high;
  h.parent_low = f.parent.hash.low;
  h.codec = static_cast<std::uint16_t>(f.codec);
  h.chunk_bytes = f.plain_length == 0 ? 0 : f.chunk_bytes;
  h.chunk_count = f.chunk_count();
  h.plain_length = f.plain_length;
  h.payload_length = f.payload_length;
  h.payload_offset = f.payload_offset;
  h.plain_sum = f.kind == RecordKind::note ? f.note_sequence : f.plain_sum;
  return h;
}

}  // namespace

std::uint64_t RecordFields::total_bytes() const {
  return round_up(std::uint64_t{payload_offset} + payload_length, alignment_for(payload_length));
}

RecordFields fields_of_block(const BlockName& name, const BlockFacts& facts,
                             std::uint32_t chunk_bytes, std::span<const ChunkEntry> chunks) {
  RecordFields fields;
  fields.kind = RecordKind::block;
  fields.sequence = facts.sequence;
  fields.namespace_id = name.namespace_id;
  fields.part = name.part;
  fields.key = name.key;
  fields.expiry = facts.expiry;
  fields.parent = facts.parent;
  fields.pinned = facts.pinned;
  fields.plain_length = fields.payload_length = facts.plain_bytes;
  fields.chunk_bytes = facts.plain_bytes == 0 ? 0 : chunk_bytes;
  fields.plain_sum = facts.plain_sum;
  fields.chunk_table = std::as_bytes(chunks);
  return fields;
}

absl::Status check_block(const RecordFields& fields) {
  if (fields.kind != RecordKind::block) return corrupt("record: not a block's");
  if (!is_valid_key(fields.key)) return corrupt("record: key length");
  if (fields.codec > Codec::planes) {
    return make_error(ErrorCode::format, concat("record: codec ", static_cast<int>(fields.codec),
                                                " is not known to this build"));
  }
  if (fields.plain_length > kBlockBytesMax || fields.payload_length > fields.plain_length) {
    return corrupt("record: payload longer than any block");
  }
  const std::uint32_t chunks = chunk_count_for(fields.plain_length, fields.chunk_bytes);
  if ((fields.plain_length == 0) != (fields.chunk_bytes == 0) || chunks > kChunksMax ||
      fields.chunk_table.size() != std::size_t{chunks} * sizeof(ChunkEntry)) {
    return corrupt("record: chunks do not make up the payload");
  }
  return check_chunk_table(fields);
}

std::uint32_t record_header_bytes(std::size_t key_length, std::uint32_t chunk_count) {
  return static_cast<std::uint32_t>(sizeof(RecordHeader) + round_up(key_length, 8) +
                                    std::size_t{chunk_count} * sizeof(ChunkEntry) +
                                    sizeof(Hash128));
}

std::uint32_t chunk_count_for(std::uint32_t plain_length, std::uint32_t chunk_bytes) {
  if (plain_length == 0 || chunk_bytes == 0) return 0;
  return (plain_length - 1) / chunk_bytes + 1;
}

RecordLayout lay_out_record(std::size_t key_length, std::uint32_t plain_length,
                            std::uint32_t chunk_bytes, std::uint32_t payload_length) {
  RecordLayout out;
  out.chunk_count = chunk_count_for(plain_length, chunk_bytes);
  out.header_length = record_header_bytes(key_length, out.chunk_count);
  out.alignment = alignment_for(payload_length);
  out.payload_offset = static_cast<std::uint32_t>(round_up(out.header_length, out.alignment));
  out.total_bytes = round_up(std::uint64_t{out.payload_offset} + payload_length, out.alignment);
  return out;
}

RecordLayout lay_out_record(std::size_t key_length, std::uint32_t plain_length,
                            std::uint32_t chunk_bytes) {
  return lay_out_record(key_length, plain_length, chunk_bytes, plain_length);
}

RecordLayout lay_out_record(const RecordFields& fields) {
  return lay_out_record(fields.key.size(), fields.plain_length, fields.chunk_bytes,
                        fields.payload_length);
}

std::uint32_t chunk_bytes_for(const NamespaceDescriptor& descriptor) {
  const std::uint64_t plane = plane_bytes(descriptor.layout, descriptor.dtype);
  if (plane == 0) return kOpaqueChunkBytes;
  const std::uint64_t planes = (kPlaneChunkBytesMin + plane - 1) / plane;
  return static_cast<std::uint32_t>(planes * plane);
}

void sum_chunks(ByteSpan payload, std::uint32_t chunk_bytes, std::span<ChunkEntry> out) {
  CAIRN_CHECK(out.size() ==
              chunk_count_for(static_cast<std::uint32_t>(payload.size()), chunk_bytes));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t offset = i * chunk_bytes;
    const std::size_t length = std::min<std::size_t>(chunk_bytes, payload.size() - offset);
    out[i] = {.stored_length = static_cast<std::uint32_t>(length),
              .sum = xxh3_64(payload.subspan(offset, length))};
  }
}

void encode_record_header(const RecordFields& fields, MutableByteSpan out) {
  const RecordHeader h = fixed_part(fields);
  CAIRN_CHECK(is_valid_key(fields.key));
  CAIRN_CHECK(check_fixed(h).ok() && check_lengths(h).ok() && check_known(h).ok());
  CAIRN_CHECK(out.size() >= h.payload_offset);
  std::memset(out.data(), 0, h.payload_offset);
  store_le(out, 0, h);
  std::memcpy(out.data() + sizeof(h), fields.key.data(), fields.key.size());
  const std::size_t table = sizeof(h) + round_up(fields.key.size(), 8);
  if (!fields.chunk_table.empty()) {
    std::memcpy(out.data() + table, fields.chunk_table.data(), fields.chunk_table.size());
  }
  const std::size_t summed = h.header_length - sizeof(Hash128);
  store_sum(out, summed, xxh3_128(ByteSpan(out).first(summed)));
}

std::optional<std::uint32_t> peek_header_length(ByteSpan bytes) {
  if (bytes.size() < sizeof(RecordHeader)) return std::nullopt;
  const auto h = load_le<RecordHeader>(bytes);
  if (h.magic != kRecordMagic || !check_fixed(h).ok()) return std::nullopt;
  return h.header_length;
}

absl::StatusOr<RecordFields> parse_record_header(ByteSpan bytes) {
  if (bytes.size() < sizeof(RecordHeader)) return corrupt("record: cut short");
  const auto h = load_le<RecordHeader>(bytes);
  if (h.magic != kRecordMagic) return corrupt("record: no record begins here");
  CAIRN_RETURN_IF_ERROR(check_fixed(h));
  if (bytes.size() < h.header_length) return corrupt("record: cut short");
  if (!sum_matches(bytes, h.header_length - sizeof(Hash128))) {
    return corrupt("record: header checksum");
  }
  if (h.version != kFormatVersion) {
    return make_error(ErrorCode::format,
                      concat("record: format version ", h.version, ", not ", kFormatVersion));
  }
  CAIRN_RETURN_IF_ERROR(check_known(h));
  CAIRN_RETURN_IF_ERROR(check_lengths(h));
  const RecordFields fields = decode(h, bytes);
  CAIRN_RETURN_IF_ERROR(check_chunk_table(fields));
  return fields;
}

absl::Status check_place(const RecordFields& fields, const RecordPlace& place) {
  if (fields.store != place.store) return corrupt("record: of another store");
  if (fields.segment != place.segment) return corrupt("record: of another segment");
#if !defined(CAIRN_PLANTED_STALE_GENERATION)
  if (fields.generation != place.generation) return corrupt("record: of another generation");
#endif
  if (fields.offset != place.offset) return corrupt("record: of another offset");
  return absl::OkStatus();
}

absl::Status check_name(const RecordFields& fields, const BlockName& wanted) {
#if defined(CAIRN_PLANTED_KEY_NOT_COMPARED)
  static_cast<void>(fields), static_cast<void>(wanted);
#else
  if (fields.name() != wanted) return corrupt("record: another key is stored here");
#endif
  return absl::OkStatus();
}

absl::Status check_chunk(const ChunkEntry& entry, ByteSpan stored) {
  if (entry.stored_length != stored.size()) return corrupt("chunk: cut short");
#if !defined(CAIRN_PLANTED_CHECKSUM_NOT_CHECKED)
  if (entry.sum != xxh3_64(stored)) return corrupt("chunk: checksum");
#endif
  return absl::OkStatus();
}

absl::Status check_payload(const RecordFields& fields, ByteSpan payload) {
  if (payload.size() != fields.payload_length) return corrupt("payload: cut short");
  std::size_t offset = 0;
  for (std::uint32_t i = 0; i < fields.chunk_count(); ++i) {
    const ChunkEntry entry = fields.chunk(i);
    CAIRN_RETURN_IF_ERROR(check_chunk(entry, payload.subspan(offset, entry.stored_length)));
    offset += entry.stored_length;
  }
  return absl::OkStatus();
}

}  // namespace cairn::tiers
