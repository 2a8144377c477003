// SPDX-License-Identifier: Apache-2.0
#include "engine/catalog_names.h"

#include <cstring>

#include "engine/base/check.h"
#include "engine/catalog_impl.h"

namespace cairn {
namespace detail {

std::string_view NameSlot::key() const {
  if (length_ <= kInlineKeyBytes) return {bytes_.data(), length_};
  const char* elsewhere = nullptr;
  std::memcpy(&elsewhere, bytes_.data(), sizeof(elsewhere));
  return {elsewhere, length_};
}

void Names::set(BlockHandle handle, std::string_view key, Part part) {
  CAIRN_DCHECK(key.size() <= kKeyLengthMax);
  NameSlot& slot = slots_[handle];
  if (key.empty() && slot.length_ == 0) return;
  if (slot.length_ > NameSlot::kInlineKeyBytes) {
    long_key_bytes_.fetch_sub(long_key_bytes(slot.length_), std::memory_order_relaxed);
    delete[] slot.key().data();
  }
  slot.length_ = static_cast<std::uint16_t>(key.size());
  slot.part_ = part;
  slot.durable = slot.left_cold = slot.it_has_left_cold = false;
  if (key.empty()) return;
  if (key.size() <= NameSlot::kInlineKeyBytes) {
    std::memcpy(slot.bytes_.data(), key.data(), key.size());
    return;
  }
  char* const elsewhere = new char[key.size()];
  std::memcpy(elsewhere, key.data(), key.size());
  std::memcpy(slot.bytes_.data(), &elsewhere, sizeof(elsewhere));
  long_key_bytes_.fetch_add(long_key_bytes(key.size()), std::memory_order_relaxed);
}

}  // namespace detail

using detail::NameSlot;

bool Catalog::Impl::is_named(BlockHandle handle, const BlockName& name) const {
#if defined(CAIRN_PLANTED_KEY_NOT_COMPARED)
  return handle != detail::kNoBlock && !name.key.empty();
#else
  return entry_of(handle).namespace_id == name.namespace_id &&
         storage.names[handle].is(name.key, name.part);
#endif
}

bool Catalog::is_named(BlockHandle leased, const BlockName& name) const {
  return impl_->is_named(leased, name);
}

bool Catalog::is_named(BlockId id, const BlockName& name) const {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  return impl_->is_present(handle) && impl_->is_named(handle, name);
}

std::optional<OwnedName> Catalog::name_of(BlockId id) const {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (!impl_->is_present(handle)) return std::nullopt;
  const NameSlot& slot = impl_->storage.names[handle];
  return OwnedName{.namespace_id = impl_->entry_of(handle).namespace_id,
                   .key = std::string(slot.key()),
                   .part = slot.part()};
}

NameSlot* Catalog::Impl::present_name(const Shard& shard, BlockId id) const {
  const BlockHandle handle = shard.find(id);
  return is_present(handle) ? &storage.names[handle] : nullptr;
}

void Catalog::set_durable(BlockId id, bool durable) {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  if (NameSlot* const name = impl_->present_name(shard, id)) name->durable = durable;
}

bool Catalog::is_durable(BlockId id) const {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const NameSlot* const name = impl_->present_name(shard, id);
  return name != nullptr && name->durable;
}

void Catalog::set_left_cold(BlockId id) {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  NameSlot* const name = impl_->present_name(shard, id);
  if (name == nullptr) return;
  name->left_cold = name->it_has_left_cold = true;
  name->durable = false;
}

bool Catalog::has_left_cold(BlockId id) const {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const NameSlot* const name = impl_->present_name(shard, id);
  return name != nullptr && name->left_cold;
}

std::uint64_t Catalog::name_bytes() const {
  const std::uint64_t chunks = impl_->storage.chunks_used.load(std::memory_order_acquire);
  return chunks * detail::Storage::kChunkEntries * sizeof(NameSlot) + long_key_bytes();
}

std::uint64_t Catalog::long_key_bytes() const {
  return impl_->storage.names.long_key_bytes();
}

std::uint64_t Catalog::cost_bytes(std::size_t key_length) {
  return kBytesPerBlock + detail::Names::long_key_bytes(key_length);
}

}  // namespace cairn
