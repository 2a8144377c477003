// SPDX-License-Identifier: Apache-2.0
// A store that is opened for a few operations at a time goes on in the segment that its last
// clean close sealed. Goal: however such lives end, nothing acknowledged is lost and nothing
// erased comes back, with the index or without it. Judge: the model of cold_world.h.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "tests/support/cold_repair.h"

namespace cairn::test {
namespace {

std::size_t segment_files(const SimDisk& disk) {
  std::size_t count = 0;
  for (const std::string& path : disk.files()) count += path.ends_with(".seg") ? 1U : 0U;
  return count;
}

void live(ColdWorld& world, std::size_t steps) {
  for (std::size_t i = 0; i < steps && !world.disk().frozen(); ++i) world.step();
  if (!world.disk().frozen()) world.settle();
}

TEST(ResumeSim, ManyShortLivesFillOneSegmentAfterTheOther) {
  ColdWorld world({.seed = 41, .keys = 40, .payload_bytes_max = 20'000});
  constexpr std::size_t kLives = 40;
  for (std::size_t life = 0; life < kLives; ++life) {
    ASSERT_TRUE(world.open().ok());
    ASSERT_TRUE(life == 0 || world.tier().opened_clean());
    world.check_all();
    live(world, 3);
    world.close();
  }
  // Some hundred KiB in segments of 4 MiB.
  EXPECT_EQ(segment_files(world.disk()), 1U);
  lose_index(world.disk());
  repair(world);
  ASSERT_TRUE(world.open().ok());
  world.check_all();
  EXPECT_GT(world.counts().found, kLives);
  EXPECT_EQ(world.counts().lost, 0U);
  world.close();
}

TEST(ResumeSim, ACutAtEveryWriteOfAShortLifeLosesNothingDurable) {
  std::size_t cuts = 0;
  for (const std::uint64_t seed : seeds({51, 52, 53}, 1)) {
    print_seed(seed);
    ColdWorldOptions options{.seed = seed, .payload_bytes_max = 40'000, .evicted_may_return = true};
    // Room for every life to leave a segment behind: none is long enough to clean one.
    options.cold.cold_bytes = 512 * kMiB;
    ColdWorld world(options);
    for (std::uint64_t n = 1; n <= scaled(60); ++n) {
      ASSERT_TRUE(world.open().ok());
      live(world, 6);
      world.close();
      const std::uint64_t end = world.disk().mutations() + n;
      world.disk().freeze_at(end);
      if (world.open().ok()) {
        while (!world.disk().frozen()) live(world, 1);
        world.rng().chance(0.5) ? world.power_cut() : world.kill();
      } else {
        ASSERT_TRUE(world.disk().frozen());
        world.power_cut_unopened();
      }
      ++cuts;
      if (world.rng().chance(0.3)) {
        lose_index(world.disk());
        repair(world);
      }
      ASSERT_TRUE(world.open().ok());
      world.check_all();
      ASSERT_EQ(world.counts().lost, 0U) << "cut at write " << n;
      world.close();
    }
  }
  std::printf("cairn-count: cuts=%zu\n", cuts);
}

}  // namespace
}  // namespace cairn::test
