// SPDX-License-Identifier: Apache-2.0
// What the engine counts, and that it counts it right.
#include <gtest/gtest.h>

#include "engine/engine_stats.h"
#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

TEST(Stats, CountLookupsHitsAndTokensByRequestAndByBlock) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");  // 16 tokens a block
  const std::vector<std::string> keys = EngineWorld::chain("c", 10);
  world.put_chain(ns, {keys.begin(), keys.begin() + 6}, 1000);
  ASSERT_TRUE(world.acquire(ns, keys).ok());
  ASSERT_TRUE(world.acquire(ns, {"absent"}).ok());
  const EngineStats stats = world.engine().stats();
  EXPECT_EQ(stats.acquires, 2U);
  EXPECT_EQ(stats.blocks_asked, 11U);
  EXPECT_EQ(stats.blocks_served, 6U);
  EXPECT_EQ(stats.bytes_served, 6000U);
  EXPECT_EQ(stats.tokens_asked, 11U * 16);
  EXPECT_EQ(stats.tokens_served, 6U * 16);
  EXPECT_EQ(stats.hot.hits, 6U);
  EXPECT_EQ(stats.puts, 1U);
  EXPECT_EQ(stats.blocks_put, 6U);
  EXPECT_EQ(stats.bytes_put, 6000U);
  EXPECT_EQ(stats.last_1000.requests, 2U);
  EXPECT_EQ(stats.last_1000.blocks_asked, 11U);
  EXPECT_EQ(stats.last_1000.blocks_served, 6U);
  EXPECT_EQ(stats.hit_latency.count, 1U);
  EXPECT_EQ(stats.miss_latency.count, 1U);
  EXPECT_EQ(stats.put_latency.count, 1U);
}

TEST(Stats, TheWindowHoldsTheLastThousandRequests) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 10);
  for (int i = 0; i < 700; ++i) ASSERT_TRUE(world.acquire(ns, {"absent"}).ok());
  for (int i = 0; i < 900; ++i) ASSERT_TRUE(world.acquire(ns, {"k"}).ok());
  const WindowStats window = world.engine().stats().last_1000;
  EXPECT_EQ(window.requests, 1000U);
  EXPECT_EQ(window.blocks_served, 900U);
  EXPECT_EQ(window.bytes_served, 9000U);
}

TEST(Stats, UsageByTierAndNamespace) {
  EngineWorld world;
  const NamespaceId one = world.open_namespace("one"), two = world.open_namespace("two");
  world.put_chain(one, EngineWorld::chain("c", 3), 1000);
  world.put_chain(two, EngineWorld::chain("c", 2), 500);
  ASSERT_TRUE(world.get(two, "c/0").has_value());
  ASSERT_FALSE(world.get(one, "absent").has_value());
  const EngineStats stats = world.engine().stats();
  EXPECT_EQ(stats.hot.usage.used_bytes, 4000U);
  EXPECT_EQ(stats.hot.usage.capacity_bytes, kMiB);
  EXPECT_EQ(stats.cold.usage.blocks, 5U);
  ASSERT_EQ(stats.namespaces.size(), 2U);
  EXPECT_EQ(stats.namespaces[0].name, "one");
  EXPECT_EQ(stats.namespaces[0].blocks, 3U);
  EXPECT_EQ(stats.namespaces[0].bytes, 3000U);
  EXPECT_EQ(stats.namespaces[0].lookups, 1U);
  EXPECT_EQ(stats.namespaces[0].hits, 0U);
  EXPECT_EQ(stats.namespaces[1].blocks, 2U);
  EXPECT_EQ(stats.namespaces[1].hits, 1U);
}

TEST(Stats, AreResetButUsageIsNot) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  ASSERT_TRUE(world.get(ns, "k").has_value());
  world.engine().reset_stats();
  const EngineStats stats = world.engine().stats();
  EXPECT_EQ(stats.puts + stats.acquires + stats.blocks_served + stats.hot.hits, 0U);
  EXPECT_EQ(stats.last_1000.requests, 0U);
  EXPECT_EQ(stats.hit_latency.count, 0U);
  EXPECT_EQ(stats.catalog_blocks, 1U);
  EXPECT_EQ(stats.hot.usage.used_bytes, 1000U);
}

TEST(Stats, LatenciesAreQuantilesOfWhatWasMeasured) {
  detail::LatencyHistogram histogram;
  EXPECT_EQ(histogram.summary().count, 0U);
  for (int i = 1; i <= 1000; ++i) histogram.record(Duration::micros(i));
  const LatencySummary summary = histogram.summary();
  EXPECT_EQ(summary.count, 1000U);
  EXPECT_NEAR(summary.mean_s, 500.5e-6, 1e-9);
  EXPECT_NEAR(summary.p50_s, 500e-6, 50e-6);
  EXPECT_NEAR(summary.p95_s, 950e-6, 90e-6);
  EXPECT_NEAR(summary.p99_s, 990e-6, 90e-6);
  histogram.record(Duration::nanos(-5));  // a clock that went back
  histogram.record({std::numeric_limits<std::int64_t>::max()});
  EXPECT_EQ(histogram.summary().count, 1002U);
}

TEST(Stats, MetadataIsCounted) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::uint64_t before = world.engine().stats().catalog_bytes;
  world.put(ns, std::string(1024, 'k'), 10);
  EXPECT_GE(world.engine().stats().catalog_bytes, before + 1024);
}

}  // namespace
}  // namespace cairn::test
