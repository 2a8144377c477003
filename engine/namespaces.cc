// SPDX-License-Identifier: Apache-2.0
#include "engine/namespaces.h"

#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::detail {

NamespaceTable::NamespaceTable(DurableTier* cold) : cold_(cold) {
  if (cold_ == nullptr) return;
  const std::vector<NamespaceInfo> stored = cold_->namespaces();
  MutexLock lock(mutex_);
  for (const NamespaceInfo& info : stored) add(info).IgnoreError();  // more than kIdsMax: unlisted
}

NamespaceTable::~NamespaceTable() = default;

absl::StatusOr<NamespaceState*> NamespaceTable::open(const NamespaceDescriptor& descriptor) {
  CAIRN_RETURN_IF_ERROR(validate(descriptor));
  {
    MutexLock lock(mutex_);
    for (const auto& state : states_) {
      if (state->descriptor.name != descriptor.name) continue;
      CAIRN_RETURN_IF_ERROR(check_same(state->descriptor, descriptor));
      return state.get();
    }
    if (cold_ == nullptr) {
      const auto id = static_cast<std::uint32_t>(states_.size() + 1);
      return add({.id = NamespaceId{id}, .epoch = 1, .descriptor = descriptor});
    }
  }
  // The tier serialises openings itself and gives both callers the same id.
  absl::StatusOr<NamespaceInfo> info = cold_->open_namespace(descriptor);
  if (!info.ok()) return info.status();
  MutexLock lock(mutex_);
  return add(*info);
}

absl::StatusOr<NamespaceState*> NamespaceTable::add(const NamespaceInfo& info) {
  const auto id = static_cast<std::uint32_t>(info.id);
  if (id >= kIdsMax) {
    return make_error(ErrorCode::no_space,
                      concat("a store has at most ", kIdsMax - 1, " namespaces"));
  }
  if (NamespaceState* known = find(info.id)) return known;
  std::atomic<Chunk*>& chunk = by_id_[id / kChunk];
  if (chunk.load(std::memory_order_relaxed) == nullptr) {  // only written under mutex_
    chunks_.push_back(std::make_unique<Chunk>());
    chunk.store(chunks_.back().get(), std::memory_order_release);  // pairs with find's acquire
  }
  states_.push_back(std::make_unique<NamespaceState>(info));
  (*chunk.load(std::memory_order_relaxed))[id % kChunk].store(
      states_.back().get(), std::memory_order_release);  // pairs with find's acquire
  return states_.back().get();
}

NamespaceState* NamespaceTable::find(NamespaceId id) const {
  const auto number = static_cast<std::uint32_t>(id);
  if (number >= kIdsMax) return nullptr;
  // Acquire pairs with add's release stores: who sees the pointer sees what it points to.
  const Chunk* chunk = by_id_[number / kChunk].load(std::memory_order_acquire);
  return chunk == nullptr ? nullptr : (*chunk)[number % kChunk].load(std::memory_order_acquire);
}

std::vector<NamespaceInfo> NamespaceTable::list() const {
  std::vector<NamespaceInfo> out;
  for (const NamespaceState* state : all()) {
    // Relaxed: the epoch is shown to people, nothing is decided by it.
    out.push_back({state->id, state->epoch.load(std::memory_order_relaxed), state->descriptor});
  }
  return out;
}

std::vector<NamespaceState*> NamespaceTable::all() const {
  MutexLock lock(mutex_);
  std::vector<NamespaceState*> out;
  for (const auto& state : states_) out.push_back(state.get());
  return out;
}

}  // namespace cairn::detail
