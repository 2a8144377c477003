// SPDX-License-Identifier: Apache-2.0
// What each write policy acknowledges, what of it survives, and how it is switched.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/support/policy_world.h"

namespace cairn::test {
namespace {

constexpr WritePolicy kThrough = WritePolicy::through;
constexpr WritePolicy kBack = WritePolicy::back;
constexpr WritePolicy kSelective = WritePolicy::selective;

// --- what is acknowledged --------------------------------------------------------------------

TEST(WritePolicy, ThroughIsTheFirstAndWritesBeforeItAcknowledges) {
  PolicyWorld world(kThrough);
  EXPECT_EQ(world.about().write_policy, kThrough);
  const PutResult put = world.keep("k");
  ASSERT_TRUE(put.status.ok()) << put.status;
  EXPECT_EQ(put.durability, Durability::written);
  EXPECT_EQ(world.about().dirty_blocks, 0U);
  world.kill();
  EXPECT_TRUE(world.has("k"));
}

TEST(WritePolicy, BackAcknowledgesInMemoryAndIsDirtyUntilItIsWritten) {
  PolicyWorld world(kBack);
  const PutResult put = world.keep("k");
  ASSERT_TRUE(put.status.ok()) << put.status;
  EXPECT_EQ(put.durability, Durability::memory);
  EXPECT_EQ(world.cold().stored_blocks(), 0U);
  EXPECT_EQ(world.about().write_policy, kBack);
  EXPECT_EQ(world.about().dirty_blocks, 1U);
  EXPECT_EQ(world.about().dirty_bytes, 1000U);
  EXPECT_TRUE(world.has("k"));
  world.kill();
  EXPECT_FALSE(world.has("k"));
}

TEST(WritePolicy, ThePolicyOfAnOpeningCountsAndTheStoreDoesNotKeepIt) {
  EngineWorld world;
  const NamespaceDescriptor descriptor{.name = "n"};
  const auto ns = world.engine().open_namespace(descriptor, {.write_policy = kBack});
  ASSERT_TRUE(ns.ok());
  EXPECT_EQ(world.put(*ns, "k", 100, 0, std::nullopt).durability, Durability::memory);
  // Without one it stays as it is.
  ASSERT_TRUE(world.engine().open_namespace(descriptor).ok());
  EXPECT_EQ(world.put(*ns, "l", 100, 0, std::nullopt).durability, Durability::memory);
  world.restart();
  EXPECT_EQ(world.put(*ns, "m", 100, 0, std::nullopt).durability, Durability::written);
  EXPECT_TRUE(has_code(world.engine().set_write_policy(NamespaceId{77}, kBack),
                       ErrorCode::invalid_argument));
}

TEST(WritePolicy, ADurabilityThatIsNamedIsKeptUnderEach) {
  for (const WritePolicy policy : {kThrough, kBack, kSelective}) {
    PolicyWorld world(policy);
    for (const Durability asked : {Durability::memory, Durability::written, Durability::durable}) {
      const std::string key(durability_name(asked));
      const PutResult put = world.put(world.ns(), key, 1000, 0, asked);
      ASSERT_TRUE(put.status.ok()) << put.status;
      EXPECT_EQ(put.durability, asked);
    }
    world.power_cut();
    EXPECT_TRUE(world.has("durable"));
    EXPECT_FALSE(world.has("memory"));
  }
}

TEST(WritePolicy, ReservedRoomFollowsThePolicyToo) {
  PolicyWorld world(kBack);
  const std::string payload = make_payload("k", 0, 1000);
  const PutBlock block{.key = "k", .payload = as_bytes(payload)};
  auto batch = world.engine().reserve(world.ns(), {&block, 1}, {});
  ASSERT_TRUE(batch.ok());
  std::memcpy((*batch)->buffer(0).data(), payload.data(), payload.size());
  std::vector<PutResult> results;
  (*batch)->commit([&](std::vector<PutResult> done) { results = std::move(done); });
  world.settle();
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].durability, Durability::memory);
  EXPECT_EQ(world.about().dirty_blocks, 1U);
}

