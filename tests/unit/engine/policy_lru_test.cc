// SPDX-License-Identifier: Apache-2.0
// Goal: the lazy LRU is exact. Method: random uses of thousands of blocks, enough to split and
// merge its buckets, against a sorted map, victims compared after every step.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/policy/lru.h"
#include "tests/support/seed.h"

namespace cairn {
namespace {

class Fixture {
 public:
  explicit Fixture(std::size_t handles)
      : stamps_(handles),
        policy_({Stamps(stamps_.data(), sizeof(std::atomic<std::uint64_t>)), handles}) {}

  LruPolicy& policy() { return policy_; }
  void use(BlockHandle block) { stamps_[block] = ++clock_; }
  void use_as(BlockHandle block, std::uint64_t stamp) { stamps_[block] = stamp; }
  std::uint64_t stamp(BlockHandle block) const { return stamps_[block]; }
  void insert(BlockHandle block, Standing standing) {
    use(block);
    policy_.on_insert(block, standing);
  }
  std::vector<BlockHandle> victims(std::size_t count, Standing most = Standing::last_copy) {
    std::vector<Candidate> out;
    std::size_t calls = 0;
    while (!policy_.victims(most, count, out)) {
      EXPECT_TRUE(out.empty());
      EXPECT_LT(++calls, 1000U);
    }
    std::vector<BlockHandle> blocks;
    for (const Candidate& candidate : out) {
      if (most != Standing::spare) {
        EXPECT_EQ(candidate.worth, stamps_[candidate.block]);
      }
      blocks.push_back(candidate.block);
    }
    return blocks;
  }

