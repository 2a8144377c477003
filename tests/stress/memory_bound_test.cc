// SPDX-License-Identifier: Apache-2.0
// The one limit for memory: a store under load, on real files, whose process grows by no more.
//
// Goal: nothing that a store holds is outside memory_bytes. Method: the resident set is sampled all
// along, by a process that has allocated whatever the test itself needs before the store is opened.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <deque>
#include <thread>

#include "engine/base/status.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/temp_dir.h"
#include "tiers/memory_plan.h"
#include "tiers/open.h"

namespace cairn::test {
namespace {

constexpr std::size_t kSizes[] = {300, 20'000, 256 * 1024, 1024 * 1024};
constexpr std::size_t kThreads = 3;
constexpr std::size_t kInFlight = 6;

std::uint64_t resident_bytes() {
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  unsigned long total = 0, resident = 0;
  EXPECT_EQ(std::fscanf(file, "%lu %lu", &total, &resident), 2);
  std::fclose(file);
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

TEST(MemoryPlan, SharesOutNoMoreThanThereIs) {
  EXPECT_TRUE(has_code(tiers::plan_memory(tiers::kMemoryBytesMin - 1, {}).status(),
                       ErrorCode::invalid_argument));
  for (std::uint64_t bytes = tiers::kMemoryBytesMin; bytes < 64 * kGiB; bytes += bytes / 3) {
    const auto plan = tiers::plan_memory(bytes, {});
    ASSERT_TRUE(plan.ok());
    EXPECT_LE(plan->total(), bytes);
    EXPECT_GE(plan->total() + 2 * kMiB, bytes) << "the rest is hot's";
    EXPECT_GE(plan->hot_bytes, bytes / 8);
    EXPECT_EQ(plan->warm_bytes, 0U);
    const auto with_warm = tiers::plan_memory(bytes, {.warm_bytes = kGiB});
    ASSERT_TRUE(with_warm.ok());
    EXPECT_LE(with_warm->total(), bytes);
    EXPECT_GE(with_warm->hot_bytes + 2 * kMiB, with_warm->warm_bytes);
  }
}

/// Blocks of every size from three threads, several puts in flight each, and reads between them.
class Load {
 public:
  Load(std::uint64_t bytes) : bytes_(bytes) {
    Rng rng(1);
    payload_.resize(kSizes[3] + 4096);
    rng.fill({reinterpret_cast<std::byte*>(payload_.data()), payload_.size()});
    for (auto& buffer : buffers_) buffer.assign(kSizes[3], std::byte{1});
  }

  void run(Engine& engine, NamespaceId ns, std::size_t thread, Rng rng) {
    std::uint64_t put = 0, n = 0;
    std::atomic<std::size_t> in_flight{0};
    std::deque<std::string> keys;
    std::deque<PutBlock> blocks;
    while (put < bytes_) {
      const std::size_t size = kSizes[rng.below(std::size(kSizes))];
      while (in_flight.load() >= kInFlight) std::this_thread::yield();
      if (keys.size() > 4096) {
        while (in_flight.load() > 0) std::this_thread::yield();
        keys.clear();
        blocks.clear();
      }
      keys.push_back(std::to_string(thread) + "/" + std::to_string(n++));
      blocks.push_back({.key = keys.back(),
                        .payload = as_bytes(std::string_view(payload_).substr(n % 4096, size))});
      in_flight.fetch_add(1);
      engine.put(ns, {&blocks.back(), 1}, {},
                 [&](const std::vector<PutResult>&) { in_flight.fetch_sub(1); });
      put += size;
      if (!rng.chance(0.3)) continue;
      const std::string key = std::to_string(thread) + "/" + std::to_string(rng.below(n));
      if (rng.chance(0.5)) {
        const KeyRef ref{key};
        static_cast<void>(engine.acquire_sync(ns, {&ref, 1}));
      } else {
        LoadTarget target{.key = {key}, .buffer = buffers_[thread]};
        engine.load_sync(ns, {&target, 1}).IgnoreError();
      }
    }
    while (in_flight.load() > 0) std::this_thread::yield();
  }

 private:
  const std::uint64_t bytes_;
  std::string payload_;
  std::array<std::vector<std::byte>, kThreads> buffers_;
};

TEST(MemoryBound, AProcessGrowsByNoMoreThanMemoryBytes) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory counts too";
#endif
  const std::uint64_t seed = announce_seed();
  constexpr std::uint64_t kMemoryBytes = 160 * kMiB;
  const TempDir directory;
  Load load(scaled(200) * kMiB);
  StoreOptions options;
  options.directory = directory.path();
  options.memory_bytes = kMemoryBytes;
  options.engine.warm_bytes = kGiB;  // gets its share, and no more
  options.cold.cold_bytes = 512 * kMiB;
  const std::uint64_t before = resident_bytes();
  std::atomic<std::uint64_t> peak{before};
  std::atomic<bool> over{false};
  std::thread sampler([&] {
    while (!over.load()) {
      peak.store(std::max(peak.load(), resident_bytes()));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  for (int life = 0; life < 2; ++life) {  // the second one recovers what the first has left
    auto store = open_store(options);
    ASSERT_TRUE(store.ok()) << message_of(store.status());
    Engine& engine = (*store)->engine();
    const auto ns = engine.open_namespace({.name = "n"});
    ASSERT_TRUE(ns.ok());
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        load.run(engine, *ns, t, Rng(seed + t + 10 * static_cast<std::uint64_t>(life)));
      });
    }
    for (std::thread& thread : threads) thread.join();
    const TierUsage hot = (*store)->hot().usage();
    EXPECT_GE(hot.used_bytes, hot.capacity_bytes / 2) << "the memory was not used";
  }
  over.store(true);
  sampler.join();
  std::printf("grew by %.1f of %.0f MiB\n", static_cast<double>(peak.load() - before) / kMiB,
              static_cast<double>(kMemoryBytes) / kMiB);
  EXPECT_LE(peak.load() - before, kMemoryBytes);
}

}  // namespace
}  // namespace cairn::test
