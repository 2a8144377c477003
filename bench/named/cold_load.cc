// SPDX-License-Identifier: Apache-2.0
// cold-load — a chain of 64 blocks of 2 MiB that is only on disk, loaded into memory of the
// caller's, every block checked; beside fio reading as much with the same size and depth. Once
// stored as they are, once encoded: then what fio gives counts for as many plain bytes as it holds,
// and decoding is a bound of its own.
#include <thread>

#include "bench/named/coded_blocks.h"
#include "bench/named/disk_fixture.h"
#include "bench/named/named.h"
#include "bench/named/payloads.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kBlockBytes = 2U << 20U;
constexpr std::size_t kChainBlocks = 64;

/// Chains in a store of their own, loaded one after the other.
class Chains {
 public:
  static absl::StatusOr<std::unique_ptr<Chains>> make(const std::string& directory,
                                                      std::uint64_t chains, Payloads payloads,
                                                      CodecUse codec) {
    StoreOptions options;
    options.directory = directory;
    options.engine.hot_bytes = 32 * kMiB;  // a quarter of a chain: nothing is in RAM twice
    options.cold.cold_bytes = 2 * chains * kChainBlocks * kBlockBytes;
    options.cold.codec = codec;
    auto made = std::unique_ptr<Chains>(new Chains(std::move(payloads), chains));
    CAIRN_ASSIGN_OR_RETURN(made->store_, open_store(options));
    CAIRN_ASSIGN_OR_RETURN(made->ns_, made->engine().open_namespace(made->payloads_.descriptor));
    CAIRN_RETURN_IF_ERROR(made->fill());
    return made;
  }

  Store& store() { return *store_; }

  /// GB/s of plain bytes.
  absl::StatusOr<double> load() {
    double seconds = 0;
    for (int repeat = 0; repeat < 4; ++repeat) {
      const std::uint64_t chain = next_++ % chains_;
      std::vector<std::string> keys;
      for (std::size_t i = 0; i < kChainBlocks; ++i) keys.push_back(bench_key(chain, i));
      std::vector<LoadTarget> targets;
      for (std::size_t i = 0; i < kChainBlocks; ++i) {
        targets.push_back({.key = {keys[i]}, .buffer = target_.block(i, kBlockBytes)});
      }
      const Stopwatch watch;
      CAIRN_RETURN_IF_ERROR(engine().load_sync(ns_, targets));
      seconds += watch.seconds();
      for (std::size_t i = 0; i < kChainBlocks; ++i) {
        if (!targets[i].found || !payloads_.is(target_.block(i, kBlockBytes), chain, i)) {
          return make_error(ErrorCode::internal, "a block was missing or wrong");
        }
      }
    }
    return 4 * static_cast<double>(kChainBlocks * kBlockBytes) / seconds / 1e9;
  }

 private:
  Chains(Payloads payloads, std::uint64_t chains)
      : payloads_(std::move(payloads)), chains_(chains), target_(kChainBlocks * kBlockBytes) {}

  Engine& engine() { return store_->engine(); }

  absl::Status fill() {
    constexpr std::size_t kBatch = 8;
    AlignedMemory memory(kBatch * kBlockBytes);
    for (std::uint64_t chain = 0; chain < chains_; ++chain) {
      for (std::size_t first = 0; first < kChainBlocks; first += kBatch) {
        std::vector<std::string> keys;
        for (std::size_t i = 0; i < kBatch; ++i) keys.push_back(bench_key(chain, first + i));
        std::vector<PutBlock> batch;
        for (std::size_t i = 0; i < kBatch; ++i) {
          payloads_.fill(memory.block(i, kBlockBytes), chain, first + i);
          batch.push_back({.key = keys[i], .payload = memory.block(i, kBlockBytes)});
        }
        for (const PutResult& result : engine().put_sync(ns_, batch))
          CAIRN_RETURN_IF_ERROR(result.status);
      }
    }
    return engine().flush();
  }

  Payloads payloads_;
  const std::uint64_t chains_;
  AlignedMemory target_;
  std::unique_ptr<Store> store_;
  NamespaceId ns_{};
  std::uint64_t next_ = 0;
};

}  // namespace

absl::StatusOr<Report> run_cold_load(const Settings& settings) {
  Report report{.name = "cold-load", .cases = {}};
  const std::uint64_t chains = settings.quick ? 8 : 32;
  const int rounds = settings.quick ? 7 : 21;
  CAIRN_ASSIGN_OR_RETURN(const auto directory,
                         DataDirectory::make(settings, 8 * chains * kChainBlocks * kBlockBytes));
  const FioJob fio{.directory = directory->path(),
                   .rw = "read",
                   .block_bytes = kBlockBytes,
                   .file_bytes = 4 * kChainBlocks * kBlockBytes,
                   .depth = 8};
  if (settings.progress) settings.progress("writing the chains");
  {
    CAIRN_ASSIGN_OR_RETURN(const auto plain, Chains::make(directory->file("plain"), chains,
                                                          stamped_payloads(), CodecUse::off));
    Case shape{.name = "64 blocks of 2 MiB, uncoded",
               .unit = "GB/s",
               .higher_is_better = true,
               .yardstick = {"fio", 0, fio_how(fio)},
               .goal = {Goal::On::ratio, 0.9},
               .note = describe_device(plain->store(), directory->path())};
    CAIRN_ASSIGN_OR_RETURN(Case done, compare(
                                          std::move(shape), rounds, [&] { return plain->load(); },
                                          [&] { return run_fio(fio); }));
    report.cases.push_back(std::move(done));
  }
  if (settings.progress) settings.progress("writing the chains encoded");
  CAIRN_ASSIGN_OR_RETURN(Payloads kv, kv_payloads());
  CAIRN_ASSIGN_OR_RETURN(const auto coded, Chains::make(directory->file("coded"), chains,
                                                        std::move(kv), CodecUse::on));
  CAIRN_ASSIGN_OR_RETURN(const double ratio, stored_ratio(coded->store()));
  CAIRN_ASSIGN_OR_RETURN(const auto blocks, make_blocks(Dtype::bf16, 24));
  const Run decode = decode_run(blocks);
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  Case shape{.name = "64 blocks of 2 MiB, encoded",
             .unit = "GB/s of plain bytes",
             .higher_is_better = true,
             .yardstick = {concat("the lower of fio x ", ratio, " and decoding"), 0,
                           concat(fio_how(fio), "; decoding: one core's speed x ", cores,
                                  " cores, less a tenth")},
             .goal = {Goal::On::ratio, 0.9},
             .note = describe_device(coded->store(), directory->path())};
  const auto yardstick = [&]() -> absl::StatusOr<double> {
    CAIRN_ASSIGN_OR_RETURN(const double disk, run_fio(fio));
    CAIRN_ASSIGN_OR_RETURN(const double decoding, decode());
    return std::min(disk * ratio, 0.9 * decoding * cores);
  };
  CAIRN_ASSIGN_OR_RETURN(Case done,
                         compare(
                             std::move(shape), rounds, [&] { return coded->load(); }, yardstick));
  report.cases.push_back(std::move(done));
  return report;
}

}  // namespace cairn::bench
