// SPDX-License-Identifier: Apache-2.0
// load: blocks into the caller's memory, in order, also more than hot holds.
#include <gtest/gtest.h>

#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

/// Targets with buffers of their own.
class Targets {
 public:
  Targets(const std::vector<std::string>& keys, std::size_t bytes) : keys_(keys) {
    for (const std::string& key : keys_) {
      buffers_.push_back(std::make_unique<std::byte[]>(bytes));
      targets_.push_back({.key = {key}, .buffer = {buffers_.back().get(), bytes}});
    }
  }
  std::span<LoadTarget> all() { return targets_; }
  const LoadTarget& operator[](std::size_t i) const { return targets_[i]; }
  std::size_t found() const {
    std::size_t count = 0;
    for (const LoadTarget& target : targets_) count += target.found ? 1U : 0U;
    return count;
  }
  bool is_right(std::size_t i) const {
    return is_payload(keys_[i], 0, ByteSpan(targets_[i].buffer).first(targets_[i].bytes));
  }

 private:
  std::vector<std::string> keys_;
  std::vector<std::unique_ptr<std::byte[]>> buffers_;
  std::vector<LoadTarget> targets_;
};

TEST(Load, CopiesTheRunAndStopsAtTheFirstMiss) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 6);
  world.put_chain(ns, {keys.begin(), keys.begin() + 4}, 1000);
  Targets targets(keys, 1500);
  ASSERT_TRUE(world.engine().load_sync(ns, targets.all()).ok());
  EXPECT_EQ(targets.found(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(targets[i].bytes, 1000U);
    EXPECT_EQ(targets[i].served_from, TierKind::hot);
    EXPECT_TRUE(targets.is_right(i));
  }
}

TEST(Load, AChainLongerThanHotStreamsWithoutEvictingAnything) {
  EngineWorldOptions options;
  options.hot_bytes = 20'000;
  options.engine.high_watermark = 0.9;
  options.engine.low_watermark = 0.5;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 100);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  world.put(ns, "resident", 9500);
  const std::uint64_t evictions = world.engine().stats().hot.evictions;
  for (const Deadline deadline : {TimePoint::never(), world.clock().now() + Duration::seconds(9)}) {
    Targets targets(keys, 1000);
    ASSERT_TRUE(world.engine().load_sync(ns, targets.all(), {.deadline = deadline}).ok());
    EXPECT_EQ(targets.found(), 100U);
    for (std::size_t i = 0; i < keys.size(); ++i) ASSERT_TRUE(targets.is_right(i)) << i;
  }
  EXPECT_EQ(world.engine().stats().hot.evictions, evictions);
  EXPECT_EQ(world.engine().stats().cold.hits, 200U);
}

TEST(Load, PromotesWhileHotHasRoom) {
  EngineWorldOptions options;
  options.hot_bytes = 20'000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 5);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  for (const TierKind expected : {TierKind::cold, TierKind::hot}) {
    Targets targets(keys, 1000);
    ASSERT_TRUE(world.engine().load_sync(ns, targets.all()).ok());
    EXPECT_EQ(targets.found(), 5U);
    EXPECT_EQ(targets[4].served_from, expected);
    EXPECT_TRUE(targets.is_right(4));
  }
}

TEST(Load, WhatIsBehindAMissIsNotFoundThoughItWasRead) {
  EngineWorldOptions options;
  options.hot_bytes = 1000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 20);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.cold().corrupt(world.name(ns, keys[7])));
  Targets targets(keys, 1000);
  ASSERT_TRUE(world.engine().load_sync(ns, targets.all()).ok());
  EXPECT_EQ(targets.found(), 7U);
  EXPECT_FALSE(targets[8].found);
  EXPECT_TRUE(has_code(targets[7].status, ErrorCode::corruption)) << targets[7].status;
  EXPECT_EQ(world.engine().stats().corrupt_blocks, 1U);
}

