// SPDX-License-Identifier: Apache-2.0
#include "engine/key_table.h"

#include <cstring>
#include <utility>

#include "engine/base/check.h"

namespace cairn::detail {

// --- one name --------------------------------------------------------------------------------

std::string_view KeyTable::Slot::key() const {
  if (length <= kInlineKeyBytes) return {bytes.data(), length};
  const char* elsewhere = nullptr;
  std::memcpy(&elsewhere, bytes.data(), sizeof(elsewhere));
  return {elsewhere, length};
}

bool KeyTable::Slot::is(const BlockName& name) const {
  return namespace_id == name.namespace_id && part == name.part && key() == name.key;
}

void KeyTable::Slot::set_key(std::string_view key) {
  length = static_cast<std::uint16_t>(key.size());
  if (key.size() <= kInlineKeyBytes) {
    std::memcpy(bytes.data(), key.data(), key.size());
    return;
  }
  char* const elsewhere = new char[key.size()];
  std::memcpy(elsewhere, key.data(), key.size());
  std::memcpy(bytes.data(), &elsewhere, sizeof(elsewhere));
}

void KeyTable::Slot::free_key() {
  if (length > kInlineKeyBytes) delete[] key().data();
}

// --- one shard -------------------------------------------------------------------------------

KeyTable::Shard::~Shard() {
  MutexLock lock(mutex);
  for (std::size_t at = 0; slots_ != nullptr && at <= mask_; ++at) {
    if (!slots_[at].id.is_null()) slots_[at].free_key();
  }
}

const KeyTable::Slot* KeyTable::Shard::find(BlockId id) const {
  if (slots_ == nullptr) return nullptr;
  for (std::size_t at = home(id);; at = (at + 1) & mask_) {
    const Slot& slot = slots_[at];
    if (slot.id == id) return &slot;
    if (slot.id.is_null()) return nullptr;
  }
}

KeyTable::Slot* KeyTable::Shard::find(BlockId id) {
  return const_cast<Slot*>(std::as_const(*this).find(id));
}

KeyTable::Slot& KeyTable::Shard::insert(BlockId id) {
  CAIRN_DCHECK(!id.is_null());
  // Three quarters full at most: a name is then found two slots from home on average.
  if (slots_ == nullptr || (used_ + 1) * 4 > (mask_ + 1) * 3) grow();
  std::size_t at = home(id);
  while (!slots_[at].id.is_null()) at = (at + 1) & mask_;
  ++used_;
  slots_[at].id = id;
  return slots_[at];
}

void KeyTable::Shard::erase(Slot* slot) {
  slot->free_key();
  --used_;
  std::size_t hole = static_cast<std::size_t>(slot - slots_.get());
  for (std::size_t at = (hole + 1) & mask_; !slots_[at].id.is_null(); at = (at + 1) & mask_) {
    // It may move up unless that would put it before its home.
    const std::size_t from_home = (at - home(slots_[at].id)) & mask_;
    if (from_home < ((at - hole) & mask_)) continue;
    slots_[hole] = slots_[at];
    hole = at;
  }
  slots_[hole] = Slot{};
}

void KeyTable::Shard::grow() {
  constexpr std::size_t kFirstSlots = 16;
  const std::size_t size = slots_ == nullptr ? kFirstSlots : 2 * (mask_ + 1);
  std::unique_ptr<Slot[]> old = std::exchange(slots_, std::make_unique<Slot[]>(size));
  const std::size_t old_size = old == nullptr ? 0 : mask_ + 1;
  mask_ = size - 1;
  for (std::size_t i = 0; i < old_size; ++i) {
    if (old[i].id.is_null()) continue;
    std::size_t at = home(old[i].id);
    while (!slots_[at].id.is_null()) at = (at + 1) & mask_;
    slots_[at] = old[i];
  }
  // Relaxed: a hint.
  base_.store(reinterpret_cast<std::uintptr_t>(slots_.get()), std::memory_order_relaxed);
  base_mask_.store(mask_, std::memory_order_relaxed);
}

void KeyTable::Shard::prefetch(BlockId id) const {
  const std::size_t at = id.hash.low & base_mask_.load(std::memory_order_relaxed);
  const std::uintptr_t line = base_.load(std::memory_order_relaxed) + at * sizeof(Slot);
  __builtin_prefetch(reinterpret_cast<const void*>(line));
}

// --- the table -------------------------------------------------------------------------------

bool KeyTable::put(BlockId id, const BlockName& name) {
  CAIRN_DCHECK(is_valid_key(name.key));
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  if (const Slot* const slot = shard.find(id)) return slot->is(name);
  Slot& slot = shard.insert(id);
  slot.namespace_id = name.namespace_id;
  slot.part = name.part;
  slot.set_key(name.key);
  size_.fetch_add(1, std::memory_order_relaxed);
  bytes_.fetch_add(cost_bytes(name.key.size()), std::memory_order_relaxed);
  return true;
}

void KeyTable::erase(BlockId id) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  Slot* const slot = shard.find(id);
  if (slot == nullptr) return;
  size_.fetch_sub(1, std::memory_order_relaxed);
  bytes_.fetch_sub(cost_bytes(slot->length), std::memory_order_relaxed);
  shard.erase(slot);
}

bool KeyTable::matches(BlockId id, const BlockName& name) const {
#if defined(CAIRN_PLANTED_KEY_NOT_COMPARED)
  return !id.is_null() && !name.key.empty();
#else
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const Slot* const slot = shard.find(id);
  return slot != nullptr && slot->is(name);
#endif
}

std::optional<OwnedName> KeyTable::find(BlockId id) const {
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const Slot* const slot = shard.find(id);
  if (slot == nullptr) return std::nullopt;
  return OwnedName{.namespace_id = slot->namespace_id,
                   .key = std::string(slot->key()),
                   .part = slot->part};
}

void KeyTable::set_durable(BlockId id, bool durable) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  if (Slot* const slot = shard.find(id)) slot->durable = durable;
}

bool KeyTable::is_durable(BlockId id) const {
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const Slot* const slot = shard.find(id);
  return slot != nullptr && slot->durable;
}

void KeyTable::set_left_cold(BlockId id) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  Slot* const slot = shard.find(id);
  if (slot == nullptr) return;
  slot->left_cold = true;
  slot->durable = false;
}

bool KeyTable::has_left_cold(BlockId id) const {
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const Slot* const slot = shard.find(id);
  return slot != nullptr && slot->left_cold;
}

}  // namespace cairn::detail
