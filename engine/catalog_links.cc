// SPDX-License-Identifier: Apache-2.0
#include "engine/catalog_links.h"

#include "engine/policy/lru.h"

namespace cairn::detail {
namespace {

/// Longer chains than any model has. What cannot be searched through gets no link.
constexpr std::uint32_t kCircleStepsMax = 1U << 16;

}  // namespace

Links::Links(Storage& storage, const PolicyFactory& factory) : storage_(storage) {
  const PolicyContext context{Stamps(&storage.entries[0].stamp, sizeof(Entry)),
                              storage.entries.size()};
  for (std::unique_ptr<Policy>& policy : policies_) {
    policy = factory ? factory(context) : make_lru_policy(context);
    wants_accesses_ = wants_accesses_ || policy->wants_accesses();
  }
}

// --- structure --------------------------------------------------------------------------------

void Links::hold(BlockId id, BlockHandle parent) {
  Hold& hold = holds_[id];
  hold.parent = parent;
  ++hold.count;
}

std::optional<BlockId> Links::parent_id(BlockHandle handle) const {
  // Zero without the lock: nobody but its own shard links it, and that is locked.
  if (storage_.records[handle].parent() == kNoBlock) return std::nullopt;
  MutexLock lock(mutex);
  const BlockHandle parent = storage_.records[handle].parent();
  if (parent == kNoBlock) return std::nullopt;
  return storage_.entries[parent].id();
}

BlockHandle Links::held(BlockId id) const {
  const auto hold = holds_.find(id);
  return hold == holds_.end() ? kNoBlock : hold->second.parent;
}

void Links::unhold(BlockId id) {
  const auto hold = holds_.find(id);
  CAIRN_CHECK(hold != holds_.end());
  if (--hold->second.count == 0) holds_.erase(hold);
}

bool Links::would_close_circle(BlockHandle child, BlockHandle parent) const {
  if (child == parent) return true;
  if (storage_.records[child].first_child == kNoBlock) return false;
  std::uint32_t steps = 0;
  for (BlockHandle above = parent; above != kNoBlock; above = storage_.records[above].parent()) {
    if (above == child || ++steps > kCircleStepsMax) return true;
  }
  return false;
}

bool Links::attach(BlockHandle child, BlockHandle parent) {
  if (would_close_circle(child, parent)) return false;
  LinkRecord& record = storage_.records[child];
  CAIRN_CHECK(record.parent() == kNoBlock);
  LinkRecord& above = storage_.records[parent];
  record.set_parent(parent);
  record.next_sibling = above.first_child;
  record.previous_sibling = kNoBlock;
  if (above.first_child != kNoBlock)
    storage_.records[above.first_child].previous_sibling = child & kHandleMask;
  above.first_child = child & kHandleMask;
  count_child(parent, {}, record.copies());
  return true;
}

BlockHandle Links::detach(BlockHandle child) {
  LinkRecord& record = storage_.records[child];
  const BlockHandle parent = record.parent();
  if (parent == kNoBlock) return kNoBlock;
  count_child(parent, record.copies(), {});
  const BlockHandle previous = record.previous_sibling;
  if (previous == kNoBlock) {
    storage_.records[parent].first_child = record.next_sibling & kHandleMask;
  } else {
    storage_.records[previous].next_sibling = record.next_sibling;
  }
  if (record.next_sibling != kNoBlock)
    storage_.records[record.next_sibling].previous_sibling = previous & kHandleMask;
  record.set_parent(kNoBlock);
  record.next_sibling = kNoBlock;
  record.previous_sibling = kNoBlock;
  return parent;
}

void Links::take_over(BlockHandle from, BlockHandle to) {
  CAIRN_CHECK(!is_present(from) && !is_present(to));
  LinkRecord& old = storage_.records[from];
  LinkRecord& fresh = storage_.records[to];
  const BlockHandle parent = detach(from);
  const bool attached = parent == kNoBlock || attach(to, parent);
  CAIRN_CHECK(attached);
  lost_.erase(from);
  fresh.first_child = old.first_child;
  old.first_child = kNoBlock;
  for (BlockHandle c = fresh.first_child; c != kNoBlock; c = storage_.records[c].next_sibling) {
    storage_.records[c].set_parent(to);
  }
  children_[kHotOrder].move(old.children_hot, from, fresh.children_hot, to);
  children_[kWarmOrder].move(old.children_warm, from, fresh.children_warm, to);
  children_[kColdOrder].move(old.children_cold, from, fresh.children_cold, to);
  children_present_.move(old.children_present, from, fresh.children_present, to);
  if (const auto hold = holds_.find(storage_.entries[to].id()); hold != holds_.end()) {
    hold->second.parent = to;
  }
  note_lost(to);
}

// --- residency --------------------------------------------------------------------------------

void Links::set_residency(BlockHandle handle, Copies now) {
  LinkRecord& record = storage_.records[handle];
  const Copies was = record.copies();
  record.linked_hot = now.hot;
  record.linked_warm = now.warm;
  record.linked_cold = now.cold;
  if (now.any() != was.any()) {
    const std::uint64_t children = children_present_.get(record.children_present, handle);
    orphans_ += now.any() ? std::uint64_t{0} - children : children;
    note_lost(handle);
  }
  for (std::size_t tier = 0; tier < kTiers; ++tier) {
    const bool was_in = in_tier(was, tier);
    const bool is_in = in_tier(now, tier);
    if (was_in && is_in) policies_[tier]->on_standing(handle, standing(handle, tier));
    if (was_in && !is_in) policies_[tier]->on_remove(handle);
    if (!was_in && is_in) policies_[tier]->on_insert(handle, standing(handle, tier));
  }
  if (record.parent() != kNoBlock) count_child(record.parent(), was, now);
}

/// One child of `parent` has changed from the first residency to the second.
void Links::count_child(BlockHandle parent, Copies was, Copies now) {
  LinkRecord& record = storage_.records[parent];
  const auto count = [&](SpilledCount& spilled, std::uint8_t& field, bool before, bool after) {
    if (!before && after) spilled.add(field, parent);
    if (before && !after) spilled.subtract(field, parent);
  };
  for (std::size_t tier = 0; tier < kTiers; ++tier) {
    std::uint8_t& field = tier == kHotOrder    ? record.children_hot
                          : tier == kWarmOrder ? record.children_warm
                                               : record.children_cold;
    count(children_[tier], field, is_child_in(was, tier), is_child_in(now, tier));
  }
  count(children_present_, record.children_present, was.any(), now.any());
  if (was.any() != now.any() && !is_present(parent)) {
    orphans_ += now.any() ? 1 : std::uint64_t{0} - 1;
    note_lost(parent);
  }
  refresh(parent);
}

Standing Links::standing(BlockHandle handle, std::size_t tier) const {
  const LinkRecord& record = storage_.records[handle];
  const Copies copies = record.copies();
  if (tier == kWarmOrder && copies.is_spare()) return Standing::spare;
  if (is_pinned(handle) || children_in(handle, tier) != 0) return Standing::held;
  if (!copies.is_last()) return Standing::backed;
#if defined(CAIRN_PLANTED_PARENT_EVICTED)
  return Standing::last_copy;
#else
  return record.children_present != 0 ? Standing::anchored : Standing::last_copy;
#endif
}

bool Links::may_go(BlockHandle handle, std::size_t tier, Standing most) const {
  const Standing now = standing(handle, tier);
#if defined(CAIRN_PLANTED_SPARE_AS_PRIMARY)
  most = Standing::last_copy;
#endif
  return now != Standing::held && now <= most;
}

void Links::refresh(BlockHandle handle) {
  for (std::size_t tier = 0; tier < kTiers; ++tier) {
    if (in_tier(storage_.records[handle], tier)) {
      policies_[tier]->on_standing(handle, standing(handle, tier));
    }
  }
}

void Links::demote(BlockHandle handle, std::uint64_t stamp) {
  storage_.entries[handle].stamp.store(stamp, std::memory_order_relaxed);
  for (std::size_t tier = 0; tier < kTiers; ++tier) {
    if (in_tier(storage_.records[handle], tier)) policies_[tier]->on_demote(handle);
  }
}

void Links::on_access(std::span<const BlockHandle> blocks) {
  for (const std::unique_ptr<Policy>& policy : policies_) {
    if (policy->wants_accesses()) policy->on_access(blocks);
  }
}

void Links::note_lost(BlockHandle handle) {
  if (loading_) return;
  if (!is_present(handle) && storage_.records[handle].children_present != 0) {
    lost_.insert(handle);
  } else {
    lost_.erase(handle);
  }
}

void Links::set_loading(bool loading) {
  loading_ = loading;
  lost_.clear();
  if (loading || orphans_ == 0) return;
  const std::size_t end =
      std::size_t{storage_.chunks_used.load(std::memory_order_acquire)} * Storage::kChunkEntries;
  for (std::size_t handle = 1; handle < end; ++handle) note_lost(static_cast<BlockHandle>(handle));
}

std::uint64_t Links::memory_bytes() const {
  std::uint64_t bytes = children_present_.memory_bytes() + lost_.size() * 8 +
                        holds_.capacity() * (sizeof(BlockId) + sizeof(Hold) + 1);
  for (std::size_t tier = 0; tier < kTiers; ++tier) {
    bytes += policies_[tier]->memory_bytes() + children_[tier].memory_bytes();
  }
  return bytes;
}

void Links::check_invariants() const {
  const std::size_t end =
      std::size_t{storage_.chunks_used.load(std::memory_order_acquire)} * Storage::kChunkEntries;
  std::array<std::size_t, kTiers> offered{};
  std::uint64_t orphans = 0;
  for (BlockHandle handle = 1; handle < end; ++handle) {
    const LinkRecord& record = storage_.records[handle];
    std::array<std::uint64_t, kTiers> children{};
    std::uint64_t present = 0;
    BlockHandle previous = kNoBlock;
    for (BlockHandle c = record.first_child; c != kNoBlock; c = storage_.records[c].next_sibling) {
      const LinkRecord& child = storage_.records[c];
      CAIRN_CHECK(child.parent() == handle && child.previous_sibling == previous);
      for (std::size_t tier = 0; tier < kTiers; ++tier) {
        children[tier] += is_child_in(child.copies(), tier);
      }
      present += is_present(c);
      previous = c;
    }
    for (std::size_t tier = 0; tier < kTiers; ++tier) {  // C2
      CAIRN_CHECK(children[tier] == children_in(handle, tier));
    }
    CAIRN_CHECK(present == children_present_.get(record.children_present, handle));
    if (record.parent() != kNoBlock && is_present(handle) && !is_present(record.parent()))
      ++orphans;
    const bool is_lost = !is_present(handle) && present > 0;
    CAIRN_CHECK(lost_.contains(handle) == (is_lost && !loading_));
    for (std::size_t tier = 0; tier < kTiers; ++tier) {  // C3
      const Standing expected = in_tier(record, tier) ? standing(handle, tier) : Standing::held;
      CAIRN_CHECK(policies_[tier]->offers(handle, expected));
      offered[tier] += expected != Standing::held;
    }
  }
  CAIRN_CHECK(orphans == orphans_);
  CAIRN_CHECK(holds_.empty());
  for (std::size_t tier = 0; tier < kTiers; ++tier) {
    CAIRN_CHECK(policies_[tier]->offered() == offered[tier]);
    policies_[tier]->check_invariants();
  }
}

}  // namespace cairn::detail
