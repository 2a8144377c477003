// SPDX-License-Identifier: Apache-2.0
// What an acknowledged put means, at each durability, in both kinds of namespace.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/hash128.h"
#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

TEST(Put, IsReadBackByteForByte) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  for (const std::size_t bytes : {0UL, 1UL, 4096UL, 100'000UL}) {
    const std::string key = "key" + std::to_string(bytes);
    const PutResult result = world.put(ns, key, bytes);
    ASSERT_TRUE(result.status.ok()) << result.status;
    EXPECT_EQ(result.outcome, PutOutcome::stored);
    EXPECT_EQ(world.get(ns, key), make_payload(key, 0, bytes));
  }
}

TEST(Put, WrittenIsInColdWhenItIsAcknowledged) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  ASSERT_TRUE(world.put(ns, "k", 1000).status.ok());
  EXPECT_EQ(world.cold().stored_blocks(), 1U);
  world.kill();
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 1000));
}

TEST(Put, DurableSurvivesAPowerCut) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  ASSERT_TRUE(world.put(ns, "durable", 1000, 0, Durability::durable).status.ok());
  ASSERT_TRUE(world.put(ns, "written", 1000, 0, Durability::written).status.ok());
  world.power_cut();
  EXPECT_EQ(world.get(ns, "durable"), make_payload("durable", 0, 1000));
  EXPECT_EQ(world.get(ns, "written"), std::nullopt);
}

TEST(Put, MemoryIsLostWithTheProcess) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  ASSERT_TRUE(world.put(ns, "k", 1000, 0, Durability::memory).status.ok());
  EXPECT_EQ(world.cold().stored_blocks(), 0U);
  EXPECT_TRUE(world.get(ns, "k").has_value());
  world.kill();
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST(Put, ContentAddressedKeepsTheFirstBytes) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  ASSERT_TRUE(world.put(ns, "k", 1000, 1).status.ok());
  const PutResult second = world.put(ns, "k", 1000, 2);
  ASSERT_TRUE(second.status.ok());
  EXPECT_EQ(second.outcome, PutOutcome::already_present);
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 1, 1000));
}

TEST(Put, ContentAddressedRefusesAnotherLength) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  ASSERT_TRUE(world.put(ns, "k", 1000).status.ok());
  const PutResult second = world.put(ns, "k", 999);
  EXPECT_TRUE(has_code(second.status, ErrorCode::mismatch)) << second.status;
  EXPECT_EQ(second.outcome, PutOutcome::failed);
}

TEST(Put, AlreadyPresentIsAcknowledgedOnlyAtTheDurabilityAsked) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  ASSERT_TRUE(world.put(ns, "k", 1000, 0, Durability::memory).status.ok());
  PutResult again = world.put(ns, "k", 1000, 0, Durability::written);
  ASSERT_TRUE(again.status.ok()) << again.status;
  EXPECT_EQ(again.outcome, PutOutcome::already_present);
  world.kill();
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 1000));
  again = world.put(ns, "k", 1000, 0, Durability::durable);
  ASSERT_TRUE(again.status.ok()) << again.status;
  world.power_cut();
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 1000));
}

TEST(Put, MutableReplacesAndTheNewestWinsAfterARestart) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  const PutResult first = world.put(ns, "k", 1000, 1);
  const PutResult second = world.put(ns, "k", 500, 2);
  EXPECT_EQ(first.outcome, PutOutcome::stored);
  EXPECT_EQ(second.outcome, PutOutcome::replaced);
  EXPECT_GT(second.sequence, first.sequence);
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 2, 500));
  world.kill();
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 2, 500));
  // Nothing is left of the old version: hot holds one slot, cold one block.
  EXPECT_EQ(world.cold().stored_blocks(), 1U);
}

