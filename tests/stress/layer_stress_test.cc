// SPDX-License-Identifier: Apache-2.0
// Runs loaded layer by layer from a whole store on real files, with its own threads, while blocks
// are put, erased and moved between its three tiers. Goal: no data race (ThreadSanitizer reads
// along), and every layer right when it is told.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "engine/base/status.h"
#include "engine/completion.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/temp_dir.h"
#include "tiers/open.h"

namespace cairn::test {
namespace {

constexpr std::uint64_t kKeys = 48;
constexpr BlockLayout kLayout{
    .layers = 8, .tensors = 2, .tokens = 16, .kv_heads = 8, .head_dim = 128};
constexpr std::size_t kLayerBytes = 64 * kKiB, kBlockBytes = 8 * kLayerBytes;

class LayerStress : public ::testing::Test {
 protected:
  void SetUp() override {
    StoreOptions options;
    options.directory = directory_.path();
    options.engine.hot_bytes = 8 * kMiB;
    options.engine.warm_bytes = 4 * kMiB;
    options.engine.metadata_bytes = 8 * kMiB;
    options.cold.cold_bytes = 96 * kMiB;
    auto store = open_store(options);
    ASSERT_TRUE(store.ok()) << message_of(store.status());
    store_ = *std::move(store);
    const auto ns = engine().open_namespace(descriptor_);
    ASSERT_TRUE(ns.ok());
    ns_ = *ns;
    for (std::uint64_t key = 0; key < kKeys; ++key) {
      names_.push_back("key" + std::to_string(key));
      payloads_.push_back(make_payload(names_.back(), 0, kBlockBytes));
      put(key, Durability::written);
    }
  }
  Engine& engine() { return store_->engine(); }

  void put(std::uint64_t key, Durability durability) {
    const PutBlock block{.key = names_[key], .payload = as_bytes(payloads_[key])};
    engine().put_sync(ns_, {&block, 1}, {.durability = durability, .links = Links::absent});
  }

  void read(Rng rng) {
    std::vector<std::string> buffers(12, std::string(kBlockBytes, '\0'));
    for (std::size_t i = 0; i < rounds_; ++i) {
      std::vector<std::uint64_t> keys(1 + rng.below(buffers.size()));
      std::vector<LoadTarget> targets;
      for (std::size_t at = 0; at < keys.size(); ++at) {
        keys[at] = at == 0 ? rng.below(kKeys) : (keys[0] + at) % kKeys;
        targets.push_back(
            {.key = {names_[keys[at]]},
             .buffer = {reinterpret_cast<std::byte*>(buffers[at].data()), kBlockBytes}});
      }
      LayerOptions options{.group = static_cast<std::uint32_t>(1 + rng.below(3))};
      if (rng.chance(0.3)) {
        options.deadline =
            system_clock().now() + Duration::micros(static_cast<std::int64_t>(rng.below(20'000)));
      }
      detail::Completion over;
      engine().load_layers(
          ns_, targets, options,
          [&](const LoadedLayers& loaded) {
            for (std::size_t at = 0; at < loaded.blocks; ++at) {
              judge(keys[at], buffers[at], loaded.layers);
            }
          },
          [&](const absl::Status&) { over.notify(); });
      over.wait([] { return false; });
      for (std::size_t at = 0; at < keys.size(); ++at) {
        if (targets[at].found) judge(keys[at], buffers[at], {0, kLayout.layers});
      }
    }
  }
  void judge(std::uint64_t key, const std::string& bytes, LayerRange layers) {
    ++verified_;
    const ByteSpan got = layers_of(as_bytes(bytes), descriptor_, layers);
    const ByteSpan expected = layers_of(as_bytes(payloads_[key]), descriptor_, layers);
    if (got.empty() || as_text(got) != as_text(expected)) ++wrong_;
  }

  void disturb(Rng rng) {
    for (std::size_t i = 0; i < rounds_; ++i) {
      const std::uint64_t key = rng.below(kKeys);
      const KeyRef ref{names_[key]};
      switch (rng.below(16)) {
        case 0:
          engine().erase_sync(ns_, {&ref, 1}).status().IgnoreError();
          break;
        case 1:
          engine().evict_unused(TierKind::hot, 2 * kMiB).status().IgnoreError();
          break;
        case 2:
          engine().evict_unused(TierKind::warm, kMiB).status().IgnoreError();
          break;
        case 3:
        case 4:
        case 5:
          engine().announce(ns_, {&ref, 1}, system_clock().now() + Duration::millis(5));
          break;
        case 6:
        case 7:
        case 8:
          engine().acquire_sync(ns_, {&ref, 1}).status().IgnoreError();
          break;
        default:
          put(key, static_cast<Durability>(rng.below(3)));
          break;
      }
    }
  }

  const NamespaceDescriptor descriptor_{
      .name = "layered", .dtype = Dtype::bf16, .layout = kLayout, .tokens_per_block = 16};
  TempDir directory_;
  std::unique_ptr<Store> store_;
  NamespaceId ns_{};
  std::vector<std::string> names_, payloads_;
  const std::size_t rounds_ = scaled(400);
  std::atomic<std::uint64_t> verified_{0}, wrong_{0};
};

TEST_F(LayerStress, EveryLayerIsRightWhenItIsTold) {
  Rng rng(announce_seed());
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([this, r = rng.fork()] { read(r); });
    threads.emplace_back([this, r = rng.fork()] { disturb(r); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(verified_.load(), 0U);
  const EngineStats stats = engine().stats();
  EXPECT_GT(stats.warm.hits + stats.cold.hits, 0U);
  EXPECT_EQ(wrong_.load(), 0U);
  EXPECT_TRUE(engine().close().ok());
  EXPECT_EQ(engine().stats().corrupt_blocks, 0U);
}

}  // namespace
}  // namespace cairn::test
