// SPDX-License-Identifier: Apache-2.0
// SIGKILL at the n-th write, sync, rename or removal of the device and of RocksDB's file system,
// for every n of a scenario that reaches put, seal, cleaning, eviction, erase, clear and close.
// After each, the store opens and holds what it acknowledged.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>

#include "engine/base/text.h"
#include "tests/crash/kill_scenario.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

class KillPoint : public ::testing::TestWithParam<KillMoment> {};

TEST_P(KillPoint, AtEveryMutationOfTheScenario) {
  const std::uint64_t total = count_scenario_mutations();
  if (HasFailure()) return;
  ASSERT_GT(total, 100U) << "the scenario reaches too little";
  // Every point at scale 1; below, every few, beginning somewhere else each time.
  const std::uint64_t seed = announce_seed();
  Rng rng(seed);
  const auto stride = static_cast<std::uint64_t>(std::max(1.0, 1 / test_scale()));
  std::size_t kills = 0;
  for (std::uint64_t n = 1 + rng.below(stride); n <= total; n += stride) {
    TempDir directory("kill", TempDir::Medium::memory);
    ScenarioJournals journals;
    const int status = run_child(
        [&] {
          KillCounter counter(n, GetParam());
          run_scenario(scenario_store(directory.path(), counter, journals), journals);
        },
        {});
    // The number of mutations varies a little from run to run, so the last few may not be met.
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      ASSERT_GT(n * 10, total * 8) << "the kill did not happen";
    } else {
      ASSERT_EQ(WTERMSIG(status), SIGKILL);
      ++kills;
    }
    expect_sound(directory.path(), journals, concat("kill at ", n));
    if (HasFailure()) return;
  }
  std::printf("cairn-count: kills=%zu\n", kills);
  EXPECT_GT(kills, 0U);
}

INSTANTIATE_TEST_SUITE_P(Moments, KillPoint,
                         ::testing::Values(KillMoment::before, KillMoment::after),
                         [](const auto& moment) {
                           return moment.param == KillMoment::before ? "before" : "after";
                         });

}  // namespace
}  // namespace cairn::test
