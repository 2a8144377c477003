// SPDX-License-Identifier: Apache-2.0
// A full store, and one that has just stopped writing. Goal: nobody waits for something that can
// no longer come; removing works when everything is full, the cleaner's own removals before all.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/base/text.h"
#include "tests/support/cold_calls.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"

namespace cairn::test {
namespace {

constexpr Duration kPatience = Duration::seconds(20);

/// True when it came true in time.
bool comes_true(ColdWorld& world, const std::function<bool()>& ready) {
  const TimePoint end = world.clock().now() + kPatience;
  world.pump_until([&] { return ready() || world.clock().now() >= end; });
  return ready();
}

/// A store that is full to the last page of the segment that users append to.
struct FullStore {
  explicit FullStore(std::uint64_t seed, std::size_t large_bytes = 300'000)
      : world({.seed = seed}) {
    EXPECT_TRUE(world.open().ok());
    ns = world.addressed_namespace();
    for (const std::size_t bytes : {large_bytes, std::size_t{20'000}, std::size_t{1}}) {
      for (int i = 0; i < 3000; ++i) {
        const std::string key = concat("fill-", bytes, "-", i);
        const BlockPut put = put_block(world, ns, key, bytes, Durability::written);
        if (!put.status.ok()) {
          EXPECT_TRUE(has_code(put.status, ErrorCode::no_space)) << put.status;
          break;
        }
        places[tiers::unpack_location(put.location).segment].push_back({key, put.location});
      }
    }
    EXPECT_EQ(places.size(), 6U);
  }
  /// Asks for more than there is, which wakes the cleaner.
  void ask_for_room() {
    const std::vector<std::uint32_t> sizes(40, 300'000);
    std::vector<Location> locations(sizes.size());
    EXPECT_FALSE(world.tier().reserve(ns, sizes, locations).ok());
  }
  absl::Status remove(const std::string& key, RemovalReason reason) {
    RemovalFlight flight;
    start_removal(world, ns, key, reason, Durability::durable, flight);
    EXPECT_TRUE(comes_true(world, [&] { return flight.done; })) << key;
    return flight.removal.status;
  }

  struct Placed {
    std::string key;
    Location location;
  };
  ColdWorld world;
  NamespaceId ns{};
  std::map<tiers::SegmentId, std::vector<Placed>> places;
};

TEST(StallSim, TheCleanersOwnRemovalsDoNotWaitForTheCleaner) {
  for (const std::size_t large_bytes : {300'000U, 280'000U, 330'000U}) {
    FullStore store(21, large_bytes);
    std::vector<FullStore::Placed> victims = store.places.begin()->second;
    ASSERT_GT(victims.size(), 3U);
    const FullStore::Placed bad = victims.back();
    victims.pop_back();
    for (const FullStore::Placed& victim : victims) {
      ASSERT_TRUE(store.remove(victim.key, RemovalReason::evicted).ok());
    }
    const tiers::Place place = tiers::unpack_location(bad.location);
    store.world.disk().flip_bit(tiers::segment_path("/store", place.segment),
                                place.offset + place.record_bytes / 2, 2);
    std::size_t told = 0;
    store.world.tier().set_removed([&](BlockId, std::uint64_t, Location location) {
      EXPECT_EQ(location, bad.location);
      ++told;
    });
    store.ask_for_room();
    ASSERT_TRUE(comes_true(store.world, [&] { return told == 1; }));
    ASSERT_TRUE(comes_true(store.world,
                           [&] { return store.world.tier().counters().cleaned_segments > 0; }));
    EXPECT_TRUE(put_block(store.world, store.ns, "more", 300'000, Durability::durable).status.ok());
    store.world.close();
  }
}

TEST(StallSim, RemovingWorksWhenNothingCanBeCleaned) {
  FullStore store(22);
  // Each tombstone goes where users may not write; what they bury becomes room in the end.
  for (const FullStore::Placed& placed : store.places.begin()->second) {
    EXPECT_TRUE(store.remove(placed.key, RemovalReason::erased).ok()) << placed.key;
    EXPECT_FALSE(look_up(store.world, store.ns, placed.key)->has_value());
  }
  store.ask_for_room();
  BlockPut more;
  for (int i = 0; i < 100 && !more.location.bits; ++i) {
    more = put_block(store.world, store.ns, "more", 300'000, Durability::durable);
    if (!more.status.ok()) let_pass(store.world, Duration::millis(100));
  }
  EXPECT_TRUE(more.status.ok()) << more.status;
  store.world.power_cut();
  ASSERT_TRUE(store.world.open().ok());
  EXPECT_TRUE(read_block(store.world, store.ns, "more").ok());
  for (const FullStore::Placed& placed : store.places.begin()->second) {
    EXPECT_FALSE(look_up(store.world, store.ns, placed.key)->has_value());
  }
  store.world.close();
}

TEST(StallSim, WhoeverCompactsIsToldThatWritesAreOff) {
  ColdWorldOptions options{.seed = 23};
  options.cold.write_errors_max = 1;
  ColdWorld world(options);
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(put_block(world, ns, concat("k", i), 300'000, Durability::written).status.ok());
  }
  for (int i = 0; i < 40; i += 2) {
    ASSERT_TRUE(
        remove_block(world, ns, concat("k", i), RemovalReason::evicted, Durability::written).ok());
  }
  world.disk().faults().add({.fault = Fault::write_error,
                             .side = Side::device,
                             .odds = 1,
                             .path_contains = "/segments/"});
  bool done = false;
  absl::Status status;
  const auto compact = [&] {
    done = false;
    world.tier().compact(0.0, [&](absl::Status ended) {
      status = std::move(ended);
      done = true;
    });
    return comes_true(world, [&] { return done; });
  };
  ASSERT_TRUE(compact());
  EXPECT_TRUE(has_code(status, ErrorCode::degraded)) << status;
  ASSERT_TRUE(compact());
  EXPECT_TRUE(has_code(status, ErrorCode::degraded)) << status;
  world.close();
}

TEST(StallSim, APutThatWaitsForTheCleanerIsToldThatWritesAreOff) {
  FullStore store(24);
  ColdWorld& world = store.world;
  auto victims = store.places.begin();
  for (int segment = 0; segment < 2; ++segment, ++victims) {
    for (std::size_t i = 1; i < victims->second.size(); ++i) {
      ASSERT_TRUE(store.remove(victims->second[i].key, RemovalReason::evicted).ok());
    }
  }
  let_pass(world, Duration::seconds(6));  // nothing is left to be synced
  world.disk().faults().add({.fault = Fault::hang, .side = Side::device, .nth = 1, .times = 1});
  store.ask_for_room();
  ASSERT_TRUE(comes_true(world, [&] { return world.device().hung() == 1; }));  // the cleaner's read
  PutFlight put;
  const absl::Status started =
      start_put(world, store.ns, "waits", 300'000, Durability::written, put);
  EXPECT_TRUE(started.ok()) << started;
  let_pass(world, Duration::millis(100));
  EXPECT_FALSE(put.done);
  world.disk().faults().add(
      {.fault = Fault::sync_error, .side = Side::rocksdb, .odds = 1, .path_contains = ".log"});
  bool synced = false;
  world.tier().sync([&](absl::Status status) {
    EXPECT_FALSE(status.ok());
    synced = true;
  });
  ASSERT_TRUE(comes_true(world, [&] { return synced; }));
  EXPECT_TRUE(world.tier().health().degraded);
  EXPECT_TRUE(comes_true(world, [&] { return put.done; }));
  EXPECT_TRUE(has_code(put.write.status, ErrorCode::degraded)) << put.write.status;
  world.device().release_hung();
  world.close();
}

TEST(StallSim, WhatWasNotWrittenComesBackToTheDaysBudget) {
  ColdWorldOptions options{.seed = 26};
  options.cold.write_budget_bytes_per_day = 10'000;
  ColdWorld world(options);
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  const std::uint32_t size = 8'000;
  for (int i = 0; i < 3; ++i) {  // given back unused
    Location location;
    ASSERT_TRUE(world.tier().reserve(ns, {&size, 1}, {&location, 1}).ok()) << i;
    world.tier().free({&location, 1});
  }
  for (int i = 0; i < 3; ++i) {  // refused by write()
    TierWrite write;
    ASSERT_TRUE(world.tier().reserve(ns, {&size, 1}, {&write.location, 1}).ok()) << i;
    write.name = {ns, "", 0};
    bool done = false;
    world.tier().write({&write, 1}, Durability::written, [&] { done = true; });
    world.pump_until([&] { return done; });
    EXPECT_FALSE(write.status.ok());
  }
  EXPECT_TRUE(put_block(world, ns, "k", size, Durability::written).status.ok());
  EXPECT_TRUE(
      has_code(put_block(world, ns, "l", size, Durability::written).status, ErrorCode::refused));
  world.close();
}

TEST(StallSim, AHeaderThatIsReadShortIsAnErrorWithAName) {
  ColdWorld world({.seed = 25});
  ASSERT_TRUE(world.open().ok());
  world.disk().faults().add({.fault = Fault::short_read,
                             .side = Side::device,
                             .nth = 1,
                             .times = 1,
                             .path_contains = "/segments/"});
  const BlockPut put =
      put_block(world, world.addressed_namespace(), "k", 5'000, Durability::written);
  EXPECT_EQ(world.disk().faults().fired(Fault::short_read), 1U);
  EXPECT_TRUE(has_code(put.status, ErrorCode::io)) << put.status;
  EXPECT_EQ(put.status.ToString().find("Success"), std::string::npos) << put.status;
  EXPECT_EQ(world.tier().health().short_transfers, 1U);
  EXPECT_TRUE(
      put_block(world, world.addressed_namespace(), "k", 5'000, Durability::written).status.ok());
  world.close();
}

TEST(StallSim, AShortReadOfBytesThatAreThereIsNoCorruption) {
  ColdWorld world({.seed = 26});
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  ASSERT_TRUE(put_block(world, ns, "k", 100'000, Durability::durable).status.ok());
  world.disk().faults().add({.fault = Fault::short_read,
                             .side = Side::device,
                             .nth = 1,
                             .times = 1,
                             .path_contains = "/segments/"});
  const absl::Status status = read_block(world, ns, "k");
  EXPECT_EQ(world.disk().faults().fired(Fault::short_read), 1U);
  EXPECT_TRUE(has_code(status, ErrorCode::io)) << status;
  EXPECT_EQ(world.tier().health().corruptions, 0U);
  EXPECT_TRUE(read_block(world, ns, "k").ok()) << "the next try has them";
  world.close();
}

TEST(StallSim, NothingIsAppendedToASegmentThatWasQuarantinedWhileItWasResumed) {
  for (std::uint64_t seed = 30; seed < 36; ++seed) {
    ColdWorldOptions options{.seed = seed};
    options.cold.segment_corruptions_max = 1;
    ColdWorld world(options);
    ASSERT_TRUE(world.open().ok());
    const NamespaceId ns = world.addressed_namespace();
    const BlockPut bad = put_block(world, ns, "bad", 100'000, Durability::durable);
    ASSERT_TRUE(bad.status.ok());
    world.close();
    const tiers::Place place = tiers::unpack_location(bad.location);
    world.disk().flip_bit(tiers::segment_path("/store", place.segment), place.offset + 50'000, 1);
    ASSERT_TRUE(world.open().ok());
    ASSERT_TRUE(world.tier().opened_clean());
    PutFlight first;  // begins to resume the segment
    ASSERT_TRUE(start_put(world, ns, "first", 5'000, Durability::durable, first).ok());
    EXPECT_FALSE(read_block(world, ns, "bad").ok());
    ASSERT_EQ(world.tier().health().quarantined_segments, 1U);
    const BlockPut second = put_block(world, ns, "second", 5'000, Durability::durable);
    world.pump_until([&] { return first.done; });
    ASSERT_TRUE(second.status.ok());
    EXPECT_NE(tiers::unpack_location(second.location).segment, place.segment) << seed;
    world.kill();
    ASSERT_TRUE(world.open().ok());  // and the next process knows it, too
    const BlockPut third = put_block(world, ns, "third", 5'000, Durability::durable);
    ASSERT_TRUE(third.status.ok());
    EXPECT_NE(tiers::unpack_location(third.location).segment, place.segment) << seed;
    EXPECT_TRUE(read_block(world, ns, "second").ok());
    world.close();
  }
}

TEST(StallSim, SegmentsThatAFullDiskKeptFromBeingCleanedAreCleanedLater) {
  FullStore store(27);
  for (const auto& [segment, placed] : store.places) {
    for (std::size_t i = 0; i < placed.size(); i += 2) {
      ASSERT_TRUE(store.remove(placed[i].key, RemovalReason::evicted).ok()) << placed[i].key;
    }
  }
  // Somebody else takes what is left of the disk.
  store.world.disk().faults().add(
      {.fault = Fault::no_space, .side = Side::device, .odds = 1, .path_contains = ".seg"});
  for (int second = 0; second < 20; ++second) {
    store.ask_for_room();
    let_pass(store.world, Duration::seconds(1));
  }
  EXPECT_GT(store.world.disk().faults().fired(Fault::no_space), 1U);
  store.world.disk().faults().clear();
  let_pass(store.world, Duration::seconds(31));
  absl::Status status;
  for (int attempt = 0; attempt < 100; ++attempt) {
    status = put_block(store.world, store.ns, "at last", 300'000, Durability::durable).status;
    if (status.ok()) break;
    let_pass(store.world, Duration::millis(100));
  }
  EXPECT_TRUE(status.ok()) << status;
  store.world.close();
}

}  // namespace
}  // namespace cairn::test
