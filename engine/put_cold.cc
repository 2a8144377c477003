// SPDX-License-Identifier: Apache-2.0
// The half of a put that goes through cold: reserve, write, publish, group by group.
#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/put.h"

namespace cairn::detail {
namespace {

// A group is reserved and written together, so a chain lies side by side. Large enough for the
// device, small enough that it begins early and that a refusal does not take a whole batch along.
constexpr std::size_t kGroupBlocks = 64;
constexpr std::uint64_t kGroupBytes = 4 * kMiB;
constexpr Duration kRetryAfter = Duration::millis(2);
// Puts that hold the gates of what they have written, and wait for each other's to open, would
// wait in vain.
constexpr Duration kStillMax = Duration::millis(100);
// What was admitted found no segment that holds it: evictions elsewhere bring one.
constexpr std::uint32_t kDisplacedMax = 16;
// What is about to be put will take, beside its payload: a header and its padding.
constexpr std::uint32_t kRecordOverheadBytes = 256;

}  // namespace

void WritePath::Put::add_to_group(std::size_t index) {
  const std::uint32_t bytes = items_[index].facts.plain_bytes;
  const bool is_full = filling_ != nullptr && (filling_->items.size() == kGroupBlocks ||
                                               filling_->bytes + bytes > kGroupBytes);
  if (is_full) launch_group();
  if (filling_ == nullptr) {
    filling_ = std::make_shared<Group>();
    filling_->give_up = path_.core_.clock.now() + kRoomWait;
  }
  filling_->items.push_back(index);
  filling_->bytes += bytes;
}

void WritePath::Put::launch_group() {
  groups_left_.fetch_add(1);
  write_group(std::exchange(filling_, nullptr));
}

void WritePath::Put::end_groups() {
  if (filling_ != nullptr) launch_group();
  group_done();
}

void WritePath::Put::write_group(const std::shared_ptr<Group>& group) {
  EngineCore& core = path_.core_;
  std::vector<std::uint32_t> sizes;
  group->growth = 0;
  for (const std::size_t i : group->items) {
    const std::uint32_t size = items_[i].facts.plain_bytes;
    sizes.push_back(size);
    group->growth += size - std::min(size, items_[i].replaces);
  }
  std::vector<Location> locations(sizes.size());
  const absl::Status reserved = core.reserve_cold(ns_, group->growth, sizes, locations);
  if (!reserved.ok()) {
    no_room(group, reserved);
    return;
  }
  for (std::size_t at = 0; at < group->items.size(); ++at) {
    const Item& item = items_[group->items[at]];
    core.notes.forget_moves(item.id);
    group->writes.push_back({.name = item.name,
                             .id = item.id,
                             .facts = item.facts,
                             .payload = item.image ? ByteSpan{} : item.payload,
                             .image = item.image,
                             .location = locations[at]});
  }
  core.cold->write(group->writes, durability_,
                   [self = shared_from_this(), group] { self->group_written(group); });
}

void WritePath::Put::no_room(const std::shared_ptr<Group>& group, const absl::Status& status) {
  EngineCore& core = path_.core_;
  // What is written back is owed, also while the engine is closing.
  const bool may_wait = core.clock.now() < group->give_up && (writes_back_ || !core.closing.load());
  if (has_code(status, ErrorCode::busy) && may_wait) {
    try_later(group);
    return;
  }
  if (!has_code(status, ErrorCode::no_space) || !may_wait) {
    fail_group(group, status);
    return;
  }
  std::uint64_t bytes = 0;
  for (const std::size_t i : group->items) {
    bytes += items_[i].facts.plain_bytes + kRecordOverheadBytes;
  }
  const bool limited = core.is_cold_limited(ns_, group->growth);
  const std::optional<NamespaceId> only = limited ? std::optional(ns_.id) : std::nullopt;
  path_.mover_.make_cold_room(
      bytes, only, [self = shared_from_this(), group, limited](bool evicted) {
        EngineCore& engine = self->path_.core_;
        if (evicted) {
          engine.loop.post([self, group] { self->write_group(group); });
        } else if (group->items.size() > 1) {
          // Perhaps a part of it fits.
          auto rest = std::make_shared<Group>();
          rest->give_up = group->give_up;
          const auto middle =
              group->items.begin() + static_cast<std::ptrdiff_t>(group->items.size() / 2);
          rest->items.assign(middle, group->items.end());
          group->items.erase(middle, group->items.end());
          self->groups_left_.fetch_add(1);
          self->write_group(group);
          self->write_group(rest);
        } else if (self->others_may_make_room(*group)) {
          self->try_later(group);
        } else {
          self->fail_group(group,
                           make_error(ErrorCode::no_space,
                                      concat(limited ? "the namespace's share of cold" : "cold",
                                             " is full of blocks that may not be evicted")));
        }
      });
}

/// Whether somebody else is inside a gate, and something has been going on lately.
bool WritePath::Put::others_may_make_room(Group& group) const {
  const EngineCore& core = path_.core_;
  if (core.gates.closed_gates() <= gates_.size()) return false;
  const std::uint64_t ended = core.cold_changes_ended.load();
  const bool under_way = core.cold_changes_begun.load() != ended;
  const TimePoint now = core.clock.now();
  if (under_way || ended != group.ended_seen) {
    group.ended_seen = ended;
    group.still_since = now;
  }
  return now - group.still_since < kStillMax;
}

void WritePath::Put::try_later(const std::shared_ptr<Group>& group) {
  path_.core_.loop.run_after(kRetryAfter,
                             [self = shared_from_this(), group] { self->write_group(group); });
}

void WritePath::Put::fail_group(const std::shared_ptr<Group>& group, const absl::Status& status) {
  for (const std::size_t i : group->items) {
    Item& item = items_[i];
    let_go(item);
    settle(item, status);
  }
  group_done();
}

void WritePath::Put::group_written(const std::shared_ptr<Group>& group) {
  std::vector<std::size_t> displaced;
  absl::Status no_place;
  for (std::size_t at = 0; at < group->items.size(); ++at) {
    const bool found_no_place = has_code(group->writes[at].status, ErrorCode::busy);
    if (found_no_place && group->displaced < kDisplacedMax) {
      displaced.push_back(group->items[at]);
      no_place = make_error(ErrorCode::no_space, message_of(group->writes[at].status));
    } else {
      publish_written(items_[group->items[at]], group->writes[at]);
    }
  }
  path_.core_.settle_cold(ns_, group->growth);
  if (displaced.empty()) {
    group_done();
    return;
  }
  group->items = std::move(displaced);
  group->writes.clear();
  ++group->displaced;
  no_room(group, no_place);
}

void WritePath::Put::publish_written(Item& item, TierWrite& write) {
  EngineCore& core = path_.core_;
  let_go(item);
  if (!write.status.ok()) {
    settle(item, std::move(write.status));
    return;
  }
  Residency replaced;
  if (!core.publish_cold(item.id, item.name, item.facts, write.location, write.stored_bytes,
                         &replaced)) {
    // Listed nowhere it is garbage, and garbage must not come back with the next opening.
    core.notes.note_removed(item.id, item.facts.sequence);
    // The put goes on when it is gone: until then its gate keeps lookups away from it.
    groups_left_.fetch_add(1);
    path_.mover_.remove_cold(
        {{.id = item.id,
          .name = {ns_.id, std::string(item.name.key), item.name.part},
          .sequence = item.facts.sequence,
          .location = write.location}},
        RemovalReason::evicted, Durability::written,
        [self = shared_from_this()](const std::vector<ColdRemoval>&) { self->group_done(); });
    settle(item, make_error(ErrorCode::no_space, "the catalog has no room for the block"));
    return;
  }
  core.meters.counters.add(Counter::cold_bytes_written, item.facts.plain_bytes);
  core.catalog.set_durable(item.id, durability_ == Durability::durable);
  if (item.facts.expiry != 0 && !item.upgrade) path_.expirer_.note(item.id, item.facts.expiry);
  if (!item.slot.is_null() && core.catalog.add_hot(item.id, item.facts.sequence, item.slot)) {
    core.meters.counters.add(Counter::hot_bytes_written, item.facts.plain_bytes);
    item.slot = {};
  }
  core.free_replaced(replaced);
  settle(item, absl::OkStatus());
}

void WritePath::Put::group_done() {
  if (groups_left_.fetch_sub(1) == 1) sync_if_asked();
}

/// Blocks that were in cold already, when they are wanted durable: one sync for all of them.
void WritePath::Put::sync_if_asked() {
  const bool asked = std::any_of(items_.begin(), items_.end(),
                                 [](const Item& item) { return item.to_sync && !item.settled; });
  if (!asked) {
    finish();
    return;
  }
  path_.core_.cold->sync([self = shared_from_this()](const absl::Status& status) {
    for (Item& item : self->items_) {
      if (!item.to_sync || item.settled) continue;
      if (status.ok()) self->path_.core_.catalog.set_durable(item.id, true);
      self->settle(item, status);
    }
    self->finish();
  });
}

}  // namespace cairn::detail
