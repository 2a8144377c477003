// SPDX-License-Identifier: Apache-2.0
// Changes to blocks while the catalog is being loaded, on real threads: what the scan passes over
// because somebody is inside its gate, that one must find.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

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

}  // namespace
}  // namespace cairn::test
