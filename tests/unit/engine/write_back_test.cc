// SPDX-License-Identifier: Apache-2.0
// Dirty blocks when room is wanted: they go to cold, and are the last that is dropped.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/catalog.h"
#include "tests/support/policy_world.h"

namespace cairn::test {
namespace {

constexpr WritePolicy kBack = WritePolicy::back;

std::string key_of(int i) {
  return "k" + std::to_string(i);
}

/// Nothing is demoted in the background: every want of room is felt.
EngineWorldOptions without_background(std::uint64_t hot_bytes) {
  EngineWorldOptions options{.hot_bytes = hot_bytes};
  options.engine.high_watermark = options.engine.low_watermark = 1.0;
  return options;
}

TEST(WriteBack, DemotionWritesWhatIsDirty) {
  PolicyWorld world(kBack, {.hot_bytes = 50'000});
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(world.keep(key_of(i)).status.ok()) << i;
    world.settle();
  }
  EXPECT_EQ(world.written().dropped_blocks, 0U);
  EXPECT_GE(world.written().written_back_blocks, 250U);
  EXPECT_LE(world.about().dirty_blocks, 50U);
  for (int i = 0; i < 300; ++i) EXPECT_TRUE(world.has(key_of(i))) << i;
  world.kill();
  EXPECT_TRUE(world.has(key_of(0)));
}

TEST(WriteBack, DemotionGoesThroughWarm) {
  PolicyWorld world(kBack, {.hot_bytes = 50'000, .warm_bytes = 512 * kKiB});
  for (int i = 0; i < 1500; ++i) {
    ASSERT_TRUE(world.keep(key_of(i)).status.ok()) << i;
    world.settle();
  }
  const EngineStats stats = world.engine().stats();
  EXPECT_GT(stats.moves[static_cast<std::size_t>(MoveKind::hot_to_warm)].blocks, 0U);
  EXPECT_GT(stats.moves[static_cast<std::size_t>(MoveKind::warm_to_cold)].blocks, 0U);
  EXPECT_EQ(stats.write_back.dropped_blocks, 0U);
  for (int i = 0; i < 1500; i += 7) EXPECT_TRUE(world.has(key_of(i))) << i;
  ASSERT_TRUE(world.engine().flush().ok());
  world.power_cut();
  for (int i = 0; i < 1500; i += 7) EXPECT_TRUE(world.has(key_of(i))) << i;
}

TEST(WriteBack, AllElseGoesBeforeADirtyBlock) {
  PolicyWorld world(kBack, without_background(100'000));
  const NamespaceId other = world.open_namespace("other");
  // The dirty ones are the oldest.
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(world.keep(key_of(i)).status.ok());
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(world.put(other, key_of(i), 1000, 0, Durability::memory).status.ok());
  }
  for (int i = 100; i < 130; ++i) ASSERT_TRUE(world.keep(key_of(i)).status.ok());
  EXPECT_EQ(world.written().dropped_blocks, 0U);
  EXPECT_EQ(world.about().dirty_blocks, 90U);
  EXPECT_LT(world.about("other").blocks, 30U);
  EXPECT_TRUE(world.has(key_of(0)));
}

TEST(WriteBack, ADirtyBlockIsDroppedLastAndCounted) {
  PolicyWorld world(kBack, without_background(50'000));
  for (int i = 0; i < 80; ++i) ASSERT_TRUE(world.keep(key_of(i)).status.ok()) << i;
  EXPECT_GE(world.written().dropped_blocks, 30U);
  EXPECT_GE(world.written().dropped_bytes, 30'000U);
  EXPECT_TRUE(world.has(key_of(79)));
  EXPECT_FALSE(world.has(key_of(0)));
}

TEST(WriteBack, WhatIsWrittenAnywayTakesNoDirtyBlocksPlace) {
  PolicyWorld world(kBack, without_background(50'000));
  for (int i = 0; i < 45; ++i) ASSERT_TRUE(world.keep(key_of(i)).status.ok());
  for (int i = 100; i < 150; ++i) {
    ASSERT_TRUE(world.put(world.ns(), key_of(i), 1000).status.ok()) << i;
  }
  EXPECT_EQ(world.written().dropped_blocks, 0U);
  for (int i = 0; i < 45; ++i) EXPECT_TRUE(world.has(key_of(i))) << i;
}

TEST(WriteBack, AtALimitOfItsOwnTheWrittenGoBeforeTheDirty) {
  PolicyWorld world(kBack, without_background(kMiB));
  ASSERT_TRUE(world.engine().set_limits(world.ns(), {.hot_bytes = 20'000}).ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(world.keep(key_of(i)).status.ok());
  for (int i = 10; i < 20; ++i) ASSERT_TRUE(world.put(world.ns(), key_of(i), 1000).status.ok());
  for (int i = 20; i < 30; ++i) ASSERT_TRUE(world.keep(key_of(i)).status.ok());
  EXPECT_EQ(world.written().dropped_blocks, 0U);
  EXPECT_EQ(world.about().dirty_blocks, 20U);
}

TEST(WriteBack, EmptyingATierWritesFirst) {
  PolicyWorld world(kBack, {.warm_bytes = 512 * kKiB});
  for (int i = 0; i < 20; ++i) world.keep(key_of(i));
  for (const TierKind tier : {TierKind::hot, TierKind::warm}) {
    ASSERT_TRUE(world.engine().evict_unused(tier, 0).ok());
  }
  EXPECT_EQ(world.about().hot_blocks, 0U);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(world.has(key_of(i)));
  EXPECT_EQ(world.written().dropped_blocks, 0U);
}

TEST(WriteBack, AFullColdMakesRoomForWhatIsDemoted) {
  PolicyWorld world(kBack, {.hot_bytes = 50'000, .cold_bytes = 100'000});
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(world.keep(key_of(i)).status.ok()) << i;
    world.advance(Duration::millis(200));
  }
  EXPECT_EQ(world.written().dropped_blocks, 0U);
  EXPECT_GT(world.engine().stats().cold.evictions, 0U);
  EXPECT_TRUE(world.has(key_of(299)));
}

TEST(WriteBack, FlushIntoAColdThatIsFullOfPinsSaysSo) {
  PolicyWorld world(kBack, {.cold_bytes = 20'000});
  const NamespaceId other = world.open_namespace("other");
  std::vector<std::string> keys;
  for (int i = 0; i < 8; ++i) keys.push_back(key_of(i));
  for (const std::string& key : keys) {
    ASSERT_TRUE(world.put(other, key, 1000).status.ok());
    const KeyRef ref{key};
    ASSERT_TRUE(world.engine().pin(other, {&ref, 1}, {}).ok());
  }
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(world.keep("d" + std::to_string(i), 2000).status.ok());
  // A namespace's own limit is in the way as well.
  ASSERT_TRUE(world.engine().set_limits(world.ns(), {.cold_bytes = 1000}).ok());
  const absl::Status flushed = world.engine().flush();
  EXPECT_FALSE(flushed.ok());
  EXPECT_EQ(world.about().dirty_blocks, 30U);
  EXPECT_EQ(world.written().refused_no_room + world.written().refused_failed, 30U);
  ASSERT_TRUE(world.engine().set_limits(world.ns(), {}).ok());
  world.engine().flush().IgnoreError();
  EXPECT_LT(world.about().dirty_blocks, 30U);
  for (const std::string& key : keys) EXPECT_EQ(world.match(other, {key}), 1U);
}

TEST(WriteBack, ANamespacesLimitOfColdHoldsForWhatIsWrittenBack) {
  PolicyWorld world(kBack);
  ASSERT_TRUE(world.engine().set_limits(world.ns(), {.cold_bytes = 5000}).ok());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(world.keep(key_of(i)).status.ok());
  ASSERT_TRUE(world.engine().flush().ok());
  EXPECT_LE(world.about().cold_bytes, 5000U);
  EXPECT_GE(world.about().cold_blocks, 3U);
  EXPECT_EQ(world.about().dirty_blocks, 0U) << "what cold has evicted is owed nothing";
}

TEST(WriteBack, ADegradedColdLosesNothingWhileThereIsRoom) {
  PolicyWorld world(kBack, {.hot_bytes = 100'000});
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(world.keep(key_of(i)).status.ok());
  world.cold().set_degraded(true);
  EXPECT_TRUE(has_code(world.engine().flush(), ErrorCode::degraded));
  EXPECT_EQ(world.about().dirty_blocks, 50U);
  // Above the high mark nothing owed is dropped by the background.
  for (int i = 50; i < 99; ++i) ASSERT_TRUE(world.keep(key_of(i)).status.ok());
  world.advance(Duration::seconds(1));
  EXPECT_EQ(world.written().dropped_blocks, 0U);
  EXPECT_TRUE(has_code(world.put(world.ns(), "w", 1000).status, ErrorCode::degraded));
  world.cold().set_degraded(false);
  ASSERT_TRUE(world.engine().flush().ok());
  world.kill();
  for (int i = 0; i < 99; ++i) EXPECT_TRUE(world.has(key_of(i))) << i;
}

TEST(WriteBack, ADemotionThatFailsKeepsTheBlock) {
  PolicyWorld world(kBack, {.hot_bytes = 50'000});
  for (int i = 0; i < 48; ++i) ASSERT_TRUE(world.keep(key_of(i)).status.ok());
  world.cold().fail_writes(ErrorCode::io, 3);
  ASSERT_TRUE(world.keep(key_of(48)).status.ok());
  world.settle();
  EXPECT_GT(world.written().refused_failed, 0U);
  EXPECT_EQ(world.written().dropped_blocks, 0U);
  world.advance(Duration::seconds(2));
  for (int i = 0; i < 49; ++i) EXPECT_TRUE(world.has(key_of(i))) << i;
}

TEST(WriteBack, CatalogRoomTakesDirtyBlocksLast) {
  EngineWorldOptions options = without_background(kMiB);
  options.engine.metadata_bytes = 40 * Catalog::kBytesPerBlock;
  PolicyWorld world(kBack, options);
  const NamespaceId other = world.open_namespace("other");
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(world.keep(key_of(i), 100).status.ok());
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(world.put(other, key_of(i), 100, 0, Durability::memory).status.ok());
  }
  EXPECT_EQ(world.written().dropped_blocks, 0U);
  EXPECT_EQ(world.about().dirty_blocks, 20U);
}

}  // namespace
}  // namespace cairn::test
