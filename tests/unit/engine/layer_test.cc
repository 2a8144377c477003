// SPDX-License-Identifier: Apache-2.0
// Which bytes are whose layer's, and load() of some layers of each block.
#include "engine/base/text.h"
#include "tests/unit/engine/layered.h"

namespace cairn::test {
namespace {

class LayersOf : public Layered {};

TEST_F(LayersOf, LieSideBySideInTheOrderOfTheLayout) {
  EXPECT_EQ(layer_bytes(kLayout, Dtype::bf16), kLayerBytes);
  EXPECT_EQ(layer_bytes({}, Dtype::bf16), 0U);
  const NamespaceDescriptor& of = descriptor();
  EXPECT_EQ(*bytes_of_layers(of, {}), (ByteRange{0, kBlockBytes}));
  EXPECT_EQ(*bytes_of_layers(of, {7, 1}), (ByteRange{7 * kLayerBytes, kLayerBytes}));
  EXPECT_EQ(*bytes_of_layers(of, {2, 3}), (ByteRange{2 * kLayerBytes, 3 * kLayerBytes}));
  for (const LayerRange wrong :
       {LayerRange{8, 1}, LayerRange{7, 2}, LayerRange{3, 0}, LayerRange{0, 9},
        LayerRange{UINT32_MAX, 2}, LayerRange{1, UINT32_MAX}}) {
    EXPECT_TRUE(has_code(bytes_of_layers(of, wrong).status(), ErrorCode::invalid_argument));
  }
  EXPECT_TRUE(has_code(bytes_of_layers({.name = "n"}, {}).status(), ErrorCode::invalid_argument));
  const std::string block = make_payload("k", 0, kBlockBytes);
  EXPECT_EQ(layers_of(as_bytes(block), of, {1, 2}).data(), as_bytes(block).data() + kLayerBytes);
  EXPECT_TRUE(layers_of(as_bytes(block).first(100), of, {0, 1}).empty());
  EXPECT_TRUE(layers_of(as_bytes(block), of, {8, 1}).empty());
}

TEST_F(LayersOf, AReservedBatchIsFilledLayerByLayer) {
  make(roomy());
  const std::vector<std::string> keys = names(3);
  std::vector<PutBlock> blocks;
  std::vector<std::string> payloads;
  const std::string sizes(kBlockBytes, '\0');
  for (const std::string& key : keys) {
    payloads.push_back(make_payload(key, 0, kBlockBytes));
    blocks.push_back({.key = key, .payload = as_bytes(sizes)});
  }
  auto batch = world().engine().reserve(ns_, blocks, {.durability = Durability::written});
  ASSERT_TRUE(batch.ok()) << batch.status();
  for (std::uint32_t layer = 0; layer < kLayout.layers; ++layer) {
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const MutableByteSpan to = layers_of((*batch)->buffer(i), descriptor(), {layer, 1});
      const ByteSpan from = layers_of(as_bytes(payloads[i]), descriptor(), {layer, 1});
      ASSERT_EQ(to.size(), kLayerBytes);
      std::copy(from.begin(), from.end(), to.begin());
    }
  }
  bool committed = false;
  (*batch)->commit([&](const std::vector<PutResult>& results) {
    committed = results.size() == 3 && results[2].status.ok();
  });
  world().settle();
  ASSERT_TRUE(committed);
  for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(world().get(ns_, keys[i]), payloads[i]);
}

// --- load: some layers of each block ---------------------------------------------------------

TEST_F(LayersOf, LoadGivesThemFromEveryTierAndPromotesNothing) {
  make(tiered());
  const std::vector<std::string> keys = names(40);
  put(keys);
  ASSERT_GT(count_in(keys, TierKind::hot), 0U);
  ASSERT_GT(count_in(keys, TierKind::warm), 0U);
  ASSERT_GT(count_in(keys, TierKind::cold), 0U);
  const std::size_t in_hot = count_in(keys, TierKind::hot);
  for (const Deadline deadline :
       {TimePoint::never(), world().clock().now() + Duration::seconds(5)}) {
    for (const LayerRange layers : {LayerRange{0, 1}, LayerRange{7, 1}, LayerRange{3, 2},
                                    LayerRange{1, 6}, LayerRange{0, 8}}) {
      std::vector<std::string> into(keys.size(), std::string(layers.count * kLayerBytes, '\0'));
      std::vector<LoadTarget> targets;
      for (std::size_t i = 0; i < keys.size(); ++i) {
        targets.push_back({.key = {keys[i]},
                           .buffer = {reinterpret_cast<std::byte*>(into[i].data()), into[i].size()},
                           .layers = layers});
      }
      const std::uint64_t before = world().cold().bytes_read();
      ASSERT_TRUE(world().engine().load_sync(ns_, targets, {.deadline = deadline}).ok());
      for (std::size_t i = 0; i < keys.size(); ++i) {
        const std::string payload = make_payload(keys[i], 0, kBlockBytes);
        ASSERT_TRUE(targets[i].found) << i << targets[i].status;
        EXPECT_EQ(targets[i].bytes, into[i].size());
        EXPECT_EQ(into[i], as_text(layers_of(as_bytes(payload), descriptor(), layers))) << i;
      }
      EXPECT_EQ(world().cold().bytes_read() - before,
                count_in(keys, TierKind::cold) * layers.count * kLayerBytes);
      EXPECT_EQ(count_in(keys, TierKind::hot), in_hot);
    }
  }
}

TEST_F(LayersOf, LoadSaysWhereThereAreNone) {
  make(roomy());
  put({"k"});
  ASSERT_TRUE(world().put(ns_, "short", 1000).status.ok());
  std::string into(kBlockBytes, '\0');
  const auto load = [&](NamespaceId ns, std::string_view key, LayerRange layers, std::size_t room) {
    LoadTarget target{.key = {key},
                      .buffer = {reinterpret_cast<std::byte*>(into.data()), room},
                      .layers = layers};
    const absl::Status status = world().engine().load_sync(ns, {&target, 1});
    EXPECT_FALSE(target.found);
    return status.ok() ? target.status : status;
  };
  for (int i = 0; i < 2; ++i) {  // in hot, in cold
    EXPECT_TRUE(has_code(load(ns_, "k", {7, 2}, kBlockBytes), ErrorCode::invalid_argument));
    EXPECT_TRUE(has_code(load(ns_, "k", {0, 2}, kLayerBytes), ErrorCode::invalid_argument));
    EXPECT_TRUE(has_code(load(ns_, "short", {0, 1}, kBlockBytes), ErrorCode::invalid_argument));
    ASSERT_TRUE(world().engine().evict_unused(TierKind::hot, 0).ok());
  }
  const NamespaceId opaque = world().open_namespace("opaque");
  ASSERT_TRUE(world().put(opaque, "k", kBlockBytes).status.ok());
  EXPECT_TRUE(has_code(load(opaque, "k", {0, 1}, kBlockBytes), ErrorCode::invalid_argument));
}

TEST_F(LayersOf, LoadJoinsWhoFetchesTheWholeBlock) {
  make(roomy());
  put_cold({"k"});
  world().cold().hold();
  const KeyRef key{"k"};
  EXPECT_EQ(world().engine().announce(ns_, {&key, 1}, world().clock().now() + Duration::seconds(1)),
            1U);
  std::string into(kLayerBytes, '\0');
  LoadTarget target{.key = key,
                    .buffer = {reinterpret_cast<std::byte*>(into.data()), into.size()},
                    .layers = {5, 1}};
  bool done = false;
  world().engine().load(ns_, {&target, 1}, {}, [&](const absl::Status&) { done = true; });
  world().settle();
  EXPECT_EQ(world().cold().held(), 1U);
  world().cold().release();
  world().settle();
  ASSERT_TRUE(done && target.found);
  EXPECT_EQ(into, make_payload("k", 0, kBlockBytes).substr(5 * kLayerBytes, kLayerBytes));
}

}  // namespace
}  // namespace cairn::test
