// SPDX-License-Identifier: Apache-2.0
// Repair: the index made again from the segments. Goal: after any life of the store and any loss
// of its index, what was kept is there, what was erased is not, and a repair that is killed
// can be repeated. Judge: the model of cold_world.h.
#include "tiers/cold/repair.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/cold_calls.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/rocksdb_index.h"
#include "tiers/cold/superblock.h"

namespace cairn::tiers {
namespace {

using test::ColdWorld;
using test::SimDevice;
using test::SimDisk;

constexpr const char* kDirectory = "/store";

absl::StatusOr<RepairReport> repair(const std::shared_ptr<SimDisk>& disk, bool dry_run = false,
                                    bool verify = false) {
  test::ManualClock clock;
  SimDevice device(disk, clock);
  RepairOptions options;
  options.directory = kDirectory;
  options.dry_run = dry_run;
  options.verify_payloads = verify;
  options.index_file_system = test::make_sim_rocksdb_fs(disk);
  return repair_store(device, options);
}

void lose_index(SimDisk& disk) {
  for (const std::string& path : disk.files()) {
    if (path.find("/store/index/") != std::string::npos) disk.take_away(path);
  }
}

/// Of a store that is closed.
std::unique_ptr<Index> open_index(const std::shared_ptr<SimDisk>& disk) {
  test::ManualClock clock;
  SimDevice device(disk, clock);
  IndexOptions options;
  options.directory = index_path(kDirectory);
  options.store = load_superblock(device, kDirectory)->superblock.store;
  options.file_system = test::make_sim_rocksdb_fs(disk);
  auto index = open_rocksdb_index(options);
  EXPECT_TRUE(index.ok()) << index.status();
  return index.ok() ? *std::move(index) : nullptr;
}

std::string fingerprint(const SimDisk& disk) {
  std::string all;
  for (const std::string& path : disk.files()) {
    all += path + to_hex(xxh3_128(as_bytes(disk.content(path)))) + "\n";
  }
  return all;
}

enum class End : std::uint8_t { closed, killed, power_cut };

void live(ColdWorld& world, std::size_t steps, End end) {
  for (std::size_t i = 0; i < steps; ++i) world.step();
  if (end == End::closed) {
    world.close();
  } else if (end == End::killed) {
    world.kill();
  } else {
    world.power_cut();
  }
}

TEST(Repair, GivesBackWhatTheSegmentsHoldHoweverTheStoreEnded) {
  for (const End end : {End::closed, End::killed, End::power_cut}) {
    for (const std::uint64_t seed : test::seeds({21, 22}, 1)) {
      test::print_seed(seed);
      ColdWorld world({.seed = seed, .evicted_may_return = true});
      for (std::size_t round = 0; round < test::scaled(3); ++round) {
        ASSERT_TRUE(world.open().ok());
        world.check_all();
        live(world, 300, end);
        const bool lost = world.rng().chance(0.6);
        if (lost) lose_index(world.disk());
        const auto report = repair(world.shared_disk(), false, world.rng().chance(0.3));
        ASSERT_TRUE(report.ok()) << report.status();
        EXPECT_GT(report->rebuilt.records, 0U);
        EXPECT_EQ(report->old_index.empty(), lost) << "round " << round;
      }
      ASSERT_TRUE(world.open().ok());
      world.check_all();
      world.close();
      EXPECT_EQ(world.counts().lost, 0U);
      EXPECT_GT(world.counts().found, 50U);
    }
  }
}

TEST(Repair, ADryRunSaysTheSameAndChangesNoByte) {
  ColdWorld world({.seed = 31});
  ASSERT_TRUE(world.open().ok());
  live(world, 300, End::killed);
  lose_index(world.disk());
  const std::string before = fingerprint(world.disk());
  const auto dry = repair(world.shared_disk(), true);
  ASSERT_TRUE(dry.ok()) << dry.status();
  EXPECT_EQ(fingerprint(world.disk()), before);
  const auto wet = repair(world.shared_disk());
  ASSERT_TRUE(wet.ok()) << wet.status();
  EXPECT_EQ(dry->rebuilt.kept, wet->rebuilt.kept);
  EXPECT_EQ(dry->rebuilt.tombstones_applied, wet->rebuilt.tombstones_applied);
  EXPECT_EQ(dry->rebuilt.records, wet->rebuilt.records);
  EXPECT_NE(fingerprint(world.disk()), before);
  // And a second time: the same again.
  const auto again = repair(world.shared_disk());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->rebuilt.kept, wet->rebuilt.kept);
  EXPECT_FALSE(again->old_index.empty());
}

TEST(Repair, KilledAtEveryWriteItCanBeRepeated) {
  ColdWorld world({.seed = 41, .keys = 40, .evicted_may_return = true});
  ASSERT_TRUE(world.open().ok());
  live(world, 120, End::killed);
  lose_index(world.disk());
  const std::uint64_t start = world.disk().mutations();
  const std::size_t stride = test::test_scale() < 1 ? 7 : 2;
  std::uint64_t kills = 0;
  for (std::uint64_t n = 1;; n += stride) {
    std::shared_ptr<SimDisk> disk = world.disk().snapshot();
    disk->freeze_at(disk->mutations() + n);
    const bool finished = repair(disk).ok();
    test::Rng rng(n);
    disk = n % 4 == 1 ? disk->kill_process(rng) : disk->power_cut(rng);
    if (finished) break;
    ++kills;
    const auto report = repair(disk);
    ASSERT_TRUE(report.ok()) << "killed at " << n << ": " << report.status();
    const auto whole = repair(disk, true);
    ASSERT_TRUE(whole.ok());
    ASSERT_EQ(whole->rebuilt.kept, report->rebuilt.kept) << "killed at " << n;
  }
  EXPECT_GE(kills, stride == 2 ? 20U : 3U) << "from " << start;
  std::printf("repair kills=%llu\n", static_cast<unsigned long long>(kills));
  ASSERT_TRUE(repair(world.shared_disk()).ok());
  ASSERT_TRUE(world.open().ok());
  world.check_all();
  world.close();
}

// Whichever of its last writes it dies at, what the old index alone knew is there afterwards, and
// in lost+found there are old indexes and nothing else.
TEST(Repair, KilledWhileItMovesTheIndexesItKeepsWhatOnlyTheOldOneKnew) {
  ColdWorld world({.seed = 42});
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  for (const char* key : {"a", "b", "c"})
    ASSERT_TRUE(put_block(world, ns, key, 3000, Durability::durable).status.ok());
  for (const char* key : {"a", "b"}) {
    const RemovalReason reason = RemovalReason::evicted;
    ASSERT_TRUE(remove_block(world, ns, key, reason, Durability::durable).ok());
  }
  world.close();
  const std::shared_ptr<SimDisk> whole = world.disk().snapshot();
  const std::uint64_t before = whole->mutations();
  ASSERT_TRUE(repair(whole).ok());
  const std::uint64_t all = whole->mutations() - before;
  constexpr std::uint64_t kLast = 24;  // from where the new index is whole
  ASSERT_GT(all, kLast);
  std::uint64_t kills = 0;
  for (std::uint64_t n = all - kLast;; ++n) {
    std::shared_ptr<SimDisk> disk = world.disk().snapshot();
    disk->freeze_at(disk->mutations() + n);
    const bool finished = repair(disk).ok();
    test::Rng rng(n);
    disk = n % 2 == 1 ? disk->kill_process(rng) : disk->power_cut(rng);
    if (finished) break;
    ++kills;
    const auto dry = repair(disk, true);
    ASSERT_TRUE(dry.ok()) << "killed at " << n << ": " << dry.status();
    EXPECT_TRUE(dry->counters_kept) << "killed at " << n;
    const auto report = repair(disk);
    ASSERT_TRUE(report.ok()) << "killed at " << n << ": " << report.status();
    EXPECT_TRUE(report->counters_kept) << "killed at " << n;
    EXPECT_FALSE(report->old_index.empty()) << "killed at " << n;
    EXPECT_EQ(open_index(disk)->counters().evicted, 2U) << "killed at " << n;
    for (const std::string& path : disk->files()) {
      EXPECT_EQ(path.find("index.re"), std::string::npos) << path << ", killed at " << n;
    }
  }
  EXPECT_GE(kills, 20U);
}

// The tombstone under a block may be cleaned away where an older version is not.
TEST(Repair, ABlockThatFollowsATombstoneGoesOnFollowingIt) {
  for (const bool is_tombstone : {false, true}) {
    ColdWorld world({.seed = 43});
    ASSERT_TRUE(world.open().ok());
    const NamespaceId ns = world.addressed_namespace();
    const auto put = put_block(world, ns, "k", 3000, Durability::durable);
    ASSERT_TRUE(put.status.ok());
    world.close();
    {
      const auto index = open_index(world.shared_disk());
      auto entry = *index->get({ns, "k", 0});
      ASSERT_TRUE(entry);
      if (is_tombstone) {  // and of the block that followed it the index has not heard
        entry = tombstone_in_place_of(*entry, put.sequence - 1, put.sequence);
      } else {
        entry->follows_tombstone = true;
      }
      const IndexChange change{{ns, "k", 0}, entry};
      ASSERT_TRUE(index->write({&change, 1}, {}, {}, true).ok());
    }
    const auto report = repair(world.shared_disk());
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->gone, 0U);
    const auto now = *open_index(world.shared_disk())->get({ns, "k", 0});
    ASSERT_TRUE(now);
    EXPECT_FALSE(now->tombstone);
    EXPECT_TRUE(now->follows_tombstone) << (is_tombstone ? "over a tombstone" : "flag");
  }
}

