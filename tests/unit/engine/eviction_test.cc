// SPDX-License-Identifier: Apache-2.0
// Capacity: what leaves a tier, in which order, and what never does.
#include <gtest/gtest.h>

#include "engine/catalog.h"
#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

EngineWorldOptions sized(std::uint64_t hot_bytes, std::uint64_t cold_bytes) {
  EngineWorldOptions options;
  options.hot_bytes = hot_bytes;
  options.cold_bytes = cold_bytes;
  return options;
}

TEST(Eviction, HotNeverPassesItsLimit) {
  EngineWorld world(sized(10'000, 16 * kMiB));
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 100; ++i) {
    const std::string key = "k" + std::to_string(i);
    ASSERT_TRUE(world.put(ns, key, 900).status.ok());
    EXPECT_LE(world.hot().usage().used_bytes, 10'000U);
    EXPECT_EQ(world.tier_of(ns, key), TierKind::hot);
  }
  EXPECT_EQ(world.tier_of(ns, "k0"), TierKind::cold);
  EXPECT_TRUE(world.get(ns, "k0").has_value());
  EXPECT_GT(world.engine().stats().hot.evictions, 80U);
}

TEST(Eviction, ColdNeverPassesItsLimitAndTheOldestGoes) {
  EngineWorld world(sized(4'000, 20'000));
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(world.put(ns, "k" + std::to_string(i), 900).status.ok()) << i;
    EXPECT_LE(world.cold().usage().used_bytes, 20'000U);
  }
  world.settle();
  EXPECT_EQ(world.tier_of(ns, "k0"), TierKind::none);
  EXPECT_NE(world.tier_of(ns, "k99"), TierKind::none);
  const EngineStats stats = world.engine().stats();
  EXPECT_GT(stats.cold.evictions, 70U);
  EXPECT_EQ(stats.counters.evicted_ever, stats.cold.evictions);
  EXPECT_EQ(stats.catalog_blocks, world.cold().stored_blocks());
}

TEST(Eviction, InBatchesDownToTheLowWatermark) {
  EngineWorldOptions options = sized(100'000, 16 * kMiB);
  options.engine.high_watermark = 0.9;
  options.engine.low_watermark = 0.5;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 90; ++i) world.put(ns, "k" + std::to_string(i), 1000);
  world.settle();
  EXPECT_EQ(world.hot().usage().used_bytes, 90'000U);  // between the two nothing is evicted
  world.put(ns, "straw", 1000);
  world.settle();
  EXPECT_LE(world.hot().usage().used_bytes, 50'000U);
  EXPECT_GE(world.hot().usage().used_bytes, 49'000U);
}

TEST(Eviction, TailFirst) {
  EngineWorld world(sized(10'000, 16 * kMiB));
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 10);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 4000).ok());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(world.tier_of(ns, keys[i]), i < 4 ? TierKind::hot : TierKind::cold) << i;
  }
}

TEST(Eviction, AParentsLastCopyOutlivesItsChildren) {
  EngineWorld world(sized(3'000, 20'000));
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 10);
  world.put_chain(ns, keys, 1000);
  for (int i = 0; i < 200; ++i) {
    world.put(ns, "other" + std::to_string(i), 1000);
    // Whatever is left of the chain is a prefix of it.
    std::size_t present = 0;
    for (const std::string& key : keys) present += world.match(ns, {key});
    ASSERT_EQ(present, world.match(ns, keys)) << i;
  }
  EXPECT_EQ(world.engine().stats().orphans, 0U);
}

TEST(Eviction, AMemoryBlockIsDemotedToColdUnderPressure) {
  EngineWorldOptions options = sized(100'000, 16 * kMiB);
  options.engine.high_watermark = 0.5;
  options.engine.low_watermark = 0.3;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 80; ++i) {
    world.put(ns, "k" + std::to_string(i), 1000, 0, Durability::memory);
    world.settle();
  }
  EXPECT_EQ(world.tier_of(ns, "k0"), TierKind::cold);
  EXPECT_EQ(world.get(ns, "k0"), make_payload("k0", 0, 1000));
  EXPECT_EQ(world.engine().stats().catalog_blocks, 80U);
}

TEST(Eviction, AMemoryBlockMayBeDroppedAndIsCounted) {
  EngineWorldOptions options = sized(10'000, 16 * kMiB);
  options.with_cold = false;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(world.put(ns, "k" + std::to_string(i), 1000, 0, Durability::memory).status.ok());
  }
  const EngineStats stats = world.engine().stats();
  EXPECT_EQ(stats.hot.evictions + stats.catalog_blocks, 50U);
  EXPECT_LE(stats.catalog_blocks, 10U);
}

TEST(Eviction, WhenAllIsInUseThePutIsToldBusy) {
  EngineWorldOptions options = sized(4'000, 16 * kMiB);
  options.engine.leasable_fraction = 1.0;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 4);
  world.put_chain(ns, keys, 1000);
  const auto lease = world.acquire(ns, keys);
  ASSERT_TRUE(lease.ok());
  EXPECT_TRUE(has_code(world.put(ns, "m", 1000, 0, Durability::memory).status, ErrorCode::busy));
  // Written needs no hot memory.
  EXPECT_TRUE(world.put(ns, "w", 1000).status.ok());
  EXPECT_EQ(world.tier_of(ns, "w"), TierKind::cold);
}

TEST(Eviction, MetadataBytesBoundTheNumberOfBlocks) {
  EngineWorldOptions options;
  options.engine.metadata_bytes = 20'000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 500; ++i) {
    const std::string key = "key" + std::to_string(i);
    ASSERT_TRUE(world.put(ns, key, 10).status.ok()) << i;
    ASSERT_TRUE(world.get(ns, key).has_value());
  }
  world.settle();
  const EngineStats stats = world.engine().stats();
  EXPECT_LE(stats.catalog_blocks, 20'000U / 128);
  EXPECT_GT(stats.catalog_blocks, 60U);
  EXPECT_EQ(stats.catalog_blocks, world.cold().stored_blocks());
}

TEST(Eviction, UnusedByHandToATarget) {
  EngineWorld world(sized(50'000, 200'000));
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 40; ++i) world.put(ns, "k" + std::to_string(i), 1000);
  const auto freed = world.engine().evict_unused(TierKind::hot, 10'000);
  ASSERT_TRUE(freed.ok());
  EXPECT_EQ(*freed, 30'000U);
  EXPECT_EQ(world.hot().usage().used_bytes, 10'000U);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::cold, 10'000).ok());
  EXPECT_LE(world.cold().usage().used_bytes, 10'000U);
  EXPECT_TRUE(has_code(world.engine().evict_unused(TierKind::warm, 0).status(),
                       ErrorCode::invalid_argument));
}

TEST(Eviction, BlocksThatAWindowHasPassedGoFirst) {
  EngineWorld world(sized(50'000, 200'000));
  const NamespaceId ns = world.open_namespace("n");
  for (const char* key : {"old", "window", "new"}) world.put(ns, key, 1000);
  const KeyRef window{"window"};
  EXPECT_EQ(world.engine().demote_early(ns, {&window, 1}), 1U);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 2000).ok());
  EXPECT_EQ(world.tier_of(ns, "window"), TierKind::cold);
  EXPECT_EQ(world.tier_of(ns, "old"), TierKind::hot);
}

TEST(Eviction, ABlockWhoseEvictionFailedIsStillServed) {
  EngineWorld world(sized(2'000, 200'000));
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 900);
  world.cold().set_degraded(true);  // the index takes no removal
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  world.engine().evict_unused(TierKind::cold, 0).IgnoreError();
  world.settle();
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 900));
}

