// SPDX-License-Identifier: Apache-2.0
// Three tiers: what moves where under pressure and on use, and what never happens on the way.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

constexpr std::size_t kBlock = 16 * 1024;

/// Hot holds ten blocks, warm about twenty that do not shrink.
EngineWorldOptions three_tiers(bool with_cold = true) {
  EngineWorldOptions options;
  options.hot_bytes = 10 * kBlock;
  options.warm_bytes = 24 * (kBlock + 512);
  options.cold_bytes = 4 * kMiB;
  options.with_cold = with_cold;
  options.engine.leasable_fraction = 1.0;
  options.engine.high_watermark = 0.8;
  options.engine.low_watermark = 0.6;
  return options;
}

std::vector<std::string> keys(std::string_view prefix, std::size_t count) {
  return EngineWorld::chain(prefix, count);
}

class WarmPath : public ::testing::Test {
 protected:
  void open(const EngineWorldOptions& options) {
    world_.emplace(options);
    ns_ = world_->open_namespace("n");
  }
  void put(const std::string& key, Durability durability = Durability::memory) {
    ASSERT_TRUE(world_->put(ns_, key, kBlock, 0, durability).status.ok()) << key;
    world_->settle();
  }
  void put_all(const std::vector<std::string>& all, Durability durability = Durability::memory) {
    for (const std::string& key : all) put(key, durability);
  }
  bool is_right(const std::string& key) {
    const auto bytes = world_->get(ns_, key);
    world_->settle();
    return bytes && *bytes == make_payload(key, 0, kBlock);
  }
  TierKind tier_of(const std::string& key) { return world_->tier_of(ns_, key); }
  EngineStats stats() { return world_->engine().stats(); }
  const MoveStats& moved(MoveKind kind) {
    last_ = stats();
    return last_.moves[static_cast<std::size_t>(kind)];
  }

  std::optional<EngineWorld> world_;
  NamespaceId ns_{};
  EngineStats last_;
};

TEST_F(WarmPath, WhatLeavesHotIsInWarmAndComesBackRight) {
  open(three_tiers(false));
  const auto all = keys("k", 20);
  put_all(all);
  std::size_t in_warm = 0;
  for (const std::string& key : all) {
    ASSERT_NE(tier_of(key), TierKind::none) << key;
    in_warm += tier_of(key) == TierKind::warm;
  }
  EXPECT_GE(in_warm, 12U);
  EXPECT_EQ(stats().warm.usage.blocks, in_warm) << "a block is in one of the two";
  EXPECT_EQ(moved(MoveKind::hot_to_warm).blocks, in_warm);
  EXPECT_LT(stats().warm.usage.used_bytes, stats().warm.payload_bytes) << "made smaller";
  for (const std::string& key : all) EXPECT_TRUE(is_right(key)) << key;
  EXPECT_GT(stats().warm.hits, 0U);
}

TEST_F(WarmPath, APromotionLeavesASpareThatMakesTheNextDemotionFree) {
  open(three_tiers());
  const auto all = keys("k", 12);
  put_all(all, Durability::written);
  ASSERT_EQ(tier_of(all[0]), TierKind::warm);
  const auto lease = world_->acquire(ns_, {all[0]});
  ASSERT_TRUE(lease.ok());
  ASSERT_EQ(lease->blocks().size(), 1U);
  EXPECT_EQ(lease->blocks()[0].served_from, TierKind::warm);
  EXPECT_EQ(moved(MoveKind::warm_to_hot).blocks, 1U);
  const std::uint64_t written = stats().warm.bytes_written;
  const std::uint64_t coded = moved(MoveKind::hot_to_warm).blocks;
  const_cast<Lease&>(*lease).release();
  // Older than all others in hot: the next to go.
  const KeyRef ref{all[0]};
  world_->engine().demote_early(ns_, {&ref, 1});
  put_all(keys("more", 1), Durability::written);
  put_all(keys("moore", 1), Durability::written);
  put_all(keys("mooore", 1), Durability::written);
  EXPECT_EQ(tier_of(all[0]), TierKind::warm);
  EXPECT_GE(stats().free_demotions, 1U);
  EXPECT_EQ(stats().warm.bytes_written - written,
            (moved(MoveKind::hot_to_warm).blocks - coded) * kBlock);
  EXPECT_TRUE(is_right(all[0]));
}

