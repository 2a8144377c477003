// SPDX-License-Identifier: Apache-2.0
// Room in cold: victims leave the catalog first, then the index, and then their space is free.
#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/mover.h"

namespace cairn::detail {

void Mover::make_cold_room(std::uint64_t bytes, std::optional<NamespaceId> only,
                           const std::function<void(bool evicted)>& done) {
  if (evict_cold(bytes, only, [done](std::size_t evicted) { done(evicted > 0); }) == 0) done(false);
}

void Mover::trim(NamespaceState& ns) {
  const std::uint64_t hot_limit = ns.hot_limit.load();
  const std::uint64_t hot = core_.hot.used_bytes(ns.id);
  if (hot_limit != 0 && hot > hot_limit) evict_hot_of(ns.id, hot - hot_limit);
  const std::uint64_t limit = ns.cold_limit.load();
  if (limit == 0 || core_.cold == nullptr || core_.read_only || !core_.operations.enter()) return;
  const std::uint64_t cold = core_.catalog.usage(ns.id).cold_bytes;
  if (cold > limit) {
    evict_cold(cold - limit, ns.id, [this, &ns](std::size_t evicted) {
      if (evicted > 0) core_.loop.post([this, &ns] { trim(ns); });
    });
  }
  core_.operations.leave();
}

std::uint64_t Mover::evict_cold(std::uint64_t bytes, std::optional<NamespaceId> only,
                                std::function<void(std::size_t)> done) {
  Eviction eviction;
  std::uint64_t freed = 0;
  std::size_t count = kVictimBatch;
  while (freed < bytes) {
    const std::size_t before = eviction.removals.size();
    const std::vector<Victim> victims =
        only ? core_.catalog.victims_of(*only, TierKind::cold, count)
             : core_.catalog.victims(TierKind::cold, count, Standing::last_copy);
    for (const Victim& victim : victims) {
      if (freed >= bytes) break;
      if (!unlist_cold(victim, &eviction)) continue;
      freed += std::max<std::uint64_t>(victim.residency.cold_bytes, 1);
    }
    if (eviction.removals.size() > before) continue;
    // All of them are behind closed gates, as are those that the asking put has written so far.
    // They may hide the others, but no more of them than there are closed gates.
    const std::size_t enough = core_.gates.closed_gates() + kVictimBatch;
    if (victims.size() < count || count >= enough) break;
    count = enough;
  }
  if (eviction.removals.empty()) return 0;
  forget_evicted(std::move(eviction), std::move(done));
  return freed;
}

/// The second half of an eviction: the index forgets what the catalog has given up.
void Mover::forget_evicted(Eviction eviction, std::function<void(std::size_t)> done) {
  core_.operations.enter_again();
  tell_evicted(eviction.victims, TierKind::cold);
  // Evictions are counted in the index with the removal; the cold tier syncs them before the
  // space is used again. A mutable block's is synced while its gate is closed: whoever puts the
  // name again may promise no more than memory, and then a power cut must not bring the old version
  // back.
  const bool any_mutable =
      std::any_of(eviction.victims.begin(), eviction.victims.end(), [this](const Victim& victim) {
        const NamespaceState* const ns = core_.namespaces.find(victim.residency.namespace_id);
        return ns != nullptr && ns->is_mutable();
      });
  remove_cold(std::move(eviction.removals), RemovalReason::evicted,
              any_mutable ? Durability::durable : Durability::written,
              [this, victims = std::move(eviction.victims),
               done = std::move(done)](const std::vector<ColdRemoval>& removed) {
                std::size_t evicted = 0;
                for (std::size_t i = 0; i < removed.size(); ++i) {
                  if (removed[i].status.ok()) {
                    ++evicted;
                    core_.meters.counters.add(Counter::cold_evictions);
                    core_.meters.counters.add(Counter::cold_evicted_bytes,
                                              victims[i].residency.cold_bytes);
                  }
                  core_.gates.leave(removed[i].id);
                }
                done(evicted);
                core_.operations.leave();
              });
}

bool Mover::unlist_cold(const Victim& victim, Eviction* eviction) {
  if (!core_.gates.try_enter(victim.id)) return false;
  std::optional<OwnedName> name = core_.catalog.name_of(victim.id);
  const Residency& residency = victim.residency;
  core_.notes.note_removed(victim.id, residency.facts.sequence);
  if (!name || !core_.catalog.remove_copy(victim.id, TierKind::cold, residency.cold)) {
    core_.gates.leave(victim.id);
    return false;
  }
  core_.catalog.set_left_cold(victim.id);
  eviction->victims.push_back(victim);
  eviction->removals.push_back({.id = victim.id,
                                .name = *std::move(name),
                                .sequence = residency.facts.sequence,
                                .location = residency.cold,
                                .was = residency});
  return true;
}

void Mover::remove_cold(std::vector<ColdRemoval> removals, RemovalReason reason,
                        Durability durability, std::function<void(std::vector<ColdRemoval>)> done) {
  struct Operation {
    std::vector<ColdRemoval> removals;
    std::vector<Removal> batch;
    std::function<void(std::vector<ColdRemoval>)> done;
  };
  if (durability != Durability::durable) core_.removals_begun.fetch_add(1);
  auto operation = std::make_shared<Operation>();
  operation->removals = std::move(removals);
  operation->done = std::move(done);
  for (const ColdRemoval& removal : operation->removals) {
    operation->batch.push_back(
        {.name = removal.name.view(), .sequence = removal.sequence, .reason = reason});
  }
  core_.cold_changes_begun.fetch_add(1);
  core_.cold->remove(operation->batch, durability, [this, operation] {
    std::vector<Location> freeable;
    for (std::size_t i = 0; i < operation->batch.size(); ++i) {
      ColdRemoval& removal = operation->removals[i];
      removal.status = operation->batch[i].status;
      if (!removal.status.ok()) {
        if (removal.was) relist(removal.id, removal.name.view(), *removal.was);
      } else if (!removal.location.is_null()) {
        freeable.push_back(removal.location);
      }
    }
    if (!freeable.empty()) core_.cold->free(freeable);
    operation->done(std::move(operation->removals));
    core_.cold_changes_ended.fetch_add(1);
  });
}

void Mover::quarantine(BlockId id, std::uint64_t sequence, Location cold) {
  core_.gates.enter(id, [this, id, sequence, cold] {
    const std::optional<Residency> listed = core_.catalog.find(id);
    std::optional<OwnedName> name = core_.catalog.name_of(id);
    NamespaceState* const ns = listed ? core_.namespaces.find(listed->namespace_id) : nullptr;
    // Of a namespace that is being cleared everything reads as gone: nobody is to blame.
    if (ns == nullptr || !name || !ns->publishers.enter()) {
      core_.gates.leave(id);
      return;
    }
    const bool is_still_it = listed->facts.sequence == sequence && listed->cold == cold;
    // The mark first, as in lost_cold(): a copy in hot goes on without one in cold.
    if (is_still_it) core_.catalog.set_left_cold(id);
    if (!is_still_it || !core_.catalog.drop_copy(id, TierKind::cold, cold)) {
      ns->publishers.leave();
      core_.gates.leave(id);
      return;
    }
    core_.meters.counters.add(Counter::corrupt_blocks);
    core_.notes.note_removed(id, sequence);
    if (core_.read_only || !core_.operations.enter()) {
      ns->publishers.leave();
      core_.gates.leave(id);
      return;
    }
    // Should that fail, the next reader finds it bad once more.
    remove_cold({{.id = id,
                  .name = *std::move(name),
                  .sequence = sequence,
                  .location = cold,
                  .was = listed}},
                RemovalReason::corrupt, Durability::written,
                [this, id, ns](const std::vector<ColdRemoval>&) {
                  core_.gates.leave(id);
                  ns->publishers.leave();
                  core_.operations.leave();
                });
  });
}

void Mover::lost_cold(BlockId id, std::uint64_t sequence, Location cold) {
  core_.notes.note_lost(id, sequence);
  // First the mark: the version is buried, and a put that finds the block in hot alone must not
  // write it again under the same number.
  core_.catalog.set_left_cold(id);
  core_.catalog.drop_copy(id, TierKind::cold, cold);
  if (!core_.gates.is_closed(id)) core_.notes.gate_left(id);
}

/// With the gate held: cold still has it, so it is listed again, unless its namespace is being
/// or has been cleared.
void Mover::relist(BlockId id, const BlockName& name, const Residency& was) {
  NamespaceState* const state = core_.namespaces.find(was.namespace_id);
  if (state == nullptr || !state->publishers.enter()) return;
  if (was.facts.sequence >= state->cleared_below.load() &&
      !core_.publish_cold(id, name, was.facts, was.cold, was.cold_bytes, nullptr)) {
    core_.is_partial.store(true);
  }
  state->publishers.leave();
}

}  // namespace cairn::detail
