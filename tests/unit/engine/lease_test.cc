// SPDX-License-Identifier: Apache-2.0
// Leases: what they hold is there until they end, and they end.
#include <gtest/gtest.h>

#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

TEST(Lease, ABlockInUseIsNeverEvicted) {
  EngineWorldOptions options;
  options.hot_bytes = 4000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "held", 1000);
  const auto lease = world.acquire(ns, {"held"});
  ASSERT_TRUE(lease.ok());
  for (int i = 0; i < 50; ++i) world.put(ns, "k" + std::to_string(i), 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(world.hot().usage().used_bytes, 1000U);
  EXPECT_TRUE(is_payload("held", 0, lease->blocks()[0].bytes));
}

TEST(Lease, AcquisitionsAccumulateAndTheLastReleaseMakesFreeable) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  auto first = world.acquire(ns, {"k"});
  auto second = world.acquire(ns, {"k"});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(world.engine().stats().leases_open, 2U);
  first->release();
  first->release();  // twice is once
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(world.hot().usage().used_bytes, 1000U);
  second->release();
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(world.hot().usage().used_bytes, 0U);
  EXPECT_EQ(world.engine().stats().leases_open, 0U);
}

TEST(Lease, HasOneOwnerAndMoves) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  auto acquired = world.acquire(ns, {"k"});
  ASSERT_TRUE(acquired.ok());
  Lease mine = *std::move(acquired);
  Lease other = std::move(mine);
  EXPECT_TRUE(mine.blocks().empty());  // NOLINT(bugprone-use-after-move): what is left is said
  EXPECT_EQ(other.blocks().size(), 1U);
  other = Lease();
  EXPECT_EQ(world.engine().stats().leases_open, 0U);
}

TEST(Lease, EndsWithItsHoldLimit) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  auto lease = world.acquire(ns, {"k"});
  ASSERT_TRUE(lease.ok());
  world.advance(Duration::seconds(29));
  EXPECT_EQ(lease->blocks().size(), 1U);
  world.advance(Duration::seconds(1));
  EXPECT_TRUE(lease->blocks().empty());
  EXPECT_TRUE(has_code(lease->renew(), ErrorCode::deadline));
  EXPECT_EQ(world.engine().stats().leases_overstayed, 1U);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(world.hot().usage().used_bytes, 0U);
  lease->release();
}

TEST(Lease, IsRenewable) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  auto lease = world.acquire(ns, {"k"}, {.hold_limit = Duration::seconds(2)});
  ASSERT_TRUE(lease.ok());
  for (int i = 0; i < 5; ++i) {
    world.advance(Duration::millis(1500));
    ASSERT_TRUE(lease->renew().ok());
  }
  EXPECT_EQ(lease->blocks().size(), 1U);
  world.advance(Duration::seconds(2));
  EXPECT_TRUE(lease->blocks().empty());
}

TEST(Lease, KeepsAnErasedBlockReadableForItsHolderAlone) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  auto lease = world.acquire(ns, {"k"});
  ASSERT_TRUE(lease.ok());
  ASSERT_TRUE(world.erase(ns, "k"));
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  EXPECT_TRUE(is_payload("k", 0, lease->blocks()[0].bytes));
  EXPECT_EQ(world.hot().usage().used_bytes, 1000U);
  lease->release();
  EXPECT_EQ(world.hot().usage().used_bytes, 0U);
}

TEST(Lease, KeepsAnOverwrittenVersionReadableForItsHolderAlone) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  world.put(ns, "k", 1000, 1);
  auto lease = world.acquire(ns, {"k"});
  ASSERT_TRUE(lease.ok());
  ASSERT_TRUE(world.put(ns, "k", 800, 2).status.ok());
  EXPECT_TRUE(is_payload("k", 1, lease->blocks()[0].bytes));
  EXPECT_EQ(lease->blocks()[0].bytes.size(), 1000U);
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 2, 800));
  lease->release();
  EXPECT_EQ(world.hot().usage().used_bytes, 800U);
}

TEST(Lease, MayOutliveClose) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  auto lease = world.acquire(ns, {"k"});
  ASSERT_TRUE(lease.ok());
  ASSERT_TRUE(world.engine().close().ok());
  EXPECT_TRUE(is_payload("k", 0, lease->blocks()[0].bytes));
  lease->release();
}

TEST(Lease, OfNothingIsEmptyAndFine) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  auto lease = world.acquire(ns, {"absent"});
  ASSERT_TRUE(lease.ok());
  EXPECT_TRUE(lease->blocks().empty());
  EXPECT_TRUE(lease->renew().ok());
  auto none = world.acquire(ns, {});
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->blocks().empty());
}

}  // namespace
}  // namespace cairn::test
