// SPDX-License-Identifier: Apache-2.0
// Goal: an image goes out and comes back as bytes, byte for byte, and what is not a whole and sound
// record never becomes a block. Method: images carried from one tier to another the way a mover
// would, by copy and by landing; every field and many bits spoiled on the way.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "engine/base/status.h"
#include "tests/support/warm_world.h"
#include "tiers/warm/warm_tier.h"

namespace cairn::tiers {
namespace {

using test::make_block;
using test::Rng;
using test::WarmBlock;
using test::WarmWorld;

/// What a device would have after a vectored write of it.
struct Carried {
  explicit Carried(const WarmImage& image)
      : key(image.fields.key), table(as_text(image.fields.chunk_table)), fields(image.fields) {
    for (const ByteSpan part : image.payload) payload += as_text(part);
    fields.key = key;
    fields.chunk_table = as_bytes(table);
  }
  Carried(const Carried&) = delete;

  /// In parts of odd lengths.
  std::vector<ByteSpan> scattered(std::size_t part_bytes) const {
    std::vector<ByteSpan> parts;
    for (ByteSpan rest = as_bytes(payload); !rest.empty();) {
      parts.push_back(rest.first(std::min(part_bytes, rest.size())));
      rest = rest.subspan(parts.back().size());
    }
    return parts;
  }

  std::string key, table, payload;
  RecordFields fields;
};

/// A device's read into what landing() gave: whole pages, so that garbage follows the payload.
void land(WarmTier& tier, Location location, const std::string& payload) {
  auto parts = tier.landing(location, static_cast<std::uint32_t>(payload.size()));
  ASSERT_TRUE(parts.ok()) << parts.status();
  std::string read = payload;
  read.resize(round_up(payload.size(), kPage), '\xee');
  std::size_t at = 0;
  for (const MutableByteSpan part : *parts) {
    EXPECT_EQ(part.size() % kPage, 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(part.data()) % kPage, 0U);
    std::memcpy(part.data(), read.data() + at, part.size());
    at += part.size();
  }
  EXPECT_EQ(at, read.size());
}

class WarmImageTest : public ::testing::Test {
 protected:
  std::unique_ptr<Carried> carry(WarmBlock& block) {
    EXPECT_TRUE(from_.put(block).ok());
    const auto image = from_.tier().image(block.location);
    EXPECT_TRUE(image.ok());
    auto carried = std::make_unique<Carried>(*image);
    from_.free(block);
    return carried;
  }

