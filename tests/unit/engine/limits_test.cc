// SPDX-License-Identifier: Apache-2.0
// A namespace's own limits: exact, at the cost of its own blocks alone, and lowered while running.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/support/engine_world.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

class LimitsTest : public ::testing::Test {
 protected:
  NamespaceStats stats_of(NamespaceId ns) {
    const auto infos = world.engine().namespaces();
    const auto stats = world.engine().stats();
    for (const NamespaceInfo& info : infos) {
      if (info.id != ns) continue;
      for (const NamespaceStats& one : stats.namespaces) {
        if (one.name == info.descriptor.name) return one;
      }
    }
    return {};
  }
  PutResult put(NamespaceId ns, int i, std::size_t bytes = 1000,
                Durability durability = Durability::written) {
    return world.put(ns, "k" + std::to_string(i), bytes, 0, durability);
  }

  EngineWorld world;
  const NamespaceId limited = world.open_namespace("limited");
  const NamespaceId other = world.open_namespace("other");
};

TEST_F(LimitsTest, OfColdIsExactAndEvictsItsOwnBlocksAlone) {
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(put(other, i).status.ok());
  ASSERT_TRUE(world.engine().set_limits(limited, {.cold_bytes = 10'000}).ok());
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(put(limited, i).status.ok()) << i;
    ASSERT_LE(stats_of(limited).cold_bytes, 10'000U);
  }
  EXPECT_EQ(stats_of(limited).cold_blocks, 10U) << "the limit is there to be used";
  EXPECT_EQ(stats_of(limited).cold_limit_bytes, 10'000U);
  EXPECT_EQ(stats_of(other).cold_blocks, 50U);
  // The newest are those that stayed.
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_TRUE(world.get(limited, "k99").has_value());
  EXPECT_FALSE(world.get(limited, "k80").has_value());
}

TEST_F(LimitsTest, OfHotIsExactAndEvictsItsOwnBlocksAlone) {
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(put(other, i).status.ok());
  ASSERT_TRUE(world.engine().set_limits(limited, {.hot_bytes = 5000}).ok());
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(put(limited, i).status.ok());
    ASSERT_LE(world.hot().used_bytes(limited), 5000U);
  }
  EXPECT_EQ(stats_of(limited).hot_blocks, 5U);
  EXPECT_EQ(stats_of(other).hot_blocks, 50U);
  EXPECT_EQ(stats_of(limited).cold_blocks, 100U) << "cold has no limit of its own";
  // Promotion, too, takes room from its own blocks.
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(world.get(limited, "k" + std::to_string(i)).has_value()) << i;
    ASSERT_LE(world.hot().used_bytes(limited), 5000U);
  }
  EXPECT_EQ(stats_of(other).hot_blocks, 50U);
}

TEST_F(LimitsTest, WhatIsOnlyInMemoryIsEvictedOrRefused) {
  ASSERT_TRUE(world.engine().set_limits(limited, {.hot_bytes = 5000}).ok());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(put(limited, i, 1000, Durability::memory).status.ok()) << i;
  }
  EXPECT_EQ(stats_of(limited).hot_blocks, 5U);
  const auto lease =
      world.acquire(limited, {"k19", "k18", "k17", "k16", "k15"}, {.read = Read::each});
  ASSERT_TRUE(lease.ok());
  EXPECT_TRUE(has_code(put(limited, 99, 1000, Durability::memory).status, ErrorCode::busy));
  EXPECT_TRUE(put(limited, 99, 1000).status.ok()) << "cold takes it";
}

TEST_F(LimitsTest, LoweredTheyAreReachedAtOnce) {
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(put(limited, i).status.ok());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(put(other, i).status.ok());
  ASSERT_TRUE(world.engine().set_limits(limited, {.hot_bytes = 3000, .cold_bytes = 20'000}).ok());
  world.settle();
  EXPECT_EQ(stats_of(limited).hot_blocks, 3U);
  EXPECT_EQ(stats_of(limited).cold_blocks, 20U);
  EXPECT_EQ(stats_of(other).cold_blocks, 50U);
  ASSERT_TRUE(world.engine().set_limits(limited, {}).ok());
  for (int i = 100; i < 150; ++i) ASSERT_TRUE(put(limited, i).status.ok());
  EXPECT_EQ(stats_of(limited).cold_blocks, 70U);
}

TEST_F(LimitsTest, ChainsLoseTheirTails) {
  const std::vector<std::string> keys = EngineWorld::chain("c", 30);
  world.put_chain(limited, keys, 1000);
  ASSERT_TRUE(world.engine().set_limits(limited, {.cold_bytes = 12'000}).ok());
  world.settle();
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(world.match(limited, keys), 12U);
  EXPECT_EQ(world.engine().stats().orphans, 0U);
}

TEST_F(LimitsTest, AnOverwriteNeedsNoRoomForTwo) {
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  ASSERT_TRUE(world.engine().set_limits(ns, {.cold_bytes = 1500}).ok());
  ASSERT_TRUE(world.put(ns, "k", 1000, 1).status.ok());
  EXPECT_EQ(world.put(ns, "k", 1200, 2).outcome, PutOutcome::replaced);
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 2, 1200));
  EXPECT_TRUE(has_code(world.put(ns, "k", 1600, 3).status, ErrorCode::too_large));
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 2, 1200));
}

TEST_F(LimitsTest, PinnedBlocksAreNotGivenUpForThem) {
  ASSERT_TRUE(put(limited, 0).status.ok());
  const KeyRef pinned{"k0"};
  ASSERT_TRUE(world.engine().pin(limited, {&pinned, 1}, {.durability = Durability::durable}).ok());
  ASSERT_TRUE(world.engine().set_limits(limited, {.cold_bytes = 1000}).ok());
  EXPECT_TRUE(has_code(put(limited, 1).status, ErrorCode::no_space));
  EXPECT_EQ(world.match(limited, {"k0"}), 1U);
}

TEST_F(LimitsTest, HoldForWhatRecoveryFinds) {
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(put(limited, i).status.ok());
  world.restart_unloaded();
  ASSERT_TRUE(world.engine().set_limits(limited, {.cold_bytes = 20'000}).ok());
  world.settle();
  EXPECT_EQ(stats_of(limited).cold_blocks, 20U);
}

TEST_F(LimitsTest, WhateverComesTheyAreNeverPassed) {
  Rng rng(announce_seed());
  ASSERT_TRUE(world.engine().set_limits(limited, {.hot_bytes = 9000, .cold_bytes = 30'000}).ok());
  for (std::size_t step = 0; step < scaled(3000); ++step) {
    const std::string key = "k" + std::to_string(rng.below(100));
    switch (rng.below(5)) {
      case 0:
        world.erase(limited, key);
        break;
      case 1:
        world.get(limited, key);
        break;
      default: {
        std::vector<std::string> keys;
        for (std::uint64_t i = 0; i <= rng.below(12); ++i) {
          keys.push_back(key + "/" + std::to_string(i));
        }
        world.put_chain(limited, keys, 1 + rng.below(3000),
                        rng.chance(0.3) ? Durability::memory : Durability::written);
      }
    }
    ASSERT_LE(world.hot().used_bytes(limited), 9000U) << "step " << step;
    ASSERT_LE(stats_of(limited).cold_bytes, 30'000U) << "step " << step;
  }
}

}  // namespace
}  // namespace cairn::test