TEST(WritePolicy, WhatColdHasIsSaidToBeWritten) {
  PolicyWorld world(kThrough);
  ASSERT_TRUE(world.keep("k").status.ok());
  EXPECT_EQ(world.put(world.ns(), "k", 1000, 0, Durability::memory).durability,
            Durability::written);
  ASSERT_TRUE(world.put(world.ns(), "m", 1000, 0, Durability::memory).status.ok());
  EXPECT_EQ(world.put(world.ns(), "m", 1000, 0, Durability::memory).durability, Durability::memory);
}

TEST(WritePolicy, InRamAloneAllAcknowledgeMemory) {
  for (const WritePolicy policy : {kThrough, kBack, kSelective}) {
    PolicyWorld world(policy, {.with_cold = false});
    const PutResult put = world.keep("k");
    ASSERT_TRUE(put.status.ok()) << put.status;
    EXPECT_EQ(put.durability, Durability::memory);
    EXPECT_TRUE(world.keep("k").status.ok());
    EXPECT_TRUE(world.has("k"));
    EXPECT_EQ(world.about().dirty_blocks, 0U) << "there is nothing to write it to";
    EXPECT_TRUE(world.engine().flush().ok());
    EXPECT_TRUE(has_code(world.put(world.ns(), "w", 10).status, ErrorCode::invalid_argument));
    EXPECT_TRUE(world.engine().set_write_policy(world.ns(), kThrough).ok());
  }
}

TEST(WritePolicy, OfAStoreForReadingIsSetAndChangesNothing) {
  PolicyWorld world(kThrough);
  ASSERT_TRUE(world.keep("k").status.ok());
  world.options().read_only = true;
  world.restart();
  for (const WritePolicy policy : {kSelective, kBack, kThrough}) {
    world.reopen(policy);
    EXPECT_TRUE(world.has("k"));
    EXPECT_TRUE(has_code(world.keep("k").status, ErrorCode::read_only));
    EXPECT_TRUE(world.engine().flush().ok());
  }
  EXPECT_TRUE(world.engine().close().ok());
}

// --- back: flush, close, upgrade -------------------------------------------------------------

TEST(WritePolicy, CloseWritesWhatIsDirty) {
  PolicyWorld world(kBack);
  const auto keys = EngineWorld::chain("c", 40);
  for (const PutResult& put : world.keep_chain(keys)) ASSERT_TRUE(put.status.ok());
  world.restart();
  EXPECT_EQ(world.match(world.ns(), keys), 40U);
  world.power_cut();
  EXPECT_EQ(world.match(world.ns(), keys), 40U) << "closing makes it durable";
}

