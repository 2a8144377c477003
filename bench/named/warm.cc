// SPDX-License-Identifier: Apache-2.0
// warm — the ways into warm and out of it. Where the codec has to run (hot to warm, and warm to hot
// or to the caller) beside the codec alone, with as many blocks on as many threads; where it must
// not run (warm to cold and back) beside fio with as many transfers of the same size, both in bytes
// as they are stored. Nothing else happens in the store meanwhile.
//
// In an engine: what a put drives out of hot, a load of a chain that lies in warm, and a lease on
// it. By the tiers themselves: images down and up, which an engine does behind its caller's back.
#include <chrono>
#include <thread>

#include "bench/named/chains.h"
#include "bench/named/coded_blocks.h"
#include "bench/named/image_moves.h"
#include "bench/named/named.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kBlockBytes = kChainBlockBytes;
constexpr std::size_t kChainBlocks = 64;
constexpr std::size_t kFillBlocks = 115;  // as many as hot holds below its high watermark
constexpr std::size_t kStayBlocks = 51;   // as it holds at its low one: the rest moves
constexpr std::uint64_t kHotBytes = 256 * kMiB;
constexpr double kHighWatermark = 0.9, kLowWatermark = 0.4;

std::uint64_t moved(const EngineStats& stats, MoveKind kind) {
  return stats.moves[static_cast<std::size_t>(kind)].blocks;
}

/// A store that demotes a known batch when it is given one block more than its hot may hold.
class WarmStore {
 public:
  static absl::StatusOr<std::unique_ptr<WarmStore>> make(const std::string& directory,
                                                         unsigned threads) {
    CAIRN_ASSIGN_OR_RETURN(Payloads payloads, kv_payloads());
    auto made = std::unique_ptr<WarmStore>(new WarmStore(std::move(payloads)));
    StoreOptions options;
    options.directory = directory;
    options.engine.hot_bytes = kHotBytes;
    options.engine.warm_bytes = kHotBytes;
    options.engine.high_watermark = kHighWatermark;
    options.engine.low_watermark = kLowWatermark;
    options.cold.cold_bytes = kGiB;  // never used
    options.codec_threads = threads;
    CAIRN_ASSIGN_OR_RETURN(made->store_, open_store(options));
    CAIRN_ASSIGN_OR_RETURN(made->ns_, made->engine().open_namespace(made->payloads_.descriptor));
    for (std::size_t i = 0; i <= kFillBlocks; ++i)
      made->payloads_.fill(made->blocks_.block(i, kBlockBytes), 0, i);
    return made;
  }

