// SPDX-License-Identifier: Apache-2.0
// catalog_whole.cc — what concerns many entries: victims, walks, sub-trees, counters, invariants.
#include <algorithm>

#include "engine/base/check.h"
#include "engine/catalog_impl.h"

namespace cairn {

using detail::kNoBlock;

// --- eviction ---------------------------------------------------------------------------------

std::vector<Victim> Catalog::victims(TierKind tier, std::size_t count, Standing most) {
  std::vector<Victim> victims;
  if (count == 0 || tier == TierKind::none) return victims;
  std::vector<std::pair<BlockHandle, BlockId>> picked;
  for (bool done = false; !done;) {
    MutexLock lock(impl_->links.mutex);
    picked.clear();
    done = impl_->links.pick(Impl::order_of(tier), count, most, picked);
  }
  victims.reserve(picked.size());
  for (const auto& [handle, id] : picked) {
    Impl::Shard& shard = impl_->shard_of(id);
    MutexLock lock(shard.mutex);
    // What was leased, pinned or taken away in between is left out.
    if (shard.find(id, handle) != handle) continue;
    const Residency residency = impl_->describe(handle);
    if (residency.in(tier).is_null()) continue;
    const bool is_spare = tier == TierKind::warm && !residency.hot.is_null();
    if (residency.pinned && !is_spare) continue;
#if !defined(CAIRN_PLANTED_LEASE_NOT_PINNED)
    if (tier == TierKind::hot && residency.leased) continue;
#endif
    victims.push_back({id, residency});
  }
  return victims;
}

namespace {

using Ranked = std::pair<std::uint64_t, Victim>;  // stamp

std::vector<Victim> least_recent(std::vector<Ranked> found, std::size_t count) {
  count = std::min(count, found.size());
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count), found.end(),
                    [](const Ranked& a, const Ranked& b) { return a.first < b.first; });
  std::vector<Victim> victims;
  victims.reserve(count);
  for (std::size_t i = 0; i < count; ++i) victims.push_back(found[i].second);
  return victims;
}

}  // namespace

std::vector<Victim> Catalog::victims_of(NamespaceId ns, TierKind tier, std::size_t count) const {
  std::vector<Ranked> found;
  for_each(ns, [&](BlockId id, const Residency& residency) {
    if (residency.in(tier).is_null() || residency.pinned) return;
    if (tier == TierKind::hot && residency.leased) return;
    found.push_back(
        {impl_->entry_of(residency.handle).stamp.load(std::memory_order_relaxed), {id, residency}});
  });
  return least_recent(std::move(found), count);
}

// --- walks ------------------------------------------------------------------------------------

void Catalog::for_each(std::optional<NamespaceId> ns,
                       const std::function<void(BlockId, const Residency&)>& visit) const {
  constexpr std::uint32_t kChunk = detail::Storage::kChunkEntries;
  const std::uint32_t chunks = impl_->storage.chunks_used.load(std::memory_order_acquire);
  for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) {
    // A chunk taken in this moment has no owner yet, and nothing that we would have to see.
    const std::uint16_t owner = std::atomic_ref<std::uint16_t>(impl_->storage.chunk_shard[chunk])
                                    .load(std::memory_order_acquire);
    if (owner == 0) continue;
    MutexLock lock(impl_->shards[owner - 1U].mutex);
    for (BlockHandle handle = chunk * kChunk; handle < (chunk + 1) * kChunk; ++handle) {
      if (handle == kNoBlock || !impl_->is_present(handle)) continue;
      const Impl::Entry& entry = impl_->entry_of(handle);
      if (ns.has_value() && entry.namespace_id != *ns) continue;
      visit(entry.id(), impl_->describe(handle));
    }
  }
}

std::vector<BlockId> Catalog::hottest(std::size_t count) const {
  struct Found {
    bool hot = false;
    std::uint64_t stamp = 0;
    BlockId id;
  };
  std::vector<Found> found;
  for_each(std::nullopt, [&](BlockId id, const Residency& residency) {
    if (residency.hot.is_null() && residency.warm.is_null()) return;
    const Impl::Entry& entry = impl_->entry_of(residency.handle);
    found.push_back({!residency.hot.is_null(), entry.stamp.load(std::memory_order_relaxed), id});
  });
  count = std::min(count, found.size());
  std::partial_sort(
      found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count), found.end(),
      [](const Found& a, const Found& b) { return a.hot != b.hot ? a.hot : a.stamp > b.stamp; });
  std::vector<BlockId> ids;
  ids.reserve(count);
  for (std::size_t i = 0; i < count; ++i) ids.push_back(found[i].id);
  return ids;
}

void Catalog::set_loading(bool loading) {
  MutexLock lock(impl_->links.mutex);
  impl_->links.set_loading(loading);
}

// --- links ------------------------------------------------------------------------------------

std::vector<BlockId> Catalog::children(BlockId id) const {
  std::vector<BlockId> found;
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (handle == kNoBlock) return found;
  MutexLock links_lock(impl_->links.mutex);
  for (BlockHandle child = impl_->record_of(handle).first_child; child != kNoBlock;
       child = impl_->record_of(child).next_sibling) {
    found.push_back(impl_->entry_of(child).id());
  }
  return found;
}

std::vector<Catalog::Descendant> Catalog::subtree(BlockId root, std::size_t count) const {
  std::vector<Descendant> found;
  std::vector<Descendant> level{{root, 0}}, below;
  while (!level.empty() && found.size() < count) {
    below.clear();
    for (const Descendant& one : level) {
      if (found.size() == count) break;
      if (const auto residency = find(one.id); residency && residency->present()) {
        found.push_back(one);
      }
      for (const BlockId child : children(one.id)) below.push_back({child, one.depth + 1});
    }
    level.swap(below);
  }
  return found;
}