TEST_F(WarmPath, SparesAreTheFirstToGo) {
  open(three_tiers());
  const auto all = keys("k", 22);
  put_all(all, Durability::written);
  for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(is_right(all[i]));
  const std::uint64_t evicted = stats().warm.evictions;
  const std::vector<std::string> promoted(all.begin(), all.begin() + 4);
  for (int round = 0; round < 6 && stats().spares_dropped == 0; ++round) {
    world_->engine().touch(ns_, EngineWorld::refs(promoted));
    put_all(keys("more" + std::to_string(round), 2), Durability::written);
  }
  EXPECT_GT(stats().spares_dropped, 0U);
  EXPECT_TRUE(stats().spares_dropped == promoted.size() || stats().warm.evictions == evicted)
      << "while there were spares";
}

TEST_F(WarmPath, LastCopiesGoOnToColdAndOutliveTheProcess) {
  open(three_tiers());
  const auto all = keys("k", 60);
  put_all(all);  // promised no more than memory
  EXPECT_GT(moved(MoveKind::warm_to_cold).blocks, 10U);
  std::vector<std::string> in_cold;
  for (const std::string& key : all) {
    ASSERT_NE(tier_of(key), TierKind::none) << key;
    if (tier_of(key) == TierKind::cold) in_cold.push_back(key);
  }
  EXPECT_GT(in_cold.size(), 10U);
  world_->kill();
  for (const std::string& key : in_cold) EXPECT_TRUE(is_right(key)) << key;
}

TEST_F(WarmPath, WithoutColdTheOldestIsToldOfAndGone) {
  EngineWorldOptions options = three_tiers(false);
  std::vector<Eviction> told;
  options.engine.on_evicted = [&told](std::span<const Eviction> gone) {
    told.insert(told.end(), gone.begin(), gone.end());
  };
  open(options);
  const auto all = keys("k", 60);
  put_all(all);
  std::size_t gone = 0;
  for (const std::string& key : all) gone += tier_of(key) == TierKind::none;
  EXPECT_GT(gone, 10U);
  EXPECT_EQ(told.size(), gone);
  for (const Eviction& eviction : told) {
    EXPECT_TRUE(eviction.last_copy);
    EXPECT_EQ(eviction.tier, TierKind::warm);
  }
  EXPECT_EQ(tier_of(all[0]), TierKind::none);
  EXPECT_TRUE(is_right(all.back()));
}

/// Leaves first in each tier: so a chain lies with its root in hot and its tail below, and hot must
/// be able to give a parent to warm whose children are there already.
TEST_F(WarmPath, AChainLongerThanHotMovesDownWhole) {
  EngineWorldOptions options = three_tiers(false);
  options.warm_bytes *= 2;  // below its watermark with all of it
  open(options);
  const auto chain = keys("c", 24);
  const auto results = world_->put_chain(ns_, chain, kBlock, Durability::memory);
  world_->settle();
  // What hot could not take at once is refused; all that was taken is there.
  std::size_t stored = 0;
  while (stored < results.size() && results[stored].status.ok()) ++stored;
  for (std::size_t at = stored; at < chain.size(); ++at) {
    const std::string payload = make_payload(chain[at], 0, kBlock);
    const PutBlock block{.key = chain[at], .payload = as_bytes(payload), .parent = chain[at - 1]};
    ASSERT_TRUE(
        world_->engine()
            .put_sync(ns_, {&block, 1}, {.durability = Durability::memory, .links = Links::given})
            .at(0)
            .status.ok())
        << at;
    world_->settle();
  }
  EXPECT_EQ(world_->match(ns_, chain), chain.size());
  EXPECT_EQ(stats().orphans, 0U);
  for (const std::string& key : chain) EXPECT_TRUE(is_right(key)) << key;
}

