// SPDX-License-Identifier: Apache-2.0
// Headers of records, segments and footers: what is encoded is read back, and nothing else is
// believed: not one flipped bit, not one byte less, not another place.
#include "tiers/record/record.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tiers/cold/location.h"

namespace cairn::tiers {
namespace {

const StoreUuid kStore{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/// A record with all that it borrows; stays where it was made.
struct Made {
  explicit Made(std::string key_in, std::size_t payload_bytes, RecordKind kind = RecordKind::block);
  Made(const Made&) = delete;
  Made& operator=(const Made&) = delete;

  std::string key;
  std::string payload;
  std::vector<ChunkEntry> chunks;
  RecordFields fields;
  std::string header;  // payload_offset bytes
};

Made::Made(std::string key_in, std::size_t payload_bytes, RecordKind kind)
    : key(std::move(key_in)), payload(test::make_payload(key, 1, payload_bytes)) {
  const auto plain = static_cast<std::uint32_t>(payload_bytes);
  const RecordLayout layout = lay_out_record(key.size(), plain, kOpaqueChunkBytes);
  chunks.resize(layout.chunk_count);
  sum_chunks(as_bytes(payload), kOpaqueChunkBytes, chunks);
  RecordFields& f = fields;
  f.kind = kind;
  f.store = kStore;
  f.segment = static_cast<SegmentId>(5);
  f.generation = 9;
  f.offset = 8 * kPage;
  f.sequence = 77;
  f.namespace_id = static_cast<NamespaceId>(3);
  f.epoch = 2;
  f.part = 513;
  f.key = key;
  f.expiry = 1234567890;
  f.parent.hash = {11, 22};
  f.pinned = true;
  f.chunk_bytes = kOpaqueChunkBytes;
  f.plain_length = plain;
  f.payload_length = plain;
  f.payload_offset = layout.payload_offset;
  if (kind == RecordKind::note) {
    f.note_sequence = 4711;
  } else {
    f.plain_sum = xxh3_64(as_bytes(payload));
  }
  f.chunk_table = std::as_bytes(std::span(chunks));
  f.header_length = layout.header_length;
  header.resize(layout.payload_offset);
  encode_record_header(f, std::as_writable_bytes(std::span(header)));
}

TEST(Record, IsReadBackAsItWasWritten) {
  for (const RecordKind kind : {RecordKind::block, RecordKind::tombstone, RecordKind::note}) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{65536},
                                    std::size_t{65537}, std::size_t{2 * kMiB}}) {
      if (kind != RecordKind::block && bytes != 0) continue;
      for (const std::size_t key_length : {std::size_t{1}, std::size_t{8}, kKeyLengthMax}) {
        const Made made(std::string(key_length, 'k'), bytes, kind);
        const auto fields = parse_record_header(as_bytes(made.header));
        ASSERT_TRUE(fields.ok()) << fields.status();
        EXPECT_EQ(fields->kind, kind);
        EXPECT_EQ(fields->store, kStore);
        EXPECT_EQ(fields->sequence, 77U);
        EXPECT_EQ(fields->note_sequence, kind == RecordKind::note ? 4711U : 0U);
        EXPECT_EQ(fields->name(), made.fields.name());
        EXPECT_EQ(fields->facts(), made.fields.facts());
        EXPECT_EQ(fields->payload_offset, made.fields.payload_offset);
        EXPECT_EQ(fields->header_length, made.fields.header_length);
        EXPECT_EQ(fields->chunk_count(), made.chunks.size());
        EXPECT_TRUE(check_payload(*fields, as_bytes(made.payload)).ok());
        EXPECT_EQ(peek_header_length(as_bytes(made.header)), made.fields.header_length);
      }
    }
  }
}

