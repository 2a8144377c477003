// SPDX-License-Identifier: Apache-2.0
// Namespaces: nothing shared, nothing countable across them.
#include <gtest/gtest.h>

#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

TEST(Isolation, NothingIsSharedAcrossNamespaces) {
  EngineWorld world;
  const NamespaceId one = world.open_namespace("one"), two = world.open_namespace("two");
  world.put(one, "k", 1000, 1);
  EXPECT_EQ(world.match(two, {"k"}), 0U);
  EXPECT_EQ(world.get(two, "k"), std::nullopt);
  EXPECT_FALSE(world.erase(two, "k"));
  world.put(two, "k", 1000, 2);
  EXPECT_EQ(world.get(one, "k"), make_payload("k", 1, 1000));
  EXPECT_EQ(world.get(two, "k"), make_payload("k", 2, 1000));
}

TEST(Isolation, NothingIsCountableAcrossNamespaces) {
  EngineWorld world;
  const NamespaceId one = world.open_namespace("one"), two = world.open_namespace("two");
  // The same put says the same, whatever the other namespace holds.
  const PutOutcome alone = world.put(one, "k", 1000).outcome;
  EXPECT_EQ(world.put(two, "k", 1000).outcome, alone);
  for (const NamespaceStats& stats : world.engine().stats().namespaces) {
    EXPECT_EQ(stats.blocks, 1U);
  }
}

TEST(Isolation, PartsOfAKeyAreBlocksOfTheirOwn) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::string bytes[] = {make_payload("k", 0, 100), make_payload("k", 1, 200)};
  const std::vector<PutBlock> blocks = {{.key = "k", .part = 0, .payload = as_bytes(bytes[0])},
                                        {.key = "k", .part = 1, .payload = as_bytes(bytes[1])}};
  for (const PutResult& result : world.engine().put_sync(ns, blocks)) {
    ASSERT_TRUE(result.status.ok());
  }
  const std::vector<KeyRef> keys = {{"k", 0}, {"k", 1}, {"k", 2}};
  const auto lease = world.engine().acquire_sync(ns, keys);
  ASSERT_TRUE(lease.ok());
  ASSERT_EQ(lease->blocks().size(), 2U);
  EXPECT_EQ(as_text(lease->blocks()[1].bytes), bytes[1]);
}

TEST(Isolation, ANamespaceRefusesAnotherDescriptor) {
  EngineWorld world;
  ASSERT_TRUE(world.engine().open_namespace({.name = "n", .model = "a"}).ok());
  EXPECT_TRUE(world.engine().open_namespace({.name = "n", .model = "a"}).ok());
  EXPECT_TRUE(has_code(world.engine().open_namespace({.name = "n", .model = "b"}).status(),
                       ErrorCode::mismatch));
  world.restart();
  EXPECT_TRUE(has_code(world.engine().open_namespace({.name = "n", .model = "b"}).status(),
                       ErrorCode::mismatch));
  EXPECT_TRUE(
      has_code(world.engine().open_namespace({.name = ""}).status(), ErrorCode::invalid_argument));
  EXPECT_EQ(world.engine().namespaces().size(), 1U);
}

TEST(Isolation, AnUnknownNamespaceIsAnErrorEverywhere) {
  EngineWorld world;
  const NamespaceId nowhere{4711};
  const KeyRef key{"k"};
  EXPECT_TRUE(has_code(world.acquire(nowhere, {"k"}).status(), ErrorCode::invalid_argument));
  EXPECT_TRUE(has_code(world.engine().clear(nowhere), ErrorCode::invalid_argument));
  EXPECT_TRUE(has_code(world.engine().pin(nowhere, {&key, 1}, {}), ErrorCode::invalid_argument));
  EXPECT_TRUE(has_code(world.engine().erase_sync(nowhere, {&key, 1}).status(),
                       ErrorCode::invalid_argument));
  EXPECT_EQ(world.match(nowhere, {"k"}), 0U);
  EXPECT_EQ(world.engine().announce(nowhere, {&key, 1}, TimePoint::never()), 0U);
}

TEST(Options, AreRefusedWhereTheyMakeNoSense) {
  const auto is_refused = [](auto change) {
    EngineOptions options;
    change(options);
    return has_code(validate(options), ErrorCode::invalid_argument);
  };
  EXPECT_TRUE(validate(EngineOptions{}).ok());
  EXPECT_TRUE(is_refused([](EngineOptions& o) { o.hot_bytes = 0; }));
  EXPECT_TRUE(is_refused([](EngineOptions& o) { o.leasable_fraction = 1.5; }));
  EXPECT_TRUE(is_refused([](EngineOptions& o) { o.leasable_fraction = 0.0 / 0.0; }));
  EXPECT_TRUE(is_refused([](EngineOptions& o) { o.low_watermark = 0.99; }));
  EXPECT_TRUE(is_refused([](EngineOptions& o) { o.lease_hold_limit = Duration{}; }));
  EXPECT_TRUE(is_refused([](EngineOptions& o) { o.rewarm_bytes_per_second = 0; }));
}

}  // namespace
}  // namespace cairn::test
