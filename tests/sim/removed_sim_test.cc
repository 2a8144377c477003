// SPDX-License-Identifier: Apache-2.0
// What the tier takes out by itself. Goal: whoever lists locations hears of each block that
// cleaning found corrupt, once, after its name is gone and before its place can be anybody's.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "engine/base/text.h"
#include "tests/support/cold_calls.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"

namespace cairn::test {
namespace {

TEST(RemovedSim, ABlockThatCleaningFindsCorruptIsTold) {
  ColdWorld world({.seed = 3});
  ASSERT_TRUE(world.open().ok());
  std::vector<std::pair<BlockId, Location>> told;
  bool named_when_told = false;
  world.tier().set_removed([&](BlockId id, Location location) {
    std::string cursor;
    EXPECT_TRUE(world.tier()
                    .scan(cursor, 1000,
                          [&](const StoredBlock& block) { named_when_told |= block.id == id; })
                    .ok());
    told.emplace_back(id, location);
  });
  const NamespaceId ns = world.addressed_namespace();
  const PutOutcome bad = put_block(world, ns, "bad", 100'000, Durability::durable);
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

}  // namespace
}  // namespace cairn::test
