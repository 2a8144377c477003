// SPDX-License-Identifier: Apache-2.0
// catalog.cc — publication, removal and pins: what changes residency.
#include "engine/catalog.h"

#include <utility>

#include "engine/base/check.h"
#include "engine/catalog_impl.h"

namespace cairn {

using detail::kNoBlock;

Catalog::Catalog(const CatalogOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Catalog::~Catalog() = default;

Catalog::Impl::Impl(const CatalogOptions& options)
    : storage(options), shards(new Shard[options.shards]), links(storage, options.policy) {
  for (std::uint32_t i = 0; i < options.shards; ++i) shards[i].attach(storage, i);
}

// --- publication ------------------------------------------------------------------------------

bool Catalog::publish_hot(BlockId id, const BlockName& name, const BlockFacts& facts, Location hot,
                          Residency* replaced) {
  return impl_->publish({id, name, facts, TierKind::hot, hot, 0}, replaced);
}

bool Catalog::publish_cold(BlockId id, const BlockName& name, const BlockFacts& facts,
                           Location cold, std::uint32_t cold_bytes, Residency* replaced) {
  return impl_->publish({id, name, facts, TierKind::cold, cold, cold_bytes}, replaced);
}

bool Catalog::publish_warm(BlockId id, const BlockName& name, const BlockFacts& facts,
                           Location warm) {
  return impl_->publish({id, name, facts, TierKind::warm, warm, 0}, nullptr);
}

bool Catalog::Impl::publish(const Publication& publication, Residency* replaced) {
  CAIRN_CHECK(!publication.id.is_null() && !publication.location.is_null());
  if (replaced != nullptr) *replaced = Residency{};
  const BlockId parent_id = publication.facts.parent;
  Shard& shard = shard_of(publication.id);
  BlockId unneeded;
  {
    MutexLock lock(shard.mutex);
    const BlockHandle found = shard.find(publication.id);
    const Verdict verdict = judge(found, publication);
    if (verdict == Verdict::refuse) return false;
    if (verdict == Verdict::add_copy) {
      add_copy(shard, found, publication.tier, publication.location, publication.cold_bytes);
      return true;
    }
    const bool is_linked = found != kNoBlock && links.parent_id(found) == parent_id;
    if (parent_id.is_null() || is_linked || parent_id == publication.id) {
      return store(shard, found, publication, Parent::as_linked, replaced, unneeded);
    }
  }
  // The parent lives in another shard: it is held first, then the block is looked at again.
  const bool held = hold_parent(parent_id);
  bool stored = false;
  {
    MutexLock lock(shard.mutex);
    const BlockHandle found = shard.find(publication.id);
    const Verdict verdict = judge(found, publication);
    if (verdict == Verdict::add_copy) {
      add_copy(shard, found, publication.tier, publication.location, publication.cold_bytes);
      stored = true;
    } else if (verdict == Verdict::store) {
      stored = store(shard, found, publication, Parent::held, replaced, unneeded);
    }
  }
  if (held) {
    bool is_useless = false;
    {
      MutexLock lock(links.mutex);
      const BlockHandle parent = links.held(parent_id);
      links.unhold(parent_id);
      is_useless = links.is_placeholder_without_use(parent);
    }
    if (is_useless) reap(parent_id);
  }
  reap(unneeded);
  return stored;
}

Catalog::Impl::Verdict Catalog::Impl::judge(BlockHandle found,
                                            const Publication& publication) const {
  if (!is_present(found)) return Verdict::store;
  const Entry& entry = entry_of(found);
  if (!is_named(found, publication.name)) return Verdict::refuse;
  if (publication.facts.sequence > entry.sequence) return Verdict::store;
  const bool adds_cold = publication.tier == TierKind::cold &&
                         publication.facts.sequence == entry.sequence &&
                         (state_of(found) & detail::kHasCold) == 0;
  return adds_cold ? Verdict::add_copy : Verdict::refuse;
}

/// A new version, or the first.
bool Catalog::Impl::store(Shard& shard, BlockHandle found, const Publication& publication,
                          Parent parent_is, Residency* replaced, BlockId& unneeded) {
  BlockHandle handle = found;
  const bool was_present = is_present(found);
  Residency before;
  if (was_present) before = describe(found);
  const bool had_hot = !before.hot.is_null();
  if (found == kNoBlock) {
    handle = shard.allocate(publication.id);
    if (handle == kNoBlock) return false;
    shard.insert(handle);
  } else if (!entry_of(found).claim_hot()) {
    handle = supersede(shard, found);
    if (handle == kNoBlock) return false;
    // What leases hold comes back through release(), unless the last has just ended.
    if (shard.detached.contains(before.hot.bits)) before.hot = Location{};
  }
  if (was_present) {
    if (had_hot) count_copy(shard, handle, TierKind::hot, Sign::minus);
    if (!before.warm.is_null()) count_copy(shard, handle, TierKind::warm, Sign::minus);
    if (!before.cold.is_null()) count_copy(shard, handle, TierKind::cold, Sign::minus);
    count_block(shard, handle, Sign::minus);
  }
  const BlockFacts& facts = publication.facts;
  const auto where = [&](TierKind tier) {
    return publication.tier == tier ? publication.location : Location{};
  };
  Entry& entry = entry_of(handle);
  LinkRecord& record = record_of(handle);
  entry.state.fetch_and(~(detail::kPresent | detail::kExpires), std::memory_order_relaxed);
  store_name(handle, was_present ? found : kNoBlock, publication.name);
  entry.sequence = facts.sequence;
  entry.plain_bytes.store(facts.plain_bytes, std::memory_order_relaxed);
  entry.plain_sum = facts.plain_sum;
  entry.hot = where(TierKind::hot);
  record.warm = where(TierKind::warm);
  record.cold = where(TierKind::cold);
  record.set_cold_bytes(publication.cold_bytes);
  std::uint32_t flags = flag_of(publication.tier);
  if (facts.pinned) flags |= detail::kDurablePin;
  if (facts.expiry != 0) {
    storage.set_expiry(handle, facts.expiry);
    flags |= detail::kExpires;
  }
  entry.stamp.store(clock.fetch_add(1, std::memory_order_relaxed), std::memory_order_relaxed);
  // Release: pairs with the lease that sees kHasHot without a lock and then reads the fields.
  entry.state.fetch_or(flags, std::memory_order_release);
  count_block(shard, handle, Sign::plus);
  count_copy(shard, handle, publication.tier, Sign::plus);
  {
    MutexLock lock(links.mutex);
    const BlockHandle parent =
        parent_is == Parent::held ? links.held(facts.parent) : record.parent();
    if (record.parent() != parent) {
      const BlockHandle left = links.detach(handle);
      if (left != kNoBlock && links.is_placeholder_without_use(left))
        unneeded = entry_of(left).id();
      if (parent != kNoBlock) links.attach(handle, parent);
    }
    links.set_residency(handle, detail::Copies::of(flags));
  }
  if (replaced != nullptr) *replaced = before;
  return true;
}

/// Of a new block, or of a new version of one that is there under the same name: in the same
/// entry, or in a fresh one when leases keep the old.
void Catalog::Impl::store_name(BlockHandle handle, BlockHandle before, const BlockName& name) {
  entry_of(handle).namespace_id = name.namespace_id;
  if (name.key.empty()) return;  // nobody's block, of a measurement: no page for its name
  detail::NameSlot& slot = storage.names[handle];
  const bool left_cold = before != kNoBlock && storage.names[before].left_cold;
  if (handle != before) storage.names.set(handle, name.key, name.part);
  // Nothing is known of the new version; but the removal of the old one is not synced for that.
  if (slot.durable) slot.durable = false;
  if (slot.it_has_left_cold) slot.it_has_left_cold = false;
  if (left_cold) slot.left_cold = true;
}

void Catalog::Impl::add_copy(Shard& shard, BlockHandle handle, TierKind tier, Location location,
                             std::uint32_t cold_bytes) {
  count_copy(shard, handle, tier, Sign::plus);
  Entry& entry = entry_of(handle);
  if (tier == TierKind::hot) {
    entry.hot = location;
    entry.state.fetch_or(detail::kHasHot, std::memory_order_release);  // as in store()
  } else if (tier == TierKind::warm) {
    record_of(handle).warm = location;
    entry.state.fetch_or(detail::kHasWarm, std::memory_order_relaxed);
  } else {
    record_of(handle).cold = location;
    record_of(handle).set_cold_bytes(cold_bytes);
    entry.state.fetch_or(detail::kHasCold, std::memory_order_relaxed);
  }
  MutexLock lock(links.mutex);
  links.set_residency(handle, detail::Copies::of(state_of(handle)));
}

/// False when there is no room for a placeholder: the block then gets no link.
bool Catalog::Impl::hold_parent(BlockId id) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  BlockHandle parent = shard.find(id);
  if (parent == kNoBlock) {
    parent = shard.allocate(id);
    if (parent == kNoBlock) return false;
    shard.insert(parent);
  }
  MutexLock links_lock(links.mutex);
  links.hold(id, parent);
  return true;
}

/// A fresh entry takes the place of one that leases keep; that one is then known only to them
/// and, by its hot location, to the shard. 0, and nothing has changed, when there is no room.
BlockHandle Catalog::Impl::supersede(Shard& shard, BlockHandle old) {
  Entry& entry = entry_of(old);
  const BlockHandle fresh = shard.allocate(entry.id());
  if (fresh == kNoBlock) return kNoBlock;
  constexpr std::uint32_t kPins = detail::kPinned | detail::kDurablePin;
  Entry& fresh_entry = entry_of(fresh);
  fresh_entry.namespace_id = entry.namespace_id;
  fresh_entry.plain_bytes.store(entry.plain_bytes.load(std::memory_order_relaxed),
                                std::memory_order_relaxed);
  fresh_entry.state.store(state_of(old) & kPins, std::memory_order_relaxed);
  shard.pins.move(record_of(old).pins, old, record_of(fresh).pins, fresh);
  shard.erase(old);
  shard.insert(fresh);
  {
    MutexLock lock(links.mutex);
    links.set_residency(old, {});
    links.take_over(old, fresh);
  }
  entry.state.fetch_and(~(detail::kPresent | kPins | detail::kExpires), std::memory_order_relaxed);
  record_of(old).warm = record_of(old).cold = Location{};
  record_of(old).set_cold_bytes(0);
  // From here on the last release collects it, unless the last has been before.
  const std::uint32_t before = entry.state.fetch_or(detail::kDetached, std::memory_order_acq_rel);
  if (is_kept_by_leases(before)) {
    shard.detached[entry.hot.bits] = old;
  } else {
    shard.release(old);
  }
  return fresh;
}

/// C4.
void Catalog::Impl::count_block(Shard& shard, BlockHandle handle, Sign sign) {
  const Entry& entry = entry_of(handle);
  NamespaceUsage& usage = shard.usage[entry.namespace_id];
  const std::uint64_t one = sign == Sign::plus ? 1 : std::uint64_t{0} - 1;
  usage.blocks += one;
  usage.bytes += one * entry.plain_bytes.load(std::memory_order_relaxed);
  shard.blocks += one;
}

void Catalog::Impl::count_copy(Shard& shard, BlockHandle handle, TierKind tier, Sign sign) {
  const Entry& entry = entry_of(handle);
  NamespaceUsage& usage = shard.usage[entry.namespace_id];
  const std::uint64_t one = sign == Sign::plus ? 1 : std::uint64_t{0} - 1;
  const std::uint64_t bytes = one * entry.plain_bytes.load(std::memory_order_relaxed);
  const bool hot = tier == TierKind::hot;
  const bool warm = tier == TierKind::warm;
  (hot ? usage.hot_blocks : warm ? usage.warm_blocks : usage.cold_blocks) += one;
  (hot ? usage.hot_bytes : warm ? usage.warm_bytes : usage.cold_bytes) += bytes;
}

bool Catalog::add_hot(BlockId id, std::uint64_t sequence, Location hot) {
  return impl_->add(id, sequence, TierKind::hot, hot);
}

bool Catalog::add_warm(BlockId id, std::uint64_t sequence, Location warm) {
  return impl_->add(id, sequence, TierKind::warm, warm);
}

bool Catalog::Impl::add(BlockId id, std::uint64_t sequence, TierKind tier, Location location) {
  Shard& shard = shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (!is_present(handle) || entry_of(handle).sequence != sequence) return false;
  if (state_of(handle) & flag_of(tier)) return false;
  add_copy(shard, handle, tier, location, 0);
  return true;
}

bool Catalog::relocate_cold(BlockId id, Location from, Location to) {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (handle == kNoBlock || !(impl_->state_of(handle) & detail::kHasCold)) return false;
  if (impl_->record_of(handle).cold != from) return false;
  impl_->record_of(handle).cold = to;
  return true;
}

void Catalog::set_expiry(BlockId id, WallMicros expiry) {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (!impl_->is_present(handle)) return;
  std::atomic<std::uint32_t>& state = impl_->entry_of(handle).state;
  if (expiry == 0) {
    state.fetch_and(~detail::kExpires, std::memory_order_relaxed);
    return;
  }
  impl_->storage.set_expiry(handle, expiry);
  state.fetch_or(detail::kExpires, std::memory_order_relaxed);
}

// --- removal ----------------------------------------------------------------------------------

bool Catalog::remove_copy(BlockId id, TierKind tier, Location location, Standing most) {
  return impl_->take(id, tier, location, most);
}

bool Catalog::drop_copy(BlockId id, TierKind tier, Location location) {
  CAIRN_CHECK(tier != TierKind::hot);  // leases would have to be asked
  return impl_->take(id, tier, location, std::nullopt);
}

bool Catalog::Impl::take(BlockId id, TierKind tier, Location location,
                         std::optional<Standing> most) {
  BlockId unneeded;
  {
    Shard& shard = shard_of(id);
    MutexLock lock(shard.mutex);
    const BlockHandle handle = shard.find(id);
    if (handle == kNoBlock || !(state_of(handle) & flag_of(tier))) return false;
    const Location held = tier == TierKind::hot    ? entry_of(handle).hot
                          : tier == TierKind::warm ? record_of(handle).warm
                                                   : record_of(handle).cold;
    if (held != location || !take_copy(shard, handle, tier, most, unneeded)) return false;
  }
  reap(unneeded);
  return true;
}

bool Catalog::Impl::take_copy(Shard& shard, BlockHandle handle, TierKind tier,
                              std::optional<Standing> most, BlockId& unneeded) {
  const bool takes_hot = tier == TierKind::hot;
  Entry& entry = entry_of(handle);
  const std::uint32_t left = state_of(handle) & detail::kPresent & ~flag_of(tier);
  {
    // Asked and done under one lock: a child that comes in between would lose its parent.
    MutexLock lock(links.mutex);
    if (most && !links.may_go(handle, order_of(tier), *most)) return false;
    if (most && takes_hot && !entry.claim_hot()) return false;
    links.set_residency(handle, detail::Copies::of(left));
  }
  count_copy(shard, handle, tier, Sign::minus);
  if (takes_hot) {
    // kHasHot has been taken away already; what leases hold on to stays.
    if (!(state_of(handle) & detail::kLeaving)) entry.hot = Location{};
  } else if (tier == TierKind::warm) {
    record_of(handle).warm = Location{};
    entry.state.fetch_and(~detail::kHasWarm, std::memory_order_relaxed);
  } else {
    record_of(handle).cold = Location{};
    record_of(handle).set_cold_bytes(0);
    entry.state.fetch_and(~detail::kHasCold, std::memory_order_relaxed);
  }
  if (left == 0) {
    count_block(shard, handle, Sign::minus);
    // Pins and expiry are promises about a block: they go with its last copy.
    shard.pins.clear(record_of(handle).pins, handle);
    entry.state.fetch_and(~(detail::kPinned | detail::kDurablePin | detail::kExpires),
                          std::memory_order_relaxed);
    unneeded = settle(shard, handle);
  }
  return true;
}

BlockId Catalog::Impl::settle(Shard& shard, BlockHandle handle) {
  const std::uint32_t state = state_of(handle);
  if ((state & detail::kPresent) != 0 || is_kept_by_leases(state)) return BlockId{};
  BlockId parent_id;
  {
    MutexLock lock(links.mutex);
    if (links.is_needed(handle)) return BlockId{};
    const BlockHandle parent = links.detach(handle);
    if (parent != kNoBlock && links.is_placeholder_without_use(parent))
      parent_id = entry_of(parent).id();
  }
  shard.erase(handle);
  shard.release(handle);
  return parent_id;
}

void Catalog::Impl::reap(BlockId id) {
  while (!id.is_null()) {
    Shard& shard = shard_of(id);
    MutexLock lock(shard.mutex);
    const BlockHandle handle = shard.find(id);
    id = handle == kNoBlock ? BlockId{} : settle(shard, handle);
  }
}

std::optional<Residency> Catalog::remove(BlockId id, std::uint64_t sequence) {
  Residency was;
  BlockId unneeded;
  {
    Impl::Shard& shard = impl_->shard_of(id);
    MutexLock lock(shard.mutex);
    const BlockHandle handle = shard.find(id);
    if (!impl_->is_present(handle) || impl_->entry_of(handle).sequence > sequence)
      return std::nullopt;
    was = impl_->describe(handle);
    Impl::Entry& entry = impl_->entry_of(handle);
    // A leased hot copy stays with its leases: the last release takes `hot` from the entry.
    std::uint32_t seen = entry.state.load(std::memory_order_relaxed);
    bool leased = false;
    do {
      leased = (seen & detail::kLeaseMask) != 0;
    } while (!entry.state.compare_exchange_weak(
        seen, (seen & ~detail::kHasHot) | (leased ? detail::kLeaving : 0),
        std::memory_order_acq_rel, std::memory_order_relaxed));
    if (!was.hot.is_null()) impl_->take_copy(shard, handle, TierKind::hot, std::nullopt, unneeded);
    if (!was.warm.is_null())
      impl_->take_copy(shard, handle, TierKind::warm, std::nullopt, unneeded);
    if (!was.cold.is_null())
      impl_->take_copy(shard, handle, TierKind::cold, std::nullopt, unneeded);
    if (leased) was.hot = Location{};
  }
  impl_->reap(unneeded);
  return was;
}

// --- pins, recency ---------------------------------------------------------------------

bool Catalog::pin(BlockId id, int delta) {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (!impl_->is_present(handle)) return false;
  std::uint8_t& pins = impl_->record_of(handle).pins;
  std::atomic<std::uint32_t>& state = impl_->entry_of(handle).state;
  for (; delta > 0; --delta) shard.pins.add(pins, handle);
  for (; delta < 0; ++delta) {
    if (pins == 0) {
      state.fetch_and(~detail::kDurablePin, std::memory_order_relaxed);
      break;
    }
    shard.pins.subtract(pins, handle);
  }
  if (pins != 0) {
    state.fetch_or(detail::kPinned, std::memory_order_relaxed);
  } else {
    state.fetch_and(~detail::kPinned, std::memory_order_relaxed);
  }
  MutexLock links_lock(impl_->links.mutex);
  impl_->links.refresh(handle);
  return true;
}

bool Catalog::set_durable_pin(BlockId id, bool pinned) {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (!impl_->is_present(handle)) return false;
  std::atomic<std::uint32_t>& state = impl_->entry_of(handle).state;
  if (pinned) {
    state.fetch_or(detail::kDurablePin, std::memory_order_relaxed);
  } else {
    state.fetch_and(~detail::kDurablePin, std::memory_order_relaxed);
  }
  MutexLock links_lock(impl_->links.mutex);
  impl_->links.refresh(handle);
  return true;
}

bool Catalog::make_oldest(BlockId id) {
  Impl::Shard& shard = impl_->shard_of(id);
  MutexLock lock(shard.mutex);
  const BlockHandle handle = shard.find(id);
  if (!impl_->is_present(handle)) return false;
  MutexLock links_lock(impl_->links.mutex);
  impl_->links.demote(handle, impl_->oldest.fetch_sub(1, std::memory_order_relaxed));
  return true;
}

}  // namespace cairn