TEST(Eviction, WhatADemotionCouldNotListIsNotLeftInTheIndex) {
  EngineWorldOptions options = sized(1000, 200'000);
  options.engine.leasable_fraction = 1.0;
  options.engine.metadata_bytes = 20 * Catalog::kBytesPerBlock;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  // A parent that cold has given up and that its child holds in hot; the catalog is full.
  ASSERT_TRUE(world.put(ns, "parent", 900).status.ok());
  absl::StatusOr<Lease> lease = world.acquire(ns, {"parent"});
  ASSERT_TRUE(lease.ok());
  const std::string payload = make_payload("child", 0, 900);
  const PutBlock child{.key = "child", .payload = as_bytes(payload), .parent = "parent"};
  ASSERT_TRUE(world.engine().put_sync(ns, {&child, 1}, {.links = Links::given})[0].status.ok());
  for (int i = 0; i < 18; ++i) {
    ASSERT_TRUE(world.put(ns, "x" + std::to_string(i), 900).status.ok());
  }
  ASSERT_TRUE(world.cold().give_up(world.name(ns, "parent")));
  ASSERT_EQ(world.engine().stats().catalog_blocks, 20U);
  lease->release();
  world.cold().hold();
  // There is no room, so the parent goes down, and who asked waits for that.
  const AcquireOptions soon{.deadline = world.clock().now() + Duration::seconds(1)};
  EXPECT_TRUE(world.acquire(ns, {"x0"}, soon)->blocks().empty());
  world.settle();
  // Leased it cannot be listed in the entry that it has, and there is no other.
  lease = world.acquire(ns, {"parent"});
  ASSERT_TRUE(lease.ok() && lease->blocks().size() == 1);
  world.cold().release();
  world.settle();
  EXPECT_EQ(world.engine().stats().namespaces.at(0).cold_blocks, 19U);
  EXPECT_EQ(world.cold().stored_blocks(), 19U) << "nobody lists it, so nobody can evict it";
  lease->release();
  EXPECT_TRUE(world.get(ns, "parent").has_value());
}

TEST(Eviction, ParentsThatOnlyHotHasGoDownToTheirChildren) {
  EngineWorldOptions options;
  options.hot_bytes = 10'900;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  // Parents that were promised memory alone, each with a child in cold: none may be dropped.
  for (std::uint64_t i = 0; i < 10; ++i) {
    const std::string parent = "p" + std::to_string(i), child = "c" + std::to_string(i);
    ASSERT_TRUE(world.put(ns, parent, 1000, 0, Durability::memory).status.ok());
    const std::string payload = make_payload(child, 0, 900);
    const PutBlock block{.key = child, .payload = as_bytes(payload), .parent = parent};
    ASSERT_TRUE(world.engine().put_sync(ns, {&block, 1}, {.links = Links::given})[0].status.ok());
    ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 1000 * (i + 1)).ok());
  }
  ASSERT_EQ(world.hot().usage().used_bytes, 10'000U);
  absl::Status status;
  for (int attempt = 0; attempt < 3; ++attempt) {
    status = world.put(ns, "x", 1000, 0, Durability::memory).status;
    if (status.ok()) break;
    world.settle();
  }
  EXPECT_TRUE(status.ok()) << status;
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(world.match(ns, {"p" + std::to_string(i), "c" + std::to_string(i)}), 2U) << i;
  }
  EXPECT_EQ(world.engine().stats().orphans, 0U);
}

}  // namespace
}  // namespace cairn::test
