// SPDX-License-Identifier: Apache-2.0
// Layers of large blocks on a simulated disk: what is read of it for them, and what damage, a hung
// disk and a cleaner under way do to them.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "engine/base/text.h"
#include "tests/support/sim_store.h"
#include "tests/support/warm_world.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"

namespace cairn::test {
namespace {

// 32 layers of 64 KiB, in planes of 32 KiB.
constexpr BlockLayout kLayout{
    .layers = 32, .tensors = 2, .tokens = 16, .kv_heads = 8, .head_dim = 128};
constexpr std::size_t kLayerBytes = 64 * kKiB, kBlockBytes = 32 * kLayerBytes;

class LayerSim : public ::testing::TestWithParam<CodecUse> {
 protected:
  void SetUp() override {
    SimStoreOptions options = small_sim_store(2);  // no warm tier
    options.cold.codec = GetParam();
    store_ = std::make_unique<SimStore>(options);
    ASSERT_TRUE(store_->open().ok());
    ASSERT_TRUE(store_->wait_recovered());
    ns_ = *store_->engine().open_namespace(
        {.name = "n", .dtype = Dtype::bf16, .layout = kLayout, .tokens_per_block = 16});
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      payloads_.push_back(numbers(i, kBlockBytes, 0.1));
      ASSERT_TRUE(
          store_->put(ns_, keys_[i], as_bytes(payloads_[i]), Durability::durable).status.ok());
    }
    ASSERT_TRUE(store_->engine().evict_unused(TierKind::hot, 0).ok());
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      buffers_.emplace_back(kBlockBytes, '\0');
    }
  }
  std::vector<LoadTarget> targets(std::size_t bytes, LayerRange layers = {}) {
    std::vector<LoadTarget> out;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      out.push_back({.key = {keys_[i]},
                     .buffer = {reinterpret_cast<std::byte*>(buffers_[i].data()), bytes},
                     .layers = layers});
    }
    return out;
  }
  std::uint64_t bytes_read() { return store_->device().device_counters().bytes_read; }
  /// What is stored of one block.
  StoredBlock stored(std::string_view key) {
    StoredLookup lookup;
    lookup.name = {ns_, key, 0};
    bool done = false;
    store_->cold().lookup({&lookup, 1}, [&] { done = true; });
    EXPECT_TRUE(store_->pump_until([&] { return done; }));
    return *lookup.found;
  }

  const std::vector<std::string> keys_{"a", "b", "c"};
  std::vector<std::string> payloads_, buffers_;
  std::unique_ptr<SimStore> store_;
  NamespaceId ns_{};
};

TEST_P(LayerSim, OneLayerReadsLittleMoreThanThatLayer) {
  for (const std::uint32_t layer : {0U, 1U, 17U, 31U}) {
    const std::uint64_t before = bytes_read();
    std::vector<LoadTarget> wanted = targets(kLayerBytes, {layer, 1});
    ASSERT_TRUE(store_->engine().load_sync(ns_, wanted).ok());
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      ASSERT_TRUE(wanted[i].found) << wanted[i].status;
      EXPECT_EQ(buffers_[i].substr(0, kLayerBytes),
                payloads_[i].substr(layer * kLayerBytes, kLayerBytes));
    }
    // A page of header, and a page at either end.
    EXPECT_LE(bytes_read() - before, keys_.size() * (kLayerBytes + 3 * 4096));
    EXPECT_GT(bytes_read() - before, keys_.size() * kLayerBytes / 2);
  }
}

