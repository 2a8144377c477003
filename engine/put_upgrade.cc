// SPDX-License-Identifier: Apache-2.0
// The half of a put that finds its block in memory already, and writes it to cold from there: a
// second put that asks for more than the first, and what is written back.
#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/put.h"

namespace cairn::detail {

void WritePath::Put::prepare_write_back(std::vector<OwnedName> names) {
  writes_back_ = true;
  began_ = path_.core_.clock.now();
  names_ = std::move(names);
  for (std::size_t i = 0; i < names_.size(); ++i) {
    const BlockName name = names_[i].view();
    items_.push_back({.index = i, .name = name, .id = block_id(name, path_.core_.secret)});
    gates_.push_back(items_.back().id);
  }
  std::sort(gates_.begin(), gates_.end());
}

/// With the gate held: nobody else changes the name, nor drops its last copy. `already_present`
/// is what needs no writing any more.
void WritePath::Put::classify_write_back(Item& item, const Residency& listed) {
  item.facts = listed.facts;
  item.outcome = PutOutcome::already_present;
  if (!listed.is_dirty() || path_.core_.is_expired(listed) ||
      !path_.core_.catalog.is_named(item.id, item.name)) {
    item.settled = true;
    return;
  }
  item.upgrade = hold_for_upgrade(item, listed);
  if (item.upgrade) {
    item.outcome = PutOutcome::stored;
  } else {
    settle(item, make_error(ErrorCode::corruption, "the copy in memory cannot be read"));
  }
}

std::vector<PutResult> WritePath::Put::results_of_write_back() const {
  std::vector<PutResult> results;
  for (const Item& item : items_) {
    const bool failed = !item.status.ok();
    results.push_back({failed ? PutOutcome::failed : item.outcome, item.facts.sequence,
                       failed ? Durability::memory : durability_, item.status});
  }
  return results;
}

/// What is kept in memory for now, and which of it has been put before.
void WritePath::Put::tell_kept_in_memory() const {
  if (durability_ != Durability::memory || !path_.on_kept_) return;
  std::vector<BlockId> again;
  for (const Item& item : items_) {
    const bool was_known =
        item.outcome == PutOutcome::already_present || item.outcome == PutOutcome::replaced;
    if (item.status.ok() && was_known) again.push_back(item.id);
  }
  path_.on_kept_(ns_, again, by_policy_);
}

bool WritePath::Put::hold_for_upgrade(Item& item, const Residency& listed) {
  EngineCore& core = path_.core_;
  Residency leased;
  const bool in_hot = writes_back_
                          ? core.catalog.lease_unused(item.id, leased)
                          : core.catalog.lease_hot({&item.id, 1}, Read::prefix, {&leased, 1}) == 1;
  if (in_hot) {
    item.pinned = leased.handle;
    item.payload = core.hot.bytes(leased.hot);
    return true;
  }
  if (listed.warm.is_null()) return false;
  absl::StatusOr<StoredImagePtr> image = core.warm->image(listed.warm);
  if (image.ok()) item.image = *std::move(image);
  return image.ok();
}

void WritePath::Put::let_go(Item& item) {
  if (item.pinned != 0) path_.core_.leases.unpin({&item.pinned, 1});
  item.pinned = 0;
  item.image.reset();
}

}  // namespace cairn::detail