TEST(Load, EachAsksForSingleBlocks) {
  EngineWorldOptions options;
  options.hot_bytes = 3000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 30);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.erase(ns, keys[3]));
  Targets targets(keys, 1000);
  ASSERT_TRUE(world.engine().load_sync(ns, targets.all(), {.read = Read::each}).ok());
  EXPECT_EQ(targets.found(), 29U);
  EXPECT_FALSE(targets[3].found);
  for (std::size_t i = 4; i < keys.size(); ++i) EXPECT_TRUE(targets.is_right(i));
}

TEST(Load, ABufferThatIsTooSmallIsSaid) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  Targets targets({"k"}, 999);
  ASSERT_TRUE(world.engine().load_sync(ns, targets.all()).ok());
  EXPECT_EQ(targets.found(), 0U);
  EXPECT_TRUE(has_code(targets[0].status, ErrorCode::invalid_argument));
}

TEST(Load, AHungDiskNeverMakesItLaterThanItsDeadlineNorWritesAfterwards) {
  EngineWorldOptions options;
  options.hot_bytes = 1500;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 4);
  world.put_chain(ns, keys, 1000);
  auto targets = std::make_unique<Targets>(keys, 1000);
  world.cold().hold();
  bool done = false;
  world.engine().load(ns, targets->all(), {.deadline = world.clock().now() + Duration::millis(100)},
                      [&](const absl::Status& status) { done = status.ok(); });
  world.advance(Duration::millis(99));
  EXPECT_FALSE(done);
  world.advance(Duration::millis(1));
  ASSERT_TRUE(done);
  EXPECT_LE(targets->found(), 1U);
  targets.reset();  // AddressSanitizer sees what is written from here on
  world.cold().release();
  world.settle();
}

TEST(Load, BlocksBeingFetchedAlreadyAreJoined) {
  EngineWorldOptions options;
  options.hot_bytes = 20'000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  world.cold().hold();
  const KeyRef key{"k"};
  EXPECT_EQ(world.engine().announce(ns, {&key, 1}, world.clock().now() + Duration::seconds(1)), 1U);
  Targets targets({"k"}, 1000);
  bool done = false;
  world.engine().load(ns, targets.all(), {}, [&](const absl::Status&) { done = true; });
  world.settle();
  EXPECT_EQ(world.cold().held(), 1U);
  world.cold().release();
  world.settle();
  ASSERT_TRUE(done);
  EXPECT_TRUE(targets[0].found && targets.is_right(0));
}

TEST(Load, ManyTogetherHoldNoMoreThanTheLimitInFlight) {
  EngineWorldOptions options;
  options.engine.load_bytes_in_flight_max = 8'000;
  options.hot_bytes = 64 * kKiB;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 8);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  // No room in hot: each is read for itself.
  for (int i = 0; i < 62; ++i) {
    world.put(ns, "h" + std::to_string(i), 1000, 0, Durability::memory);
  }
  world.cold().hold();
  std::vector<Targets> loads;
  for (int i = 0; i < 100; ++i) loads.emplace_back(keys, 1000);
  int over = 0;
  for (std::size_t i = 0; i < loads.size(); ++i) {
    // Some go before it is their turn.
    const Duration patience = i % 10 == 5 ? Duration::millis(1) : Duration::seconds(5);
    world.engine().load(ns, loads[i].all(), {.deadline = world.clock().now() + patience},
                        [&](const absl::Status&) { ++over; });
  }
  world.settle();
  EXPECT_EQ(world.cold().held(), 1U);
  world.advance(Duration::millis(2));
  EXPECT_EQ(over, 10);
  world.cold().release();
  world.settle();
  EXPECT_EQ(over, 100);
  std::size_t found = 0;
  for (const Targets& load : loads) found += load.found();
  EXPECT_EQ(found, 90U * 8);
}

}  // namespace
}  // namespace cairn::test