TEST(Record, LargeOnesStartOnPagesAndSmallOnesOnSixtyFourBytes) {
  const RecordLayout small = lay_out_record(20, kLargePayload - 1, kOpaqueChunkBytes);
  EXPECT_EQ(small.alignment, kSmallAlignment);
  EXPECT_EQ(small.payload_offset % kSmallAlignment, 0U);
  EXPECT_EQ(small.total_bytes % kSmallAlignment, 0U);
  const RecordLayout large = lay_out_record(20, kLargePayload, kOpaqueChunkBytes);
  EXPECT_EQ(large.alignment, kPage);
  EXPECT_EQ(large.payload_offset, kPage);
  EXPECT_EQ(large.total_bytes, kPage + kLargePayload);
  EXPECT_EQ(lay_out_record(10, 0, 0).total_bytes % kSmallAlignment, 0U);
}

TEST(Record, ChunksArePlanesWhereTheLayoutIsKnown) {
  NamespaceDescriptor d{.name = "n", .dtype = Dtype::bf16, .layout = {32, 2, 16, 8, 128}};
  EXPECT_EQ(chunk_bytes_for(d), 32 * kKiB);
  d.layout = {32, 2, 1, 8, 128};  // 2 KiB a plane: eight together
  EXPECT_EQ(chunk_bytes_for(d), 16 * kKiB);
  d.layout = {32, 2, 3, 8, 128};  // 6 KiB a plane: three together
  EXPECT_EQ(chunk_bytes_for(d), 18 * kKiB);
  EXPECT_EQ(chunk_bytes_for({.name = "opaque"}), kOpaqueChunkBytes);
  EXPECT_LE(record_header_bytes(kKeyLengthMax, kChunksMax), kRecordHeaderBytesMax);
}

TEST(Record, EveryFlippedBitIsNoticed) {
  const Made made("a key of some length", 200000);
  const std::size_t length = made.fields.header_length;
  for (std::size_t bit = 0; bit < length * 8; ++bit) {
    std::string damaged = made.header;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(parse_record_header(as_bytes(damaged)).ok()) << "bit " << bit;
  }
}