TEST_F(WarmPath, LoadsComeFromEveryTierAtOnce) {
  open(three_tiers());
  const auto all = keys("k", 40);
  put_all(all, Durability::written);
  std::vector<std::vector<std::byte>> buffers(all.size(), std::vector<std::byte>(kBlock));
  std::vector<LoadTarget> targets;
  for (std::size_t i = 0; i < all.size(); ++i)
    targets.push_back({.key = {all[i]}, .buffer = buffers[i]});
  for (const Read read : {Read::prefix, Read::each}) {
    ASSERT_TRUE(world_->engine().load_sync(ns_, targets, {.read = read}).ok());
    std::set<TierKind> seen;
    for (std::size_t i = 0; i < all.size(); ++i) {
      ASSERT_TRUE(targets[i].found) << i;
      seen.insert(targets[i].served_from);
      EXPECT_EQ(as_text(ByteSpan(buffers[i])), make_payload(all[i], 0, kBlock));
    }
    EXPECT_EQ(seen, (std::set{TierKind::hot, TierKind::warm, TierKind::cold}));
  }
}

TEST_F(WarmPath, WhatIsBadInWarmIsReadFromCold) {
  open(three_tiers());
  const auto all = keys("k", 14);
  put_all(all, Durability::written);
  ASSERT_EQ(tier_of(all[0]), TierKind::warm);
  world_->warm().spoil_reads(1);
  EXPECT_TRUE(is_right(all[0]));
  EXPECT_EQ(stats().corrupt_blocks, 1U);
  EXPECT_EQ(moved(MoveKind::cold_to_hot).blocks, 1U);
  // And by a load, which takes it straight from there.
  ASSERT_EQ(tier_of(all[1]), TierKind::warm);
  world_->warm().spoil_reads(1);
  std::vector<std::byte> buffer(kBlock);
  LoadTarget target{.key = {all[1]}, .buffer = buffer};
  ASSERT_TRUE(world_->engine().load_sync(ns_, {&target, 1}).ok());
  EXPECT_TRUE(target.found);
  EXPECT_EQ(target.served_from, TierKind::cold);
  EXPECT_EQ(stats().corrupt_blocks, 2U);
}

TEST_F(WarmPath, WhatIsBadInWarmAndNowhereElseIsAMiss) {
  open(three_tiers(false));
  const auto all = keys("k", 14);
  put_all(all);
  ASSERT_EQ(tier_of(all[0]), TierKind::warm);
  world_->warm().spoil_reads(1);
  EXPECT_FALSE(world_->get(ns_, all[0]).has_value());
  EXPECT_EQ(tier_of(all[0]), TierKind::none);
  put(all[0]);
  EXPECT_TRUE(is_right(all[0]));
}

TEST_F(WarmPath, APutOfWhatOnlyWarmHasIsWrittenAsItIs) {
  open(three_tiers());
  const auto all = keys("k", 14);
  put_all(all);
  ASSERT_EQ(tier_of(all[0]), TierKind::warm);
  const PutResult result = world_->put(ns_, all[0], kBlock, 0, Durability::written);
  ASSERT_TRUE(result.status.ok());
  EXPECT_EQ(result.outcome, PutOutcome::already_present);
  world_->kill();
  EXPECT_EQ(tier_of(all[0]), TierKind::cold);
  EXPECT_TRUE(is_right(all[0]));
}

