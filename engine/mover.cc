// SPDX-License-Identifier: Apache-2.0
// Room in memory: what leaves hot and warm without being moved.
#include "engine/mover.h"

#include <algorithm>
#include <utility>

namespace cairn::detail {
namespace {

// So many candidates are looked at before a block goes that is to be written yet.
constexpr std::size_t kOwedLooksMax = 4096;

}  // namespace

// --- hot -------------------------------------------------------------------------------------

bool Mover::make_hot_room(NamespaceId ns, std::span<const std::uint32_t> sizes, HotRoom room) {
  std::uint64_t bytes = 0;
  for (const std::uint32_t size : sizes) bytes += size;
  if (core_.hot.is_limited(ns, sizes)) return evict_hot_of(ns, bytes, room) > 0;
  // What another tier keeps costs nothing to drop; then blocks that were promised no more than
  // memory; and last those that are to be written yet.
  std::uint64_t freed = evict(TierKind::hot, bytes, Standing::backed, Owed::stays);
  if (freed < bytes && room != HotRoom::backed) {
    freed += evict(TierKind::hot, bytes - freed, Standing::last_copy, Owed::stays);
  }
  if (freed < bytes && room == HotRoom::needed) {
    freed += evict(TierKind::hot, bytes - freed, Standing::last_copy, Owed::goes);
  }
  if (freed == 0 && !anchored_posted_.exchange(true)) {
    core_.loop.post([this] { demote_anchored(); });
  }
  return freed > 0;
}

std::uint64_t Mover::evict(TierKind tier, std::uint64_t bytes, Standing most, Owed owed) {
  std::uint64_t freed = 0;
  std::size_t count = kVictimBatch;
  while (freed < bytes) {
    std::uint64_t freed_now = 0;
    bool passed_over = false;
    const std::vector<Victim> victims = core_.catalog.victims(tier, count, most);
    for (const Victim& victim : victims) {
      if (freed + freed_now >= bytes) break;
      if (owed == Owed::stays && would_drop_owed(victim)) {
        passed_over = true;
      } else {
        freed_now += evict_from(tier, victim);
      }
    }
    freed += freed_now;
    if (freed_now > 0) continue;
    // Behind what is owed there may be something else.
    if (!passed_over || victims.size() < count || count == kOwedLooksMax) break;
    count = kOwedLooksMax;
  }
  return freed;
}

/// What is owed last.
std::uint64_t Mover::evict_last_copies(TierKind tier, std::uint64_t bytes) {
  const std::uint64_t freed = evict(tier, bytes, Standing::last_copy, Owed::stays);
  if (freed >= bytes) return freed;
  return freed + evict(tier, bytes - freed, Standing::last_copy, Owed::goes);
}

std::uint64_t Mover::evict_from(TierKind tier, const Victim& victim) {
  return tier == TierKind::hot ? give_up_hot(victim) : evict_warm_copy(victim);
}

std::uint64_t Mover::evict_hot_of(NamespaceId ns, std::uint64_t bytes, HotRoom room) {
  const std::uint64_t freed = evict_hot_of(ns, bytes, Owed::stays);
  if (freed >= bytes || room != HotRoom::needed) return freed;
  return freed + evict_hot_of(ns, bytes - freed, Owed::goes);
}

std::uint64_t Mover::evict_hot_of(NamespaceId ns, std::uint64_t bytes, Owed owed) {
  std::uint64_t freed = 0;
  for (std::size_t count = kVictimBatch; freed < bytes; count *= 16) {
    std::uint64_t freed_now = 0;
    const std::vector<Victim> victims = core_.catalog.victims_of(ns, TierKind::hot, count);
    for (const Victim& victim : victims) {
      if (freed + freed_now >= bytes) break;
      if (owed == Owed::stays && would_drop_owed(victim)) continue;
      freed_now += give_up_hot(victim);
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
  if (!evict_copy(victim, TierKind::hot)) return 0;
  core_.free_hot(residency.hot);
  core_.meters.counters.add(Counter::hot_evictions);
  core_.meters.counters.add(Counter::hot_evicted_bytes, residency.facts.plain_bytes);
  // A block of no bytes frees an entry all the same.
  return std::max<std::uint64_t>(residency.facts.plain_bytes, 1);
}

/// The same for one that was not just moved: where warm has a spare, that is a demotion for
/// nothing.
std::uint64_t Mover::give_up_hot(const Victim& victim) {
  const std::uint64_t freed = evict_hot_copy(victim);
  if (freed > 0 && !victim.residency.warm.is_null()) {
    core_.meters.counters.add(Counter::free_demotions);
  }
  return freed;
}

/// Takes one copy in memory out of the catalog, if its loss is no greater than it was when the
/// victim was chosen.
bool Mover::evict_copy(const Victim& victim, TierKind tier) {
  const Residency& residency = victim.residency;
  if (!residency.is_last_copy()) {
    const bool spare = tier == TierKind::warm && !residency.hot.is_null();
    return core_.catalog.remove_copy(victim.id, tier, residency.in(tier),
                                     spare ? Standing::spare : Standing::backed);
  }
  // Nobody may be putting the block while its last copy goes.
  if (!core_.gates.try_enter(victim.id)) return false;
  tell_evicted({&victim, 1}, tier);
  const bool removed = core_.catalog.remove_copy(victim.id, tier, residency.in(tier));
  core_.gates.leave(victim.id);
  if (removed && core_.is_owed(residency)) {
    core_.meters.counters.add(Counter::dirty_dropped_blocks);
    core_.meters.counters.add(Counter::dirty_dropped_bytes, residency.facts.plain_bytes);
  }
  return removed;
}

/// Before the removal: what a kill makes disappear was told of.
void Mover::tell_evicted(std::span<const Victim> victims, TierKind tier) const {
  if (!core_.options.on_evicted) return;
  std::vector<cairn::Eviction> told;
  for (const Victim& victim : victims) {
    told.push_back({.id = victim.id,
                    .namespace_id = victim.residency.namespace_id,
                    .sequence = victim.residency.facts.sequence,
                    .tier = tier,
                    .last_copy = victim.residency.is_last_copy()});
  }
  core_.options.on_evicted(told);
}

void Mover::discard_hot(BlockId id, std::uint64_t sequence, Location hot) {
  core_.meters.counters.add(Counter::corrupt_blocks);
  core_.gates.enter(id, [this, id, sequence, hot] {
    const std::optional<Residency> listed = core_.catalog.find(id);
    if (listed && listed->facts.sequence == sequence && listed->hot == hot) {
      const std::optional<OwnedName> name = core_.catalog.name_of(id);
      const std::optional<Residency> removed = core_.catalog.remove(id, sequence);
      if (removed && !removed->hot.is_null()) core_.free_hot(removed->hot);
      if (name && removed) list_again(id, name->view(), *removed);
    }
    core_.gates.leave(id);
  });
}

/// With the gate held: what other tiers have of a block whose copy in hot was bad.
void Mover::list_again(BlockId id, const BlockName& name, const Residency& was) {
  if (!was.cold.is_null()) relist(id, name, was);
  if (was.warm.is_null()) return;
  const bool listed = was.cold.is_null() ? core_.catalog.publish_warm(id, name, was.facts, was.warm)
                                         : core_.catalog.add_warm(id, was.facts.sequence, was.warm);
  if (!listed) core_.warm->free({&was.warm, 1});
}

// --- warm ------------------------------------------------------------------------------------

bool Mover::make_warm_room(std::uint64_t bytes) {
  std::uint64_t freed = evict(TierKind::warm, bytes, Standing::spare, Owed::stays);
  if (freed < bytes) {
    freed += evict(TierKind::warm, bytes - freed, Standing::backed, Owed::stays);
  }
  return freed > 0;
}

std::uint64_t Mover::evict_warm_copy(const Victim& victim) {
  const Residency& residency = victim.residency;
  if (!evict_copy(victim, TierKind::warm)) return 0;
  core_.warm->free({&residency.warm, 1});
  if (!residency.hot.is_null()) {
    core_.meters.counters.add(Counter::spares_dropped);
  } else {
    core_.meters.counters.add(Counter::warm_evictions);
    core_.meters.counters.add(Counter::warm_evicted_bytes, residency.facts.plain_bytes);
  }
  return std::max<std::uint64_t>(residency.facts.plain_bytes, 1);
}

void Mover::discard_warm(BlockId id, std::uint64_t sequence, Location warm) {
  const std::optional<Residency> listed = core_.catalog.find(id);
  if (!listed || listed->facts.sequence != sequence) return;
  // Its name is nobody's business: no medium keeps it, and what is in hot or cold stays.
  if (!core_.catalog.drop_copy(id, TierKind::warm, warm)) return;
  core_.meters.counters.add(Counter::corrupt_blocks);
  core_.warm->free({&warm, 1});
}

}  // namespace cairn::detail
