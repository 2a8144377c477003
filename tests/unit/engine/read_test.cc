// SPDX-License-Identifier: Apache-2.0
// match and acquire: the longest run that is there, pinned, in time or a miss.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/hash128.h"
#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

using ::testing::ElementsAre;

/// A hot tier that holds less than what is stored, so that reads come from cold.
EngineWorldOptions small_hot() {
  EngineWorldOptions options;
  options.hot_bytes = 20'000;
  return options;
}

TEST(Match, FindsTheLongestCachedPrefixWithoutSideEffects) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 10);
  world.put_chain(ns, {keys.begin(), keys.begin() + 6}, 1000);
  const EngineStats before = world.engine().stats();
  const Match match = world.engine().match(ns, EngineWorld::refs(keys));
  EXPECT_EQ(match.prefix_blocks, 6U);
  EXPECT_EQ(match.prefix_bytes, 6000U);
  EXPECT_FALSE(match.incomplete);
  EXPECT_EQ(match.blocks.at(5).tier, TierKind::hot);
  EXPECT_EQ(match.blocks.at(5).plain_bytes, 1000U);
  EXPECT_EQ(world.match(ns, {keys[7]}), 0U);
  const EngineStats after = world.engine().stats();
  EXPECT_EQ(after.leases_open, before.leases_open);
  EXPECT_EQ(after.blocks_asked, before.blocks_asked);
  EXPECT_EQ(after.matches, before.matches + 2);
}

TEST(Match, SaysWhichTierHasABlock) {
  EngineWorld world(small_hot());
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 4);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 2000).ok());
  const Match match = world.engine().match(ns, EngineWorld::refs(keys));
  std::vector<TierKind> tiers;
  for (const MatchedBlock& block : match.blocks) tiers.push_back(block.tier);
  // Tail first: the root stays hot longest.
  EXPECT_THAT(tiers, ElementsAre(TierKind::hot, TierKind::hot, TierKind::cold, TierKind::cold));
}

TEST(Acquire, GivesTheLeadingRunAndStopsAtTheFirstMiss) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  std::vector<std::string> keys = EngineWorld::chain("c", 6);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.erase(ns, keys[3]));
  const auto lease = world.acquire(ns, keys);
  ASSERT_TRUE(lease.ok()) << lease.status();
  ASSERT_EQ(lease->blocks().size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(lease->blocks()[i].found);
    EXPECT_EQ(lease->blocks()[i].served_from, TierKind::hot);
    EXPECT_TRUE(is_payload(keys[i], 0, lease->blocks()[i].bytes));
  }
}

TEST(Acquire, EachAsksForSingleBlocks) {
  EngineWorld world(small_hot());
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 6);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 3000).ok());
  ASSERT_TRUE(world.erase(ns, keys[1]));
  const auto lease = world.acquire(ns, keys, {.read = Read::each});
  ASSERT_TRUE(lease.ok());
  ASSERT_EQ(lease->blocks().size(), 6U);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(lease->blocks()[i].found, i != 1);
    if (i == 1) continue;
    EXPECT_TRUE(is_payload(keys[i], 0, lease->blocks()[i].bytes));
  }
  EXPECT_EQ(lease->blocks()[1].bytes.data(), nullptr);
}

TEST(Acquire, BringsBlocksFromColdIntoHot) {
  EngineWorld world(small_hot());
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 5);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(world.hot().usage().used_bytes, 0U);
  {
    const auto lease = world.acquire(ns, keys);
    ASSERT_TRUE(lease.ok());
    ASSERT_EQ(lease->blocks().size(), 5U);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      EXPECT_EQ(lease->blocks()[i].served_from, TierKind::cold);
      EXPECT_TRUE(is_payload(keys[i], 0, lease->blocks()[i].bytes));
    }
  }
  const auto again = world.acquire(ns, keys);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->blocks()[4].served_from, TierKind::hot);
  EXPECT_EQ(world.engine().stats().hot.promoted_in, 5U);
}

