// SPDX-License-Identifier: Apache-2.0
// What a tombstone buries, and what it must leave alone: a version put since, and whatever was put
// after a clear. Goal: the index says so while the store lives, and one that was made again says
// the same, whatever the order in which a repair meets the records.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/base/text.h"
#include "tests/support/cold_calls.h"
#include "tests/support/cold_repair.h"
#include "tiers/cold/location.h"

namespace cairn::test {
namespace {

using tiers::RecordKind;
using tiers::SegmentId;

constexpr std::size_t kBytes = 50'000;

class BuriedSim : public ::testing::Test {
 protected:
  void SetUp() override { open(); }

  void open() {
    const absl::Status opened = world_.open();
    ASSERT_TRUE(opened.ok()) << opened;
  }
  BlockPut put(NamespaceId ns, const std::string& key) {
    const BlockPut put = put_block(world_, ns, key, kBytes, Durability::durable);
    EXPECT_TRUE(put.status.ok()) << put.status;
    return put;
  }
  void erase(NamespaceId ns, const std::string& key) {
    EXPECT_TRUE(remove_block(world_, ns, key, RemovalReason::erased, Durability::durable).ok());
  }
  std::uint64_t version(NamespaceId ns, const std::string& key) {
    const auto found = look_up(world_, ns, key);
    EXPECT_TRUE(found.ok()) << found.status();
    if (!found.ok() || !*found) return 0;
    EXPECT_TRUE(read_block(world_, ns, key).ok());
    return (*found)->facts.sequence;
  }
  /// Puts until what was being appended to is sealed, and names what fills it.
  std::vector<std::string> fill() {
    std::vector<std::string> keys;
    SegmentId first{};
    while (true) {
      keys.push_back(concat("fill-", next_++));
      const BlockPut put = put_block(world_, world_.addressed_namespace(), keys.back(), 200'000,
                                     Durability::written);
      EXPECT_TRUE(put.status.ok()) << put.status;
      const SegmentId segment = tiers::unpack_location(put.location).segment;
      if (keys.size() == 1) first = segment;
      if (segment != first || !put.status.ok()) break;
    }
    keys.pop_back();  // lies in the next segment
    return keys;
  }
  void clean(const std::vector<std::string>& dead) {
    for (const std::string& key : dead) {
      ASSERT_TRUE(remove_block(world_, world_.addressed_namespace(), key, RemovalReason::evicted,
                               Durability::written)
                      .ok());
    }
    bool done = false;
    world_.tier().compact(0.05, [&](const absl::Status&) { done = true; });
    world_.pump_until([&] { return done; });
  }
  void repair_and_open() {
    world_.kill();
    lose_index(world_.disk());
    repair(world_);
    open();
  }