TEST(Put, AnOverwrittenVersionDoesNotComeBackWhenTheNewOneWasOnlyInMemory) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  ASSERT_TRUE(world.put(ns, "k", 1000, 1, Durability::durable).status.ok());
  ASSERT_TRUE(world.put(ns, "k", 1000, 2, Durability::memory).status.ok());
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 2, 1000));
  world.power_cut();
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST(Put, AFailedPutChangesNothing) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  ASSERT_TRUE(world.put(ns, "k", 1000, 1).status.ok());
  const std::uint64_t used = world.hot().usage().used_bytes;
  world.cold().fail_writes(ErrorCode::io, 1);
  const PutResult failed = world.put(ns, "k", 2000, 2);
  EXPECT_TRUE(has_code(failed.status, ErrorCode::io)) << failed.status;
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 1, 1000));
  EXPECT_EQ(world.hot().usage().used_bytes, used);
  world.cold().fail_writes(ErrorCode::io, 1);
  EXPECT_FALSE(world.put(ns, "new", 1000).status.ok());
  EXPECT_EQ(world.get(ns, "new"), std::nullopt);
  EXPECT_TRUE(world.put(ns, "new", 1000).status.ok());
}

TEST(Put, IsInvisibleUntilItsLastCompletion) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::string payload = make_payload("k", 0, 1000);
  const PutBlock block{.key = "k", .payload = as_bytes(payload)};
  bool acknowledged = false;
  world.cold().hold();
  world.engine().put(ns, {&block, 1}, {}, [&](std::vector<PutResult> results) {
    acknowledged = results[0].status.ok();
  });
  world.settle();
  EXPECT_FALSE(acknowledged);
  EXPECT_EQ(world.match(ns, {"k"}), 0U);
  world.cold().release();
  world.settle();
  EXPECT_TRUE(acknowledged);
  EXPECT_EQ(world.match(ns, {"k"}), 1U);
}

TEST(Put, OfOneKeyAtATime) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  std::vector<std::string> payloads;
  for (std::uint64_t version = 0; version < 8; ++version) {
    payloads.push_back(make_payload("k", version, 1000));
  }
  std::vector<std::uint64_t> sequences;
  world.cold().hold();
  for (const std::string& payload : payloads) {
    const PutBlock block{.key = "k", .payload = as_bytes(payload)};
    world.engine().put(ns, {&block, 1}, {}, [&](std::vector<PutResult> results) {
      ASSERT_TRUE(results[0].status.ok());
      sequences.push_back(results[0].sequence);
    });
  }
  world.settle();
  EXPECT_EQ(world.cold().held(), 1U);  // the others wait for the first
  world.cold().release();
  world.settle();
  ASSERT_EQ(sequences.size(), 8U);
  EXPECT_TRUE(std::is_sorted(sequences.begin(), sequences.end()));
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 7, 1000));
  EXPECT_EQ(world.hot().usage().used_bytes, 1000U);
}

TEST(Put, ABatchMayNameABlockTwice) {
  EngineWorld world;
  const NamespaceId content = world.open_namespace("n");
  const NamespaceId changing = world.open_namespace("m", NamespaceKind::mutable_);
  const std::string first = make_payload("k", 1, 100), second = make_payload("k", 2, 100);
  const std::string longer = make_payload("k", 3, 101);
  const std::vector<PutBlock> blocks = {{.key = "k", .payload = as_bytes(first)},
                                        {.key = "k", .payload = as_bytes(second)},
                                        {.key = "k", .payload = as_bytes(longer)}};
  std::vector<PutResult> results = world.engine().put_sync(content, blocks);
  EXPECT_EQ(results[0].outcome, PutOutcome::stored);
  EXPECT_EQ(results[1].outcome, PutOutcome::already_present);
  EXPECT_TRUE(has_code(results[2].status, ErrorCode::mismatch));
  EXPECT_EQ(world.get(content, "k"), first);
  results = world.engine().put_sync(changing, blocks);
  for (const PutResult& result : results) EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(world.get(changing, "k"), longer);
}

TEST(Put, ReservedRoomIsFilledInPlaceAndCommitted) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::string size_only(1000, '\0');
  std::unique_ptr<PutBatch> batch;
  {
    const std::string key_a = "a", key_b = "b";  // copied: they may go before commit
    const std::vector<PutBlock> blocks = {{.key = key_a, .payload = as_bytes(size_only)},
                                          {.key = key_b, .payload = as_bytes(size_only)}};
    auto reserved = world.engine().reserve(ns, blocks, {});
    ASSERT_TRUE(reserved.ok()) << reserved.status();
    batch = *std::move(reserved);
  }
  fill_payload("a", 0, batch->buffer(0));
  fill_payload("b", 0, batch->buffer(1));
  EXPECT_EQ(world.match(ns, {"a"}), 0U);
  std::vector<PutResult> results;
  batch->commit([&](std::vector<PutResult> outcome) { results = std::move(outcome); });
  batch.reset();
  world.settle();
  ASSERT_EQ(results.size(), 2U);
  EXPECT_TRUE(results[0].status.ok());
  EXPECT_EQ(world.get(ns, "a"), make_payload("a", 0, 1000));
  EXPECT_EQ(world.get(ns, "b"), make_payload("b", 0, 1000));
}

