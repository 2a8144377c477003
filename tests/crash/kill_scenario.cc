// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/kill_scenario.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/payload.h"

namespace cairn::test {
namespace {

constexpr std::size_t kRounds = 72;
constexpr std::size_t kChainLength = 4;

/// Sizes that fill 4 MiB segments in a few puts.
std::size_t overwritten_bytes(std::size_t slot) {
  return slot % 3 == 0 ? 3000 : 700'000 + slot * 1000;
}
std::size_t chain_bytes(std::size_t slot) {
  return 900'000 + slot;
}
std::size_t cleared_bytes(std::size_t slot) {
  return 20'000 + slot * 40'000;
}

class Scenario {
 public:
  Scenario(Store& store, ScenarioJournals& journals)
      : store_(store), engine_(store.engine()), namespaces_(journals.namespaces()) {}

  void run() {
    for (std::size_t i = 0; i < namespaces_.size(); ++i) {
      const auto ns = open_journalled(store_, namespaces_[i]);
      if (!ns.ok()) _exit(4);
      ids_[i] = *ns;
    }
    for (std::size_t n = 0; n < kRounds; ++n) round(n);
    const DurableCounters counters = engine_.stats().counters;
    JournalHeader& header = namespaces_[0].journal->header();
    header.cleaned_segments.store(counters.cleaned_segments);
    header.evicted.store(counters.evicted_ever);
    header.erased.store(counters.erased_ever);
    if (!engine_.close().ok()) _exit(5);
    header.finished.store(1);
  }

 private:
  static constexpr std::size_t kOverwritten = 0, kChains = 1, kCleared = 2;

  void round(std::size_t n) {
    Journal& overwritten = *namespaces_[kOverwritten].journal;
    put(kOverwritten, (n * 7) % overwritten.size(),
        n % 5 == 0 ? Durability::durable : Durability::written);
    if (n % 2 == 0) put_of_chain(n / 2);
    if (n % 9 == 8) {
      const std::size_t victim = (n * 5) % overwritten.size();
      const std::string erased = journal_key(victim);
      const KeyRef ref{erased};
      overwritten.begin_erase(victim);
      if (engine_.erase_sync(ids_[kOverwritten], {&ref, 1}).ok()) overwritten.end_erase(victim);
    }
    Journal& cleared = *namespaces_[kCleared].journal;
    if (n == 30 || n == 50) {
      for (std::size_t i = 0; i < cleared.size(); ++i) put(kCleared, i, Durability::written);
    }
    if (n == 40) {
      for (std::size_t i = 0; i < cleared.size(); ++i) cleared.begin_erase(i);
      if (!engine_.clear(ids_[kCleared]).ok()) return;
      for (std::size_t i = 0; i < cleared.size(); ++i) cleared.end_erase(i);
    }
  }

  void put(std::size_t at, std::size_t slot, Durability durability,
           const std::string& parent = {}) {
    const Journalled& of = namespaces_[at];
    const std::string key = journal_key(slot);
    const std::uint32_t version = of.journal->begin_put(slot, durability);
    payload_ = make_payload(key, version, of.bytes_of(slot));
    const PutBlock block{.key = key, .payload = as_bytes(payload_), .parent = parent};
    const PutResult result =
        engine_
            .put_sync(
                ids_[at], {&block, 1},
                {.durability = durability,
                 .links = of.kind == NamespaceKind::mutable_ ? Links::inferred : Links::given})
            .front();
    of.journal->end_put(slot, version, durability, result);
  }

  /// Every third chain begins with a pinned block.
  void put_of_chain(std::size_t slot) {
    Journal& chains = *namespaces_[kChains].journal;
    const bool is_root = slot % kChainLength == 0;
    put(kChains, slot, slot % 3 == 0 ? Durability::durable : Durability::written,
        is_root ? std::string() : journal_key(slot - 1));
    if (slot % (3 * kChainLength) != 0) return;
    const std::string key = journal_key(slot);
    const KeyRef ref{key};
    if (engine_.pin(ids_[kChains], {&ref, 1}, {.durability = Durability::durable}).ok()) {
      chains.slot(slot).pin_acknowledged.store(1);
    }
  }

