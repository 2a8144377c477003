// SPDX-License-Identifier: Apache-2.0
// catalog_lookup.cc — match, lease and touch: many ids, each cache line asked for in good time.
//
// A window of ids is looked at three times: every bucket's line is asked for; every bucket is
// read and the line of the entry that it seems to name is asked for; and then the entries are
// used, near by now. None of this takes a lock as long as the entry is what it seems to be: the
// bucket is a hint, the entry's id and state decide. Whatever is not found this way is looked
// up once more under the lock of its shard, which decides that it is absent.
#include <algorithm>

#include "engine/base/check.h"
#include "engine/catalog_impl.h"

namespace cairn {

using detail::kNoBlock;

// --- lookup -----------------------------------------------------------------------------------

inline void Catalog::Impl::look_ahead(std::span<const BlockId> ids, Use use, Hints& hints) const {
  CAIRN_DCHECK(ids.size() <= kWindow);
  for (const BlockId id : ids) __builtin_prefetch(&shard_of(id).bucket_of(id));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const BlockHandle hint =
        Shard::probe(shard_of(ids[i]).bucket_of(ids[i]), detail::Storage::tag_of(ids[i]));
    hints[i] = hint;
    // Entry 0 is nobody's: asking for it in vain costs less than to decide.
    if (use == Use::look) {
      __builtin_prefetch(&storage.entries[hint], 0);
      continue;
    }
    __builtin_prefetch(&storage.entries[hint], 1);
    if (use == Use::lease) __builtin_prefetch(&storage.names[hint], 0);
  }
}

void Catalog::look_ahead(std::span<const BlockId> ids) const {
  Impl::Hints hints;
  for (std::size_t i = 0; i < ids.size(); i += Impl::kWindow) {
    impl_->look_ahead(ids.subspan(i, std::min(Impl::kWindow, ids.size() - i)), Impl::Use::lease,
                      hints);
  }
}

/// The block's flags and length if the entry is that of `id` and resident, without a lock. The
/// id is read before and after: in between the entry could become another's.
inline std::uint32_t Catalog::Impl::peek(BlockId id, BlockHandle hint,
                                         std::uint32_t& plain_bytes) const {
  const Entry& entry = entry_of(hint);
  if (!entry.is(id)) return 0;
  // Acquire, both: the second look at the id comes after them.
  const std::uint32_t state = entry.state.load(std::memory_order_acquire);
  plain_bytes = entry.plain_bytes.load(std::memory_order_acquire);
  return entry.is(id) ? state & detail::kPresent : 0;
}

std::uint32_t Catalog::Impl::peek_locked(BlockId id, std::uint32_t& plain_bytes) const {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (handle == kNoBlock) return 0;
  plain_bytes = entry_of(handle).plain_bytes.load(std::memory_order_relaxed);
  return state_of(handle) & detail::kPresent;
}

std::size_t Catalog::match(std::span<const BlockId> ids, std::span<MatchedBlock> out) const {
  CAIRN_DCHECK(out.empty() || out.size() == ids.size());
  const Impl& impl = *impl_;
  Impl::Hints hints;
  std::size_t run = 0;
  // The first window is small: most requests of new prompts end early.
  for (std::size_t size = Impl::kFirstWindow; run < ids.size(); size = Impl::kWindow) {
    const auto part = ids.subspan(run, std::min(size, ids.size() - run));
    impl.look_ahead(part, Impl::Use::look, hints);
    for (std::size_t i = 0; i < part.size(); ++i) {
      std::uint32_t plain_bytes = 0;
      std::uint32_t present = impl.peek(part[i], hints[i], plain_bytes);
      if (present == 0) present = impl.peek_locked(part[i], plain_bytes);
      if (present == 0) return run + i;
      if (out.empty()) continue;
      out[run + i] = {(present & detail::kHasHot)    ? TierKind::hot
                      : (present & detail::kHasWarm) ? TierKind::warm
                                                     : TierKind::cold,
                      plain_bytes};
    }
    run += part.size();
  }
  return run;
}

std::optional<Residency> Catalog::find(BlockId id) const {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (!impl_->is_present(handle)) return std::nullopt;
  return impl_->describe(handle);
}

/// All that lies in the entry's own cache line.
inline void Catalog::Impl::describe_leased(BlockHandle handle, std::uint32_t state,
                                           Residency& residency) const {
  const Entry& entry = entry_of(handle);
  residency.hot = (state & detail::kHasHot) ? entry.hot : Location{};
  residency.warm = residency.cold = Location{};
  residency.facts.sequence = entry.sequence;
  residency.facts.plain_bytes = entry.plain_bytes.load(std::memory_order_relaxed);
  residency.facts.plain_sum = entry.plain_sum;
  residency.facts.expiry = (state & detail::kExpires) ? storage.expiry(handle) : 0;
  residency.facts.parent = BlockId{};
  residency.facts.pinned = (state & detail::kDurablePin) != 0;
  residency.namespace_id = entry.namespace_id;
  residency.cold_bytes = 0;
  residency.handle = handle;
  residency.pinned = (state & (detail::kPinned | detail::kDurablePin)) != 0;
  residency.leased = (state & detail::kLeaseMask) != 0;
}