TEST(Acquire, EqualKeysAreOneLoad) {
  EngineWorld world(small_hot());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  const KeyRef key{"k"};
  std::vector<Lease> leases;
  world.cold().hold();
  for (int i = 0; i < 5; ++i) {
    world.engine().acquire(ns, {&key, 1}, {}, [&](absl::StatusOr<Lease> lease) {
      ASSERT_TRUE(lease.ok());
      leases.push_back(*std::move(lease));
    });
  }
  world.settle();
  EXPECT_EQ(world.cold().held(), 1U);
  EXPECT_TRUE(leases.empty());
  world.cold().release();
  world.settle();
  ASSERT_EQ(leases.size(), 5U);
  for (const Lease& lease : leases) EXPECT_TRUE(is_payload("k", 0, lease.blocks()[0].bytes));
  EXPECT_EQ(world.hot().usage().used_bytes, 1000U);
}

TEST(Acquire, IsAdmittedWholeOrNotAtAll) {
  EngineWorld world(small_hot());  // 10,000 bytes may be leased
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 12);
  world.put_chain(ns, keys, 1000);
  const auto too_much = world.acquire(ns, keys);
  EXPECT_TRUE(has_code(too_much.status(), ErrorCode::busy)) << too_much.status();
  EXPECT_EQ(world.engine().stats().leases_open, 0U);
  const std::vector<std::string> half(keys.begin(), keys.begin() + 10);
  auto fits = world.acquire(ns, half);
  ASSERT_TRUE(fits.ok()) << fits.status();
  EXPECT_EQ(fits->blocks().size(), 10U);
  EXPECT_TRUE(has_code(world.acquire(ns, {keys[11]}).status(), ErrorCode::busy));
  // Sharing what is leased already costs nothing.
  EXPECT_TRUE(world.acquire(ns, half).ok());
  fits->release();
  EXPECT_TRUE(world.acquire(ns, {keys[11]}).ok());
}

TEST(Acquire, AHungDiskNeverMakesItLaterThanItsDeadline) {
  EngineWorld world(small_hot());
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 3);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 1000).ok());  // the root stays
  world.cold().hold();
  const TimePoint deadline = world.clock().now() + Duration::millis(200);
  std::optional<absl::StatusOr<Lease>> result;
  {
    std::vector<std::string> gone = keys;  // borrowed until done, and no longer
    const std::vector<KeyRef> refs = EngineWorld::refs(gone);
    world.engine().acquire(ns, refs, {.deadline = deadline},
                           [&](absl::StatusOr<Lease> lease) { result = std::move(lease); });
    world.advance(Duration::millis(199));
    EXPECT_FALSE(result.has_value());
    world.advance(Duration::millis(1));
    ASSERT_TRUE(result.has_value());
  }
  ASSERT_TRUE((*result).ok());
  EXPECT_EQ((*result)->blocks().size(), 1U);
  EXPECT_EQ(world.engine().stats().deadline_missed, 1U);
  // What was being read ends in hot after all.
  world.cold().release();
  world.settle();
  EXPECT_EQ(world.engine().match(ns, EngineWorld::refs(keys)).blocks[2].tier, TierKind::hot);
}

TEST(Acquire, ADeadlineThatHasPassedGivesWhatIsHot) {
  EngineWorld world(small_hot());
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 3);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 2000).ok());
  const auto lease = world.acquire(ns, keys, {.deadline = world.clock().now()});
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(lease->blocks().size(), 2U);
}

TEST(Acquire, ACorruptBlockIsAMissAndGoes) {
  EngineWorld world(small_hot());
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> keys = EngineWorld::chain("c", 3);
  world.put_chain(ns, keys, 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  ASSERT_TRUE(world.cold().corrupt(world.name(ns, keys[1])));
  const auto lease = world.acquire(ns, keys);
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(lease->blocks().size(), 1U);
  world.settle();
  EXPECT_EQ(world.engine().stats().corrupt_blocks, 1U);
  EXPECT_EQ(world.match(ns, {keys[1]}), 0U);
  EXPECT_EQ(world.cold().stored_blocks(), 2U);
  // And may be put again.
  EXPECT_EQ(world.put(ns, keys[1], 1000).outcome, PutOutcome::stored);
}

TEST(Acquire, AnIoErrorIsAMissAndTheBlockStays) {
  EngineWorld world(small_hot());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  world.cold().fail_reads(ErrorCode::io, 1);
  EXPECT_EQ(world.get(ns, "k"), std::nullopt);
  EXPECT_EQ(world.hot().usage().used_bytes, 0U);
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 1000));
}

