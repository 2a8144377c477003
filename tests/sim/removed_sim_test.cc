// SPDX-License-Identifier: Apache-2.0
// What the tier takes out by itself. Goal: whoever lists locations hears of each block that
// cleaning found corrupt, once, after its name is gone and before its place can be anybody's.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/text.h"
#include "tests/support/cold_calls.h"
#include "tests/support/sim_store.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"

namespace cairn::test {
namespace {

TEST(RemovedSim, ABlockThatCleaningFindsCorruptIsTold) {
  ColdWorld world({.seed = 3});
  ASSERT_TRUE(world.open().ok());
  std::vector<std::pair<BlockId, Location>> told;
  bool named_when_told = false;
  world.tier().set_removed([&](BlockId id, std::uint64_t, Location location) {
    std::string cursor;
    EXPECT_TRUE(world.tier()
                    .scan(cursor, 1000,
                          [&](const StoredBlock& block) { named_when_told |= block.id == id; })
                    .ok());
    told.emplace_back(id, location);
  });
  const NamespaceId ns = world.addressed_namespace();
  const BlockPut bad = put_block(world, ns, "bad", 100'000, Durability::durable);
  ASSERT_TRUE(bad.status.ok());
  // Full segments, half dead: there is something to clean.
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(put_block(world, ns, concat("k", i), 200'000, Durability::written).status.ok());
  }
  for (int i = 0; i < 60; i += 2) {
    ASSERT_TRUE(
        remove_block(world, ns, concat("k", i), RemovalReason::evicted, Durability::written).ok());
  }
  const tiers::Place place = tiers::unpack_location(bad.location);
  world.disk().flip_bit(tiers::segment_path("/store", place.segment), place.offset + 50'000, 3);

  bool done = false;
  world.tier().compact(0.0, [&](const absl::Status&) { done = true; });
  world.pump_until([&] { return done; });
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].first, bad.id);
  EXPECT_EQ(told[0].second, bad.location);
  EXPECT_FALSE(named_when_told);
  EXPECT_FALSE(look_up(world, ns, "bad")->has_value());
  // The name can be put again, and what was not damaged was moved, not removed.
  EXPECT_TRUE(put_block(world, ns, "bad", 100'000, Durability::durable).status.ok());
  EXPECT_TRUE(read_block(world, ns, "bad").ok());
  for (int i = 1; i < 60; i += 2) EXPECT_TRUE(read_block(world, ns, concat("k", i)).ok()) << i;
  EXPECT_EQ(told.size(), 1U);
  world.close();
}

TEST(RemovedSim, ADurablePutOfABlockThatColdLostIsDurable) {
  SimStore store(small_sim_store(4));
  ASSERT_TRUE(store.open().ok());
  const absl::StatusOr<NamespaceId> ns = store.engine().open_namespace({.name = "n"});
  ASSERT_TRUE(ns.ok());
  const std::string payload = make_payload("k", 1, 100'000);
  ASSERT_TRUE(store.put(*ns, "k", as_bytes(payload), Durability::durable).status.ok());
  for (const std::string& path : store.disk().files()) {
    const std::size_t at = store.disk().content(path).find(payload.substr(0, 64));
    if (at != std::string::npos) store.disk().flip_bit(path, at + 50'000, 1);
  }
  // Moved out of its segment, once that is worth it.
  for (int i = 0; i < 20; ++i) {
    const std::string key = concat("other-", i);
    const std::string other = make_payload(key, 1, 250'000);
    ASSERT_TRUE(store.put(*ns, key, as_bytes(other), Durability::written).status.ok());
  }
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(store.erase(*ns, concat("other-", i)).ok());
  bool done = false;
  store.cold().compact(0.0, [&](const absl::Status&) { done = true; });
  ASSERT_TRUE(store.pump_until([&] { return done; }));
  ASSERT_EQ(store.cold().health().corruptions, 1U);
  // Hot still has it: the first bytes stay, and are on the medium again.
  const PutResult again = store.put(*ns, "k", as_bytes(payload), Durability::durable);
  ASSERT_TRUE(again.status.ok()) << again.status;
  EXPECT_EQ(again.outcome, PutOutcome::already_present);
  Rng rng(4);
  store.power_cut(rng);
  ASSERT_TRUE(store.open().ok());
  ASSERT_TRUE(store.wait_recovered());
  const auto bytes = store.get(*store.engine().open_namespace({.name = "n"}), "k");
  ASSERT_TRUE(bytes.ok());
  ASSERT_TRUE(bytes->has_value());
  EXPECT_EQ(**bytes, payload);
}

// An entry that takes another's place is all that keeps the other away. A cut must not leave the
// entry and take what it names: an older copy would be the newest that a repair finds.
TEST(RemovedSim, WhatTakesAnEntrysPlaceIsOnTheMediumBefore) {
  ColdWorld world({.seed = 5});
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.mutable_namespace();
  std::size_t syncs = 0;
  const auto synced_by = [&](const std::function<absl::Status()>& operation) {
    syncs = 0;
    EXPECT_TRUE(operation().ok());
    return syncs;
  };
  ASSERT_TRUE(put_block(world, ns, "other", 20'000, Durability::durable).status.ok());
  world.disk().set_on_mutation(
      [&](std::uint64_t, Mutation kind) { syncs += kind == Mutation::sync ? 1U : 0U; });
  const auto put = [&] { return put_block(world, ns, "key", 20'000, Durability::written).status; };
  EXPECT_EQ(synced_by(put), 0U) << "where nothing was";
  EXPECT_GT(synced_by(put), 0U) << "over a block";
  for (const RemovalReason reason : {RemovalReason::evicted, RemovalReason::expired}) {
    const auto remove = [&] { return remove_block(world, ns, "key", reason, Durability::written); };
    EXPECT_GT(synced_by(remove), 0U) << "a tombstone over a block";
    EXPECT_GT(synced_by(put), 0U) << "over a tombstone";
  }
  world.disk().set_on_mutation(nullptr);
  world.close();
}

}  // namespace
}  // namespace cairn::test