  Store& store_;
  Engine& engine_;
  const std::array<Journalled, 3> namespaces_;
  std::array<NamespaceId, 3> ids_{};
  std::string payload_;
};

}  // namespace

std::array<Journalled, 3> ScenarioJournals::namespaces() {
  return {Journalled{.name = "overwritten", .journal = &overwritten, .bytes_of = overwritten_bytes},
          Journalled{.name = "chains",
                     .kind = NamespaceKind::content_addressed,
                     .journal = &chains,
                     .bytes_of = chain_bytes},
          Journalled{.name = "cleared",
                     .kind = NamespaceKind::content_addressed,
                     .journal = &cleared,
                     .bytes_of = cleared_bytes}};
}

void ScenarioJournals::copy_from(const ScenarioJournals& other) {
  overwritten.copy_from(other.overwritten);
  chains.copy_from(other.chains);
  cleared.copy_from(other.cleared);
}

StoreOptions scenario_store(const std::string& directory, KillCounter& counter,
                            ScenarioJournals& journals) {
  StoreOptions options = small_store(directory, kScenarioColdBytes);
  options.engine.hot_bytes = 6 * kMiB;
  options.wrap_device = [&counter](std::unique_ptr<tiers::Device> device) {
    return make_kill_device(std::move(device), counter);
  };
  options.cold.index_file_system = make_kill_file_system(counter);
  report_evictions(options, journals.namespaces());
  return options;
}

void run_scenario(const StoreOptions& options, ScenarioJournals& journals) {
  auto store = open_store(options);
  if (!store.ok()) _exit(3);
  Scenario(**store, journals).run();
}

void expect_sound(const std::string& directory, ScenarioJournals& journals,
                  const std::string& what) {
  KillCounter counting;
  const auto verdict =
      judge([&] { return scenario_store(directory, counting, journals); }, journals.namespaces());
  ASSERT_TRUE(verdict.has_value()) << what << ": the store did not open";
  EXPECT_TRUE(verdict->sound()) << what << ": " << describe(*verdict);
  EXPECT_LE(verdict->bytes_on_disk, kScenarioColdBytes) << what;
}

std::uint64_t count_scenario_mutations() {
  TempDir directory("kill", TempDir::Medium::memory);
  ScenarioJournals journals;
  Journal total(1);
  const int status = run_child(
      [&] {
        KillCounter counter;
        run_scenario(scenario_store(directory.path(), counter, journals), journals);
        total.header().operations.store(counter.count());
      },
      {});
  EXPECT_EQ(status, 0);
  EXPECT_EQ(journals.header().finished.load(), 1U);
  EXPECT_GT(journals.header().cleaned_segments.load(), 0U) << "nothing was cleaned";
  EXPECT_GT(journals.header().evicted.load(), 0U) << "nothing was evicted";
  EXPECT_GT(journals.header().erased.load(), 0U) << "nothing was erased";
  EXPECT_GT(journals.chains.header().told_evictions.load() +
                journals.overwritten.header().told_evictions.load(),
            0U)
      << "no eviction was told of by name";
  return total.header().operations.load();
}

std::unique_ptr<DirtyStore> make_dirty_store(std::uint64_t kill_at, KillMoment moment) {
  auto dirty = std::make_unique<DirtyStore>();
  const int status = run_child(
      [&] {
        KillCounter counter(kill_at, moment);
        run_scenario(scenario_store(dirty->directory.path(), counter, dirty->journals),
                     dirty->journals);
      },
      {});
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  return dirty;
}

std::unique_ptr<DirtyStore> copy_of(DirtyStore& store) {
  auto copy = std::make_unique<DirtyStore>();
  std::filesystem::copy(store.directory.path(), copy->directory.path(),
                        std::filesystem::copy_options::recursive);
  copy->journals.copy_from(store.journals);
  return copy;
}

}  // namespace cairn::test
