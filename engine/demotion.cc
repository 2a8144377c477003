// SPDX-License-Identifier: Apache-2.0
// Demotion: copy → complete → switch catalog → free. The half of the mover that writes.
//
//   hot  → warm   encoded once, by the tier; the copy in hot is leased meanwhile
//   hot  → cold   where there is no warm, or warm has no room
//   warm → cold   as the image that it is: the codec does not run
//
// One batch of one namespace is under way to a tier at a time: a reservation is made in one, and
// clear() waits for it.
#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/mover.h"

namespace cairn::detail {

using Outcome = MoveMeters::Outcome;

struct Mover::Demotion {
  MoveKind kind = MoveKind::hot_to_warm;
  NamespaceState* ns = nullptr;  // entered
  std::vector<Victim> victims;
  std::vector<OwnedName> names;
  std::vector<BlockHandle> handles;  // leases while the bytes in hot are read; none from warm
  std::vector<StoredImagePtr> images;
  std::vector<TierWrite> writes;
  std::uint64_t growth = 0;

  void add(const Victim& victim, OwnedName name) {
    victims.push_back(victim);
    names.push_back(std::move(name));
    growth += victim.residency.facts.plain_bytes;
  }
  std::vector<std::uint32_t> sizes() const {
    std::vector<std::uint32_t> all;
    for (const Victim& victim : victims) all.push_back(victim.residency.facts.plain_bytes);
    return all;
  }
};

std::shared_ptr<Mover::Demotion> Mover::begin_demotion(const std::vector<Victim>& victims,
                                                       MoveKind kind) {
  NamespaceState* const ns = core_.namespaces.find(victims.front().residency.namespace_id);
  if (ns == nullptr || !ns->publishers.enter()) return nullptr;
  auto demotion = std::make_shared<Demotion>();
  demotion->kind = kind;
  demotion->ns = ns;
  return demotion;
}

/// Leases the copy in hot, if it is still what was chosen.
bool Mover::lease_victim(Demotion& demotion, Victim victim) {
  std::optional<OwnedName> name = core_.catalog.name_of(victim.id);
  Residency leased;
  if (!name || !core_.catalog.lease_unused(victim.id, leased)) {
    core_.meters.moves.stayed(demotion.kind, Outcome::gone);
    return false;
  }
  const std::optional<Residency> now = core_.catalog.find(victim.id);
  const bool is_wanted =
      now && now->facts.sequence == victim.residency.facts.sequence &&
      now->in(demotion.kind == MoveKind::hot_to_warm ? TierKind::warm : TierKind::cold).is_null();
  if (!is_wanted) {
    core_.leases.unpin({&leased.handle, 1});
    core_.meters.moves.stayed(demotion.kind, Outcome::gone);
    return false;
  }
  victim.residency = *now;
  demotion.handles.push_back(leased.handle);
  demotion.add(victim, *std::move(name));
  return true;
}

// --- to warm ---------------------------------------------------------------------------------

Mover::Demoted Mover::demote_to_warm(const std::vector<Victim>& victims) {
  if (filling_warm_.exchange(true)) return Demoted::under_way;
  const Demoted began = start_filling_warm(victims);
  if (began != Demoted::under_way) filling_warm_.store(false);
  return began;
}

Mover::Demoted Mover::start_filling_warm(const std::vector<Victim>& victims) {
  constexpr MoveKind kKind = MoveKind::hot_to_warm;
  std::shared_ptr<Demotion> demotion = begin_demotion(victims, kKind);
  if (demotion == nullptr) return Demoted::refused;
  for (const Victim& victim : victims) {
    if (victim.residency.namespace_id == demotion->ns->id) lease_victim(*demotion, victim);
  }
  std::vector<Location> locations;
  Demoted refusal = Demoted::refused;
  if (!demotion->victims.empty() && !to_warm_budget_.take(demotion->growth, core_.clock.now())) {
    core_.meters.moves.stayed(kKind, Outcome::over_budget, demotion->victims.size());
    refusal = Demoted::over_budget;
  } else {
    locations = reserve_warm(*demotion);
  }
  if (locations.empty() || !core_.operations.enter()) {
    if (!locations.empty()) core_.warm->free(locations);
    core_.leases.unpin(demotion->handles);
    demotion->ns->publishers.leave();
    return refusal;
  }
  for (std::size_t i = 0; i < locations.size(); ++i) {
    const Victim& victim = demotion->victims[i];
    demotion->writes.push_back({.name = demotion->names[i].view(),
                                .id = victim.id,
                                .facts = victim.residency.facts,
                                .payload = core_.hot.bytes(victim.residency.hot),
                                .location = locations[i]});
  }
  core_.warm->write(demotion->writes, Durability::memory, [this, demotion] {
    for (std::size_t i = 0; i < demotion->writes.size(); ++i) filled_warm(*demotion, i);
    demotion->ns->publishers.leave();
    filling_warm_.store(false);
    go_on_after(*demotion);
    core_.operations.leave();
  });
  return Demoted::under_way;
}

/// For all of the demotion or as much of its beginning as finds room; the rest is let go of.
std::vector<Location> Mover::reserve_warm(Demotion& demotion) {
  while (!demotion.victims.empty()) {
    const std::vector<std::uint32_t> sizes = demotion.sizes();
    std::vector<Location> locations(sizes.size());
    const absl::Status reserved = core_.warm->reserve(demotion.ns->id, sizes, locations);
    if (reserved.ok()) return locations;
    if (has_code(reserved, ErrorCode::no_space) && make_warm_room(demotion.growth)) continue;
    const std::size_t left = sizes.size() / 2;
    core_.meters.moves.stayed(demotion.kind, Outcome::no_room, sizes.size() - left);
    core_.leases.unpin(std::span(demotion.handles).subspan(left));
    demotion.handles.resize(left);
    demotion.names.resize(left);
    demotion.victims.resize(left);
    demotion.growth = 0;
    for (const Victim& victim : demotion.victims) {
      demotion.growth += victim.residency.facts.plain_bytes;
    }
  }
  return {};
}

void Mover::filled_warm(Demotion& demotion, std::size_t i) {
  const TierWrite& write = demotion.writes[i];
  Victim& victim = demotion.victims[i];
  core_.leases.unpin({&demotion.handles[i], 1});
  if (!write.status.ok()) {
    core_.meters.moves.stayed(demotion.kind, Outcome::failed);
    if (!victim.residency.cold.is_null()) evict_hot_copy(victim);
    return;
  }
  const std::uint32_t bytes = victim.residency.facts.plain_bytes;
  core_.meters.counters.add(Counter::warm_bytes_written, bytes);
  if (!core_.catalog.add_warm(victim.id, victim.residency.facts.sequence, write.location)) {
    core_.warm->free({&write.location, 1});
    core_.meters.moves.stayed(demotion.kind, Outcome::gone);
    return;
  }
  core_.meters.moves.moved(demotion.kind, 1, bytes);
  victim.residency.warm = write.location;
  // Should somebody have leased it meanwhile, it stays, and has a spare.
  evict_hot_copy(victim);
}

/// What failed would most likely fail again at once.
void Mover::go_on_after(const Demotion& demotion) {
  const bool any_failed = std::any_of(demotion.writes.begin(), demotion.writes.end(),
                                      [](const TierWrite& write) { return !write.status.ok(); });
  if (any_failed) {
    retry_later();
  } else {
    note_growth();
  }
  core_.loop.post([this] { tell_waiting(true); });
}

void Mover::move_for_hot_room(std::function<void(bool)> done) {
  core_.loop.post([this, done = std::move(done)]() mutable {
    waiting_for_hot_.push_back(std::move(done));
    demote_anchored();
  });
}

void Mover::tell_waiting(bool moved) {
  for (const auto& done : std::exchange(waiting_for_hot_, {})) done(moved);
}

// --- to cold ---------------------------------------------------------------------------------

Mover::Demoted Mover::demote_to_cold(const std::vector<Victim>& victims, TierKind from) {
  if (core_.cold == nullptr || core_.read_only || core_.cold->health().degraded) {
    return Demoted::refused;
  }
  if (filling_cold_.exchange(true)) return Demoted::under_way;
  const Demoted began = start_filling_cold(victims, from);
  if (began != Demoted::under_way) filling_cold_.store(false);
  return began;
}

Mover::Demoted Mover::start_filling_cold(const std::vector<Victim>& victims, TierKind from) {
  const MoveKind kind = from == TierKind::hot ? MoveKind::hot_to_cold : MoveKind::warm_to_cold;
  std::shared_ptr<Demotion> demotion = begin_demotion(victims, kind);
  if (demotion == nullptr) return Demoted::refused;
  for (const Victim& victim : victims) {
    if (victim.residency.namespace_id != demotion->ns->id) continue;
    if (!core_.gates.try_enter(victim.id)) {
      core_.meters.moves.stayed(kind, Outcome::in_use);
      continue;
    }
    const bool taken =
        from == TierKind::hot ? lease_victim(*demotion, victim) : borrow_image(*demotion, victim);
    if (!taken) core_.gates.leave(victim.id);
  }
  for (Victim& victim : demotion->victims) {
    // Cold has buried the version that it gave up: the same bytes go down as a new one.
    if (core_.catalog.has_left_cold(victim.id)) {
      victim.residency.facts.sequence = core_.next_sequence();
    }
  }
  const auto give_up = [&](Demoted why) {
    core_.leases.unpin(demotion->handles);
    for (const Victim& victim : demotion->victims) core_.gates.leave(victim.id);
    demotion->ns->publishers.leave();
    return why;
  };
  if (demotion->victims.empty()) return give_up(Demoted::refused);
  if (!to_cold_budget_.take(demotion->growth, core_.clock.now())) {
    core_.meters.moves.stayed(kind, Outcome::over_budget, demotion->victims.size());
    return give_up(Demoted::over_budget);
  }
  const std::vector<std::uint32_t> sizes = demotion->sizes();
  std::vector<Location> locations(sizes.size());
  const absl::Status reserved =
      core_.reserve_cold(*demotion->ns, demotion->growth, sizes, locations);
  if (!reserved.ok()) {
    core_.meters.moves.stayed(kind, Outcome::no_room, sizes.size());
    give_up(Demoted::refused);
    const bool any_owed =
        std::any_of(demotion->victims.begin(), demotion->victims.end(),
                    [this](const Victim& victim) { return would_drop_owed(victim); });
    if (any_owed && has_code(reserved, ErrorCode::busy)) retry_later();
    if (any_owed && has_code(reserved, ErrorCode::no_space)) {
      make_room_for_owed(*demotion->ns, demotion->growth);
    }
    return Demoted::refused;
  }
  if (!core_.operations.enter()) {
    core_.settle_cold(*demotion->ns, demotion->growth);
    core_.cold->free(locations);
    return give_up(Demoted::refused);
  }
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Victim& victim = demotion->victims[i];
    TierWrite write{.name = demotion->names[i].view(),
                    .id = victim.id,
                    .facts = victim.residency.facts,
                    .location = locations[i]};
    if (from == TierKind::hot) write.payload = core_.hot.bytes(victim.residency.hot);
    if (from == TierKind::warm) write.image = std::move(demotion->images[i]);
    demotion->writes.push_back(std::move(write));
  }
  core_.cold->write(demotion->writes, Durability::written, [this, demotion] {
    for (std::size_t i = 0; i < demotion->writes.size(); ++i) filled_cold(*demotion, i);
    core_.settle_cold(*demotion->ns, demotion->growth);
    demotion->ns->publishers.leave();
    filling_cold_.store(false);
    go_on_after(*demotion);
    core_.operations.leave();
  });
  return Demoted::under_way;
}

