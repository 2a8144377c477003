// SPDX-License-Identifier: Apache-2.0
// Puts, readers, flushes and erasures while the write policy is switched under them, on real
// threads. Goal: once it is `through` and nobody puts any more, cold has every block that was
// acknowledged, whatever policy was read by whom.
//
// The judge: each key has one writer, who notes what was acknowledged; the tiers are large enough
// for all of it. What the next process finds on the medium is compared with the notes.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "engine/engine_factory.h"
#include "tests/support/memory_hot_tier.h"
#include "tests/support/memory_tier.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

constexpr std::size_t kBytes = 512;
constexpr int kWriters = 3;

class WritePolicyStress : public ::testing::Test {
 protected:
  void open() {
    cold_ = std::make_unique<MemoryTier>(MemoryTierOptions{.loop = &cold_loop_}, medium_);
    hot_ = std::make_unique<MemoryHotTier>(32 * kMiB);
    auto made = make_engine({.hot_bytes = 32 * kMiB},
                            {.hot = hot_.get(), .cold = cold_.get(), .mover_loop = &mover_loop_});
    ASSERT_TRUE(made.ok());
    engine_ = *std::move(made);
    ns_ = *engine_->open_namespace({.name = "n", .kind = NamespaceKind::mutable_});
    ASSERT_TRUE(engine_->wait_recovered(TimePoint::never()).ok());
  }
  void TearDown() override { drop(); }
  void drop() {
    engine_.reset();
    cold_.reset();
    hot_.reset();
  }

  static std::string key_name(int writer, std::uint64_t i) {
    return "w" + std::to_string(writer) + "/" + std::to_string(i);
  }

  /// Version 0: it was erased last.
  void write(int writer, Rng rng) {
    auto& mine = versions_[static_cast<std::size_t>(writer)];
    for (std::size_t i = 0; i < rounds_; ++i) {
      const std::uint64_t key = rng.below(mine.size());
      const std::string name = key_name(writer, key);
      if (rng.chance(0.1)) {
        const KeyRef ref{name};
        if (engine_->erase_sync(ns_, {&ref, 1}).ok()) mine[key] = 0;
        continue;
      }
      const std::string payload = make_payload(name, i + 1, kBytes);
      const PutBlock block{.key = name, .payload = as_bytes(payload)};
      PutOptions options;
      if (rng.chance(0.1)) options.durability = static_cast<Durability>(1 + rng.below(2));
      const PutResult put = engine_->put_sync(ns_, {&block, 1}, options).at(0);
      if (!put.status.ok()) ++refused_;
      if (put.status.ok()) mine[key] = i + 1;
    }
  }

  void read(Rng rng) {
    while (!stop_.load()) {
      const std::string name =
          key_name(static_cast<int>(rng.below(kWriters)), rng.below(kKeysOfOne));
      const KeyRef ref{name};
      engine_->acquire_sync(ns_, {&ref, 1}).status().IgnoreError();
    }
  }

  void disturb(Rng rng) {
    while (!stop_.load()) {
      if (rng.chance(0.2)) {
        EXPECT_TRUE(engine_->flush().ok());
      } else {
        const auto policy = static_cast<WritePolicy>(rng.below(3));
        EXPECT_TRUE(engine_->set_write_policy(ns_, policy).ok());
        ++switches_;
      }
      engine_->stats();
    }
  }

  static constexpr std::size_t kKeysOfOne = 100;
  std::shared_ptr<MemoryMedium> medium_ = std::make_shared<MemoryMedium>();
  EventLoop cold_loop_{system_clock()}, mover_loop_{system_clock()};
  std::unique_ptr<LoopThread> cold_thread_ = *LoopThread::start("cold", cold_loop_);
  std::unique_ptr<LoopThread> mover_thread_ = *LoopThread::start("mover", mover_loop_);
  std::unique_ptr<MemoryTier> cold_;
  std::unique_ptr<MemoryHotTier> hot_;
  std::unique_ptr<Engine> engine_;
  NamespaceId ns_{};
  const std::size_t rounds_ = scaled(4000);
  std::vector<std::vector<std::uint64_t>> versions_{kWriters,
                                                    std::vector<std::uint64_t>(kKeysOfOne)};
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> switches_{0}, refused_{0};
};

TEST_F(WritePolicyStress, NoAcknowledgedBlockIsLeftBehindByASwitch) {
  open();
  Rng rng(announce_seed());
  std::vector<std::thread> writers, others;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([this, i, r = rng.fork()] { write(i, r); });
  }
  others.emplace_back([this, r = rng.fork()] { read(r); });
  others.emplace_back([this, r = rng.fork()] { disturb(r); });
  for (std::thread& thread : writers) thread.join();
  stop_.store(true);
  for (std::thread& thread : others) thread.join();
  EXPECT_GT(switches_.load(), 0U);
  EXPECT_EQ(refused_.load(), 0U);
  ASSERT_TRUE(engine_->set_write_policy(ns_, WritePolicy::through).ok());
  ASSERT_TRUE(engine_->flush().ok());
  EXPECT_EQ(engine_->stats().namespaces.at(0).dirty_blocks, 0U);
  EXPECT_EQ(engine_->stats().write_back.dropped_blocks, 0U);
  drop();
  medium_->power_cut();
  open();
  for (int writer = 0; writer < kWriters; ++writer) {
    const auto& mine = versions_[static_cast<std::size_t>(writer)];
    for (std::size_t key = 0; key < mine.size(); ++key) {
      const std::string name = key_name(writer, key);
      const KeyRef ref{name};
      const auto lease = engine_->acquire_sync(ns_, {&ref, 1});
      ASSERT_TRUE(lease.ok());
      ASSERT_EQ(lease->blocks().size(), mine[key] == 0 ? 0U : 1U) << name;
      if (mine[key] == 0) continue;
      EXPECT_TRUE(is_payload(name, mine[key], lease->blocks()[0].bytes)) << name;
    }
  }
}

}  // namespace
}  // namespace cairn::test
