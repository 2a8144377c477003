// SPDX-License-Identifier: Apache-2.0
// Watermarks: from the high one down to the low one, tier by tier, so that nobody has to wait.
#include <algorithm>

#include "engine/mover.h"

namespace cairn::detail {
namespace {

constexpr std::uint64_t kColdSliceBytes = 64 * kMiB;
constexpr Duration kBudgetRetry = Duration::millis(100);

std::uint64_t share_of(std::uint64_t bytes, double fraction) {
  return static_cast<std::uint64_t>(static_cast<double>(bytes) * fraction);
}

/// By how much a tier is to shrink: nothing below the high mark, down to the low one above it.
std::uint64_t excess(const TierUsage& usage, double high, double low) {
  if (usage.used_bytes <= share_of(usage.capacity_bytes, high)) return 0;
  return usage.used_bytes - share_of(usage.capacity_bytes, low);
}

}  // namespace

std::uint64_t Mover::hot_excess() const {
  return excess(core_.hot.usage(), core_.options.high_watermark, core_.options.low_watermark);
}

std::uint64_t Mover::warm_excess() const {
  if (core_.warm == nullptr) return 0;
  return excess(core_.warm->usage(), core_.options.high_watermark, core_.options.low_watermark);
}

std::uint64_t Mover::cold_excess() const {
  if (core_.cold == nullptr || core_.read_only) return 0;
  return excess(core_.cold->usage(), core_.options.cold_high_watermark,
                core_.options.cold_low_watermark);
}

void Mover::note_growth() {
  // Relaxed: a lost wake-up is made good by the next growth.
  if (background_posted_.load(std::memory_order_relaxed)) return;
  if (hot_excess() == 0 && warm_excess() == 0 && cold_excess() == 0) return;
  if (background_posted_.exchange(true, std::memory_order_relaxed)) return;
  core_.loop.post([this] { background(); });
}

void Mover::background() {
  background_posted_.store(false, std::memory_order_relaxed);
  if (!core_.operations.enter()) return;
  // Warm first: what leaves hot goes there.
  bool again = shrink_warm();
  again = shrink_hot() || again;
  if (const std::uint64_t bytes = cold_excess(); bytes > 0) {
    // The next slice is taken when this one is gone: usage is true again by then.
    evict_cold(std::min(bytes, kColdSliceBytes), std::nullopt, [this](std::size_t evicted) {
      if (evicted > 0) note_growth();
    });
  }
  core_.operations.leave();
  if (again) note_growth();
}

/// What was not moved now for want of bandwidth is tried again.
void Mover::retry_later() {
  if (retry_posted_.exchange(true)) return;
  core_.loop.run_after(kBudgetRetry, [this] {
    retry_posted_.store(false);
    note_growth();
    if (!waiting_for_hot_.empty()) demote_anchored();
  });
}

/// True when another round at once is worth while.
bool Mover::shrink_hot() {
  const std::uint64_t wanted = hot_excess();
  if (wanted == 0) return false;
  std::uint64_t freed = 0, moving = 0;
  std::vector<Victim> to_warm, only_here;
  // With warm beneath, parents whose children are there already are moved, too.
  const Standing most = core_.warm != nullptr ? Standing::anchored : Standing::last_copy;
  for (const Victim& victim : core_.catalog.victims(TierKind::hot, 4 * kVictimBatch, most)) {
    if (freed + moving >= wanted) break;
    const Residency& residency = victim.residency;
    if (!residency.warm.is_null()) {
      freed += give_up_hot(victim);
    } else if (core_.warm != nullptr) {
      to_warm.push_back(victim);
      moving += residency.facts.plain_bytes;
    } else if (residency.is_dirty()) {
      // What cold has given up before is not written there a second time.
      only_here.push_back(victim);
      moving += residency.facts.plain_bytes;
    } else {
      freed += evict_hot_copy(victim);
    }
  }
  if (!to_warm.empty()) {
    switch (demote_to_warm(to_warm)) {
      case Demoted::under_way:
        return freed > 0;  // goes on when they are down
      case Demoted::over_budget:
        retry_later();
        return false;
      case Demoted::refused:
        break;
    }
    for (const Victim& victim : to_warm) {
      if (!victim.residency.cold.is_null()) freed += evict_hot_copy(victim);
      if (victim.residency.cold.is_null()) only_here.push_back(victim);
    }
  }
  return sink(only_here, TierKind::hot) || freed > 0;
}

bool Mover::shrink_warm() {
  const std::uint64_t wanted = warm_excess();
  if (wanted == 0) return false;
  std::uint64_t freed = evict(TierKind::warm, wanted, Standing::spare, Owed::stays);
  std::uint64_t moving = 0;
  std::vector<Victim> only_here;
  const Standing most = core_.cold != nullptr ? Standing::anchored : Standing::last_copy;
  if (freed >= wanted) return true;
  for (const Victim& victim : core_.catalog.victims(TierKind::warm, 4 * kVictimBatch, most)) {
    if (freed + moving >= wanted) break;
    if (victim.residency.is_dirty()) {
      only_here.push_back(victim);
      moving += victim.residency.facts.plain_bytes;
    } else {
      freed += evict_warm_copy(victim);
    }
  }
  return sink(only_here, TierKind::warm) || freed > 0;
}

/// Last copies go to cold, or go altogether; what is owed to cold stays until it can go there. True
/// when some have gone at once.
bool Mover::sink(const std::vector<Victim>& victims, TierKind from) {
  std::uint64_t freed = 0;
  std::vector<Victim> to_cold;
  for (const Victim& victim : victims) {
    // Seen once, it is not worth a write; but what hangs on it elsewhere would be lost without it.
    const std::uint64_t dropped =
        core_.is_selective(victim.residency) ? evict_from(from, victim) : 0;
    if (dropped == 0) to_cold.push_back(victim);
    freed += dropped;
  }
  if (to_cold.empty()) return freed > 0;
  switch (demote_to_cold(to_cold, from)) {
    case Demoted::under_way:
      return freed > 0;
    case Demoted::over_budget:
      retry_later();
      return freed > 0;
    case Demoted::refused:
      break;
  }
  for (const Victim& victim : to_cold) {
    if (!would_drop_owed(victim)) freed += evict_from(from, victim);
  }
  return freed > 0;
}

void Mover::make_room_for_owed(const NamespaceState& ns, std::uint64_t bytes) {
  const bool limited = core_.is_cold_limited(ns, bytes);
  make_cold_room(bytes, limited ? std::optional(ns.id) : std::nullopt, [this](bool evicted) {
    if (evicted) note_growth();
  });
}

}  // namespace cairn::detail
