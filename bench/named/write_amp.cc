// SPDX-License-Identifier: Apache-2.0
// write-amp — bytes that reach the medium for each byte put: headers, padding, footers, cleaning
// and the index with its log and compactions. Counted by the store and checked against what the
// kernel says this process wrote.
#include <fstream>
#include <random>

#include "bench/named/disk_fixture.h"
#include "bench/named/named.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

/// What the kernel counted towards block devices for this process, page cache included once it
/// is written back.
std::uint64_t written_by_process() {
  std::ifstream io("/proc/self/io");
  std::string name;
  std::uint64_t value = 0;
  while (io >> name >> value) {
    if (name == "write_bytes:") return value;
  }
  return 0;
}

struct Amplification {
  double counted = 0;  // by the store
  double kernel = 0;   // by /proc/self/io
};

class Writer {
 public:
  Writer(Store& store, NamespaceId ns, std::size_t block_bytes, std::size_t batch)
      : store_(store),
        ns_(ns),
        block_bytes_(block_bytes),
        batch_(batch),
        memory_(batch * block_bytes) {}

  absl::Status put_run(std::uint64_t chain) {
    std::vector<std::string> keys;
    std::vector<PutBlock> blocks;
    for (std::size_t i = 0; i < batch_; ++i) keys.push_back(bench_key(chain, i));
    for (std::size_t i = 0; i < batch_; ++i) {
      stamp(memory_.block(i, block_bytes_), chain, i);
      blocks.push_back({.key = keys[i], .payload = memory_.block(i, block_bytes_)});
    }
    for (const PutResult& result : store_.engine().put_sync(ns_, blocks))
      CAIRN_RETURN_IF_ERROR(result.status);
    return absl::OkStatus();
  }

  absl::StatusOr<Amplification> measure(std::uint64_t first, std::uint64_t runs,
                                        bool random_order) {
    const DurableCounters before = store_.cold().counters();
    CAIRN_RETURN_IF_ERROR(store_.engine().flush());
    const std::uint64_t kernel_before = written_by_process();
    std::mt19937_64 random(3);
    for (std::uint64_t r = 0; r < runs; ++r) {
      CAIRN_RETURN_IF_ERROR(put_run(first + (random_order ? random() % runs : r)));
    }
    CAIRN_RETURN_IF_ERROR(store_.engine().flush());
    const DurableCounters after = store_.cold().counters();
    const auto payload =
        static_cast<double>(after.payload_bytes_written - before.payload_bytes_written);
    return Amplification{
        static_cast<double>(after.media_bytes_written - before.media_bytes_written) / payload,
        static_cast<double>(written_by_process() - kernel_before) / payload};
  }

 private:
  Store& store_;
  NamespaceId ns_;
  std::size_t block_bytes_;
  std::size_t batch_;
  AlignedMemory memory_;
};

Case make_case(std::string name, double bound, const Amplification& seen, std::string note) {
  Case c{
      .name = std::move(name), .unit = "bytes on the medium a byte put", .higher_is_better = false};
  c.figure = seen.counted;
  c.yardstick = {"encoded bytes", 1, "payload as put; blocks are stored uncoded"};
  c.ratio = seen.counted;
  c.goal = {Goal::On::figure, bound};
  c.rounds = 1;
  c.note = concat("kernel's count for the process: ", seen.kernel, "; ", note);
  return c;
}

}  // namespace

absl::StatusOr<Report> run_write_amp(const Settings& settings) {
  Report report{.name = "write-amp", .cases = {}};
  const std::uint64_t scale = settings.quick ? 1 : 4;
  CAIRN_ASSIGN_OR_RETURN(const auto directory, DataDirectory::make(settings, scale * 4 * kGiB));
  const auto make_store = [&](std::string_view name, std::uint64_t cold_bytes) {
    StoreOptions options;
    options.directory = directory->file(name);
    options.engine.hot_bytes = 64 * kMiB;
    options.cold.cold_bytes = cold_bytes;
    options.cold.codec = CodecUse::off;
    return open_store(options);
  };
  struct Fresh {
    std::string name;
    std::size_t block_bytes, batch;
    double bound;
  };
  for (const Fresh& fresh : {Fresh{"2 MiB, before cleaning", 2U << 20U, 8, 1.05},
                             Fresh{"8 KiB in runs of 64, before cleaning", 8U << 10U, 64, 1.25}}) {
    CAIRN_ASSIGN_OR_RETURN(const auto store,
                           make_store(concat("fresh-", fresh.block_bytes), scale * 2 * kGiB));
    CAIRN_ASSIGN_OR_RETURN(const NamespaceId ns, store->engine().open_namespace({.name = "bench"}));
    Writer writer(*store, ns, fresh.block_bytes, fresh.batch);
    const std::uint64_t runs = scale * (512U << 20U) / (fresh.block_bytes * fresh.batch);
    CAIRN_ASSIGN_OR_RETURN(const Amplification seen, writer.measure(0, runs, false));
    report.cases.push_back(
        make_case(fresh.name, fresh.bound, seen, describe_device(*store, directory->path())));
  }
  // Churn: a mutable namespace that fills 80 % of what users may have, overwritten at random
  // until every byte has been written twice over.
  {
    CAIRN_ASSIGN_OR_RETURN(const auto store, make_store("churn", scale * 512 * kMiB));
    CAIRN_ASSIGN_OR_RETURN(
        const NamespaceId ns,
        store->engine().open_namespace({.name = "churn", .kind = NamespaceKind::mutable_}));
    constexpr std::size_t kChurnBytes = 256U << 10U;
    const std::uint64_t keys =
        store->cold().usage().capacity_bytes / 100 * 80 / (kChurnBytes + 4096);
    Writer writer(*store, ns, kChurnBytes, 1);
    CAIRN_ASSIGN_OR_RETURN(const Amplification filled, writer.measure(0, keys, false));
    static_cast<void>(filled);
    CAIRN_ASSIGN_OR_RETURN(const Amplification warmed_up, writer.measure(0, keys, true));
    static_cast<void>(warmed_up);  // the first overwrites find segments that are still full
    CAIRN_ASSIGN_OR_RETURN(const Amplification seen, writer.measure(0, keys, true));
    const TierUsage usage = store->cold().usage();
    const double live =
        static_cast<double>(usage.used_bytes) / static_cast<double>(usage.capacity_bytes);
    report.cases.push_back(make_case(
        "256 KiB overwritten at random, 80 % live", 2.5, seen,
        concat("live share at the end ", live, ", ", describe_device(*store, directory->path()))));
  }
  return report;
}

}  // namespace cairn::bench
