// SPDX-License-Identifier: Apache-2.0
// pin and unpin: exempt from eviction until unpinned, within a limit.
#include <gtest/gtest.h>

#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

absl::Status pin(EngineWorld& world, NamespaceId ns, std::string_view key,
                 Durability durability = Durability::memory) {
  const KeyRef ref{key};
  return world.engine().pin(ns, {&ref, 1}, {.durability = durability, .owner = {}});
}
absl::Status unpin(EngineWorld& world, NamespaceId ns, std::string_view key) {
  const KeyRef ref{key};
  return world.engine().unpin(ns, {&ref, 1});
}
void flood(EngineWorld& world, NamespaceId ns) {
  for (int i = 0; i < 60; ++i) world.put(ns, "flood" + std::to_string(i), 900);
  world.settle();
}

EngineWorldOptions tight() {
  EngineWorldOptions options;
  options.hot_bytes = 10'000;
  options.cold_bytes = 20'000;
  return options;
}

TEST(Pin, ExemptsFromEvictionUntilUnpinned) {
  EngineWorld world(tight());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 900);
  ASSERT_TRUE(pin(world, ns, "k").ok());
  EXPECT_EQ(world.engine().stats().blocks_pinned, 1U);
  flood(world, ns);
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 900));
  ASSERT_TRUE(unpin(world, ns, "k").ok());
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
  flood(world, ns);
  for (int i = 60; i < 120; ++i) world.put(ns, "flood" + std::to_string(i), 900);
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST(Pin, DurableSurvivesARestart) {
  EngineWorld world(tight());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "durable", 900);
  world.put(ns, "plain", 900);
  ASSERT_TRUE(pin(world, ns, "durable", Durability::durable).ok());
  ASSERT_TRUE(pin(world, ns, "plain").ok());
  world.power_cut();
  EXPECT_EQ(world.engine().stats().blocks_pinned, 1U);
  flood(world, ns);
  EXPECT_TRUE(world.get(ns, "durable").has_value());
  EXPECT_EQ(world.get(ns, "plain"), std::nullopt);
  ASSERT_TRUE(unpin(world, ns, "durable").ok());
  world.kill();
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
}

TEST(Pin, IsAMarkNotACount) {
  EngineWorld world(tight());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 900);
  ASSERT_TRUE(pin(world, ns, "k").ok());
  ASSERT_TRUE(pin(world, ns, "k").ok());
  ASSERT_TRUE(unpin(world, ns, "k").ok());
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
  EXPECT_TRUE(unpin(world, ns, "k").ok());
}

TEST(Pin, HoldsUntilEveryOwnerHasUnpinned) {
  EngineWorld world(tight());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 900);
  const KeyRef key{"k"};
  Engine& engine = world.engine();
  ASSERT_TRUE(engine.pin(ns, {&key, 1}, {.owner = "a"}).ok());
  ASSERT_TRUE(engine.pin(ns, {&key, 1}, {.durability = Durability::durable, .owner = "b"}).ok());
  EXPECT_EQ(engine.stats().pins.size(), 2U);
  EXPECT_EQ(engine.stats().pins.at(0).bytes, 900U);
  ASSERT_TRUE(engine.unpin(ns, {&key, 1}, "stranger").ok());
  ASSERT_TRUE(engine.unpin(ns, {&key, 1}, "a").ok());
  EXPECT_EQ(engine.stats().blocks_pinned, 1U);
  world.kill();
  EXPECT_EQ(world.engine().stats().blocks_pinned, 1U) << "b's pin is durable";
  ASSERT_TRUE(world.engine().unpin(ns, {&key, 1}).ok());
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
  world.kill();
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
}

TEST(Pin, ADurableMarkGoesWithItsOwner) {
  EngineWorld world(tight());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 900);
  const KeyRef key{"k"};
  ASSERT_TRUE(world.engine().pin(ns, {&key, 1}, {.owner = "a"}).ok());
  ASSERT_TRUE(
      world.engine().pin(ns, {&key, 1}, {.durability = Durability::durable, .owner = "b"}).ok());
  ASSERT_TRUE(world.engine().unpin(ns, {&key, 1}, "b").ok());
  EXPECT_EQ(world.engine().stats().blocks_pinned, 1U) << "a's pin is still there";
  world.kill();
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U) << "but not durable";
}

TEST(Pin, HoldsAtMostHalfOfATier) {
  EngineWorld world(tight());
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 6; ++i) {
    const std::string key = "k" + std::to_string(i);
    world.put(ns, key, 1000);
    const absl::Status status = pin(world, ns, key);
    EXPECT_EQ(status.ok(), i < 5) << i;
    EXPECT_EQ(has_code(status, ErrorCode::no_space), i == 5);
  }
  EXPECT_TRUE(world.erase(ns, "k0"));
  EXPECT_TRUE(pin(world, ns, "k5").ok());  // pins end with their block
}

