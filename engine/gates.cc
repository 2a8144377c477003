// SPDX-License-Identifier: Apache-2.0
#include "engine/gates.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace cairn::detail {

struct GateTable::Batch {
  std::vector<BlockId> ids;
  Task entered;
};

bool GateTable::try_enter(BlockId id) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  return shard.closed.try_emplace(id).second;
}

bool GateTable::is_closed(BlockId id) const {
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  return shard.closed.contains(id);
}

void GateTable::enter(BlockId id, Task entered) {
  if (enter_or_queue(id, entered)) entered();
}

void GateTable::enter_all(std::vector<BlockId> ids, Task entered) {
  CAIRN_DCHECK(std::is_sorted(ids.begin(), ids.end()));
  enter_from(std::make_shared<Batch>(Batch{std::move(ids), std::move(entered)}), 0);
}

void GateTable::enter_from(const std::shared_ptr<Batch>& batch, std::size_t first) {
  for (std::size_t i = first; i < batch->ids.size(); ++i) {
    Task next = [this, batch, i] { enter_from(batch, i + 1); };
    if (!enter_or_queue(batch->ids[i], next)) return;
  }
  batch->entered();
}

bool GateTable::enter_or_queue(BlockId id, Task& entered) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto [closed, is_new] = shard.closed.try_emplace(id);
  if (is_new) return true;
  if (!closed->second) closed->second = std::make_unique<Queue>();
  closed->second->push_back(std::move(entered));
  return false;
}

void GateTable::leave(BlockId id) {
  if (before_leave_) before_leave_(id);
  Task next;
  {
    Shard& shard = shard_of(id);
    MutexLock lock(shard.mutex);
    const auto closed = shard.closed.find(id);
    CAIRN_CHECK(closed != shard.closed.end());
    if (!closed->second || closed->second->empty()) {
      shard.closed.erase(closed);
      return;
    }
    // The gate stays closed and passes to the one who has waited longest.
    next = std::move(closed->second->front());
    closed->second->erase(closed->second->begin());
  }
  loop_.post(std::move(next));
}

std::size_t GateTable::closed_gates() const {
  std::size_t count = 0;
  for (const Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    count += shard.closed.size();
  }
  return count;
}

}  // namespace cairn::detail
