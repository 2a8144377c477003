// SPDX-License-Identifier: Apache-2.0
// The cold tier in one thread on a disk that lies, dies and fills up. Goal: no interleaving of
// operations, faults, kills and power cuts gives wrong bytes, loses what was acknowledged, or
// brings back what was erased. Method: random operations against the model of cold_world.h.
#include <gtest/gtest.h>

#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/cold_world.h"
#include "tests/support/payload.h"

namespace cairn::test {
namespace {

/// Half of the worlds handle blocks as they are stored, too.
double images_of(std::uint64_t seed) {
  return seed % 2 == 0 ? 0.5 : 0;
}

void report(const char* what, std::uint64_t seed, ColdWorld& world, std::size_t cuts) {
  const ColdWorldCounts& c = world.counts();
  std::printf(
      "%s seed=%llu cuts=%zu puts=%llu removals=%llu reads=%llu found=%llu missing=%llu "
      "refused=%llu cleaned=%llu "
      "torn=%llu dropped=%llu lost=%llu faults: %s\n",
      what, static_cast<unsigned long long>(seed), cuts, static_cast<unsigned long long>(c.puts),
      static_cast<unsigned long long>(c.removals), static_cast<unsigned long long>(c.reads),
      static_cast<unsigned long long>(c.found), static_cast<unsigned long long>(c.missing),
      static_cast<unsigned long long>(c.refused),
      static_cast<unsigned long long>(c.cleaned_segments),
      static_cast<unsigned long long>(c.writes_torn),
      static_cast<unsigned long long>(c.writes_dropped), static_cast<unsigned long long>(c.lost),
      world.disk().faults().summary().c_str());
}

TEST(ColdSim, WhatWasPutIsReadBackUntilItIsRemoved) {
  for (const std::uint64_t seed : seeds({1, 2}, 1)) {
    ColdWorld world({.seed = seed, .images = images_of(seed)});
    ASSERT_TRUE(world.open().ok());
    const std::size_t steps = scaled(2000);
    for (std::size_t i = 0; i < steps; ++i) {
      world.step();
      if (i % 100 == 0) world.check_limit();
    }
    world.check_all();
    world.close();
    ASSERT_TRUE(world.open().ok());
    EXPECT_TRUE(world.tier().opened_clean());
    world.check_all();
    world.close();
    EXPECT_EQ(world.counts().lost, 0U);
    report("churn", seed, world, 0);
  }
}

TEST(ColdSim, ProcessKillsLoseNothingThatWasAcknowledged) {
  for (const std::uint64_t seed : seeds({11, 12}, 1)) {
    ColdWorld world({.seed = seed, .images = images_of(seed)});
    const std::size_t kills = scaled(15);
    for (std::size_t kill = 0; kill < kills; ++kill) {
      ASSERT_TRUE(world.open().ok());
      world.check_all();
      const std::uint64_t end = world.disk().mutations() + 1 + world.rng().below(400);
      world.disk().freeze_at(end);
      while (!world.disk().frozen()) {
        world.step();
        world.check_limit();
      }
      world.kill();
    }
    ASSERT_TRUE(world.open().ok());
    EXPECT_FALSE(world.tier().opened_clean());
    world.check_all();
    world.close();
    EXPECT_EQ(world.counts().lost, 0U);
    report("kill", seed, world, kills);
  }
}

TEST(ColdSim, PowerCutsLoseNothingDurable) {
  std::size_t cuts = 0;
  std::uint64_t torn = 0;
  for (const std::uint64_t seed : seeds({21, 22, 23, 24, 25, 26, 27, 28}, 2)) {
    // A torn log is caught up from the segments, where evictions of such blocks leave no trace.
    ColdWorld world({.seed = seed, .images = images_of(seed), .evicted_may_return = true});
    const std::size_t wanted = scaled(21);
    for (std::size_t cut = 0; cut < wanted; ++cut) {
      // A cut may come while the store is being opened, too.
      const bool early = world.rng().chance(0.2);
      if (early) world.disk().freeze_at(world.disk().mutations() + 1 + world.rng().below(30));
      const absl::Status opened = world.open();
      if (!opened.ok()) {
        ASSERT_TRUE(world.disk().frozen()) << opened.ToString();
        world.power_cut_unopened();
        ++cuts;
        continue;
      }
      if (!early) {
        world.check_all();
        world.disk().freeze_at(world.disk().mutations() + 1 + world.rng().below(400));
      }
      while (!world.disk().frozen()) {
        world.step();
        world.check_limit();
      }
      world.power_cut();
      ++cuts;
    }
    ASSERT_TRUE(world.open().ok());
    world.check_all();
    world.close();
    EXPECT_EQ(world.counts().lost, 0U);
    torn += world.counts().writes_torn;
    report("power cut", seed, world, wanted);
  }
  std::printf("power cuts: %zu, writes torn: %llu\n", cuts, static_cast<unsigned long long>(torn));
  EXPECT_GT(torn, 0U);
}

/// Random steps under the rules given; a store that switched itself off is opened again.
void run_with_faults(ColdWorld& world, std::size_t rounds, const std::vector<FaultRule>& rules) {
  for (std::size_t round = 0; round < rounds; ++round) {
    world.disk().faults().clear();
    ASSERT_TRUE(world.open().ok());
    world.check_all();
    for (const FaultRule& rule : rules) world.disk().faults().add(rule);
    for (std::size_t i = 0; i < 300 && !world.tier().health().degraded; ++i) {
      world.step();
      if (i % 20 == 0) world.check_limit();
    }
    world.settle();
    world.disk().faults().clear();
    world.check_all();  // reads go on, degraded or not
    switch (world.rng().below(3)) {
      case 0:
        world.power_cut();
        break;
      case 1:
        world.kill();
        break;
      default:
        world.close();
    }
  }
  ASSERT_TRUE(world.open().ok());
  world.check_all();
  world.close();
}

void expect_fired(std::span<const Fault> kinds, const std::vector<std::uint64_t>& fired) {
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    std::printf("fired %s: %llu\n", std::string(fault_name(kinds[i])).c_str(),
                static_cast<unsigned long long>(fired[i]));
    if (test_scale() >= 1) {
      EXPECT_GT(fired[i], 0U) << fault_name(kinds[i]);
    }
  }
}

TEST(ColdSim, ErrorsShortTransfersAndFailedSyncsLoseNothing) {
  const std::vector<Fault> kinds = {Fault::write_error, Fault::short_write, Fault::sync_error,
                                    Fault::read_error,  Fault::short_read,  Fault::no_space};
  std::vector<std::uint64_t> fired(kinds.size());
  std::vector<FaultRule> rules;
  for (const Fault fault : kinds) {
    rules.push_back({.fault = fault, .side = Side::device, .odds = 0.01});
  }
  for (const std::uint64_t seed : seeds({41, 42, 43}, 1)) {
    // A store that was not closed clean is caught up from the segments: see above. They may also
    // have what the index refused.
    ColdWorld world({.seed = seed,
                     .images = images_of(seed),
                     .evicted_may_return = true,
                     .refused_may_return = true});
    run_with_faults(world, scaled(8), rules);
    for (std::size_t i = 0; i < kinds.size(); ++i) fired[i] += world.fired(kinds[i]);
    EXPECT_EQ(world.counts().lost, 0U);
    report("faults", seed, world, scaled(8));
  }
  expect_fired(kinds, fired);
}

TEST(ColdSim, LostMisdirectedAndFlippedBytesAreNeverGivenToAnyone) {
  const std::vector<Fault> kinds = {Fault::lost_write, Fault::misdirected_write,
                                    Fault::flipped_read};
  std::vector<std::uint64_t> fired(kinds.size());
  std::uint64_t corruptions = 0;
  for (const std::uint64_t seed : seeds({51, 52, 53}, 1)) {
    // Cuts tear logs here, too, and what evictions leave then is said above.
    ColdWorld world({.seed = seed,
                     .images = images_of(seed),
                     .losses_allowed = true,
                     .evicted_may_return = true});
    for (std::size_t round = 0; round < scaled(8); ++round) {
      world.disk().faults().clear();
      ASSERT_TRUE(world.open().ok());
      for (const Fault fault : kinds) {
        world.disk().faults().add(
            {.fault = fault, .side = Side::device, .odds = 0.02, .path_contains = "/segments/"});
      }
      for (std::size_t i = 0; i < 300; ++i) world.step();
      world.check_all();
      corruptions += world.tier().health().corruptions;
      world.disk().faults().clear();
      if (world.rng().chance(0.5)) {
        world.power_cut();
      } else {
        world.close();
      }
    }
    for (std::size_t i = 0; i < kinds.size(); ++i) fired[i] += world.fired(kinds[i]);
    report("lies", seed, world, 0);
  }
  EXPECT_GT(corruptions, 0U);
  expect_fired(kinds, fired);
}

/// A store with one block of these bytes in it, open.
struct OneBlock {
  explicit OneBlock(std::size_t bytes) : world({.seed = 7}), payload(make_payload("k", 1, bytes)) {
    CAIRN_CHECK(world.open().ok());
    id = world.addressed_namespace();
    CAIRN_CHECK(put("k", payload, Durability::durable).ok());
  }
  absl::Status put(std::string_view key, const std::string& bytes, Durability durability) {
    const auto size = static_cast<std::uint32_t>(bytes.size());
    TierWrite write;
    CAIRN_RETURN_IF_ERROR(world.tier().reserve(id, {&size, 1}, {&write.location, 1}));
    write.name = {id, key, 0};
    write.id = block_id(write.name, world.tier().block_id_secret());
    write.payload = as_bytes(bytes);
    write.facts = {.sequence = world.tier().next_sequence(),
                   .plain_bytes = size,
                   .plain_sum = xxh3_64(as_bytes(bytes))};
    bool done = false;
    world.tier().write({&write, 1}, durability, [&] { done = true; });
    world.pump_until([&] { return done; });
    sequence = write.facts.sequence;
    location = write.location;
    return write.status;
  }
  absl::Status read(Deadline deadline) {
    std::string into(payload.size(), '\0');
    TierRead read;
    read.location = location;
    read.name = {id, "k", 0};
    read.sequence = sequence;
    read.destination = {reinterpret_cast<std::byte*>(into.data()), into.size()};
    read.deadline = deadline;
    bool done = false;
    world.tier().read({&read, 1}, [&] { done = true; });
    world.pump_until([&] { return done; });
    if (read.status.ok()) {
      EXPECT_EQ(into, payload);
    }
    return read.status;
  }

