// SPDX-License-Identifier: Apache-2.0
// Goal: an image goes out and comes back as bytes, byte for byte, and what is not a whole and sound
// record never becomes a block. Method: images carried from one tier to another the way a mover
// would, by copy and by landing; every field and many bits spoiled on the way.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <thread>
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
  explicit Carried(const StoredImage& image)
      : key(image.fields.key), table(as_text(image.fields.chunk_table)), fields(image.fields) {
    for (const ByteSpan part : image.payload) payload += as_text(part);
    fields.key = key;
    fields.chunk_table = as_bytes(table);
  }
  Carried(const Carried&) = delete;

  /// In parts of that length.
  std::shared_ptr<StoredImage> image(std::size_t part_bytes = 3001) const {
    auto made = std::make_shared<StoredImage>();
    made->fields = fields;
    for (ByteSpan rest = as_bytes(payload); !rest.empty();) {
      made->payload.push_back(rest.first(std::min(part_bytes, rest.size())));
      rest = rest.subspan(made->payload.back().size());
    }
    return made;
  }

  std::string key, table, payload;
  RecordFields fields;
};

/// A device's read into what landing() gave: whole pages, so that garbage follows the payload.
std::shared_ptr<StoredImage> land(WarmTier& tier, Location location, const Carried& carried) {
  auto parts = tier.landing(location, static_cast<std::uint32_t>(carried.payload.size()));
  EXPECT_TRUE(parts.ok()) << parts.status();
  auto image = std::make_shared<StoredImage>();
  image->fields = carried.fields;
  std::string read = carried.payload;
  read.resize(round_up(read.size(), kPage), '\xee');
  std::size_t at = 0;
  for (const MutableByteSpan part : *parts) {
    EXPECT_EQ(part.size() % kPage, 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(part.data()) % kPage, 0U);
    std::memcpy(part.data(), read.data() + at, part.size());
    image->payload.push_back(
        ByteSpan(part).first(std::min(part.size(), carried.payload.size() - at)));
    at += part.size();
  }
  EXPECT_EQ(at, read.size());
  return image;
}

class WarmImageTest : public ::testing::Test {
 protected:
  std::unique_ptr<Carried> carry(WarmBlock& block) {
    EXPECT_TRUE(from_.put(block).ok());
    const auto image = from_.tier().image(block.location);
    EXPECT_TRUE(image.ok());
    auto carried = std::make_unique<Carried>(**image);
    from_.free(block);
    return carried;
  }
  /// What a refused write must leave behind: nothing.
  void expect_nothing_kept(const WarmBlock& block) {
    EXPECT_TRUE(block.location.is_null());
    EXPECT_EQ(to_.tier().usage().used_bytes, 0U);
    EXPECT_EQ(to_.tier().usage().blocks, 0U);
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
        const StoredImagePtr image =
            is_landed ? land(to_.tier(), block.location, *carried) : carried->image();
        const Location location = block.location;
        const absl::Status status = to_.keep(block, image);
        ASSERT_TRUE(status.ok()) << size << status;
        EXPECT_EQ(block.location, location);
        EXPECT_GE(block.stored_bytes, carried->payload.size());
        EXPECT_TRUE(to_.read(block).ok());
        const auto again = to_.tier().image(block.location);
        ASSERT_TRUE(again.ok());
        const Carried back(**again);
        EXPECT_EQ(back.payload, carried->payload);
        EXPECT_EQ(back.table, carried->table);
        EXPECT_EQ(back.fields.facts(), carried->fields.facts());
        EXPECT_EQ(back.fields.codec, carried->fields.codec);
        if (is_landed && (*again)->payload.size() > 1) {
          EXPECT_EQ((*again)->payload[0].data(), image->payload[0].data()) << "it was not copied";
        }
      }
    }
  }
  to_.tier().check_invariants();
}