/// With the gate held. What is lent stays as it is, whatever becomes of its place.
bool Mover::borrow_image(Demotion& demotion, Victim victim) {
  std::optional<OwnedName> name = core_.catalog.name_of(victim.id);
  const std::optional<Residency> now = core_.catalog.find(victim.id);
  if (!name || !now || now->facts.sequence != victim.residency.facts.sequence ||
      now->warm != victim.residency.warm || !now->is_last_copy()) {
    core_.meters.moves.stayed(demotion.kind, Outcome::gone);
    return false;
  }
  absl::StatusOr<StoredImagePtr> image = core_.warm->image(now->warm);
  if (!image.ok()) {
    core_.meters.moves.stayed(demotion.kind, Outcome::failed);
    discard_warm(victim.id, now->facts.sequence, now->warm);
    return false;
  }
  victim.residency = *now;
  demotion.images.push_back(*std::move(image));
  demotion.add(victim, *std::move(name));
  return true;
}

void Mover::filled_cold(Demotion& demotion, std::size_t i) {
  TierWrite& write = demotion.writes[i];
  Victim& victim = demotion.victims[i];
  write.image.reset();
  if (!demotion.handles.empty()) core_.leases.unpin({&demotion.handles[i], 1});
  const std::uint32_t bytes = victim.residency.facts.plain_bytes;
  const bool is_owed = core_.is_owed(victim.residency);
  if (write.status.ok()) {
    core_.meters.counters.add(Counter::cold_bytes_written, bytes);
    Residency replaced;
    if (!core_.publish_cold(victim.id, demotion.names[i].view(), write.facts, write.location,
                            write.stored_bytes, &replaced)) {
      core_.meters.moves.stayed(demotion.kind, Outcome::gone);
      take_back(victim.id, std::move(demotion.names[i]), write);
      return;
    }
    victim.residency.cold = write.location;
    if (is_owed) {
      core_.meters.counters.add(Counter::written_back_blocks);
      core_.meters.counters.add(Counter::written_back_bytes, bytes);
    }
    core_.free_replaced(replaced);
    core_.meters.moves.moved(demotion.kind, 1, bytes);
  } else {
    core_.meters.moves.stayed(demotion.kind, Outcome::failed);
    if (demotion.kind == MoveKind::warm_to_cold && has_code(write.status, ErrorCode::corruption)) {
      discard_warm(victim.id, victim.residency.facts.sequence, victim.residency.warm);
    }
    if (is_owed) core_.meters.counters.add(Counter::write_failed);
  }
  core_.gates.leave(victim.id);
  if (is_owed && !write.status.ok()) return;  // and stays
  // Backed now, or a last copy that cold would not take: either way it was to go.
  if (demotion.kind == MoveKind::hot_to_cold) {
    evict_hot_copy(victim);
  } else {
    evict_warm_copy(victim);
  }
}

