// SPDX-License-Identifier: Apache-2.0
#include "engine/pins.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/completion.h"

namespace cairn::detail {

absl::Status Pins::pin(NamespaceId ns, std::span<const KeyRef> keys, const PinOptions& options) {
  if (options.durability != Durability::memory && core_.read_only) {
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  }
  return with_gates(ns, keys,
                    [&](std::vector<Target>& targets) { return pin_gated(targets, options); });
}

absl::Status Pins::unpin(NamespaceId ns, std::span<const KeyRef> keys, std::string_view owner) {
  return with_gates(ns, keys,
                    [&](std::vector<Target>& targets) { return unpin_gated(targets, owner); });
}

absl::Status Pins::with_gates(NamespaceId ns, std::span<const KeyRef> keys,
                              const std::function<absl::Status(std::vector<Target>&)>& change) {
  NamespaceState* const state = core_.namespaces.find(ns);
  if (state == nullptr)
    return make_error(ErrorCode::invalid_argument, "there is no such namespace");
  std::vector<Target> targets;
  std::vector<BlockId> gates;
  for (const KeyRef& key : keys) {
    if (!is_valid_key(key.key)) {
      return make_error(ErrorCode::invalid_argument, "a key has 1 to 1024 bytes");
    }
    const BlockId id = core_.id_of(ns, key);
    if (std::find(gates.begin(), gates.end(), id) != gates.end()) continue;
    gates.push_back(id);
    targets.push_back({.id = id, .name = {ns, key.key, key.part}});
  }
  if (!core_.operations.enter()) return make_error(ErrorCode::closed, "the engine is closing");
  if (!state->publishers.enter()) {
    core_.operations.leave();
    return make_error(ErrorCode::busy, "the namespace is being cleared");
  }
  std::sort(gates.begin(), gates.end());
  const auto pump = [this] { return core_.pump(); };
  Completion entered;
  core_.gates.enter_all(gates, [&] { entered.notify(); });
  entered.wait(pump);
  absl::Status status;
  if (!recovery_.is_complete()) {
    std::vector<Unknown> unknown;
    for (const Target& target : targets) {
      if (!core_.catalog.find(target.id)) unknown.push_back({target.id, target.name});
    }
    Completion resolved;
    if (!unknown.empty()) {
      recovery_.resolve(std::move(unknown), true, [&](absl::Status result) {
        status = std::move(result);
        resolved.notify();
      });
      resolved.wait(pump);
    }
  }
  if (status.ok()) status = change(targets);
  core_.gates.leave_all(gates);
  state->publishers.leave();
  core_.operations.leave();
  return status;
}

absl::Status Pins::pin_gated(std::vector<Target>& targets, const PinOptions& options) {
  const bool durable = options.durability != Durability::memory;
  for (Target& target : targets) {
    const std::optional<Residency> listed = core_.catalog.find(target.id);
    if (!listed || core_.is_expired(*listed) || !core_.catalog.is_named(target.id, target.name)) {
      return make_error(ErrorCode::not_found, "a block to be pinned is not there");
    }
    target.residency = *listed;
    if (durable && listed->cold.is_null()) {
      return make_error(ErrorCode::invalid_argument,
                        "a pin cannot outlive its block: put it `written` or `durable` first");
    }
  }
  std::vector<BlockId> fresh;
  {
    MutexLock lock(mutex_);
    drop_gone();
    std::uint64_t held = 0;
    for (const auto& [id, pin] : pins_) held += pin.bytes;
    for (const Target& target : targets) {
      if (pins_.contains(target.id)) continue;
      held += target.residency.facts.plain_bytes;
      fresh.push_back(target.id);
    }
    if (held > limit_bytes()) {
      return make_error(ErrorCode::no_space,
                        concat("pins may hold ", limit_bytes(), " bytes in all"));
    }
    for (const Target& target : targets) {
      Pin& pin = pins_[target.id];
      pin.bytes = target.residency.facts.plain_bytes;
      const auto mine = std::find_if(pin.marks.begin(), pin.marks.end(),
                                     [&](const Mark& mark) { return mark.owner == options.owner; });
      if (mine == pin.marks.end()) {
        pin.marks.push_back({options.owner, durable});
      } else {
        mine->durable |= durable;
      }
    }
  }
  for (const BlockId id : fresh) core_.catalog.pin(id, 1);
  if (!durable) return absl::OkStatus();
  CAIRN_RETURN_IF_ERROR(annotate(targets, true));
  for (const Target& target : targets) core_.catalog.set_durable_pin(target.id, true);
  return absl::OkStatus();
}

Pins::Left Pins::take_mark(BlockId id, std::string_view owner, bool& was_counted) {
  MutexLock lock(mutex_);
  const auto pin = pins_.find(id);
  was_counted = pin != pins_.end();
  if (!was_counted) return Left::nothing;
  std::vector<Mark>& marks = pin->second.marks;
  std::erase_if(marks, [&](const Mark& mark) { return mark.owner == owner; });
  if (marks.empty()) {
    pins_.erase(pin);
    return Left::nothing;
  }
  const bool durable =
      std::any_of(marks.begin(), marks.end(), [](const Mark& mark) { return mark.durable; });
  return durable ? Left::durable : Left::pinned;
}

absl::Status Pins::unpin_gated(std::vector<Target>& targets, std::string_view owner) {
  std::vector<Target> durable;
  for (Target& target : targets) {
    bool counted = false;
    const Left left = take_mark(target.id, owner, counted);
    const std::optional<Residency> listed = core_.catalog.find(target.id);
    if (!listed) continue;
    target.residency = *listed;
    if (counted && left == Left::nothing) core_.catalog.pin(target.id, -1);
    if (listed->facts.pinned && left != Left::durable) durable.push_back(target);
  }
  if (durable.empty()) return absl::OkStatus();
  if (core_.read_only) return make_error(ErrorCode::read_only, "the store was opened for reading");
  CAIRN_RETURN_IF_ERROR(annotate(durable, false));
  for (const Target& target : durable) core_.catalog.set_durable_pin(target.id, false);
  return absl::OkStatus();
}

absl::Status Pins::annotate(const std::vector<Target>& targets, bool pinned) {
  std::vector<Note> notes;
  notes.reserve(targets.size());
  for (const Target& target : targets) {
    notes.push_back(
        {.name = target.name, .sequence = target.residency.facts.sequence, .pinned = pinned});
  }
  Completion done;
  core_.cold->annotate(notes, Durability::durable, [&] { done.notify(); });
  done.wait([this] { return core_.pump(); });
  for (const Note& note : notes) CAIRN_RETURN_IF_ERROR(note.status);
  return absl::OkStatus();
}

std::uint64_t Pins::limit_bytes() const {
  std::uint64_t limit = core_.hot.usage().capacity_bytes / 2;
  if (core_.cold != nullptr) limit = std::min(limit, core_.cold->usage().capacity_bytes / 2);
  return limit;
}

/// Pins end with their block, however it went.
void Pins::drop_gone() {
  absl::erase_if(pins_, [&](const auto& pin) {
    const std::optional<Residency> listed = core_.catalog.find(pin.first);
    return !listed || !listed->pinned;
  });
}

std::vector<PinStats> Pins::by_owner() const {
  MutexLock lock(mutex_);
  std::vector<PinStats> owners;
  for (const auto& [id, pin] : pins_) {
    for (const Mark& mark : pin.marks) {
      auto known = std::find_if(owners.begin(), owners.end(),
                                [&](const PinStats& stats) { return stats.owner == mark.owner; });
      if (known == owners.end()) known = owners.insert(owners.end(), {.owner = mark.owner});
      ++known->blocks;
      known->bytes += pin.bytes;
    }
  }
  return owners;
}

std::uint64_t Pins::pinned_blocks() const {
  std::uint64_t count = 0;
  core_.catalog.for_each(std::nullopt,
                         [&](BlockId, const Residency& residency) { count += residency.pinned; });
  return count;
}

}  // namespace cairn::detail