  /// Fills hot and drives the chain, which is oldest, to warm. GB/s from the put that is too much
  /// until the last of them has left hot.
  absl::StatusOr<double> demote() {
    CAIRN_RETURN_IF_ERROR(engine().erase_sync(ns_, all_.refs()).status());
    CAIRN_RETURN_IF_ERROR(wait_until_still(engine()));
    for (std::size_t first = 0; first < kFillBlocks; first += kBatch)
      CAIRN_RETURN_IF_ERROR(put(first, std::min(kBatch, kFillBlocks - first)));
    const EngineStats before = engine().stats();
    const Stopwatch watch;
    CAIRN_RETURN_IF_ERROR(put(kFillBlocks, 1));
    while (store_->hot().usage().blocks > kStayBlocks) {
      if (watch.seconds() > 20)
        return make_error(ErrorCode::deadline, "hot did not go down to its low watermark");
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    const double seconds = watch.seconds();
    CAIRN_RETURN_IF_ERROR(wait_until_still(engine()));
    const EngineStats after = engine().stats();
    const std::uint64_t blocks =
        moved(after, MoveKind::hot_to_warm) - moved(before, MoveKind::hot_to_warm);
    if (blocks < kChainBlocks || after.hot.evictions - before.hot.evictions != blocks ||
        after.codec.plain_bytes != 0 || after.cold.usage.blocks != 0) {
      return make_error(ErrorCode::internal,
                        concat(blocks, " blocks went to warm and ",
                               after.hot.evictions - before.hot.evictions, " left hot"));
    }
    return static_cast<double>(blocks * kBlockBytes) / seconds / 1e9;
  }

  /// The chain that demote() has left in warm, beside a hot that has no room for it.
  absl::StatusOr<double> load() {
    std::vector<LoadTarget> targets;
    for (std::size_t i = 0; i < kChainBlocks; ++i)
      targets.push_back({.key = chain_.refs()[i], .buffer = target_.block(i, kBlockBytes)});
    const Stopwatch watch;
    CAIRN_RETURN_IF_ERROR(engine().load_sync(ns_, targets));
    const double seconds = watch.seconds();
    for (std::size_t i = 0; i < kChainBlocks; ++i) {
      if (!targets[i].found || targets[i].served_from != TierKind::warm ||
          !payloads_.is(target_.block(i, kBlockBytes), 0, i)) {
        return make_error(ErrorCode::internal, "a block of the chain was not in warm, or is wrong");
      }
    }
    return static_cast<double>(kChainBlocks * kBlockBytes) / seconds / 1e9;
  }

  /// The same chain under lease: from warm to a hot that is empty.
  absl::StatusOr<double> promote() {
    CAIRN_RETURN_IF_ERROR(engine().evict_unused(TierKind::hot, 0).status());
    const std::uint64_t before = moved(engine().stats(), MoveKind::warm_to_hot);
    const Stopwatch watch;
    CAIRN_ASSIGN_OR_RETURN(const Lease lease, engine().acquire_sync(ns_, chain_.refs()));
    const double seconds = watch.seconds();
    if (lease.blocks().size() != kChainBlocks ||
        moved(engine().stats(), MoveKind::warm_to_hot) - before != kChainBlocks) {
      return make_error(ErrorCode::internal, "not all of the chain came from warm to hot");
    }
    for (std::size_t i = 0; i < kChainBlocks; ++i) {
      if (!payloads_.is(lease.blocks()[i].bytes, 0, i))
        return make_error(ErrorCode::internal, "a block that came from warm is wrong");
    }
    return static_cast<double>(kChainBlocks * kBlockBytes) / seconds / 1e9;
  }

 private:
  static constexpr std::size_t kBatch = 16;

  explicit WarmStore(Payloads payloads) : payloads_(std::move(payloads)) {}
  Engine& engine() { return store_->engine(); }

  absl::Status put(std::size_t first, std::size_t count) {
    std::vector<PutBlock> batch;
    for (std::size_t i = first; i < first + count; ++i)
      batch.push_back({.key = all_[i], .payload = blocks_.block(i, kBlockBytes)});
    for (const PutResult& result :
         engine().put_sync(ns_, batch, {.durability = Durability::memory}))
      CAIRN_RETURN_IF_ERROR(result.status);
    return absl::OkStatus();
  }

  const Payloads payloads_;
  const ChainKeys all_{0, kFillBlocks + 1}, chain_{0, kChainBlocks};
  AlignedMemory blocks_{(kFillBlocks + 1) * kBlockBytes}, target_{kChainBlocks * kBlockBytes};
  std::unique_ptr<Store> store_;
  NamespaceId ns_{};
};

absl::Status add_coded(const DataDirectory& directory, const std::shared_ptr<Blocks>& blocks,
                       int rounds, unsigned cores, Report& report) {
  CAIRN_ASSIGN_OR_RETURN(const auto store, WarmStore::make(directory.file("engine"), cores));
  const Run encode = encode_run(blocks, cores), decode = decode_run(blocks, cores);
  const auto add = [&](std::string_view name, double bound, std::string_view verb, Run subject,
                       const Run& yardstick, std::string_view note) -> absl::Status {
    Case shape{.name = std::string(name),
               .unit = "GB/s of plain bytes",
               .higher_is_better = true,
               .yardstick = {concat("the codec alone, ", verb), 0,
                             concat(blocks->plain.size(), " blocks of 2 MiB with their sums, ",
                                    verb, " on ", cores, " threads")},
               .goal = {bound > 0 ? Goal::On::ratio : Goal::On::none, bound},
               .note = std::string(note)};
    CAIRN_ASSIGN_OR_RETURN(Case done, compare(std::move(shape), rounds, subject, yardstick));
    report.cases.push_back(std::move(done));
    return absl::OkStatus();
  };
  CAIRN_RETURN_IF_ERROR(store->demote().status());
  CAIRN_RETURN_IF_ERROR(add(
      "get: 64 blocks of 2 MiB in warm, loaded", 0.9, "decoding", [&] { return store->load(); },
      decode, "load() into memory of the caller's; hot is full of other blocks"));
  CAIRN_RETURN_IF_ERROR(add(
      "warm to hot: the same blocks, leased", 0, "decoding", [&] { return store->promote(); },
      decode, "acquire() with hot empty"));
  return add(
      "hot to warm: 65 blocks of 2 MiB that a put drives out", 0, "encoding",
      [&] { return store->demote(); }, encode,
      "in the background, from the put until hot is at its low watermark; encoded once each");
}

absl::Status add_images(const DataDirectory& directory, const std::shared_ptr<Blocks>& blocks,
                        int rounds, unsigned cores, Report& report) {
  const std::size_t count = 4 * blocks->plain.size();
  const std::uint64_t cold_bytes =
      static_cast<std::uint64_t>(rounds + 2) * count * blocks->block_bytes + kGiB;
  CAIRN_ASSIGN_OR_RETURN(const auto moves, ImageMoves::make(directory.file("tiers"), blocks, count,
                                                            cores, cold_bytes));
  CAIRN_RETURN_IF_ERROR(moves->sink().status());  // how large they are, and what comes first
  const tiers::DeviceInfo device = moves->device_info();
  const auto shape = [&](std::string_view name, const FioJob& job) {
    return Case{.name = std::string(name),
                .unit = "GB/s as stored",
                .higher_is_better = true,
                .yardstick = {"fio", 0, fio_how(job)},
                .note = concat(count, " images, by the tiers alone; the codec did not run; ",
                               device.name, device.direct ? ", O_DIRECT" : ", buffered")};
  };
  FioJob job{.directory = directory.path(),
             .rw = "write",
             .block_bytes = moves->stored_block_bytes(),
             .file_bytes = count * moves->stored_block_bytes(),
             .depth = 8};
  CAIRN_ASSIGN_OR_RETURN(
      Case down, compare(
                     shape("warm to cold: images", job), rounds, [&] { return moves->sink(); },
                     [&] { return run_fio(job); }));
  CAIRN_RETURN_IF_ERROR(moves->check_codec());
  report.cases.push_back(std::move(down));
  job.rw = "read";
  CAIRN_ASSIGN_OR_RETURN(
      Case up, compare(
                   shape("cold to warm: images", job), rounds, [&] { return moves->raise(); },
                   [&] { return run_fio(job); }));
  CAIRN_RETURN_IF_ERROR(moves->check_codec());
  CAIRN_RETURN_IF_ERROR(moves->verify());
  report.cases.push_back(std::move(up));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Report> run_warm(const Settings& settings) {
  Report report{.name = "warm", .cases = {}};
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  CAIRN_ASSIGN_OR_RETURN(const auto directory,
                         DataDirectory::make(settings, (settings.quick ? 6 : 12) * kGiB));
  if (settings.progress) settings.progress("making the blocks");
  CAIRN_ASSIGN_OR_RETURN(const auto blocks, make_blocks(Dtype::bf16, kChainBlocks));
  CAIRN_RETURN_IF_ERROR(add_coded(*directory, blocks, settings.quick ? 9 : 61, cores, report));
  if (settings.progress) settings.progress("moving images between warm and cold");
  CAIRN_RETURN_IF_ERROR(add_images(*directory, blocks, settings.quick ? 3 : 9, cores, report));
  return report;
}

}  // namespace cairn::bench
