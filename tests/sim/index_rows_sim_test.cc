// SPDX-License-Identifier: Apache-2.0
// The index's rows of segments. Goal: an acknowledged block is in a segment that the next
// process knows to be in use, whatever the index refused on the way; and rows that are wrong cost
// blocks, never the process.
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/text.h"
#include "tests/support/cold_calls.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"
#include "tiers/cold/rocksdb_index.h"
#include "tiers/cold/superblock.h"

namespace cairn::test {
namespace {

/// The index of a store that is closed.
std::unique_ptr<tiers::Index> open_index(ColdWorld& world) {
  SimDevice device(world.shared_disk(), world.clock());
  const auto loaded = tiers::load_superblock(device, "/store");
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  tiers::IndexOptions options;
  options.directory = tiers::index_path("/store");
  options.store = loaded->superblock.store;
  options.file_system = make_sim_rocksdb_fs(world.shared_disk());
  auto index = tiers::open_rocksdb_index(options);
  EXPECT_TRUE(index.ok()) << index.status();
  return std::move(*index);
}

/// Puts until the store is full; every segment is asked for on the way.
void fill(ColdWorld& world, NamespaceId ns) {
  absl::Status status;
  for (int i = 0; i < 2000 && !has_code(status, ErrorCode::no_space); ++i) {
    status = put_block(world, ns, concat("fill-", i), 300'000, Durability::written).status;
    if (has_code(status, ErrorCode::busy)) let_pass(world, Duration::millis(50));
  }
  EXPECT_TRUE(has_code(status, ErrorCode::no_space)) << status;
}

TEST(IndexRowsSim, ARowThatFoundNoRoomIsWrittenBeforeItsEntries) {
  for (const Durability durability : {Durability::written, Durability::durable}) {
    for (std::uint64_t nth = 1; nth <= 3; ++nth) {
      ColdWorld world({.seed = 11});
      ASSERT_TRUE(world.open().ok());
      const NamespaceId ns = world.addressed_namespace();
      // The first things the log is asked to take are the row of a segment and its entries.
      world.disk().faults().add({.fault = Fault::no_space,
                                 .side = Side::rocksdb,
                                 .nth = nth,
                                 .times = 1,
                                 .path_contains = ".log"});
      std::vector<std::string> kept;
      for (int i = 0; i < 6; ++i) {
        const std::string key = concat("k", i);
        if (put_block(world, ns, key, 50'000, durability).status.ok()) kept.push_back(key);
      }
      EXPECT_EQ(world.disk().faults().fired(Fault::no_space), 1U);
      EXPECT_GE(kept.size(), 4U);
      world.kill();
      for (int opening = 0; opening < 2; ++opening) {
        ASSERT_TRUE(world.open().ok());
        for (const std::string& key : kept) EXPECT_TRUE(read_block(world, ns, key).ok()) << key;
        fill(world, ns);
        for (const std::string& key : kept) EXPECT_TRUE(read_block(world, ns, key).ok()) << key;
        world.kill();
      }
    }
  }
}

TEST(IndexRowsSim, ALogThatRefusesNowAndThenLosesNothing) {
  std::uint64_t fired = 0;
  for (const std::uint64_t seed : seeds({61, 62, 63}, 2)) {
    print_seed(seed);
    ColdWorld world({.seed = seed, .evicted_may_return = true, .refused_may_return = true});
    for (std::size_t round = 0; round < scaled(10); ++round) {
      ASSERT_TRUE(world.open().ok());
      world.check_all();
      world.disk().faults().add(
          {.fault = Fault::no_space, .side = Side::rocksdb, .odds = 0.05, .path_contains = ".log"});
      const std::size_t steps = world.rng().between(20, 300);
      for (std::size_t i = 0; i < steps && !world.tier().health().degraded; ++i) world.step();
      world.settle();
      world.disk().faults().clear();
      world.check_all();
      world.rng().chance(0.7) ? world.kill() : world.close();
    }
    ASSERT_TRUE(world.open().ok());
    world.check_all();
    world.close();
    EXPECT_EQ(world.counts().lost, 0U) << seed;
    fired += world.fired(Fault::no_space);
  }
  std::printf("cairn-count: refusals=%llu\n", static_cast<unsigned long long>(fired));
  if (test_scale() >= 1) {
    EXPECT_GT(fired, 0U);
  }
}

TEST(IndexRowsSim, AMarkThatFoundNoRoomIsWrittenAgain) {
  ColdWorld world({.seed = 12});
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  const BlockPut first = put_block(world, ns, "k", 50'000, Durability::written);
  ASSERT_TRUE(first.status.ok());
  world.disk().faults().add({.fault = Fault::sync_error,
                             .side = Side::device,
                             .nth = 1,
                             .times = 1,
                             .path_contains = "/segments/"});
  world.disk().faults().add({.fault = Fault::no_space,
                             .side = Side::rocksdb,
                             .nth = 1,
                             .times = 1,
                             .path_contains = ".log"});
  bool done = false;
  world.tier().sync([&](absl::Status status) {
    EXPECT_FALSE(status.ok());
    done = true;
  });
  world.pump_until([&] { return done; });
  let_pass(world, Duration::seconds(2));  // nobody puts anything
  EXPECT_EQ(world.tier().health().poisoned_segments, 1U);
  EXPECT_EQ(world.disk().faults().fired(Fault::no_space), 1U);
  world.kill();
  const auto rows = open_index(world)->segments();
  ASSERT_TRUE(rows.ok());
  const tiers::SegmentId poisoned = tiers::unpack_location(first.location).segment;
  bool is_marked = false;
  for (const tiers::SegmentRow& row : *rows)
    is_marked |= row.segment == poisoned && row.state == tiers::SegmentState::poisoned;
  EXPECT_TRUE(is_marked);
}

TEST(IndexRowsSim, AFileThatIsNewerThanItsRowIsNotFree) {
  ColdWorld world({.seed = 13});
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  const BlockPut put = put_block(world, ns, "k", 50'000, Durability::durable);
  ASSERT_TRUE(put.status.ok());
  world.kill();
  {
    tiers::SegmentRow row;  // as before the segment was opened
    row.segment = tiers::unpack_location(put.location).segment;
    row.state = tiers::SegmentState::free;
    const auto index = open_index(world);
    ASSERT_TRUE(index->write({}, {&row, 1}, {}, true).ok());
    // No orderly end: an index whose log is empty is caught up from the segments anyway.
    world.disk().freeze();
  }
  world.power_cut_unopened();
  ASSERT_TRUE(world.open().ok());
  EXPECT_TRUE(read_block(world, ns, "k").ok());
  fill(world, ns);
  EXPECT_TRUE(read_block(world, ns, "k").ok());
  world.kill();
  ASSERT_TRUE(world.open().ok());
  EXPECT_TRUE(read_block(world, ns, "k").ok());
  world.close();
}

TEST(IndexRowsSim, AnEntryInAFreeSegmentCostsItsBlockAndNotTheProcess) {
  for (const bool is_clean : {true, false}) {
    ColdWorld world({.seed = 14});
    ASSERT_TRUE(world.open().ok());
    const NamespaceId ns = world.addressed_namespace();
    ASSERT_TRUE(put_block(world, ns, "k", 50'000, Durability::durable).status.ok());
    const std::optional<StoredBlock> found = *look_up(world, ns, "k");
    ASSERT_TRUE(found);
    is_clean ? world.close() : world.kill();
    {
      const auto index = open_index(world);
      auto entry = *index->get({ns, "k", 0});
      ASSERT_TRUE(entry);
      // Two segments that there never was a file of, and never will be while this stands.
      tiers::Place place = tiers::unpack_location(entry->location);
      std::vector<tiers::IndexChange> changes;
      const std::vector<std::string> keys = {"astray-1", "astray-2"};
      std::vector<tiers::SegmentRow> rows;
      for (std::uint32_t i = 0; i < 2; ++i) {
        place.segment = tiers::SegmentId{3 + i};
        entry->location = tiers::pack_location(place);
        changes.push_back({{ns, keys[i], 0}, *entry});
        tiers::SegmentRow row;
        row.segment = place.segment;
        row.generation = 7;
        rows.push_back(row);
      }
      ASSERT_TRUE(index->write(changes, rows, {}, true).ok());
    }
    ASSERT_TRUE(world.open().ok());
    fill(world, ns);
    EXPECT_TRUE(read_block(world, ns, "k").ok());
    EXPECT_FALSE(read_block(world, ns, "astray-1").ok());
    bool compacted = false;  // meets them on the way, if their segments are in use by now
    world.tier().compact(0.0, [&](const absl::Status&) { compacted = true; });
    world.pump_until([&] { return compacted; });
    EXPECT_TRUE(read_block(world, ns, "k").ok());
    // Whoever finds it out removes it, and the segment can be used.
    for (const char* key : {"astray-1", "astray-2"}) {
      EXPECT_TRUE(remove_block(world, ns, key, RemovalReason::corrupt, Durability::written).ok());
    }
    let_pass(world, Duration::seconds(1));
    EXPECT_TRUE(read_block(world, ns, "k").ok());
    world.close();
    ASSERT_TRUE(world.open().ok());
    EXPECT_TRUE(read_block(world, ns, "k").ok());
    world.close();
  }
}

TEST(IndexRowsSim, AFreeSegmentIsNotQuarantinedForWhatTheIndexSaysOfIt) {
  ColdWorld world({.seed = 14});
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  for (int i = 0; i < 60; ++i)
    ASSERT_TRUE(put_block(world, ns, concat("x", i), 300'000, Durability::written).status.ok());
  ASSERT_TRUE(put_block(world, ns, "k", 50'000, Durability::durable).status.ok());
  for (int i = 0; i < 60; ++i) {
    const auto removed =
        remove_block(world, ns, concat("x", i), RemovalReason::evicted, Durability::written);
    ASSERT_TRUE(removed.ok());
  }
  bool compacted = false;
  world.tier().compact(0.0, [&](const absl::Status&) { compacted = true; });
  world.pump_until([&] { return compacted; });
  world.close();
  constexpr int kAstray = 20;  // more than a segment is allowed
  {
    const auto index = open_index(world);
    auto entry = *index->get({ns, "k", 0});
    ASSERT_TRUE(entry);
    tiers::Place place = tiers::unpack_location(entry->location);
    bool any_free = false;
    const auto rows = index->segments();
    ASSERT_TRUE(rows.ok());
    for (const tiers::SegmentRow& row : *rows) {
      if (row.state != tiers::SegmentState::free) continue;
      place.segment = row.segment;
      any_free = true;
    }
    ASSERT_TRUE(any_free);
    entry->location = tiers::pack_location(place);
    for (int i = 0; i < kAstray; ++i) {
      const std::string key = concat("astray-", i);
      const tiers::IndexChange change{{ns, key, 0}, entry};
      ASSERT_TRUE(index->write({&change, 1}, {}, {}, true).ok());
    }
  }
  ASSERT_TRUE(world.open().ok());
  ASSERT_TRUE(world.tier().opened_clean());
  for (int i = 0; i < kAstray; ++i) EXPECT_FALSE(read_block(world, ns, concat("astray-", i)).ok());
  EXPECT_GE(world.tier().health().corruptions, std::uint64_t{kAstray});
  EXPECT_EQ(world.tier().health().quarantined_segments, 0U);
  for (int i = 0; i < kAstray; ++i) {
    const auto removed =
        remove_block(world, ns, concat("astray-", i), RemovalReason::corrupt, Durability::written);
    EXPECT_TRUE(removed.ok()) << removed;
  }
  fill(world, ns);  // whoever was promised room gets it
  EXPECT_TRUE(read_block(world, ns, "k").ok());
  world.close();
}

std::uint64_t log_bytes(const SimDisk& disk) {
  std::uint64_t bytes = 0;
  for (const std::string& path : disk.files())
    bytes += path.ends_with(".log") ? disk.content(path).size() : 0;
  return bytes;
}

// One batch that fills a segment and goes on in the next: its entries come when all of it is
// written, which is after the first segment was sealed. Wherever the log is torn afterwards, what
// it lost lies in the segments.
TEST(IndexRowsSim, ASegmentIsNotCalledSealedBeforeItsEntriesAreThere) {
  constexpr std::size_t kBlocks = 20, kBytes = 300'000;
  constexpr std::uint64_t kCuts = 40;
  for (std::uint64_t cut = 1; cut < kCuts; ++cut) {
    ColdWorld world({.seed = 15});
    ASSERT_TRUE(world.open().ok());
    const NamespaceId ns = world.addressed_namespace();
    std::vector<std::string> keys, payloads;
    std::vector<std::uint32_t> sizes(kBlocks, kBytes);
    std::vector<Location> locations(kBlocks);
    std::vector<TierWrite> batch(kBlocks);
    ASSERT_TRUE(world.tier().reserve(ns, sizes, locations).ok());
    for (std::size_t i = 0; i < kBlocks; ++i) keys.push_back(concat("k", i));
    for (std::size_t i = 0; i < kBlocks; ++i) {
      const std::uint64_t sequence = world.tier().next_sequence();
      payloads.push_back(make_payload(keys[i], sequence, kBytes));
      TierWrite& write = batch[i];
      write.location = locations[i];
      write.name = {ns, keys[i], 0};
      write.id = block_id(write.name, world.tier().block_id_secret());
      write.facts = {.sequence = sequence, .plain_bytes = sizes[i]};
    }
    for (std::size_t i = 0; i < kBlocks; ++i) {
      batch[i].payload = as_bytes(payloads[i]);
      batch[i].facts.plain_sum = xxh3_64(as_bytes(payloads[i]));
    }
    const std::uint64_t begun = log_bytes(world.disk());
    bool done = false;
    world.tier().write(batch, Durability::durable, [&] { done = true; });
    world.pump_until([&] { return done; });
    for (const TierWrite& write : batch) ASSERT_TRUE(write.status.ok()) << write.status;
    world.kill();
    for (const std::string& path : world.disk().files()) {
      if (!path.ends_with(".log")) continue;
      const std::uint64_t bytes = world.disk().content(path).size();
      ASSERT_GT(bytes, begun + kCuts);
      world.disk().truncate(path, begun + (bytes - begun) * cut / kCuts);
    }
    ASSERT_TRUE(world.open().ok());
    for (const std::string& key : keys)
      ASSERT_TRUE(read_block(world, ns, key).ok()) << key << ", cut at " << cut << " of " << kCuts;
    world.close();
  }
}

}  // namespace
}  // namespace cairn::test
