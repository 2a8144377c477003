// SPDX-License-Identifier: Apache-2.0
#include "engine/expirer.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace cairn::detail {
namespace {

constexpr std::size_t kSweepMax = 4096;
constexpr Duration kSweepEvery = Duration::seconds(1);
constexpr Duration kNextPart = Duration::millis(10);  // where one sweep was not enough

}  // namespace

void Expirer::note(BlockId id, WallMicros expiry) {
  MutexLock lock(mutex_);
  heap_.push_back({expiry, id});
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  arm(kSweepEvery);
}

void Expirer::arm(Duration after) {
  if (armed_ || heap_.empty()) return;
  armed_ = true;
  core_.loop.run_after(after, [this] { sweep(); });
}

/// Drops what later versions or removals have made void. With the heap out of the lock, for it
/// may be large; costs one look into the catalog an element, paid for by as many that came.
void Expirer::compact() {
  std::vector<Due> heap;
  {
    MutexLock lock(mutex_);
    if (heap_.size() < compact_at_) return;
    heap.swap(heap_);
  }
  std::erase_if(heap, [this](const Due& due) {
    const std::optional<Residency> listed = core_.catalog.find(due.id);
    return !listed || listed->facts.expiry != due.expiry;
  });
  MutexLock lock(mutex_);
  heap.insert(heap.end(), heap_.begin(), heap_.end());
  std::sort(heap.begin(), heap.end());
  heap.erase(std::unique(heap.begin(), heap.end()), heap.end());
  heap_ = std::move(heap);  // sorted, hence a heap
  compact_at_ = std::max(kCompactMin, 2 * heap_.size());
}

void Expirer::sweep() {
  const WallMicros now = core_.clock.wall();
  std::vector<BlockId> due;
  compact();
  {
    MutexLock lock(mutex_);
    armed_ = false;
    while (!heap_.empty() && heap_.front().expiry <= now && due.size() < kSweepMax) {
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      due.push_back(heap_.back().id);
      heap_.pop_back();
    }
    arm(due.size() == kSweepMax ? kNextPart : kSweepEvery);
  }
  for (const BlockId id : due) {
    const std::optional<Residency> listed = core_.catalog.find(id);
    if (listed && listed->present() && core_.is_expired(*listed)) {
      expire(id, listed->facts.sequence);
    }
  }
}

void Expirer::expire(BlockId id, std::uint64_t sequence) {
  if (core_.read_only || !core_.operations.enter()) return;
  core_.gates.enter(id, [this, id, sequence] { remove_gated(id, sequence); });
}

void Expirer::remove_gated(BlockId id, std::uint64_t sequence) {
  const std::optional<Residency> listed = core_.catalog.find(id);
  std::optional<OwnedName> name = core_.catalog.name_of(id);
  // Only that version, and whatever the wall clock says by now.
  if (!listed || !name || !listed->present() || listed->facts.sequence != sequence) {
    core_.gates.leave(id);
    core_.operations.leave();
    return;
  }
  core_.notes.note_removed(id, sequence);
  const std::optional<Residency> removed = core_.catalog.remove(id, sequence);
  if (removed) core_.free_in_memory(*removed);
  if (!removed || removed->cold.is_null()) {
    core_.gates.leave(id);
    core_.operations.leave();
    return;
  }
  mover_.remove_cold(
      {{.id = id,
        .name = *std::move(name),
        .sequence = sequence,
        .location = removed->cold,
        .was = removed}},
      RemovalReason::expired, Durability::written,
      [this, id, expiry = removed->facts.expiry](const std::vector<ColdRemoval>& removals) {
        // It is listed again: the next sweep tries once more.
        if (!removals.front().status.ok()) note(id, expiry);
        core_.gates.leave(id);
        core_.operations.leave();
      });
}

}  // namespace cairn::detail
