// SPDX-License-Identifier: Apache-2.0
// Changes to blocks while the catalog is being loaded, on real threads: what the scan passes over
// because somebody is inside its gate, that one must find.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/catalog.h"
#include "engine/engine_factory.h"
#include "tests/support/memory_hot_tier.h"
#include "tests/support/memory_tier.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

// As many gates take about as long to enter as the scan to pass them over.
constexpr std::size_t kBlocks = 1000;

/// One opening of the store.
struct Life {
  explicit Life(const std::shared_ptr<MemoryMedium>& medium) : cold({.loop = &cold_loop}, medium) {
    engine =
        *make_engine({.hot_bytes = kMiB}, {.hot = &hot, .cold = &cold, .mover_loop = &mover_loop});
    ns = *engine->open_namespace({.name = "n"});
  }
  ~Life() {
    EXPECT_TRUE(engine->close().ok());
    engine.reset();
  }

  MemoryHotTier hot{kMiB};
  EventLoop cold_loop{system_clock()}, mover_loop{system_clock()};
  MemoryTier cold;
  std::unique_ptr<LoopThread> cold_thread = *LoopThread::start("cold", cold_loop);
  std::unique_ptr<LoopThread> mover_thread = *LoopThread::start("mover", mover_loop);
  std::unique_ptr<Engine> engine;
  NamespaceId ns{};
};

class LoadingStress : public ::testing::Test {
 protected:
  void fill() {
    Life life(medium_);
    for (const PutResult& result : life.engine->put_sync(life.ns, blocks_)) {
      ASSERT_TRUE(result.status.ok()) << result.status;
    }
  }
  /// Up to about as long as the scan takes.
  void wait_a_little() {
    const TimePoint until =
        system_clock().now() + Duration::micros(static_cast<std::int64_t>(rng_.below(600)));
    while (system_clock().now() < until) std::this_thread::yield();
  }
  static std::vector<std::string> make_keys() {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < kBlocks; ++i) keys.push_back("key" + std::to_string(i));
    return keys;
  }
  std::vector<PutBlock> make_blocks() const {
    std::vector<PutBlock> blocks;
    for (const std::string& key : keys_) blocks.push_back({.key = key, .payload = as_bytes(key)});
    return blocks;
  }

  std::shared_ptr<MemoryMedium> medium_ = std::make_shared<MemoryMedium>();
  const std::vector<std::string> keys_ = make_keys();
  const std::vector<PutBlock> blocks_ = make_blocks();
  Rng rng_{announce_seed()};
};

TEST_F(LoadingStress, WhatIsErasedWhileTheCatalogIsLoadedWasThere) {
  std::vector<KeyRef> refs;
  for (const std::string& key : keys_) refs.push_back({key});
  for (std::size_t round = scaled(200); round > 0; --round) {
    fill();
    Life life(medium_);
    wait_a_little();
    const auto erased = life.engine->erase_sync(life.ns, refs);
    ASSERT_TRUE(erased.ok()) << erased.status();
    ASSERT_EQ(std::count(erased->begin(), erased->end(), false), 0) << round << " rounds to go";
  }
}

TEST_F(LoadingStress, TheFirstBytesStayWhereABlockIsPutAgain) {
  fill();
  for (std::size_t round = scaled(200); round > 0; --round) {
    Life life(medium_);
    wait_a_little();
    for (const PutResult& result : life.engine->put_sync(life.ns, blocks_)) {
      ASSERT_EQ(result.outcome, PutOutcome::already_present) << round << " rounds to go";
    }
  }
}

TEST_F(LoadingStress, WhoWaitsForTheCatalogIsToldOfTheEnd) {
  fill();
  for (std::size_t round = scaled(100); round > 0; --round) {
    Life life(medium_);
    const NamespaceId other = *life.engine->open_namespace({.name = "other"});
    // While a namespace is being cleared the scan waits for its next slice.
    std::thread clearer([&] {
      while (!has_code(life.engine->clear(other), ErrorCode::closed)) {
      }
    });
    std::thread waiter([&] {
      const TimePoint deadline = system_clock().now() + Duration::seconds(20);
      EXPECT_FALSE(has_code(life.engine->wait_recovered(deadline), ErrorCode::deadline));
    });
    wait_a_little();
    EXPECT_TRUE(life.engine->close().ok());
    clearer.join();
    waiter.join();
  }
}

TEST(CatalogStress, ThatIsFullTakesWhatManyThreadsPut) {
  MemoryHotTier hot{64 * kMiB};
  EventLoop loop{system_clock()};
  const auto runner = *LoopThread::start("mover", loop);
  const EngineOptions options{.hot_bytes = 64 * kMiB,
                              .metadata_bytes = 256 * Catalog::kBytesPerBlock};
  auto engine = *make_engine(options, {.hot = &hot, .mover_loop = &loop});
  const NamespaceId ns = *engine->open_namespace({.name = "n"});
  const std::string payload(64, 'x');
  std::atomic<std::size_t> refused{0};
  const std::size_t puts = scaled(5000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < puts; ++i) {
        const std::string key = concat(t, ".", i);
        const PutBlock block{.key = key, .payload = as_bytes(payload)};
        const PutOptions memory{.durability = Durability::memory, .links = Links::absent};
        if (!engine->put_sync(ns, {&block, 1}, memory)[0].status.ok()) ++refused;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Nothing is in use but what is being put this moment; one in 25 was refused where each thread
  // took what all had made for its own.
  EXPECT_LT(refused.load(), 4 * puts / 200 + 2);
  EXPECT_TRUE(engine->close().ok());
}

}  // namespace
}  // namespace cairn::test
