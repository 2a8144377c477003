// SPDX-License-Identifier: Apache-2.0
#include "engine/key_table.h"

#include <cstring>
#include <new>
#include <utility>

#include "engine/base/check.h"

namespace cairn::detail {

KeyTable::Blob KeyTable::make_blob(const BlockName& name) {
  void* memory = ::operator new(sizeof(Header) + name.key.size());
  Blob blob(new (memory) Header{.namespace_id = name.namespace_id,
                                .part = name.part,
                                .length = static_cast<std::uint16_t>(name.key.size())});
  std::memcpy(reinterpret_cast<char*>(blob.get() + 1), name.key.data(), name.key.size());
  return blob;
}

std::string_view KeyTable::key_of(const Header& header) {
  return {reinterpret_cast<const char*>(&header + 1), header.length};
}

bool KeyTable::is_name(const Header& header, const BlockName& name) {
  return header.namespace_id == name.namespace_id && header.part == name.part &&
         key_of(header) == name.key;
}

bool KeyTable::put(BlockId id, const BlockName& name) {
  CAIRN_DCHECK(is_valid_key(name.key));
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto [entry, is_new] = shard.names.try_emplace(id);
  if (!is_new) return is_name(*entry->second, name);
  entry->second = make_blob(name);
  size_.fetch_add(1, std::memory_order_relaxed);
  bytes_.fetch_add(cost_bytes(name.key.size()), std::memory_order_relaxed);
  return true;
}

void KeyTable::erase(BlockId id) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto entry = shard.names.find(id);
  if (entry == shard.names.end()) return;
  size_.fetch_sub(1, std::memory_order_relaxed);
  bytes_.fetch_sub(cost_bytes(entry->second->length), std::memory_order_relaxed);
  shard.names.erase(entry);
}

bool KeyTable::matches(BlockId id, const BlockName& name) const {
#if defined(CAIRN_PLANTED_KEY_NOT_COMPARED)
  return !id.is_null() && !name.key.empty();
#else
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto entry = shard.names.find(id);
  return entry != shard.names.end() && is_name(*entry->second, name);
#endif
}

std::optional<OwnedName> KeyTable::find(BlockId id) const {
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto entry = shard.names.find(id);
  if (entry == shard.names.end()) return std::nullopt;
  return OwnedName{.namespace_id = entry->second->namespace_id,
                   .key = std::string(key_of(*entry->second)),
                   .part = entry->second->part};
}

void KeyTable::set_durable(BlockId id, bool durable) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto entry = shard.names.find(id);
  if (entry != shard.names.end()) entry->second->durable = durable;
}

bool KeyTable::is_durable(BlockId id) const {
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto entry = shard.names.find(id);
  return entry != shard.names.end() && entry->second->durable;
}

void KeyTable::set_left_cold(BlockId id) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto entry = shard.names.find(id);
  if (entry == shard.names.end()) return;
  entry->second->left_cold = true;
  entry->second->durable = false;
}

bool KeyTable::has_left_cold(BlockId id) const {
  const Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const auto entry = shard.names.find(id);
  return entry != shard.names.end() && entry->second->left_cold;
}

}  // namespace cairn::detail
