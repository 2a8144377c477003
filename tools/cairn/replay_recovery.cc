// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/replay_recovery.h"

#include <algorithm>
#include <vector>

#include "tools/cairn/exit_code.h"
#include "tools/cairn/signals.h"

namespace cairn::tools {
namespace {

constexpr std::uint64_t kWindowBytes = 64 * kMiB;
constexpr std::size_t kStride = 256;  // blocks between two looks at Ctrl-C
constexpr std::size_t kFirstHitTries = 64;
constexpr Duration kRecoveryPatience = Duration::seconds(600);

double seconds_since(TimePoint start) {
  return (system_clock().now() - start).as_seconds();
}

void count(const BlockPromise& promise, ReadOutcome outcome, Recovery& recovery) {
  if (!promise.acknowledged) return;
  PromiseCount& counted = recovery.by_durability[static_cast<std::size_t>(*promise.acknowledged)];
  ++counted.acknowledged;
  // Wrong bytes are there, too; they are counted where they are verified, and end in exit 6.
  if (outcome == ReadOutcome::right || outcome == ReadOutcome::wrong) {
    ++counted.found;
  } else if (promise.evicted) {
    ++counted.evicted;
  } else {
    ++counted.lost;
  }
}

/// Blocks that were promised to be on disk and are not known to be evicted.
std::vector<BlockNumber> promised_on_disk(const ReplaySetting& setting) {
  std::vector<BlockNumber> blocks;
  for (std::size_t i = 0; i < setting.plan.blocks() && blocks.size() < kFirstHitTries; ++i) {
    const auto block = static_cast<BlockNumber>(i);
    const BlockPromise promise = setting.journal.promise(block);
    if (promise.acknowledged && *promise.acknowledged != Durability::memory && !promise.evicted) {
      blocks.push_back(block);
    }
  }
  return blocks;
}

/// Before anything else is read: what the first asker waits for.
absl::Status time_first_hit(const ReplaySetting& setting, const ReplayStore& opened,
                            std::span<const BlockNumber> candidates, TimePoint start,
                            Recovery& recovery) {
  ReplayReader reader(opened.store->engine(),
                      {setting.plan, setting.model, opened.namespace_name, opened.namespace_id},
                      setting.journal, setting.model.block_bytes());
  for (std::size_t i = 0; i < candidates.size() && !recovery.first_hit_s; ++i) {
    CAIRN_RETURN_IF_ERROR(
        reader.load_each(candidates.subspan(i, 1), [&](BlockNumber, ReadOutcome outcome) {
          if (outcome == ReadOutcome::right) recovery.first_hit_s = seconds_since(start);
        }));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status judge_promises(const ReplaySetting& setting, Progress::Mode progress_mode,
                            Recovery& recovery) {
  std::vector<BlockNumber> blocks;
  for (std::size_t i = 0; i < setting.plan.blocks(); ++i) {
    const auto block = static_cast<BlockNumber>(i);
    const BlockPromise promise = setting.journal.promise(block);
    recovery.puts_in_flight += promise.pending ? 1 : 0;
    // A put without an answer promises nothing; what is there of it must still be right.
    if (promise.acknowledged || promise.pending) blocks.push_back(block);
  }
  const std::vector<BlockNumber> candidates = promised_on_disk(setting);
  const TimePoint start = system_clock().now();
  CAIRN_ASSIGN_OR_RETURN(const ReplayStore opened,
                         open_replay_store(setting.options, setting.plan, setting.model,
                                           setting.journal, tiers::StoreMode::read_only));
  const double opening_s = seconds_since(start);
  CAIRN_RETURN_IF_ERROR(time_first_hit(setting, opened, candidates, start, recovery));
  ReplayReader reader(opened.store->engine(),
                      {setting.plan, setting.model, opened.namespace_name, opened.namespace_id},
                      setting.journal, std::min(kWindowBytes, setting.options.hot_bytes / 4));
  Progress progress("checking every promise", "blocks", blocks.size(), progress_mode);
  std::uint64_t done = 0;
  for (std::span<const BlockNumber> rest(blocks); !rest.empty();) {
    if (interrupted()) return interrupted_error();
    const auto stride = rest.first(std::min(kStride, rest.size()));
    CAIRN_RETURN_IF_ERROR(reader.load_each(stride, [&](BlockNumber block, ReadOutcome outcome) {
      count(setting.journal.promise(block), outcome, recovery);
    }));
    rest = rest.subspan(stride.size());
    progress.update(done += stride.size());
  }
  // Counted by the engine from its opening on, while all of that was read.
  CAIRN_RETURN_IF_ERROR(
      opened.store->engine().wait_recovered(system_clock().now() + kRecoveryPatience));
  recovery.full_s = std::max(recovery.first_hit_s.value_or(0),
                             opened.store->engine().stats().recovery_s + opening_s);
  return absl::OkStatus();
}

absl::StatusOr<ReplayStore> reopen(const ReplaySetting& setting) {
  return open_replay_store(setting.options, setting.plan, setting.model, setting.journal,
                           tiers::StoreMode::open_existing);
}

}  // namespace cairn::tools