TEST_F(WarmPath, ADemotionThatFailsLosesNothing) {
  open(three_tiers());
  world_->warm().fail_writes(1000);
  const auto all = keys("k", 20);
  put_all(all, Durability::written);
  EXPECT_GT(moved(MoveKind::hot_to_warm).failed, 0U);
  EXPECT_EQ(moved(MoveKind::hot_to_warm).blocks, 0U);
  for (const std::string& key : all) EXPECT_TRUE(is_right(key)) << key;
}

TEST_F(WarmPath, WhatChangesWhileItIsOnItsWayIsNotListed) {
  open(three_tiers());
  const NamespaceId ns = world_->open_namespace("m", NamespaceKind::mutable_);
  const auto all = keys("k", 9);
  world_->warm().hold_writes();
  for (const std::string& key : all) {
    ASSERT_TRUE(world_->put(ns, key, kBlock, 1, Durability::memory).status.ok());
    world_->settle();
  }
  ASSERT_GT(world_->warm().held(), 0U);
  ASSERT_TRUE(world_->erase(ns, all[0]));
  ASSERT_TRUE(world_->put(ns, all[1], kBlock, 2, Durability::memory).status.ok());
  world_->warm().let_writes_go();
  world_->settle();
  EXPECT_FALSE(world_->get(ns, all[0]).has_value());
  EXPECT_EQ(world_->get(ns, all[1]), make_payload(all[1], 2, kBlock));
  for (std::size_t i = 2; i < all.size(); ++i) {
    EXPECT_EQ(world_->get(ns, all[i]), make_payload(all[i], 1, kBlock)) << i;
  }
  EXPECT_GE(moved(MoveKind::hot_to_warm).gone, 2U);
}

TEST_F(WarmPath, EraseClearExpiryAndOverwritingGiveItsRoomBack) {
  open(three_tiers());
  const NamespaceId other = world_->open_namespace("m", NamespaceKind::mutable_);
  put_all(keys("k", 14));
  for (const std::string& key : keys("e", 8)) {
    const WallMicros soon = world_->clock().wall() + 1'000'000;
    ASSERT_TRUE(world_->put(other, key, kBlock, 0, Durability::memory, soon).status.ok());
    world_->settle();
  }
  for (const std::string& key : keys("o", 4)) {
    ASSERT_TRUE(world_->put(other, key, kBlock, 1, Durability::memory).status.ok());
    world_->settle();
  }
  ASSERT_GT(stats().warm.usage.blocks, 10U);
  for (const std::string& key : keys("o", 4)) {
    ASSERT_TRUE(world_->put(other, key, 100, 2, Durability::memory).status.ok());
  }
  for (const std::string& key : keys("k", 14)) EXPECT_TRUE(world_->erase(ns_, key));
  world_->advance(Duration::seconds(5));
  for (const std::string& key : keys("e", 8)) {
    EXPECT_FALSE(world_->get(other, key).has_value());
  }
  world_->settle();
  ASSERT_TRUE(world_->engine().clear(other).ok());
  world_->settle();
  EXPECT_EQ(stats().warm.usage.blocks, 0U);
  EXPECT_EQ(stats().hot.usage.blocks, 0U);
}

TEST_F(WarmPath, AfterARestartWhatHotHasNoRoomForComesToWarmAsItIsStored) {
  EngineWorldOptions options = three_tiers();
  options.engine.rewarm_bytes = 4 * kBlock;
  open(options);
  const auto all = keys("k", 20);
  put_all(all, Durability::written);
  world_->restart();
  world_->advance(Duration::seconds(5));
  EXPECT_EQ(stats().hot.usage.blocks, 4U);
  EXPECT_GT(moved(MoveKind::cold_to_warm).blocks, 5U);
  EXPECT_EQ(stats().warm.usage.blocks, moved(MoveKind::cold_to_warm).blocks);
  EXPECT_EQ(stats().rewarmed_blocks, 4 + moved(MoveKind::cold_to_warm).blocks);
  EXPECT_LE(static_cast<double>(stats().warm.usage.used_bytes),
            0.7 * static_cast<double>(stats().warm.usage.capacity_bytes));
  for (const std::string& key : all) EXPECT_TRUE(is_right(key)) << key;
}