TEST_P(LayerSim, AllOfThemLittleMoreThanTheBlocks) {
  std::uint64_t stored_bytes = 0;
  for (const std::string& key : keys_) stored_bytes += stored(key).stored_bytes;
  if (GetParam() == CodecUse::on) {
    EXPECT_LT(stored_bytes, keys_.size() * kBlockBytes * 9 / 10);
  }
  const std::uint64_t before = bytes_read();
  std::vector<LoadTarget> wanted = targets(kBlockBytes);
  std::uint32_t told = 0;
  bool done = false;
  store_->engine().load_layers(
      ns_, wanted, {},
      [&](const LoadedLayers& loaded) {
        EXPECT_EQ(loaded.layers, (LayerRange{told++, 1}));
        EXPECT_EQ(loaded.blocks, keys_.size());
        for (std::size_t i = 0; i < keys_.size(); ++i) {
          const std::size_t at = loaded.layers.first * kLayerBytes;
          EXPECT_EQ(buffers_[i].substr(at, kLayerBytes), payloads_[i].substr(at, kLayerBytes));
        }
      },
      [&](const absl::Status& status) { done = status.ok(); });
  ASSERT_TRUE(store_->pump_until([&] { return done; }));
  EXPECT_EQ(told, 32U);
  EXPECT_EQ(buffers_, payloads_);
  EXPECT_LE(bytes_read() - before, stored_bytes + keys_.size() * 32 * 3 * 4096);
}

TEST_P(LayerSim, DamageElsewhereInTheBlockIsNotMet) {
  const tiers::Place place = tiers::unpack_location(stored("b").location);
  // In the last page of the record: of the last layer.
  store_->disk().flip_bit(tiers::segment_path("/store", place.segment),
                          place.offset + place.record_bytes - 4096 - 100, 3);
  std::vector<LoadTarget> wanted = targets(30 * kLayerBytes, {0, 30});
  ASSERT_TRUE(store_->engine().load_sync(ns_, wanted).ok());
  EXPECT_TRUE(wanted[0].found && wanted[1].found && wanted[2].found);
  EXPECT_EQ(store_->cold().health().corruptions, 0U);
  wanted = targets(2 * kLayerBytes, {30, 2});
  ASSERT_TRUE(store_->engine().load_sync(ns_, wanted).ok());
  EXPECT_TRUE(wanted[0].found && !wanted[1].found && !wanted[2].found);
  EXPECT_TRUE(has_code(wanted[1].status, ErrorCode::corruption)) << wanted[1].status;
  EXPECT_EQ(store_->cold().health().corruptions, 1U);
}

TEST_P(LayerSim, AHungDiskEndsItAtItsDeadline) {
  for (const std::uint64_t nth : {1U, 5U, 60U}) {  // a header, chunks, anything
    store_->disk().faults().clear();
    store_->disk().faults().add({.fault = Fault::hang,
                                 .side = Side::device,
                                 .nth = nth,
                                 .times = 1,
                                 .path_contains = ".seg"});
    std::vector<LoadTarget> wanted = targets(kBlockBytes);
    bool done = false;
    store_->engine().load_layers(
        ns_, wanted, {.deadline = store_->clock().now() + Duration::seconds(1)},
        [](const LoadedLayers&) {}, [&](const absl::Status& status) { done = status.ok(); });
    ASSERT_TRUE(store_->pump_until([&] { return done; }));
    for (const LoadTarget& target : wanted) {
      EXPECT_FALSE(target.found);
      EXPECT_TRUE(has_code(target.status, ErrorCode::deadline)) << target.status;
    }
    wanted.clear();
    store_->device().release_hung();
    store_->pump();
  }
  EXPECT_EQ(store_->disk().faults().fired(Fault::hang), 3U);
  std::vector<LoadTarget> wanted = targets(kLayerBytes, {9, 1});
  ASSERT_TRUE(store_->engine().load_sync(ns_, wanted).ok());
  EXPECT_TRUE(wanted[2].found);
}

INSTANTIATE_TEST_SUITE_P(Codec, LayerSim, ::testing::Values(CodecUse::off, CodecUse::on),
                         [](const auto& tested) {
                           return std::string(codec_use_name(tested.param));
                         });

}  // namespace
}  // namespace cairn::test
