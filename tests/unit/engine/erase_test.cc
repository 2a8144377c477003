// SPDX-License-Identifier: Apache-2.0
// erase and clear: what goes at somebody's word never comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

using ::testing::ElementsAre;

TEST(Erase, SaysForEachKeyWhetherItWasThere) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "a", 100);
  world.put(ns, "b", 100, 0, Durability::memory);
  const std::vector<KeyRef> keys = {{"a"}, {"x"}, {"b"}, {"a"}};
  const auto erased = world.engine().erase_sync(ns, keys);
  ASSERT_TRUE(erased.ok());
  EXPECT_THAT(*erased, ElementsAre(true, false, true, false));
  EXPECT_EQ(world.get(ns, "a"), std::nullopt);
  EXPECT_EQ(world.hot().usage().used_bytes, 0U);
  EXPECT_EQ(world.cold().stored_blocks(), 0U);
  EXPECT_FALSE(world.erase(ns, "a"));
}

TEST(Erase, DoesNotComeBackAfterAPowerCut) {
  EngineWorld world;
  for (const NamespaceKind kind : {NamespaceKind::content_addressed, NamespaceKind::mutable_}) {
    const NamespaceId ns = world.open_namespace(namespace_kind_name(kind), kind);
    world.put(ns, "k", 100, 0, Durability::durable);
    ASSERT_TRUE(world.erase(ns, "k"));
    world.power_cut();
    EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  }
}

TEST(Erase, OfABlockThatOnlyColdHadLostLeavesATombstoneToo) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 100, 0, Durability::durable);
  // Out of cold, while hot keeps it; that removal is not synced.
  ASSERT_TRUE(world.engine().evict_unused(TierKind::cold, 0).ok());
  ASSERT_TRUE(world.get(ns, "k").has_value());
  ASSERT_TRUE(world.erase(ns, "k"));
  world.power_cut();
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST(Erase, WaitsForAPutOfTheSameKey) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::string payload = make_payload("k", 0, 100);
  const PutBlock block{.key = "k", .payload = as_bytes(payload)};
  world.cold().hold();
  bool stored = false;
  std::optional<bool> was_there;
  world.engine().put(ns, {&block, 1}, {},
                     [&](const std::vector<PutResult>& r) { stored = r[0].status.ok(); });
  const KeyRef key{"k"};
  world.engine().erase(ns, {&key, 1}, [&](const absl::StatusOr<std::vector<bool>>& erased) {
    was_there = erased.ok() && (*erased)[0];
  });
  world.settle();
  EXPECT_FALSE(was_there.has_value());
  world.cold().release();
  world.settle();
  EXPECT_TRUE(stored);
  EXPECT_EQ(was_there, true);
  EXPECT_EQ(world.match(ns, {"k"}), 0U);
  world.kill();
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST(Erase, DuringAPromotionTheBlockDoesNotComeBack) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 100);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  world.cold().hold();
  const KeyRef key{"k"};
  std::optional<std::size_t> delivered;
  world.engine().acquire(ns, {&key, 1}, {}, [&](const absl::StatusOr<Lease>& lease) {
    delivered = lease.ok() ? lease->blocks().size() : 99;
  });
  bool erased = false;
  world.engine().erase(ns, {&key, 1}, [&](const absl::StatusOr<std::vector<bool>>& result) {
    erased = result.ok() && (*result)[0];
  });
  EXPECT_EQ(world.match(ns, {"k"}), 0U);  // at once for new readers
  world.cold().release();
  world.settle();
  EXPECT_TRUE(erased);
  EXPECT_EQ(delivered, 0U);
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  EXPECT_EQ(world.hot().usage().used_bytes, 0U);
}

TEST(Erase, DuringARelocationTheBlockDoesNotComeBack) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 100);
  ASSERT_TRUE(world.erase(ns, "k"));
  EXPECT_FALSE(world.cold().relocate(world.name(ns, "k")));
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST(Erase, DuringRecoveryTheBlockDoesNotComeBack) {
  EngineWorldOptions options;
  options.asynchronous_cold = false;  // so that the erase ends before the scan begins
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 20);
  world.put_chain(ns, keys, 100);
  world.restart_unloaded();
  world.cold().freeze_scans();  // the scan shows what was there when the store was opened
  EXPECT_TRUE(world.erase(ns, keys[5]));
  EXPECT_FALSE(world.engine().is_recovered());
  world.settle();
  EXPECT_TRUE(world.engine().is_recovered());
  EXPECT_EQ(world.match(ns, {keys[5]}), 0U);
  EXPECT_EQ(world.get(ns, keys[5]), std::nullopt);
  EXPECT_TRUE(world.get(ns, keys[6]).has_value());
}

