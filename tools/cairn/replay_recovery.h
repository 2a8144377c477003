// SPDX-License-Identifier: Apache-2.0
// replay_recovery.h — after the kill: what came back, how fast, and what was promised.
//
// First the store is opened read-only and on a clock, so that nothing can move and nothing was
// read before; one promised block is asked for, then every block that was acknowledged is read
// and verified. Then it is opened as its next owner would.
//
// Threading: one thread, of a process that had none before. Blocking: disk.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "tools/cairn/progress.h"
#include "tools/cairn/replay_store.h"

namespace cairn::tools {

struct PromiseCount {
  std::uint64_t acknowledged = 0, found = 0, evicted = 0, lost = 0;
};

struct Recovery {
  std::uint64_t requests_before = 0;
  std::uint64_t puts_in_flight = 0;   // blocks, when the process was dead
  std::optional<double> first_hit_s;  // empty: nothing on disk had been promised
  double full_s = 0;                  // from the first opening until every block was known again
  std::array<PromiseCount, 3> by_durability;  // by Durability

  const PromiseCount& of(Durability durability) const {
    return by_durability[static_cast<std::size_t>(durability)];
  }
  /// What must never be: a `written` or `durable` block that a kill took away.
  std::uint64_t lost_promises() const {
    return of(Durability::written).lost + of(Durability::durable).lost;
  }
};

struct ReplaySetting {
  const ReplayOptions& options;
  const ReplayPlan& plan;
  const workload::KvModel& model;
  ReplayJournal& journal;
};

/// Holds the store against the journal. Fills the whole of `recovery` but for requests_before.
absl::Status judge_promises(const ReplaySetting& setting, Progress::Mode progress,
                            Recovery& recovery);

/// Opens for the rest of the replay.
absl::StatusOr<ReplayStore> reopen(const ReplaySetting& setting);

}  // namespace cairn::tools