TEST(Acquire, ABlockThatTheCleanerMovesMeanwhileIsReadWhereItIs) {
  EngineWorld world(small_hot());
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  ASSERT_TRUE(world.cold().relocate(world.name(ns, "k")));
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 1000));
  EXPECT_EQ(world.engine().stats().corrupt_blocks, 0U);
}

TEST(Acquire, ComparesTheFullKeyOfABlockFromHot) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  // A block whose id is another name's: what a collision of 128 bits would look like.
  const BlockName mine = world.name(ns, "mine"), foreign = world.name(ns, "foreign");
  const BlockId id = block_id(mine, world.cold().block_id_secret());
  const std::string payload = make_payload("foreign", 0, 500);
  Location location;
  const std::uint32_t size = 500;
  ASSERT_TRUE(world.cold().reserve(ns, {&size, 1}, {&location, 1}).ok());
  TierWrite write{.name = foreign,
                  .id = id,
                  .facts = {.sequence = world.cold().next_sequence(),
                            .plain_bytes = size,
                            .plain_sum = xxh3_64(as_bytes(payload))},
                  .payload = as_bytes(payload),
                  .location = location};
  world.cold().write({&write, 1}, Durability::written, [] {});
  world.settle();
  world.restart();
  ASSERT_EQ(world.match(ns, {"mine"}), 1U);  // a hint may be wrong
  EXPECT_EQ(world.get(ns, "mine"), std::nullopt);
  std::string buffer(500, '\0');
  LoadTarget target{.key = {"mine"},
                    .buffer = {reinterpret_cast<std::byte*>(buffer.data()), buffer.size()}};
  ASSERT_TRUE(world.engine().load_sync(ns, {&target, 1}).ok());
  EXPECT_FALSE(target.found);
}

TEST(Acquire, ParanoidChecksTheBytesInHotToo) {
  EngineWorldOptions options;
  options.engine.paranoid = true;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  {
    const auto lease = world.acquire(ns, {"k"});
    ASSERT_TRUE(lease.ok());
    // A write through the span is what nobody may do; memory that rots looks the same.
    *const_cast<std::byte*>(lease->blocks()[0].bytes.data()) ^= std::byte{1};
  }
  EXPECT_EQ(world.get(ns, "k"), make_payload("k", 0, 1000));  // from cold, in the same call
  EXPECT_EQ(world.engine().stats().corrupt_blocks, 1U);
}

TEST(Acquire, ChainsOfTwoRequestsShareTheirBlocks) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  const std::vector<std::string> shared = EngineWorld::chain("system", 4);
  std::vector<std::string> one = shared, two = shared;
  one.push_back("one");
  two.push_back("two");
  world.put_chain(ns, one, 1000);
  world.put_chain(ns, two, 1000);
  EXPECT_EQ(world.hot().usage().used_bytes, 6000U);
  const auto a = world.acquire(ns, one);
  const auto b = world.acquire(ns, two);
  ASSERT_TRUE(a.ok() && b.ok());
  for (std::size_t i = 0; i < shared.size(); ++i) {
    EXPECT_EQ(a->blocks()[i].bytes.data(), b->blocks()[i].bytes.data());
  }
}

TEST(Acquire, AfterCloseIsRefused) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  ASSERT_TRUE(world.engine().close().ok());
  ASSERT_TRUE(world.engine().close().ok());
  EXPECT_TRUE(has_code(world.acquire(ns, {"k"}).status(), ErrorCode::closed));
  EXPECT_TRUE(has_code(world.put(ns, "k", 1000).status, ErrorCode::closed));
}

TEST(Touch, RenewsRecencyWithoutReading) {
  EngineWorldOptions options;
  options.hot_bytes = 4000;
  EngineWorld world(options);
  const NamespaceId ns = world.open_namespace("n");
  for (const char* key : {"a", "b", "c"}) world.put(ns, key, 1000);
  const KeyRef oldest{"a"};
  EXPECT_EQ(world.engine().touch(ns, {&oldest, 1}), 1U);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 1000).ok());
  EXPECT_EQ(world.engine().match(ns, {&oldest, 1}).blocks[0].tier, TierKind::hot);
  const KeyRef absent{"x"};
  EXPECT_EQ(world.engine().touch(ns, {&absent, 1}), 0U);
}

}  // namespace
}  // namespace cairn::test