  WarmWorld from_{test::warm_options(16 * kMiB)};
  // Runs no codec of its own: what it gives back decoded came encoded.
  WarmWorld to_{test::warm_options(16 * kMiB, false)};
};

TEST_F(WarmImageTest, ComesBackAsItWent) {
  std::uint64_t seed = 0;
  for (const std::size_t size :
       {0UL, 1UL, 1000UL, 2048UL, 2049UL, 4096UL, 10'000UL, 100'000UL, 1'500'000UL}) {
    for (const double noise : {0.0, 0.5, 1.0}) {
      for (const bool is_landed : {false, true}) {
        WarmBlock block = make_block(++seed, size, noise);
        const auto carried = carry(block);
        ASSERT_TRUE(to_.reserve(block).ok());
        WarmAdoption adoption;
        adoption.location = block.location;
        adoption.fields = carried->fields;
        const std::vector<ByteSpan> parts = carried->scattered(3001);
        if (is_landed) {
          land(to_.tier(), block.location, carried->payload);
        } else {
          adoption.payload = parts;
        }
        ASSERT_TRUE(to_.adopt(adoption).ok()) << size << adoption.status;
        EXPECT_EQ(adoption.location, block.location);
        EXPECT_GE(adoption.stored_bytes, carried->payload.size());
        EXPECT_TRUE(to_.read(block).ok());
        const auto again = to_.tier().image(block.location);
        ASSERT_TRUE(again.ok());
        const Carried back(*again);
        EXPECT_EQ(back.payload, carried->payload);
        EXPECT_EQ(back.table, carried->table);
        EXPECT_EQ(back.fields.facts(), carried->fields.facts());
        EXPECT_EQ(back.fields.codec, carried->fields.codec);
      }
    }
  }
  to_.tier().check_invariants();
}

TEST_F(WarmImageTest, IsTheRecordOfASegmentOnceItHasAPlace) {
  WarmBlock block = make_block(3, 600'000);
  const auto carried = carry(block);
  RecordFields fields = carried->fields;
  fields.store[0] = 7;
  fields.segment = SegmentId{12};
  fields.generation = 3;
  fields.offset = 40 * kPage;
  fields.epoch = 9;
  std::vector<std::byte> record(fields.payload_offset + fields.payload_length);
  encode_record_header(fields, record);
  std::memcpy(record.data() + fields.payload_offset, carried->payload.data(),
              carried->payload.size());
  const auto parsed = parse_record_header(record);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(
      check_place(*parsed, {fields.store, fields.segment, fields.generation, fields.offset}).ok());
  EXPECT_TRUE(check_payload(*parsed, ByteSpan(record).subspan(parsed->payload_offset)).ok());
  EXPECT_LT(parsed->payload_length, parsed->plain_length);
}

TEST_F(WarmImageTest, StaysWhileItIsLent) {
  WarmBlock block = make_block(1, 300'000);
  ASSERT_TRUE(to_.put(block).ok());
  auto image = to_.tier().image(block.location);
  ASSERT_TRUE(image.ok());
  const std::uint64_t used = to_.tier().usage().used_bytes;
  const std::string before = Carried(*image).payload;
  to_.free(block);
  EXPECT_EQ(to_.tier().usage().used_bytes, used);
  EXPECT_EQ(to_.tier().usage().blocks, 0U);
  to_.tier().set_capacity(kMiB);
  WarmBlock other = make_block(2, 300'000);
  ASSERT_TRUE(to_.put(other).ok());
  const WarmImage copy = *image;
  image->hold.reset();
  EXPECT_EQ(Carried(copy).payload, before);
  image = absl::UnknownError("");
  EXPECT_EQ(to_.tier().usage().blocks, 1U);
  const std::uint64_t with_copy = to_.tier().usage().used_bytes;
  { const WarmImage last = std::move(const_cast<WarmImage&>(copy)); }
  EXPECT_LT(to_.tier().usage().used_bytes, with_copy);
  to_.tier().check_invariants();
}

TEST_F(WarmImageTest, NothingIsLentOfWhatIsNotStored) {
  WarmBlock block = make_block(1, 1000);
  ASSERT_TRUE(to_.reserve(block).ok());
  EXPECT_TRUE(has_code(to_.tier().image(block.location).status(), ErrorCode::corruption));
  EXPECT_TRUE(has_code(to_.tier().image({}).status(), ErrorCode::corruption));
  EXPECT_TRUE(has_code(to_.tier().landing({}, 10).status(), ErrorCode::invalid_argument));
  EXPECT_TRUE(
      has_code(to_.tier().landing(block.location, 1001).status(), ErrorCode::invalid_argument));
  to_.free(block);
}

TEST_F(WarmImageTest, WhatLandedAndIsFreedGivesItsRoomBack) {
  WarmBlock block = make_block(1, 100'000);
  ASSERT_TRUE(to_.reserve(block).ok());
  const std::uint64_t reserved = to_.tier().usage().used_bytes;
  ASSERT_TRUE(to_.tier().landing(block.location, 70'000).ok());
  EXPECT_EQ(to_.tier().usage().used_bytes, reserved);
  EXPECT_TRUE(
      has_code(to_.tier().landing(block.location, 70'000).status(), ErrorCode::invalid_argument));
  to_.tier().check_invariants();
  to_.free(block);
  EXPECT_EQ(to_.tier().usage().used_bytes, 0U);
  to_.tier().check_invariants();
}

TEST_F(WarmImageTest, AFlippedBitOfThePayloadIsNotAdopted) {
  Rng rng(test::announce_seed());
  WarmBlock block = make_block(4, 90'000, 0.3);
  const auto carried = carry(block);
  for (std::size_t round = test::scaled(100); round-- > 0;) {
    char& byte = carried->payload[rng.below(carried->payload.size())];
    const char was = byte;
    byte = static_cast<char>(byte ^ (1 << rng.below(8)));
    ASSERT_TRUE(to_.reserve(block).ok());
    WarmAdoption adoption;
    adoption.location = block.location;
    adoption.fields = carried->fields;
    const std::vector<ByteSpan> parts = carried->scattered(10'000);
    if (rng.chance(0.5)) {
      land(to_.tier(), block.location, carried->payload);
    } else {
      adoption.payload = parts;
    }
    EXPECT_TRUE(has_code(to_.adopt(adoption), ErrorCode::corruption));
    EXPECT_TRUE(adoption.location.is_null());
    byte = was;
    ASSERT_EQ(to_.tier().usage().used_bytes, 0U);
    to_.tier().check_invariants();
  }
}

TEST_F(WarmImageTest, FieldsThatDoNotAgreeAreNotAdopted) {
  WarmBlock block = make_block(5, 90'000, 0.3);
  const auto carried = carry(block);
  int number = 0;
  const auto refused = [&](const auto& spoil, ErrorCode code = ErrorCode::corruption) {
    ++number;
    ASSERT_TRUE(to_.reserve(block).ok());
    WarmAdoption adoption;
    adoption.location = block.location;
    adoption.fields = carried->fields;
    std::vector<ByteSpan> parts = carried->scattered(10'000);
    adoption.payload = parts;
    spoil(adoption, parts);
    EXPECT_TRUE(has_code(to_.adopt(adoption), code)) << number << adoption.status;
    EXPECT_TRUE(adoption.location.is_null());
    EXPECT_EQ(to_.tier().usage().used_bytes, 0U) << number;
  };
  using Parts = std::vector<ByteSpan>;
  refused([](WarmAdoption& a, Parts&) { a.fields.kind = RecordKind::tombstone; });
  refused([](WarmAdoption& a, Parts&) { a.fields.key = {}; });
  refused([](WarmAdoption& a, Parts&) { a.fields.chunk_bytes = 0; });
  refused([](WarmAdoption& a, Parts&) { a.fields.chunk_bytes *= 2; });
  refused([](WarmAdoption& a, Parts&) { a.fields.codec = Codec{7}; });
  refused([](WarmAdoption& a, Parts&) { a.fields.codec = Codec::none; }, ErrorCode::format);
  refused([](WarmAdoption& a, Parts&) { a.fields.payload_length = 90'001; });
  refused([](WarmAdoption& a, Parts&) { --a.fields.payload_length; });
  refused([](WarmAdoption& a, Parts&) { a.fields.chunk_table = a.fields.chunk_table.first(32); });
  refused([](WarmAdoption& a, Parts& parts) {
    a.payload = Parts(parts).empty() ? parts : std::span<const ByteSpan>(parts).first(2);
  });
  refused([](WarmAdoption& a, Parts&) { a.payload = {}; });
  refused([](WarmAdoption& a, Parts&) { a.fields.plain_length = 80'001; });
  std::string swapped = carried->table;
  std::swap_ranges(swapped.begin(), swapped.begin() + 16, swapped.begin() + 16);
  refused([&](WarmAdoption& a, Parts&) { a.fields.chunk_table = as_bytes(swapped); });
  // Of another length than was reserved.
  WarmBlock longer = make_block(6, 90'001);
  const auto other = carry(longer);
  const std::vector<ByteSpan> others = other->scattered(10'000);
  refused(
      [&](WarmAdoption& a, Parts&) {
        a.fields = other->fields;
        a.payload = others;
      },
      ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace cairn::tiers
