// SPDX-License-Identifier: Apache-2.0
// warm_loader.h — brings blocks from cold to warm as they are stored: the codec does not run.
//
// For blocks that will be wanted and for which hot has no room. Nothing is evicted for them but
// spares: beyond warm's low watermark they stay where they are.
//
// Threading:  thread-safe.
// Blocking:   never. done runs on a thread of a tier's, or inside the call.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/core.h"
#include "engine/mover.h"
#include "engine/rate_budget.h"

namespace cairn::detail {

class WarmLoader {
 public:
  WarmLoader(EngineCore& core, Mover& mover) : core_(core), mover_(mover) {
    budget_.set_rate(core.options.cold_to_warm_bytes_per_second);
  }

  struct Want {
    BlockId id;
    BlockName name;       // copied
    Residency residency;  // as found: in cold alone
  };
  /// All of one namespace. False, and done never runs, when there is no warm tier or no room, or
  /// the bandwidth is used up. done is told how many have arrived.
  bool start(NamespaceId ns, std::span<const Want> wants,
             std::function<void(std::size_t arrived)> done);

 private:
  struct Batch;
  bool has_room(std::uint64_t bytes);
  void read(const std::shared_ptr<Batch>& batch);
  void keep(const std::shared_ptr<Batch>& batch);
  void list(Batch& batch);
  void refuse(std::size_t blocks, MoveMeters::Outcome why);

  EngineCore& core_;
  Mover& mover_;
  RateBudget budget_;
};

}  // namespace cairn::detail