 private:
  std::vector<std::atomic<std::uint64_t>> stamps_;
  LruPolicy policy_;
  std::uint64_t clock_ = 1U << 30;
};

TEST(LruPolicy, OldestUseGoesFirst) {
  Fixture lru(10);
  for (BlockHandle block : {1U, 2U, 3U, 4U}) lru.insert(block, Standing::backed);
  lru.use(1);
  lru.use(3);
  EXPECT_EQ(lru.victims(3), (std::vector<BlockHandle>{2, 4, 1}));
  EXPECT_EQ(lru.victims(9), (std::vector<BlockHandle>{2, 4, 1, 3}));
}

TEST(LruPolicy, HeldBlocksAreNotOfferedAndComeBackInTheirPlace) {
  Fixture lru(10);
  for (BlockHandle block : {1U, 2U, 3U}) lru.insert(block, Standing::backed);
  lru.policy().on_standing(1, Standing::held);
  EXPECT_EQ(lru.victims(9), (std::vector<BlockHandle>{2, 3}));
  lru.policy().on_standing(1, Standing::backed);
  EXPECT_EQ(lru.victims(9), (std::vector<BlockHandle>{1, 2, 3}));
}

TEST(LruPolicy, LastCopiesAreOfferedOnlyWhenAskedFor) {
  Fixture lru(10);
  lru.insert(1, Standing::last_copy);
  lru.insert(2, Standing::backed);
  lru.insert(3, Standing::last_copy);
  EXPECT_EQ(lru.victims(9, Standing::backed), (std::vector<BlockHandle>{2}));
  EXPECT_EQ(lru.victims(9, Standing::last_copy), (std::vector<BlockHandle>{1, 2, 3}));
}

TEST(LruPolicy, WhatIsOnlyAnchoredIsOfferedToBeMoved) {
  Fixture lru(10);
  lru.insert(1, Standing::anchored);
  lru.insert(2, Standing::last_copy);
  EXPECT_EQ(lru.victims(9, Standing::last_copy), (std::vector<BlockHandle>{2}));
  EXPECT_EQ(lru.victims(9, Standing::anchored), (std::vector<BlockHandle>{1, 2}));
}

/// The block that was used last will stay in the hotter tier longest, and needs its spare least.
TEST(LruPolicy, SparesGoByThemselvesAndTheNewestFirst) {
  constexpr BlockHandle kBlocks = 1000;
  Fixture lru(kBlocks + 1);
  for (BlockHandle block = 1; block <= kBlocks; ++block) {
    lru.insert(block, block % 2 == 0 ? Standing::spare : Standing::backed);
  }
  EXPECT_EQ(lru.victims(3, Standing::spare), (std::vector<BlockHandle>{1000, 998, 996}));
  EXPECT_EQ(lru.victims(3, Standing::anchored), (std::vector<BlockHandle>{1, 3, 5}));
  EXPECT_EQ(lru.victims(kBlocks, Standing::spare).size(), kBlocks / 2);
}

TEST(LruPolicy, DemotedBlockIsTheFirstToGo) {
  Fixture lru(10);
  for (BlockHandle block : {1U, 2U, 3U}) lru.insert(block, Standing::backed);
  lru.use_as(3, 5);
  lru.policy().on_demote(3);
  lru.use_as(2, 4);
  lru.policy().on_demote(2);
  EXPECT_EQ(lru.victims(9), (std::vector<BlockHandle>{2, 3, 1}));
}

TEST(LruPolicy, UsesThatComeByManyAreSettledLittleByLittle) {
  constexpr BlockHandle kBlocks = 60'000;
  Fixture lru(kBlocks + 1);
  for (BlockHandle block = 1; block <= kBlocks; ++block) lru.insert(block, Standing::backed);
  for (BlockHandle block = 1; block < kBlocks; ++block) lru.use(block);
  std::vector<Candidate> out;
  EXPECT_FALSE(lru.policy().victims(Standing::last_copy, 2, out))
      << "one call did the work of many";
  EXPECT_EQ(lru.victims(2), (std::vector<BlockHandle>{kBlocks, 1}));
  lru.policy().check_invariants();
}

TEST(LruPolicy, ManyUsesTakeNoMemory) {
  constexpr BlockHandle kBlocks = 5000;
  Fixture lru(kBlocks + 1);
  for (BlockHandle block = 1; block <= kBlocks; ++block) lru.insert(block, Standing::backed);
  const std::size_t before = lru.policy().memory_bytes();
  test::Rng rng(3);
  for (int i = 0; i < 200'000; ++i) {
    lru.use(static_cast<BlockHandle>(rng.between(1, kBlocks)));
    if (i % 500 == 0) lru.victims(8);
  }
  EXPECT_LE(lru.policy().memory_bytes(), 2 * before + 65536);
}

/// The obvious twin.
struct Model {
  std::map<BlockHandle, Standing> blocks;
  std::vector<BlockHandle> victims(const Fixture& lru, std::size_t count, Standing most) const {
    std::vector<std::pair<std::uint64_t, BlockHandle>> order;
    for (const auto& [block, standing] : blocks) {
      if (standing >= Standing::backed && standing <= most) {
        order.emplace_back(lru.stamp(block), block);
      }
    }
    std::sort(order.begin(), order.end());
    order.resize(std::min(order.size(), count));
    std::vector<BlockHandle> result;
    for (const auto& [stamp, block] : order) result.push_back(block);
    return result;
  }
};

TEST(LruPolicy, EqualsASortedMapStepByStep) {
  for (const std::uint64_t seed : test::seeds({1, 2, 3}, 2)) {
    test::print_seed(seed);
    test::Rng rng(seed);
    const auto handles = static_cast<BlockHandle>(rng.between(10, 3000));
    Fixture lru(handles + 1);
    Model model;
    std::uint64_t oldest = 1U << 29;
    const double removing = rng.fraction() * 0.6;
    const auto any = [&] { return static_cast<BlockHandle>(rng.between(1, handles)); };
    const auto any_standing = [&] { return static_cast<Standing>(rng.below(5)); };
    for (std::size_t step = test::scaled(4000); step-- > 0;) {
      for (std::size_t i = rng.below(40); i-- > 0;) {
        const BlockHandle block = any();
        if (model.blocks.contains(block)) lru.use(block);
      }
      const BlockHandle block = any();
      if (!model.blocks.contains(block)) {
        model.blocks[block] = any_standing();
        lru.insert(block, model.blocks[block]);
      } else if (rng.chance(removing)) {
        model.blocks.erase(block);
        lru.policy().on_remove(block);
      } else if (rng.chance(0.5)) {
        model.blocks[block] = any_standing();
        lru.policy().on_standing(block, model.blocks[block]);
      } else if (rng.chance(0.1)) {
        lru.use_as(block, --oldest);
        lru.policy().on_demote(block);
      }
      if (step % 8 != 0) continue;
      const std::size_t count = rng.between(1, rng.chance(0.1) ? handles : 20);
      const auto most = static_cast<Standing>(rng.between(2, 4));
      const std::vector<BlockHandle> expected = model.victims(lru, count, most);
      ASSERT_EQ(lru.victims(count, most), expected);
      lru.policy().check_invariants();
      ASSERT_EQ(lru.policy().filed_too_late(), 0U);
      if (rng.chance(0.3)) {
        for (const BlockHandle victim : expected) {
          model.blocks.erase(victim);
          lru.policy().on_remove(victim);
        }
      }
    }
  }
}

/// Two threads may leave the earlier of two stamps behind; nothing may break, and every block
/// is still offered once.
TEST(LruPolicy, StampsThatFallBackCostExactnessOnly) {
  test::Rng rng(9);
  constexpr BlockHandle kBlocks = 4000;
  Fixture lru(kBlocks + 1);
  for (BlockHandle block = 1; block <= kBlocks; ++block) lru.insert(block, Standing::backed);
  for (int round = 0; round < 300; ++round) {
    for (int i = 0; i < 300; ++i) {
      const auto block = static_cast<BlockHandle>(rng.between(1, kBlocks));
      if (rng.chance(0.5)) {
        lru.use(block);
      } else {
        lru.use_as(block, lru.stamp(block) - rng.below(100'000));
      }
    }
    const std::vector<BlockHandle> victims = lru.victims(rng.between(1, 500));
    ASSERT_EQ(std::set<BlockHandle>(victims.begin(), victims.end()).size(), victims.size());
    for (const BlockHandle victim : victims) {
      lru.policy().on_remove(victim);
      lru.insert(victim, Standing::backed);
    }
    lru.policy().check_invariants();
  }
  EXPECT_EQ(lru.policy().offered(), kBlocks);
}

}  // namespace
}  // namespace cairn
