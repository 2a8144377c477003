// SPDX-License-Identifier: Apache-2.0
#include "engine/mover.h"

#include <algorithm>
#include <utility>

#include "engine/base/log.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/completion.h"

namespace cairn::detail {
namespace {

constexpr std::size_t kVictimBatch = 64;
constexpr std::size_t kVictimsMax = kVictimBatch * kVictimBatch * kVictimBatch;
constexpr int kOffersMax = 16;

std::uint64_t share_of(std::uint64_t bytes, double fraction) {
  return static_cast<std::uint64_t>(static_cast<double>(bytes) * fraction);
}

}  // namespace

// --- hot -------------------------------------------------------------------------------------

bool Mover::make_hot_room(NamespaceId ns, std::span<const std::uint32_t> sizes) {
  std::uint64_t bytes = 0;
  for (const std::uint32_t size : sizes) bytes += size;
  if (core_.hot.is_limited(ns, sizes)) return evict_hot_of(ns, bytes) > 0;
  // What cold keeps costs nothing to drop; only then the blocks that were promised no more
  // than memory.
  std::uint64_t freed = evict_hot(bytes, false);
  if (freed < bytes) freed += evict_hot(bytes - freed, true);
  if (freed == 0 && !held_posted_.exchange(true)) core_.loop.post([this] { demote_held(); });
  return freed > 0;
}

std::uint64_t Mover::evict_hot(std::uint64_t bytes, bool include_last_copies) {
  std::uint64_t freed = 0;
  while (freed < bytes) {
    std::uint64_t freed_now = 0;
    for (const Victim& victim :
         core_.catalog.victims(TierKind::hot, kVictimBatch, include_last_copies)) {
      if (freed + freed_now >= bytes) break;
      freed_now += evict_hot_copy(victim);
    }
    if (freed_now == 0) break;
    freed += freed_now;
  }
  return freed;
}

std::uint64_t Mover::evict_hot_of(NamespaceId ns, std::uint64_t bytes) {
  std::uint64_t freed = 0;
  for (std::size_t count = kVictimBatch; freed < bytes; count *= 16) {
    std::uint64_t freed_now = 0;
    const std::vector<Victim> victims = core_.catalog.victims_of(ns, TierKind::hot, count);
    for (const Victim& victim : victims) {
      if (freed + freed_now >= bytes) break;
      freed_now += evict_hot_copy(victim);
    }
    freed += freed_now;
    // Those that are needed come first, perhaps: then all are looked at.
    if (victims.size() < count) break;
    if (freed_now > 0) count = kVictimBatch / 16;
  }
  return freed;
}

std::uint64_t Mover::evict_hot_copy(const Victim& victim) {
  const Residency& residency = victim.residency;
  const bool last_copy = residency.cold.is_null();
  // Nobody may be putting the block while its last copy goes.
  if (last_copy && !core_.gates.try_enter(victim.id)) return 0;
  if (last_copy) tell_evicted({&victim, 1}, TierKind::hot);
  const bool removed = core_.catalog.remove_copy(victim.id, TierKind::hot, residency.hot);
  if (removed) {
    core_.free_hot(residency.hot);
    core_.meters.counters.add(Counter::hot_evictions);
    core_.meters.counters.add(Counter::hot_evicted_bytes, residency.facts.plain_bytes);
  }
  if (last_copy) core_.gates.leave(victim.id);
  // A block of no bytes frees an entry all the same.
  return removed ? std::max<std::uint64_t>(residency.facts.plain_bytes, 1) : 0;
}

// --- cold ------------------------------------------------------------------------------------

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
    const std::vector<Victim> victims = only
                                            ? core_.catalog.victims_of(*only, TierKind::cold, count)
                                            : core_.catalog.victims(TierKind::cold, count, true);
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

/// Before the removal: what a kill makes disappear was told of.
void Mover::tell_evicted(std::span<const Victim> victims, TierKind tier) const {
  if (!core_.options.on_evicted) return;
  std::vector<cairn::Eviction> told;
  for (const Victim& victim : victims) {
    const Residency& residency = victim.residency;
    const Location elsewhere = tier == TierKind::hot ? residency.cold : residency.hot;
    told.push_back({.id = victim.id,
                    .namespace_id = residency.namespace_id,
                    .sequence = residency.facts.sequence,
                    .tier = tier,
                    .last_copy = elsewhere.is_null()});
  }
  core_.options.on_evicted(told);
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
    if (!is_still_it || !core_.catalog.drop_cold(id, cold)) {
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
  core_.catalog.drop_cold(id, cold);
  if (!core_.gates.is_closed(id)) core_.notes.gate_left(id);
}

void Mover::discard_hot(BlockId id, std::uint64_t sequence, Location hot) {
  core_.meters.counters.add(Counter::corrupt_blocks);
  core_.gates.enter(id, [this, id, sequence, hot] {
    const std::optional<Residency> listed = core_.catalog.find(id);
    if (listed && listed->facts.sequence == sequence && listed->hot == hot) {
      const std::optional<OwnedName> name = core_.catalog.name_of(id);
      const std::optional<Residency> removed = core_.catalog.remove(id, sequence);
      if (removed && !removed->hot.is_null()) core_.free_hot(removed->hot);
      if (name && removed && !removed->cold.is_null()) relist(id, name->view(), *removed);
    }
    core_.gates.leave(id);
  });
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

// --- catalog ---------------------------------------------------------------------------------

bool Mover::make_catalog_room(std::uint64_t bytes) {
  core_.metadata_reserved.fetch_add(bytes);
  if (core_.metadata_bytes() <= core_.options.metadata_bytes) {
    core_.unpaid_metadata.fetch_add(bytes);
    return true;
  }
  if (free_catalog_room(0)) return true;
  core_.metadata_reserved.fetch_sub(bytes);
  return false;
}

bool Mover::free_catalog_room(std::uint64_t bytes) {
  for (;;) {
    const std::uint64_t used = core_.metadata_bytes() + bytes;
    if (used <= core_.options.metadata_bytes) return true;
    const std::uint64_t entries =
        (used - core_.options.metadata_bytes) / Catalog::cost_bytes(0) + 1;
    if (!evict_entries(std::min<std::uint64_t>(entries, kVictimBatch))) return false;
  }
}

/// Whole blocks, out of every tier: from cold first, where blocks are coldest. False when
/// nothing may go.
bool Mover::evict_entries(std::size_t count) {
  const bool forgets = core_.is_partial.load();
  const bool from_cold = forgets || (core_.cold != nullptr && !core_.read_only);
  if (from_cold && evict_offered(TierKind::cold, count, [&](std::span<const Victim> victims) {
        Eviction eviction;
        std::size_t gone = 0;
        for (const Victim& victim : victims) {
          if (gone == count) break;
          if (!victim.residency.hot.is_null() && evict_hot_copy(victim) == 0) continue;
          gone += (forgets ? forget_cold(victim) : unlist_cold(victim, &eviction)) ? 1U : 0U;
        }
        if (!eviction.removals.empty()) forget_evicted(std::move(eviction), [](std::size_t) {});
        return gone > 0;
      })) {
    return true;
  }
  return evict_offered(TierKind::hot, count, [&](std::span<const Victim> victims) {
    std::size_t gone = 0;
    for (const Victim& victim : victims) {
      if (gone == count) break;
      if (victim.residency.cold.is_null() && evict_hot_copy(victim) > 0) ++gone;
    }
    return gone > 0;
  });
}

/// Until `take` took something, or there is nothing. The first that are offered may be in use, or
/// others that make room at the same time are faster.
bool Mover::evict_offered(TierKind tier, std::size_t count,
                          const std::function<bool(std::span<const Victim>)>& take) {
  std::size_t ask = count;
  for (int tries = 0; tries < kOffersMax; ++tries) {
    const std::vector<Victim> victims = core_.catalog.victims(tier, ask, true);
    if (!victims.empty() && take(victims)) return true;
    // Those that were taken while they were being chosen are left out: none is not yet nothing.
    if (victims.empty() && ask == kVictimsMax) return false;
    if (victims.empty() || victims.size() == ask) ask = std::min(ask * kVictimBatch, kVictimsMax);
  }
  return false;
}

/// The index goes on naming it, and who asks for it finds it there. A copy that has come to hot
/// meanwhile stands over a version in cold that is not listed: the mark says so.
bool Mover::forget_cold(const Victim& victim) {
  // Whoever is inside has seen it listed.
  if (!core_.gates.try_enter(victim.id)) return false;
  const bool gone = core_.catalog.remove_copy(victim.id, TierKind::cold, victim.residency.cold);
  if (gone) core_.catalog.set_left_cold(victim.id);
  core_.gates.leave(victim.id);
  return gone;
}

absl::StatusOr<std::uint64_t> Mover::evict_unused(TierKind tier, std::uint64_t target_bytes) {
  if (tier != TierKind::hot && (tier != TierKind::cold || core_.cold == nullptr)) {
    return make_error(ErrorCode::invalid_argument, "there is no such tier");
  }
  if (tier == TierKind::cold && core_.read_only) {
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  }
  if (!core_.operations.enter()) return make_error(ErrorCode::closed, "the engine is closing");
  std::uint64_t freed = 0;
  for (;;) {
    const TierUsage usage = tier == TierKind::hot ? core_.hot.usage() : core_.cold->usage();
    // Blocks of no bytes use none, and are meant all the same where nothing is to be left.
    const bool holds_empty_ones = target_bytes == 0 && usage.blocks > 0;
    if (usage.used_bytes <= target_bytes && !holds_empty_ones) break;
    const std::uint64_t wanted = std::clamp<std::uint64_t>(
        usage.used_bytes - std::min(target_bytes, usage.used_bytes), 1, 64 * kMiB);
    std::uint64_t freed_now = 0;
    if (tier == TierKind::hot) {
      freed_now = evict_hot(wanted, true);
    } else {
      Completion gone;
      std::size_t evicted = 0;
      freed_now = evict_cold(wanted, std::nullopt, [&](std::size_t count) {
        evicted = count;
        gone.notify();
      });
      if (freed_now > 0) gone.wait([this] { return core_.pump(); });
      if (evicted == 0) freed_now = 0;
    }
    if (freed_now == 0) break;
    freed += freed_now;
  }
  core_.operations.leave();
  return freed;
}

// --- the background --------------------------------------------------------------------------

void Mover::note_growth() {
  // Relaxed: a lost wake-up is made good by the next growth.
  if (background_posted_.load(std::memory_order_relaxed)) return;
  const TierUsage hot = core_.hot.usage();
  bool wanted = hot.used_bytes > share_of(hot.capacity_bytes, core_.options.high_watermark);
  if (!wanted && core_.cold != nullptr && !core_.read_only) {
    const TierUsage cold = core_.cold->usage();
    wanted = cold.used_bytes > share_of(cold.capacity_bytes, core_.options.cold_high_watermark);
  }
  if (!wanted || background_posted_.exchange(true, std::memory_order_relaxed)) return;
  core_.loop.post([this] { background(); });
}

void Mover::background() {
  background_posted_.store(false, std::memory_order_relaxed);
  if (!core_.operations.enter()) return;
  bool again = shrink_hot();
  if (core_.cold != nullptr && !core_.read_only) {
    const TierUsage cold = core_.cold->usage();
    const std::uint64_t low = share_of(cold.capacity_bytes, core_.options.cold_low_watermark);
    if (cold.used_bytes > share_of(cold.capacity_bytes, core_.options.cold_high_watermark)) {
      const std::uint64_t slice = std::min<std::uint64_t>(cold.used_bytes - low, 64 * kMiB);
      // The next slice is taken when this one is gone: usage is true again by then.
      evict_cold(slice, std::nullopt, [this](std::size_t evicted) {
        if (evicted > 0) note_growth();
      });
    }
  }
  core_.operations.leave();
  if (again) note_growth();
}

bool Mover::shrink_hot() {
  const TierUsage usage = core_.hot.usage();
  const std::uint64_t low = share_of(usage.capacity_bytes, core_.options.low_watermark);
  if (usage.used_bytes <= share_of(usage.capacity_bytes, core_.options.high_watermark)) {
    return false;
  }
  const std::uint64_t wanted = usage.used_bytes - low;
  std::uint64_t freed = 0;
  std::vector<Victim> only_here;
  std::uint64_t only_here_bytes = 0;
  for (const Victim& victim : core_.catalog.victims(TierKind::hot, 4 * kVictimBatch, true)) {
    if (freed + only_here_bytes >= wanted) break;
    // What cold has given up before is not written there a second time.
    if (victim.residency.cold.is_null() && !core_.catalog.has_left_cold(victim.id)) {
      only_here.push_back(victim);
      only_here_bytes += victim.residency.facts.plain_bytes;
    } else {
      freed += evict_hot_copy(victim);
    }
  }
  if (!only_here.empty() && !demoting_.load()) {
    if (demote(only_here)) return freed > 0;  // goes on when they are down
    for (const Victim& victim : only_here) freed += evict_hot_copy(victim);
  }
  return freed > 0;
}

}  // namespace cairn::detail
