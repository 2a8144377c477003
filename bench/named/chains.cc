// SPDX-License-Identifier: Apache-2.0
#include "bench/named/chains.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kBatch = 8;

}  // namespace

ChainKeys::ChainKeys(std::uint64_t chain, std::size_t count, std::size_t first) {
  for (std::size_t i = 0; i < count; ++i) keys_.push_back(bench_key(chain, first + i));
  for (const std::string& key : keys_) refs_.push_back({key});
}

Chains::Chains(const ChainsOptions& options, Payloads payloads)
    : options_(options),
      payloads_(std::move(payloads)),
      target_(options.chain_blocks * kChainBlockBytes) {}

absl::StatusOr<std::unique_ptr<Chains>> Chains::make(const ChainsOptions& options,
                                                     Payloads payloads) {
  auto made = std::unique_ptr<Chains>(new Chains(options, std::move(payloads)));
  CAIRN_RETURN_IF_ERROR(made->open());
  for (std::uint64_t chain = 0; chain < options.chains; ++chain)
    CAIRN_RETURN_IF_ERROR(made->put(chain, 0, options.chain_blocks, Durability::written));
  CAIRN_RETURN_IF_ERROR(made->engine().flush());
  return made;
}

absl::Status Chains::open() {
  StoreOptions options;
  options.directory = options_.directory;
  options.engine.hot_bytes = options_.hot_bytes;
  options.engine.warm_bytes = options_.warm_bytes;
  options.cold.cold_bytes =
      std::max(2 * options_.chains * options_.chain_blocks * kChainBlockBytes, kGiB);
  options.cold.codec = options_.codec;
  CAIRN_ASSIGN_OR_RETURN(store_, open_store(options));
  CAIRN_ASSIGN_OR_RETURN(ns_, engine().open_namespace(payloads_.descriptor));
  return absl::OkStatus();
}

absl::Status Chains::empty_memory() {
  CAIRN_RETURN_IF_ERROR(wait_until_still(engine()));
  CAIRN_RETURN_IF_ERROR(engine().evict_unused(TierKind::hot, 0).status());
  if (options_.warm_bytes == 0) return absl::OkStatus();
  return engine().evict_unused(TierKind::warm, 0).status();
}

absl::Status Chains::put(std::uint64_t chain, std::size_t first, std::size_t count,
                         Durability durability) {
  AlignedMemory memory(kBatch * kChainBlockBytes);
  for (std::size_t done = 0; done < count; done += kBatch) {
    const std::size_t size = std::min(kBatch, count - done);
    const ChainKeys keys(chain, size, first + done);
    std::vector<PutBlock> batch;
    for (std::size_t i = 0; i < size; ++i) {
      payloads_.fill(memory.block(i, kChainBlockBytes), chain, first + done + i);
      batch.push_back({.key = keys[i], .payload = memory.block(i, kChainBlockBytes)});
    }
    for (const PutResult& result : engine().put_sync(ns_, batch, {.durability = durability}))
      CAIRN_RETURN_IF_ERROR(result.status);
  }
  return absl::OkStatus();
}

absl::StatusOr<double> Chains::load(int count, TierKind from) {
  double seconds = 0;
  for (int repeat = 0; repeat < count; ++repeat) {
    const std::uint64_t chain = next_++ % options_.chains;
    const ChainKeys keys(chain, options_.chain_blocks);
    std::vector<LoadTarget> targets;
    for (std::size_t i = 0; i < keys.size(); ++i)
      targets.push_back({.key = {keys[i]}, .buffer = target_.block(i, kChainBlockBytes)});
    const Stopwatch watch;
    CAIRN_RETURN_IF_ERROR(engine().load_sync(ns_, targets));
    seconds += watch.seconds();
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (!targets[i].found || !payloads_.is(target_.block(i, kChainBlockBytes), chain, i))
        return make_error(ErrorCode::internal, "a block was missing or wrong");
      if (from != TierKind::none && targets[i].served_from != from) {
        return make_error(ErrorCode::internal,
                          concat("block ", i, " came from ", tier_kind_name(targets[i].served_from),
                                 " and not from ", tier_kind_name(from)));
      }
    }
  }
  return count * static_cast<double>(target_.bytes().size()) / seconds / 1e9;
}

std::size_t Chains::count_in(TierKind tier, std::uint64_t chain, std::size_t blocks) {
  const ChainKeys keys(chain, blocks);
  std::size_t count = 0;
  for (const KeyRef& key : keys.refs()) {
    const Match match = engine().match(ns_, {&key, 1});
    if (!match.blocks.empty() && match.blocks.front().tier == tier) ++count;
  }
  return count;
}

absl::Status wait_until_still(Engine& engine) {
  constexpr auto kLook = std::chrono::milliseconds(50);
  const auto state = [&engine] {
    const EngineStats stats = engine.stats();
    std::vector<std::uint64_t> all{stats.hot.usage.used_bytes, stats.warm.usage.used_bytes,
                                   stats.cold.usage.used_bytes};
    for (const MoveStats& move : stats.moves) all.push_back(move.bytes);
    return all;
  };
  const Stopwatch watch;
  int same = 0;
  for (auto before = state(); watch.seconds() < 10;) {
    std::this_thread::sleep_for(kLook);
    auto now = state();
    same = now == before ? same + 1 : 0;
    if (same == 4) return absl::OkStatus();
    before = std::move(now);
  }
  return make_error(ErrorCode::deadline, "the tiers go on moving blocks though nothing is asked");
}

}  // namespace cairn::bench
