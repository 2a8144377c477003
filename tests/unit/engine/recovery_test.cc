// SPDX-License-Identifier: Apache-2.0
// Restart: the catalog is filled while the engine serves, and what was hot comes back.
#include <gtest/gtest.h>

#include "engine/catalog.h"
#include "engine/hot_list.h"
#include "engine/removal_notes.h"
#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

EngineWorldOptions inline_cold() {
  EngineWorldOptions options;
  options.asynchronous_cold = false;
  return options;
}

TEST(Recovery, ServesWhileTheCatalogIsBeingLoaded) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 10);
  world.put_chain(ns, keys, 500);
  world.restart_unloaded();
  ASSERT_FALSE(world.engine().is_recovered());
  // match never waits: it says that it does not know everything.
  const Match match = world.engine().match(ns, EngineWorld::refs(keys));
  EXPECT_EQ(match.prefix_blocks, 0U);
  EXPECT_TRUE(match.incomplete);
  // acquire asks.
  std::optional<std::size_t> delivered;
  const std::vector<KeyRef> refs = EngineWorld::refs(keys);
  world.engine().acquire(ns, refs, {}, [&](const absl::StatusOr<Lease>& lease) {
    delivered = lease.ok() ? lease->blocks().size() : 99;
  });
  world.settle();
  EXPECT_EQ(delivered, 10U);
  EXPECT_TRUE(world.engine().is_recovered());
  EXPECT_FALSE(world.engine().match(ns, EngineWorld::refs(keys)).incomplete);
}

TEST(Recovery, IsNotCompleteWhileSomebodyIsStillAsking) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "x", 100, 1);
  world.restart_unloaded();
  world.cold().hold();
  const KeyRef ref{"x"};
  int delivered = 0;
  const auto count = [&](const absl::StatusOr<Lease>& lease) {
    delivered += lease.ok() && lease->blocks().size() == 1 ? 1 : 0;
  };
  world.engine().acquire(ns, {&ref, 1}, {}, count);
  world.settle();
  // The scan has passed it over, because who asks for it is inside its gate.
  EXPECT_FALSE(world.engine().is_recovered());
  EXPECT_TRUE(world.engine().match(ns, {&ref, 1}).incomplete);
  world.engine().acquire(ns, {&ref, 1}, {}, count);
  world.cold().release();
  world.settle();
  EXPECT_EQ(delivered, 2);
  EXPECT_TRUE(world.engine().is_recovered());
}

TEST(Recovery, ALookupMayOutliveWhoAsked) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "x", 100);
  world.restart_unloaded();
  world.cold().hold();
  const KeyRef ref{"x"};
  bool answered = false;
  world.engine().acquire(ns, {&ref, 1}, {.deadline = world.clock().now() + Duration::seconds(1)},
                         [&](const absl::StatusOr<Lease>&) { answered = true; });
  world.advance(Duration::seconds(2));
  EXPECT_TRUE(answered);
  world.cold().release();
  world.settle();
  EXPECT_TRUE(world.engine().is_recovered());
  EXPECT_TRUE(world.get(ns, "x"));
}

TEST(Recovery, WhatExpiredBeforeTheScanIsRemovedThoughTheFirstAttemptFails) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  world.put(ns, "k", 100, 1, Durability::durable, world.clock().wall() + 1'000'000);
  world.restart_unloaded();
  world.clock().advance_to(world.clock().now() + Duration::seconds(5));
  world.cold().fail_removals(ErrorCode::io, 1);
  world.settle();
  world.advance(Duration::seconds(60));
  EXPECT_EQ(world.cold().stored_blocks(), 0U);
}

TEST(Recovery, AcquiresThatWaitForTheIndexAreBounded) {
  EngineWorldOptions options;
  options.engine.load_queue_max = 8;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  world.restart_unloaded();
  world.cold().hold();
  int answered = 0, busy = 0;
  std::vector<std::string> keys = EngineWorld::chain("c", 20);
  for (const std::string& key : keys) {
    const KeyRef ref{key};
    world.engine().acquire(ns, {&ref, 1}, {}, [&](const absl::StatusOr<Lease>& lease) {
      ++answered;
      if (has_code(lease.status(), ErrorCode::busy)) ++busy;
    });
  }
  EXPECT_EQ(busy, 12);
  EXPECT_EQ(answered, 12);
  world.cold().release();
  world.settle();
  EXPECT_EQ(answered, 20);
  EXPECT_EQ(busy, 12) << "those that were let in are misses";
}

