// SPDX-License-Identifier: Apache-2.0
// Damage to the index's own files. Goal: each of them missing, cut short, or with flipped bits
// gives an error that names repair, or a store that serves no wrong byte and nothing that was
// erased; and repair brings back what the segments hold. Judge: the model of cold_world.h.
#include <gtest/gtest.h>

#include <cstdio>
#include <functional>

#include "engine/base/status.h"
#include "tests/support/cold_world.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tiers/cold/repair.h"

namespace cairn::test {
namespace {

struct Outcomes {
  std::uint64_t damaged = 0;  // damages done
  std::uint64_t refused = 0;  // openings that failed with `corruption`
  std::uint64_t opened = 0;   // openings that went well all the same
  std::uint64_t found = 0;    // blocks read and verified afterwards
};

std::vector<std::string> index_files(const SimDisk& disk) {
  std::vector<std::string> out;
  for (const std::string& path : disk.files()) {
    if (path.find("/store/index/") != std::string::npos) out.push_back(path);
  }
  return out;
}

/// A life of its own for each damage: the model cannot be copied, so the seed repeats it.
std::unique_ptr<ColdWorld> lived(std::uint64_t seed, bool killed) {
  auto world = std::make_unique<ColdWorld>(ColdWorldOptions{.seed = seed,
                                                            .keys = 40,
                                                            .payload_bytes_max = 100 * 1024,
                                                            .losses_allowed = true,
                                                            .evicted_may_return = true});
  EXPECT_TRUE(world->open().ok());
  for (int i = 0; i < 150; ++i) world->step();
  world->settle();
  if (killed) {
    world->kill();
  } else {
    world->close();
  }
  return world;
}

absl::Status repair(ColdWorld& world) {
  ManualClock clock;
  SimDevice device(world.shared_disk(), clock);
  tiers::RepairOptions options;
  options.directory = "/store";
  options.index_file_system = make_sim_rocksdb_fs(world.shared_disk());
  return tiers::repair_store(device, options).status();
}

/// Opens what was damaged, and where that is refused repairs it; then the model judges.
void judge(ColdWorld& world, const std::string& what, Outcomes& outcomes) {
  ++outcomes.damaged;
  absl::Status opened = world.open();
  if (!opened.ok()) {
    ASSERT_TRUE(has_code(opened, ErrorCode::corruption)) << what << ": " << opened;
    ++outcomes.refused;
    const absl::Status repaired = repair(world);
    ASSERT_TRUE(repaired.ok()) << what << ": " << repaired;
    opened = world.open();
    ASSERT_TRUE(opened.ok()) << what << ": " << opened;
    // The segments are whole, so nothing that was acknowledged is missing any more.
    world.options().losses_allowed = false;
  } else {
    ++outcomes.opened;
  }
  const std::uint64_t before = world.counts().found;
  world.check_all();
  outcomes.found += world.counts().found - before;
  world.close();
}

void print(const char* what, const Outcomes& o) {
  std::printf("index damage: %s damaged=%llu refused=%llu opened=%llu found=%llu\n", what,
              static_cast<unsigned long long>(o.damaged),
              static_cast<unsigned long long>(o.refused), static_cast<unsigned long long>(o.opened),
              static_cast<unsigned long long>(o.found));
}

TEST(IndexDamage, EachFileMissing) {
  Outcomes outcomes;
  for (const bool killed : {false, true}) {
    const std::size_t files = index_files(lived(1, killed)->disk()).size();
    ASSERT_GE(files, 5U);
    for (std::size_t i = 0; i < files; ++i) {
      const auto world = lived(1, killed);
      const std::string path = index_files(world->disk()).at(i);
      world->disk().take_away(path);
      judge(*world, "missing " + path, outcomes);
    }
  }
  print("missing", outcomes);
  EXPECT_GE(outcomes.refused, 4U);
  EXPECT_GT(outcomes.found, 0U);
}

TEST(IndexDamage, EachFileCut) {
  Outcomes outcomes;
  for (const bool killed : {false, true}) {
    const std::size_t files = index_files(lived(2, killed)->disk()).size();
    for (std::size_t i = 0; i < files; ++i) {
      for (const std::uint64_t eighths : {0U, 3U, 7U}) {
        const auto world = lived(2, killed);
        const std::string path = index_files(world->disk()).at(i);
        world->disk().truncate(path, world->disk().content(path).size() * eighths / 8);
        judge(*world, "cut " + path, outcomes);
      }
    }
  }
  print("cut", outcomes);
  EXPECT_GT(outcomes.refused, 0U);
  EXPECT_GT(outcomes.opened, 0U);
}

TEST(IndexDamage, FlippedBits) {
  for (const std::uint64_t seed : seeds({3}, 1)) {
    print_seed(seed);
    Rng rng(seed);
    Outcomes outcomes;
    for (std::size_t i = 0; i < scaled(60); ++i) {
      const bool killed = rng.chance(0.5);
      const auto world = lived(seed + i % 4, killed);
      // A file first, then a place in it: small ones matter as much as large ones.
      std::vector<std::string> files = index_files(world->disk());
      std::erase_if(files, [&](const std::string& f) { return world->disk().content(f).empty(); });
      const std::string path = rng.pick(files);
      const std::uint64_t byte = rng.below(world->disk().content(path).size());
      world->disk().flip_bit(path, byte, static_cast<unsigned>(rng.below(8)));
      judge(*world, "flip " + path, outcomes);
    }
    print("flipped", outcomes);
    EXPECT_GT(outcomes.refused, 0U);
    EXPECT_GT(outcomes.opened, 0U);
  }
}

}  // namespace
}  // namespace cairn::test
