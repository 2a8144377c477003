// SPDX-License-Identifier: Apache-2.0
// cold-put — new blocks of 2 MiB acknowledged as `written`, from one thread and from four,
// beside fio's writes and beside BlobDB's puts of the same entries; and encoded on their way,
// beside the lower of what fio writes of them and of what the encoder makes on all cores.
#include <atomic>
#include <filesystem>
#include <future>
#include <optional>
#include <thread>

#include "bench/named/blob_db.h"
#include "bench/named/coded_blocks.h"
#include "bench/named/disk_fixture.h"
#include "bench/named/named.h"
#include "bench/named/payloads.h"
#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kBlockBytes = 2U << 20U;
constexpr std::size_t kBatch = 8;
constexpr std::size_t kRoundBytes = 512U << 20U;

/// Runs `work(thread)` on each of `threads` threads; GB/s of kRoundBytes in all.
absl::StatusOr<double> timed(unsigned threads, const std::function<absl::Status(unsigned)>& work) {
  std::vector<absl::Status> statuses(threads);
  const Stopwatch watch;
  std::vector<std::thread> workers;
  for (unsigned t = 0; t < threads; ++t) workers.emplace_back([&, t] { statuses[t] = work(t); });
  for (std::thread& worker : workers) worker.join();
  const double seconds = watch.seconds();
  for (const absl::Status& status : statuses) CAIRN_RETURN_IF_ERROR(status);
  return static_cast<double>(kRoundBytes) / seconds / 1e9;
}

class Putter {
 public:
  Putter(Engine& engine, NamespaceId ns, const Payloads& payloads)
      : engine_(engine), ns_(ns), payloads_(payloads) {}

  absl::StatusOr<double> run(unsigned threads) {
    const std::uint64_t first = next_chain_;
    const std::size_t batches = kRoundBytes / (kBatch * kBlockBytes);
    next_chain_ += batches;
    for (std::size_t i = 0; i < batches * kBatch; ++i) {
      payloads_.fill(memory_.block(i, kBlockBytes), first + i / kBatch, i % kBatch);
    }
    return timed(threads, [&](unsigned t) -> absl::Status {
      // Two batches in turns, so that one is under way while the other is made: as deep as fio.
      std::array<Batch, 2> flights;
      std::size_t turn = 0;
      absl::Status status;
      for (std::size_t b = t; b < batches && status.ok(); b += threads, turn ^= 1U) {
        status = flights[turn].wait();
        if (status.ok()) begin(flights[turn], b * kBatch, first + b);
      }
      for (Batch& batch : flights) {
        const absl::Status ended = batch.wait();
        if (status.ok()) status = ended;
      }
      return status;
    });
  }

  /// The last round's blocks, read back.
  absl::Status verify() {
    AlignedMemory target(kBlockBytes);
    for (std::uint64_t chain = next_chain_ - 4; chain < next_chain_; ++chain) {
      for (std::size_t i = 0; i < kBatch; ++i) {
        const std::string key = bench_key(chain, i);
        LoadTarget wanted{.key = {key}, .buffer = target.bytes()};
        CAIRN_RETURN_IF_ERROR(engine_.load_sync(ns_, {&wanted, 1}));
        if (!wanted.found || !payloads_.is(target.bytes(), chain, i)) {
          return make_error(ErrorCode::internal, "a block that was put is missing or wrong");
        }
      }
    }
    return absl::OkStatus();
  }

 private:
  struct Batch {
    std::vector<std::string> keys;
    std::vector<PutBlock> blocks;
    std::optional<std::promise<absl::Status>> done;

    absl::Status wait() {
      if (!done) return absl::OkStatus();
      absl::Status status = done->get_future().get();
      done.reset();
      return status;
    }
  };

  void begin(Batch& batch, std::size_t block, std::uint64_t chain) {
    batch.keys.clear();
    batch.blocks.clear();
    for (std::size_t i = 0; i < kBatch; ++i) batch.keys.push_back(bench_key(chain, i));
    for (std::size_t i = 0; i < kBatch; ++i) {
      batch.blocks.push_back(
          {.key = batch.keys[i], .payload = memory_.block(block + i, kBlockBytes)});
    }
    batch.done.emplace();
    engine_.put(ns_, batch.blocks, {}, [&batch](const std::vector<PutResult>& results) {
      absl::Status status;
      for (const PutResult& result : results) {
        if (status.ok()) status = result.status;
      }
      batch.done->set_value(status);
    });
  }

  Engine& engine_;
  NamespaceId ns_;
  const Payloads& payloads_;
  AlignedMemory memory_{kRoundBytes};  // what a round puts
  std::uint64_t next_chain_ = 0;
};

/// A fresh database for each round, so that both sides write into emptiness.
absl::StatusOr<double> put_blob_db(const std::string& directory, unsigned threads) {
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
  CAIRN_ASSIGN_OR_RETURN(const auto db, BlobDb::open(directory));
  std::vector<std::unique_ptr<AlignedMemory>> memory;
  for (unsigned t = 0; t < threads; ++t)
    memory.push_back(std::make_unique<AlignedMemory>(kBlockBytes));
  return timed(threads, [&](unsigned t) -> absl::Status {
    for (std::size_t i = t; i < kRoundBytes / kBlockBytes; i += threads) {
      stamp(memory[t]->bytes(), i, 0);
      CAIRN_RETURN_IF_ERROR(db->put(bench_key(i, 0), memory[t]->bytes()));
    }
    return absl::OkStatus();
  });
}

