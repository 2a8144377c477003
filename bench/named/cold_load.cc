// SPDX-License-Identifier: Apache-2.0
// cold-load — a chain of 64 blocks of 2 MiB that is only on disk, loaded into memory of the
// caller's, every block checked; beside fio reading as much with the same size and depth. Once
// stored as they are, once encoded: then what fio gives counts for as many plain bytes as it holds,
// and decoding is a bound of its own.
#include <thread>

#include "bench/named/chains.h"
#include "bench/named/coded_blocks.h"
#include "bench/named/disk_fixture.h"
#include "bench/named/named.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kChainBlocks = 64;
constexpr int kLoads = 4;  // in one round

/// Hot is a quarter of a chain: nothing is in RAM twice.
ChainsOptions chains_options(const DataDirectory& directory, std::string_view name,
                             std::uint64_t chains, CodecUse codec) {
  return {.directory = directory.file(name),
          .chains = chains,
          .chain_blocks = kChainBlocks,
          .hot_bytes = 32 * kMiB,
          .codec = codec};
}

}  // namespace

absl::StatusOr<Report> run_cold_load(const Settings& settings) {
  Report report{.name = "cold-load", .cases = {}};
  const std::uint64_t chains = settings.quick ? 8 : 32;
  const int rounds = settings.quick ? 7 : 21;
  CAIRN_ASSIGN_OR_RETURN(
      const auto directory,
      DataDirectory::make(settings, 8 * chains * kChainBlocks * kChainBlockBytes));
  const FioJob fio{.directory = directory->path(),
                   .rw = "read",
                   .block_bytes = kChainBlockBytes,
                   .file_bytes = 4 * kChainBlocks * kChainBlockBytes,
                   .depth = 8};
  if (settings.progress) settings.progress("writing the chains");
  {
    CAIRN_ASSIGN_OR_RETURN(const auto plain,
                           Chains::make(chains_options(*directory, "plain", chains, CodecUse::off),
                                        stamped_payloads()));
    Case shape{.name = "64 blocks of 2 MiB, uncoded",
               .unit = "GB/s",
               .higher_is_better = true,
               .yardstick = {"fio", 0, fio_how(fio)},
               .goal = {Goal::On::ratio, 0.9},
               .note = describe_device(plain->store(), directory->path())};
    CAIRN_ASSIGN_OR_RETURN(Case done,
                           compare(
                               std::move(shape), rounds, [&] { return plain->load(kLoads); },
                               [&] { return run_fio(fio); }));
    report.cases.push_back(std::move(done));
  }
  if (settings.progress) settings.progress("writing the chains encoded");
  CAIRN_ASSIGN_OR_RETURN(Payloads kv, kv_payloads());
  CAIRN_ASSIGN_OR_RETURN(
      const auto coded,
      Chains::make(chains_options(*directory, "coded", chains, CodecUse::on), std::move(kv)));
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
  CAIRN_ASSIGN_OR_RETURN(
      Case done, compare(
                     std::move(shape), rounds, [&] { return coded->load(kLoads); }, yardstick));
  report.cases.push_back(std::move(done));
  return report;
}

}  // namespace cairn::bench
