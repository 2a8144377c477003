// SPDX-License-Identifier: Apache-2.0
// SIGKILL at the n-th write, sync, rename or removal of the device and of RocksDB's file system,
// for every n of a scenario that reaches put, seal, cleaning, eviction, erase and close, and for
// the first n of the recovery that follows. After each, the store opens and holds what it
// acknowledged.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "engine/base/status.h"
#include "tests/crash/kill_harness.h"
#include "tests/support/kill_at.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/temp_dir.h"

namespace cairn::test {
namespace {

constexpr std::size_t kSlots = 24;
constexpr std::uint64_t kColdBytes = 48 * kMiB;

/// Sizes that fill 4 MiB segments in a few puts.
std::size_t scenario_bytes(std::size_t slot) {
  return slot % 3 == 0 ? 3000 : 700'000 + slot * 1000;
}

StoreOptions scenario_store(const std::string& directory, KillCounter& counter) {
  StoreOptions options = small_store(directory, kColdBytes);
  options.engine.hot_bytes = 16 * kMiB;
  options.wrap_device = [&counter](std::unique_ptr<tiers::Device> device) {
    return make_kill_device(std::move(device), counter);
  };
  options.cold.index_file_system = make_kill_file_system(counter);
  return options;
}

/// Overwrites until segments are cleaned, adds blocks that nobody overwrites until some are
/// evicted, erases, closes. One thread, so that the journal needs no more than it has.
void scenario(const StoreOptions& options, Journal& journal) {
  auto store = open_store(options);
  if (!store.ok()) _exit(3);
  Engine& engine = (*store)->engine();
  const auto ns = engine.open_namespace({.name = "journal", .kind = NamespaceKind::mutable_});
  const auto fill = engine.open_namespace({.name = "fill"});
  if (!ns.ok() || !fill.ok()) _exit(4);
  std::string payload;
  for (std::size_t n = 0; n < 72; ++n) {
    const std::size_t i = (n * 7) % kSlots;
    const std::string key = journal_key(i);
    const auto durability = n % 5 == 0 ? Durability::durable : Durability::written;
    const std::uint32_t version = journal.begin_put(i, durability);
    payload = make_payload(key, version, scenario_bytes(i));
    const PutBlock block{.key = key, .payload = as_bytes(payload)};
    const PutResult result = engine.put_sync(*ns, {&block, 1}, {.durability = durability}).front();
    journal.end_put(i, version, durability, result.status.ok());
    if (n % 2 == 0) {
      const std::string filler = "filler-" + std::to_string(n);
      payload = make_payload(filler, 1, 900'000);
      const PutBlock extra{.key = filler, .payload = as_bytes(payload)};
      engine.put_sync(*fill, {&extra, 1}, {}).front().status.IgnoreError();  // may be evicted
    }
    if (n % 9 == 8) {
      const std::size_t victim = (n * 5) % kSlots;
      const std::string erased = journal_key(victim);
      const KeyRef ref{erased};
      journal.begin_erase(victim);
      if (engine.erase_sync(*ns, {&ref, 1}).ok()) journal.end_erase(victim);
    }
  }
  if (!(*store)->engine().close().ok()) _exit(5);
  journal.header().finished.store(1);
}

void expect_sound(const std::string& directory, Journal& journal, std::uint64_t n) {
  KillCounter counting;
  const auto verdict =
      judge([&] { return scenario_store(directory, counting); }, journal, scenario_bytes);
  ASSERT_TRUE(verdict.has_value()) << "after a kill at " << n << " the store did not open";
  EXPECT_EQ(verdict->wrong_bytes, 0U) << "kill at " << n;
  EXPECT_EQ(verdict->resurrected, 0U) << "kill at " << n;
  EXPECT_EQ(verdict->stale, 0U) << "kill at " << n;
  EXPECT_LE(verdict->missing, verdict->evicted) << "kill at " << n;
}

std::uint64_t count_mutations() {
  // Counted in a child: the parent must stay without threads.
  TempDir directory;
  Journal journal(kSlots);
  Journal total(1);
  const int status = run_child(
      [&] {
        KillCounter counter;
        scenario(scenario_store(directory.path(), counter), journal);
        total.header().operations.store(counter.count());
      },
      {});
  EXPECT_EQ(status, 0);
  EXPECT_EQ(journal.header().finished.load(), 1U);
  return total.header().operations.load();
}

class KillPoint : public ::testing::TestWithParam<KillMoment> {};

TEST_P(KillPoint, AtEveryMutationOfTheScenario) {
  const std::uint64_t total = count_mutations();
  ASSERT_GT(total, 100U) << "the scenario reaches too little";
  // Every point at scale 1; below, every few, beginning somewhere else each time.
  const std::uint64_t seed = announce_seed();
  Rng rng(seed);
  const auto stride = static_cast<std::uint64_t>(std::max(1.0, 1 / test_scale()));
  std::size_t kills = 0;
  for (std::uint64_t n = 1 + rng.below(stride); n <= total; n += stride) {
    TempDir directory;
    Journal journal(kSlots);
    const int status = run_child(
        [&] {
          KillCounter counter(n, GetParam());
          scenario(scenario_store(directory.path(), counter), journal);
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
    expect_sound(directory.path(), journal, n);
    if (HasFatalFailure()) return;
  }
  std::printf("cairn-count: kills=%zu\n", kills);
  EXPECT_GT(kills, 0U);
}

TEST_P(KillPoint, WithinRecoveryItselfUpToFiveDeep) {
  const std::uint64_t seed = announce_seed();
  Rng rng(seed);
  std::size_t kills = 0;
  for (std::size_t round = 0; round < scaled(12); ++round) {
    TempDir directory;
    Journal journal(kSlots);
    run_child(
        [&] {
          KillCounter counter(100 + rng.below(200), GetParam());
          scenario(scenario_store(directory.path(), counter), journal);
        },
        {});
    for (std::uint64_t depth = 1; depth <= 5; ++depth) {
      const std::uint64_t n = 1 + rng.below(12);
      const int status = run_child(
          [&] {
            KillCounter counter(n, GetParam());
            auto store = open_store(scenario_store(directory.path(), counter));
            if (store.ok()) {
              (*store)
                  ->engine()
                  .wait_recovered(system_clock().now() + Duration::seconds(10))
                  .IgnoreError();
            }
          },
          {});
      if (WIFSIGNALED(status)) ++kills;
    }
    expect_sound(directory.path(), journal, round);
    if (HasFatalFailure()) return;
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
