// SPDX-License-Identifier: Apache-2.0
// Demotion: copy → complete → switch catalog → free. The half of the mover that writes.
#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/mover.h"

namespace cairn::detail {

struct Mover::Demotion {
  std::vector<Victim> victims;
  std::vector<OwnedName> names;
  std::vector<BlockHandle> handles;  // pins while the bytes are read
  std::vector<TierWrite> writes;
  NamespaceState* ns = nullptr;  // entered
  std::uint64_t growth = 0;
};

bool Mover::demote(std::vector<Victim> victims) {
  if (core_.cold == nullptr || core_.read_only || core_.cold->health().degraded) return false;
  // One namespace at a time: a reservation is made in one, and clear() waits for it.
  const NamespaceId ns = victims.front().residency.namespace_id;
  NamespaceState* const state = core_.namespaces.find(ns);
  if (state == nullptr || !state->publishers.enter()) return false;
  auto demotion = std::make_shared<Demotion>();
  demotion->ns = state;
  for (Victim& victim : victims) {
    if (victim.residency.namespace_id != ns) continue;
    if (!core_.gates.try_enter(victim.id)) continue;
    std::optional<OwnedName> name = core_.catalog.name_of(victim.id);
    Residency leased;
    if (!name || core_.catalog.lease_hot({&victim.id, 1}, Read::prefix, {&leased, 1}) == 0) {
      core_.gates.leave(victim.id);
      continue;
    }
    const std::optional<Residency> now = core_.catalog.find(victim.id);
    if (!now || now->facts.sequence != victim.residency.facts.sequence || !now->cold.is_null()) {
      core_.leases.unpin({&leased.handle, 1});
      core_.gates.leave(victim.id);
      continue;
    }
    victim.residency = *now;
    // Cold has buried the version that it gave up: the same bytes go down as a new one.
    if (core_.catalog.has_left_cold(victim.id)) {
      victim.residency.facts.sequence = core_.next_sequence();
    }
    demotion->handles.push_back(leased.handle);
    demotion->names.push_back(*std::move(name));
    demotion->victims.push_back(victim);
  }
  // Leasing made them the newest; they were chosen to go.
  for (const Victim& victim : demotion->victims) core_.catalog.make_oldest(victim.id);
  std::vector<std::uint32_t> sizes;
  for (const Victim& victim : demotion->victims) {
    sizes.push_back(victim.residency.facts.plain_bytes);
    demotion->growth += victim.residency.facts.plain_bytes;
  }
  std::vector<Location> locations(sizes.size());
  const auto give_up = [&] {
    core_.leases.unpin(demotion->handles);
    for (const Victim& victim : demotion->victims) core_.gates.leave(victim.id);
    state->publishers.leave();
    return false;
  };
  if (demotion->victims.empty()) return give_up();
  if (!core_.reserve_cold(*state, demotion->growth, sizes, locations).ok()) return give_up();
  if (!core_.operations.enter()) {
    core_.settle_cold(*state, demotion->growth);
    core_.cold->free(locations);
    return give_up();
  }
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Victim& victim = demotion->victims[i];
    demotion->writes.push_back({.name = demotion->names[i].view(),
                                .id = victim.id,
                                .facts = victim.residency.facts,
                                .payload = core_.hot.bytes(victim.residency.hot),
                                .location = locations[i]});
  }
  demoting_.store(true);
  core_.cold->write(demotion->writes, Durability::written, [this, demotion] {
    finish_demotion(*demotion);
    core_.settle_cold(*demotion->ns, demotion->growth);
    demotion->ns->publishers.leave();
    demoting_.store(false);
    note_growth();
    core_.operations.leave();
  });
  return true;
}

void Mover::demote_held() {
  held_posted_.store(false);
  if (core_.cold == nullptr || core_.read_only || demoting_.load()) return;
  if (!core_.operations.enter()) return;
  constexpr std::size_t kBatch = 64;
  const std::vector<Victim> held = core_.catalog.held_by_children(kBatch);
  std::uint64_t bytes = 0;
  for (const Victim& victim : held) bytes += victim.residency.facts.plain_bytes;
  if (!held.empty() && !demote(held)) {
    // Cold has no room either: what goes there is what is below them, or makes room for them.
    make_cold_room(bytes, std::nullopt, [this](bool evicted) {
      if (evicted && !held_posted_.exchange(true)) core_.loop.post([this] { demote_held(); });
    });
  }
  core_.operations.leave();
}

void Mover::finish_demotion(Demotion& demotion) {
  for (std::size_t i = 0; i < demotion.writes.size(); ++i) {
    TierWrite& write = demotion.writes[i];
    Victim& victim = demotion.victims[i];
    core_.leases.unpin({&demotion.handles[i], 1});
    if (write.status.ok()) {
      core_.meters.counters.add(Counter::cold_bytes_written, write.payload.size());
      Residency replaced;
      if (core_.publish_cold(victim.id, demotion.names[i].view(), write.facts, write.location,
                             write.stored_bytes, &replaced)) {
        victim.residency.cold = write.location;
        core_.free_replaced(replaced);
      } else {
        take_back(victim.id, std::move(demotion.names[i]), write);
        continue;
      }
    }
    core_.gates.leave(victim.id);
    // Backed now, or a last copy that cold would not take: either way it was to go.
    evict_hot_copy(victim);
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

}  // namespace cairn::detail