TEST(Recovery, LoadAndAnnounceAskForWhatIsUnknown) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "loaded", 500);
  world.put(ns, "announced", 500);
  world.restart_unloaded();
  const KeyRef announced{"announced"};
  EXPECT_EQ(
      world.engine().announce(ns, {&announced, 1}, world.clock().now() + Duration::seconds(1)), 1U);
  EXPECT_EQ(world.engine().match(ns, {&announced, 1}).blocks.at(0).tier, TierKind::hot);
  std::string buffer(500, '\0');
  LoadTarget target{.key = {"loaded"},
                    .buffer = {reinterpret_cast<std::byte*>(buffer.data()), buffer.size()}};
  ASSERT_TRUE(world.engine().load_sync(ns, {&target, 1}).ok());
  EXPECT_TRUE(target.found);
  EXPECT_EQ(buffer, make_payload("loaded", 0, 500));
}

TEST(Recovery, APutOfAnUnknownBlockKeepsTheFirstBytes) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 500, 1);
  world.restart_unloaded();
  EXPECT_EQ(world.put(ns, "k", 500, 2).outcome, PutOutcome::already_present);
  world.settle();
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 1, 500));
}

TEST(Recovery, AnOverwriteWhileLoadingBeatsWhatTheScanShows) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  world.put(ns, "k", 500, 1);
  world.put(ns, "gone", 500, 1);
  world.restart_unloaded();
  world.cold().freeze_scans();
  EXPECT_EQ(world.put(ns, "k", 400, 2).outcome, PutOutcome::replaced);
  EXPECT_TRUE(world.put(ns, "gone", 400, 2).status.ok());
  ASSERT_TRUE(world.erase(ns, "gone"));
  world.settle();
  ASSERT_TRUE(world.engine().is_recovered());
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 2, 400));
  EXPECT_EQ(world.get(ns, "gone"), std::nullopt);
}

TEST(Recovery, WhatTheTierGaveUpWhileLoadingIsNotListed) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 500);
  world.restart_unloaded();
  world.cold().freeze_scans();
  ASSERT_TRUE(world.cold().give_up(world.name(ns, "k")));
  world.settle();
  ASSERT_TRUE(world.engine().is_recovered());
  EXPECT_EQ(world.match(ns, {"k"}), 0U);
  EXPECT_EQ(world.put(ns, "k", 500).outcome, PutOutcome::stored);
  EXPECT_EQ(world.engine().stats().corrupt_blocks, 0U) << "it was listed where it had been";
}

TEST(Recovery, AnEraseIsNotUndoneByALookThatBeganBefore) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 500);
  world.restart_unloaded();
  world.cold().hold();  // what the look finds is heard of when the erase is under way
  const KeyRef key{"k"};
  world.engine().acquire(ns, {&key, 1}, {}, [](const absl::StatusOr<Lease>&) {});
  bool erased = false;
  world.engine().erase(ns, {&key, 1},
                       [&](const absl::StatusOr<std::vector<bool>>& was) { erased = was.ok(); });
  world.cold().release();
  world.settle();
  ASSERT_TRUE(erased);
  ASSERT_TRUE(world.engine().is_recovered());
  EXPECT_EQ(world.match(ns, {"k"}), 0U);
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  EXPECT_EQ(world.engine().stats().corrupt_blocks, 0U) << "it was listed where it had been";
}

TEST(Recovery, ABlockThatMovesWhileLoadingIsFoundWhereItIs) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 500);
  world.restart_unloaded();
  world.cold().freeze_scans();  // shows it where it was
  EXPECT_TRUE(world.cold().relocate(world.name(ns, "k")));
  EXPECT_TRUE(world.cold().relocate(world.name(ns, "k")));
  world.settle();
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 500));
  EXPECT_EQ(world.engine().stats().corrupt_blocks, 0U);
}

TEST(Recovery, AnEvictionWhileLoadingIsNotUndoneByTheScan) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 500);
  world.restart_unloaded();
  world.cold().freeze_scans();
  ASSERT_TRUE(world.get(ns, "k").has_value());  // known now
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  ASSERT_TRUE(world.engine().evict_unused(TierKind::cold, 0).ok());
  world.settle();
  EXPECT_EQ(world.match(ns, {"k"}), 0U);
}