Residency Catalog::Impl::describe(BlockHandle handle) const {
  const LinkRecord& record = record_of(handle);
  Residency residency;
  describe_leased(handle, state_of(handle), residency);
  residency.warm = record.warm;
  residency.cold = record.cold;
  residency.cold_bytes = record.cold_bytes();
  // A cache line that only blocks without a copy in cold cost.
  residency.left_cold = record.cold.is_null() && storage.names[handle].it_has_left_cold;
  residency.facts.parent = links.parent_id(handle).value_or(BlockId{});
  return residency;
}

/// Returns the bytes of the block if this was its last lease, for leased_bytes.
inline std::uint64_t Catalog::Impl::end_lease(BlockHandle handle, std::vector<Location>* freeable) {
  Entry& entry = entry_of(handle);
  const std::uint64_t bytes = entry.plain_bytes.load(std::memory_order_relaxed);
  // Release: our reads of the block come before its slot is used again. Acquire: where we are
  // the last, so do those of all others.
  const std::uint32_t before = entry.state.fetch_sub(1, std::memory_order_acq_rel);
  CAIRN_CHECK((before & detail::kLeaseMask) != 0);
  if ((before & detail::kLeaseMask) != 1) return 0;
  if ((before & (detail::kLeaving | detail::kDetached)) != 0) finish_release(handle, freeable);
  return bytes;
}

// --- leases -----------------------------------------------------------------------------------

/// One more lease, without a lock, if the entry is that of `id` and in hot.
inline bool Catalog::Impl::lease(BlockId id, BlockHandle hint, Residency& out,
                                 std::uint64_t& first_bytes) {
  Entry& entry = entry_of(hint);
  std::uint32_t state = entry.state.load(std::memory_order_relaxed);
  while ((state & detail::kHasHot) != 0 && entry.is(id)) {
    CAIRN_CHECK((state & detail::kLeaseMask) != detail::kLeaseMask);
    // Acquire: pairs with the publication that set kHasHot after it had written the fields.
    if (!entry.state.compare_exchange_weak(state, state + 1, std::memory_order_acquire,
                                           std::memory_order_relaxed)) {
      continue;
    }
    // Whoever's block it is, it stays as it is while we hold it.
    if ((state & detail::kLeaseMask) == 0)
      first_bytes += entry.plain_bytes.load(std::memory_order_relaxed);
    if (entry.is(id)) {
      describe_leased(hint, state + 1, out);
      return true;
    }
    give_back(hint);  // it has become another block's in between
    return false;
  }
  return false;
}

bool Catalog::Impl::lease_locked(BlockId id, Residency& out, std::uint64_t& first_bytes) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  out = Residency{};
  if (!is_present(handle)) return false;
  if (lease(id, handle, out, first_bytes)) return true;
  out = describe(handle);
  return false;
}

std::size_t Catalog::lease_hot(std::span<const BlockId> ids, Read read, std::span<Residency> out) {
  CAIRN_CHECK(out.size() >= ids.size());
  Impl& impl = *impl_;
  Impl::Hints hints;
  std::size_t end = 0;  // how far it got
  std::size_t leased = 0;
  std::uint64_t first_bytes = 0;  // of blocks that had no lease; counted once a call
  for (std::size_t size = Impl::kFirstWindow; end < ids.size(); size = Impl::kWindow) {
    const auto part = ids.subspan(end, std::min(size, ids.size() - end));
    impl.look_ahead(part, Impl::Use::lease, hints);
    std::size_t i = 0;
    for (; i < part.size(); ++i) {
      Residency& one = out[end + i];
      const bool got = impl.lease(part[i], hints[i], one, first_bytes) ||
                       impl.lease_locked(part[i], one, first_bytes);
      leased += got;
      if (!got && read == Read::prefix) break;
    }
    end += i;
    if (i < part.size()) break;
  }
  if (end < ids.size())
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(end) + 1, out.end(), Residency{});
  if (first_bytes != 0) impl.leased_bytes.fetch_add(first_bytes, std::memory_order_relaxed);
  // Stamped at the end, when it is known how far the run goes: the root becomes the newest.
  const std::uint64_t newest = impl.clock.fetch_add(end, std::memory_order_relaxed) + end - 1;
  for (std::size_t i = 0; i < end; ++i) {
    if (!out[i].hot.is_null()) impl.entry_of(out[i].handle).use(newest - i);
  }
  if (impl.links.wants_accesses()) {
    std::vector<BlockHandle> used;
    for (std::size_t i = 0; i < end; ++i) {
      if (!out[i].hot.is_null()) used.push_back(out[i].handle);
    }
    MutexLock lock(impl.links.mutex);
    impl.links.on_access(used);
  }
  return leased;
}

