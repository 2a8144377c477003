// SPDX-License-Identifier: Apache-2.0
// Lookups by token ids beside puts, erasures, evictions and clearings, on real threads.
//
// Keys are a function of the tokens up to their block, so every answer can be judged by itself:
// the keys are those of the prompt. When all is quiet again an answer must be kept, too.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "engine/engine_factory.h"
#include "tests/support/memory_hot_tier.h"
#include "tests/support/memory_tier.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

constexpr std::uint32_t kBlock = 4;
constexpr std::size_t kDeep = 5, kBytes = 1024;
constexpr std::uint32_t kPrompts = 24;
constexpr int kPutters = 2;

/// They part from each other somewhere along the way, mostly in the middle of a block.
std::vector<std::uint32_t> prompt(std::uint64_t number) {
  std::vector<std::uint32_t> tokens(kBlock * kDeep, 7);
  tokens[number % 17] = static_cast<std::uint32_t>(number);
  return tokens;
}

std::string key_of(std::span<const std::uint32_t> prefix) {
  std::string key = "k";
  for (const std::uint32_t token : prefix) key += static_cast<char>('A' + token);
  return key;
}

class TokenIndexStress : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.hot_bytes = 40 * kBytes;
    options.hot_list_interval = Duration::millis(5);  // the walk, and saving
    auto made = make_engine(options, {.hot = &hot_, .cold = &cold_, .mover_loop = &mover_loop_});
    ASSERT_TRUE(made.ok());
    engine_ = *std::move(made);
    ns_ = *engine_->open_namespace({.name = "n", .tokens_per_block = kBlock},
                                   {.token_index_bytes = kMiB});
  }
  void TearDown() override {
    EXPECT_TRUE(engine_->close().ok());
    engine_.reset();
  }

  void put(Rng rng) {
    for (std::size_t i = 0; i < rounds_; ++i) {
      const std::vector<std::uint32_t> tokens = prompt(rng.below(kPrompts));
      const std::size_t end = rng.between(1, kDeep);
      std::vector<std::string> keys, payloads;
      for (std::size_t at = 0; at < end; ++at) {
        keys.push_back(key_of(std::span(tokens).first((at + 1) * kBlock)));
        payloads.push_back(make_payload(keys.back(), 0, kBytes));
      }
      std::vector<PutBlock> blocks;
      for (std::size_t at = 0; at < end; ++at) {
        blocks.push_back({.key = keys[at],
                          .payload = as_bytes(payloads[at]),
                          .token_prefix = std::span(tokens).first((at + 1) * kBlock)});
      }
      const std::vector<PutResult> results =
          engine_->put_sync(ns_, blocks, {.durability = static_cast<Durability>(rng.below(3))});
      if (results[0].status.ok()) {
        ++put_;
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(100));  // being cleared, or full
      }
    }
    ++putters_done_;
  }

  void ask(std::uint64_t number) {
    const std::vector<std::uint32_t> tokens = prompt(number);
    const auto run = engine_->match_tokens(ns_, tokens);
    if (!run.ok() || run->keys.size() > kDeep) {
      ++wrong_;
      return;
    }
    for (std::size_t at = 0; at < run->keys.size(); ++at) {
      if (run->keys[at] != key_of(std::span(tokens).first((at + 1) * kBlock))) ++wrong_;
    }
    matched_ += run->keys.size();
  }

  void match(Rng rng) {
    while (putters_done_.load() < kPutters) ask(rng.below(kPrompts));
  }

  void disturb(Rng rng) {
    for (std::size_t i = 0; putters_done_.load() < kPutters; ++i) {
      const std::vector<std::uint32_t> tokens = prompt(rng.below(kPrompts));
      const std::string name =
          key_of(std::span(tokens).first(rng.between(1, kDeep) * std::size_t{kBlock}));
      const KeyRef key{name};
      switch (rng.below(6)) {
        case 0:
        case 1:
          engine_->erase_sync(ns_, {&key, 1}).status().IgnoreError();
          break;
        case 2:
          engine_->evict_unused(TierKind::hot, 10 * kBytes).status().IgnoreError();
          break;
        case 3:
          engine_->evict_unused(TierKind::cold, 20 * kBytes).status().IgnoreError();
          break;
        case 4:
          engine_->stats();
          engine_->token_tree_picture(ns_, 10).status().IgnoreError();
          break;
        default:
          if (i % 256 == 0) engine_->clear(ns_).IgnoreError();
          break;
      }
    }
  }

  MemoryHotTier hot_{40 * kBytes};
  EventLoop cold_loop_{system_clock()}, mover_loop_{system_clock()};
  MemoryTier cold_{{.capacity_bytes = 80 * kBytes, .loop = &cold_loop_}};
  std::unique_ptr<LoopThread> cold_thread_ = *LoopThread::start("cold", cold_loop_);
  std::unique_ptr<LoopThread> mover_thread_ = *LoopThread::start("mover", mover_loop_);
  std::unique_ptr<Engine> engine_;
  NamespaceId ns_{};
  const std::size_t rounds_ = scaled(3000);
  std::atomic<std::uint64_t> put_{0}, matched_{0}, wrong_{0};
  std::atomic<int> putters_done_{0};
};

TEST_F(TokenIndexStress, EveryAnswerIsOfThesePromptsTokens) {
  Rng rng(announce_seed());
  std::vector<std::thread> threads;
  for (int i = 0; i < kPutters; ++i) {
    threads.emplace_back([this, r = rng.fork()] { put(r); });
    threads.emplace_back([this, r = rng.fork()] { match(r); });
    threads.emplace_back([this, r = rng.fork()] { disturb(r); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong_.load(), 0U);
  EXPECT_GT(put_.load(), 0U);
  EXPECT_GT(matched_.load(), 0U);
  for (std::uint32_t number = 0; number < kPrompts; ++number) {
    // The last evictions may still be under way.
    bool is_kept = false;
    for (int i = 0; i < 100 && !is_kept; ++i) {
      const auto run = engine_->match_tokens(ns_, prompt(number));
      ASSERT_TRUE(run.ok());
      is_kept = engine_->match_length(ns_, run->refs()) == run->keys.size();
      if (!is_kept) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(is_kept) << number;
  }
  EXPECT_EQ(wrong_.load(), 0U);
}

}  // namespace
}  // namespace cairn::test