TEST(Recovery, AScanThatEndsInAnErrorIsNotTheEndOfTheData) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 10);
  world.put_chain(ns, keys, 500);
  world.restart_unloaded();
  world.cold().fail_scan(ErrorCode::corruption);
  world.settle();
  EXPECT_FALSE(world.engine().is_recovered());
  EXPECT_TRUE(has_code(world.engine().wait_recovered(TimePoint::never()), ErrorCode::corruption));
  EXPECT_FALSE(world.engine().stats().recovered);
  // What the scan did not show is asked for, one by one.
  EXPECT_TRUE(world.engine().match(ns, EngineWorld::refs(keys)).incomplete);
  const auto lease = world.acquire(ns, keys);
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(lease->blocks().size(), 10U);
  EXPECT_TRUE(world.erase(ns, keys[9]));
  EXPECT_EQ(world.get(ns, keys[9]), std::nullopt);
}

/// Blocks "k100", "k101", …, and one behind them all that is pinned for good.
std::vector<std::string> fill_behind_a_pin(EngineWorld& world, NamespaceId ns, int count) {
  std::vector<std::string> keys;
  for (int i = 0; i < count; ++i) keys.push_back("k" + std::to_string(100 + i));
  keys.emplace_back("pinned");
  for (const std::string& key : keys) EXPECT_TRUE(world.put(ns, key, 100).status.ok());
  const KeyRef pinned{"pinned"};
  EXPECT_TRUE(world.engine().pin(ns, {&pinned, 1}, {.durability = Durability::durable}).ok());
  return keys;
}

TEST(Recovery, WhatFindsNoRoomInTheCatalogStaysWhereItIs) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = fill_behind_a_pin(world, ns, 200);
  const std::uint64_t enough = world.options().engine.metadata_bytes;
  std::size_t told = 0;
  world.options().engine.on_evicted = [&](std::span<const Eviction> gone) { told += gone.size(); };
  world.options().engine.metadata_bytes = 50 * Catalog::kBytesPerBlock;
  world.restart();
  ASSERT_EQ(world.cold().stored_blocks(), keys.size());
  EXPECT_FALSE(world.engine().is_recovered());
  const absl::Status status = world.engine().wait_recovered(TimePoint::never());
  EXPECT_TRUE(has_code(status, ErrorCode::no_space));
  EXPECT_NE(status.message().find("151 blocks"), std::string_view::npos) << status;
  EXPECT_NE(status.message().find("metadata_bytes"), std::string_view::npos) << status;
  EXPECT_TRUE(world.engine().match(ns, EngineWorld::refs({"k299"})).incomplete);
  for (int round = 0; round < 2; ++round) {
    for (const std::string& key : keys) ASSERT_EQ(world.get(ns, key), make_payload(key, 0, 100));
  }
  EXPECT_EQ(world.engine().stats().blocks_pinned, 1U);
  EXPECT_EQ(world.engine().stats().orphans, 0U);
  EXPECT_LE(world.engine().stats().catalog_blocks, 50U);
  // Writers know of what is not listed, too, and make room without taking anything away.
  EXPECT_EQ(world.put(ns, "k120", 100, 1).outcome, PutOutcome::already_present);
  EXPECT_EQ(world.put(ns, "new", 100).outcome, PutOutcome::stored);
  EXPECT_TRUE(world.erase(ns, "k130"));
  EXPECT_EQ(world.get(ns, "k130"), std::nullopt);
  EXPECT_EQ(world.cold().stored_blocks(), keys.size());
  EXPECT_EQ(told, 0U);
  world.options().engine.metadata_bytes = enough;
  world.restart();
  EXPECT_TRUE(world.engine().is_recovered());
  EXPECT_EQ(world.engine().stats().catalog_blocks, keys.size());
  EXPECT_EQ(world.engine().stats().blocks_pinned, 1U);
}

