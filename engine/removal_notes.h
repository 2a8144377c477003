// SPDX-License-Identifier: Apache-2.0
// removal_notes.h — what must not be believed when a scan that began earlier shows it.
//
// While the catalog is being loaded, entries are removed and moved that the scan may still show
// as they were when the store was opened. Whoever takes an entry out of the catalog notes it
// here first, with the gate held; whoever publishes what a scan or a lookup found asks here.
// A block may also be moved between the writing of its index entry and its publication, or
// while it is unlisted for a removal: as long as its gate is closed, moves are noted here too.
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
  bool is_removed(BlockId id, std::uint64_t sequence) const;
  void note_moved(BlockId id, Location from, Location to);
  std::optional<Location> moved_to(BlockId id, Location from) const;
  /// A new version is about to be written: locations of older ones mean nothing any more.
  void forget_moves(BlockId id);
  /// The gate is being left: with everything loaded, nobody will ask for its moves.
  void gate_left(BlockId id);

  /// Everything is loaded: no removal is noted from now on, and what was is forgotten, but for
  /// the moves of blocks whose gate is closed.
  void stop(const std::function<bool(BlockId)>& is_closed);
  void forget(const std::function<bool(BlockId)>& is_closed);
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

  std::atomic<bool> stopped_{false};
  // These make the usual case, none, cheap.
  std::atomic<std::size_t> removals_{0}, moves_{0};
  std::array<Shard, 16> shards_;
};

}  // namespace cairn::detail
