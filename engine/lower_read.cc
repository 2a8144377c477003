// SPDX-License-Identifier: Apache-2.0
#include "engine/lower_read.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

namespace cairn::detail {
namespace {

// A block that the cleaner moves while it is being read is read again where it is now.
constexpr std::uint32_t kAttemptsMax = 4;

/// Of a batch from both tiers: each gets its own, and what they say goes back to the whole.
struct Split {
  std::vector<TierRead> warm, cold;
  std::vector<std::size_t> warm_at, cold_at;
  std::span<TierRead> whole;
  std::atomic<int> left{2};
  Done done;

  void ended() {
    // The last one sees what the other has written.
    if (left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    for (std::size_t i = 0; i < warm.size(); ++i)
      whole[warm_at[i]].status = std::move(warm[i].status);
    for (std::size_t i = 0; i < cold.size(); ++i)
      whole[cold_at[i]].status = std::move(cold[i].status);
    done();
  }
};

}  // namespace

Source source_of(const Residency& residency) {
  if (!residency.warm.is_null()) return {TierKind::warm, residency.warm};
  if (!residency.cold.is_null()) return {TierKind::cold, residency.cold};
  return {};
}

void read_below(EngineCore& core, std::span<TierRead> reads, std::span<const Source> sources,
                Done done) {
  CAIRN_CHECK(reads.size() == sources.size());
  std::size_t in_warm = 0;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    reads[i].location = sources[i].location;
    in_warm += sources[i].tier == TierKind::warm ? 1U : 0U;
  }
  if (in_warm == 0 || in_warm == reads.size()) {
    Tier& tier = in_warm == 0 ? static_cast<Tier&>(*core.cold) : *core.warm;
    tier.read(reads, std::move(done));
    return;
  }
  auto split = std::make_shared<Split>();
  split->whole = reads;
  split->done = std::move(done);
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const bool warm = sources[i].tier == TierKind::warm;
    (warm ? split->warm : split->cold).push_back(reads[i]);
    (warm ? split->warm_at : split->cold_at).push_back(i);
  }
  // Cold first: its disk works while this thread perhaps decodes.
  core.cold->read(split->cold, [split] { split->ended(); });
  core.warm->read(split->warm, [split] { split->ended(); });
}

Source look_again(EngineCore& core, Mover& mover, BlockId id, std::uint64_t sequence, Source failed,
                  std::uint32_t attempts) {
  const std::optional<Residency> now = core.catalog.find(id);
  if (!now || now->facts.sequence != sequence) return {};
  if (now->in(failed.tier) == failed.location) {
    if (failed.tier == TierKind::cold) {
      mover.quarantine(id, sequence, failed.location);
      return {};
    }
    mover.discard_warm(id, sequence, failed.location);
    return now->cold.is_null() ? Source{} : Source{TierKind::cold, now->cold};
  }
  return attempts < kAttemptsMax ? source_of(*now) : Source{};
}

}  // namespace cairn::detail