TEST(Recovery, AReaderFindsWhatTheCatalogHasNoRoomFor) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = fill_behind_a_pin(world, ns, 60);
  world.options().read_only = true;
  world.options().engine.metadata_bytes = 20 * Catalog::kBytesPerBlock;
  world.restart();
  EXPECT_FALSE(world.engine().is_recovered());
  for (const std::string& key : keys) ASSERT_EQ(world.get(ns, key), make_payload(key, 0, 100));
  EXPECT_EQ(world.cold().stored_blocks(), keys.size());
}

TEST(Recovery, BlocksThatMoveAreFoundAlsoWhereTheCatalogHasNoRoomForThem) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = fill_behind_a_pin(world, ns, 60);
  world.options().engine.metadata_bytes = 20 * Catalog::kBytesPerBlock;
  world.restart();
  for (const std::string& key : keys) ASSERT_TRUE(world.cold().relocate(world.name(ns, key)));
  for (const std::string& key : keys) ASSERT_EQ(world.get(ns, key), make_payload(key, 0, 100));
  EXPECT_EQ(world.engine().stats().corrupt_blocks, 0U);
}

TEST(Recovery, WhatIsPutWhileLoadingTakesThePlaceOfTheOldest) {
  // More than one slice of the scan, and as many as may be listed.
  constexpr int kBlocks = 20'100;
  EngineWorldOptions options = inline_cold();
  options.cold_bytes = 64 * kMiB;
  options.engine.metadata_bytes = kBlocks * Catalog::kBytesPerBlock;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  constexpr int kBatch = 100;
  std::vector<std::string> stored(kBatch);
  for (int i = 0; i < kBlocks; i += kBatch) {
    std::vector<PutBlock> batch;
    for (int at = 0; at < kBatch; ++at) {
      std::string& key = stored[static_cast<std::size_t>(at)];
      key = "k" + std::to_string(i + at);
      batch.push_back({.key = key, .payload = as_bytes("ten bytes.")});
    }
    for (const PutResult& result : world.engine().put_sync(ns, batch, {.links = Links::absent}))
      ASSERT_TRUE(result.status.ok());
  }
  std::size_t told = 0;
  world.options().engine.on_evicted = [&](std::span<const Eviction> gone) { told += gone.size(); };
  world.restart_unloaded();
  std::vector<std::string> payloads;
  for (int i = 0; i < 5; ++i) payloads.push_back(make_payload("new" + std::to_string(i), 0, 10));
  const std::vector<std::string> keys = {"new0", "new1", "new2", "new3", "new4"};
  std::vector<PutBlock> blocks;
  for (std::size_t i = 0; i < 5; ++i)
    blocks.push_back({.key = keys[i], .payload = as_bytes(payloads[i])});
  std::vector<PutResult> results;
  world.engine().put(ns, blocks, {.durability = Durability::written, .links = Links::absent},
                     [&](std::vector<PutResult> outcome) { results = std::move(outcome); });
  world.settle();
  ASSERT_EQ(results.size(), 5U);
  for (const PutResult& result : results) EXPECT_EQ(result.outcome, PutOutcome::stored);
  EXPECT_TRUE(world.engine().is_recovered()) << "as full as it was, not fuller";
  EXPECT_EQ(world.engine().stats().catalog_blocks, world.cold().stored_blocks());
  EXPECT_GE(told, 5U) << "an eviction nobody was told of";
  for (const std::string& key : keys) EXPECT_TRUE(world.get(ns, key).has_value());
}

TEST(Recovery, WithoutAScanNotesLastAsLongAsAGateIsClosed) {
  detail::RemovalNotes notes;
  const BlockId open{{1, 1}}, closed{{2, 2}};
  for (const BlockId id : {open, closed}) notes.note_removed(id, 5);
  notes.stop([&](BlockId id) { return id == closed; });
  EXPECT_FALSE(notes.is_removed(open, 5));
  EXPECT_TRUE(notes.is_removed(closed, 5));
  notes.gate_left(closed);
  EXPECT_FALSE(notes.is_removed(closed, 5));
  notes.note_removed(open, 6);  // inside the gate, where nobody looks it up
  EXPECT_EQ(notes.size(), 0U);
  notes.note_lost(open, 6);
  EXPECT_TRUE(notes.is_removed(open, 6));
  notes.gate_left(open);
  EXPECT_EQ(notes.size(), 0U);
}

