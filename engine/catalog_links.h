// SPDX-License-Identifier: Apache-2.0
// catalog_links.h — parents, children and the order of eviction. Private to engine/catalog_*.
//
// Knows for every entry in which tiers it is, who its parent is and how many children it has in
// each tier, and from that tells each tier's policy what may go: a block may not go from a tier
// in which it has a child, nor with its last copy while a child has a copy anywhere, nor while
// it is pinned. Leases are not known here: they change too often, and are looked at when
// victims are picked.
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

constexpr std::size_t kTiers = 2;  // those that have an order: hot, cold
constexpr std::size_t kHotOrder = 0;
constexpr std::size_t kColdOrder = 1;

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
  void set_residency(BlockHandle handle, bool hot, bool cold) CAIRN_REQUIRES(mutex);
  /// Pins have changed, or children have.
  void refresh(BlockHandle handle) CAIRN_REQUIRES(mutex);
  void demote(BlockHandle handle, std::uint64_t stamp) CAIRN_REQUIRES(mutex);
  bool may_go(BlockHandle handle, std::size_t tier) const CAIRN_REQUIRES(mutex) {
    return standing(handle, tier) != Standing::held;
  }
  /// The last copy, in hot, of a block whose children are present but not in hot.
  bool is_held_from_below(BlockHandle handle) const CAIRN_REQUIRES(mutex) {
    const LinkRecord& record = storage_.records[handle];
    return record.linked_hot && !record.linked_cold && record.children_hot == 0 &&
           record.children_present != 0;
  }
  void on_access(std::span<const BlockHandle> blocks) CAIRN_REQUIRES(mutex);
  bool wants_accesses() const { return wants_accesses_; }

  /// Resident nowhere, and nobody's parent.
  bool is_placeholder_without_use(BlockHandle handle) const CAIRN_REQUIRES(mutex) {
    return !is_present(handle) && !is_needed(handle);
  }
  void set_loading(bool loading) CAIRN_REQUIRES(mutex);
  std::uint64_t orphans() const CAIRN_REQUIRES(mutex) { return orphans_; }

  /// Up to `count` blocks that may leave the tier one after the other. False: ask again, with
  /// the lock released in between.
  bool pick(std::size_t tier, std::size_t count, bool include_last_copies,
            std::vector<std::pair<BlockHandle, BlockId>>& picked) CAIRN_REQUIRES(mutex);

  std::uint64_t memory_bytes() const CAIRN_REQUIRES(mutex);
  void check_invariants() const CAIRN_REQUIRES(mutex);

 private:
  friend class Picker;

  bool in_tier(const LinkRecord& record, std::size_t tier) const {
    return tier == kHotOrder ? record.linked_hot : record.linked_cold;
  }
  bool is_present(BlockHandle handle) const {
    return storage_.records[handle].linked_hot || storage_.records[handle].linked_cold;
  }
  bool is_pinned(BlockHandle handle) const {
    return storage_.entries[handle].state.load(std::memory_order_relaxed) & (kPinned | kDurablePin);
  }
  Standing standing(BlockHandle handle, std::size_t tier) const CAIRN_REQUIRES(mutex);
  bool would_close_circle(BlockHandle child, BlockHandle parent) const CAIRN_REQUIRES(mutex);
  void count_child(BlockHandle parent, bool was_hot, bool was_cold, bool hot, bool cold)
      CAIRN_REQUIRES(mutex);
  void note_lost(BlockHandle handle) CAIRN_REQUIRES(mutex);

  Storage& storage_;
  std::array<std::unique_ptr<Policy>, kTiers> policies_;
  bool wants_accesses_ = false;
  bool loading_ = false;
  std::uint64_t orphans_ = 0;
  SpilledCount children_hot_, children_cold_, children_present_;
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
