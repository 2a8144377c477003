// SPDX-License-Identifier: Apache-2.0
// The selective write policy: what is seen a second time goes to cold, all else does not.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/support/policy_world.h"

namespace cairn::test {
namespace {

class SecondSight : public ::testing::Test {
 protected:
  void remake(EngineWorldOptions options, NamespaceKind kind = NamespaceKind::content_addressed) {
    world_.emplace(WritePolicy::selective, std::move(options), kind);
  }
  PolicyWorld& world() { return *world_; }

  std::optional<PolicyWorld> world_{std::in_place, WritePolicy::selective};
};

TEST_F(SecondSight, ASecondPutWrites) {
  EXPECT_EQ(world().keep("k").durability, Durability::memory);
  world().settle();
  EXPECT_EQ(world().cold().stored_blocks(), 0U);
  const PutResult again = world().keep("k");
  EXPECT_EQ(again.outcome, PutOutcome::already_present);
  EXPECT_EQ(again.durability, Durability::memory);
  world().settle();
  EXPECT_EQ(world().written().second_sight_blocks, 1U);
  EXPECT_EQ(world().written().second_sight_bytes, 1000U);
  EXPECT_EQ(world().about().dirty_blocks, 0U);
  EXPECT_EQ(world().keep("k").durability, Durability::written);
  world().kill();
  EXPECT_TRUE(world().has("k"));
}

TEST_F(SecondSight, SeenOnceIsNotKept) {
  world().keep("once");
  ASSERT_TRUE(world().engine().flush().ok());
  EXPECT_EQ(world().cold().stored_blocks(), 0U);
  world().restart();
  EXPECT_FALSE(world().has("once"));
}

TEST_F(SecondSight, ALeaseWritesWhatItDelivers) {
  const auto keys = EngineWorld::chain("c", 5);
  world().keep_chain({keys.begin(), keys.begin() + 3});
  const auto lease = world().acquire(world().ns(), keys);
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(lease->blocks().size(), 3U);
  EXPECT_EQ(world().cold().stored_blocks(), 0U) << "not before the reader has it";
  world().settle();
  EXPECT_EQ(world().written().second_sight_blocks, 3U);
}

TEST_F(SecondSight, ALoadWritesWhatItDelivers) {
  world().keep("a");
  world().keep("b");
  std::vector<std::byte> buffer(1000);
  LoadTarget target{.key = {"a"}, .buffer = buffer};
  ASSERT_TRUE(world().engine().load_sync(world().ns(), {&target, 1}).ok());
  ASSERT_TRUE(target.found);
  world().settle();
  world().kill();
  EXPECT_TRUE(world().has("a"));
  EXPECT_FALSE(world().has("b"));
}

TEST_F(SecondSight, AskingIsNotSeeing) {
  world().keep("k");
  const KeyRef ref{"k"};
  EXPECT_EQ(world().match(world().ns(), {"k"}), 1U);
  EXPECT_EQ(world().engine().touch(world().ns(), {&ref, 1}), 1U);
  world().engine().announce(world().ns(), {&ref, 1}, world().clock().now() + Duration::seconds(1));
  world().settle();
  EXPECT_EQ(world().cold().stored_blocks(), 0U);
}

TEST_F(SecondSight, ANameThatIsTwiceInABatchIsSeenOnce) {
  const std::string payload = make_payload("k", 0, 100);
  const PutBlock block{.key = "k", .payload = as_bytes(payload)};
  const std::vector<PutBlock> twice{block, block};
  world().engine().put_sync(world().ns(), twice);
  world().settle();
  EXPECT_EQ(world().cold().stored_blocks(), 0U);
}

TEST_F(SecondSight, AnExplicitMemoryIsASecondSightAsWell) {
  world().put(world().ns(), "k", 1000, 0, Durability::memory);
  world().put(world().ns(), "k", 1000, 0, Durability::memory);
  world().settle();
  EXPECT_EQ(world().written().second_sight_blocks, 1U);
}

TEST_F(SecondSight, OfAMutableNameTheNewestVersionIsWritten) {
  remake({}, NamespaceKind::mutable_);
  world().keep("k", 1000, 1);
  world().settle();
  EXPECT_EQ(world().cold().stored_blocks(), 0U);
  world().keep("k", 700, 2);
  world().settle();
  EXPECT_EQ(world().cold().stored_blocks(), 1U);
  world().keep("k", 600, 3);
  world().settle();
  world().kill();
  EXPECT_TRUE(world().has("k", 600, 3));
}

TEST_F(SecondSight, WhatIsErasedWhileItWaitsIsNotWritten) {
  world().keep("k");
  world().keep("k");
  ASSERT_TRUE(world().erase(world().ns(), "k"));
  world().settle();
  EXPECT_EQ(world().cold().stored_blocks(), 0U);
  world().kill();
  EXPECT_FALSE(world().has("k"));
}

TEST_F(SecondSight, TheQueueIsBoundedAndWhatIsRefusedHasAnotherChance) {
  EngineWorldOptions options;
  options.engine.second_sight_queue_max = 2;
  remake(options);
  const auto keys = EngineWorld::chain("c", 5);
  world().keep_chain(keys);
  {
    const auto lease = world().acquire(world().ns(), keys);
    ASSERT_TRUE(lease.ok());
  }
  EXPECT_EQ(world().written().refused_queue_full, 3U);
  world().settle();
  EXPECT_EQ(world().written().second_sight_blocks, 2U);
  world().keep_chain(keys);
  world().settle();
  EXPECT_EQ(world().written().second_sight_blocks, 4U);
  EXPECT_EQ(world().written().refused_queue_full, 4U);
}

TEST_F(SecondSight, FlushAndCloseWriteWhatWaits) {
  world().keep("a");
  world().keep("a");
  ASSERT_TRUE(world().engine().flush().ok());
  EXPECT_EQ(world().cold().stored_blocks(), 1U);
  world().power_cut();
  EXPECT_TRUE(world().has("a"));
  world().reopen(WritePolicy::selective);
  world().keep("b");
  EXPECT_TRUE(world().has("b"));
  world().restart();
  EXPECT_TRUE(world().has("b"));
}

/// Behind a write that is under way already: flush does not come before it.
TEST_F(SecondSight, FlushWaitsForWhatIsBeingWritten) {
  world().keep("a");
  world().keep("a");
  world().loop().run_once(Duration{});  // its batch is on its way
  ASSERT_TRUE(world().engine().flush().ok());
  world().power_cut();
  EXPECT_TRUE(world().has("a"));
}

TEST_F(SecondSight, AFailedWriteIsCountedAndTheBlockStays) {
  world().keep("k");
  world().cold().fail_writes(ErrorCode::io, 1);
  world().keep("k");
  world().settle();
  EXPECT_EQ(world().written().refused_failed, 1U);
  EXPECT_EQ(world().about().dirty_blocks, 1U);
  EXPECT_TRUE(world().has("k"));
  world().settle();
  EXPECT_EQ(world().about().dirty_blocks, 0U) << "that was another sight";
}

TEST_F(SecondSight, WhatWasSeenOnceIsDroppedWithoutAWrite) {
  remake({.hot_bytes = 20'000});
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(world().keep("k" + std::to_string(i)).status.ok()) << i;
    world().settle();
  }
  EXPECT_EQ(world().cold().stored_blocks(), 0U);
  EXPECT_TRUE(world().has("k99"));
  EXPECT_FALSE(world().has("k0"));
  EXPECT_EQ(world().written().dropped_blocks, 0U) << "nothing was owed";
}

TEST_F(SecondSight, WhatLeavesWarmWithoutASecondSightIsDropped) {
  remake({.hot_bytes = 20'000, .warm_bytes = 512 * kKiB});
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(world().keep("k" + std::to_string(i)).status.ok()) << i;
    world().settle();
  }
  EXPECT_GT(world().about().warm_blocks, 0U);
  EXPECT_EQ(world().cold().stored_blocks(), 0U);
}

TEST_F(SecondSight, ABlockInWarmIsWrittenFromThere) {
  remake({.hot_bytes = 20'000, .warm_bytes = 512 * kKiB});
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(world().keep("k" + std::to_string(i)).status.ok());
    world().settle();
  }
  const KeyRef first{"k0"};
  ASSERT_EQ(world().engine().match(world().ns(), {&first, 1}).blocks.at(0).tier, TierKind::warm);
  world().keep("k0");
  world().settle();
  EXPECT_EQ(world().cold().stored_blocks(), 1U);
  world().kill();
  EXPECT_TRUE(world().has("k0"));
}

TEST_F(SecondSight, OtherPoliciesDoNotLook) {
  for (const WritePolicy policy : {WritePolicy::through, WritePolicy::back}) {
    PolicyWorld other(policy);
    other.put(other.ns(), "k", 1000, 0, Durability::memory);
    other.put(other.ns(), "k", 1000, 0, Durability::memory);
    EXPECT_TRUE(other.has("k"));
    other.settle();
    EXPECT_EQ(other.cold().stored_blocks(), 0U);
  }
}

}  // namespace
}  // namespace cairn::test
