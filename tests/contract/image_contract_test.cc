// SPDX-License-Identifier: Apache-2.0
// Blocks that go to durable tiers and come from them as they are stored. Finds tiers that keep
// other bytes or facts than they were given, believe an image, or lend what nobody asked for.
#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "tests/contract/tier_contract.h"
#include "tests/contract/tier_subjects.h"
#include "tests/support/stored_images.h"

namespace cairn::test {
namespace {

constexpr ImageShape kAsCold{.coded = false, .piece_pages = 0};
constexpr ImageShape kAsWarm{.coded = true, .piece_pages = 3};

class ImageContract : public TierContract {
 protected:
  std::uint32_t chunk_bytes() {
    for (const NamespaceInfo& info : durable().namespaces()) {
      if (info.id == ns_) return tiers::chunk_bytes_for(info.descriptor);
    }
    return 0;
  }
  /// A block that nothing has yet: key, payload and facts, all different from those of others.
  Stored block(std::string key, std::size_t bytes) {
    Stored out{.key = std::move(key)};
    out.sequence = next_sequence();
    out.payload = make_payload(out.key, out.sequence, bytes);
    return out;
  }
  BlockFacts facts_of(const Stored& block) {
    return {.sequence = block.sequence,
            .plain_bytes = static_cast<std::uint32_t>(block.payload.size()),
            .plain_sum = xxh3_64(as_bytes(block.payload))};
  }
  std::shared_ptr<StoredImage> image_of(const Stored& block, ImageShape shape) {
    // Of another life: version, expiry and pin are the write's to say.
    BlockFacts facts = facts_of(block);
    facts.sequence = 1;
    facts.expiry = 1;
    return make_image({ns_, block.key, 0}, facts, as_bytes(block.payload), chunk_bytes(), shape);
  }
  /// The block's location is where it was written to, or null.
  absl::Status write(Stored& block, StoredImagePtr image, const BlockFacts& facts,
                     Durability durability = Durability::written) {
    TierWrite write;
    const absl::Status reserved =
        tier().reserve(ns_, {&facts.plain_bytes, 1}, {&write.location, 1});
    if (!reserved.ok()) return reserved;
    write.name = {ns_, block.key, 0};
    write.id = block_id(write.name, 17);
    write.facts = facts;
    write.image = std::move(image);
    std::atomic<bool> done{false};
    tier().write({&write, 1}, durability, [&] { done = true; });
    medium_->pump_until([&] { return done.load(); });
    block.location = write.location;
    EXPECT_EQ(write.status.ok(), !write.location.is_null());
    EXPECT_EQ(write.status.ok(), write.stored_bytes > 0);
    return write.status;
  }
  absl::Status write(Stored& block, ImageShape shape) {
    return write(block, image_of(block, shape), facts_of(block));
  }
  void lend(std::span<ImageRead> reads) {
    std::atomic<bool> done{false};
    durable().read_images(reads, [&] { done = true; });
    medium_->pump_until([&] { return done.load(); });
    for (const ImageRead& read : reads) EXPECT_EQ(read.status.ok(), read.image != nullptr);
  }
  ImageRead lend(const Stored& block) {
    ImageRead read{.location = block.location,
                   .name = {ns_, block.key, 0},
                   .sequence = block.sequence,
                   .image = {},
                   .status = {}};
    lend({&read, 1});
    return read;
  }
  void expect_lent(const Stored& block, const ImageRead& read) {
    ASSERT_TRUE(read.status.ok()) << block.key.size() << ": " << read.status;
    EXPECT_TRUE(
        tiers::check_image(*read.image, {ns_, block.key, 0}, facts_of(block), chunk_bytes()).ok());
    EXPECT_EQ(read.image->fields.sequence, block.sequence);
    const auto plain = plain_bytes_of(*read.image);
    ASSERT_TRUE(plain.ok()) << plain.status();
    EXPECT_TRUE(*plain == block.payload) << block.key.size();
  }
};

TEST_P(ImageContract, WhatIsWrittenAsAnImageIsReadAsAnyBlock) {
  std::vector<Stored> blocks;
  const CodecReport before = durable().codec();
  std::size_t key_length = 1;
  for (const std::size_t bytes :
       {0U, 1U, 1'023U, 4'095U, 4'096U, 4'097U, 65'537U, 262'144U, 300'000U, 2U << 20}) {
    for (const ImageShape shape : {kAsCold, ImageShape{.coded = true, .piece_pages = 0},
                                   ImageShape{.coded = false, .piece_pages = 1}, kAsWarm}) {
      std::string key(key_length, 'k');
      key += concat(blocks.size());
      key.resize(std::min(key.size(), kKeyLengthMax));
      if (blocks.size() % 4 == 3) key_length = key_length % 2 == 0 ? 1 : 1020;
      blocks.push_back(block(std::move(key), bytes));
      if (bytes == 2U << 20 && shape.piece_pages == 0) {
        blocks.pop_back();  // the store is small
        continue;
      }
      ASSERT_TRUE(write(blocks.back(), shape).ok()) << bytes;
    }
  }
  EXPECT_EQ(durable().codec().plain_bytes, before.plain_bytes) << "something was encoded";
  EXPECT_EQ(durable().codec().stored_bytes, before.stored_bytes);
  for (int life = 0; life < 2; ++life) {
    for (const Stored& block : blocks) {
      EXPECT_TRUE(read(block).ok()) << block.payload.size();
      const auto found = lookup(block.key, ns_);
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(*found, facts_of(block));
      expect_lent(block, lend(block));
    }
    medium_->restart();
  }
  EXPECT_EQ(durable().health().corruptions, 0U);
}

TEST_P(ImageContract, BlocksWrittenPlainAreLentAndGoRoundUnderNewFacts) {
  std::vector<Stored> blocks;
  for (const std::size_t bytes : {0U, 1U, 5'000U, 70'000U, 270'336U, 300'001U, 900'000U}) {
    blocks.push_back(put(concat("p", bytes), bytes));
    ASSERT_TRUE(blocks.back().status.ok()) << bytes;
  }
  // Neighbours, all at once.
  std::vector<ImageRead> reads;
  for (const Stored& block : blocks) {
    reads.push_back({.location = block.location,
                     .name = {ns_, block.key, 0},
                     .sequence = block.sequence,
                     .image = {},
                     .status = {}});
  }
  lend(reads);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    expect_lent(blocks[i], reads[i]);
    Stored again = blocks[i];
    again.sequence = next_sequence();
    BlockFacts facts = facts_of(again);
    facts.expiry = 4'000'000'000'000'000;
    facts.pinned = true;
    facts.parent = block_id({ns_, "parent", 0}, 17);
    ASSERT_TRUE(write(again, reads[i].image, facts, Durability::durable).ok());
    EXPECT_EQ(lookup(again.key, ns_), facts);
    EXPECT_TRUE(read(again).ok());
    const ImageRead lent = lend(again);
    expect_lent(again, lent);
    EXPECT_EQ(lent.image->fields.facts(), facts);
    EXPECT_TRUE(stored_bytes_of(*lent.image) == stored_bytes_of(*reads[i].image));
    EXPECT_EQ(lent.image->fields.codec, reads[i].image->fields.codec);
    blocks[i] = again;
  }
  medium_->restart();
  for (const Stored& block : blocks) EXPECT_TRUE(read(block).ok()) << block.key;
  // What was lent stays, whatever became of the tier that it is from.
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_TRUE(plain_bytes_of(*reads[i].image).value() == blocks[i].payload);
  }
}

TEST_P(ImageContract, PiecesMayBeEmptyAndOfAnyLength) {
  for (const std::size_t bytes : {0U, 5'000U, 300'000U}) {
    for (const std::size_t length : {1'000U, 4'096U, 100'000U}) {
      Stored cut = block(concat("e", bytes, "-", length), bytes);
      const auto image = image_of(cut, {.coded = false, .piece_pages = 1000});
      std::vector<ByteSpan> pieces(1);
      for (ByteSpan rest : image->payload) {
        while (!rest.empty()) {
          pieces.push_back(rest.first(std::min(length, rest.size())));
          rest = rest.subspan(pieces.back().size());
          pieces.emplace_back();
        }
      }
      image->payload = pieces;
      ASSERT_TRUE(write(cut, image, facts_of(cut)).ok()) << bytes << " by " << length;
      EXPECT_TRUE(read(cut).ok()) << bytes << " by " << length;
    }
  }
}

TEST_P(ImageContract, ImagesAndPayloadsShareABatch) {
  std::vector<Stored> blocks;
  std::vector<TierWrite> writes(12);
  for (std::size_t i = 0; i < writes.size(); ++i) {
    blocks.push_back(block(concat("m", i), i % 3 == 0 ? 300'000 : 9'000));
  }
  for (std::size_t i = 0; i < writes.size(); ++i) {
    const BlockFacts facts = facts_of(blocks[i]);
    ASSERT_TRUE(tier().reserve(ns_, {&facts.plain_bytes, 1}, {&writes[i].location, 1}).ok());
    writes[i].name = {ns_, blocks[i].key, 0};
    writes[i].id = block_id(writes[i].name, 17);
    writes[i].facts = facts;
    if (i % 2 == 0) {
      writes[i].payload = as_bytes(blocks[i].payload);
    } else {
      writes[i].image = image_of(blocks[i], kAsWarm);
    }
  }
  // One of them is not what it says.
  auto rotten = image_of(blocks[3], kAsWarm);
  const_cast<std::byte*>(rotten->payload[0].data())[100] ^= std::byte{1};
  writes[3].image = rotten;
  std::atomic<bool> done{false};
  tier().write(writes, Durability::written, [&] { done = true; });
  medium_->pump_until([&] { return done.load(); });
  for (std::size_t i = 0; i < writes.size(); ++i) {
    EXPECT_EQ(writes[i].status.ok(), i != 3) << i << writes[i].status;
    blocks[i].location = writes[i].location;
    if (i == 3) continue;
    EXPECT_TRUE(read(blocks[i]).ok()) << i;
  }
  EXPECT_TRUE(has_code(writes[3].status, ErrorCode::corruption));
  EXPECT_EQ(rotten.use_count(), 2) << "the tier keeps it";
}

TEST_P(ImageContract, AFlippedByteIsFoundBeforeItIsWritten) {
  const std::uint64_t used = tier().usage().used_bytes;
  for (const std::size_t bytes : {1U, 4'096U, 70'000U, 300'000U}) {
    for (const ImageShape shape : {kAsCold, kAsWarm}) {
      Stored rotten = block(concat("f", bytes, shape.coded ? "c" : "p"), bytes);
      const auto image = image_of(rotten, shape);
      const ByteSpan piece = image->payload[image->payload.size() / 2];
      const_cast<std::byte*>(piece.data())[piece.size() / 2] ^= std::byte{0x10};
      EXPECT_TRUE(has_code(write(rotten, image, facts_of(rotten), Durability::durable),
                           ErrorCode::corruption))
          << bytes;
      EXPECT_FALSE(lookup(rotten.key, ns_).has_value());
      EXPECT_EQ(image.use_count(), 1);
    }
  }
  EXPECT_EQ(tier().usage().used_bytes, used);
  medium_->restart();
  EXPECT_EQ(durable().usage().blocks, 0U);
}

TEST_P(ImageContract, NonsenseIsRefusedAndNothingOfItCanBeRead) {
  using Change = std::function<void(StoredImage&)>;
  std::vector<tiers::ChunkEntry> table;  // whoever changes the table puts it here
  const auto edit = [&table](StoredImage& image, std::size_t i,
                             const std::function<void(tiers::ChunkEntry&)>& change) {
    table.clear();
    for (std::uint32_t c = 0; c < image.fields.chunk_count(); ++c) {
      table.push_back(image.fields.chunk(c));
    }
    change(table[i]);
    image.fields.chunk_table = std::as_bytes(std::span(table));
  };
  const std::vector<std::pair<const char*, Change>> changes = {
      {"kind", [](auto& i) { i.fields.kind = tiers::RecordKind::tombstone; }},
      {"no key", [](auto& i) { i.fields.key = {}; }},
      {"another key", [](auto& i) { i.fields.key = "somebody else's"; }},
      {"another part", [](auto& i) { ++i.fields.part; }},
      {"another namespace", [](auto& i) { i.fields.namespace_id = NamespaceId{77}; }},
      {"an unknown codec", [](auto& i) { i.fields.codec = static_cast<tiers::Codec>(2); }},
      {"no codec", [](auto& i) { i.fields.codec = tiers::Codec::none; }},
      {"plain length", [](auto& i) { ++i.fields.plain_length; }},
      {"no plain length", [](auto& i) { i.fields.plain_length = 0; }},
      {"a huge plain length", [](auto& i) { i.fields.plain_length = UINT32_MAX; }},
      {"plain sum", [](auto& i) { ++i.fields.plain_sum; }},
      {"stored length", [](auto& i) { ++i.fields.payload_length; }},
      {"no stored length", [](auto& i) { i.fields.payload_length = 0; }},
      {"a huge stored length", [](auto& i) { i.fields.payload_length = UINT32_MAX; }},
      {"chunk length", [](auto& i) { i.fields.chunk_bytes *= 2; }},
      {"no chunk length", [](auto& i) { i.fields.chunk_bytes = 0; }},
      {"chunks of a byte", [](auto& i) { i.fields.chunk_bytes = 1; }},
      {"no chunks", [](auto& i) { i.fields.chunk_table = {}; }},
      {"a chunk less",
       [](auto& i) {
         i.fields.chunk_table =
             i.fields.chunk_table.first(i.fields.chunk_table.size() - sizeof(tiers::ChunkEntry));
       }},
      {"half a chunk",
       [](auto& i) {
         i.fields.chunk_table = i.fields.chunk_table.first(i.fields.chunk_table.size() - 1);
       }},
      {"an unknown encoding",
       [&](auto& i) { edit(i, 0, [](auto& c) { c.encoding = tiers::ChunkEncoding{9}; }); }},
      {"a chunk's length", [&](auto& i) { edit(i, 1, [](auto& c) { --c.stored_length; }); }},
      {"an endless chunk",
       [&](auto& i) { edit(i, 1, [](auto& c) { c.stored_length = UINT32_MAX; }); }},
      {"a chunk's sum", [&](auto& i) { edit(i, 2, [](auto& c) { c.sum ^= 1; }); }},
      {"no payload", [](auto& i) { i.payload.clear(); }},
      {"a piece less", [](auto& i) { i.payload.pop_back(); }},
      {"a piece twice", [](auto& i) { i.payload.push_back(i.payload.back()); }},
      {"a piece cut short", [](auto& i) { i.payload[0] = i.payload[0].first(10); }},
      {"pieces in another order", [](auto& i) { std::swap(i.payload[0], i.payload[1]); }},
  };
  const std::uint64_t used = tier().usage().used_bytes;
  std::size_t number = 0;
  for (const auto& [what, change] : changes) {
    // Of a payload that shrinks: each version's seed says so.
    Stored wrong;
    do {
      wrong = block(concat("n", number++), 400'000);
    } while (payload_seed(wrong.key, wrong.sequence) % 2 == 0);
    const auto image = image_of(wrong, kAsWarm);
    ASSERT_EQ(image->fields.codec, tiers::Codec::planes);
    change(*image);
    const absl::Status status = write(wrong, image, facts_of(wrong));
    EXPECT_TRUE(has_code(status, ErrorCode::corruption) ||
                has_code(status, ErrorCode::invalid_argument))
        << what << ": " << status;
    EXPECT_FALSE(lookup(wrong.key, ns_).has_value()) << what;
  }
  EXPECT_EQ(tier().usage().used_bytes, used);
  // Facts of another block, and more than was asked for.
  Stored other = block("facts", 400'000);
  BlockFacts facts = facts_of(other);
  --facts.plain_bytes;
  EXPECT_TRUE(has_code(write(other, image_of(other, kAsWarm), facts), ErrorCode::corruption));
  medium_->restart();
  EXPECT_EQ(durable().usage().blocks, 0U);
  EXPECT_TRUE(write(other, kAsWarm).ok());
  EXPECT_TRUE(read(other).ok());
}

TEST_P(ImageContract, AnImageAndAPayloadAreOneTooMany) {
  Stored both = block("both", 5'000);
  const BlockFacts facts = facts_of(both);
  TierWrite write;
  ASSERT_TRUE(tier().reserve(ns_, {&facts.plain_bytes, 1}, {&write.location, 1}).ok());
  write.name = {ns_, both.key, 0};
  write.id = block_id(write.name, 17);
  write.facts = facts;
  write.payload = as_bytes(both.payload);
  write.image = image_of(both, kAsCold);
  std::atomic<bool> done{false};
  tier().write({&write, 1}, Durability::written, [&] { done = true; });
  medium_->pump_until([&] { return done.load(); });
  EXPECT_TRUE(has_code(write.status, ErrorCode::invalid_argument));
  EXPECT_FALSE(lookup("both", ns_).has_value());
}

TEST_P(ImageContract, NothingIsLentUnderAnotherNameOrVersion) {
  for (const std::size_t bytes : {1'000U, 300'000U}) {
    const Stored right = put(concat("right", bytes), bytes);
    Stored wrong = right;
    wrong.key = "wrong";
    EXPECT_TRUE(has_code(lend(wrong).status, ErrorCode::corruption));
    wrong = right;
    ++wrong.sequence;
    EXPECT_TRUE(has_code(lend(wrong).status, ErrorCode::corruption));
    wrong = right;
    wrong.location = {};
    EXPECT_TRUE(has_code(lend(wrong).status, ErrorCode::corruption));
    wrong.location = {0x0fff'ffff'ffff'ffffULL};
    wrong.sequence = right.sequence + 1;
    EXPECT_TRUE(has_code(lend(wrong).status, ErrorCode::corruption));
    expect_lent(right, lend(right));
  }
  EXPECT_EQ(durable().health().corruptions, 0U) << "nobody's bytes were bad";
}

TEST_P(ImageContract, WhatWasClearedIsNotLentAndNotWrittenBack) {
  const Stored gone = put("k", 300'000);
  const ImageRead lent = lend(gone);
  expect_lent(gone, lent);
  ASSERT_TRUE(durable().clear_namespace(ns_).ok());
  EXPECT_TRUE(has_code(lend(gone).status, ErrorCode::corruption));
  EXPECT_FALSE(lookup("k", ns_).has_value());
  Stored anew = gone;
  anew.sequence = next_sequence();
  ASSERT_TRUE(write(anew, lent.image, facts_of(anew)).ok()) << "its epoch is the tier's to say";
  medium_->restart();
  EXPECT_TRUE(read(anew).ok());
}

TEST_P(ImageContract, OnceClosedNothingIsTakenOrLent) {
  const Stored stored = put("k", 100);
  Stored late = block("late", 300'000);
  const auto image = image_of(late, kAsWarm);
  const BlockFacts facts = facts_of(late);
  TierWrite write;
  ASSERT_TRUE(tier().reserve(ns_, {&facts.plain_bytes, 1}, {&write.location, 1}).ok());
  write.name = {ns_, late.key, 0};
  write.id = block_id(write.name, 17);
  write.facts = facts;
  write.image = image;
  tier().close();
  std::atomic<bool> done{false};
  tier().write({&write, 1}, Durability::written, [&] { done = true; });
  medium_->pump_until([&] { return done.load(); });
  EXPECT_TRUE(has_code(write.status, ErrorCode::closed));
  EXPECT_EQ(image.use_count(), 2) << "the tier keeps it";
  EXPECT_TRUE(has_code(lend(stored).status, ErrorCode::closed));
}

INSTANTIATE_TEST_SUITE_P(Media, ImageContract, ::testing::ValuesIn(durable_tiers()), name_of);

}  // namespace
}  // namespace cairn::test