TEST(WritePolicy, FlushMakesDurableWhatIsDirty) {
  PolicyWorld world(kBack);
  const auto keys = EngineWorld::chain("c", 40);
  world.keep_chain(keys);
  ASSERT_TRUE(world.engine().flush().ok());
  EXPECT_EQ(world.about().dirty_blocks, 0U);
  EXPECT_EQ(world.about().hot_blocks, 40U) << "it stays in hot";
  EXPECT_EQ(world.written().written_back_blocks, 40U);
  EXPECT_EQ(world.written().written_back_bytes, 40'000U);
  ASSERT_TRUE(world.engine().flush().ok());
  EXPECT_EQ(world.written().written_back_blocks, 40U) << "once";
  world.power_cut();
  EXPECT_EQ(world.match(world.ns(), keys), 40U);
}

TEST(WritePolicy, AFlushDoesNotRenewRecency) {
  EngineWorldOptions options{.hot_bytes = 10'000};
  options.engine.high_watermark = options.engine.low_watermark = 1.0;
  PolicyWorld world(kBack, options);
  for (const char* key : {"a", "b", "c"}) {
    ASSERT_TRUE(world.keep(key, 3000).status.ok());
  }
  ASSERT_TRUE(world.has("a", 3000));
  ASSERT_TRUE(world.engine().flush().ok());
  ASSERT_TRUE(world.keep("d", 3000).status.ok());
  const KeyRef a{"a"}, b{"b"};
  EXPECT_EQ(world.engine().match(world.ns(), {&a, 1}).blocks.at(0).tier, TierKind::hot);
  EXPECT_EQ(world.engine().match(world.ns(), {&b, 1}).blocks.at(0).tier, TierKind::cold);
}

TEST(WritePolicy, AChainIsWrittenParentsFirst) {
  EngineWorldOptions options;
  options.engine.put_bytes_in_flight_max = 8000;  // so that each block is a batch
  PolicyWorld world(kBack, options);
  const auto keys = EngineWorld::chain("c", 10);
  for (const std::string& key : keys) {
    const std::string payload = make_payload(key, 0, 1900);
    const std::string parent =
        key == keys[0] ? "" : keys[static_cast<std::size_t>(&key - keys.data()) - 1];
    const PutBlock block{.key = key, .payload = as_bytes(payload), .parent = parent};
    ASSERT_TRUE(
        world.engine().put_sync(world.ns(), {&block, 1}, {.links = Links::given})[0].status.ok());
  }
  world.cold().fail_writes(ErrorCode::io, 3);
  EXPECT_TRUE(has_code(world.engine().flush(), ErrorCode::io));
  EXPECT_EQ(world.about().dirty_blocks, 3U);
  world.kill();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(world.has(keys[i], 1900), i >= 3) << i;
  }
}

TEST(WritePolicy, APutThatAsksForMoreWritesADirtyBlock) {
  PolicyWorld world(kBack);
  ASSERT_TRUE(world.keep("k").status.ok());
  const PutResult put = world.put(world.ns(), "k", 1000, 0, Durability::written);
  EXPECT_EQ(put.outcome, PutOutcome::already_present);
  EXPECT_EQ(put.durability, Durability::written);
  EXPECT_EQ(world.about().dirty_blocks, 0U);
  world.kill();
  EXPECT_TRUE(world.has("k"));
}

TEST(WritePolicy, WhatCannotBeWrittenIsToldOfCountedAndTriedAgain) {
  PolicyWorld world(kBack);
  for (const char* key : {"a", "b", "c"}) world.keep(key);
  world.cold().fail_writes(ErrorCode::io, 2);
  EXPECT_TRUE(has_code(world.engine().flush(), ErrorCode::io));
  EXPECT_EQ(world.written().refused_failed, 2U);
  EXPECT_EQ(world.about().dirty_blocks, 2U);
  EXPECT_TRUE(world.has("a") && world.has("b") && world.has("c"));
  ASSERT_TRUE(world.engine().flush().ok());
  EXPECT_EQ(world.about().dirty_blocks, 0U);
  world.keep("d");
  world.cold().fail_writes(ErrorCode::io, 1);
  EXPECT_TRUE(has_code(world.engine().close(), ErrorCode::io));
  world.restart();
  EXPECT_TRUE(world.has("a"));
  EXPECT_FALSE(world.has("d"));
}

TEST(WritePolicy, WhatIsErasedOrOverwrittenIsNotWritten) {
  PolicyWorld world(kBack, {}, NamespaceKind::mutable_);
  world.keep("erased");
  world.keep("changed", 1000, 1);
  ASSERT_EQ(world.keep("changed", 500, 2).outcome, PutOutcome::replaced);
  EXPECT_EQ(world.about().dirty_bytes, 1500U);
  ASSERT_TRUE(world.erase(world.ns(), "erased"));
  EXPECT_EQ(world.about().dirty_bytes, 500U);
  world.restart();
  EXPECT_EQ(world.cold().stored_blocks(), 1U);
  EXPECT_FALSE(world.has("erased"));
  EXPECT_TRUE(world.has("changed", 500, 2));
}

TEST(WritePolicy, AMutableBlockIsWrittenAsTheVersionThatItIs) {
  PolicyWorld world(kBack, {}, NamespaceKind::mutable_);
  const PutResult put = world.keep("k", 1000, 1);
  ASSERT_TRUE(world.engine().flush().ok());
  world.kill();
  auto lease = world.acquire(world.ns(), {"k"});
  ASSERT_TRUE(lease.ok() && lease->blocks().size() == 1);
  EXPECT_EQ(lease->blocks()[0].sequence, put.sequence);
  lease->release();
  // Its place is taken by one that is dirty again.
  world.reopen(kBack);
  ASSERT_EQ(world.keep("k", 800, 2).durability, Durability::memory);
  EXPECT_EQ(world.cold().stored_blocks(), 0U) << "the old version may not come back";
  world.restart();
  EXPECT_TRUE(world.has("k", 800, 2));
}

TEST(WritePolicy, ANewVersionOverOneThatLeftColdIsDirty) {
  PolicyWorld world(kBack, {}, NamespaceKind::mutable_);
  world.keep("k", 1000, 1);
  ASSERT_TRUE(world.engine().flush().ok());
  ASSERT_TRUE(world.engine().evict_unused(TierKind::cold, 0).ok());
  EXPECT_EQ(world.about().dirty_blocks, 0U) << "what was evicted is owed nothing";
  ASSERT_TRUE(world.engine().flush().ok());
  EXPECT_EQ(world.cold().stored_blocks(), 0U);
  world.keep("k", 1000, 2);
  EXPECT_EQ(world.about().dirty_blocks, 1U);
  ASSERT_TRUE(world.engine().flush().ok());
  world.power_cut();
  EXPECT_TRUE(world.has("k", 1000, 2));
}

TEST(WritePolicy, WhatHasExpiredIsNotWritten) {
  PolicyWorld world(kBack, {}, NamespaceKind::mutable_);
  const WallMicros soon = world.clock().wall() + 1'000'000;
  ASSERT_TRUE(world.put(world.ns(), "k", 1000, 0, std::nullopt, soon).status.ok());
  ASSERT_TRUE(world.put(world.ns(), "l", 1000, 0, std::nullopt, soon + 100'000'000).status.ok());
  world.advance(Duration::seconds(2));
  ASSERT_TRUE(world.engine().flush().ok());
  EXPECT_EQ(world.cold().stored_blocks(), 1U);
  world.kill();
  EXPECT_TRUE(world.has("l"));
  world.advance(Duration::seconds(200));
  EXPECT_FALSE(world.has("l")) << "the time is written with it";
}

TEST(WritePolicy, WhatIsClearedIsNotWritten) {
  PolicyWorld world(kBack);
  world.keep("k");
  ASSERT_TRUE(world.engine().clear(world.ns()).ok());
  EXPECT_EQ(world.about().dirty_blocks, 0U);
  world.restart();
  EXPECT_EQ(world.cold().stored_blocks(), 0U);
}

TEST(WritePolicy, APinnedBlockIsWrittenAndStaysPinned) {
  PolicyWorld world(kBack);
  world.keep("k");
  const KeyRef ref{"k"};
  ASSERT_TRUE(world.engine().pin(world.ns(), {&ref, 1}, {}).ok());
  ASSERT_TRUE(world.engine().flush().ok());
  EXPECT_EQ(world.engine().stats().blocks_pinned, 1U);
  EXPECT_EQ(world.about().dirty_blocks, 0U);
  world.kill();
  EXPECT_TRUE(world.has("k"));
}

// --- switching -------------------------------------------------------------------------------

TEST(WritePolicy, SwitchedToThroughWhatIsDirtyIsWrittenInTheBackground) {
  for (const WritePolicy before : {kBack, kSelective}) {
    PolicyWorld world(before);
    for (int i = 0; i < 600; ++i) ASSERT_TRUE(world.keep("k" + std::to_string(i), 100).status.ok());
    ASSERT_TRUE(world.engine().set_write_policy(world.ns(), kThrough).ok());
    EXPECT_EQ(world.keep("new").durability, Durability::written);
    world.settle();
    EXPECT_EQ(world.about().dirty_blocks, 0U);
    EXPECT_EQ(world.written().written_back_blocks, 600U);
    world.kill();
    EXPECT_TRUE(world.has("k599", 100));
  }
}

TEST(WritePolicy, BetweenBackAndSelectiveNothingIsWritten) {
  PolicyWorld world(kBack);
  world.keep("k");
  ASSERT_TRUE(world.engine().set_write_policy(world.ns(), kSelective).ok());
  world.settle();
  EXPECT_EQ(world.about().dirty_blocks, 1U);
  world.restart();
  EXPECT_FALSE(world.has("k")) << "seen once";
  world.reopen(kSelective);
  world.keep("l");
  ASSERT_TRUE(world.engine().set_write_policy(world.ns(), kBack).ok());
  world.restart();
  EXPECT_TRUE(world.has("l"));
}

TEST(WritePolicy, WhatTheSwitchCouldNotWriteAFlushWrites) {
  PolicyWorld world(kBack);
  for (const char* key : {"a", "b", "c"}) world.keep(key);
  world.cold().fail_writes(ErrorCode::io, 2);
  ASSERT_TRUE(world.engine().set_write_policy(world.ns(), kThrough).ok());
  world.settle();
  EXPECT_EQ(world.about().dirty_blocks, 2U);
  ASSERT_TRUE(world.engine().flush().ok());
  EXPECT_EQ(world.about().dirty_blocks, 0U);
}

TEST(WritePolicy, CloseWritesWhatASwitchHasNotWrittenYet) {
  PolicyWorld world(kBack);
  const auto keys = EngineWorld::chain("c", 20);
  world.keep_chain(keys);
  ASSERT_TRUE(world.engine().set_write_policy(world.ns(), kThrough).ok());
  world.restart();
  EXPECT_EQ(world.match(world.ns(), keys), 20U);
}

/// A put that read the old policy and comes to its end after the switch.
TEST(WritePolicy, APutUnderWayWhileItIsSwitchedIsWrittenAfterwards) {
  PolicyWorld world(kBack, {}, NamespaceKind::mutable_);
  const std::string first = make_payload("k", 1, 1000), second = make_payload("k", 2, 1000);
  const PutBlock one{.key = "k", .payload = as_bytes(first)};
  const PutBlock two{.key = "k", .payload = as_bytes(second)};
  std::vector<Durability> acknowledged;
  const auto note = [&](const std::vector<PutResult>& results) {
    EXPECT_TRUE(results[0].status.ok()) << results[0].status;
    acknowledged.push_back(results[0].durability);
  };
  world.cold().hold();
  world.engine().put(world.ns(), {&one, 1}, {.durability = Durability::written}, note);
  world.engine().put(world.ns(), {&two, 1}, {}, note);  // waits for the gate
  ASSERT_TRUE(world.engine().set_write_policy(world.ns(), kThrough).ok());
  world.settle();
  world.cold().release();
  world.settle();
  EXPECT_EQ(acknowledged, (std::vector{Durability::written, Durability::memory}));
  EXPECT_EQ(world.about().dirty_blocks, 0U);
  world.kill();
  EXPECT_TRUE(world.has("k", 1000, 2));
}

TEST(WritePolicy, WhoNeverWroteBackOwesNothingForMemory) {
  PolicyWorld world(kThrough);
  ASSERT_TRUE(world.put(world.ns(), "k", 1000, 0, Durability::memory).status.ok());
  EXPECT_EQ(world.about().dirty_blocks, 1U);
  ASSERT_TRUE(world.engine().flush().ok());
  world.restart();
  EXPECT_FALSE(world.has("k"));
}

}  // namespace
}  // namespace cairn::test