TEST(Repair, NumbersAreNotHandedOutTwice) {
  ColdWorld world({.seed = 51});
  ASSERT_TRUE(world.open().ok());
  for (int i = 0; i < 200; ++i) world.step();
  const std::uint64_t before = world.tier().next_sequence();
  live(world, 10, End::killed);
  lose_index(world.disk());
  ASSERT_TRUE(repair(world.shared_disk()).ok());
  ASSERT_TRUE(world.open().ok());
  EXPECT_GT(world.tier().next_sequence(), before);
  world.close();
}

TEST(Repair, OneCopyOfTheSuperblockIsEnoughAndBothGoneIsToldAndNothingTouched) {
  ColdWorld world({.seed = 61, .evicted_may_return = true});
  ASSERT_TRUE(world.open().ok());
  live(world, 200, End::closed);
  world.disk().flip_bit(superblock_path(kDirectory), 20, 1);
  lose_index(world.disk());
  const auto report = repair(world.shared_disk());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->superblock_healed);
  world.disk().flip_bit(superblock_path(kDirectory), 20, 1);
  world.disk().take_away(superblock_copy_path(kDirectory));
  const std::string before = fingerprint(world.disk());
  EXPECT_TRUE(has_code(repair(world.shared_disk()).status(), ErrorCode::corruption));
  EXPECT_EQ(fingerprint(world.disk()), before);
}

TEST(Repair, WhereThereIsNoStoreNothingIsMade) {
  const auto disk = std::make_shared<SimDisk>();
  EXPECT_TRUE(has_code(repair(disk).status(), ErrorCode::not_found));
  EXPECT_TRUE(disk->files().empty());
}

TEST(Repair, AnOpenStoreIsLeftAlone) {
  ColdWorld world({.seed = 71});
  ASSERT_TRUE(world.open().ok());
  EXPECT_TRUE(has_code(repair(world.shared_disk()).status(), ErrorCode::locked));
  EXPECT_TRUE(has_code(repair(world.shared_disk(), true).status(), ErrorCode::locked));
  world.close();
}

}  // namespace
}  // namespace cairn::tiers
