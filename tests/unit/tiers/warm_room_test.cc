// SPDX-License-Identifier: Apache-2.0
// Goal: warm takes no more memory than it may and no more than it needs, and gives back what it was
// asked for in advance. Method: small tiers, filled and emptied and counted to the byte.
#include <gtest/gtest.h>

#include <vector>

#include "engine/base/status.h"
#include "tests/support/warm_world.h"
#include "tiers/warm/warm_tier.h"

namespace cairn::tiers {
namespace {

using test::make_block;
using test::WarmBlock;
using test::WarmWorld;

constexpr NamespaceId kNs = WarmWorld::kNamespace;

std::uint64_t held_bytes(const WarmTier& tier) {
  const TierUsage usage = tier.usage();
  return usage.used_bytes + usage.dead_bytes;
}

TEST(WarmTier, ABlockWastesLessThanTwoKiB) {
  WarmWorld world(test::warm_options(64 * kMiB, false));
  for (std::size_t size = 1; size < 40'000; size += 97) {
    const std::uint64_t before = world.tier().usage().used_bytes;
    WarmBlock block = make_block(size, size);
    ASSERT_TRUE(world.put(block).ok());
    const std::uint64_t beside = size + block.key.size() + 1024;  // header, slot, list of pages
    EXPECT_LT(block.stored_bytes, beside + 2 * kKiB) << size;
    // A share takes a page with it where no other page has room.
    EXPECT_LE(world.tier().usage().used_bytes - before, block.stored_bytes + kPage) << size;
  }
}

TEST(WarmTier, SmallBlocksLieTogether) {
  WarmWorld world(test::warm_options(16 * kMiB));
  std::vector<WarmBlock> blocks;
  for (std::uint64_t i = 0; i < 800; ++i) {
    blocks.push_back(make_block(i, 300 + i % 200));
    ASSERT_TRUE(world.put(blocks.back()).ok());
  }
  std::uint64_t stored = 0;
  for (const WarmBlock& block : blocks) stored += block.stored_bytes;
  EXPECT_EQ(world.tier().usage().used_bytes, stored) << "800 shares of 512 B fill 100 pages";
  for (const WarmBlock& block : blocks) EXPECT_TRUE(world.read(block).ok());
  for (WarmBlock& block : blocks) world.free(block);
  EXPECT_EQ(world.tier().usage().used_bytes, 0U);
  world.tier().check_invariants();
}

TEST(WarmTier, TheWorstCaseIsReservedAndWhatWasTooMuchComesBack) {
  WarmWorld world(test::warm_options(16 * kMiB));
  WarmBlock block = make_block(1, 2'000'000);
  ASSERT_TRUE(world.reserve(block).ok());
  const std::uint64_t reserved = world.tier().usage().used_bytes;
  EXPECT_GE(reserved, 2'000'000U);
  world.free(block);
  EXPECT_EQ(world.tier().usage().used_bytes, 0U);
  ASSERT_TRUE(world.put(block).ok());
  EXPECT_LT(world.tier().usage().used_bytes, 1'600'000U) << "it shrinks by a quarter and more";
  EXPECT_LE(world.tier().usage().used_bytes, block.stored_bytes + kPage);
  EXPECT_EQ(world.tier().usage().blocks, 1U);
  world.tier().check_invariants();
}

TEST(WarmTier, IsFilledToTheBrimAndNeverBeyond) {
  for (const std::uint32_t size : {100U, 700U, 5000U, 70'000U, 500'000U}) {
    WarmWorld world(test::warm_options(3 * kMiB + 5 * kPage));
    std::vector<WarmBlock> blocks;
    absl::Status status;
    std::uint64_t stored = 0;
    do {
      blocks.push_back(make_block(blocks.size(), size));
      status = world.put(blocks.back());
      stored += status.ok() ? blocks.back().stored_bytes : 0;
      ASSERT_LE(held_bytes(world.tier()), 3 * kMiB + 5 * kPage);
    } while (status.ok());
    blocks.pop_back();
    EXPECT_TRUE(has_code(status, ErrorCode::no_space));
    // What the next one might have taken was not there.
    EXPECT_GT(stored + size + 4 * kKiB + size / 200, 3 * kMiB) << size;
    world.tier().check_invariants();
    for (const WarmBlock& block : blocks) ASSERT_TRUE(world.read(block).ok());
  }
}

TEST(WarmTier, WhatLiesBesideTakesTheRoomOfPagesPageByPage) {
  // Large blocks fill it and are freed but for every second one: no region is empty. Small ones,
  // which cost more beside, find room all the same.
  WarmWorld world(test::warm_options(4 * kMiB, false));
  std::vector<WarmBlock> large, small;
  for (;;) {
    large.push_back(make_block(large.size(), 100'000));
    if (!world.put(large.back()).ok()) break;
  }
  large.pop_back();
  for (std::size_t i = 0; i < large.size(); i += 2) world.free(large[i]);
  for (;;) {
    small.push_back(make_block(1000 + small.size(), 100));
    if (!world.put(small.back()).ok()) break;
    ASSERT_LE(held_bytes(world.tier()), 4 * kMiB);
  }
  small.pop_back();
  EXPECT_GT(small.size(), 2000U);
  world.tier().check_invariants();
  for (const WarmBlock& block : small) ASSERT_TRUE(world.read(block).ok());
  for (std::size_t i = 1; i < large.size(); i += 2) ASSERT_TRUE(world.read(large[i]).ok());
}

TEST(WarmTier, ABatchThatDoesNotFitTakesNothing) {
  WarmWorld world(test::warm_options(kMiB));
  const std::vector<std::uint32_t> sizes(5, 300'000);
  std::vector<Location> locations(5);
  EXPECT_TRUE(has_code(world.tier().reserve(kNs, sizes, locations), ErrorCode::no_space));
  EXPECT_EQ(world.tier().usage().used_bytes, 0U);
  EXPECT_EQ(world.tier().usage().blocks, 0U);
  for (const Location location : locations) EXPECT_TRUE(location.is_null());
  const std::uint32_t large = 2 * kMiB;
  EXPECT_TRUE(has_code(world.tier().reserve(kNs, {&large, 1}, {locations.data(), 1}),
                       ErrorCode::too_large));
  EXPECT_TRUE(has_code(world.tier().reserve(NamespaceId{9}, sizes, locations),
                       ErrorCode::invalid_argument));
}

TEST(WarmTier, NoCapacityIsSoLargeThatAnyBlockFits) {
  WarmWorld world(test::warm_options(kMiB));
  world.tier().set_capacity(UINT64_MAX);
  EXPECT_EQ(world.tier().usage().capacity_bytes, 65536 * 256 * kKiB) << "as many as have numbers";
  for (const std::uint64_t size : {kBlockBytesMax + 1, std::uint64_t{UINT32_MAX}}) {
    const auto large = static_cast<std::uint32_t>(size);
    Location location;
    EXPECT_TRUE(
        has_code(world.tier().reserve(kNs, {&large, 1}, {&location, 1}), ErrorCode::too_large));
    EXPECT_TRUE(location.is_null());
  }
  EXPECT_EQ(world.tier().usage().used_bytes, 0U);
  WarmBlock block = make_block(1, 100'000);
  EXPECT_TRUE(world.put(block).ok());
}

TEST(WarmTier, ABlockOfMoreChunksThanARecordListsIsTooLarge) {
  WarmWorld world(test::warm_options(64 * kMiB), 0, {.dtype = Dtype::bf16, .chunk_bytes = 100});
  const std::uint32_t size = kChunksMax * 100 + 1;
  Location location;
  EXPECT_TRUE(
      has_code(world.tier().reserve(kNs, {&size, 1}, {&location, 1}), ErrorCode::too_large));
}

TEST(WarmTier, ShrinksByWhatIsFreeAndThenByWhatIsFreed) {
  WarmWorld world(test::warm_options(8 * kMiB, false));
  std::vector<WarmBlock> blocks;
  for (std::uint64_t i = 0; i < 60; ++i) {
    blocks.push_back(make_block(i, 100'000));
    ASSERT_TRUE(world.put(blocks.back()).ok());
  }
  for (std::size_t i = 0; i < 60; i += 3) world.free(blocks[i]);
  const std::uint64_t used = world.tier().usage().used_bytes;
  world.tier().set_capacity(2 * kMiB);
  EXPECT_EQ(held_bytes(world.tier()), used) << "what is free goes at once, wherever it lies";
  world.tier().check_invariants();
  WarmBlock late = make_block(99, 1000);
  EXPECT_TRUE(has_code(world.reserve(late), ErrorCode::no_space));
  for (std::size_t i = 1; i < 60; i += 3) {
    ASSERT_TRUE(world.read(blocks[i]).ok());
    world.free(blocks[i]);
    world.tier().check_invariants();
  }
  for (std::size_t i = 2; i < 60; i += 3) {
    ASSERT_TRUE(world.read(blocks[i]).ok());
    if (i % 2 == 0) world.free(blocks[i]);
  }
  EXPECT_LE(held_bytes(world.tier()), 2 * kMiB);
  EXPECT_TRUE(world.put(late).ok());
  world.tier().set_capacity(16 * kMiB);
  for (std::uint64_t i = 200; i < 300; ++i) {
    WarmBlock block = make_block(i, 100'000);
    EXPECT_TRUE(world.put(block).ok());
  }
  world.tier().check_invariants();
}

}  // namespace
}  // namespace cairn::tiers