TEST(Pin, OfFormerProcessesCountAgainstTheHalf) {
  EngineWorld world(tight());
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 6; ++i) world.put(ns, "k" + std::to_string(i), 1000);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(pin(world, ns, "k" + std::to_string(i), Durability::durable).ok());
  }
  world.restart();
  ASSERT_EQ(world.engine().stats().blocks_pinned, 5U);
  EXPECT_TRUE(has_code(pin(world, ns, "k5"), ErrorCode::no_space));
  EXPECT_TRUE(pin(world, ns, "k4").ok()) << "it holds its place already";
  ASSERT_TRUE(unpin(world, ns, "k0").ok());
  EXPECT_TRUE(pin(world, ns, "k5").ok());
}

TEST(Pin, CountsABlockAsLargeAsItHasBecome) {
  EngineWorld world(tight());
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  world.put(ns, "grows", 1000, 1);
  world.put(ns, "other", 1000);
  const KeyRef grows{"grows"};
  ASSERT_TRUE(world.engine().pin(ns, {&grows, 1}, {.owner = "a"}).ok());
  ASSERT_EQ(world.put(ns, "grows", 4500, 2).outcome, PutOutcome::replaced);
  EXPECT_EQ(world.engine().stats().pins.at(0).bytes, 4500U);
  EXPECT_TRUE(has_code(pin(world, ns, "other"), ErrorCode::no_space));
  ASSERT_EQ(world.put(ns, "grows", 1000, 3).outcome, PutOutcome::replaced);
  EXPECT_TRUE(pin(world, ns, "other").ok());
}

TEST(Pin, ThatFailedLeavesNothing) {
  EngineWorld world(tight());
  const NamespaceId ns = world.open_namespace("n");
  for (const char* key : {"a", "b", "c"}) world.put(ns, key, 1000);
  const std::vector<KeyRef> keys = {{"a"}, {"b"}};
  // The first is noted in cold before the second fails.
  world.cold().fail_annotations(ErrorCode::io, 1, 1);
  EXPECT_TRUE(
      has_code(world.engine().pin(ns, keys, {.durability = Durability::durable, .owner = "x"}),
               ErrorCode::io));
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
  EXPECT_TRUE(world.engine().stats().pins.empty());
  world.kill();
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
  // A mark that was there before stays what it was.
  ASSERT_TRUE(pin(world, ns, "a").ok());
  world.cold().fail_annotations(ErrorCode::io, 0, 1);
  EXPECT_TRUE(has_code(pin(world, ns, "a", Durability::durable), ErrorCode::io));
  EXPECT_EQ(world.engine().stats().blocks_pinned, 1U);
  ASSERT_TRUE(unpin(world, ns, "a").ok());
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
}

TEST(Pin, OfWhatIsNotThereIsAnErrorAndPinsNothing) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 100);
  const std::vector<KeyRef> keys = {{"k"}, {"absent"}};
  EXPECT_TRUE(has_code(world.engine().pin(ns, keys, {}), ErrorCode::not_found));
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
  world.put(ns, "m", 100, 0, Durability::memory);
  EXPECT_TRUE(has_code(pin(world, ns, "m", Durability::durable), ErrorCode::invalid_argument));
}

TEST(Pin, GoesOverToANewVersion) {
  EngineWorld world(tight());
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  world.put(ns, "k", 900, 1);
  ASSERT_TRUE(pin(world, ns, "k", Durability::durable).ok());
  ASSERT_EQ(world.put(ns, "k", 900, 2).outcome, PutOutcome::replaced);
  flood(world, ns);
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 2, 900));
  world.kill();
  flood(world, ns);
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 2, 900));
}

TEST(Pin, DoesNotKeepABlockFromBeingErased) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 100);
  ASSERT_TRUE(pin(world, ns, "k", Durability::durable).ok());
  EXPECT_TRUE(world.erase(ns, "k"));
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  world.kill();
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST(Pin, OfAFormerProcessOutlivesAStrangersUnpin) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 100, 1, Durability::durable);
  const KeyRef ref{"k"};
  const PinOptions durable{.durability = Durability::durable, .owner = "a"};
  ASSERT_TRUE(world.engine().pin(ns, {&ref, 1}, durable).ok());
  world.restart();
  ASSERT_TRUE(world.engine().pin(ns, {&ref, 1}, {.owner = "b"}).ok());
  ASSERT_TRUE(world.engine().unpin(ns, {&ref, 1}, "stranger").ok());
  world.restart();
  EXPECT_EQ(world.engine().stats().blocks_pinned, 1U);
  // With nobody else, anyone may end it.
  ASSERT_TRUE(world.engine().unpin(ns, {&ref, 1}, "stranger").ok());
  world.restart();
  EXPECT_EQ(world.engine().stats().blocks_pinned, 0U);
}

}  // namespace
}  // namespace cairn::test
