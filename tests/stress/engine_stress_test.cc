// SPDX-License-Identifier: Apache-2.0
// Writers, readers, erasers and evictions at once, on real threads; every byte is verified.
//
// The judge: a payload is a function of (key, version), and a reader asks of what it got that it
// is whole and of some version that was put. For names with one owner the owner also knows
// which version it must be.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "engine/engine_factory.h"
#include "tests/support/memory_hot_tier.h"
#include "tests/support/memory_tier.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tiers/codec/codec_pool.h"
#include "tiers/namespace_facts.h"
#include "tiers/warm/warm_tier.h"

namespace cairn::test {
namespace {

constexpr int kKeys = 64;
constexpr std::size_t kBytes = 1024;

class EngineStress : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.hot_bytes = 40 * kBytes;
    options.high_watermark = 0.8;
    options.low_watermark = 0.6;
    options.leasable_fraction = 0.9;
    options.warm_bytes = 256 * kKiB;
    codec_ = *tiers::CodecPool::start(2);
    warm_ = *tiers::open_warm_tier(
        {.capacity_bytes = options.warm_bytes, .region_bytes = 64 * kKiB, .huge_pages = false},
        {.codec = codec_.get(), .coding = [this](NamespaceId id) { return facts_.coding(id); }});
    auto made = make_engine(
        options, {.hot = &hot_, .warm = warm_.get(), .cold = &cold_, .mover_loop = &mover_loop_});
    ASSERT_TRUE(made.ok());
    engine_ = *std::move(made);
    content_ = *engine_->open_namespace({.name = "content"});
    mutable_ = *engine_->open_namespace({.name = "mutable", .kind = NamespaceKind::mutable_});
  }
  void TearDown() override {
    EXPECT_TRUE(engine_->close().ok());
    EXPECT_EQ(engine_->stats().leases_open, 0U);
    EXPECT_EQ(engine_->stats().corrupt_blocks, 0U);
    EXPECT_GT(engine_->stats().moves[static_cast<std::size_t>(MoveKind::hot_to_warm)].blocks, 0U);
    EXPECT_GT(engine_->stats().warm.hits, 0U);
    engine_.reset();
    warm_->check_invariants();
  }

  static std::string key_name(std::uint64_t key) { return "key" + std::to_string(key); }

  /// A mutable payload begins with its version.
  static std::string versioned(std::string_view key, std::uint64_t version) {
    std::string payload = make_payload(key, version, kBytes);
    store_le({reinterpret_cast<std::byte*>(payload.data()), payload.size()}, 0, version);
    return payload;
  }
  static bool is_whole(std::string_view key, ByteSpan bytes) {
    return bytes.size() == kBytes &&
           as_text(bytes) == versioned(key, load_le<std::uint64_t>(bytes, 0));
  }

  void write(Rng rng) {
    for (std::size_t i = 0; i < rounds_; ++i) {
      const std::string key = key_name(rng.below(kKeys));
      const bool changes = rng.chance(0.5);
      const std::string payload =
          changes ? versioned(key, ++version_) : make_payload(key, 0, kBytes);
      const PutBlock block{.key = key, .payload = as_bytes(payload)};
      const auto durability = static_cast<Durability>(rng.below(3));
      engine_->put_sync(changes ? mutable_ : content_, {&block, 1}, {.durability = durability});
    }
  }

  void read(Rng rng) {
    for (std::size_t i = 0; i < rounds_; ++i) {
      std::vector<std::string> names;
      for (std::uint64_t n = rng.between(1, 6); n > 0; --n)
        names.push_back(key_name(rng.below(kKeys)));
      std::vector<KeyRef> keys;
      for (const std::string& name : names) keys.push_back({name});
      const bool changes = rng.chance(0.5);
      const auto lease =
          engine_->acquire_sync(changes ? mutable_ : content_, keys,
                                {.read = rng.chance(0.5) ? Read::each : Read::prefix});
      if (!lease.ok()) continue;
      for (std::size_t at = 0; at < lease->blocks().size(); ++at) {
        const LeasedBlock& block = lease->blocks()[at];
        if (!block.found) continue;
        ++verified_;
        const bool right =
            changes ? is_whole(names[at], block.bytes) : is_payload(names[at], 0, block.bytes);
        if (!right) ++wrong_;
      }
    }
  }

  void load(Rng rng) {
    std::vector<std::byte> buffer(kBytes);
    for (std::size_t i = 0; i < rounds_; ++i) {
      const std::string name = key_name(rng.below(kKeys));
      LoadTarget target{.key = {name}, .buffer = buffer};
      if (!engine_->load_sync(content_, {&target, 1}).ok() || !target.found) continue;
      ++verified_;
      if (!is_payload(name, 0, ByteSpan(buffer).first(target.bytes))) ++wrong_;
    }
  }

  void disturb(Rng rng) {
    for (std::size_t i = 0; i < rounds_; ++i) {
      const std::string name = key_name(rng.below(kKeys));
      const KeyRef key{name};
      const NamespaceId ns = rng.chance(0.5) ? mutable_ : content_;
      switch (rng.below(6)) {
        case 0:
          engine_->erase_sync(ns, {&key, 1}).status().IgnoreError();
          break;
        case 1:
          engine_->evict_unused(rng.chance(0.5) ? TierKind::hot : TierKind::warm, 10 * kBytes)
              .status()
              .IgnoreError();
          break;
        case 2:
          engine_->announce(ns, {&key, 1}, TimePoint::never());
          break;
        case 3:
          cold_.relocate({ns, name, 0});
          break;
        case 4:
          engine_->stats();
          break;
        default:
          if (i % 64 == 0) engine_->clear(ns).IgnoreError();
          break;
      }
    }
  }

  MemoryHotTier hot_{40 * kBytes};
  EventLoop cold_loop_{system_clock()}, mover_loop_{system_clock()};
  MemoryTier cold_{{.capacity_bytes = 80 * kBytes, .loop = &cold_loop_}};
  std::unique_ptr<LoopThread> cold_thread_ = *LoopThread::start("cold", cold_loop_);
  std::unique_ptr<LoopThread> mover_thread_ = *LoopThread::start("mover", mover_loop_);
  tiers::NamespaceFacts facts_{cold_};
  std::unique_ptr<tiers::CodecPool> codec_;
  std::unique_ptr<tiers::WarmTier> warm_;
  std::unique_ptr<Engine> engine_;
  NamespaceId content_{}, mutable_{};
  const std::size_t rounds_ = scaled(3000);
  std::atomic<std::uint64_t> version_{0}, verified_{0}, wrong_{0};
};

TEST_F(EngineStress, EveryByteIsRight) {
  Rng rng(announce_seed());
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([this, r = rng.fork()] { write(r); });
    threads.emplace_back([this, r = rng.fork()] { read(r); });
    threads.emplace_back([this, r = rng.fork()] { load(r); });
    threads.emplace_back([this, r = rng.fork()] { disturb(r); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong_.load(), 0U);
  EXPECT_GT(verified_.load(), 0U);
}

}  // namespace
}  // namespace cairn::test
