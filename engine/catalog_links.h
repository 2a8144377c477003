// SPDX-License-Identifier: Apache-2.0
// catalog_links.h — parents, children and the order of eviction. Private to engine/catalog_*.
//
// Knows for every entry in which tiers it is, who its parent is and how many children it has in
// each tier, and from that tells each tier's policy what may go: a block may not go from a tier
// in which it has a child, nor with its last copy while a child has a copy anywhere (but move to
// another tier it may), nor while it is pinned. A spare may always go, and is nobody's child in
// warm. Leases are not known here: they change too often, and are looked at when victims are
// picked.
//
// Threading:  everything needs `mutex`, which is taken below a shard's lock or alone. Fields of
//             entries that belong to a shard are not touched here, but for atomics and ids.
// Blocking:   never.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/base/mutex.h"
#include "engine/catalog_table.h"

namespace cairn::detail {

constexpr std::size_t kTiers = 3;  // those that have an order
constexpr std::size_t kHotOrder = 0;
constexpr std::size_t kWarmOrder = 1;
constexpr std::size_t kColdOrder = 2;

class Links {
 public:
  Links(Storage& storage, const PolicyFactory& factory);

  mutable Mutex mutex{LockRank::catalog_links};

  // --- structure --------------------------------------------------------------------------
  /// Keeps a parent that is about to get a child from being taken out as unneeded. By id: the
  /// entry behind it may be superseded meanwhile.
  void hold(BlockId id, BlockHandle parent) CAIRN_REQUIRES(mutex);
  BlockHandle held(BlockId id) const CAIRN_REQUIRES(mutex);  // 0: not held
  void unhold(BlockId id) CAIRN_REQUIRES(mutex);
  /// False, and no link, where it would close a circle.
  bool attach(BlockHandle child, BlockHandle parent) CAIRN_REQUIRES(mutex);
  /// Takes the lock itself; the block's shard is locked.
  std::optional<BlockId> parent_id(BlockHandle handle) const CAIRN_EXCLUDES(mutex);
  /// Returns the parent that it had.
  BlockHandle detach(BlockHandle child) CAIRN_REQUIRES(mutex);
  /// All links of `from`, which is resident nowhere by now, go over to `to`.
  void take_over(BlockHandle from, BlockHandle to) CAIRN_REQUIRES(mutex);
  bool is_needed(BlockHandle handle) const CAIRN_REQUIRES(mutex) {
    return storage_.records[handle].first_child != kNoBlock ||
           (!holds_.empty() && holds_.contains(storage_.entries[handle].id()));
  }

  // --- residency and order ----------------------------------------------------------------
  void set_residency(BlockHandle handle, Copies copies) CAIRN_REQUIRES(mutex);
  /// Pins have changed, or children have.
  void refresh(BlockHandle handle) CAIRN_REQUIRES(mutex);
  void demote(BlockHandle handle, std::uint64_t stamp) CAIRN_REQUIRES(mutex);
  bool may_go(BlockHandle handle, std::size_t tier, Standing most) const CAIRN_REQUIRES(mutex);
  void on_access(std::span<const BlockHandle> blocks) CAIRN_REQUIRES(mutex);
  bool wants_accesses() const { return wants_accesses_; }

  /// Resident nowhere, and nobody's parent.
  bool is_placeholder_without_use(BlockHandle handle) const CAIRN_REQUIRES(mutex) {
    return !is_present(handle) && !is_needed(handle);
  }
  void set_loading(bool loading) CAIRN_REQUIRES(mutex);
  std::uint64_t orphans() const CAIRN_REQUIRES(mutex) { return orphans_; }

  /// Up to `count` blocks that may leave the tier one after the other, none beyond `most`. False:
  /// ask again, with the lock released in between.
  bool pick(std::size_t tier, std::size_t count, Standing most,
            std::vector<std::pair<BlockHandle, BlockId>>& picked) CAIRN_REQUIRES(mutex);

  std::uint64_t memory_bytes() const CAIRN_REQUIRES(mutex);
  void check_invariants() const CAIRN_REQUIRES(mutex);

 private:
  friend class Picker;

  static bool in_tier(Copies copies, std::size_t tier) {
    return tier == kHotOrder ? copies.hot : tier == kWarmOrder ? copies.warm : copies.cold;
  }
  static bool in_tier(const LinkRecord& record, std::size_t tier) {
    return in_tier(record.copies(), tier);
  }
  /// Whether it is one of the children that its parent has in the tier.
  static bool is_child_in(Copies copies, std::size_t tier) {
    return in_tier(copies, tier) && !(tier == kWarmOrder && copies.is_spare());
  }
  std::uint64_t children_in(BlockHandle handle, std::size_t tier) const {
    const LinkRecord& record = storage_.records[handle];
    return children_[tier].get(tier == kHotOrder    ? record.children_hot
                               : tier == kWarmOrder ? record.children_warm
                                                    : record.children_cold,
                               handle);
  }
  bool is_present(BlockHandle handle) const { return storage_.records[handle].copies().any(); }
  bool is_pinned(BlockHandle handle) const {
    return storage_.entries[handle].state.load(std::memory_order_relaxed) & (kPinned | kDurablePin);
  }
  Standing standing(BlockHandle handle, std::size_t tier) const CAIRN_REQUIRES(mutex);
  bool would_close_circle(BlockHandle child, BlockHandle parent) const CAIRN_REQUIRES(mutex);
  void count_child(BlockHandle parent, Copies was, Copies now) CAIRN_REQUIRES(mutex);
  void note_lost(BlockHandle handle) CAIRN_REQUIRES(mutex);

  Storage& storage_;
  std::array<std::unique_ptr<Policy>, kTiers> policies_;
  bool wants_accesses_ = false;
  bool loading_ = false;
  std::uint64_t orphans_ = 0;
  std::array<SpilledCount, kTiers> children_;
  SpilledCount children_present_;
  struct Hold {
    BlockHandle parent = kNoBlock;
    std::uint32_t count = 0;
  };
  absl::flat_hash_map<BlockId, Hold> holds_;
  /// Absent parents of present children, unless loading: their descendants go first.
  absl::btree_set<BlockHandle> lost_;
  BlockHandle lost_cursor_ = kNoBlock;
};

}  // namespace cairn::detail