TEST(Record, EveryCutIsNoticedAndNothingIsReadBehindIt) {
  const Made made("key", 200000);
  for (std::size_t length = 0; length < made.fields.header_length; ++length) {
    // An exact copy on the heap: a read behind its end is a fault under the sanitizers.
    const std::vector<std::byte> cut(
        as_bytes(made.header).begin(),
        as_bytes(made.header).begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_FALSE(parse_record_header(cut).ok()) << length;
  }
}

/// Changes a field and closes the header again, as somebody who can write headers would.
std::string resealed(const Made& made, const std::function<void(RecordHeader&)>& change) {
  std::string header = made.header;
  const MutableByteSpan bytes = std::as_writable_bytes(std::span(header));
  auto h = load_le<RecordHeader>(bytes);
  change(h);
  store_le(bytes, 0, h);
  const std::size_t summed = made.fields.header_length - sizeof(Hash128);
  const Hash128 sum = xxh3_128(ByteSpan(bytes).first(summed));
  store_le(bytes, summed, sum.low);
  store_le(bytes, summed + 8, sum.high);
  return header;
}

TEST(Record, WhatThisBuildDoesNotKnowIsRefusedAsAFormat) {
  const Made made("key", 1000);
  const auto code = [&](const std::function<void(RecordHeader&)>& change) {
    return error_code(parse_record_header(as_bytes(resealed(made, change))).status());
  };
  EXPECT_EQ(code([](RecordHeader& h) { h.version = 2; }), ErrorCode::format);
  EXPECT_EQ(code([](RecordHeader& h) { h.codec = 2; }), ErrorCode::format);
  EXPECT_EQ(code([](RecordHeader& h) { h.kind = static_cast<RecordKind>(9); }), ErrorCode::format);
  EXPECT_EQ(code([](RecordHeader& h) { h.flags = 0x80; }), ErrorCode::format);
  EXPECT_EQ(code([](RecordHeader& h) { h.layout = 3; }), ErrorCode::format);
  EXPECT_EQ(code([](RecordHeader& h) { h.codec_parameters = 3; }), ErrorCode::format);
}

TEST(Record, LengthsThatDoNotAgreeAreRefusedAlsoUnderASoundSum) {
  const Made made("key", 100000);
  const auto refused = [&](const std::function<void(RecordHeader&)>& change) {
    return !parse_record_header(as_bytes(resealed(made, change))).ok();
  };
  EXPECT_TRUE(refused([](RecordHeader& h) { h.plain_length += 1; }));
  EXPECT_TRUE(refused([](RecordHeader& h) { h.payload_length -= 1; }));
  EXPECT_TRUE(refused([](RecordHeader& h) { h.payload_offset += 64; }));
  EXPECT_TRUE(refused([](RecordHeader& h) { h.chunk_bytes = 0; }));
  EXPECT_TRUE(refused([](RecordHeader& h) { h.chunk_bytes = 1; }));
  EXPECT_TRUE(refused([](RecordHeader& h) { h.plain_length = 0xffffffff; }));
  EXPECT_TRUE(refused([](RecordHeader& h) { h.offset = 0; }));
  EXPECT_TRUE(refused([](RecordHeader& h) { h.offset = 65; }));
  EXPECT_TRUE(refused([](RecordHeader& h) { h.segment = kSegmentsMax; }));
  EXPECT_TRUE(refused([](RecordHeader& h) { h.kind = RecordKind::tombstone; }));
  EXPECT_FALSE(refused([](RecordHeader&) {}));
}

TEST(Record, RandomBytesAreNeverARecord) {
  for (const std::uint64_t seed : test::seeds({1}, 1)) {
    test::print_seed(seed);
    test::Rng rng(seed);
    const Made made("key", 5000);
    for (std::size_t i = 0; i < test::scaled(20000); ++i) {
      std::string bytes = made.header.substr(0, rng.below(made.header.size() + 1));
      if (rng.chance(0.5)) rng.fill(std::as_writable_bytes(std::span(bytes)));
      for (std::uint64_t n = rng.below(4); n > 0 && !bytes.empty(); --n) {
        bytes[rng.below(bytes.size())] = static_cast<char>(rng.next());
      }
      const auto fields = parse_record_header(as_bytes(bytes));
      if (fields.ok()) {
        EXPECT_EQ(bytes.substr(0, fields->header_length),
                  made.header.substr(0, fields->header_length));
      }
    }
  }
}

TEST(Record, AnotherPlaceOrNameOrPayloadIsCorruption) {
  const Made made("key", 70000);
  const auto fields = parse_record_header(as_bytes(made.header));
  ASSERT_TRUE(fields.ok());
  const RecordPlace here{kStore, made.fields.segment, 9, 8 * kPage};
  EXPECT_TRUE(check_place(*fields, here).ok());
  const auto elsewhere = [&](const std::function<void(RecordPlace&)>& change) {
    RecordPlace place = here;
    change(place);
    return has_code(check_place(*fields, place), ErrorCode::corruption);
  };
  EXPECT_TRUE(elsewhere([](RecordPlace& p) { p.store[3] ^= 1; }));
  EXPECT_TRUE(elsewhere([](RecordPlace& p) { p.segment = static_cast<SegmentId>(6); }));
  EXPECT_TRUE(elsewhere([](RecordPlace& p) { p.generation = 8; }));
  EXPECT_TRUE(elsewhere([](RecordPlace& p) { p.offset += 64; }));
  EXPECT_TRUE(check_name(*fields, {static_cast<NamespaceId>(3), "key", 513}).ok());
  EXPECT_FALSE(check_name(*fields, {static_cast<NamespaceId>(3), "kez", 513}).ok());
  EXPECT_FALSE(check_name(*fields, {static_cast<NamespaceId>(3), "key", 0}).ok());
  EXPECT_FALSE(check_name(*fields, {static_cast<NamespaceId>(4), "key", 513}).ok());
  for (const std::size_t at :
       {std::size_t{0}, std::size_t{65535}, std::size_t{65536}, std::size_t{69999}}) {
    std::string damaged = made.payload;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_TRUE(has_code(check_payload(*fields, as_bytes(damaged)), ErrorCode::corruption));
  }
  EXPECT_FALSE(check_payload(*fields, as_bytes(made.payload).first(69999)).ok());
}

TEST(Record, LocationsKeepWhatTheyArePackedFrom) {
  for (const Place& place :
       {Place{0, static_cast<SegmentId>(0), 4096, 64},
        Place{15, static_cast<SegmentId>(kSegmentsMax - 1), kSegmentBytesMax - 64, 64},
        Place{3, static_cast<SegmentId>(77), 64,
              round_up(kBlockBytesMax + kRecordHeaderBytesMax, kPage)}}) {
    ASSERT_TRUE(is_packable(place));
    EXPECT_EQ(unpack_location(pack_location(place)), place);
    EXPECT_FALSE(pack_location(place).is_null());
  }
  EXPECT_FALSE(is_packable({0, static_cast<SegmentId>(0), 0, 64}));
  EXPECT_FALSE(is_packable({16, static_cast<SegmentId>(0), 64, 64}));
  EXPECT_FALSE(is_packable({0, static_cast<SegmentId>(kSegmentsMax), 64, 64}));
}

TEST(SegmentFormat, HeaderIsReadBackAndEveryFlipIsNoticed) {
  SegmentHeader header;
  header.store = kStore;
  header.segment = 12;
  header.generation = 4;
  header.segment_bytes = 8 * kMiB;
  header.opened_at_sequence = 99;
  std::string page(kPage, 'x');
  encode_segment_header(header, std::as_writable_bytes(std::span(page)));
  const auto parsed = parse_segment_header(as_bytes(page));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->segment, 12U);
  EXPECT_EQ(parsed->generation, 4U);
  EXPECT_EQ(parsed->opened_at_sequence, 99U);
  for (std::size_t bit = 0; bit < sizeof(SegmentHeader) * 8; ++bit) {
    std::string damaged = page;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(parse_segment_header(as_bytes(damaged)).ok()) << bit;
  }
  EXPECT_FALSE(parse_segment_header(as_bytes(page).first(63)).ok());
}

