// SPDX-License-Identifier: Apache-2.0
// acquire — leasing blocks that are hot, giving them back, and reading what was leased.
//
// The yardsticks: sixteen uncontended locks taken and let go, and memcpy of as many bytes.
#include <cstring>
#include <random>

#include "bench/measure.h"
#include "bench/named/named.h"
#include "engine/base/check.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/engine_factory.h"
#include "tiers/hot/hot_tier.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kBatch = 16;

std::string key_of(std::uint64_t i) {
  std::string key(32, '\0');
  for (std::size_t word = 0; word < 4; ++word) {
    const std::uint64_t value = (i + 1) * 0x9e3779b97f4a7c15ULL + word;
    std::memcpy(key.data() + 8 * word, &value, 8);
  }
  return key;
}

/// An engine in RAM alone, filled with blocks of one size.
class HotEngine {
 public:
  static absl::StatusOr<std::unique_ptr<HotEngine>> make(std::uint64_t blocks,
                                                         std::uint32_t block_bytes) {
    auto made = std::unique_ptr<HotEngine>(new HotEngine);
    const std::uint64_t hot_bytes = blocks * block_bytes + blocks * block_bytes / 8 + 64 * kMiB;
    CAIRN_ASSIGN_OR_RETURN(
        made->hot_, tiers::open_hot_tier({.capacity_bytes = hot_bytes}, [block_bytes](NamespaceId) {
          return std::optional<std::uint32_t>(block_bytes);
        }));
    CAIRN_ASSIGN_OR_RETURN(made->thread_, LoopThread::start("bench-mover", made->loop_));
    EngineOptions options;
    options.hot_bytes = hot_bytes;
    options.metadata_bytes = blocks * 512 + 64 * kMiB;
    CAIRN_ASSIGN_OR_RETURN(
        made->engine_, make_engine(options, {.hot = made->hot_.get(), .mover_loop = &made->loop_}));
    CAIRN_ASSIGN_OR_RETURN(made->ns_, made->engine_->open_namespace({.name = "bench"}));
    std::vector<std::byte> payload(block_bytes, std::byte{1});
    std::vector<std::string> keys(kBatch);
    std::vector<PutBlock> batch(kBatch);
    for (std::uint64_t i = 0; i < blocks; i += kBatch) {
      for (std::size_t j = 0; j < kBatch; ++j) {
        keys[j] = key_of(i + j);
        batch[j] = {.key = keys[j], .payload = payload};
      }
      for (const PutResult& result :
           made->engine_->put_sync(made->ns_, batch, {.durability = Durability::memory})) {
        CAIRN_RETURN_IF_ERROR(result.status);
      }
    }
    return made;
  }

  /// Acquires and releases the sixteen blocks of each request; µs a request.
  absl::StatusOr<double> acquire(std::span<const std::string> keys) {
    std::vector<KeyRef> refs;
    for (const std::string& key : keys) refs.push_back({key});
    const std::size_t requests = refs.size() / kBatch;
    std::size_t found = 0;
    const Stopwatch watch;
    for (std::size_t r = 0; r < requests; ++r) {
      engine_->acquire(
          ns_, std::span(refs).subspan(r * kBatch, kBatch), {.read = Read::each},
          [&](absl::StatusOr<Lease> lease) { found += lease.ok() ? lease->blocks().size() : 0; });
    }
    const double seconds = watch.seconds();
    if (found != requests * kBatch)
      return make_error(ErrorCode::internal, concat("leased ", found, " blocks"));
    return seconds * 1e6 / static_cast<double>(requests);
  }

  /// GB/s of copying leased blocks out.
  absl::StatusOr<double> read(std::span<const std::string> keys, MutableByteSpan target) {
    double seconds = 0;
    std::uint64_t bytes = 0;
    for (const std::string& key : keys) {
      const KeyRef ref{key};
      CAIRN_ASSIGN_OR_RETURN(const Lease lease, engine_->acquire_sync(ns_, {&ref, 1}));
      const ByteSpan block = lease.blocks().front().bytes;
      const Stopwatch watch;
      std::memcpy(target.data(), block.data(), block.size());
      seconds += watch.seconds();
      bytes += block.size();
    }
    return static_cast<double>(bytes) / seconds / 1e9;
  }

