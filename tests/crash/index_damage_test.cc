// SPDX-License-Identifier: Apache-2.0
// Damage to the index's own files. Goal: each of them missing, cut short, or with flipped bits,
// zeroed, swapped or stale pages gives an error that names repair, or a store that serves no wrong
// byte and nothing that was erased; and repair brings back what the segments hold. Judge: the model
// of cold_world.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
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
  SCOPED_TRACE(what);
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

void count(const Outcomes& o) {
  std::printf("cairn-count: index_damages=%llu\n", static_cast<unsigned long long>(o.damaged));
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
  count(outcomes);
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
  count(outcomes);
  EXPECT_GT(outcomes.refused, 0U);
  EXPECT_GT(outcomes.opened, 0U);
}

enum class Damage : std::uint8_t { flipped_bit, zeroed_page, swapped_pages, stale_page };
constexpr std::size_t kDamageKinds = 4;
const char* const kDamageNames[kDamageKinds] = {"flipped bit", "zeroed page", "swapped pages",
                                                "stale page"};

std::uint64_t pages_of(SimDisk& disk, const std::string& path) {
  return (disk.content(path).size() + 4095) / 4096;
}

/// False where it would leave every byte as it was.
bool do_damage(SimDisk& disk, Damage damage, const std::vector<std::string>& files, Rng& rng,
               std::string* where) {
  // A file first, then a place in it: small ones matter as much as large ones.
  const std::string& path = files[rng.below(files.size())];
  const std::string& other = files[rng.below(files.size())];
  const std::string before = disk.content(path);
  const std::uint64_t page = rng.below(pages_of(disk, path));
  *where = path;
  switch (damage) {
    case Damage::flipped_bit:
      disk.flip_bit(path, rng.below(before.size()), static_cast<unsigned>(rng.below(8)));
      break;
    case Damage::zeroed_page:
      disk.zero_page(path, page);
      break;
    case Damage::swapped_pages:
      disk.swap_pages(path, page, other, rng.below(pages_of(disk, other)));
      *where += " with " + other;
      break;
    case Damage::stale_page:
      if (!disk.make_page_stale(path, page)) return false;
      break;
  }
  return disk.content(path) != before;
}

TEST(IndexDamage, FlippedBitsAndZeroedSwappedAndStalePages) {
  for (const std::uint64_t seed : seeds({3}, 1)) {
    print_seed(seed);
    Rng rng(seed);
    Outcomes outcomes;
    std::array<std::size_t, kDamageKinds> done{};
    const std::size_t wanted = scaled(120);
    for (std::size_t i = 0; outcomes.damaged < wanted; ++i) {
      ASSERT_LT(i, 20 * wanted) << "there is nothing to damage";
      const bool killed = rng.chance(0.5);
      const auto world = lived(seed + i % 4, killed);
      std::vector<std::string> files = index_files(world->disk());
      std::erase_if(files, [&](const std::string& f) { return world->disk().content(f).empty(); });
      // The rarest: not every page ever had another content.
      const auto kind =
          static_cast<std::size_t>(std::min_element(done.begin(), done.end()) - done.begin());
      std::string where;
      bool is_done = false;
      for (int attempt = 0; attempt < 50 && !is_done; ++attempt) {
        is_done = do_damage(world->disk(), static_cast<Damage>(kind), files, rng, &where);
      }
      if (!is_done) continue;
      ++done[kind];
      judge(*world,
            std::string(kDamageNames[kind]) + " in " + where +
                (killed ? " after a kill" : " after a clean close"),
            outcomes);
      if (::testing::Test::HasFailure()) return;
    }
    print("mixed", outcomes);
    count(outcomes);
    if (test_scale() < 1) continue;
    for (std::size_t kind = 0; kind < kDamageKinds; ++kind) {
      EXPECT_GT(done[kind], wanted / 10) << kDamageNames[kind];
    }
    EXPECT_GT(outcomes.refused, 0U);
    EXPECT_GT(outcomes.opened, 0U);
  }
}

}  // namespace
}  // namespace cairn::test