std::string threads_name(unsigned threads) {
  return threads == 1 ? "1 thread" : "4 threads";
}

FioJob fio_job(const DataDirectory& directory, unsigned threads) {
  return {.directory = directory.path(),
          .rw = "write",
          .block_bytes = kBlockBytes,
          .file_bytes = kRoundBytes / threads,
          .depth = 8,
          .jobs = static_cast<int>(threads)};
}

absl::Status add_encoded(const DataDirectory& directory, int rounds, std::uint64_t bytes,
                         Report& report) {
  StoreOptions options;
  options.directory = directory.file("coded");
  options.engine.hot_bytes = 128 * kMiB;
  options.cold.cold_bytes = bytes + kGiB;
  options.cold.codec = CodecUse::on;
  CAIRN_ASSIGN_OR_RETURN(const auto store, open_store(options));
  CAIRN_ASSIGN_OR_RETURN(const Payloads payloads, kv_payloads());
  CAIRN_ASSIGN_OR_RETURN(const NamespaceId ns, store->engine().open_namespace(payloads.descriptor));
  Putter putter(store->engine(), ns, payloads);
  CAIRN_RETURN_IF_ERROR(putter.run(1).status());  // the ratio, and what a first round pays for
  CAIRN_ASSIGN_OR_RETURN(const double ratio, stored_ratio(*store));
  CAIRN_ASSIGN_OR_RETURN(const auto blocks, make_blocks(Dtype::bf16, 24));
  const Run encode = encode_run(blocks);
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  for (const unsigned threads : {1U, 4U}) {
    const FioJob fio = fio_job(directory, threads);
    Case shape{.name = concat("2 MiB, written, ", threads_name(threads), ", encoded"),
               .unit = "GB/s of plain bytes",
               .higher_is_better = true,
               .yardstick = {concat("the lower of fio x ", ratio, " and encoding"), 0,
                             concat(fio_how(fio), "; encoding: one core's speed x ", cores)},
               .goal = {Goal::On::ratio, 0.8},
               .note = describe_device(*store, directory.path())};
    const auto yardstick = [&]() -> absl::StatusOr<double> {
      CAIRN_ASSIGN_OR_RETURN(const double disk, run_fio(fio));
      CAIRN_ASSIGN_OR_RETURN(const double encoding, encode());
      return std::min(disk * ratio, encoding * cores);
    };
    CAIRN_ASSIGN_OR_RETURN(
        Case done, compare(
                       std::move(shape), rounds, [&] { return putter.run(threads); }, yardstick));
    report.cases.push_back(std::move(done));
    CAIRN_RETURN_IF_ERROR(putter.verify());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Report> run_cold_put(const Settings& settings) {
  Report report{.name = "cold-put", .cases = {}};
  const int rounds = settings.quick ? 3 : 9;
  const std::uint64_t bytes = static_cast<std::uint64_t>(rounds) * 4 * kRoundBytes;
  CAIRN_ASSIGN_OR_RETURN(const auto directory, DataDirectory::make(settings, 2 * bytes + 4 * kGiB));
  StoreOptions options;
  options.directory = directory->file("store");
  options.engine.hot_bytes = 128 * kMiB;
  options.cold.cold_bytes = 2 * bytes + kGiB;  // no cleaning: that is write-amp's business
  options.cold.codec = CodecUse::off;
  CAIRN_ASSIGN_OR_RETURN(const auto store, open_store(options));
  CAIRN_ASSIGN_OR_RETURN(const NamespaceId ns, store->engine().open_namespace({.name = "bench"}));
  const Payloads payloads = stamped_payloads();
  Putter putter(store->engine(), ns, payloads);
  const std::string device = describe_device(*store, directory->path());
  for (const unsigned threads : {1U, 4U}) {
    const FioJob fio = fio_job(*directory, threads);
    const std::string who = threads_name(threads);
    Case against_fio{.name = concat("2 MiB, written, ", who, ", against fio"),
                     .unit = "GB/s",
                     .higher_is_better = true,
                     .yardstick = {"fio", 0, fio_how(fio)},
                     .goal = {Goal::On::ratio, 0.9},
                     .note = device};
    CAIRN_ASSIGN_OR_RETURN(Case first,
                           compare(
                               std::move(against_fio), rounds, [&] { return putter.run(threads); },
                               [&] { return run_fio(fio); }));
    report.cases.push_back(std::move(first));
    Case against_blobs{.name = concat("2 MiB, written, ", who, ", against BlobDB"),
                       .unit = "GB/s",
                       .higher_is_better = true,
                       .yardstick = {"BlobDB", 0, BlobDb::how()},
                       .goal = {Goal::On::ratio, 4},
                       .note = device};
    CAIRN_ASSIGN_OR_RETURN(
        Case second, compare(
                         std::move(against_blobs), rounds, [&] { return putter.run(threads); },
                         [&] { return put_blob_db(directory->file("blobs"), threads); }));
    report.cases.push_back(std::move(second));
    CAIRN_RETURN_IF_ERROR(putter.verify());
  }
  CAIRN_RETURN_IF_ERROR(add_encoded(*directory, rounds, bytes, report));
  return report;
}

}  // namespace cairn::bench
