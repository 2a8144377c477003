// SPDX-License-Identifier: Apache-2.0
// What is asked about many blocks at once: sub-trees, batches of requests, runs found by halves.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/engine_world.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

/// root ─ a ─ b ─ c, and b ─ d
class SubtreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world.put_chain(ns, {"root", "a", "b", "c"}, 1000);
    put_below("b", "d");
  }
  void put_below(std::string_view parent, std::string_view key) {
    const std::string payload = make_payload(key, 0, 1000);
    const PutBlock block{.key = key, .payload = as_bytes(payload), .parent = parent};
    ASSERT_TRUE(world.engine().put_sync(ns, {&block, 1}, {.links = Links::given})[0].status.ok());
  }
  std::vector<std::string> keys_below(std::string_view root, std::size_t blocks_max = 100) {
    std::vector<std::string> keys;
    const auto blocks = world.engine().subtree(ns, {root}, blocks_max);
    EXPECT_TRUE(blocks.ok());
    for (const SubtreeBlock& block : *blocks) keys.push_back(block.key);
    std::sort(keys.begin(), keys.end());
    return keys;
  }

  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
};

using Keys = std::vector<std::string>;

TEST_F(SubtreeTest, ListsABlockAndWhatIsBelowItParentsFirst) {
  EXPECT_EQ(keys_below("root"), (Keys{"a", "b", "c", "d", "root"}));
  EXPECT_EQ(keys_below("b"), (Keys{"b", "c", "d"}));
  EXPECT_EQ(keys_below("c"), (Keys{"c"}));
  EXPECT_EQ(keys_below("absent"), Keys{});
  EXPECT_EQ(keys_below("root", 2), (Keys{"a", "root"}));
  const auto blocks = world.engine().subtree(ns, {"a"}, 100);
  ASSERT_EQ(blocks->size(), 4U);
  EXPECT_EQ(blocks->at(0).key, "a");
  EXPECT_EQ(blocks->at(0).depth, 0U);
  EXPECT_EQ(blocks->at(1).key, "b");
  EXPECT_EQ(blocks->at(3).depth, 2U);
  EXPECT_EQ(blocks->at(3).plain_bytes, 1000U);
  EXPECT_EQ(blocks->at(3).tier, TierKind::hot);
}

TEST_F(SubtreeTest, IsTheSameAfterARestart) {
  world.kill();
  EXPECT_EQ(keys_below("b"), (Keys{"b", "c", "d"}));
  world.restart_unloaded();
  EXPECT_TRUE(has_code(world.engine().subtree(ns, {"b"}, 9).status(), ErrorCode::busy));
}

TEST_F(SubtreeTest, IsErasedAsAWhole) {
  const auto erased = world.engine().erase_subtree(ns, {"b"});
  ASSERT_TRUE(erased.ok());
  EXPECT_EQ(*erased, 3U);
  world.kill();
  EXPECT_EQ(world.match(ns, {"root", "a", "b"}), 2U);
  for (const char* key : {"b", "c", "d"}) EXPECT_EQ(world.get(ns, key), std::nullopt) << key;
  EXPECT_EQ(world.engine().stats().orphans, 0U);
}

TEST_F(SubtreeTest, IsErasedWhereItsRootHasGone) {
  ASSERT_TRUE(world.erase(ns, "b"));
  EXPECT_EQ(*world.engine().erase_subtree(ns, {"b"}), 2U);
  EXPECT_EQ(world.get(ns, "c"), std::nullopt);
}

TEST_F(SubtreeTest, IsPinnedAndUnpinnedAsAWhole) {
  ASSERT_TRUE(world.engine().pin_subtree(ns, {"b"}, {.owner = "ops"}).ok());
  EXPECT_EQ(world.engine().stats().blocks_pinned, 3U);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  ASSERT_TRUE(world.engine().evict_unused(TierKind::cold, 0).ok());
  for (const char* key : {"b", "c", "d"}) EXPECT_TRUE(world.get(ns, key).has_value()) << key;
  EXPECT_TRUE(world.get(ns, "root").has_value()) << "a parent outlives what is pinned below it";
  ASSERT_TRUE(world.engine().unpin_subtree(ns, {"b"}, "ops").ok());
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
  EXPECT_TRUE(has_code(world.engine().pin_subtree(ns, {"x"}, {}), ErrorCode::not_found));
}

TEST_F(SubtreeTest, OfAnotherNamespaceIsNotShown) {
  const NamespaceId other = world.open_namespace("other");
  EXPECT_TRUE(world.engine().subtree(other, {"root"}, 100)->empty());
}

TEST_F(SubtreeTest, ABlockIsFreeableWhileNobodyHoldsIt) {
  EXPECT_TRUE(world.engine().is_freeable(ns, {"a"}));
  EXPECT_FALSE(world.engine().is_freeable(ns, {"absent"}));
  {
    const auto first = world.acquire(ns, {"a"}, {.read = Read::each});
    auto second = world.acquire(ns, {"a"}, {.read = Read::each});
    EXPECT_FALSE(world.engine().is_freeable(ns, {"a"}));
    second->release();
    EXPECT_FALSE(world.engine().is_freeable(ns, {"a"})) << "acquisitions accumulate";
  }
  EXPECT_TRUE(world.engine().is_freeable(ns, {"a"}));
  const KeyRef key{"a"};
  ASSERT_TRUE(world.engine().pin(ns, {&key, 1}, {}).ok());
  EXPECT_FALSE(world.engine().is_freeable(ns, {"a"}));
}

TEST_F(SubtreeTest, ManyRequestsAreMatchedInOneCall) {
  const std::vector<KeyRef> all = {{"root"}, {"a"}, {"b"}, {"d"}};
  const std::vector<KeyRef> some = {{"root"}, {"a"}, {"x"}, {"c"}};
  const std::vector<KeyRef> none = {{"y"}};
  const std::vector<std::span<const KeyRef>> requests = {all, some, none, {}};
  std::vector<std::size_t> lengths(requests.size(), 99);
  world.engine().match_lengths(ns, requests, lengths);
  EXPECT_EQ(lengths, (std::vector<std::size_t>{4, 2, 0, 0}));
}

TEST_F(SubtreeTest, TheLongestRunIsFoundByHalvesToo) {
  Rng rng(announce_seed());
  const std::vector<std::string> keys = EngineWorld::chain("c", 40);
  const std::vector<KeyRef> refs = EngineWorld::refs(keys);
  for (int round = 0; round < 30; ++round) {
    const std::size_t there = rng.below(keys.size() + 1);
    const NamespaceId fresh = world.open_namespace("run" + std::to_string(round));
    const auto end = keys.begin() + static_cast<std::ptrdiff_t>(there);
    if (there > 0) world.put_chain(fresh, {keys.begin(), end}, 10);
    EXPECT_EQ(world.engine().match_length(fresh, refs, Search::bisect), there);
    EXPECT_EQ(world.engine().match_length(fresh, refs), there);
  }
}

}  // namespace
}  // namespace cairn::test
