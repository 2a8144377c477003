// SPDX-License-Identifier: Apache-2.0
// catalog_model.h — the catalog as one would write it without caring for time or memory.
//
// One map, searched from end to end for every question. Method: the same operations go to the
// catalog and to this, and every answer must agree; victims are judged one by one, by taking
// each away in a copy and asking again who should go next.
//
// Threading: thread-compatible. Blocking: cpu, plenty.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "engine/catalog.h"

namespace cairn::test {

class CatalogModel {
 public:
  struct Block {
    bool present = false;
    NamespaceId ns{};
    BlockFacts facts;  // without the parent, which is the link below
    Location hot, warm, cold;
    std::uint32_t cold_bytes = 0;
    BlockId parent;
    int pins = 0;
    std::int64_t stamp = 0;
    Location leaving;  // removed while leased
    bool is_pinned() const { return pins > 0 || facts.pinned; }
    Location& in(TierKind tier) {
      return tier == TierKind::hot ? hot : tier == TierKind::warm ? warm : cold;
    }
    Location in(TierKind tier) const { return const_cast<Block*>(this)->in(tier); }
    int copies() const { return int{!hot.is_null()} + int{!warm.is_null()} + int{!cold.is_null()}; }
    bool is_spare() const { return !hot.is_null() && !warm.is_null(); }
  };
  /// What a publication took out.
  struct Freed {
    Location hot, warm, cold;
  };

  explicit CatalogModel(std::uint64_t blocks_max) : blocks_max_(blocks_max) {}

  const std::map<BlockId, Block>& blocks() const { return blocks_; }
  std::uint64_t entries() const { return blocks_.size() + detached_.size(); }
  const Block* find(BlockId id) const {
    const auto found = blocks_.find(id);
    return found != blocks_.end() && found->second.present ? &found->second : nullptr;
  }

  bool publish(BlockId id, NamespaceId ns, const BlockFacts& facts, TierKind tier,
               Location location, std::uint32_t cold_bytes, Freed* freed) {
    *freed = Freed{};
    if (Block* old = present(id)) {
      if (ns != old->ns) return false;  // another name with the same id
      if (facts.sequence < old->facts.sequence) return false;
      if (facts.sequence == old->facts.sequence) {
        if (tier != TierKind::cold || !old->cold.is_null()) return false;
        old->cold = location;
        old->cold_bytes = cold_bytes;
        return true;
      }
    }
    const bool known = blocks_.contains(id);
    const BlockId linked = known ? blocks_[id].parent : BlockId{};
    const bool new_link = !facts.parent.is_null() && facts.parent != linked && facts.parent != id;
    bool has_parent = false;
    if (new_link) {
      has_parent = blocks_.contains(facts.parent) || entries() < blocks_max_;
      if (has_parent) blocks_[facts.parent];
    }
    const bool keeps_leases = known && is_leased(id);
    if ((!known || keeps_leases) && entries() >= blocks_max_) {
      prune();
      return false;
    }
    Block& block = blocks_[id];
    if (keeps_leases) {
      const Location held = block.present ? block.hot : block.leaving;
      detached_.insert(held);
      if (block.present) *freed = {{}, block.warm, block.cold};
    } else if (block.present) {
      *freed = {block.hot, block.warm, block.cold};
    }
    const bool was_durably_pinned = block.facts.pinned && block.present;
    block.leaving = Location{};
    block.present = true;
    block.ns = ns;
    block.facts = facts;
    block.facts.pinned = facts.pinned || was_durably_pinned;
    block.facts.parent = BlockId{};
    block.hot = block.warm = block.cold = Location{};
    block.in(tier) = location;
    block.cold_bytes = cold_bytes;
    block.stamp = clock_++;
    if (new_link) {
      block.parent = BlockId{};
      if (has_parent && !is_above(id, facts.parent)) block.parent = facts.parent;
    }
    prune();
    return true;
  }

  bool add(BlockId id, std::uint64_t sequence, TierKind tier, Location location) {
    Block* block = present(id);
    if (block == nullptr || block->facts.sequence != sequence || !block->in(tier).is_null())
      return false;
    block->in(tier) = location;
    return true;
  }
  bool remove_copy(BlockId id, TierKind tier, Location location,
                   Standing most = Standing::last_copy) {
    Block* block = present(id);
    if (block == nullptr || block->in(tier) != location) return false;
    const Standing standing = standing_of(id, tier);
    if (standing == Standing::held || standing > most) return false;
    take(id, tier);
    prune();
    return true;
  }
  /// The same for one that is moved, to cold: whatever needs it still has it.
  bool move_down(BlockId id, TierKind tier) {
    Block* block = present(id);
    if (block == nullptr || standing_of(id, tier) == Standing::held) return false;
    if (block->cold.is_null()) block->cold = Location{UINT64_MAX};
    take(id, tier);
    return true;
  }
  bool drop_copy(BlockId id, TierKind tier, Location location) {
    Block* block = present(id);
    if (block == nullptr || block->in(tier).is_null() || block->in(tier) != location) return false;
    take(id, tier);
    prune();
    return true;
  }
  std::optional<Block> remove(BlockId id, std::uint64_t sequence) {
    Block* block = present(id);
    if (block == nullptr || block->facts.sequence > sequence) return std::nullopt;
    Block was = *block;
    if (is_leased(id)) {
      block->leaving = block->hot;
      was.hot = Location{};
    }
    forget(*block);
    prune();
    return was;
  }
  bool relocate(BlockId id, Location from, Location to) {
    Block* block = present(id);
    if (block == nullptr || block->cold.is_null() || block->cold != from) return false;
    block->cold = to;
    return true;
  }
  Block* present(BlockId id) {
    const auto found = blocks_.find(id);
    return found != blocks_.end() && found->second.present ? &found->second : nullptr;
  }
  bool pin(BlockId id, int delta) {
    Block* block = present(id);
    if (block == nullptr) return false;
    if (block->pins + delta < 0) block->facts.pinned = false;
    block->pins = std::max(0, block->pins + delta);
    return true;
  }

