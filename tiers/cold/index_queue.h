// SPDX-License-Identifier: Apache-2.0
// index_queue.h — everything that changes the index, one group at a time.
//
// Each work says what it wants once it sees what the index holds now, so two changes of one
// name can never overtake each other by accident: a newer version stays, whatever the order
// in which their writes ended. The works that wait when the index loop comes round are one
// atomic write; those that ask for a sync share one.
//
// Rows of segments go before all works that were posted after them: an entry can never name
// a segment that the index does not know. A row that could not be written waits and goes first
// the next time; until it is written no work succeeds. In a write of their own, because the index
// keeps room for what makes room, and rows are that: beside puts they would be refused with them.
//
// Threading:  post from anywhere; decide and finished run on the index loop.
// Blocking:   post never; the index loop waits for the index.
// Failure:    all works of a group share its fate; `decide` has no effect until finished(OK).
//             A failed write or sync of the index turns writes off.
// Lifetime:   the poster keeps the work alive until finished ran.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/mutex.h"
#include "tiers/cold/cold_core.h"
#include "tiers/cold/index.h"
#include "tiers/cold/space.h"

namespace cairn::tiers {

enum class Verdict : std::uint8_t { leave, put, erase };

class IndexWork {
 public:
  virtual ~IndexWork() = default;
  /// With what the index holds, or will hold after this group's earlier works. Fills in
  /// `entry` for Verdict::put, and may add to `delta`.
  virtual Verdict decide(const std::optional<IndexEntry>& existing, IndexEntry& entry,
                         CounterDelta& delta) = 0;
  virtual void finished(const absl::Status& status) = 0;

  BlockName name;  // borrowed until finished
  bool sync_wanted = false;
};

/// What a group did to the live bytes of segments.
struct LiveChange {
  SegmentId segment{};
  std::int64_t bytes = 0;
};

class IndexQueue {
 public:
  struct Hooks {
    /// Index loop, after a group was written and before any of its works finishes.
    std::function<void(std::vector<LiveChange>)> live_changed;
  };
  IndexQueue(ColdCore& core, Space& space, Hooks hooks);
  ~IndexQueue();

  void post(std::span<IndexWork* const> works);
  void post(IndexWork& work);
  void post_row(const SegmentRow& row);
  void post_counters(const CounterDelta& delta);
  /// Index loop, at the end: drops the rows that still wait, because the caller writes every
  /// segment's as it is now, and gives the counters back.
  CounterDelta abandon_rows();
  /// Runs on the index loop once everything posted before it was written; with what a sync of
  /// the index said.
  void post_sync(std::function<void(absl::Status)> done);

  // --- counting live bytes after a dirty opening (index loop) -------------------------------
  /// Counts up to `limit` more entries; true when all have been. Changes of entries that were
  /// not reached yet are left out until they are, so the sums are right at the end.
  absl::StatusOr<bool> count_some(std::size_t limit);
  void start_counting();
  /// Removes up to `limit` entries of epochs of the namespace that have ended, from behind
  /// `cursor` on; true when there are no more (index loop).
  absl::StatusOr<bool> purge_some(NamespaceId id, std::uint32_t epoch, std::string& cursor,
                                  std::size_t limit);

 private:
  void schedule();
  void run();
  absl::Status write_rows(std::vector<SegmentRow> rows, const CounterDelta& counters);
  void run_group(std::span<IndexWork* const> works, bool sync);
  bool is_counted(const BlockName& name) const;

  ColdCore& core_;
  Space& space_;
  Hooks hooks_;
  Mutex mutex_{LockRank::cold_tier};
  std::vector<IndexWork*> works_ CAIRN_GUARDED_BY(mutex_);
  std::vector<SegmentRow> rows_ CAIRN_GUARDED_BY(mutex_);
  CounterDelta counters_ CAIRN_GUARDED_BY(mutex_);
  std::vector<std::function<void(absl::Status)>> syncs_ CAIRN_GUARDED_BY(mutex_);
  bool scheduled_ CAIRN_GUARDED_BY(mutex_) = false;
  bool retry_armed_ CAIRN_GUARDED_BY(mutex_) = false;
  // index loop only
  bool counting_ = false;
  std::string counted_to_;
};
}  // namespace cairn::tiers
