// SPDX-License-Identifier: Apache-2.0
#include "engine/removal_notes.h"

#include <algorithm>
#include <vector>

namespace cairn::detail {

void RemovalNotes::note_removed(BlockId id, std::uint64_t sequence) {
  if (!stopped_.load()) note_lost(id, sequence);
}

void RemovalNotes::note_lost(BlockId id, std::uint64_t sequence) {
#if !defined(CAIRN_PLANTED_ERASED_RESURRECTED)
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto [removed, is_new] = shard.removed.try_emplace(id, sequence);
  removed->second = std::max(removed->second, sequence);
  removals_.fetch_add(is_new ? 1 : 0);
#else
  static_cast<void>(id), static_cast<void>(sequence);
#endif
}

bool RemovalNotes::is_removed(BlockId id, std::uint64_t sequence) const {
  if (removals_.load() == 0) return false;
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto removed = shard.removed.find(id);
  return removed != shard.removed.end() && sequence <= removed->second;
}

void RemovalNotes::note_moved(BlockId id, Location from, Location to) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto [moved, is_new] = shard.moved.try_emplace(id, Moved{from, to});
  if (is_new) {
    moves_.fetch_add(1);
  } else if (moved->second.to == from) {
    moved->second.to = to;  // the scan may still show where it was at first
  } else {
    moved->second = {from, to};
  }
}

std::optional<Location> RemovalNotes::moved_to(BlockId id, Location from) const {
  if (moves_.load() == 0) return std::nullopt;
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto moved = shard.moved.find(id);
  if (moved == shard.moved.end() || moved->second.from != from) return std::nullopt;
  return moved->second.to;
}

void RemovalNotes::forget_moves(BlockId id) {
  if (moves_.load() == 0) return;
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  moves_.fetch_sub(shard.moved.erase(id));
}

void RemovalNotes::gate_left(BlockId id) {
  if (stopped_.load()) forget(id);
}

void RemovalNotes::forget(BlockId id) {
  if (removals_.load() > 0) {
    Shard& shard = shard_of(id);
    MutexLock lock(shard.mutex);
    removals_.fetch_sub(shard.removed.erase(id));
  }
  forget_moves(id);
}

void RemovalNotes::stop(const std::function<bool(BlockId)>& is_closed) {
  stopped_.store(true);
  for (Shard& shard : shards_) {
    std::vector<BlockId> noted;
    {
      MutexLock lock(shard.mutex);
      for (const auto& [id, sequence] : shard.removed) noted.push_back(id);
      for (const auto& [id, move] : shard.moved) noted.push_back(id);
    }
    // Asked outside the lock: gates have the same rank. Whoever closes one now has no use for
    // what was noted before.
    for (const BlockId id : noted) {
      if (!is_closed(id)) forget(id);
    }
  }
}

std::size_t RemovalNotes::size() const {
  std::size_t count = 0;
  for (const Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    count += shard.removed.size() + shard.moved.size();
  }
  return count;
}

}  // namespace cairn::detail
