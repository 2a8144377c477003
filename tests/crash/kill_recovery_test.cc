// SPDX-License-Identifier: Apache-2.0
// SIGKILL at the n-th write, sync, rename or removal, for every n, of what follows a death: the
// opening of a store that was killed, and the repair of one that lost its index besides. After
// each the same judge as for the store at work: kill_scenario.h.
//
// Each n begins with a copy of one killed store, so that all of them see the same past.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/crash/kill_scenario.h"
#include "tests/support/seed.h"
#include "tiers/cold/repair.h"

namespace cairn::test {
namespace {

/// Leaves with 0 when it came to its end: recovered, and closed.
void open_and_recover(DirtyStore& dirty, std::uint64_t kill_at, KillMoment moment) {
  KillCounter counter(kill_at, moment);
  auto store = open_store(scenario_store(dirty.directory.path(), counter, dirty.journals));
  if (!store.ok()) _exit(3);
  Engine& engine = (*store)->engine();
  if (!engine.wait_recovered(system_clock().now() + Duration::seconds(60)).ok()) _exit(4);
  if (!engine.close().ok()) _exit(5);
}

void repair(DirtyStore& dirty, std::uint64_t kill_at, KillMoment moment) {
  KillCounter counter(kill_at, moment);
  auto device = tiers::open_device(dirty.directory.path(), {});
  if (!device.ok()) _exit(3);
  device = make_kill_device(*std::move(device), counter);
  tiers::RepairOptions options;
  options.directory = dirty.directory.path();
  options.index_file_system = make_kill_file_system(counter);
  const auto report = repair_store(**device, options);
  if (!report.ok()) {
    std::fprintf(stderr, "repair: %s\n", std::string(message_of(report.status())).c_str());
    _exit(4);
  }
  if (report->rebuilt.kept == 0) _exit(5);
}

using Work = void (*)(DirtyStore&, std::uint64_t kill_at, KillMoment);

class KillRecovery : public ::testing::TestWithParam<KillMoment> {
 protected:
  void SetUp() override {
    rng_ = Rng(announce_seed());
    total_ = count_scenario_mutations();
  }

  /// A store that was killed somewhere in that part of the scenario.
  std::unique_ptr<DirtyStore> dirty(double from, double to) {
    const auto low = static_cast<std::uint64_t>(static_cast<double>(total_) * from);
    const auto high = static_cast<std::uint64_t>(static_cast<double>(total_) * to);
    return make_dirty_store(rng_.between(low, high), GetParam());
  }

  /// Kills the work at every n until it comes to its end unharmed; some of those again, up to
  /// four times more. `finish` makes of what is left a store that can be opened.
  void kill_at_every_mutation(DirtyStore& past, Work work,
                              const std::function<void(DirtyStore&)>& finish) {
    const auto stride = static_cast<std::uint64_t>(std::max(1.0, 1 / test_scale()));
    int unharmed = 0;
    for (std::uint64_t n = 1 + rng_.below(stride); unharmed < 2; n += stride) {
      const auto dirty = copy_of(past);
      int status = run_child([&] { work(*dirty, n, GetParam()); }, {});
      if (WIFEXITED(status)) {
        ASSERT_EQ(WEXITSTATUS(status), 0) << "at " << n;
        ++unharmed;  // how much is written varies a little, so once is not the end
      } else {
        ASSERT_EQ(WTERMSIG(status), SIGKILL) << "at " << n;
        ++kills_;
        unharmed = 0;
        deepest_ = std::max(deepest_, n);
      }
      for (int depth = 2; unharmed == 0 && depth <= 5 && rng_.chance(0.3); ++depth) {
        status = run_child([&] { work(*dirty, 1 + rng_.below(n + 4), GetParam()); }, {});
        if (WIFSIGNALED(status)) ++kills_;
        // The generator moves on here, for the child took only a copy of it.
        rng_.next();
      }
      finish(*dirty);
      expect_sound(dirty->directory.path(), dirty->journals, concat("killed at ", n));
      if (HasFailure()) return;
    }
  }

  void report() const {
    std::printf("cairn-count: kills=%zu\n", kills_);
    std::printf("deepest n=%llu\n", static_cast<unsigned long long>(deepest_));
  }

  Rng rng_{1};
  std::uint64_t total_ = 0;
  std::uint64_t deepest_ = 0;
  std::size_t kills_ = 0;
};

TEST_P(KillRecovery, AtEveryMutationOfAnOpening) {
  for (const auto& [from, to] : {std::pair{0.3, 0.6}, std::pair{0.7, 0.95}}) {
    const auto past = dirty(from, to);
    if (HasFailure()) return;
    kill_at_every_mutation(*past, open_and_recover, [](DirtyStore&) {});
    if (HasFailure()) return;
  }
  report();
  EXPECT_GT(kills_, test_scale() < 1 ? 0U : 20U) << "an opening writes more than that";
}

TEST_P(KillRecovery, AtEveryMutationOfARepair) {
  const auto past = dirty(0.7, 0.95);
  if (HasFailure()) return;
  std::filesystem::remove_all(past->directory.file("index"));
  const auto finish = [](DirtyStore& dirty) {
    const int status = run_child([&] { repair(dirty, 0, KillMoment::before); }, {});
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  };
  kill_at_every_mutation(*past, repair, finish);
  if (HasFailure()) return;
  report();
  EXPECT_GT(kills_, test_scale() < 1 ? 0U : 10U) << "a repair writes more than that";
}

INSTANTIATE_TEST_SUITE_P(Moments, KillRecovery,
                         ::testing::Values(KillMoment::before, KillMoment::after),
                         [](const auto& moment) {
                           return moment.param == KillMoment::before ? "before" : "after";
                         });

}  // namespace
}  // namespace cairn::test
