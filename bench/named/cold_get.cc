// SPDX-License-Identifier: Apache-2.0
// cold-get — single random blocks that are only on disk, from one thread and from four, beside
// BlobDB's gets of the same entries with direct reads.
#include <random>
#include <thread>

#include "bench/named/blob_db.h"
#include "bench/named/disk_fixture.h"
#include "bench/named/named.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kBatch = 8;

struct Size {
  std::size_t bytes;
  std::string name;
};

/// One thread's gets: reads block `index` and says whether it was right.
using Get = std::function<absl::Status(unsigned thread, std::uint64_t index)>;

absl::StatusOr<double> timed_gets(unsigned threads, std::size_t gets, std::uint64_t blocks,
                                  std::size_t block_bytes, std::uint64_t seed, const Get& get) {
  std::vector<absl::Status> statuses(threads);
  const Stopwatch watch;
  std::vector<std::thread> workers;
  for (unsigned t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      std::mt19937_64 random(seed * 31 + t);
      for (std::size_t i = 0; i < gets / threads && statuses[t].ok(); ++i)
        statuses[t] = get(t, random() % blocks);
    });
  }
  for (std::thread& worker : workers) worker.join();
  const double seconds = watch.seconds();
  for (const absl::Status& status : statuses) CAIRN_RETURN_IF_ERROR(status);
  return static_cast<double>(gets / threads * threads * block_bytes) / seconds / 1e9;
}

absl::Status wrong() {
  return make_error(ErrorCode::internal, "a block was missing or wrong");
}

}  // namespace

absl::StatusOr<Report> run_cold_get(const Settings& settings) {
  Report report{.name = "cold-get", .cases = {}};
  const int rounds = settings.quick ? 5 : 15;
  const std::uint64_t data_bytes = settings.quick ? kGiB : 4 * kGiB;
  CAIRN_ASSIGN_OR_RETURN(const auto directory, DataDirectory::make(settings, 6 * data_bytes));
  for (const Size& size : {Size{2U << 20U, "2 MiB"}, Size{64U << 10U, "64 KiB"}}) {
    const std::uint64_t blocks = data_bytes / size.bytes / (size.bytes < kMiB ? 8 : 1);
    StoreOptions options;
    options.directory = directory->file(concat("store-", size.bytes));
    options.engine.hot_bytes = 32 * kMiB;
    options.cold.cold_bytes = 2 * data_bytes;
    options.cold.codec = CodecUse::off;
    CAIRN_ASSIGN_OR_RETURN(const auto store, open_store(options));
    Engine& engine = store->engine();
    CAIRN_ASSIGN_OR_RETURN(const NamespaceId ns, engine.open_namespace({.name = "bench"}));
    CAIRN_ASSIGN_OR_RETURN(const auto blobs,
                           BlobDb::open(directory->file(concat("blobs-", size.bytes))));
    AlignedMemory memory(kBatch * size.bytes);
    for (std::uint64_t first = 0; first < blocks; first += kBatch) {
      std::vector<std::string> keys;
      std::vector<PutBlock> batch;
      for (std::uint64_t i = 0; i < kBatch; ++i) keys.push_back(bench_key(first + i, 0));
      for (std::uint64_t i = 0; i < kBatch; ++i) {
        stamp(memory.block(i, size.bytes), first + i, 0);
        batch.push_back({.key = keys[i], .payload = memory.block(i, size.bytes)});
        CAIRN_RETURN_IF_ERROR(blobs->put(keys[i], memory.block(i, size.bytes)));
      }
      for (const PutResult& result : engine.put_sync(ns, batch, {.links = Links::absent})) {
        CAIRN_RETURN_IF_ERROR(result.status);
      }
    }
    CAIRN_RETURN_IF_ERROR(blobs->flush());
    CAIRN_RETURN_IF_ERROR(engine.flush());

    for (const unsigned threads : {1U, 4U}) {
      std::vector<std::unique_ptr<AlignedMemory>> targets;
      for (unsigned t = 0; t < threads; ++t)
        targets.push_back(std::make_unique<AlignedMemory>(size.bytes));
      const Get from_cairn = [&](unsigned t, std::uint64_t index) -> absl::Status {
        const std::string key = bench_key(index, 0);
        LoadTarget target{.key = {key}, .buffer = targets[t]->bytes()};
        CAIRN_RETURN_IF_ERROR(engine.load_sync(ns, {&target, 1}));
        return target.found && is_stamped(targets[t]->bytes(), index, 0) ? absl::OkStatus()
                                                                         : wrong();
      };
      std::vector<std::string> values(threads);
      const Get from_blobs = [&](unsigned t, std::uint64_t index) -> absl::Status {
        CAIRN_ASSIGN_OR_RETURN(const bool found, blobs->get(bench_key(index, 0), values[t]));
        return found && is_stamped(as_bytes(values[t]), index, 0) ? absl::OkStatus() : wrong();
      };
      const std::size_t gets = std::min<std::size_t>(4096, (256U << 20U) / size.bytes);
      std::uint64_t seed = 0;
      Case shape{.name = concat("random ", size.name, ", ", threads,
                                threads == 1 ? " thread" : " threads"),
                 .unit = "GB/s",
                 .higher_is_better = true,
                 .yardstick = {"BlobDB", 0, BlobDb::how()},
                 .goal = {Goal::On::ratio, 2},
                 .note = describe_device(*store, directory->path())};
      CAIRN_ASSIGN_OR_RETURN(
          Case done,
          compare(
              std::move(shape), rounds,
              [&] { return timed_gets(threads, gets, blocks, size.bytes, ++seed, from_cairn); },
              [&] { return timed_gets(threads, gets, blocks, size.bytes, ++seed, from_blobs); }));
      report.cases.push_back(std::move(done));
    }
  }
  return report;
}

}  // namespace cairn::bench