 private:
  HotEngine() : loop_(system_clock()) {}

  EventLoop loop_;
  std::unique_ptr<tiers::HotTier> hot_;
  std::unique_ptr<LoopThread> thread_;
  std::unique_ptr<Engine> engine_;
  NamespaceId ns_{};
};

/// µs for sixteen locks.
absl::StatusOr<double> sixteen_locks(std::size_t requests) {
  std::vector<std::unique_ptr<Mutex>> locks;
  for (std::size_t i = 0; i < kBatch; ++i) locks.push_back(std::make_unique<Mutex>(LockRank::tool));
  const Stopwatch watch;
  for (std::size_t r = 0; r < requests; ++r) {
    for (const auto& lock : locks) MutexLock hold(*lock);
  }
  return watch.seconds() * 1e6 / static_cast<double>(requests);
}

}  // namespace

absl::StatusOr<Report> run_acquire(const Settings& settings) {
  Report report{.name = "acquire", .cases = {}};
  const std::uint64_t blocks = 1'000'000;
  const std::size_t requests = settings.quick ? 4'000 : 20'000;
  const int rounds = settings.quick ? 9 : 21;
  {
    if (settings.progress) settings.progress("filling a hot tier with 1 M blocks of 4 KiB");
    CAIRN_ASSIGN_OR_RETURN(const auto engine, HotEngine::make(blocks, 4096));
    std::mt19937_64 random(11);
    std::vector<std::string> scattered;
    for (std::size_t i = 0; i < requests * kBatch; ++i)
      scattered.push_back(key_of(random() % blocks));
    std::vector<std::string> same;
    for (std::size_t i = 0; i < requests * kBatch; ++i) same.push_back(key_of(i % kBatch));
    const Yardstick locks{"16 uncontended locks", 0,
                          "std::mutex, taken and let go one after the other"};
    for (const bool random_blocks : {true, false}) {
      Case shape{
          .name = random_blocks ? "16 random blocks of 1 M" : "16 blocks of one chain, repeatedly",
          .unit = "us",
          .higher_is_better = false,
          .yardstick = locks,
          .goal = {Goal::On::figure, random_blocks ? 1.0 : 0.4},
          .note = "acquire and release, in process, 32-byte keys hashed"};
      CAIRN_ASSIGN_OR_RETURN(Case done,
                             compare(
                                 std::move(shape), rounds,
                                 [&] { return engine->acquire(random_blocks ? scattered : same); },
                                 [&] { return sixteen_locks(requests); }));
      report.cases.push_back(std::move(done));
    }
  }
  constexpr std::uint32_t kLarge = 2U << 20U;
  const std::uint64_t large_blocks = 512;
  CAIRN_ASSIGN_OR_RETURN(const auto engine, HotEngine::make(large_blocks, kLarge));
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; i < large_blocks; ++i) keys.push_back(key_of(i));
  std::vector<std::byte> target(kLarge);
  std::vector<std::byte> source(large_blocks * kLarge, std::byte{1});
  Case shape{.name = "reading leased 2 MiB blocks",
             .unit = "GB/s",
             .higher_is_better = true,
             .yardstick = {"memcpy", 0, "of as many blocks from ordinary memory"},
             .goal = {Goal::On::ratio, 0.9}};
  CAIRN_ASSIGN_OR_RETURN(Case done,
                         compare(
                             std::move(shape), rounds, [&] { return engine->read(keys, target); },
                             [&]() -> absl::StatusOr<double> {
                               const Stopwatch watch;
                               for (std::size_t i = 0; i < large_blocks; ++i) {
                                 std::memcpy(target.data(), source.data() + i * kLarge, kLarge);
                                 keep(target[0]);
                               }
                               return static_cast<double>(source.size()) / watch.seconds() / 1e9;
                             }));
  report.cases.push_back(std::move(done));
  return report;
}

}  // namespace cairn::bench