TEST_F(WarmPath, CanBeEmptiedOnDemand) {
  open(three_tiers());
  put_all(keys("k", 14), Durability::written);
  ASSERT_TRUE(is_right(keys("k", 1)[0]));
  ASSERT_GT(stats().warm.usage.blocks, 3U);
  ASSERT_TRUE(world_->engine().evict_unused(TierKind::warm, 0).ok());
  EXPECT_EQ(stats().warm.usage.blocks, 0U);
  for (const std::string& key : keys("k", 14)) EXPECT_TRUE(is_right(key));
}

TEST_F(WarmPath, ABudgetHoldsDemotionsBackAndLosesNothing) {
  EngineWorldOptions options = three_tiers();
  options.engine.to_warm_bytes_per_second = 2 * kBlock;
  open(options);
  const auto all = keys("k", 9);
  put_all(all);
  EXPECT_GT(moved(MoveKind::hot_to_warm).over_budget + moved(MoveKind::hot_to_warm).blocks, 0U);
  put_all(keys("l", 1));
  const std::uint64_t before = moved(MoveKind::hot_to_warm).blocks;
  world_->advance(Duration::seconds(10));
  EXPECT_GE(moved(MoveKind::hot_to_warm).blocks, before);
  for (const std::string& key : all) EXPECT_NE(tier_of(key), TierKind::none) << key;
}

/// Who waits for room in hot is told in the end, whatever holds the moves back.
TEST_F(WarmPath, AnAcquireThatWaitsForABudgetEnds) {
  EngineWorldOptions options = three_tiers(false);
  options.engine.to_warm_bytes_per_second = 1;
  options.engine.high_watermark = options.engine.low_watermark = 0.9;
  open(options);
  const auto all = keys("k", 10);
  put_all(all);
  put_all(keys("l", 3));
  for (const std::string& key : all) {
    const auto lease = world_->acquire(ns_, {key});
    EXPECT_TRUE(lease.ok() || has_code(lease.status(), ErrorCode::busy)) << lease.status();
  }
  world_->advance(Duration::seconds(60));
}

TEST_F(WarmPath, PinsAndLeasesStay) {
  open(three_tiers());
  const auto all = keys("k", 4);
  put_all(all, Durability::written);
  ASSERT_TRUE(world_->engine().pin(ns_, EngineWorld::refs({all[0]}), {.owner = "me"}).ok());
  auto lease = world_->acquire(ns_, {all[1]});
  ASSERT_TRUE(lease.ok());
  put_all(keys("more", 60), Durability::written);
  EXPECT_EQ(tier_of(all[0]), TierKind::hot);
  EXPECT_EQ(tier_of(all[1]), TierKind::hot);
  EXPECT_EQ(as_text(lease->blocks()[0].bytes), make_payload(all[1], 0, kBlock));
}

/// A pin holds a block in the tier where it is; its spare is nobody's promise.
TEST_F(WarmPath, ABlockPinnedInWarmStaysThere) {
  open(three_tiers());
  const auto all = keys("k", 14);
  put_all(all);
  ASSERT_EQ(tier_of(all[0]), TierKind::warm);
  ASSERT_TRUE(world_->engine().pin(ns_, EngineWorld::refs({all[0]}), {.owner = "me"}).ok());
  put_all(keys("more", 80));
  EXPECT_EQ(tier_of(all[0]), TierKind::warm);
  ASSERT_TRUE(world_->engine().unpin(ns_, EngineWorld::refs({all[0]}), "me").ok());
  put_all(keys("most", 80));
  EXPECT_NE(tier_of(all[0]), TierKind::warm);
}

}  // namespace
}  // namespace cairn::test
