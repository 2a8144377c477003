// SPDX-License-Identifier: Apache-2.0
// catalog_pick.cc — victims in an order in which each may go once those before it have gone.
//
// The policy offers what may go now. That a parent may go after its children is worked out here,
// on the side, because nothing has gone yet: a chosen block is taken off its parent's counts,
// and a parent that nothing needs any more joins the candidates with its own worth.
#include <algorithm>

#include "engine/catalog_links.h"

namespace cairn::detail {
namespace {

/// Of blocks below lost parents, those that one call looks at beyond what it needs.
constexpr std::size_t kOrphanLooks = 1024;

}  // namespace

class Picker {
 public:
  Picker(const Links& links, std::size_t tier, std::size_t count, Standing most)
      CAIRN_REQUIRES(links.mutex)
      : links_(links), tier_(tier), count_(count), most_(most) {}

  bool is_done() const { return picked_.size() >= count_; }
  std::vector<BlockHandle>& picked() { return picked_; }
  bool was_picked(BlockHandle handle) const { return taken_.contains(handle); }

  /// Whether `handle` may go after what has been picked so far.
  bool may_go(BlockHandle handle) const {
    const LinkRecord& record = record_of(handle);
    if (taken_.contains(handle) || !Links::in_tier(record, tier_)) return false;
    const Copies copies = record.copies();
    if (tier_ == kWarmOrder && copies.is_spare()) return false;
    if (links_.is_pinned(handle) || is_leased(handle)) return false;
    const auto gone = gone_.find(handle);
    const Gone none;
    const Gone& below = gone == gone_.end() ? none : gone->second;
    if (links_.children_in(handle, tier_) > below.from_tier) return false;
    if (!copies.is_last()) return most_ >= Standing::backed;
    const bool anchored =
        links_.children_present_.get(record.children_present, handle) > below.for_good;
    return most_ >= (anchored ? Standing::anchored : Standing::last_copy);
  }

  void pick(BlockHandle handle) {
    picked_.push_back(handle);
    taken_.insert(handle);
    const LinkRecord& record = record_of(handle);
    const BlockHandle parent = record.parent();
    if (parent == kNoBlock) return;
    Gone& gone = gone_[parent];
    ++gone.from_tier;
    if (record.copies().is_last()) ++gone.for_good;
    if (may_go(parent)) parents_.push({worth(parent), parent});
  }

  void pick_orphans(BlockHandle lost, std::size_t& looks);
  void pick_in_order(const std::vector<Candidate>& offered, bool offered_all);

 private:
  struct Gone {
    std::uint64_t from_tier = 0;  // children picked
    std::uint64_t for_good = 0;   // of these, with their last copy
  };
  class Heap {
   public:
    using Item = std::pair<std::uint64_t, BlockHandle>;
    bool empty() const { return items_.empty(); }
    const Item& least() const { return items_.front(); }
    void push(Item item) {
      items_.push_back(item);
      std::push_heap(items_.begin(), items_.end(), std::greater<>());
    }
    void pop() {
      std::pop_heap(items_.begin(), items_.end(), std::greater<>());
      items_.pop_back();
    }

   private:
    std::vector<Item> items_;
  };

  const LinkRecord& record_of(BlockHandle handle) const { return links_.storage_.records[handle]; }
  std::uint64_t worth(BlockHandle handle) const { return links_.policies_[tier_]->worth(handle); }
  bool is_leased(BlockHandle handle) const {
#if defined(CAIRN_PLANTED_LEASE_NOT_PINNED)
    static_cast<void>(handle);
    return false;
#else
    return tier_ == kHotOrder &&
           (links_.storage_.entries[handle].state.load(std::memory_order_relaxed) & kLeaseMask) !=
               0;
#endif
  }

  const Links& links_;
  const std::size_t tier_;
  const std::size_t count_;
  const Standing most_;
  std::vector<BlockHandle> picked_;
  absl::flat_hash_set<BlockHandle> taken_;
  absl::flat_hash_map<BlockHandle, Gone> gone_;
  Heap parents_;
};

/// Everything below a lost parent, children before their parents.
void Picker::pick_orphans(BlockHandle lost, std::size_t& looks) {
  std::vector<std::pair<BlockHandle, BlockHandle>> path;  // a block, and its child to look at next
  path.emplace_back(lost, record_of(lost).first_child);
  while (!path.empty() && !is_done() && looks > 0) {
    auto& [block, child] = path.back();
    if (child != kNoBlock) {
      const BlockHandle down = child;
      child = record_of(down).next_sibling;
      path.emplace_back(down, record_of(down).first_child);
      --looks;
      continue;
    }
    const BlockHandle finished = block;
    path.pop_back();
    if (may_go(finished)) pick(finished);
  }
}

/// What the policy offers and the parents that have become free, least worth first. Ends with
/// what was offered, unless that was all: a parent may not overtake what was not asked for.
void Picker::pick_in_order(const std::vector<Candidate>& offered, bool offered_all) {
  std::size_t next = 0;
  while (!is_done() && (next < offered.size() || (offered_all && !parents_.empty()))) {
    BlockHandle best = kNoBlock;
    if (parents_.empty() ||
        (next < offered.size() && offered[next].worth <= parents_.least().first)) {
      best = offered[next++].block;
    } else {
      best = parents_.least().second;
      parents_.pop();
    }
    if (may_go(best)) pick(best);
  }
}

bool Links::pick(std::size_t tier, std::size_t count, Standing most,
                 std::vector<std::pair<BlockHandle, BlockId>>& picked) {
  std::vector<Candidate> offered;
  if (most == Standing::spare) {
    if (!policies_[tier]->victims(most, count, offered)) return false;
    for (const Candidate& spare : offered)
      picked.emplace_back(spare.block, storage_.entries[spare.block].id());
    return true;
  }
  Picker picker(*this, tier, count, most);
  std::size_t looks = kOrphanLooks + 4 * count;
  for (std::size_t tried = lost_.size(); tried > 0 && looks > 0 && !picker.is_done(); --tried) {
    // Goes round, so that orphans that cannot go now do not hide the others for ever.
    auto lost = lost_.upper_bound(lost_cursor_);
    if (lost == lost_.end()) lost = lost_.begin();
    picker.pick_orphans(*lost, looks);
    if (!picker.is_done()) lost_cursor_ = *lost;
  }
  // What is leased, or was picked as an orphan, is offered as well: ask for more until enough.
  for (std::size_t ask = count; !picker.is_done(); ask *= 2) {
    Picker attempt = picker;
    offered.clear();
    if (!policies_[tier]->victims(most, ask, offered)) return false;
    const bool offered_all = offered.size() < ask;
    attempt.pick_in_order(offered, offered_all);
    if (attempt.is_done() || offered_all) {
      for (const BlockHandle handle : attempt.picked()) {
        picked.emplace_back(handle, storage_.entries[handle].id());
      }
      return true;
    }
  }
  for (const BlockHandle handle : picker.picked())
    picked.emplace_back(handle, storage_.entries[handle].id());
  return true;
}

}  // namespace cairn::detail
