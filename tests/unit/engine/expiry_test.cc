// SPDX-License-Identifier: Apache-2.0
// Expiry: a miss at once, gone in the background, and no clock brings it back.
#include <gtest/gtest.h>

#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

constexpr WallMicros kSecond = 1'000'000;
constexpr WallMicros kYear = 365LL * 24 * 3600 * kSecond;

class ExpiryTest : public ::testing::Test {
 protected:
  PutResult put_for(std::string_view key, WallMicros micros, std::uint64_t version = 0,
                    Durability durability = Durability::written) {
    return world.put(ns, key, 1000, version, durability, world.clock().wall() + micros);
  }
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
};

TEST_F(ExpiryTest, IsAMissAtOnce) {
  ASSERT_TRUE(put_for("k", 10 * kSecond).status.ok());
  world.clock().jump_wall(10 * kSecond - 1);
  EXPECT_EQ(world.match(ns, {"k"}), 1U);
  EXPECT_TRUE(world.get(ns, "k").has_value());
  world.clock().jump_wall(1);
  EXPECT_EQ(world.match(ns, {"k"}), 0U);
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST_F(ExpiryTest, IsRemovedInTheBackground) {
  ASSERT_TRUE(put_for("k", 5 * kSecond).status.ok());
  ASSERT_TRUE(put_for("m", 5 * kSecond, 0, Durability::memory).status.ok());
  ASSERT_TRUE(put_for("stays", 50 * kSecond).status.ok());
  world.advance(Duration::seconds(7));
  EXPECT_EQ(world.engine().stats().catalog_blocks, 1U);
  EXPECT_EQ(world.cold().stored_blocks(), 1U);
  EXPECT_EQ(world.hot().usage().used_bytes, 1000U);
  EXPECT_EQ(world.engine().stats().counters.expired_ever, 1U);
}

TEST_F(ExpiryTest, AClockThatJumpsBackResurrectsNothing) {
  ASSERT_TRUE(put_for("k", 10 * kSecond).status.ok());
  world.clock().jump_wall(kYear);
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  world.clock().jump_wall(-2 * kYear);
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  EXPECT_EQ(world.match(ns, {"k"}), 0U);
  world.settle();
  world.kill();
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  EXPECT_TRUE(put_for("k", 10 * kSecond, 1).status.ok());
  EXPECT_TRUE(world.get(ns, "k").has_value());
}

TEST_F(ExpiryTest, AReplacementCarriesItsOwn) {
  ASSERT_TRUE(put_for("k", 5 * kSecond, 1).status.ok());
  ASSERT_EQ(put_for("k", 500 * kSecond, 2).outcome, PutOutcome::replaced);
  ASSERT_TRUE(put_for("forever", 5 * kSecond, 1).status.ok());
  ASSERT_TRUE(world.put(ns, "forever", 1000, 2).status.ok());
  world.advance(Duration::seconds(60));
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 2, 1000));
  EXPECT_EQ(world.get(ns, "forever"), make_payload("forever", 2, 1000));
  world.advance(Duration::seconds(500));
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST_F(ExpiryTest, IsKnownAfterARestart) {
  ASSERT_TRUE(put_for("soon", 5 * kSecond).status.ok());
  ASSERT_TRUE(put_for("later", 60 * kSecond).status.ok());
  world.clock().jump_wall(10 * kSecond);
  world.kill();
  EXPECT_EQ(world.match(ns, {"soon"}), 0U);
  EXPECT_EQ(world.cold().stored_blocks(), 1U);
  EXPECT_TRUE(world.get(ns, "later").has_value());
  world.advance(Duration::seconds(70));
  EXPECT_EQ(world.cold().stored_blocks(), 0U);
}

TEST_F(ExpiryTest, OfManyBlocksAtOnce) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(put_for("k" + std::to_string(i), (i % 10 + 1) * kSecond).status.ok());
  }
  for (int second = 1; second <= 12; ++second) {
    world.advance(Duration::seconds(1));
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(world.match(ns, {"k" + std::to_string(i)}), i % 10 + 1 > second ? 1U : 0U);
    }
  }
  EXPECT_EQ(world.engine().stats().catalog_blocks, 0U);
}

TEST_F(ExpiryTest, IsTriedAgainWhenTheRemovalFails) {
  ASSERT_TRUE(put_for("k", 5 * kSecond).status.ok());
  world.cold().fail_removals(ErrorCode::io, 2);
  world.advance(Duration::seconds(6));
  EXPECT_EQ(world.cold().stored_blocks(), 1U) << "the removals did not fail";
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  world.advance(Duration::seconds(3));
  EXPECT_EQ(world.cold().stored_blocks(), 0U);
  EXPECT_EQ(world.engine().stats().catalog_blocks, 0U);
}

TEST_F(ExpiryTest, VersionsThatWereReplacedAreForgotten) {
  const std::uint64_t empty = world.engine().stats().catalog_bytes;
  for (std::uint64_t version = 0; version < 20'000; ++version) {
    ASSERT_TRUE(put_for("k", kYear + static_cast<WallMicros>(version), version, Durability::memory)
                    .status.ok());
    if (version % 1000 == 0) world.advance(Duration::seconds(2));
  }
  world.advance(Duration::seconds(2));
  EXPECT_LT(world.engine().stats().catalog_bytes, empty + 300'000);
  // The last of them still holds.
  world.clock().jump_wall(2 * kYear);
  world.advance(Duration::seconds(3));
  EXPECT_EQ(world.engine().stats().catalog_blocks, 0U);
}

TEST_F(ExpiryTest, ManyAtOnceAreGoneSoon) {
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(world
                    .put(ns, std::to_string(i), 10, 0, Durability::memory,
                         world.clock().wall() + 5 * kSecond)
                    .status.ok());
  }
  world.advance(Duration::millis(6200));
  EXPECT_EQ(world.engine().stats().catalog_blocks, 0U);
}

}  // namespace
}  // namespace cairn::test
