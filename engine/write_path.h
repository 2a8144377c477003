// SPDX-License-Identifier: Apache-2.0
// write_path.h — put: how a block comes in, and what its acknowledgement means.
//
// Which durability that is the put says, or the namespace's write policy.
//
//   admit ─► turn ─► close the gates ─► what is there already? ─► slot in hot, copy, sum
//        memory:            publish in hot ─► ack
//        written, durable:  write to cold from the slot ─► publish cold, add hot ─► ack
//
// Why readers never see half a put: a block is published only when it is complete at the
// durability asked for; until then its slot is the put's own. Why a failed put changes nothing:
// nothing was published. Why an old version cannot come back: gates keep everybody else who
// changes the name away, and the newest sequence wins in every tier.
//
// Puts under way are bounded in bytes, beyond that `busy`; those that are under way to a cold tier
// that holds little more than they take go one after another (put_turns.h). A put that cold has no
// room for waits for eviction and cleaning, as long as kRoomWait; its bytes stay admitted
// meanwhile.
//
// Threading:  thread-safe.
// Blocking:   cpu: one copy and one sum of the payload, in the call unless it had to wait.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/core.h"
#include "engine/expirer.h"
#include "engine/mover.h"
#include "engine/put_turns.h"
#include "engine/recovery.h"
#include "engine/token_index.h"

namespace cairn::detail {

class WritePath {
 public:
  WritePath(EngineCore& core, Recovery& recovery, Mover& mover, Expirer& expirer,
            TokenIndex& tokens)
      : core_(core),
        recovery_(recovery),
        mover_(mover),
        expirer_(expirer),
        tokens_(tokens),
        turns_(core.loop) {}

  void put(NamespaceId ns, std::span<const PutBlock> blocks, const PutOptions& options,
           std::function<void(std::vector<PutResult>)> done);
  absl::StatusOr<std::unique_ptr<PutBatch>> reserve(NamespaceId ns,
                                                    std::span<const PutBlock> blocks,
                                                    const PutOptions& options);

  /// Writes to cold what memory has and cold does not, as `written`; the caller is inside
  /// core.operations. Results are in order: `already_present` is what there was nothing to do for.
  void write_back(NamespaceState& ns, std::vector<OwnedName> names,
                  std::function<void(std::vector<PutResult>)> done);
  /// Told of puts that were acknowledged in memory: which of their blocks were there before, and
  /// whether it was the policy that said so.
  using Kept = std::function<void(NamespaceState&, std::span<const BlockId> again, bool by_policy)>;
  void set_on_kept(Kept kept) { on_kept_ = std::move(kept); }

  static constexpr Duration kRoomWait = Duration::seconds(10);

 private:
  class Put;
  class Batch;
  Durability durability_of(const NamespaceState& ns, const PutOptions& options) const;
  absl::Status admit(NamespaceId ns, std::span<const PutBlock> blocks, const PutOptions& options,
                     std::uint64_t* charge);

  EngineCore& core_;
  Recovery& recovery_;
  Mover& mover_;
  Expirer& expirer_;
  TokenIndex& tokens_;
  PutTurns turns_;
  Kept on_kept_;
  std::atomic<std::uint64_t> bytes_in_flight_{0};
};

}  // namespace cairn::detail