TEST(Erase, FailsWhereItCannotBeMadeToLast) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 100);
  world.cold().set_degraded(true);
  const KeyRef key{"k"};
  EXPECT_TRUE(has_code(world.engine().erase_sync(ns, {&key, 1}).status(), ErrorCode::degraded));
}

TEST(Clear, TakesEveryBlockOfOneNamespaceAndLeavesTheOthers) {
  EngineWorld world;
  const NamespaceId one = world.open_namespace("one");
  const NamespaceId two = world.open_namespace("two");
  const std::vector<std::string> keys = EngineWorld::chain("c", 10);
  world.put_chain(one, keys, 100);
  world.put_chain(two, keys, 100);
  ASSERT_TRUE(world.engine().clear(one).ok());
  EXPECT_EQ(world.match(one, keys), 0U);
  EXPECT_EQ(world.match(two, keys), 10U);
  EXPECT_EQ(world.hot().usage().used_bytes, 1000U);
  world.kill();
  EXPECT_EQ(world.match(one, keys), 0U);
  EXPECT_EQ(world.match(two, keys), 10U);
  EXPECT_EQ(world.put(one, keys[0], 100).outcome, PutOutcome::stored);
  EXPECT_TRUE(world.get(one, keys[0]).has_value());
}

TEST(Clear, WaitsForPutsOfTheOldEpoch) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::string payload = make_payload("k", 0, 100);
  const PutBlock block{.key = "k", .payload = as_bytes(payload)};
  bool stored = false;
  world.engine().put(ns, {&block, 1}, {},
                     [&](const std::vector<PutResult>& r) { stored = r[0].status.ok(); });
  EXPECT_FALSE(stored);
  ASSERT_TRUE(world.engine().clear(ns).ok());
  EXPECT_TRUE(stored);
  EXPECT_EQ(world.match(ns, {"k"}), 0U);
  world.kill();
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST(Clear, DuringRecoveryNothingOfItComesBack) {
  EngineWorldOptions options;
  options.asynchronous_cold = false;
  EngineWorld world(options);
  const NamespaceId one = world.open_namespace("one"), two = world.open_namespace("two");
  const std::vector<std::string> keys = EngineWorld::chain("c", 20);
  world.put_chain(one, keys, 100);
  world.put_chain(two, keys, 100);
  world.restart_unloaded();
  world.cold().freeze_scans();
  ASSERT_TRUE(world.engine().clear(one).ok());
  world.settle();
  ASSERT_TRUE(world.engine().is_recovered());
  EXPECT_EQ(world.match(one, keys), 0U);
  EXPECT_EQ(world.match(two, keys), 20U);
}

TEST(Clear, LeavesLeasesReadable) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 100);
  auto lease = world.acquire(ns, {"k"});
  ASSERT_TRUE(lease.ok());
  ASSERT_TRUE(world.engine().clear(ns).ok());
  EXPECT_TRUE(is_payload("k", 0, lease->blocks()[0].bytes));
  lease->release();
  EXPECT_EQ(world.hot().usage().used_bytes, 0U);
}

TEST(Erase, OneThatFailsCanBeRepeated) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  ASSERT_TRUE(world.put(ns, "k", 1000).status.ok());
  world.cold().fail_removals(ErrorCode::io, 1);
  const KeyRef key{"k"};
  EXPECT_FALSE(world.engine().erase_sync(ns, {&key, 1}).ok());
  // The index still names it, so it must be there for whoever tries again.
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 1000));
  EXPECT_TRUE(world.erase(ns, "k"));
  world.kill();
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST(Erase, WhatAFailedOverwriteLeftInColdIsErasedToo) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  ASSERT_TRUE(world.put(ns, "k", 1000, 1).status.ok());
  world.cold().fail_removals(ErrorCode::io, 1);
  EXPECT_FALSE(world.put(ns, "k", 1000, 2, Durability::memory).status.ok());
  EXPECT_TRUE(world.erase(ns, "k"));
  world.kill();
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

}  // namespace
}  // namespace cairn::test
