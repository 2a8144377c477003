// SPDX-License-Identifier: Apache-2.0
// load_layers: a run layer by layer, from every tier, while blocks come and go. Finds layers told
// too early or out of order, bytes of other layers, and versions that are mixed.
#include "engine/base/text.h"
#include "tests/support/seed.h"
#include "tests/unit/engine/layered.h"

namespace cairn::test {
namespace {

class LayerLoad : public Layered {};

TEST_F(LayerLoad, ARunIsToldInOrderFromHot) {
  make(roomy());
  const std::vector<std::string> keys = names(10);
  put(keys);
  LayerRun run(keys);
  run.start(world(), ns_);
  EXPECT_TRUE(run.told.empty());
  world().settle();
  ASSERT_TRUE(run.done && run.status.ok());
  ASSERT_EQ(run.told.size(), 8U);
  for (const LoadedLayers& loaded : run.told) {
    EXPECT_EQ(loaded.layers.count, 1U);
    EXPECT_EQ(loaded.blocks, 10U);
    EXPECT_TRUE(loaded.status.ok());
  }
  EXPECT_EQ(run.found(), 10U);
  EXPECT_EQ(run[3].bytes, kBlockBytes);
  EXPECT_EQ(run[3].served_from, TierKind::hot);
  EXPECT_EQ(held(keys), 0U);
}

TEST_F(LayerLoad, ARunFromAllTiersInEveryGrouping) {
  make(tiered());
  const std::vector<std::string> keys = names(40);
  put(keys);
  ASSERT_GT(count_in(keys, TierKind::hot), 0U);
  const std::size_t in_warm = count_in(keys, TierKind::warm);
  ASSERT_GT(in_warm, 0U);
  ASSERT_GT(count_in(keys, TierKind::cold), 0U);
  for (const bool has_deadline : {false, true}) {
    for (const std::uint32_t group : {1U, 3U, 8U, UINT32_MAX}) {
      for (const LayerRange layers : {LayerRange{}, LayerRange{2, 5}, LayerRange{7, 1}}) {
        LayerOptions options{.layers = layers, .group = group};
        if (has_deadline) options.deadline = world().clock().now() + Duration::seconds(5);
        LayerRun run(keys);
        run.start(world(), ns_, options);
        world().settle();
        ASSERT_TRUE(run.done && run.status.ok());
        EXPECT_EQ(run.found(), 40U);
        const std::uint32_t count = layers.is_whole() ? 8 : layers.count;
        EXPECT_EQ(run.told.size(), (count + std::uint64_t{group} - 1) / group);
        for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_TRUE(run.is_right(i)) << i;
      }
    }
  }
  EXPECT_EQ(world().engine().stats().corrupt_blocks, 0U);
  EXPECT_EQ(count_in(keys, TierKind::warm), in_warm) << "one was taken for damaged";
}

TEST_F(LayerLoad, ARunEndsAtItsFirstMissAndEachGoesOn) {
  make(roomy());
  const std::vector<std::string> keys = names(6);
  put({keys[0], keys[1], keys[3], keys[5]});
  LayerRun prefix(keys);
  prefix.start(world(), ns_);
  LayerRun each(keys);
  each.start(world(), ns_, {.read = Read::each});
  LayerRun none({"absent"});
  none.start(world(), ns_);
  world().settle();
  EXPECT_EQ(prefix.found(), 2U);
  EXPECT_EQ(prefix.told.at(0).blocks, 2U);
  EXPECT_EQ(each.found(), 4U);
  EXPECT_EQ(each.told.at(7).blocks, 4U);
  EXPECT_TRUE(each[5].found && each.is_right(5));
  EXPECT_TRUE(none.done && none.status.ok());
  EXPECT_TRUE(none.told.empty());
}

TEST_F(LayerLoad, WhatIsInHotIsHeldThoughItIsErased) {
  make(roomy());
  const std::vector<std::string> keys = names(5);
  put(keys);
  LayerRun run(keys);
  run.on_told = [&](const LoadedLayers& loaded) {
    if (loaded.layers.first != 2) return;
    const KeyRef key{keys[3]};
    world().engine().erase(ns_, {&key, 1}, [](const absl::StatusOr<std::vector<bool>>&) {});
  };
  run.start(world(), ns_);
  world().settle();
  ASSERT_TRUE(run.done);
  EXPECT_EQ(run.found(), 5U);
  for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_TRUE(run.is_right(i));
  EXPECT_EQ(world().match(ns_, keys), 3U);
  EXPECT_EQ(held(keys), 0U);
}

TEST_F(LayerLoad, WhatIsErasedBelowHotIsLostAndSaidSo) {
  for (const Read read : {Read::prefix, Read::each}) {
    make(roomy());
    const std::vector<std::string> keys = names(6);
    put_cold(keys);
    const KeyRef key{keys[3]};
    LayerRun run(keys);
    run.on_told = [&](const LoadedLayers& loaded) {
      if (loaded.layers.first != 1) return;
      world().engine().erase(ns_, {&key, 1}, [](const absl::StatusOr<std::vector<bool>>&) {});
    };
    run.start(world(), ns_, {.read = read});
    world().settle();
    ASSERT_TRUE(run.done && run.status.ok());
    ASSERT_EQ(run.told.size(), 8U);
    EXPECT_EQ(run.told[1].blocks, 6U);
    EXPECT_TRUE(run.told[1].status.ok());
    const std::size_t left = read == Read::prefix ? 3 : 5;
    EXPECT_EQ(run.told[7].blocks, left);
    EXPECT_FALSE(run.told[7].status.ok());
    EXPECT_EQ(run.found(), left);
    EXPECT_FALSE(run[3].found);
    EXPECT_FALSE(run[3].status.ok());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      EXPECT_TRUE(!run[i].found || run.is_right(i)) << i;
    }
  }
}

TEST_F(LayerLoad, EvictedBlocksAreReadFromWhereTheyAreThen) {
  make(tiered());
  const std::vector<std::string> keys = names(30);
  put(keys);
  LayerRun run(keys);
  run.on_told = [&](const LoadedLayers& loaded) {
    if (loaded.layers.first == 1) world().engine().evict_unused(TierKind::warm, 0).IgnoreError();
    if (loaded.layers.first == 3) world().engine().evict_unused(TierKind::hot, 0).IgnoreError();
    world().cold().relocate(world().name(ns_, keys[loaded.layers.first]));
  };
  run.start(world(), ns_);
  world().settle();
  ASSERT_TRUE(run.done);
  EXPECT_EQ(run.found(), 30U);
  EXPECT_TRUE(run.told.at(7).status.ok()) << run.told[7].status;
  for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_TRUE(run.is_right(i)) << i;
}

TEST_F(LayerLoad, TwoVersionsAreNeverMixed) {
  for (const bool in_hot : {true, false}) {
    make(roomy(), NamespaceKind::mutable_);
    const std::vector<std::string> keys = names(3);
    if (in_hot) {
      put(keys);
    } else {
      put_cold(keys);
    }
    const std::string newer = make_payload(keys[1], 1, kBlockBytes);
    const PutBlock block{.key = keys[1], .payload = as_bytes(newer)};
    LayerRun run(keys);
    run.on_told = [&](const LoadedLayers& loaded) {
      if (loaded.layers.first != 1) return;
      world().engine().put(ns_, {&block, 1}, {}, [](const std::vector<PutResult>&) {});
    };
    run.start(world(), ns_);
    world().settle();
    ASSERT_TRUE(run.done);
    EXPECT_EQ(run.found(), in_hot ? 3U : 1U);
    EXPECT_EQ(run[1].found, in_hot);
    for (std::size_t i = 0; i < run.found(); ++i) EXPECT_TRUE(run.is_right(i)) << i;
    EXPECT_EQ(world().get(ns_, keys[1]), newer);
  }
}

TEST_F(LayerLoad, DamageLosesTheBlockAndWhatIsBehindIt) {
  make(roomy());
  const std::vector<std::string> keys = names(5);
  put_cold(keys);
  ASSERT_TRUE(world().cold().corrupt(world().name(ns_, keys[2]), 6 * kLayerBytes + 7));
  LayerRun run(keys);
  run.start(world(), ns_);
  world().settle();
  ASSERT_TRUE(run.done);
  EXPECT_EQ(run.found(), 2U);
  EXPECT_TRUE(has_code(run[2].status, ErrorCode::corruption)) << run[2].status;
  EXPECT_TRUE(has_code(run.told.at(7).status, ErrorCode::corruption));
  EXPECT_EQ(run.told.at(7).blocks, 2U);
  EXPECT_EQ(world().engine().stats().corrupt_blocks, 1U);
  // Layers that the damage does not lie in.
  put_cold(names(6));
  ASSERT_TRUE(world().cold().corrupt(world().name(ns_, keys[4]), 6 * kLayerBytes + 7));
  LayerRun others(keys);
  others.start(world(), ns_, {.layers = {0, 6}});
  world().settle();
  EXPECT_EQ(others.found(), 5U);
}

TEST_F(LayerLoad, AHungDiskNeverMakesItLaterThanItsDeadlineNorWritesAfterwards) {
  make(roomy());
  const std::vector<std::string> keys = names(4);
  put_cold(keys);
  auto run = std::make_unique<LayerRun>(keys);
  std::size_t told = 0;
  run->on_told = [&](const LoadedLayers&) {
    if (++told == 2) world().cold().hold();
  };
  run->start(world(), ns_, {.deadline = world().clock().now() + Duration::millis(100)});
  world().advance(Duration::millis(99));
  EXPECT_FALSE(run->done);
  EXPECT_GE(run->told.size(), 2U);
  EXPECT_LT(run->told.size(), 8U);
  world().advance(Duration::millis(1));
  ASSERT_TRUE(run->done && run->status.ok());
  EXPECT_EQ(run->found(), 0U);
  EXPECT_TRUE(has_code((*run)[0].status, ErrorCode::deadline));
  run.reset();  // AddressSanitizer sees what is written from here on
  world().cold().release();
  world().settle();
}

TEST_F(LayerLoad, ClosingEndsWhatIsUnderWayAndRefusesTheRest) {
  make(roomy());
  const std::vector<std::string> keys = names(4);
  put_cold(keys);
  LayerRun run(keys);
  run.start(world(), ns_);
  ASSERT_TRUE(world().engine().close().ok());
  ASSERT_TRUE(run.done && run.status.ok());
  EXPECT_EQ(run.found(), 4U);
  EXPECT_EQ(run.told.size(), 8U);
  LayerRun late(keys);
  late.start(world(), ns_);
  EXPECT_TRUE(late.done && late.told.empty());
  EXPECT_TRUE(has_code(late.status, ErrorCode::closed));
}

TEST_F(LayerLoad, WhatCannotBeIsRefusedAtOnce) {
  make(roomy());
  put({"k"});
  const NamespaceId opaque = world().open_namespace("opaque");
  const auto refused = [&](NamespaceId ns, const LayerOptions& options, LayerRange own = {}) {
    std::string into(kBlockBytes, '\0');
    LoadTarget target{.key = {"k"},
                      .buffer = {reinterpret_cast<std::byte*>(into.data()), into.size()},
                      .layers = own};
    bool is_refused = false;
    world().engine().load_layers(
        ns, {&target, 1}, options, [](const LoadedLayers&) { FAIL(); },
        [&](const absl::Status& status) {
          is_refused = has_code(status, ErrorCode::invalid_argument);
        });
    return is_refused;
  };
  EXPECT_TRUE(refused(opaque, {}));
  EXPECT_TRUE(refused(NamespaceId{77}, {}));
  EXPECT_TRUE(refused(ns_, {.layers = {8, 1}}));
  EXPECT_TRUE(refused(ns_, {.layers = {0, 9}}));
  EXPECT_TRUE(refused(ns_, {.group = 0}));
  EXPECT_TRUE(refused(ns_, {}, {0, 1}));
  world().settle();
}

TEST_F(LayerLoad, BlocksOfOtherLengthsHaveNoLayersAndSmallBuffersNoRoom) {
  make(roomy());
  put({"k/0"});
  ASSERT_TRUE(world().put(ns_, "k/1", kBlockBytes - 1).status.ok());
  LayerRun run(names(2));
  run.start(world(), ns_);
  std::string into(kBlockBytes - 1, '\0');
  LoadTarget small{.key = {"k/0"},
                   .buffer = {reinterpret_cast<std::byte*>(into.data()), into.size()}};
  bool done = false;
  world().engine().load_layers(
      ns_, {&small, 1}, {}, [](const LoadedLayers&) { FAIL(); },
      [&](const absl::Status& status) { done = status.ok(); });
  world().settle();
  EXPECT_EQ(run.found(), 1U);
  EXPECT_TRUE(has_code(run[1].status, ErrorCode::invalid_argument));
  EXPECT_TRUE(done && !small.found);
  EXPECT_TRUE(has_code(small.status, ErrorCode::invalid_argument));
}

TEST_F(LayerLoad, ARunThatLeasesMayNotHoldWholeIsLoadedAllTheSame) {
  EngineWorldOptions options = roomy();
  options.engine.leasable_fraction = 0.1;
  make(options);
  const std::vector<std::string> keys = names(40);
  put(keys);
  std::size_t held_max = 0;
  LayerRun run(keys);
  run.on_told = [&](const LoadedLayers&) { held_max = std::max(held_max, held(keys)); };
  run.start(world(), ns_);
  world().settle();
  EXPECT_EQ(run.found(), 40U);
  EXPECT_EQ(held_max, 6U);  // a tenth of hot
  EXPECT_EQ(held(keys), 0U);
}

TEST_F(LayerLoad, ManyTogetherEndWithinTheLimitInFlight) {
  EngineWorldOptions options = roomy();
  options.engine.load_bytes_in_flight_max = 3 * kLayerBytes;
  make(options);
  const std::vector<std::string> keys = names(7);
  put_cold(keys);
  std::vector<std::unique_ptr<LayerRun>> runs;
  for (int i = 0; i < 20; ++i) {
    runs.push_back(std::make_unique<LayerRun>(keys));
    LayerOptions wanted;
    // Some go before it is their turn.
    if (i % 5 == 3) wanted.deadline = world().clock().now() + Duration::millis(1);
    runs.back()->start(world(), ns_, wanted);
  }
  world().cold().hold();
  world().settle();
  EXPECT_EQ(world().cold().held(), 1U);
  world().advance(Duration::millis(2));
  world().cold().release();
  world().settle();
  std::size_t found = 0;
  for (const auto& run : runs) {
    EXPECT_TRUE(run->done);
    found += run->found();
  }
  EXPECT_EQ(found, 16U * 7);
}

TEST_F(LayerLoad, WhatTheCatalogDoesNotListYetIsAskedFor) {
  make(roomy());
  const std::vector<std::string> keys = names(5);
  put(keys);
  world().restart_unloaded();
  ns_ = *world().engine().open_namespace(descriptor());
  LayerRun run(keys);
  run.start(world(), ns_);
  world().settle();
  EXPECT_TRUE(run.done);
  EXPECT_EQ(run.found(), 5U);
}

TEST_F(LayerLoad, RandomRunsWhileBlocksComeAndGo) {
  for (const std::uint64_t seed : seeds({1, 2, 3}, 1)) {
    print_seed(seed);
    SCOPED_TRACE(concat("seed ", seed));
    Rng rng(seed);
    make(tiered());
    const std::vector<std::string> keys = names(24);
    put(keys);
    for (int round = 0; round < 40; ++round) {
      std::vector<std::unique_ptr<LayerRun>> runs;
      for (std::uint64_t i = 0; i <= rng.below(3); ++i) {
        runs.push_back(std::make_unique<LayerRun>(keys));
        LayerOptions options{.group = static_cast<std::uint32_t>(1 + rng.below(4)),
                             .read = rng.chance(0.5) ? Read::prefix : Read::each};
        if (rng.chance(0.5)) options.deadline = world().clock().now() + Duration::seconds(1);
        runs.back()->on_told = [&](const LoadedLayers&) {
          const std::string& key = keys[rng.below(keys.size())];
          const KeyRef ref{key};
          switch (rng.below(12)) {
            case 0:
              world().engine().evict_unused(TierKind::hot, 0).IgnoreError();
              break;
            case 1:
              world().cold().relocate(world().name(ns_, key));
              break;
            case 2:
              world().engine().announce(ns_, {&ref, 1},
                                        world().clock().now() + Duration::seconds(1));
              break;
            case 3:
              world().engine().erase(ns_, {&ref, 1}, [](const auto&) {});
              break;
            default:
              break;
          }
        };
        runs.back()->start(world(), ns_, options);
      }
      world().settle();
      for (const auto& run : runs) {
        ASSERT_TRUE(run->done && run->status.ok());
        for (std::size_t i = 0; i < keys.size(); ++i) {
          ASSERT_TRUE(!(*run)[i].found || run->is_right(i)) << keys[i];
        }
      }
      put(keys);
    }
    world().advance(Duration::seconds(30));  // what was announced is kept until then
    EXPECT_EQ(held(keys), 0U);
  }
}

}  // namespace
}  // namespace cairn::test