TEST(Put, ReservedRoomThatIsNotCommittedIsGivenBack) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::string size_only(1000, '\0');
  const PutBlock block{.key = "k", .payload = as_bytes(size_only)};
  {
    auto batch = world.engine().reserve(ns, {&block, 1}, {});
    ASSERT_TRUE(batch.ok());
    EXPECT_EQ(world.hot().usage().used_bytes, 1000U);
  }
  EXPECT_EQ(world.hot().usage().used_bytes, 0U);
  EXPECT_EQ(world.match(ns, {"k"}), 0U);
}

TEST(Put, BytesInFlightAreBounded) {
  EngineWorldOptions options;
  options.engine.put_bytes_in_flight_max = 10'000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  const std::string payload = make_payload("k", 0, 4000);
  std::vector<std::string> keys = EngineWorld::chain("k", 4);
  std::size_t refused = 0, stored = 0;
  world.cold().hold();
  for (const std::string& key : keys) {
    const PutBlock block{.key = key, .payload = as_bytes(payload)};
    world.engine().put(ns, {&block, 1}, {}, [&](std::vector<PutResult> results) {
      stored += results[0].status.ok();
      refused += has_code(results[0].status, ErrorCode::busy);
    });
  }
  EXPECT_EQ(refused, 2U);
  world.cold().release();
  world.settle();
  EXPECT_EQ(stored, 2U);
  EXPECT_EQ(world.engine().stats().busy, 2U);
  EXPECT_TRUE(world.put(ns, keys[3], 4000).status.ok());
}

TEST(Put, ABlockThatHotCannotTakeGoesToColdFromTheCallersBuffer) {
  EngineWorldOptions options;
  options.hot_bytes = 1000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  ASSERT_TRUE(world.put(ns, "k", 50'000).status.ok());
  std::string buffer(50'000, '\0');
  LoadTarget target{.key = {"k"},
                    .buffer = {reinterpret_cast<std::byte*>(buffer.data()), buffer.size()}};
  ASSERT_TRUE(world.engine().load_sync(ns, {&target, 1}).ok());
  ASSERT_TRUE(target.found);
  EXPECT_EQ(buffer, make_payload("k", 0, 50'000));
}

TEST(Put, RefusesWhatCanNeverBe) {
  EngineWorld world;
  const NamespaceId content = world.open_namespace("n");
  const NamespaceId changing = world.open_namespace("m", NamespaceKind::mutable_);
  const std::string payload = "bytes";
  const auto code_of = [&](NamespaceId ns, PutBlock block, Links links) {
    block.payload = as_bytes(payload);
    const PutResult result = world.engine().put_sync(ns, {&block, 1}, {.links = links})[0];
    return result.status.ok() ? std::optional<ErrorCode>() : error_code(result.status);
  };
  const std::string endless(1025, 'k');
  EXPECT_EQ(code_of(content, {.key = ""}, Links::absent), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(content, {.key = endless}, Links::absent), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(content, {.key = "k", .expiry = 1}, Links::absent),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(changing, {.key = "k", .parent = "p"}, Links::given),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(NamespaceId{99}, {.key = "k"}, Links::absent), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(content, {.key = "k", .parent = "p"}, Links::given), std::nullopt);
}

TEST(Put, OneBadBlockOfABatchDoesNotSpoilTheOthers) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::string payload = make_payload("k", 0, 100);
  const std::vector<PutBlock> blocks = {{.key = "a", .payload = as_bytes(payload)},
                                        {.key = "", .payload = as_bytes(payload)},
                                        {.key = "c", .payload = as_bytes(payload)}};
  const std::vector<PutResult> results = world.engine().put_sync(ns, blocks);
  EXPECT_TRUE(results[0].status.ok());
  EXPECT_FALSE(results[1].status.ok());
  EXPECT_TRUE(results[2].status.ok());
  EXPECT_EQ(world.match(ns, {"a"}), 1U);
  EXPECT_EQ(world.match(ns, {"c"}), 1U);
}

TEST(Put, ExtendsAPrefixAsDecodingGoesOn) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 10);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    // Each call says again what is there and adds one block.
    const std::vector<std::string> part(keys.begin(),
                                        keys.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    for (const PutResult& result : world.put_chain(ns, part, 500)) {
      ASSERT_TRUE(result.status.ok()) << result.status;
    }
    EXPECT_EQ(world.match(ns, keys), i + 1);
  }
  EXPECT_EQ(world.engine().stats().blocks_put, 10U);
}

TEST(Put, RefusedByTheWriteBudgetIsNeverAcknowledged) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.cold().fail_writes(ErrorCode::refused, 1);
  const PutResult refused = world.put(ns, "k", 1000);
  EXPECT_TRUE(has_code(refused.status, ErrorCode::refused));
  EXPECT_EQ(world.engine().stats().refused, 1U);
  EXPECT_EQ(world.match(ns, {"k"}), 0U);
}

TEST(Put, ADegradedColdTierRefusesWritesAndMemoryGoesOn) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  ASSERT_TRUE(world.put(ns, "before", 1000).status.ok());
  world.cold().set_degraded(true);
  EXPECT_TRUE(has_code(world.put(ns, "k", 1000).status, ErrorCode::degraded));
  EXPECT_TRUE(world.put(ns, "k", 1000, 0, Durability::memory).status.ok());
  EXPECT_TRUE(world.get(ns, "k").has_value());
  EXPECT_TRUE(world.get(ns, "before").has_value());
  EXPECT_TRUE(world.engine().stats().health.degraded);
}