TEST_F(WarmImageTest, IsKeptUnderTheNameAndTheFactsOfTheWrite) {
  WarmBlock block = make_block(2, 50'000);
  const auto carried = carry(block);
  auto image = carried->image();
  // Not what counts.
  image->fields.key = {};
  image->fields.namespace_id = NamespaceId{77};
  image->fields.sequence = 1'000;
  image->fields.expiry = 5;
  image->fields.plain_sum = 4;
  ASSERT_TRUE(to_.reserve(block).ok());
  TierWrite write = WarmWorld::write_of(block);
  write.payload = {};
  write.image = image;
  write.name = {WarmWorld::kNamespace, "another", 3};
  write.facts.sequence = 99;
  write.facts.expiry = 123;
  write.facts.parent = {{1, 2}};
  write.facts.pinned = true;
  to_.tier().write({&write, 1}, Durability::memory, [] {});
  ASSERT_TRUE(write.status.ok()) << write.status;
  const auto kept = to_.tier().image(write.location);
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ((*kept)->fields.facts(), write.facts);
  EXPECT_EQ((*kept)->fields.name(), write.name);
  std::string into;
  TierRead read = WarmWorld::read_of(block, into);
  read.location = write.location;
  read.name = write.name;
  read.sequence = 99;
  to_.tier().read({&read, 1}, [] {});
  EXPECT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(into, block.bytes);
}

TEST_F(WarmImageTest, ABatchMayMixImagesAndPayloads) {
  std::vector<WarmBlock> blocks;
  std::vector<std::unique_ptr<Carried>> carried(20);
  std::vector<TierWrite> writes;
  for (std::uint64_t i = 0; i < carried.size(); ++i) {
    blocks.push_back(make_block(i, 1 + 9000 * i));
    if (i % 2 == 1) carried[i] = carry(blocks[i]);
    ASSERT_TRUE(to_.reserve(blocks[i]).ok());
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    writes.push_back(WarmWorld::write_of(blocks[i]));
    if (carried[i] == nullptr) continue;
    writes[i].payload = {};
    writes[i].image = carried[i]->image();
  }
  writes[7].facts.plain_bytes += 1;
  writes[9].payload = as_bytes(blocks[9].bytes);
  to_.tier().write(writes, Durability::memory, [] {});
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    blocks[i].location = writes[i].location;
    if (i == 7 || i == 9) {
      EXPECT_TRUE(has_code(writes[i].status, ErrorCode::invalid_argument)) << writes[i].status;
      EXPECT_TRUE(writes[i].location.is_null());
    } else {
      ASSERT_TRUE(writes[i].status.ok()) << i << writes[i].status;
      EXPECT_TRUE(to_.read(blocks[i]).ok()) << i;
    }
  }
  to_.tier().check_invariants();
}

