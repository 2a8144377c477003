// SPDX-License-Identifier: Apache-2.0
#include "engine/pins.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
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
  absl::flat_hash_set<BlockId> known;
  for (const KeyRef& key : keys) {
    if (!is_valid_key(key.key)) {
      return make_error(ErrorCode::invalid_argument, "a key has 1 to 1024 bytes");
    }
    const BlockId id = core_.id_of(ns, key);
    if (!known.insert(id).second) continue;
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
  Recovery::Asking asking = recovery_.ask();
  Completion entered;
  core_.gates.enter_all(gates, [&] { entered.notify(); });
  entered.wait(pump);
  absl::Status status;
  if (asking.must()) {
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
  asking.end();
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
  Known known;
  {
    MutexLock lock(mutex_);
    drop_gone();
    if (bytes_with(targets) > limit_bytes()) {
      return make_error(ErrorCode::no_space,
                        concat("pins may hold ", limit_bytes(), " bytes in all"));
    }
    known = mark(targets, options);
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (!known[i] || known[i]->empty()) core_.catalog.pin(targets[i].id, 1);
  }
  if (!durable) return absl::OkStatus();
  absl::Status noted = annotate(targets, true);
  if (!noted.ok()) {
    undo(targets, std::move(known));
    return noted;
  }
  for (const Target& target : targets) core_.catalog.set_durable_pin(target.id, true);
  return absl::OkStatus();
}

std::uint64_t Pins::bytes_with(const std::vector<Target>& targets) const {
  std::uint64_t held = 0;
  for (const auto& [id, marks] : pins_) held += pinned_bytes(id);
  for (const Target& target : targets) {
    if (!pins_.contains(target.id)) held += target.residency.facts.plain_bytes;
  }
  return held;
}

Pins::Known Pins::mark(const std::vector<Target>& targets, const PinOptions& options) {
  const bool durable = options.durability != Durability::memory;
  Known known;
  known.reserve(targets.size());
  for (const Target& target : targets) {
    const auto [pin, is_new] = pins_.try_emplace(target.id);
    known.push_back(is_new ? std::nullopt : std::optional(pin->second));
    Marks& marks = pin->second;
    const auto mine = std::find_if(marks.begin(), marks.end(),
                                   [&](const Mark& mark) { return mark.owner == options.owner; });
    if (mine == marks.end()) {
      marks.push_back({options.owner, durable});
    } else {
      mine->durable |= durable;
    }
  }
  return known;
}

/// With the gates held, so that nobody else has changed the marks since.
void Pins::undo(const std::vector<Target>& targets, Known known) {
  std::vector<Target> noted;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (!known[i] || known[i]->empty()) core_.catalog.pin(targets[i].id, -1);
    if (!targets[i].residency.facts.pinned) noted.push_back(targets[i]);
    MutexLock lock(mutex_);
    if (known[i]) {
      pins_[targets[i].id] = *std::move(known[i]);
    } else {
      pins_.erase(targets[i].id);
    }
  }
  // Some may have been noted before another failed. Where cold refuses this, too, they come back
  // pinned after a restart, and can be unpinned then.
  if (!noted.empty()) annotate(noted, false).IgnoreError();
}

void Pins::found(BlockId id) {
  MutexLock lock(mutex_);
  pins_.try_emplace(id);
}

/// `had_durable`: the owner's mark was one that outlives the process.
Pins::Left Pins::take_mark(BlockId id, std::string_view owner, bool& was_counted,
                           bool& had_durable) {
  MutexLock lock(mutex_);
  const auto pin = pins_.find(id);
  was_counted = pin != pins_.end() && !pin->second.empty();
  if (pin == pins_.end()) return Left::nothing;
  Marks& marks = pin->second;
  had_durable = std::any_of(marks.begin(), marks.end(),
                            [&](const Mark& mark) { return mark.owner == owner && mark.durable; });
  std::erase_if(marks, [&](const Mark& mark) { return mark.owner == owner; });
  // What is left without a mark goes when the catalog does not hold it for pinned any more.
  if (marks.empty()) return Left::nothing;
  const bool durable =
      std::any_of(marks.begin(), marks.end(), [](const Mark& mark) { return mark.durable; });
  return durable ? Left::durable : Left::pinned;
}

absl::Status Pins::unpin_gated(std::vector<Target>& targets, std::string_view owner) {
  std::vector<Target> durable;
  for (Target& target : targets) {
    bool counted = false, had_durable = false;
    const Left left = take_mark(target.id, owner, counted, had_durable);
    const std::optional<Residency> listed = core_.catalog.find(target.id);
    if (!listed) continue;
    target.residency = *listed;
    if (counted && left == Left::nothing) core_.catalog.pin(target.id, -1);
    // The pin of a former process, which nobody owns, goes with the last of this one's.
    const bool ends_note = left == Left::nothing || (left == Left::pinned && had_durable);
    if (listed->facts.pinned && ends_note) durable.push_back(target);
  }
  absl::Status status;
  if (!durable.empty()) {
    status = core_.read_only ? make_error(ErrorCode::read_only, "the store was opened for reading")
                             : annotate(durable, false);
    for (const Target& target : durable) {
      if (status.ok()) core_.catalog.set_durable_pin(target.id, false);
    }
  }
  MutexLock lock(mutex_);
  for (const Target& target : targets) {
    const auto pin = pins_.find(target.id);
    if (pin != pins_.end() && pin->second.empty() && !is_pinned(target.id)) pins_.erase(pin);
  }
  return status;
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

bool Pins::is_pinned(BlockId id) const {
  const std::optional<Residency> listed = core_.catalog.find(id);
  return listed && listed->pinned;
}

std::uint64_t Pins::pinned_bytes(BlockId id) const {
  const std::optional<Residency> listed = core_.catalog.find(id);
  return listed && listed->pinned ? listed->facts.plain_bytes : 0;
}

/// Pins end with their block, however it went.
void Pins::drop_gone() {
  absl::erase_if(pins_, [&](const auto& pin) { return !is_pinned(pin.first); });
}

std::vector<PinStats> Pins::by_owner() const {
  MutexLock lock(mutex_);
  std::vector<PinStats> owners;
  for (const auto& [id, marks] : pins_) {
    if (!is_pinned(id)) continue;
    const std::uint64_t bytes = pinned_bytes(id);
    for (const Mark& mark : marks) {
      auto known = std::find_if(owners.begin(), owners.end(),
                                [&](const PinStats& stats) { return stats.owner == mark.owner; });
      if (known == owners.end()) known = owners.insert(owners.end(), {.owner = mark.owner});
      ++known->blocks;
      known->bytes += bytes;
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
