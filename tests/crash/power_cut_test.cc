// SPDX-License-Identifier: Apache-2.0
// Power cuts and kills of the whole store on the simulated disk, again and again, judged by a
// model: what was `durable` is there after a cut, what was `written` after a kill, what was
// erased never, and no byte is ever wrong.
//
// The model (store_model.h) knows for every name what a reader may see; "there or not" follows from
// the durability that was acknowledged, the kind of death, and what the store said that it would
// evict. After every step the disk holds no more of it than it may take. Where the index is lost
// after a cut and made again, the same holds, but for what docs/status.md says of a repair.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "engine/base/status.h"
#include "tests/crash/store_model.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/sim_store.h"

namespace cairn::test {
namespace {

unsigned long long as_printed(std::uint64_t count) {
  return count;
}

class PowerCut : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  /// Eight lives, each ended by a cut; after which the index is lost with these odds, and repaired.
  void live_and_die(double repair_odds);
};

void PowerCut::live_and_die(double repair_odds) {
  const std::uint64_t seed = GetParam();
  print_seed(seed);
  Rng rng(seed);
  Rng repair_rng(~seed);  // one of its own: the lives of a seed stay what they are
  StoreModel model;
  SimStoreOptions options = model.told(small_sim_store(seed));
  // Every other store is too small for what it is given, and must evict.
  const bool is_small = rng.chance(0.5);
  if (is_small) options.cold.cold_bytes = 40 * kMiB;
  SimStore store(options);
  CutReport torn_in_all;
  std::size_t cuts = 0;
  std::size_t kills = 0;
  std::size_t stuck = 0;
  std::size_t repairs = 0;
  Death death = Death::power_cut;
  const auto open = [&] {
    model.died();
    const absl::Status opened = store.open();
    ASSERT_TRUE(opened.ok()) << message_of(opened);
    const absl::Status namespaces = model.open_namespaces(store);
    ASSERT_TRUE(namespaces.ok()) << message_of(namespaces);
  };
  for (int life = 0; life < 8; ++life) {
    open();
    if (HasFailure()) return;
    if (life > 0) model.check_all(store, death);
    // The disk dies under the operation that makes the n-th change.
    store.disk().freeze_at(store.disk().mutations() + 20 + rng.below(900));
    int steps = 0;
    while (!store.disk().frozen()) {
      model.step(store, rng);
      ASSERT_FALSE(HasFailure()) << "life " << life << ", step " << steps;
      ASSERT_LE(store.cold_bytes_on_disk(), store.cold_bytes()) << "life " << life;
      if (++steps < 2000) continue;
      // A store that refuses everything makes no changes to die at. The smallest one may: its last
      // segments can fill up before its evictions have written the tombstones that they need.
      ASSERT_TRUE(is_small) << "life " << life << ": " << message_of(model.last_refusal());
      ++stuck;
      store.disk().freeze();
    }
    if (rng.below(3) == 0) {
      store.kill(rng);
      ++kills;
      open();
      if (HasFailure()) return;
      model.check_all(store, Death::kill);
    }
    CutReport report;
    store.power_cut(rng, &report);
    torn_in_all.writes_torn += report.writes_torn;
    torn_in_all.writes_dropped += report.writes_dropped;
    ++cuts;
    death = Death::power_cut;
    if (repair_rng.chance(repair_odds)) {
      store.lose_index();
      const absl::Status repaired = store.repair().status();
      ASSERT_TRUE(repaired.ok()) << message_of(repaired);
      death = Death::power_cut_and_repair;
      ++repairs;
    }
    ASSERT_FALSE(HasFailure()) << "life " << life;
  }
  std::printf("cairn-count: cuts=%zu\ncairn-count: simulated_kills=%zu\n", cuts, kills);
  std::printf("cairn-count: stuck_lives=%zu\ncairn-count: repairs=%zu\n", stuck, repairs);
  const StoreModel::Counts& counts = model.counts();
  std::printf("found=%llu evicted=%llu expired=%llu clears=%llu pins=%llu told=%llu\n",
              as_printed(counts.found), as_printed(counts.missing_evicted),
              as_printed(counts.expired), as_printed(counts.clears), as_printed(counts.pins),
              as_printed(model.evictions().from_durable()));
  std::printf("kept_by_repair=%llu\n", as_printed(counts.kept_by_repair));
  EXPECT_GT(counts.found, 0U);
  EXPECT_GT(torn_in_all.writes_torn + torn_in_all.writes_dropped, 0U)
      << "the cuts took nothing away";
}

TEST_P(PowerCut, WhatWasPromisedIsThereAndNothingElse) {
  live_and_die(0);
}

class PowerCutAndRepair : public PowerCut {};

TEST_P(PowerCutAndRepair, WhatWasPromisedIsThereAndNothingElse) {
  live_and_die(0.5);
}

// An eviction leaves a tombstone where the name was erased before; a block that hot still has must
// then not be written under the version that the tombstone buries.
TEST(PutAgain, ABlockThatColdGaveUpIsDurableWhenAskedForAgain) {
  SimStore store(small_sim_store(1));
  ASSERT_TRUE(store.open().ok());
  const auto ns = store.engine().open_namespace({.name = "n"});
  ASSERT_TRUE(ns.ok());
  const std::string payload = make_payload("key", 1, 20'000);
  const auto put = [&] { return store.put(*ns, "key", as_bytes(payload), Durability::durable); };
  ASSERT_TRUE(put().status.ok());
  ASSERT_TRUE(store.erase(*ns, "key").ok());
  ASSERT_TRUE(put().status.ok());
  ASSERT_TRUE(store.engine().evict_unused(TierKind::cold, 0).ok());
  ASSERT_TRUE(put().status.ok());
  Rng rng(1);
  store.power_cut(rng);
  ASSERT_TRUE(store.open().ok());
  const auto again = store.engine().open_namespace({.name = "n"});
  ASSERT_TRUE(again.ok());
  const auto got = store.get(*again, "key");
  ASSERT_TRUE(got.ok() && got->has_value());
  EXPECT_TRUE(is_payload("key", 1, as_bytes(**got)));
}

// An eviction removes the name and leaves the record. When the name is then erased there is nothing
// to be found, and still a repair, which sees records alone, must not bring it back.
TEST(ErasedAfterItsEviction, DoesNotComeBackWithARepair) {
  for (const bool again_in_memory : {false, true}) {
    const NamespaceKind kind =
        again_in_memory ? NamespaceKind::mutable_ : NamespaceKind::content_addressed;
    SimStore store(small_sim_store(1));
    ASSERT_TRUE(store.open().ok());
    const auto ns = store.engine().open_namespace({.name = "n", .kind = kind});
    ASSERT_TRUE(ns.ok());
    const std::string payload = make_payload("key", 1, 20'000);
    ASSERT_TRUE(store.put(*ns, "key", as_bytes(payload), Durability::durable).status.ok());
    ASSERT_TRUE(store.engine().evict_unused(TierKind::hot, 0).ok());
    ASSERT_TRUE(store.engine().evict_unused(TierKind::cold, 0).ok());
    if (again_in_memory) {
      ASSERT_TRUE(store.put(*ns, "key", as_bytes(payload), Durability::memory).status.ok());
    }
    const auto erased = store.erase(*ns, "key");
    ASSERT_TRUE(erased.ok());
    EXPECT_EQ(*erased, again_in_memory) << "it was evicted";
    Rng rng(1);
    store.kill(rng);
    store.lose_index();
    ASSERT_TRUE(store.repair().ok());
    ASSERT_TRUE(store.open().ok());
    const auto again = store.engine().open_namespace({.name = "n", .kind = kind});
    ASSERT_TRUE(again.ok());
    const auto got = store.get(*again, "key");
    ASSERT_TRUE(got.ok());
    EXPECT_FALSE(got->has_value()) << namespace_kind_name(kind) << ": erased, and back";
    // And a name that was erased can be put again.
    ASSERT_TRUE(store.put(*again, "key", as_bytes(payload), Durability::durable).status.ok());
    store.power_cut(rng);
    ASSERT_TRUE(store.open().ok());
    const auto third = store.engine().open_namespace({.name = "n", .kind = kind});
    ASSERT_TRUE(third.ok());
    const auto kept = store.get(*third, "key");
    EXPECT_TRUE(kept.ok() && kept->has_value());
  }
}

// A dirty stop may leave a record that no entry names. When the name is erased there is nothing to
// be found either, and a repair sees the record.
TEST(ErasedAfterADirtyStop, DoesNotComeBackWithARepair) {
  std::size_t unnamed = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SimStore store(small_sim_store(seed));
    ASSERT_TRUE(store.open().ok());
    auto ns = store.engine().open_namespace({.name = "n"});
    ASSERT_TRUE(ns.ok());
    const std::string payload = make_payload("key", 1, 20'000);
    ASSERT_TRUE(store.put(*ns, "first", as_bytes(payload), Durability::durable).status.ok());
    store.disk().freeze_at(store.disk().mutations() + 1);  // its record is under way
    ASSERT_FALSE(store.put(*ns, "key", as_bytes(payload), Durability::written).status.ok());
    Rng rng(seed);
    store.kill(rng);
    ASSERT_TRUE(store.open().ok());
    ns = store.engine().open_namespace({.name = "n"});
    ASSERT_TRUE(ns.ok());
    const auto got = store.get(*ns, "key");
    ASSERT_TRUE(got.ok());
    unnamed += got->has_value() ? 0U : 1U;
    ASSERT_TRUE(store.close().ok());  // what is to be known of the stop outlives a clean one
    ASSERT_TRUE(store.open().ok());
    ns = store.engine().open_namespace({.name = "n"});
    ASSERT_TRUE(ns.ok());
    ASSERT_TRUE(store.erase(*ns, "key").ok());
    store.kill(rng);
    store.lose_index();
    ASSERT_TRUE(store.repair().ok());
    ASSERT_TRUE(store.open().ok());
    ns = store.engine().open_namespace({.name = "n"});
    ASSERT_TRUE(ns.ok());
    const auto back = store.get(*ns, "key");
    ASSERT_TRUE(back.ok());
    EXPECT_FALSE(back->has_value()) << "erased, and back";
  }
  EXPECT_GT(unnamed, 0U) << "every stop left it named";
}

// `written` promises that a cut takes no more than the last sync_interval.
TEST(WrittenBlocks, SurviveACutOnceTheyAreOlderThanTheSyncInterval) {
  for (const std::uint64_t seed : seeds({31, 32, 33, 34}, scaled(4))) {
    print_seed(seed);
    Rng rng(seed);
    SimStoreOptions options = small_sim_store(seed);
    options.cold.sync_interval = Duration::seconds(1 + static_cast<std::int64_t>(rng.below(5)));
    SimStore store(options);
    ASSERT_TRUE(store.open().ok());
    const auto ns = store.engine().open_namespace({.name = "n"});
    ASSERT_TRUE(ns.ok());
    constexpr std::size_t kBlocks = 30;
    const auto key_of = [](std::size_t i) { return "key-" + std::to_string(i); };
    // At any moment of the interval, so that no block is young whenever the sync comes.
    const std::uint64_t gap_ms = rng.below(100);
    const auto put = [&](std::size_t i) {
      const std::string payload = make_payload(key_of(i), 1, 1 + i * 7919);
      ASSERT_TRUE(store.put(*ns, key_of(i), as_bytes(payload), Durability::written).status.ok());
      store.pump_until([] { return false; }, Duration::millis(static_cast<std::int64_t>(gap_ms)));
    };
    for (std::size_t i = 0; i < kBlocks; ++i) put(i);
    // The sync itself takes a few milliseconds of the device.
    store.pump_until([] { return false; },
                     Duration{options.cold.sync_interval.ns + Duration::millis(100).ns});
    for (std::size_t i = kBlocks; i < kBlocks + 5; ++i) put(i);  // these are too young to count on
    CutReport report;
    store.power_cut(rng, &report);
    ASSERT_TRUE(store.open().ok());
    const auto again = store.engine().open_namespace({.name = "n"});
    ASSERT_TRUE(again.ok());
    for (std::size_t i = 0; i < kBlocks; ++i) {
      const auto got = store.get(*again, key_of(i));
      ASSERT_TRUE(got.ok());
      ASSERT_TRUE(got->has_value())
          << key_of(i) << " was older than " << options.cold.sync_interval.ns;
      EXPECT_TRUE(is_payload(key_of(i), 1, as_bytes(**got)));
    }
    std::printf("cairn-count: cuts=1\n");
  }
}

// The sync may come while a block is on its way: then the next one has to come, too.
TEST(WrittenBlocks, OfAnIdleStoreSurviveACutThoughASyncCameInTheMiddle) {
  constexpr Duration kInterval = Duration::seconds(1);
  for (int quarter_ms = -16; quarter_ms <= 4; ++quarter_ms) {
    SimStoreOptions options = small_sim_store(7);
    options.cold.sync_interval = kInterval;
    SimStore store(options);
    const TimePoint opened = store.clock().now();
    ASSERT_TRUE(store.open().ok());
    const auto ns = store.engine().open_namespace({.name = "n"});
    ASSERT_TRUE(ns.ok());
    // There has to be a segment already: making one syncs.
    const std::string payload = make_payload("key", 1, 20'000);
    ASSERT_TRUE(store.put(*ns, "first", as_bytes(payload), Durability::written).status.ok());
    const TimePoint due = opened + Duration{3 * kInterval.ns};
    const TimePoint begin = due + Duration::micros(250 * quarter_ms);
    store.pump_until([&] { return store.clock().now() >= begin; });
    ASSERT_TRUE(store.put(*ns, "key", as_bytes(payload), Durability::written).status.ok());
    store.pump_until([] { return false; }, Duration{2 * kInterval.ns + Duration::millis(100).ns});
    Rng rng(static_cast<std::uint64_t>(quarter_ms + 100));
    store.power_cut(rng);
    ASSERT_TRUE(store.open().ok());
    const auto again = store.engine().open_namespace({.name = "n"});
    ASSERT_TRUE(again.ok());
    const auto got = store.get(*again, "key");
    ASSERT_TRUE(got.ok());
    EXPECT_TRUE(got->has_value()) << 0.25 * quarter_ms << " ms from the sync";
  }
}

// 18243256380072360088: a put that failed came back several lives later, when a torn log was
// caught up from a segment of an earlier process. A longer run takes more of them, and more new
// ones beside.
std::vector<std::uint64_t> chosen_seeds() {
  std::vector<std::uint64_t> chosen = seeds({18243256380072360088U}, scaled(4));
  const std::uint64_t fixed = std::min<std::uint64_t>(29, scaled(29));
  for (std::uint64_t seed = 1; seed <= fixed; ++seed) chosen.push_back(seed);
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Seeds, PowerCut, ::testing::ValuesIn(chosen_seeds()));
INSTANTIATE_TEST_SUITE_P(Seeds, PowerCutAndRepair,
                         ::testing::ValuesIn(seeds({1, 2, 3, 4, 5, 6, 7, 8}, scaled(4))));

}  // namespace
}  // namespace cairn::test