TEST(SegmentFormat, FooterListsTheHeadersAndEveryFlipIsNoticed) {
  std::string headers;
  for (int i = 0; i < 5; ++i) {
    const Made made("key" + std::to_string(i), 1000);
    headers += made.header.substr(0, made.fields.header_length);
  }
  SegmentFooter footer;
  footer.store = kStore;
  footer.segment = 5;
  footer.generation = 9;
  footer.record_count = 5;
  const std::uint64_t bytes = footer_bytes(headers.size());
  EXPECT_EQ(bytes % kPage, 0U);
  std::string out(bytes, 'x');
  encode_footer(footer, as_bytes(headers), kSegmentBytesMin - bytes,
                std::as_writable_bytes(std::span(out)));
  const auto parsed = parse_footer(as_bytes(out).last(kPage), kSegmentBytesMin);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->record_count, 5U);
  ASSERT_TRUE(check_footer(*parsed, as_bytes(out).first(parsed->headers_length)).ok());
  std::vector<std::string> keys;
  ASSERT_TRUE(
      for_each_header(as_bytes(out).first(parsed->headers_length), [&](const RecordFields& f) {
        keys.emplace_back(f.key);
      }).ok());
  EXPECT_EQ(keys, (std::vector<std::string>{"key0", "key1", "key2", "key3", "key4"}));
  const auto sound = [&](const std::string& region) {
    const auto f = parse_footer(as_bytes(region).last(kPage), kSegmentBytesMin);
    return f.ok() && f->headers_length <= region.size() - sizeof(SegmentFooter) &&
           check_footer(*f, as_bytes(region).first(f->headers_length)).ok();
  };
  for (std::size_t at = 0; at < out.size(); ++at) {
    if (at >= headers.size() && at < out.size() - sizeof(SegmentFooter)) continue;  // padding
    std::string damaged = out;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    EXPECT_FALSE(sound(damaged)) << at;
  }
}

}  // namespace
}  // namespace cairn::tiers
