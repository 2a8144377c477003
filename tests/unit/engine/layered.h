// SPDX-License-Identifier: Apache-2.0
// layered.h — a namespace whose blocks have layers, and runs of them loaded layer by layer.
//
// Threading: confined to the test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/engine_world.h"

namespace cairn::test {
// 8 layers of 4 KiB. Warm cuts such a block into chunks of four layers.
constexpr BlockLayout kLayout{
    .layers = 8, .tensors = 2, .tokens = 16, .kv_heads = 1, .head_dim = 64};
constexpr std::uint32_t kLayerBytes = 4096, kBlockBytes = 8 * kLayerBytes;

inline const NamespaceDescriptor& descriptor(
    NamespaceKind kind = NamespaceKind::content_addressed) {
  static const NamespaceDescriptor kAddressed{
      .name = "layered", .dtype = Dtype::bf16, .layout = kLayout, .tokens_per_block = 16};
  static const NamespaceDescriptor kMutable{.name = "changing",
                                            .kind = NamespaceKind::mutable_,
                                            .dtype = Dtype::bf16,
                                            .layout = kLayout,
                                            .tokens_per_block = 16};
  return kind == NamespaceKind::mutable_ ? kMutable : kAddressed;
}

inline EngineWorldOptions roomy() {
  EngineWorldOptions options;
  options.hot_bytes = 64 * kBlockBytes;
  return options;
}

/// Few in hot, some in warm, the rest in cold.
inline EngineWorldOptions tiered() {
  EngineWorldOptions options;
  options.hot_bytes = 12 * kBlockBytes;
  options.warm_bytes = 16 * kBlockBytes;
  options.engine.high_watermark = 0.9;
  options.engine.low_watermark = 0.5;
  return options;
}

inline std::vector<std::string> names(std::size_t count) {
  return EngineWorld::chain("k", count);
}

/// One load_layers with buffers of its own, which looks at the bytes whenever it is told of some.
class LayerRun {
 public:
  explicit LayerRun(const std::vector<std::string>& keys, std::uint64_t version = 0)
      : keys_(keys), version_(version) {}

  void start(EngineWorld& world, NamespaceId ns, LayerOptions options = {}) {
    options_ = options;
    if (options_.layers.is_whole()) options_.layers = {0, kLayout.layers};
    next_ = options_.layers.first;
    const std::size_t bytes = std::size_t{options_.layers.count} * kLayerBytes;
    for (const std::string& key : keys_) {
      buffers_.push_back(std::make_unique<std::byte[]>(bytes));
      targets_.push_back({.key = {key}, .buffer = {buffers_.back().get(), bytes}});
    }
    world.engine().load_layers(
        ns, targets_, options,
        [this](const LoadedLayers& loaded) {
          EXPECT_FALSE(done) << "told after done";
          EXPECT_FALSE(is_inside_) << "told inside the call";
          told_layers(loaded);
        },
        [this](absl::Status result) {
          EXPECT_FALSE(done);
          done = true;
          status = std::move(result);
        });
    is_inside_ = false;
  }
  const LoadTarget& operator[](std::size_t i) const { return targets_[i]; }
  std::size_t found() const {
    return static_cast<std::size_t>(std::count_if(
        targets_.begin(), targets_.end(), [](const LoadTarget& target) { return target.found; }));
  }
  bool is_right(std::size_t i) const { return is_right(i, options_.layers); }
  bool is_right(std::size_t i, LayerRange layers) const {
    const std::string payload = make_payload(keys_[i], version_, kBlockBytes);
    const ByteSpan expected = layers_of(as_bytes(payload), descriptor(), layers);
    const ByteSpan got =
        ByteSpan(targets_[i].buffer)
            .subspan((layers.first - options_.layers.first) * kLayerBytes, expected.size());
    return as_text(got) == as_text(expected);
  }

  std::vector<LoadedLayers> told;
  std::function<void(const LoadedLayers&)> on_told;
  bool done = false;
  absl::Status status;

 private:
  void told_layers(const LoadedLayers& loaded) {
    EXPECT_EQ(loaded.layers.first, next_) << "out of order";
    next_ = loaded.layers.first + loaded.layers.count;
    if (options_.read == Read::prefix) {
      for (std::size_t i = 0; i < loaded.blocks; ++i) {
        EXPECT_TRUE(is_right(i, loaded.layers)) << keys_[i] << ", layer " << loaded.layers.first;
      }
    }
    told.push_back(loaded);
    if (on_told) on_told(loaded);
  }

  const std::vector<std::string> keys_;
  const std::uint64_t version_;
  LayerOptions options_;
  bool is_inside_ = true;
  std::uint32_t next_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> buffers_;
  std::vector<LoadTarget> targets_;
};

class Layered : public ::testing::Test {
 protected:
  void make(EngineWorldOptions options, NamespaceKind kind = NamespaceKind::content_addressed) {
    world_ = std::make_unique<EngineWorld>(std::move(options));
    ns_ = *world_->engine().open_namespace(descriptor(kind));
  }
  void put(const std::vector<std::string>& keys, Durability durability = Durability::written) {
    for (const std::string& key : keys) {
      ASSERT_TRUE(world_->put(ns_, key, kBlockBytes, 0, durability).status.ok());
    }
    world_->settle();
  }
  /// The same, and nothing of it in hot.
  void put_cold(const std::vector<std::string>& keys) {
    put(keys);
    ASSERT_TRUE(world_->engine().evict_unused(TierKind::hot, 0).ok());
    if (world_->options().warm_bytes > 0) {
      ASSERT_TRUE(world_->engine().evict_unused(TierKind::warm, 0).ok());
    }
    ASSERT_EQ(count_in(keys, TierKind::cold), keys.size());
  }
  std::size_t count_in(const std::vector<std::string>& keys, TierKind tier) {
    const Match match = world_->engine().match(ns_, EngineWorld::refs(keys));
    return static_cast<std::size_t>(
        std::count_if(match.blocks.begin(), match.blocks.end(),
                      [tier](const MatchedBlock& block) { return block.tier == tier; }));
  }
  /// How many are there and kept from leaving.
  std::size_t held(const std::vector<std::string>& keys) {
    return static_cast<std::size_t>(
        std::count_if(keys.begin(), keys.end(), [this](const std::string& key) {
          return world_->engine().match_length(ns_, EngineWorld::refs({key})) == 1 &&
                 !world_->engine().is_freeable(ns_, {key});
        }));
  }
  EngineWorld& world() { return *world_; }

  std::unique_ptr<EngineWorld> world_;
  NamespaceId ns_{};
};

}  // namespace cairn::test