TEST(Put, AReadOnlyStoreRefusesAndChangesNothing) {
  EngineWorldOptions options;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  ASSERT_TRUE(world.put(ns, "k", 1000).status.ok());
  world.options().read_only = true;
  world.restart();
  EXPECT_TRUE(has_code(world.put(ns, "new", 10).status, ErrorCode::read_only));
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 1000));
  const KeyRef key{"k"};
  EXPECT_TRUE(has_code(world.engine().erase_sync(ns, {&key, 1}).status(), ErrorCode::read_only));
  EXPECT_TRUE(has_code(world.engine().clear(ns), ErrorCode::read_only));
  EXPECT_TRUE(world.engine().close().ok());
}

TEST(Put, WithoutAColdTierPromisesNoMoreThanMemory) {
  EngineWorldOptions options;
  options.with_cold = false;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  EXPECT_TRUE(has_code(world.put(ns, "k", 10).status, ErrorCode::invalid_argument));
  EXPECT_TRUE(world.put(ns, "k", 10, 0, Durability::memory).status.ok());
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 10));
  EXPECT_TRUE(world.erase(ns, "k"));
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
}

TEST(Put, InMemoryThatFailsToRemoveTheOldVersionLeavesItThere) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
  ASSERT_TRUE(world.put(ns, "k", 100, 1, Durability::durable).status.ok());
  world.cold().fail_removals(ErrorCode::io, 1);
  EXPECT_EQ(world.put(ns, "k", 100, 2, Durability::memory).outcome, PutOutcome::failed);
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 1, 100));
  EXPECT_EQ(world.put(ns, "k", 100, 3, Durability::memory).outcome, PutOutcome::replaced);
  world.kill();
  EXPECT_FALSE(world.get(ns, "k")) << "what was overwritten is back";
}

TEST(Put, InMemoryOverAVersionThatWasEvictedOutlivesAPowerCutWithoutIt) {
  for (const bool keeps_hot : {false, true}) {
    EngineWorld world;
    const NamespaceId ns = world.open_namespace("m", NamespaceKind::mutable_);
    ASSERT_TRUE(world.put(ns, "k", 100, 1, Durability::durable).status.ok());
    if (!keeps_hot) {
      ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
    }
    ASSERT_TRUE(world.engine().evict_unused(TierKind::cold, 0).ok());
    ASSERT_TRUE(world.put(ns, "k", 100, 2, Durability::memory).status.ok());
    world.power_cut();
    EXPECT_FALSE(world.get(ns, "k")) << "what was overwritten is back";
  }
}

}  // namespace
}  // namespace cairn::test