/// Listed nowhere it is garbage, and garbage must not come back with the next opening, nor keep
/// its space for ever. Hot keeps the block: what could not be listed anew is leased there.
void Mover::take_back(BlockId id, OwnedName name, const TierWrite& write) {
  core_.notes.note_removed(id, write.facts.sequence);
  core_.operations.enter_again();
  remove_cold({{.id = id,
                .name = std::move(name),
                .sequence = write.facts.sequence,
                .location = write.location}},
              RemovalReason::evicted, Durability::written,
              [this, id](const std::vector<ColdRemoval>&) {
                core_.gates.leave(id);
                core_.operations.leave();
              });
}

// --- what children elsewhere keep ------------------------------------------------------------

/// Without it hot could fill with last copies that it may not drop, and have no room for anything.
void Mover::demote_anchored() {
  anchored_posted_.store(false);
  if ((core_.warm == nullptr && core_.cold == nullptr) || !core_.operations.enter()) {
    tell_waiting(false);
    return;
  }
  std::vector<Victim> anchored =
      core_.catalog.victims(TierKind::hot, kVictimBatch, Standing::anchored);
  std::erase_if(anchored, [](const Victim& victim) { return !victim.residency.is_last_copy(); });
  bool is_under_way = filling_warm_.load() || filling_cold_.load();
  if (!anchored.empty() && moves_down(anchored)) {
    is_under_way = true;
  } else if (!anchored.empty()) {
    std::uint64_t bytes = 0;
    for (const Victim& victim : anchored) bytes += victim.residency.facts.plain_bytes;
    // Cold has no room either: what goes there is what is below them, or makes room for them.
    if (core_.cold != nullptr && !core_.read_only) {
      make_cold_room(bytes, std::nullopt, [this](bool evicted) {
        if (evicted && !anchored_posted_.exchange(true)) {
          core_.loop.post([this] { demote_anchored(); });
        }
      });
    }
  }
  if (!is_under_way) tell_waiting(false);
  core_.operations.leave();
}

/// Whether they go, or will be tried again.
bool Mover::moves_down(const std::vector<Victim>& from_hot) {
  Demoted result = Demoted::refused;
  if (core_.warm != nullptr) result = demote_to_warm(from_hot);
  if (result == Demoted::refused) result = demote_to_cold(from_hot, TierKind::hot);
  if (result == Demoted::over_budget) retry_later();
  return result != Demoted::refused;
}

}  // namespace cairn::detail
