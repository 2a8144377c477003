// SPDX-License-Identifier: Apache-2.0
// catalog_bench.cc — what the catalog costs a block.
//
//   BM_Catalog_match    longest prefix of 1,000 resident blocks; the figure is per block
//   BM_Yardstick_find   absl::flat_hash_map::find of as many 128-bit keys, same order
//   BM_Catalog_lease    lease and release of 16 random blocks; per call
//   BM_Catalog_lease_chain   the same on one chain again and again
//   BM_Yardstick_lock   16 times an uncontended lock and unlock
//   BM_Catalog_publish  a new cold block, growing from nothing; and what a block takes
//   BM_Catalog_evict    a victim picked, removed, and a new block in its place
//
// Interleave with --benchmark_enable_random_interleaving=true --benchmark_repetitions=5.
// CAIRN_BENCH_BLOCKS sets the largest table (default 1,000,000).
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/mutex.h"
#include "engine/catalog.h"

namespace cairn {
namespace {

constexpr std::size_t kChain = 1000;
constexpr std::size_t kLease = 16;

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 31;
  x *= 0x9e3779b97f4a7c15U;
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9U;
  return x ^ (x >> 32);
}
BlockId id_of(std::uint64_t n) {
  return {{mix(n + 1), mix(n ^ 0x5555555555555555U)}};
}

/// Filled once per size, and shared by all cases: 10 M blocks take seconds.
struct World {
  explicit World(std::size_t blocks) : ids(blocks) {
    CatalogOptions options;
    options.blocks_max = blocks + blocks / 4;
    catalog = std::make_unique<Catalog>(options);
    for (std::size_t i = 0; i < blocks; ++i) {
      ids[i] = id_of(i);
      BlockFacts facts;
      facts.sequence = i + 1;
      facts.plain_bytes = 2U << 20;
      if (i % kChain != 0) facts.parent = ids[i - 1];
      catalog->publish_hot(ids[i], {NamespaceId{1}}, facts, Location{i + 1}, nullptr);
    }
    map.reserve(blocks);
    for (std::size_t i = 0; i < blocks; ++i) map[ids[i].hash] = i;
  }
  std::vector<BlockId> ids;
  std::unique_ptr<Catalog> catalog;
  absl::flat_hash_map<Hash128, std::uint64_t> map;
};

World& world(std::size_t blocks) {
  static std::mutex mutex;
  static absl::flat_hash_map<std::size_t, std::unique_ptr<World>> worlds;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<World>& world = worlds[blocks];
  if (world == nullptr) world = std::make_unique<World>(blocks);
  return *world;
}

void per_block(benchmark::State& state, std::size_t blocks) {
  state.counters["ns_per_block"] = benchmark::Counter(
      static_cast<double>(blocks) * 1e-9,
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void BM_Catalog_match(benchmark::State& state) {
  World& w = world(static_cast<std::size_t>(state.range(0)));
  const std::size_t chains = w.ids.size() / kChain;
  std::uint64_t n = static_cast<std::uint64_t>(state.thread_index()) << 32;
  for (auto _ : state) {
    const std::size_t chain = mix(++n) % chains;
    const std::size_t run = w.catalog->match({&w.ids[chain * kChain], kChain}, {});
    if (run != kChain) state.SkipWithError("a block is missing");
  }
  per_block(state, kChain);
}

void BM_Yardstick_find(benchmark::State& state) {
  World& w = world(static_cast<std::size_t>(state.range(0)));
  const std::size_t chains = w.ids.size() / kChain;
  std::uint64_t n = static_cast<std::uint64_t>(state.thread_index()) << 32;
  for (auto _ : state) {
    const std::size_t chain = mix(++n) % chains;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kChain; ++i)
      sum += w.map.find(w.ids[chain * kChain + i].hash)->second;
    benchmark::DoNotOptimize(sum);
  }
  per_block(state, kChain);
}

void BM_Catalog_lease(benchmark::State& state) {
  World& w = world(static_cast<std::size_t>(state.range(0)));
  std::uint64_t n = static_cast<std::uint64_t>(state.thread_index()) << 32;
  std::vector<BlockId> ids(kLease);
  std::vector<Residency> out(kLease);
  std::vector<BlockHandle> handles(kLease);
  std::vector<Location> freeable;
  for (auto _ : state) {
    for (BlockId& id : ids) id = w.ids[mix(++n) % w.ids.size()];
    const std::size_t leased = w.catalog->lease_hot(ids, Read::each, out);
    if (leased != kLease) state.SkipWithError("a block is missing");
    for (std::size_t i = 0; i < kLease; ++i) handles[i] = out[i].handle;
    w.catalog->release(handles, &freeable);
  }
}

/// What picking 16 random ids costs by itself: to be taken off BM_Catalog_lease.
void BM_Yardstick_pick(benchmark::State& state) {
  World& w = world(static_cast<std::size_t>(state.range(0)));
  std::uint64_t n = 0;
  std::vector<BlockId> ids(kLease);
  for (auto _ : state) {
    for (BlockId& id : ids) id = w.ids[mix(++n) % w.ids.size()];
    benchmark::DoNotOptimize(ids.data());
    benchmark::ClobberMemory();
  }
}

void BM_Catalog_lease_chain(benchmark::State& state) {
  World& w = world(static_cast<std::size_t>(state.range(0)));
  const std::span<const BlockId> ids(&w.ids[5 * kChain], kLease);
  std::vector<Residency> out(kLease);
  std::vector<BlockHandle> handles(kLease);
  std::vector<Location> freeable;
  for (auto _ : state) {
    const std::size_t leased = w.catalog->lease_hot(ids, Read::prefix, out);
    if (leased != kLease) state.SkipWithError("a block is missing");
    for (std::size_t i = 0; i < kLease; ++i) handles[i] = out[i].handle;
    w.catalog->release(handles, &freeable);
  }
}

void BM_Yardstick_lock(benchmark::State& state) {
  Mutex mutex(LockRank::tool);
  std::uint64_t guarded = 0;
  for (auto _ : state) {
    for (std::size_t i = 0; i < kLease; ++i) {
      MutexLock lock(mutex);
      benchmark::DoNotOptimize(++guarded);
    }
  }
}

void BM_Catalog_publish(benchmark::State& state) {
  const auto blocks = static_cast<std::size_t>(state.range(0));
  const bool chained = state.range(1) != 0;
  double bytes = 0;
  for (auto _ : state) {
    state.PauseTiming();
    CatalogOptions options;
    options.blocks_max = blocks + blocks / 4;
    auto catalog = std::make_unique<Catalog>(options);
    state.ResumeTiming();
    for (std::size_t i = 0; i < blocks; ++i) {
      BlockFacts facts;
      facts.sequence = i + 1;
      if (chained && i % kChain != 0) facts.parent = id_of(i - 1);
      catalog->publish_cold(id_of(i), {NamespaceId{1}}, facts, Location{i + 1}, 4096, nullptr);
    }
    state.PauseTiming();
    bytes = static_cast<double>(catalog->memory_bytes()) / static_cast<double>(blocks);
    catalog.reset();
    state.ResumeTiming();
  }
  per_block(state, blocks);
  state.counters["bytes_per_block"] = bytes;
}

void BM_Catalog_evict(benchmark::State& state) {
  const auto blocks = static_cast<std::size_t>(state.range(0));
  const auto batch = static_cast<std::size_t>(state.range(1));
  CatalogOptions options;
  options.blocks_max = blocks + blocks / 4;
  Catalog catalog(options);
  std::uint64_t next = 0;
  std::uint64_t rng = 0;
  const auto put = [&] {
    BlockFacts facts;
    facts.sequence = ++next;
    if (next % 20 != 0) facts.parent = id_of(next - 1);
    catalog.publish_cold(id_of(next), {NamespaceId{1}}, facts, Location{next}, 4096, nullptr);
  };
  while (next < blocks) put();
  for (auto _ : state) {
    for (std::size_t i = 0; i < batch; ++i) {
      const BlockId used = id_of(next - mix(++rng) % (blocks / 2));
      catalog.touch({&used, 1});
    }
    const std::vector<Victim> victims = catalog.victims(TierKind::cold, batch, Standing::last_copy);
    for (const Victim& victim : victims) {
      if (!catalog.remove_copy(victim.id, TierKind::cold, victim.residency.cold)) {
        state.SkipWithError("a victim could not go");
      }
      put();
    }
  }
  per_block(state, batch);
}

std::int64_t largest() {
  const char* text = std::getenv("CAIRN_BENCH_BLOCKS");
  return text == nullptr ? 1'000'000 : std::atoll(text);
}

BENCHMARK(BM_Catalog_match)->Arg(largest())->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_Yardstick_find)->Arg(largest())->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_Catalog_lease)->Arg(largest())->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_Yardstick_pick)->Arg(largest());
BENCHMARK(BM_Catalog_lease_chain)->Arg(largest())->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(BM_Yardstick_lock);
BENCHMARK(BM_Catalog_publish)->Args({largest(), 0})->Args({largest(), 1})->Iterations(1);
BENCHMARK(BM_Catalog_evict)->Args({largest(), 1})->Args({largest(), 64});

}  // namespace
}  // namespace cairn