  ColdWorld world;
  std::string payload;
  NamespaceId id{};
  Location location;
  std::uint64_t sequence = 0;
};

TEST(ColdSim, AHungDiskHangsNobodyPastTheirDeadline) {
  OneBlock store(300'000);
  store.world.disk().faults().add(
      {.fault = Fault::hang, .side = Side::device, .nth = 1, .times = 1});
  const TimePoint deadline = store.world.clock().now() + Duration::millis(200);
  EXPECT_TRUE(has_code(store.read(deadline), ErrorCode::deadline));
  EXPECT_LE(store.world.clock().now(), deadline + Duration::millis(1));
  EXPECT_EQ(store.world.disk().faults().fired(Fault::hang), 1U);
  EXPECT_TRUE(store.read(TimePoint::never()).ok());  // others are served meanwhile
  store.world.device().release_hung();
  store.world.close();
}

TEST(ColdSim, RepeatedWriteErrorsSwitchWritesOffAndReadsGoOn) {
  OneBlock store(5'000);
  const Location kept = store.location;
  const std::uint64_t version = store.sequence;
  store.world.disk().faults().add({.fault = Fault::write_error,
                                   .side = Side::device,
                                   .odds = 1.0,
                                   .path_contains = "/segments/"});
  for (int i = 0; i < 20 && !store.world.tier().health().degraded; ++i) {
    EXPECT_FALSE(store.put(concat("n", i), std::string(100, 'x'), Durability::written).ok());
  }
  EXPECT_TRUE(store.world.tier().health().degraded);
  EXPECT_FALSE(store.world.tier().health().reason.empty());
  EXPECT_TRUE(has_code(store.put("more", "x", Durability::written), ErrorCode::degraded));
  store.location = kept;
  store.sequence = version;
  EXPECT_TRUE(store.read(TimePoint::never()).ok());
  store.world.disk().faults().clear();
  store.world.close();
  ASSERT_TRUE(store.world.open().ok());  // and a new opening begins anew
  EXPECT_FALSE(store.world.tier().health().degraded);
  EXPECT_TRUE(store.read(TimePoint::never()).ok());
}

TEST(ColdSim, AFailedSyncIsToldAndItsSegmentNeverSyncedAgain) {
  OneBlock store(5'000);
  store.world.disk().faults().add({.fault = Fault::sync_error,
                                   .side = Side::device,
                                   .nth = 1,
                                   .times = 1,
                                   .path_contains = "/segments/"});
  EXPECT_TRUE(
      has_code(store.put("lost", std::string(100, 'x'), Durability::durable), ErrorCode::io));
  EXPECT_EQ(store.world.tier().health().poisoned_segments, 1U);
  EXPECT_TRUE(store.put("next", std::string(100, 'x'), Durability::durable).ok());
  store.world.power_cut();
  ASSERT_TRUE(store.world.open().ok());
}

TEST(ColdSim, AFullStoreRefusesAndTakesAgainAfterEvictions) {
  OneBlock store(1'000);
  const std::string block = make_payload("full", 0, 200'000);  // it does not shrink
  std::vector<std::string> keys;
  absl::Status status;
  for (int i = 0; i < 1000; ++i) {
    keys.push_back(concat("full-", i));
    do {
      status = store.put(keys.back(), block, Durability::written);
    } while (has_code(status, ErrorCode::busy));
    store.world.check_limit();
    if (!status.ok()) break;
  }
  ASSERT_TRUE(has_code(status, ErrorCode::no_space)) << status.ToString();
  EXPECT_GT(keys.size(), 80U);  // it was full, not merely reluctant
  for (std::size_t i = 0; i < 30; ++i) {
    Removal removal{.name = {store.id, keys[i], 0},
                    .sequence = UINT64_MAX,
                    .reason = RemovalReason::evicted,
                    .status = {}};
    bool done = false;
    store.world.tier().remove({&removal, 1}, Durability::written, [&] { done = true; });
    store.world.pump_until([&] { return done; });
    EXPECT_TRUE(removal.status.ok());
  }
  for (int i = 0; i < 15; ++i) {
    do {
      status = store.put(concat("again-", i), block, Durability::written);
    } while (has_code(status, ErrorCode::busy));
    EXPECT_TRUE(status.ok()) << i << status.ToString();
    store.world.check_limit();
  }
  EXPECT_EQ(store.world.tier().counters().evicted_ever, 30U);
  store.world.close();
}

TEST(ColdSim, AFullStoreOpenedForReadingIsNotCleaned) {
  OneBlock store(1'000);
  const std::string block = make_payload("full", 0, 200'000);  // it does not shrink
  std::vector<std::string> keys;
  absl::Status status;
  while (!has_code(status, ErrorCode::no_space)) {
    keys.push_back(concat("full-", keys.size()));
    status = store.put(keys.back(), block, Durability::written);
  }
  // Half of every segment is dead, and the kill comes before any of it is won back.
  std::vector<Removal> removals;
  for (std::size_t i = 0; i < keys.size(); i += 2) {
    removals.push_back({.name = {store.id, keys[i], 0},
                        .sequence = UINT64_MAX,
                        .reason = RemovalReason::evicted,
                        .status = {}});
  }
  bool done = false;
  store.world.tier().remove(removals, Durability::written, [&] { done = true; });
  store.world.pump_until([&] { return done; });
  store.world.kill();

  const auto picture = [&store] {
    std::string all;
    for (const std::string& path : store.world.disk().files())
      all += path + store.world.disk().content(path);
    return xxh3_128(as_bytes(all));
  };
  const Hash128 before = picture();
  for (int opening = 0; opening < 2; ++opening) {
    ASSERT_TRUE(store.world.open(tiers::StoreMode::read_only).ok());
    const DurableCounters counted = store.world.tier().counters();
    const TimePoint later = store.world.clock().now() + Duration::seconds(2);
    store.world.pump_until([&] { return store.world.clock().now() >= later; });
    EXPECT_FALSE(store.world.tier().health().degraded) << store.world.tier().health().reason;
    EXPECT_EQ(store.world.tier().counters().media_bytes_written, counted.media_bytes_written);
    store.world.close();
    EXPECT_EQ(picture(), before);
  }
  ASSERT_TRUE(store.world.open().ok());  // and one that may write wins it back
  const DurableCounters counted = store.world.tier().counters();
  const TimePoint later = store.world.clock().now() + Duration::seconds(2);
  store.world.pump_until([&] { return store.world.clock().now() >= later; });
  EXPECT_GT(store.world.tier().counters().cleaned_segments, counted.cleaned_segments);
  store.world.close();
}

}  // namespace
}  // namespace cairn::test
