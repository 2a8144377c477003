// SPDX-License-Identifier: Apache-2.0
// announce: what waiting requests will need is there before they ask.
#include <gtest/gtest.h>

#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

class AnnounceTest : public ::testing::Test {
 protected:
  static EngineWorldOptions options() {
    EngineWorldOptions options;
    options.hot_bytes = 40'000;  // 5,000 may be announced
    return options;
  }
  void SetUp() override {
    world.put_chain(ns, keys, 1000);
    ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  }
  std::size_t announce(const std::vector<std::string>& wanted, Duration within) {
    return world.engine().announce(ns, EngineWorld::refs(wanted), world.clock().now() + within);
  }
  std::size_t in_hot() {
    std::size_t count = 0;
    for (const MatchedBlock& block : world.engine().match(ns, EngineWorld::refs(keys)).blocks) {
      count += block.tier == TierKind::hot ? 1U : 0U;
    }
    return count;
  }

  EngineWorld world{options()};
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 10);
};

TEST_F(AnnounceTest, FetchesAheadOfDemand) {
  EXPECT_EQ(announce({keys[0], keys[1], keys[2]}, Duration::seconds(1)), 3U);
  world.settle();
  EXPECT_EQ(in_hot(), 3U);
  const auto lease = world.acquire(ns, {keys[0], keys[1], keys[2]});
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(lease->blocks()[2].served_from, TierKind::hot);
}

TEST_F(AnnounceTest, HoldsAtMostItsShareOfHotAndTellsTheRestLater) {
  EXPECT_EQ(announce(keys, Duration::seconds(1)), 5U);
  world.settle();
  EXPECT_EQ(in_hot(), 5U);
  EXPECT_EQ(announce({keys[9]}, Duration::seconds(1)), 0U);
  EXPECT_EQ(announce({keys[0]}, Duration::seconds(1)), 1U);  // held already
}

TEST_F(AnnounceTest, IsPinnedUntilItsDeadline) {
  EXPECT_EQ(announce({keys[0]}, Duration::seconds(5)), 1U);
  world.advance(Duration::seconds(4));
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(in_hot(), 1U);
  world.advance(Duration::seconds(1));
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(in_hot(), 0U);
}

TEST_F(AnnounceTest, PinsNothingBeyondTheAnnounceLimit) {
  EXPECT_EQ(announce({keys[0]}, Duration::seconds(3600)), 1U);
  world.advance(Duration::seconds(30));
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(in_hot(), 0U);
}

TEST_F(AnnounceTest, EndsWhenALeaseDeliversIt) {
  EXPECT_EQ(announce({keys[0]}, Duration::seconds(30)), 1U);
  world.settle();
  ASSERT_TRUE(world.get(ns, keys[0]).has_value());
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(in_hot(), 0U);
  EXPECT_EQ(announce({keys.begin(), keys.begin() + 5}, Duration::seconds(1)), 5U);
}

TEST_F(AnnounceTest, JoinsAnAcquireOfTheSameBlocks) {
  world.cold().hold();
  EXPECT_EQ(announce({keys[0], keys[1]}, Duration::seconds(1)), 2U);
  std::optional<std::size_t> delivered;
  const std::vector<KeyRef> refs = {{keys[0]}, {keys[1]}};
  world.engine().acquire(ns, refs, {}, [&](const absl::StatusOr<Lease>& lease) {
    delivered = lease.ok() ? lease->blocks().size() : 99;
  });
  EXPECT_EQ(world.cold().held(), 1U);
  world.cold().release();
  world.settle();
  EXPECT_EQ(delivered, 2U);
}

TEST_F(AnnounceTest, OfWhatIsNotThereAcceptsNothing) {
  EXPECT_EQ(announce({"absent"}, Duration::seconds(1)), 0U);
  EXPECT_EQ(announce({keys[0], "absent", keys[1]}, Duration::seconds(1)), 1U);
  EXPECT_EQ(announce({keys[0]}, Duration::seconds(-1)), 0U);
}

TEST_F(AnnounceTest, AFailedFetchGivesItsShareBack) {
  world.cold().fail_reads(ErrorCode::io, 5);
  EXPECT_EQ(announce({keys.begin(), keys.begin() + 5}, Duration::seconds(1)), 5U);
  world.settle();
  EXPECT_EQ(in_hot(), 0U);
  EXPECT_EQ(announce({keys.begin(), keys.begin() + 5}, Duration::seconds(1)), 5U);
  world.settle();
  EXPECT_EQ(in_hot(), 5U);
}

TEST_F(AnnounceTest, EndsThoughTheIndexAnswersAfterItsDeadline) {
  world.restart_unloaded();
  world.cold().hold();
  EXPECT_EQ(announce({keys[0], keys[1], keys[2], keys[3], keys[4]}, Duration::millis(10)), 5U);
  world.advance(Duration::seconds(2));
  world.cold().release();
  world.settle();
  world.advance(Duration::seconds(1));
  EXPECT_EQ(announce({keys[9]}, Duration::seconds(1)), 1U) << "its share is free again";
}

}  // namespace
}  // namespace cairn::test