  /// The ids that are leased, in order of the call.
  std::vector<bool> lease(const std::vector<BlockId>& ids, Read read) {
    std::vector<bool> leased(ids.size(), false);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const Block* block = find(ids[i]);
      if (block != nullptr && !block->hot.is_null()) {
        leased[i] = true;
        ++leases_[block->hot];
      } else if (read == Read::prefix) {
        break;
      }
    }
    stamp(ids, leased);
    return leased;
  }
  /// Whether the location is free to be used again.
  bool release(BlockId id, Location hot) {
    if (--leases_[hot] > 0) return false;
    leases_.erase(hot);
    if (detached_.erase(hot) > 0) return true;
    Block& block = blocks_.at(id);
    if (block.leaving != hot) return false;
    block.leaving = Location{};
    prune();
    return true;
  }
  std::size_t touch(const std::vector<BlockId>& ids) {
    std::vector<bool> there(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) there[i] = find(ids[i]) != nullptr;
    stamp(ids, there);
    return static_cast<std::size_t>(std::count(there.begin(), there.end(), true));
  }
  void make_oldest(BlockId id) {
    if (Block* block = present(id)) block->stamp = oldest_--;
  }

  std::set<BlockId> children(BlockId id) const {
    std::set<BlockId> found;
    for (const auto& [child, block] : blocks_) {
      if (block.parent == id) found.insert(child);
    }
    return found;
  }
  std::uint64_t orphans() const {
    std::uint64_t count = 0;
    for (const auto& [id, block] : blocks_) {
      count += block.present && !block.parent.is_null() && find(block.parent) == nullptr;
    }
    return count;
  }
  bool is_below_lost(BlockId id) const {
    for (BlockId above = blocks_.at(id).parent; !above.is_null();
         above = blocks_.at(above).parent) {
      if (find(above) == nullptr) return true;
    }
    return false;
  }

  /// Leases count here, too.
  Standing standing_of(BlockId id, TierKind tier) const {
    const Block* block = find(id);
    if (block == nullptr || block->in(tier).is_null()) return Standing::held;
    if (tier == TierKind::warm && block->is_spare()) return Standing::spare;
    if (block->is_pinned() || (tier == TierKind::hot && is_leased(id))) return Standing::held;
    bool has_children = false;
    for (const BlockId child_id : children(id)) {
      const Block* child = find(child_id);
      if (child == nullptr) continue;
      has_children = true;
      const bool is_here =
          !child->in(tier).is_null() && !(tier == TierKind::warm && child->is_spare());
      if (is_here) return Standing::held;
    }
    if (block->copies() > 1) return Standing::backed;
    return has_children ? Standing::anchored : Standing::last_copy;
  }
  /// Every block that may be the next victim; more than one only among orphans.
  std::set<BlockId> next_victims(TierKind tier, Standing most,
                                 const std::set<BlockId>& orphans) const {
    std::set<BlockId> orphaned;
    std::optional<std::pair<std::int64_t, BlockId>> oldest;
    for (const auto& [id, block] : blocks_) {
      const Standing standing = standing_of(id, tier);
      if (standing < Standing::backed || standing > most) continue;
      if (orphans.contains(id)) orphaned.insert(id);
      const std::pair<std::int64_t, BlockId> mine{block.stamp, id};
      if (!oldest.has_value() || mine < *oldest) oldest = mine;
    }
    if (!orphaned.empty() || !oldest.has_value()) return orphaned;
    return {oldest->second};
  }

  bool is_leased(BlockId id) const {
    const auto found = blocks_.find(id);
    if (found == blocks_.end()) return false;
    return leases_.contains(found->second.hot) || !found->second.leaving.is_null();
  }

 private:
  static void forget(Block& block) {
    const Block old = block;
    block = Block{};
    block.parent = old.parent;
    block.leaving = old.leaving;
  }
  void take(BlockId id, TierKind tier) {
    Block& block = blocks_.at(id);
    block.in(tier) = Location{};
    if (tier == TierKind::cold) block.cold_bytes = 0;
    if (block.copies() == 0) forget(block);
  }
  bool is_above(BlockId id, BlockId start) const {
    for (BlockId at = start; !at.is_null(); at = blocks_.at(at).parent) {
      if (at == id) return true;
    }
    return false;
  }
  void prune() {
    for (bool again = true; again;) {
      again = false;
      for (auto entry = blocks_.begin(); entry != blocks_.end();) {
        const Block& block = entry->second;
        const bool useless =
            !block.present && block.leaving.is_null() && children(entry->first).empty();
        entry = useless ? blocks_.erase(entry) : std::next(entry);
        again = again || useless;
      }
    }
  }
  void stamp(const std::vector<BlockId>& ids, const std::vector<bool>& used) {
    const auto count = static_cast<std::int64_t>(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (used[i]) blocks_.at(ids[i]).stamp = clock_ + count - 1 - static_cast<std::int64_t>(i);
    }
    clock_ += count;
  }

  const std::uint64_t blocks_max_;
  std::map<BlockId, Block> blocks_;
  std::map<Location, int> leases_;
  std::set<Location> detached_;
  std::int64_t clock_ = 1;
  std::int64_t oldest_ = 0;
};

}  // namespace cairn::test
