// SPDX-License-Identifier: Apache-2.0
// acquire.h — one acquire that cannot be answered from hot alone. A part of read_path.
//
// Threading:  thread-safe; its state changes under mutex_.
// Blocking:   never.
// Lifetime:   kept alive by what it waits for. The caller's keys are read only before it waits;
//             what it waits for has copies, because the deadline may strike at any time.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/read_path.h"

namespace cairn::detail {

class ReadPath::Acquire final : public FetchWaiter,
                                public std::enable_shared_from_this<ReadPath::Acquire> {
 public:
  using Callback = std::function<void(absl::StatusOr<Lease>)>;

  Acquire(ReadPath& path, const Request& request, std::shared_ptr<LeaseState> state, Callback done)
      : path_(path), request_(request), state_(std::move(state)), done_(std::move(done)) {}

  static void run(ReadPath& path, const Request& request, std::shared_ptr<LeaseState> state,
                  Callback done);

  void fetched(std::size_t tag, const absl::Status& status, TierKind from) override;
  bool is_waiting() const override { return !over_.load(); }

 private:
  struct Plan {
    std::vector<Unknown> unknown;
    std::vector<FetchWant> wants;
    std::uint64_t want_bytes = 0;
  };
  Plan plan(bool resolved);
  void copy_names();
  BlockName name_of(std::size_t index) const;
  void begin(Plan plan);
  void fetch(Plan plan);
  void arm_deadline();
  /// Ends it, once. With an error it is refused, and what was pinned is given back.
  void finish(const absl::Status& status);

  ReadPath& path_;
  const Request request_;
  std::shared_ptr<LeaseState> state_;
  Callback done_;
  std::uint64_t admitted_bytes_ = 0;
  FetchRoom room_ = FetchRoom::evict_backed;
  int moves_waited_for_ = 0;
  std::vector<OwnedName> names_;  // by index; empty keys before it waits
  Mutex mutex_{LockRank::engine_operations};
  std::size_t pending_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> over_{false};
};

}  // namespace cairn::detail
