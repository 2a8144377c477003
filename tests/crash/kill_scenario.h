// SPDX-License-Identifier: Apache-2.0
// kill_scenario.h — what a store does before and while it is killed at its n-th write.
//
// Three namespaces: a mutable one that is overwritten and erased until segments are cleaned; a
// content-addressed one of short chains, some of them pinned, of which others have to be
// evicted; and one that is cleared and filled again. One thread, so that the journals need no
// more than they have.
//
// Threading: confined. Blocking: disk.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "tests/crash/kill_harness.h"
#include "tests/support/kill_at.h"
#include "tests/support/temp_dir.h"

namespace cairn::test {

constexpr std::uint64_t kScenarioColdBytes = 48 * kMiB;

/// What was promised; shared with the children, whom it outlives.
class ScenarioJournals {
 public:
  Journal overwritten{24}, chains{36}, cleared{6};

  std::array<Journalled, 3> namespaces();
  void copy_from(const ScenarioJournals& other);
  JournalHeader& header() { return overwritten.header(); }
};

/// The store of the scenario, over media that count and kill. Evictions go to the journals.
StoreOptions scenario_store(const std::string& directory, KillCounter& counter,
                            ScenarioJournals& journals);
/// For a child: leaves with _exit, not zero, where the store refuses what it must not.
void run_scenario(const StoreOptions& options, ScenarioJournals& journals);

/// Opens, judges, closes; fails the test with `what` where a promise was broken.
void expect_sound(const std::string& directory, ScenarioJournals& journals,
                  const std::string& what);

/// The mutations of a whole scenario, and proof that it reaches what it is meant to reach.
/// Counted in a child: the parent must stay without threads.
std::uint64_t count_scenario_mutations();

/// A store that was killed in the middle of the scenario, and what it had promised.
struct DirtyStore {
  TempDir directory{"dirty", TempDir::Medium::memory};
  ScenarioJournals journals;
};
std::unique_ptr<DirtyStore> make_dirty_store(std::uint64_t kill_at, KillMoment moment);

/// One past may have several futures.
std::unique_ptr<DirtyStore> copy_of(DirtyStore& store);

}  // namespace cairn::test
