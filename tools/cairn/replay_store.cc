// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/replay_store.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tools/cairn/store_access.h"

namespace cairn::tools {
namespace {

constexpr std::uint64_t kInFlightBytesMax = 256 * kMiB;

StoreOptions store_options(const ReplayOptions& options, tiers::StoreMode mode,
                           EvictionLog& evictions) {
  StoreOptions store;
  store.directory = options.directory;
  store.mode = mode;
  store.cold.cold_bytes = options.cold_bytes;
  store.cold.codec = options.codec;
  store.engine.hot_bytes = options.hot_bytes;
  store.engine.warm_bytes = options.warm_bytes;
  const std::uint64_t in_flight = std::min(kInFlightBytesMax, options.hot_bytes / 2);
  store.engine.put_bytes_in_flight_max = in_flight;
  store.engine.load_bytes_in_flight_max = in_flight;
  store.engine.rewarm_bytes = options.hot_bytes / 2;
  store.engine.on_evicted = [&evictions](std::span<const Eviction> gone) {
    evictions.report(gone);
  };
  return store;
}

}  // namespace

void EvictionLog::learn(const ReplayPlan& plan, NamespaceId ns, std::uint64_t secret) {
  CAIRN_CHECK(!known_.load());
  numbers_.reserve(plan.blocks());
  for (std::size_t i = 0; i < plan.blocks(); ++i) {
    const auto block = static_cast<BlockNumber>(i);
    numbers_.emplace(block_id({ns, plan.key(block), 0}, secret), block);
  }
  // Pairs with the load in report(): who sees true sees the whole map.
  known_.store(true, std::memory_order_release);
}

void EvictionLog::report(std::span<const Eviction> evictions) {
  const bool known = known_.load(std::memory_order_acquire);
  for (const Eviction& eviction : evictions) {
    std::optional<BlockNumber> number;
    if (known) {
      if (const auto found = numbers_.find(eviction.id); found != numbers_.end()) {
        number = found->second;
      }
    }
    journal_.report_evicted(number, eviction.sequence, eviction.last_copy);
  }
}

absl::StatusOr<ReplayStore> open_replay_store(const ReplayOptions& options, const ReplayPlan& plan,
                                              const workload::KvModel& model,
                                              ReplayJournal& journal, tiers::StoreMode mode) {
  ReplayStore opened;
  opened.evictions = std::make_unique<EvictionLog>(journal);
  auto store = open_store(store_options(options, mode, *opened.evictions));
  if (!store.ok()) return explain_open_error(store.status(), options.directory);
  opened.store = *std::move(store);
  opened.namespace_name = concat("replay-", options.model, "-", options.block_tokens);
  if (mode == tiers::StoreMode::read_only) {
    const auto ns = find_namespace(*opened.store, opened.namespace_name);
    if (!ns) {
      return make_error(ErrorCode::corruption,
                        concat("namespace ", opened.namespace_name, " is gone"));
    }
    opened.namespace_id = ns->id;
  } else {
    const auto ns = opened.store->engine().open_namespace(
        model.descriptor(opened.namespace_name, static_cast<std::uint32_t>(options.block_tokens)));
    if (has_code(ns.status(), ErrorCode::mismatch)) {
      return make_error(ErrorCode::mismatch,
                        concat("the store has a namespace '", opened.namespace_name,
                               "' that is no replay's: it was made for other blocks than those of ",
                               options.model));
    }
    CAIRN_RETURN_IF_ERROR(ns.status());
    opened.namespace_id = *ns;
  }
  opened.evictions->learn(plan, opened.namespace_id, opened.store->cold().block_id_secret());
  return opened;
}

}  // namespace cairn::tools