  ColdWorld world_{{.seed = 23}};
  int next_ = 0;
};

/// A repair meets the newer version before the tombstone, or after it.
class BuriedInOrder : public BuriedSim, public ::testing::WithParamInterface<bool> {};

TEST_P(BuriedInOrder, AVersionThatWasPutSinceStays) {
  const bool newer_comes_first = GetParam();
  const NamespaceId ns = world_.mutable_namespace();
  const std::vector<std::string> before = fill();
  put(ns, "key");
  put(ns, "gone");
  erase(ns, "key");
  erase(ns, "gone");
  // A file that is free is used again before one is made: the user's stream goes on in the first.
  if (newer_comes_first) clean(before);
  fill();
  const BlockPut newer = put(ns, "key");
  SegmentId buried_in{};
  for (const RecordSeen& record : records_of(world_, "key")) {
    if (record.kind == RecordKind::tombstone) buried_in = record.segment;
  }
  ASSERT_EQ(tiers::unpack_location(newer.location).segment < buried_in, newer_comes_first);
  repair_and_open();
  EXPECT_EQ(version(ns, "key"), newer.sequence);
  EXPECT_EQ(version(ns, "gone"), 0U);
  world_.close();
}

INSTANTIATE_TEST_SUITE_P(Each, BuriedInOrder, ::testing::Bool());

// Whoever wanted an older version gone comes late.
TEST_F(BuriedSim, ARemovalOfAnOlderVersionLeavesTheNewerOne) {
  const NamespaceId ns = world_.mutable_namespace();
  const BlockPut older = put(ns, "key");
  const BlockPut newer = put(ns, "key");
  Removal removal;
  removal.name = {ns, "key", 0};
  removal.sequence = older.sequence;
  removal.reason = RemovalReason::expired;
  bool done = false;
  world_.tier().remove({&removal, 1}, Durability::durable, [&] { done = true; });
  world_.pump_until([&] { return done; });
  EXPECT_TRUE(removal.status.ok()) << removal.status;
  EXPECT_EQ(version(ns, "key"), newer.sequence);
  repair_and_open();
  EXPECT_EQ(version(ns, "key"), newer.sequence);
  world_.close();
}

TEST_F(BuriedSim, AClearBuriesWhatWasBeforeItAndNothingSince) {
  const NamespaceId ns = world_.mutable_namespace();
  put(ns, "cleared");
  put(ns, "key");
  erase(ns, "key");
  put(ns, "again");
  ASSERT_TRUE(world_.tier().clear_namespace(ns).ok());
  const BlockPut key = put(ns, "key");
  const BlockPut again = put(ns, "again");
  put(ns, "erased");
  erase(ns, "erased");
  const auto expect_all = [&] {
    EXPECT_EQ(version(ns, "cleared"), 0U);
    EXPECT_EQ(version(ns, "key"), key.sequence);
    EXPECT_EQ(version(ns, "again"), again.sequence);
    EXPECT_EQ(version(ns, "erased"), 0U);
  };
  expect_all();
  repair_and_open();
  expect_all();
  world_.close();
}

// A removal that was under way when the namespace was cleared speaks of what was there before. Its
// number may be higher than that of a block which was stored after the clear: a put draws one
// early.
TEST_F(BuriedSim, ARemovalFromBeforeAClearLeavesAloneWhatWasStoredAfterIt) {
  const NamespaceId ns = world_.mutable_namespace();
  put(ns, "other");  // there is a segment
  PutFlight flight;
  flight.key = "key";
  const std::uint32_t size = kBytes;
  ASSERT_TRUE(world_.tier().reserve(ns, {&size, 1}, {&flight.write.location, 1}).ok());
  const std::uint64_t sequence = world_.tier().next_sequence();
  flight.payload = make_payload(flight.key, sequence, kBytes);
  flight.write.name = {ns, flight.key, 0};
  flight.write.id = block_id(flight.write.name, world_.tier().block_id_secret());
  flight.write.payload = as_bytes(flight.payload);
  flight.write.facts = {
      .sequence = sequence, .plain_bytes = size, .plain_sum = xxh3_64(as_bytes(flight.payload))};
  RemovalFlight removal;
  start_removal(world_, ns, "key", RemovalReason::erased, Durability::durable, removal);
  ASSERT_TRUE(world_.tier().clear_namespace(ns).ok());
  world_.tier().write({&flight.write, 1}, Durability::written, [&] { flight.done = true; });
  bool put_came_first = false;
  world_.pump_until([&] {
    put_came_first = put_came_first || (flight.done && !removal.done);
    return flight.done && removal.done;
  });
  EXPECT_TRUE(put_came_first);
  EXPECT_TRUE(removal.removal.status.ok()) << removal.removal.status;
  ASSERT_TRUE(flight.write.status.ok()) << flight.write.status;
  EXPECT_EQ(version(ns, "key"), sequence) << "removed by what came before the clear";
  repair_and_open();
  EXPECT_EQ(version(ns, "key"), sequence);
  world_.close();
}

}  // namespace
}  // namespace cairn::test
