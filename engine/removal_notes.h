// SPDX-License-Identifier: Apache-2.0
// removal_notes.h — what must not be believed when a scan that began earlier shows it.
//
// While the catalog is being loaded, entries are removed and moved that the scan may still show
// as they were when the store was opened. Whoever takes an entry out of the catalog notes it
// here first, with the gate held; whoever publishes what a scan or a lookup found asks here.
// A block may also be moved between the writing of its index entry and its publication, or
// while it is unlisted for a removal: as long as its gate is closed, moves are noted here too, and
// that the tier has given it up. Without a scan that is all: who removes a block, and who looks
// one up, is inside its gate, so that the notes never outgrow what is under way.
//
// Threading:  thread-safe.
// Blocking:   never.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "engine/base/mutex.h"
#include "engine/block.h"
#include "engine/key.h"

namespace cairn::detail {

class RemovalNotes {
 public:
  /// Versions up to this one are gone for good.
  void note_removed(BlockId id, std::uint64_t sequence);
  /// The same by the tier, which holds no gate.
  void note_lost(BlockId id, std::uint64_t sequence);
  bool is_removed(BlockId id, std::uint64_t sequence) const;
  void note_moved(BlockId id, Location from, Location to);
  std::optional<Location> moved_to(BlockId id, Location from) const;
  /// A new version is about to be written: locations of older ones mean nothing any more.
  void forget_moves(BlockId id);
  /// The gate is being left, or is open: without a scan, nobody will ask for what is noted of it.
  void gate_left(BlockId id);

  /// The scan is over, however it ended: what was noted is forgotten, but for blocks whose gate is
  /// closed, and no removal inside a gate is noted from now on.
  void stop(const std::function<bool(BlockId)>& is_closed);
  std::size_t size() const;

 private:
  struct Moved {
    Location from, to;
  };
  struct Shard {
    mutable Mutex mutex{LockRank::engine_operations};
    absl::flat_hash_map<BlockId, std::uint64_t> removed CAIRN_GUARDED_BY(mutex);
    absl::flat_hash_map<BlockId, Moved> moved CAIRN_GUARDED_BY(mutex);
  };
  Shard& shard_of(BlockId id) { return shards_[id.hash.high % shards_.size()]; }
  const Shard& shard_of(BlockId id) const { return shards_[id.hash.high % shards_.size()]; }

  void forget(BlockId id);

  std::atomic<bool> stopped_{false};
  // These make the usual case, none, cheap.
  std::atomic<std::size_t> removals_{0}, moves_{0};
  std::array<Shard, 16> shards_;
};

}  // namespace cairn::detail