std::optional<BlockId> Catalog::parent(BlockId id) const {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (handle == kNoBlock) return std::nullopt;
  return impl_->links.parent_id(handle);
}

// --- counters ---------------------------------------------------------------------------------

std::uint64_t Catalog::blocks() const {
  std::uint64_t blocks = 0;
  for (std::uint32_t s = 0; s < impl_->storage.shards; ++s) {
    MutexLock lock(impl_->shards[s].mutex);
    blocks += impl_->shards[s].blocks;
  }
  return blocks;
}

std::uint64_t Catalog::entries() const {
  return impl_->storage.entries_used.load(std::memory_order_relaxed);
}

std::uint64_t Catalog::orphans() const {
  MutexLock lock(impl_->links.mutex);
  return impl_->links.orphans();
}

NamespaceUsage Catalog::usage(NamespaceId ns) const {
  NamespaceUsage sum;
  for (std::uint32_t s = 0; s < impl_->storage.shards; ++s) {
    MutexLock lock(impl_->shards[s].mutex);
    const auto usage = impl_->shards[s].usage.find(ns);
    if (usage == impl_->shards[s].usage.end()) continue;
    const NamespaceUsage& part = usage->second;
    sum.blocks += part.blocks;
    sum.bytes += part.bytes;
    sum.hot_blocks += part.hot_blocks;
    sum.hot_bytes += part.hot_bytes;
    sum.warm_blocks += part.warm_blocks;
    sum.warm_bytes += part.warm_bytes;
    sum.cold_blocks += part.cold_blocks;
    sum.cold_bytes += part.cold_bytes;
  }
  return sum;
}

std::uint64_t Catalog::memory_bytes() const {
  const std::uint64_t chunks = impl_->storage.chunks_used.load(std::memory_order_acquire);
  std::uint64_t bytes = sizeof(Impl) + chunks * detail::Storage::kChunkEntries *
                                           (sizeof(detail::Entry) + sizeof(detail::LinkRecord));
  for (std::uint32_t s = 0; s < impl_->storage.shards; ++s) {
    const Impl::Shard& shard = impl_->shards[s];
    MutexLock lock(shard.mutex);
    bytes += sizeof(Impl::Shard) + std::uint64_t{shard.bucket_count()} * sizeof(detail::Bucket) +
             shard.pins.memory_bytes() + shard.detached.capacity() * 17 +
             shard.usage.capacity() * 25;
  }
  MutexLock lock(impl_->links.mutex);
  return bytes + impl_->links.memory_bytes();
}

// --- invariants -------------------------------------------------------------------------------

void Catalog::check_invariants() const {
  std::uint64_t in_table = 0;
  std::uint64_t detached = 0;
  for (std::uint32_t s = 0; s < impl_->storage.shards; ++s) {
    const Impl::Shard& shard = impl_->shards[s];
    MutexLock lock(shard.mutex);
    shard.check_table();
    in_table += shard.table_entries();
    detached += shard.detached.size();
    for (const auto& [location, handle] : shard.detached) {
      const std::uint32_t state = impl_->state_of(handle);
      CAIRN_CHECK((state & detail::kDetached) != 0 && (state & detail::kLeaseMask) != 0);
      CAIRN_CHECK(impl_->entry_of(handle).hot.bits == location);
    }
  }
  CAIRN_CHECK(in_table + detached == entries());
  CAIRN_CHECK(entries() <= impl_->storage.blocks_max);

  absl::flat_hash_map<NamespaceId, NamespaceUsage> sums;
  const std::uint32_t end =
      impl_->storage.chunks_used.load(std::memory_order_acquire) * detail::Storage::kChunkEntries;
  for (BlockHandle handle = 1; handle < end; ++handle) {
    const Impl::Entry& entry = impl_->entry_of(handle);
    const Impl::LinkRecord& record = impl_->record_of(handle);
    const std::uint32_t state = impl_->state_of(handle);
    const auto [hot, warm, cold] = detail::Copies::of(state);
    CAIRN_CHECK(record.linked_hot == hot && record.linked_warm == warm &&
                record.linked_cold == cold);
    CAIRN_CHECK(warm == !record.warm.is_null() && cold == !record.cold.is_null());
    CAIRN_CHECK((hot || Impl::is_kept_by_leases(state)) == !entry.hot.is_null());
    CAIRN_CHECK(((state & detail::kPinned) != 0) == (record.pins != 0));
    if (entry.id().is_null()) {
      CAIRN_CHECK(state == 0 && record.parent() == kNoBlock && record.first_child == kNoBlock);
      continue;
    }
    const bool present = hot || warm || cold;
    CAIRN_CHECK(present || record.first_child != kNoBlock || Impl::is_kept_by_leases(state));  // C1
    if (!present) continue;
    const std::uint64_t bytes = entry.plain_bytes.load(std::memory_order_relaxed);
    NamespaceUsage& sum = sums[entry.namespace_id];
    ++sum.blocks;
    sum.bytes += bytes;
    sum.hot_blocks += hot;
    sum.hot_bytes += hot ? bytes : 0;
    sum.warm_blocks += warm;
    sum.warm_bytes += warm ? bytes : 0;
    sum.cold_blocks += cold;
    sum.cold_bytes += cold ? bytes : 0;
  }
  std::uint64_t blocks_sum = 0;
  for (const auto& [ns, expected] : sums) {  // C4
    const NamespaceUsage counted = usage(ns);
    CAIRN_CHECK(counted == expected);
    blocks_sum += expected.blocks;
  }
  CAIRN_CHECK(blocks_sum == blocks());
  MutexLock lock(impl_->links.mutex);
  impl_->links.check_invariants();
}

}  // namespace cairn
