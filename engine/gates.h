// SPDX-License-Identifier: Apache-2.0
// gates.h — one change to a block at a time.
//
// Whatever changes what a name means — put, erase, eviction from cold, expiry, a durable pin —
// holds the block's gate while it does, across all its I/O, so that a removal of the old
// version can never meet the writing of the same one. Reads take no gate: they are ordered by
// the catalog's compare-and-swap. Who comes to a closed gate waits in a queue that is as
// bounded as the operations themselves are.
//
// Threading:  thread-safe. A gate has no owner thread: who holds it may pass it on.
// Blocking:   never; who has waited goes on as a task of the loop.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/mutex.h"
#include "engine/key.h"
#include "engine/loop_scope.h"

namespace cairn::detail {

class GateTable {
 public:
  explicit GateTable(LoopScope& loop) : loop_(loop) {}

  /// Runs at every leaving, while the gate is still closed. Set before the first use.
  void set_before_leave(std::function<void(BlockId)> before_leave) {
    before_leave_ = std::move(before_leave);
  }

  bool try_enter(BlockId id);
  bool is_closed(BlockId id) const;
  /// Runs `entered` inside the gate: at once when it is open, else later on the loop.
  void enter(BlockId id, Task entered);
  /// The same for several, sorted and distinct. The order is what makes a circle impossible.
  void enter_all(std::vector<BlockId> ids, Task entered);
  void leave(BlockId id);
  void leave_all(const std::vector<BlockId>& ids) {
    for (const BlockId id : ids) leave(id);
  }
  std::size_t closed_gates() const;

 private:
  using Queue = std::vector<Task>;
  struct Shard {
    mutable Mutex mutex{LockRank::engine_operations};
    absl::flat_hash_map<BlockId, std::unique_ptr<Queue>> closed CAIRN_GUARDED_BY(mutex);
  };
  struct Batch;
  /// True: entered. False: `entered` was taken and will be posted.
  bool enter_or_queue(BlockId id, Task& entered);
  void enter_from(const std::shared_ptr<Batch>& batch, std::size_t first);
  Shard& shard_of(BlockId id) { return shards_[id.hash.high % shards_.size()]; }
  const Shard& shard_of(BlockId id) const { return shards_[id.hash.high % shards_.size()]; }

  LoopScope& loop_;
  std::function<void(BlockId)> before_leave_;
  std::array<Shard, 32> shards_;
};

}  // namespace cairn::detail