TEST(Recovery, TellsACleanStopFromAnother) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 500);
  world.restart();
  EXPECT_TRUE(world.engine().stats().opened_clean);
  EXPECT_EQ(world.engine().stats().recovered_blocks, 1U);
  world.kill();
  EXPECT_FALSE(world.engine().stats().opened_clean);
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 500));
}

TEST(Recovery, WhatWasHotComesBackInOrderOfWorth) {
  EngineWorldOptions options;
  options.hot_bytes = 40'000;
  options.engine.rewarm_bytes = 3000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 10; ++i) world.put(ns, "k" + std::to_string(i), 1000);
  for (const char* key : {"k3", "k7", "k5"}) ASSERT_TRUE(world.get(ns, key).has_value());
  world.restart();
  world.advance(Duration::seconds(5));
  EXPECT_EQ(world.hot().usage().used_bytes, 3000U);  // the budget
  EXPECT_EQ(world.engine().stats().rewarmed_blocks, 3U);
  for (const char* key : {"k3", "k7", "k5"}) {
    const KeyRef ref{key};
    EXPECT_EQ(world.engine().match(ns, {&ref, 1}).blocks[0].tier, TierKind::hot) << key;
  }
}

TEST(Recovery, WhatWasHotComesBackAtALimitedRate) {
  EngineWorldOptions options;
  options.hot_bytes = 40'000;
  options.engine.rewarm_bytes_per_second = 10'000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  for (int i = 0; i < 20; ++i) world.put(ns, "k" + std::to_string(i), 1000);
  world.restart();
  world.advance(Duration::millis(500));
  EXPECT_LE(world.hot().usage().used_bytes, 7000U);
  EXPECT_GE(world.hot().usage().used_bytes, 4000U);
  world.advance(Duration::seconds(2));
  EXPECT_EQ(world.hot().usage().used_bytes, 20'000U);
}

TEST(Recovery, TheHotListIsSavedPeriodically) {
  EngineWorldOptions options;
  options.engine.hot_list_interval = Duration::seconds(10);
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  world.advance(Duration::seconds(11));
  world.kill();  // closes nothing
  world.advance(Duration::seconds(1));
  EXPECT_EQ(world.engine().stats().rewarmed_blocks, 1U);
}

TEST(Recovery, ADamagedHotListIsDropped) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  for (const std::string& content : {std::string(), std::string("nonsense that is long enough"),
                                     detail::encode_hot_list({BlockId{}}) + "x"}) {
    EXPECT_FALSE(detail::parse_hot_list(content).ok());
    ASSERT_TRUE(world.engine().close().ok());
    ASSERT_TRUE(world.cold().save_state(detail::HotList::kStateName, as_bytes(content)).ok());
    world.restart();
    world.advance(Duration::seconds(1));
    EXPECT_EQ(world.engine().stats().rewarmed_blocks, 0U);
    EXPECT_TRUE(world.get(ns, "k").has_value());
  }
}

TEST(Recovery, ClosingWhileLoadingIsFine) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  world.restart_unloaded();
  EXPECT_TRUE(world.engine().close().ok());
  world.restart();
  EXPECT_TRUE(world.get(ns, "k").has_value());
}

TEST(Recovery, ClosingWhileLoadingKeepsTheHotList) {
  EngineWorld world(inline_cold());
  const NamespaceId ns = world.open_namespace("n");
  for (const char* key : {"a", "b", "c"}) world.put(ns, key, 1000);
  world.restart_unloaded();
  const PutBlock block{.key = "d", .payload = as_bytes("short")};
  world.engine().put(ns, {&block, 1}, {}, [](const std::vector<PutResult>&) {});
  ASSERT_TRUE(world.engine().close().ok());
  world.restart();
  world.advance(Duration::seconds(1));
  EXPECT_EQ(world.engine().stats().rewarmed_blocks, 3U);
}

TEST(Recovery, InAReadOnlyStoreChangesNothing) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  world.put(ns, "k", 1000, 1, Durability::written, world.clock().wall() + 1'000'000);
  world.put(ns, "stays", 1000);
  world.options().read_only = true;
  world.clock().jump_wall(10'000'000);
  world.restart();
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  EXPECT_TRUE(world.get(ns, "stays").has_value());
  world.advance(Duration::seconds(5));
  EXPECT_EQ(world.cold().stored_blocks(), 2U);
}

}  // namespace
}  // namespace cairn::test