bool Catalog::lease_unused(BlockId id, Residency& out) {
  std::uint64_t first_bytes = 0;
  if (!impl_->lease_locked(id, out, first_bytes)) return false;
  if (first_bytes != 0) impl_->leased_bytes.fetch_add(first_bytes, std::memory_order_relaxed);
  return true;
}

std::uint64_t Catalog::leased_bytes() const {
  return impl_->leased_bytes.load(std::memory_order_relaxed);
}

/// Ends a lease where nobody can be told what it frees: the next release hands it out.
void Catalog::Impl::give_back(BlockHandle handle) {
  std::vector<Location> freeable;
  leased_bytes.fetch_sub(end_lease(handle, &freeable), std::memory_order_relaxed);
  if (freeable.empty()) return;
  MutexLock lock(strays_mutex);
  strays.insert(strays.end(), freeable.begin(), freeable.end());
  has_strays.store(true, std::memory_order_relaxed);
}

void Catalog::release(std::span<const BlockHandle> handles, std::vector<Location>* freeable) {
  for (const BlockHandle handle : handles) __builtin_prefetch(&impl_->entry_of(handle), 1);
  std::uint64_t last_bytes = 0;
  for (const BlockHandle handle : handles) last_bytes += impl_->end_lease(handle, freeable);
  if (last_bytes != 0) impl_->leased_bytes.fetch_sub(last_bytes, std::memory_order_relaxed);
  impl_->give_out_strays(freeable);
}

void Catalog::release(std::span<const BlockId> ids, std::span<const Location> hot,
                      std::vector<Location>* freeable) {
  CAIRN_CHECK(hot.size() == ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    Impl::Shard& shard = impl_->shard_of(ids[i]);
    BlockHandle handle = kNoBlock;
    {
      MutexLock lock(shard.mutex);
      handle = shard.find(ids[i]);
      if (handle == kNoBlock || impl_->entry_of(handle).hot != hot[i]) {
        const auto detached = shard.detached.find(hot[i].bits);
        CAIRN_CHECK(detached != shard.detached.end());
        handle = detached->second;
      }
    }
    const std::uint64_t last_bytes = impl_->end_lease(handle, freeable);  // our lease has kept it
    impl_->leased_bytes.fetch_sub(last_bytes, std::memory_order_relaxed);
  }
  impl_->give_out_strays(freeable);
}

/// The last lease of a block that was removed: nobody but us frees its entry now.
void Catalog::Impl::finish_release(BlockHandle handle, std::vector<Location>* freeable) {
  Entry& entry = entry_of(handle);
  Shard& shard = shard_of(entry.id());
  BlockId unneeded;
  {
    MutexLock lock(shard.mutex);
    freeable->push_back(entry.hot);
    if (state_of(handle) & detail::kDetached) {
      shard.detached.erase(entry.hot.bits);
      shard.release(handle);
    } else {
      entry.hot = Location{};
      entry.state.fetch_and(~detail::kLeaving, std::memory_order_relaxed);
      unneeded = settle(shard, handle);
    }
  }
  reap(unneeded);
}

void Catalog::Impl::give_out_strays(std::vector<Location>* freeable) {
  if (!has_strays.load(std::memory_order_relaxed)) return;  // seen late at worst
  MutexLock lock(strays_mutex);
  freeable->insert(freeable->end(), strays.begin(), strays.end());
  strays.clear();
  has_strays.store(false, std::memory_order_relaxed);
}

// --- recency ----------------------------------------------------------------------------------

std::size_t Catalog::touch(std::span<const BlockId> ids) {
  if (ids.empty()) return 0;
  Impl& impl = *impl_;
  Impl::Hints hints;
  std::size_t touched = 0;
  std::vector<BlockHandle> used;
  const std::uint64_t newest =
      impl.clock.fetch_add(ids.size(), std::memory_order_relaxed) + ids.size() - 1;
  for (std::size_t begin = 0; begin < ids.size(); begin += Impl::kWindow) {
    const auto part = ids.subspan(begin, std::min(Impl::kWindow, ids.size() - begin));
    impl.look_ahead(part, Impl::Use::change, hints);
    for (std::size_t i = 0; i < part.size(); ++i) {
      std::uint32_t plain_bytes = 0;
      BlockHandle handle = hints[i];
      if (impl.peek(part[i], handle, plain_bytes) == 0) handle = impl.find_present(part[i]);
      if (handle == kNoBlock) continue;
      // Should it become another's in this moment, then that one is a little newer: no harm.
      impl.entry_of(handle).use(newest - begin - i);
      if (impl.links.wants_accesses()) used.push_back(handle);
      ++touched;
    }
  }
  if (!used.empty()) {
    MutexLock lock(impl.links.mutex);
    impl.links.on_access(used);
  }
  return touched;
}

BlockHandle Catalog::Impl::find_present(BlockId id) const {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  return is_present(handle) ? handle : kNoBlock;
}

}  // namespace cairn
