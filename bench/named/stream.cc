// SPDX-License-Identifier: Apache-2.0
// stream — a chain four times as long as hot, from cold, window by window, into memory of the
// caller's, in a store with hot and warm; beside what cold-load measures of the same chain: a store
// without warm whose hot holds a sixteenth of it. Once while hot and warm are full of other blocks,
// which must stay where they are, and once into an empty hot, which takes what it has room for and
// must not lose any of it to the rest of the chain.
#include "bench/named/chains.h"
#include "bench/named/named.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

constexpr std::uint64_t kOthers = 1'000'000;  // a chain that nobody loads

std::uint64_t moved_bytes(const EngineStats& stats, MoveKind kind) {
  return stats.moves[static_cast<std::size_t>(kind)].bytes;
}

/// What leaves hot and warm, in any way.
std::uint64_t left(const EngineStats& stats) {
  return stats.hot.evictions + stats.warm.evictions + moved_bytes(stats, MoveKind::hot_to_warm) +
         moved_bytes(stats, MoveKind::hot_to_cold) + moved_bytes(stats, MoveKind::warm_to_cold);
}

/// One load, after which all that was in hot and warm is still there.
absl::StatusOr<double> load_beside(Chains& chains, TierKind from) {
  const EngineStats before = chains.engine().stats();
  CAIRN_ASSIGN_OR_RETURN(const double speed, chains.load(1, from));
  const EngineStats after = chains.engine().stats();
  if (left(after) != left(before) || after.hot.usage.blocks < before.hot.usage.blocks ||
      after.warm.usage.blocks < before.warm.usage.blocks) {
    return make_error(ErrorCode::internal, "the chain drove blocks out of hot or warm");
  }
  return speed;
}

}  // namespace

absl::StatusOr<Report> run_stream(const Settings& settings) {
  Report report{.name = "stream", .cases = {}};
  const int rounds = settings.quick ? 9 : 25;
  const std::uint64_t hot_bytes = (settings.quick ? 64 : 128) * kMiB;
  const std::size_t chain_blocks = 4 * hot_bytes / kChainBlockBytes;
  constexpr std::uint64_t kChains = 2;
  CAIRN_ASSIGN_OR_RETURN(
      const auto directory,
      DataDirectory::make(settings, 4 * kChains * chain_blocks * kChainBlockBytes + 2 * kGiB));
  if (settings.progress) settings.progress("writing the chains");
  CAIRN_ASSIGN_OR_RETURN(const Payloads payloads, kv_payloads());
  CAIRN_ASSIGN_OR_RETURN(const auto plain, Chains::make({.directory = directory->file("cold-load"),
                                                         .chains = kChains,
                                                         .chain_blocks = chain_blocks,
                                                         .hot_bytes = hot_bytes / 4},
                                                        payloads));
  CAIRN_ASSIGN_OR_RETURN(const auto tiered, Chains::make({.directory = directory->file("tiered"),
                                                          .chains = kChains,
                                                          .chain_blocks = chain_blocks,
                                                          .hot_bytes = hot_bytes,
                                                          .warm_bytes = hot_bytes},
                                                         payloads));
  const std::string place = describe_device(tiered->store(), directory->path());
  const auto shape = [&](std::string_view name, std::string_view note) {
    return Case{
        .name = concat(chain_blocks, " blocks of 2 MiB, ", name),
        .unit = "GB/s of plain bytes",
        .higher_is_better = true,
        .yardstick = {"cold-load of the same chain", 0,
                      concat("load() in a store of its own without warm, hot ",
                             format_size(hot_bytes / 4), " and emptied before, codec on")},
        .goal = {Goal::On::ratio, 0.9},
        .note = concat("hot and warm ", format_size(hot_bytes), " each; ", note, "; ", place)};
  };
  const Run yardstick = [&]() -> absl::StatusOr<double> {
    CAIRN_RETURN_IF_ERROR(plain->engine().evict_unused(TierKind::hot, 0).status());
    return plain->load(1);
  };

  // Others fill hot, what they drive out fills warm, and what that drives out goes to cold.
  CAIRN_RETURN_IF_ERROR(tiered->empty_memory());
  const std::size_t others = 3 * hot_bytes / kChainBlockBytes;
  for (std::size_t first = 0; first < others; first += 8) {
    CAIRN_RETURN_IF_ERROR(tiered->put(kOthers, first, 8, Durability::memory));
    CAIRN_RETURN_IF_ERROR(wait_until_still(tiered->engine()));
  }
  const std::size_t in_hot = tiered->count_in(TierKind::hot, kOthers, others);
  const std::size_t in_warm = tiered->count_in(TierKind::warm, kOthers, others);
  if (in_hot == 0 || in_warm == 0)
    return make_error(ErrorCode::internal, "hot and warm are not full of other blocks");
  CAIRN_ASSIGN_OR_RETURN(
      Case full, compare(
                     shape("hot and warm full of others",
                           concat(in_hot, " others in hot and ", in_warm, " in warm stayed there")),
                     rounds, [&] { return load_beside(*tiered, TierKind::cold); }, yardstick));
  if (tiered->count_in(TierKind::hot, kOthers, others) != in_hot ||
      tiered->count_in(TierKind::warm, kOthers, others) != in_warm) {
    return make_error(ErrorCode::internal, "other blocks are no longer where they were");
  }
  report.cases.push_back(std::move(full));

  const auto into_empty = [&]() -> absl::StatusOr<double> {
    CAIRN_RETURN_IF_ERROR(tiered->engine().evict_unused(TierKind::hot, 0).status());
    return load_beside(*tiered, TierKind::cold);
  };
  CAIRN_ASSIGN_OR_RETURN(Case empty,
                         compare(shape("hot empty", "no block that came to hot left it"), rounds,
                                 into_empty, yardstick));
  report.cases.push_back(std::move(empty));
  return report;
}

}  // namespace cairn::bench
