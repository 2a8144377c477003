// SPDX-License-Identifier: Apache-2.0
// Room on demand: in the catalog, and in a tier that an operator wants emptied.
#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/completion.h"
#include "engine/mover.h"

namespace cairn::detail {
namespace {

constexpr std::size_t kVictimsMax = Mover::kVictimBatch * Mover::kVictimBatch * Mover::kVictimBatch;
constexpr int kOffersMax = 16;

}  // namespace

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
          if (!evict_in_memory(victim)) continue;
          gone += (forgets ? forget_cold(victim) : unlist_cold(victim, &eviction)) ? 1U : 0U;
        }
        if (!eviction.removals.empty()) forget_evicted(std::move(eviction), [](std::size_t) {});
        return gone > 0;
      })) {
    return true;
  }
  return evict_last_entries(count, Owed::stays) || evict_last_entries(count, Owed::goes);
}

bool Mover::evict_last_entries(std::size_t count, Owed owed) {
  for (const TierKind tier : {TierKind::warm, TierKind::hot}) {
    if (tier == TierKind::warm && core_.warm == nullptr) continue;
    if (evict_offered(tier, count, [&](std::span<const Victim> victims) {
          std::size_t gone = 0;
          for (const Victim& victim : victims) {
            if (gone == count) break;
            const Residency& residency = victim.residency;
            if (!residency.cold.is_null()) continue;
            if (owed == Owed::stays && core_.is_owed(residency)) continue;
            if (evict_in_memory(victim)) ++gone;
          }
          return gone > 0;
        })) {
      return true;
    }
  }
  return false;
}

/// All copies of a block that lie in memory, the spare first. False: one stays.
bool Mover::evict_in_memory(const Victim& victim) {
  Victim left = victim;
  if (!left.residency.hot.is_null() && !left.residency.warm.is_null()) {
    if (evict_warm_copy(left) == 0) return false;
    left.residency.warm = {};
  }
  if (!left.residency.hot.is_null()) return evict_hot_copy(left) > 0;
  return left.residency.warm.is_null() || evict_warm_copy(left) > 0;
}

/// Until `take` took something, or there is nothing. The first that are offered may be in use, or
/// others that make room at the same time are faster.
bool Mover::evict_offered(TierKind tier, std::size_t count,
                          const std::function<bool(std::span<const Victim>)>& take) {
  std::size_t ask = count;
  for (int tries = 0; tries < kOffersMax; ++tries) {
    const std::vector<Victim> victims = core_.catalog.victims(tier, ask, Standing::last_copy);
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
  const Tier* const of = tier == TierKind::hot    ? &core_.hot
                         : tier == TierKind::warm ? static_cast<const Tier*>(core_.warm)
                         : tier == TierKind::cold ? core_.cold
                                                  : nullptr;
  if (of == nullptr) {
    return make_error(ErrorCode::invalid_argument, "there is no such tier");
  }
  if (tier == TierKind::cold && core_.read_only) {
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  }
  if (!core_.operations.enter()) return make_error(ErrorCode::closed, "the engine is closing");
  std::uint64_t freed = 0;
  for (;;) {
    const TierUsage usage = of->usage();
    // Blocks of no bytes use none, and are meant all the same where nothing is to be left.
    const bool holds_empty_ones = target_bytes == 0 && usage.blocks > 0;
    if (usage.used_bytes <= target_bytes && !holds_empty_ones) break;
    const std::uint64_t wanted = std::clamp<std::uint64_t>(
        usage.used_bytes - std::min(target_bytes, usage.used_bytes), 1, 64 * kMiB);
    std::uint64_t freed_now = 0;
    if (tier == TierKind::hot) {
      freed_now = evict_last_copies(tier, wanted);
    } else if (tier == TierKind::warm) {
      freed_now = evict(tier, wanted, Standing::spare, Owed::stays);
      if (freed_now == 0) freed_now = evict_last_copies(tier, wanted);
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

}  // namespace cairn::detail
