// SPDX-License-Identifier: Apache-2.0
// cold-load — a chain of 64 blocks of 2 MiB that is only on disk, loaded into memory of the
// caller's, every block checked; beside fio reading as much with the same size and depth.
#include "bench/named/disk_fixture.h"
#include "bench/named/named.h"
#include "engine/base/status.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kBlockBytes = 2U << 20U;
constexpr std::size_t kChainBlocks = 64;

absl::Status fill(Engine& engine, NamespaceId ns, std::uint64_t chains) {
  AlignedMemory memory(8 * kBlockBytes);
  for (std::uint64_t chain = 0; chain < chains; ++chain) {
    for (std::size_t first = 0; first < kChainBlocks; first += 8) {
      std::vector<std::string> keys;
      for (std::size_t i = 0; i < 8; ++i) keys.push_back(bench_key(chain, first + i));
      std::vector<PutBlock> batch;
      for (std::size_t i = 0; i < 8; ++i) {
        stamp(memory.block(i, kBlockBytes), chain, first + i);
        batch.push_back({.key = keys[i], .payload = memory.block(i, kBlockBytes)});
      }
      for (const PutResult& result : engine.put_sync(ns, batch))
        CAIRN_RETURN_IF_ERROR(result.status);
    }
  }
  return engine.flush();
}

}  // namespace

absl::StatusOr<Report> run_cold_load(const Settings& settings) {
  Report report{.name = "cold-load", .cases = {}};
  const std::uint64_t chains = settings.quick ? 8 : 32;
  CAIRN_ASSIGN_OR_RETURN(const auto directory,
                         DataDirectory::make(settings, 4 * chains * kChainBlocks * kBlockBytes));
  StoreOptions options;
  options.directory = directory->file("store");
  options.engine.hot_bytes = 32 * kMiB;  // a quarter of a chain: nothing is served from RAM twice
  options.cold.cold_bytes = 2 * chains * kChainBlocks * kBlockBytes;
  CAIRN_ASSIGN_OR_RETURN(const auto store, open_store(options));
  Engine& engine = store->engine();
  CAIRN_ASSIGN_OR_RETURN(const NamespaceId ns, engine.open_namespace({.name = "bench"}));
  if (settings.progress) settings.progress("writing the chains");
  CAIRN_RETURN_IF_ERROR(fill(engine, ns, chains));

  AlignedMemory target(kChainBlocks * kBlockBytes);
  std::uint64_t next = 0;
  const FioJob fio{.directory = directory->path(),
                   .rw = "read",
                   .block_bytes = kBlockBytes,
                   .file_bytes = 4 * kChainBlocks * kBlockBytes,
                   .depth = 8};
  Case shape{.name = "64 blocks of 2 MiB, uncoded",
             .unit = "GB/s",
             .higher_is_better = true,
             .yardstick = {"fio", 0, fio_how(fio)},
             .goal = {Goal::On::ratio, 0.9},
             .note = describe_device(*store, directory->path())};
  const auto load = [&]() -> absl::StatusOr<double> {
    double seconds = 0;
    for (int repeat = 0; repeat < 4; ++repeat) {
      const std::uint64_t chain = next++ % chains;
      std::vector<std::string> keys;
      for (std::size_t i = 0; i < kChainBlocks; ++i) keys.push_back(bench_key(chain, i));
      std::vector<LoadTarget> targets;
      for (std::size_t i = 0; i < kChainBlocks; ++i) {
        targets.push_back({.key = {keys[i]}, .buffer = target.block(i, kBlockBytes)});
      }
      const Stopwatch watch;
      CAIRN_RETURN_IF_ERROR(engine.load_sync(ns, targets));
      seconds += watch.seconds();
      for (std::size_t i = 0; i < kChainBlocks; ++i) {
        if (!targets[i].found || !is_stamped(target.block(i, kBlockBytes), chain, i)) {
          return make_error(ErrorCode::internal, "a block was missing or wrong");
        }
      }
    }
    return 4 * static_cast<double>(kChainBlocks * kBlockBytes) / seconds / 1e9;
  };
  CAIRN_ASSIGN_OR_RETURN(Case done, compare(std::move(shape), settings.quick ? 7 : 21, load,
                                            [&] { return run_fio(fio); }));
  report.cases.push_back(std::move(done));
  return report;
}

}  // namespace cairn::bench
