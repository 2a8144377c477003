// SPDX-License-Identifier: Apache-2.0
// workload_bench.cc — whether making and checking payloads could be what a bench measures.
//
//   BM_KvModel_fill/MODEL, BM_KvModel_verify/MODEL   bytes per second, one core
//   BM_KvModel_copy/MODEL                            memcpy of as many bytes, the yardstick
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "bench/workload/kv_model.h"
#include "engine/base/check.h"

namespace cairn::workload {
namespace {

constexpr PayloadName kName{"bench", "key", 0};

void count_bytes(benchmark::State& state, const KvModel& model) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(model.block_bytes()));
}

void BM_KvModel_fill(benchmark::State& state, const char* name) {
  const KvModel model = KvModel::make(name).value();
  std::vector<std::byte> block(model.block_bytes());
  for (auto _ : state) {
    model.fill(kName, block);
    benchmark::ClobberMemory();
  }
  count_bytes(state, model);
}
BENCHMARK_CAPTURE(BM_KvModel_fill, tiny, "tiny");
BENCHMARK_CAPTURE(BM_KvModel_fill, 8b, "8b");

void BM_KvModel_verify(benchmark::State& state, const char* name) {
  const KvModel model = KvModel::make(name).value();
  std::vector<std::byte> block(model.block_bytes());
  model.fill(kName, block);
  for (auto _ : state) CAIRN_CHECK(model.verify(kName, block));
  count_bytes(state, model);
}
BENCHMARK_CAPTURE(BM_KvModel_verify, tiny, "tiny");
BENCHMARK_CAPTURE(BM_KvModel_verify, 8b, "8b");

void BM_KvModel_copy(benchmark::State& state, const char* name) {
  const KvModel model = KvModel::make(name).value();
  std::vector<std::byte> from(model.block_bytes(), std::byte{1});
  std::vector<std::byte> block(model.block_bytes());
  for (auto _ : state) {
    std::memcpy(block.data(), from.data(), block.size());
    benchmark::ClobberMemory();
  }
  count_bytes(state, model);
}
BENCHMARK_CAPTURE(BM_KvModel_copy, tiny, "tiny");
BENCHMARK_CAPTURE(BM_KvModel_copy, 8b, "8b");

}  // namespace
}  // namespace cairn::workload

BENCHMARK_MAIN();