TEST_F(WarmImageTest, WhatLandedMayBeWrittenFromElsewhereButNotFromItself) {
  WarmBlock block = make_block(3, 100'000, 1.0);
  const auto carried = carry(block);
  ASSERT_TRUE(to_.reserve(block).ok());
  land(to_.tier(), block.location, *carried);
  ASSERT_TRUE(to_.keep(block, carried->image()).ok());
  EXPECT_TRUE(to_.read(block).ok());
  to_.free(block);
  ASSERT_TRUE(to_.reserve(block).ok());
  land(to_.tier(), block.location, *carried);
  ASSERT_TRUE(WarmWorld::write_of(block).image == nullptr);
  TierWrite plain = WarmWorld::write_of(block);
  to_.tier().write({&plain, 1}, Durability::memory, [] {});
  ASSERT_TRUE(plain.status.ok()) << plain.status;
  EXPECT_TRUE(to_.read(block).ok());
  to_.free(block);
  // Its pages, in another order or from another place on.
  for (const bool is_shifted : {true, false}) {
    ASSERT_TRUE(to_.reserve(block).ok());
    const auto image = land(to_.tier(), block.location, *carried);
    const ByteSpan all = image->payload.front();
    ASSERT_EQ(all.size(), carried->payload.size());
    image->payload = is_shifted ? std::vector<ByteSpan>{{all.data() + 1, all.size()}}
                                : std::vector<ByteSpan>{all.subspan(50'000), all.first(50'000)};
    EXPECT_TRUE(has_code(to_.keep(block, image), ErrorCode::invalid_argument));
    expect_nothing_kept(block);
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
  const std::string before = Carried(**image).payload;
  to_.free(block);
  EXPECT_EQ(to_.tier().usage().used_bytes, used);
  EXPECT_EQ(to_.tier().usage().blocks, 0U);
  to_.tier().set_capacity(kMiB);
  WarmBlock other = make_block(2, 300'000);
  ASSERT_TRUE(to_.put(other).ok());
  auto copy = std::make_unique<StoredImage>(**image);
  image = absl::UnknownError("");
  EXPECT_EQ(Carried(*copy).payload, before);
  EXPECT_EQ(to_.tier().usage().blocks, 1U);
  const std::uint64_t with_copy = to_.tier().usage().used_bytes;
  std::thread([last = std::move(copy)]() mutable { last.reset(); }).join();
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

TEST_F(WarmImageTest, AFlippedBitOfThePayloadIsNotKept) {
  Rng rng(test::announce_seed());
  WarmBlock block = make_block(4, 90'000, 0.3);
  const auto carried = carry(block);
  for (std::size_t round = test::scaled(100); round-- > 0;) {
    char& byte = carried->payload[rng.below(carried->payload.size())];
    const char was = byte;
    byte = static_cast<char>(byte ^ (1 << rng.below(8)));
    ASSERT_TRUE(to_.reserve(block).ok());
    const StoredImagePtr image =
        rng.chance(0.5) ? land(to_.tier(), block.location, *carried) : carried->image();
    EXPECT_TRUE(has_code(to_.keep(block, image), ErrorCode::corruption));
    expect_nothing_kept(block);
    byte = was;
    to_.tier().check_invariants();
  }
}

TEST_F(WarmImageTest, FieldsThatDoNotAgreeAreNotKept) {
  WarmBlock block = make_block(5, 90'000, 0.3);
  const auto carried = carry(block);
  int number = 0;
  const auto refused = [&](const auto& spoil, ErrorCode code = ErrorCode::corruption) {
    ++number;
    ASSERT_TRUE(to_.reserve(block).ok());
    const auto image = carried->image(10'000);
    spoil(*image);
    const absl::Status status = to_.keep(block, image);
    EXPECT_TRUE(has_code(status, code)) << number << status;
    expect_nothing_kept(block);
  };
  refused([](StoredImage& i) { i.fields.kind = RecordKind::tombstone; });
  refused([](StoredImage& i) { i.fields.chunk_bytes = 0; });
  refused([](StoredImage& i) { i.fields.chunk_bytes *= 2; });
  refused([](StoredImage& i) { ++i.fields.chunk_bytes; }, ErrorCode::format);
  refused([](StoredImage& i) { i.fields.codec = Codec{7}; }, ErrorCode::format);
  refused([](StoredImage& i) { i.fields.codec = Codec::none; }, ErrorCode::format);
  refused([](StoredImage& i) { i.fields.payload_length = 90'001; });
  refused([](StoredImage& i) { --i.fields.payload_length; });
  refused([](StoredImage& i) { i.fields.chunk_table = i.fields.chunk_table.first(32); });
  refused([](StoredImage& i) { i.payload.resize(2); });
  refused([](StoredImage& i) { i.payload.clear(); });
  refused([](StoredImage& i) { i.payload.insert(i.payload.end(), 1000, i.payload.front()); });
  refused([](StoredImage& i) { i.fields.plain_length = 80'001; }, ErrorCode::invalid_argument);
  std::string swapped = carried->table;
  std::swap_ranges(swapped.begin(), swapped.begin() + 16, swapped.begin() + 16);
  refused([&](StoredImage& i) { i.fields.chunk_table = as_bytes(swapped); });
  // As many chunks as no header lists.
  const std::string many(90'000 * sizeof(ChunkEntry), '\0');
  refused([&](StoredImage& i) {
    i.fields.chunk_bytes = 1;
    i.fields.chunk_table = as_bytes(many);
  });
  // Another block, of another length than was reserved.
  WarmBlock longer = make_block(6, 90'001);
  const auto other = carry(longer);
  ASSERT_TRUE(to_.reserve(block).ok());
  longer.location = block.location;
  EXPECT_TRUE(has_code(to_.keep(longer, other->image()), ErrorCode::invalid_argument));
  expect_nothing_kept(longer);
}

TEST_F(WarmImageTest, RoomOfAnotherNamespaceIsNotEnoughForMoreChunks) {
  const auto codec = *CodecPool::start(0);
  auto tier = *open_warm_tier(
      test::warm_options(4 * kMiB),
      {.codec = codec.get(), .clock = &system_clock(), .coding = [](NamespaceId ns) {
         return std::optional(
             WarmCoding{.dtype = Dtype::bf16, .chunk_bytes = ns == NamespaceId{1} ? 1024U : 65536});
       }});
  WarmBlock block = make_block(1, 200'000);
  const std::uint32_t size = 200'000;
  ASSERT_TRUE(tier->reserve(NamespaceId{2}, {&size, 1}, {&block.location, 1}).ok());
  TierWrite write = WarmWorld::write_of(block);
  tier->write({&write, 1}, Durability::memory, [] {});
  EXPECT_TRUE(has_code(write.status, ErrorCode::invalid_argument)) << write.status;
  EXPECT_EQ(tier->usage().used_bytes, 0U);
}

/// One field, or a few bits of the table, or how the payload is cut, made something else.
void mutate(StoredImage& image, std::string& table, Rng& rng) {
  const auto any = [&rng](std::uint32_t was) {
    const std::uint32_t values[] = {0,        1,          was - 1,    was + 1,       was / 2,
                                    was * 2,  UINT32_MAX, 0x80000000, 16 * 1024,     64 * 1024,
                                    64 << 20, was ^ 1,    4096,       was & 0xff00U, 256};
    return rng.chance(0.8) ? values[rng.below(std::size(values))]
                           : static_cast<std::uint32_t>(rng.next());
  };
  RecordFields& fields = image.fields;
  switch (rng.below(9)) {
    case 0:
      fields.kind = static_cast<RecordKind>(rng.below(256));
      break;
    case 1:
      fields.codec = static_cast<Codec>(rng.below(3));
      break;
    case 2:
      fields.chunk_bytes = any(fields.chunk_bytes);
      break;
    case 3:
      fields.plain_length = any(fields.plain_length);
      break;
    case 4:
      fields.payload_length = any(fields.payload_length);
      break;
    case 5:
      fields.header_length = fields.payload_offset = any(fields.header_length);
      fields.segment = SegmentId{any(0)};
      fields.offset = rng.next();
      fields.key = std::string_view(table).substr(0, rng.below(table.size() + 1));
      break;
    case 6:
      table.resize(rng.below(2 * table.size() + 64));
      break;
    case 7:
      // Also an encoding that no build knows; lengths as well as sums.
      for (std::uint64_t bits = rng.between(1, 4); bits-- > 0 && !table.empty();) {
        char& byte = table[rng.below(table.size())];
        byte = static_cast<char>(byte ^ (1 << rng.below(8)));
      }
      break;
    default:
      if (image.payload.empty()) break;
      ByteSpan& part = rng.pick(image.payload);
      part = rng.chance(0.5) ? part.first(rng.below(part.size() + 1)) : image.payload.front();
  }
  fields.chunk_table = as_bytes(table);
}

TEST_F(WarmImageTest, WhateverAnImageSaysItIsKeptWholeOrRefused) {
  Rng rng(test::announce_seed());
  std::size_t kept = 0, refused = 0;
  for (std::size_t round = test::scaled(3000); round-- > 0;) {
    WarmBlock block = make_block(round, rng.chance(0.5) ? rng.below(100) : rng.below(90'000), 0.3);
    const auto carried = carry(block);
    std::string table = carried->table;
    ASSERT_TRUE(to_.reserve(block).ok());
    const auto image = rng.chance(0.3) ? land(to_.tier(), block.location, *carried)
                                       : carried->image(rng.between(1000, 100'000));
    image->fields.chunk_table = as_bytes(table);
    for (std::uint64_t times = rng.between(1, 3); times-- > 0;) mutate(*image, table, rng);
    TierWrite write = WarmWorld::write_of(block);
    write.payload = {};
    write.image = image;
    // Who believes the image says what it says.
    if (rng.chance(0.5)) write.facts.plain_bytes = image->fields.plain_length;
    to_.tier().write({&write, 1}, Durability::memory, [] {});
    block.location = write.location;
    if (write.status.ok()) {
      ++kept;
      const absl::Status read = to_.read(block);  // the encoding may be another
      EXPECT_TRUE(read.ok() || has_code(read, ErrorCode::corruption) ||
                  has_code(read, ErrorCode::internal))
          << read;
      to_.free(block);
    } else {
      ++refused;
      EXPECT_TRUE(has_code(write.status, ErrorCode::corruption) ||
                  has_code(write.status, ErrorCode::format) ||
                  has_code(write.status, ErrorCode::invalid_argument))
          << write.status;
    }
    block.location = {};
    expect_nothing_kept(block);
    to_.tier().check_invariants();
  }
  EXPECT_GT(kept, 0U);
  EXPECT_GT(refused, kept);
}

}  // namespace
}  // namespace cairn::tiers
