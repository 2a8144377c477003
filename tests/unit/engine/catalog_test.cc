// SPDX-License-Identifier: Apache-2.0
// Goal: each promise of catalog.h by itself. Method: small cases written out; the mixture of
// them all is tests/property/catalog_model_test.cc.
#include "engine/catalog.h"

#include <gtest/gtest.h>

#include "tests/support/seed.h"

namespace cairn {
namespace {

constexpr NamespaceId kNs{7};

BlockId id_of(std::uint64_t n) {
  test::Rng rng(n);
  return {{rng.next(), rng.next()}};
}
std::vector<BlockId> ids_of(std::uint64_t first, std::size_t count) {
  std::vector<BlockId> ids;
  for (std::size_t i = 0; i < count; ++i) ids.push_back(id_of(first + i));
  return ids;
}
BlockFacts facts_of(std::uint64_t sequence, BlockId parent = {}) {
  BlockFacts facts;
  facts.sequence = sequence;
  facts.plain_bytes = 100;
  facts.parent = parent;
  return facts;
}

class CatalogTest : public testing::Test {
 protected:
  void hot(BlockId id, BlockId parent = {}) {
    EXPECT_TRUE(catalog_.publish_hot(id, {kNs}, facts_of(1, parent), fresh(), nullptr));
  }
  void cold(BlockId id, BlockId parent = {}) {
    EXPECT_TRUE(catalog_.publish_cold(id, {kNs}, facts_of(1, parent), fresh(), 128, nullptr));
  }
  std::vector<BlockId> chain(std::uint64_t first, std::size_t count) {
    std::vector<BlockId> ids = ids_of(first, count);
    for (std::size_t i = 0; i < count; ++i) cold(ids[i], i == 0 ? BlockId{} : ids[i - 1]);
    return ids;
  }
  Location fresh() { return Location{++locations_}; }
  std::vector<BlockId> victims(TierKind tier, std::size_t count,
                               Standing most = Standing::last_copy) {
    std::vector<BlockId> ids;
    for (const Victim& victim : catalog_.victims(tier, count, most)) ids.push_back(victim.id);
    return ids;
  }
  Residency lease(BlockId id) {
    Residency out;
    EXPECT_EQ(catalog_.lease_hot({&id, 1}, Read::each, {&out, 1}), 1U);
    return out;
  }
  std::vector<Location> release(const Residency& lease) {
    std::vector<Location> freeable;
    catalog_.release({&lease.handle, 1}, &freeable);
    return freeable;
  }
  void TearDown() override { catalog_.check_invariants(); }

  Catalog catalog_{CatalogOptions{.blocks_max = 100'000}};
  std::uint64_t locations_ = 0;
};

// --- lookup -------------------------------------------------------------------------------------

TEST_F(CatalogTest, MatchGivesTheLeadingRun) {
  const std::vector<BlockId> ids = chain(0, 1000);
  std::vector<BlockId> asked = ids;
  for (const std::size_t missing : {999U, 600U, 288U, 287U, 256U, 33U, 32U, 31U, 1U, 0U}) {
    asked[missing] = id_of(1'000'000 + missing);
    std::vector<MatchedBlock> out(asked.size());
    EXPECT_EQ(catalog_.match(asked, out), missing);
    EXPECT_EQ(catalog_.match(asked, {}), missing);
    EXPECT_EQ(missing == 0 || out[missing - 1].plain_bytes == 100U, true);
  }
  EXPECT_EQ(catalog_.match(ids, {}), 1000U);
  EXPECT_EQ(catalog_.match({}, {}), 0U);
}

TEST_F(CatalogTest, PlaceholderIsNoMatch) {
  const auto [parent, child] = std::pair(id_of(1), id_of(2));
  cold(child, parent);
  EXPECT_EQ(catalog_.match({&parent, 1}, {}), 0U);
  EXPECT_FALSE(catalog_.find(parent).has_value());
  EXPECT_EQ(catalog_.blocks(), 1U);
  EXPECT_EQ(catalog_.entries(), 2U);
}

// --- publication --------------------------------------------------------------------------------

TEST_F(CatalogTest, HigherSequenceReplacesAndLowerIsRefused) {
  const BlockId id = id_of(1);
  EXPECT_TRUE(catalog_.publish_hot(id, {kNs}, facts_of(5), Location{1}, nullptr));
  EXPECT_FALSE(catalog_.publish_hot(id, {kNs}, facts_of(5), Location{2}, nullptr));
  EXPECT_FALSE(catalog_.publish_cold(id, {kNs}, facts_of(4), Location{3}, 9, nullptr));
  EXPECT_TRUE(catalog_.publish_cold(id, {kNs}, facts_of(5), Location{4}, 9, nullptr));
  EXPECT_FALSE(catalog_.publish_cold(id, {kNs}, facts_of(5), Location{5}, 9, nullptr));
  Residency replaced;
  EXPECT_TRUE(catalog_.publish_hot(id, {kNs}, facts_of(6), Location{6}, &replaced));
  EXPECT_EQ(replaced.hot, Location{1});
  EXPECT_EQ(replaced.cold, Location{4});
  EXPECT_EQ(catalog_.find(id)->hot, Location{6});
  EXPECT_TRUE(catalog_.find(id)->cold.is_null());
}

TEST_F(CatalogTest, RelocationIsACompareAndSwap) {
  const BlockId id = id_of(1);
  catalog_.publish_cold(id, {kNs}, facts_of(1), Location{10}, 9, nullptr);
  EXPECT_FALSE(catalog_.relocate_cold(id, Location{11}, Location{12}));
  EXPECT_TRUE(catalog_.relocate_cold(id, Location{10}, Location{12}));
  EXPECT_FALSE(catalog_.relocate_cold(id, Location{10}, Location{13}));
  EXPECT_EQ(catalog_.find(id)->cold, Location{12});
  EXPECT_FALSE(catalog_.relocate_cold(id_of(2), Location{10}, Location{12}));
}

TEST_F(CatalogTest, PromotionIntoAnotherVersionIsRefused) {
  const BlockId id = id_of(1);
  cold(id);
  EXPECT_FALSE(catalog_.add_hot(id, 2, Location{5}));
  EXPECT_TRUE(catalog_.add_hot(id, 1, Location{5}));
  EXPECT_FALSE(catalog_.add_hot(id, 1, Location{6}));
  EXPECT_EQ(catalog_.find(id)->tier(), TierKind::hot);
}

TEST_F(CatalogTest, EntryGoesWithItsLastCopy) {
  const BlockId id = id_of(1);
  hot(id);
  catalog_.publish_cold(id, {kNs}, facts_of(1), Location{50}, 9, nullptr);
  EXPECT_TRUE(catalog_.remove_copy(id, TierKind::hot, catalog_.find(id)->hot));
  EXPECT_EQ(catalog_.entries(), 1U);
  EXPECT_FALSE(catalog_.remove_copy(id, TierKind::cold, Location{51}));
  EXPECT_TRUE(catalog_.remove_copy(id, TierKind::cold, Location{50}));
  EXPECT_EQ(catalog_.entries(), 0U);
}

TEST_F(CatalogTest, UsageIsKeptByNamespace) {
  hot(id_of(1));
  cold(id_of(2));
  catalog_.publish_cold(id_of(3), {NamespaceId{8}}, facts_of(1), fresh(), 9, nullptr);
  EXPECT_EQ(catalog_.usage(kNs).blocks, 2U);
  EXPECT_EQ(catalog_.usage(kNs).bytes, 200U);
  EXPECT_EQ(catalog_.usage(NamespaceId{8}).blocks, 1U);
  EXPECT_EQ(catalog_.usage(NamespaceId{9}).blocks, 0U);
  std::size_t visited = 0;
  catalog_.for_each(kNs, [&visited](BlockId, const Residency&) { ++visited; });
  EXPECT_EQ(visited, 2U);
}

TEST_F(CatalogTest, ExpiryIsKeptAndCleared) {
  const BlockId id = id_of(1);
  hot(id);
  catalog_.set_expiry(id, 12345);
  EXPECT_EQ(catalog_.find(id)->facts.expiry, 12345);
  EXPECT_EQ(lease(id).facts.expiry, 12345);
  catalog_.set_expiry(id, 0);
  EXPECT_EQ(catalog_.find(id)->facts.expiry, 0);
  EXPECT_TRUE(release(*catalog_.find(id)).empty());
}

// --- leases -------------------------------------------------------------------------------------

TEST_F(CatalogTest, LeasedBlockIsNeitherVictimNorEvicted) {
  const BlockId id = id_of(1);
  hot(id);
  const Residency leased = lease(id);
  EXPECT_TRUE(victims(TierKind::hot, 9).empty());
  EXPECT_FALSE(catalog_.remove_copy(id, TierKind::hot, leased.hot));
  EXPECT_TRUE(release(leased).empty());
  EXPECT_EQ(victims(TierKind::hot, 9), std::vector<BlockId>{id});
  EXPECT_TRUE(catalog_.remove_copy(id, TierKind::hot, leased.hot));
}

TEST_F(CatalogTest, LeasedBytesCountEachBlockOnce) {
  hot(id_of(1));
  hot(id_of(2));
  const Residency first = lease(id_of(1));
  const Residency second = lease(id_of(1));
  const Residency other = lease(id_of(2));
  EXPECT_EQ(catalog_.leased_bytes(), 200U);
  catalog_.remove(id_of(1), UINT64_MAX);
  release(first);
  EXPECT_EQ(catalog_.leased_bytes(), 200U);
  release(second);
  EXPECT_EQ(catalog_.leased_bytes(), 100U);
  std::vector<Location> freeable;
  const BlockId id = id_of(2);
  catalog_.release({&id, 1}, {&other.hot, 1}, &freeable);
  EXPECT_EQ(catalog_.leased_bytes(), 0U);
}

TEST_F(CatalogTest, BlockRemovedWhileLeasedIsFreedByItsLastLease) {
  const BlockId id = id_of(1);
  hot(id);
  const Residency first = lease(id);
  const Residency second = lease(id);
  const auto removed = catalog_.remove(id, UINT64_MAX);
  ASSERT_TRUE(removed.has_value());
  EXPECT_TRUE(removed->hot.is_null());
  EXPECT_FALSE(catalog_.find(id).has_value());
  EXPECT_TRUE(release(first).empty());
  catalog_.check_invariants();
  EXPECT_EQ(release(second), std::vector<Location>{first.hot});
  EXPECT_EQ(catalog_.entries(), 0U);
}

TEST_F(CatalogTest, ReplacedWhileLeasedBothVersionsLive) {
  const BlockId id = id_of(1);
  hot(id);
  const Residency old = lease(id);
  Residency replaced;
  EXPECT_TRUE(catalog_.publish_hot(id, {kNs}, facts_of(2), Location{77}, &replaced));
  EXPECT_TRUE(replaced.hot.is_null());
  const Residency now = lease(id);
  EXPECT_EQ(now.hot, Location{77});
  EXPECT_EQ(now.facts.sequence, 2U);
  EXPECT_EQ(release(old), std::vector<Location>{old.hot});
  EXPECT_TRUE(release(now).empty());
  EXPECT_EQ(catalog_.entries(), 1U);
}

TEST_F(CatalogTest, ReleaseByNameFindsOldAndNewVersions) {
  const BlockId id = id_of(1);
  hot(id);
  const Location old = lease(id).hot;
  catalog_.publish_hot(id, {kNs}, facts_of(2), Location{77}, nullptr);
  const Location now = lease(id).hot;
  const std::vector<BlockId> ids{id, id};
  const std::vector<Location> locations{now, old};
  std::vector<Location> freeable;
  catalog_.release(ids, locations, &freeable);
  EXPECT_EQ(freeable, std::vector<Location>{old});
}

TEST_F(CatalogTest, PrefixLeasesStopAtTheFirstThatIsNotHot) {
  const std::vector<BlockId> ids = ids_of(0, 600);
  for (const BlockId id : ids) hot(id);
  const Location gone = catalog_.find(ids[400])->hot;
  catalog_.publish_cold(ids[400], {kNs}, facts_of(1), fresh(), 9, nullptr);
  EXPECT_TRUE(catalog_.remove_copy(ids[400], TierKind::hot, gone));
  std::vector<Residency> out(ids.size());
  EXPECT_EQ(catalog_.lease_hot(ids, Read::prefix, out), 400U);
  EXPECT_EQ(out[400].tier(), TierKind::cold);
  for (std::size_t i = 400; i < out.size(); ++i) EXPECT_TRUE(out[i].hot.is_null());
  for (std::size_t i = 401; i < ids.size(); ++i) EXPECT_FALSE(catalog_.find(ids[i])->leased);
  std::vector<BlockHandle> handles;
  for (std::size_t i = 0; i < 400; ++i) handles.push_back(out[i].handle);
  std::vector<Location> freeable;
  catalog_.release(handles, &freeable);
  EXPECT_EQ(catalog_.lease_hot(ids, Read::each, out), 599U);
  handles.clear();
  for (const Residency& one : out) {
    if (!one.hot.is_null()) handles.push_back(one.handle);
  }
  catalog_.release(handles, &freeable);
  EXPECT_TRUE(freeable.empty());
}

// --- pins ---------------------------------------------------------------------------------------

TEST_F(CatalogTest, PinnedBlockStaysUntilItsLastPin) {
  const BlockId id = id_of(1);
  hot(id);
  for (int i = 0; i < 300; ++i) EXPECT_TRUE(catalog_.pin(id, 1));  // beyond one byte
  EXPECT_TRUE(catalog_.pin(id, -299));
  EXPECT_TRUE(victims(TierKind::hot, 9).empty());
  EXPECT_FALSE(catalog_.remove_copy(id, TierKind::hot, catalog_.find(id)->hot));
  EXPECT_TRUE(catalog_.pin(id, -1));
  EXPECT_EQ(victims(TierKind::hot, 9).size(), 1U);
  EXPECT_FALSE(catalog_.pin(id_of(2), 1));
}

TEST_F(CatalogTest, DurablePinIsTakenBackByUnpinning) {
  const BlockId id = id_of(1);
  BlockFacts facts = facts_of(1);
  facts.pinned = true;
  catalog_.publish_cold(id, {kNs}, facts, Location{1}, 9, nullptr);
  EXPECT_TRUE(catalog_.find(id)->pinned);
  EXPECT_TRUE(victims(TierKind::cold, 9).empty());
  EXPECT_TRUE(catalog_.pin(id, -1));
  EXPECT_FALSE(catalog_.find(id)->facts.pinned);
  EXPECT_EQ(victims(TierKind::cold, 9).size(), 1U);
  EXPECT_TRUE(catalog_.set_durable_pin(id, true));
  EXPECT_TRUE(victims(TierKind::cold, 9).empty());
}

TEST_F(CatalogTest, RemovalTakesPinsAlong) {
  const BlockId id = id_of(1);
  hot(id);
  catalog_.pin(id, 3);
  EXPECT_TRUE(catalog_.remove(id, UINT64_MAX).has_value());
  hot(id);
  EXPECT_FALSE(catalog_.find(id)->pinned);
}

// --- links --------------------------------------------------------------------------------------

TEST_F(CatalogTest, LinksSurviveAnyOrderOfArrival) {
  const std::vector<BlockId> ids = ids_of(0, 50);
  for (std::size_t i = 50; i-- > 0;) cold(ids[i], i == 0 ? BlockId{} : ids[i - 1]);
  EXPECT_EQ(catalog_.orphans(), 0U);
  for (std::size_t i = 1; i < 50; ++i) {
    EXPECT_EQ(catalog_.parent(ids[i]), ids[i - 1]);
    EXPECT_EQ(catalog_.children(ids[i - 1]), std::vector<BlockId>{ids[i]});
  }
}

TEST_F(CatalogTest, PlaceholdersGoWithTheirLastChild) {
  const std::vector<BlockId> ids = ids_of(0, 3);
  cold(ids[2], ids[1]);
  cold(ids[1], ids[0]);
  EXPECT_TRUE(catalog_.remove(ids[1], UINT64_MAX).has_value());
  EXPECT_EQ(catalog_.entries(), 3U);
  EXPECT_TRUE(catalog_.remove(ids[2], UINT64_MAX).has_value());
  EXPECT_EQ(catalog_.entries(), 0U);
}

TEST_F(CatalogTest, CircleOfParentsIsLeftOut) {
  const std::vector<BlockId> ids = ids_of(0, 3);
  cold(ids[0], ids[0]);
  cold(ids[1], ids[0]);
  cold(ids[2], ids[1]);
  catalog_.remove(ids[0], UINT64_MAX);
  cold(ids[0], ids[2]);
  EXPECT_FALSE(catalog_.parent(ids[0]).has_value());
  EXPECT_EQ(victims(TierKind::cold, 9).size(), 3U);
}

TEST_F(CatalogTest, ThousandsOfChildrenAreCounted) {
  const BlockId root = id_of(0);
  cold(root);
  for (std::uint64_t n = 1; n <= 1000; ++n) cold(id_of(n), root);
  EXPECT_EQ(catalog_.children(root).size(), 1000U);
  EXPECT_EQ(victims(TierKind::cold, 2000).size(), 1001U);
  for (std::uint64_t n = 1; n <= 1000; ++n) {
    EXPECT_FALSE(catalog_.remove_copy(root, TierKind::cold, catalog_.find(root)->cold));
    catalog_.remove(id_of(n), UINT64_MAX);
  }
  EXPECT_TRUE(catalog_.remove_copy(root, TierKind::cold, catalog_.find(root)->cold));
}

// --- eviction -----------------------------------------------------------------------------------

TEST_F(CatalogTest, TailGoesFirstAndTheWholeChainInOneCall) {
  std::vector<BlockId> ids = chain(0, 500);
  catalog_.touch(ids);
  std::vector<BlockId> expected(ids.rbegin(), ids.rend());
  EXPECT_EQ(victims(TierKind::cold, 1000), expected);
  expected.resize(20);
  EXPECT_EQ(victims(TierKind::cold, 20), expected);
}

TEST_F(CatalogTest, ParentOlderThanItsChildWaitsForIt) {
  const std::vector<BlockId> ids = chain(0, 3);  // each newer than its parent
  const BlockId other = id_of(100);
  cold(other);
  const BlockId tail = ids[2];
  catalog_.touch({&tail, 1});
  EXPECT_EQ(victims(TierKind::cold, 9), (std::vector<BlockId>{other, ids[2], ids[1], ids[0]}));
}

TEST_F(CatalogTest, LastCopyOfAParentIsNotEvicted) {
  const auto [parent, child] = std::pair(id_of(1), id_of(2));
  cold(parent);
  hot(child, parent);
  EXPECT_TRUE(victims(TierKind::cold, 9).empty());
  EXPECT_FALSE(catalog_.remove_copy(parent, TierKind::cold, catalog_.find(parent)->cold));
  EXPECT_TRUE(catalog_.add_hot(parent, 1, fresh()));
  EXPECT_EQ(victims(TierKind::cold, 9), std::vector<BlockId>{parent}) << "hot has it";
  EXPECT_EQ(victims(TierKind::hot, 9), (std::vector<BlockId>{child, parent}));
}

TEST_F(CatalogTest, OnlyBackedBlocksAreVictimsUnlessLastCopiesMayGo) {
  hot(id_of(1));
  hot(id_of(2));
  catalog_.publish_cold(id_of(2), {kNs}, facts_of(1), fresh(), 9, nullptr);
  EXPECT_EQ(victims(TierKind::hot, 9, Standing::backed), std::vector<BlockId>{id_of(2)});
  EXPECT_EQ(victims(TierKind::hot, 9, Standing::last_copy),
            (std::vector<BlockId>{id_of(1), id_of(2)}));
}

TEST_F(CatalogTest, OrphansAndWhatHangsBelowThemGoFirst) {
  cold(id_of(1000));  // the oldest
  const std::vector<BlockId> ids = chain(0, 4);
  EXPECT_EQ(catalog_.orphans(), 0U);
  EXPECT_TRUE(catalog_.drop_copy(ids[0], TierKind::cold, catalog_.find(ids[0])->cold));
  EXPECT_EQ(catalog_.orphans(), 1U);
  EXPECT_EQ(victims(TierKind::cold, 9),
            (std::vector<BlockId>{ids[3], ids[2], ids[1], id_of(1000)}));
  catalog_.set_loading(true);
  EXPECT_EQ(victims(TierKind::cold, 9).front(), id_of(1000));
  catalog_.set_loading(false);
  EXPECT_EQ(victims(TierKind::cold, 9).front(), ids[3]);
  cold(ids[0]);
  EXPECT_EQ(catalog_.orphans(), 0U);
  EXPECT_EQ(victims(TierKind::cold, 9).front(), id_of(1000));
}

TEST_F(CatalogTest, MadeOldestIsTheFirstToGo) {
  for (std::uint64_t n = 1; n <= 5; ++n) hot(id_of(n));
  EXPECT_TRUE(catalog_.make_oldest(id_of(4)));
  EXPECT_TRUE(catalog_.make_oldest(id_of(5)));
  EXPECT_FALSE(catalog_.make_oldest(id_of(6)));
  EXPECT_EQ(victims(TierKind::hot, 3), (std::vector<BlockId>{id_of(5), id_of(4), id_of(1)}));
  catalog_.touch(std::vector<BlockId>{id_of(5)});
  EXPECT_EQ(catalog_.hottest(2), (std::vector<BlockId>{id_of(5), id_of(3)}));
}

// --- limits and growth --------------------------------------------------------------------------

TEST(CatalogLimits, NeverMoreEntriesThanTheLimit) {
  Catalog catalog({.blocks_max = 100});
  std::uint64_t stored = 0;
  for (std::uint64_t n = 0; n < 300; ++n) {
    stored += catalog.publish_cold(id_of(n), {kNs}, facts_of(1, id_of(n + 1000)), Location{n + 1},
                                   9, nullptr);
    EXPECT_LE(catalog.entries(), 100U);
  }
  EXPECT_EQ(catalog.entries(), 100U);
  EXPECT_GE(stored, 50U);
  catalog.check_invariants();
}

TEST(CatalogLimits, FreedEntriesServeAgain) {
  Catalog catalog({.blocks_max = 1000});
  for (std::uint64_t n = 0; n < 50'000; ++n) {
    ASSERT_TRUE(catalog.publish_cold(id_of(n), {kNs}, facts_of(1), Location{n + 1}, 9, nullptr))
        << n;
    ASSERT_TRUE(n < 999 || catalog.remove(id_of(n - 999), 1).has_value());
  }
  catalog.check_invariants();
}

TEST(CatalogGrowth, NoInsertDoesTheWorkOfMany) {
  Catalog catalog({.blocks_max = 200'000});
  std::uint64_t before = catalog.memory_bytes();
  for (std::uint64_t n = 0; n < 100'000; ++n) {
    catalog.publish_cold(id_of(n), {kNs}, facts_of(1), Location{n + 1}, 9, nullptr);
    const std::uint64_t now = catalog.memory_bytes();
    ASSERT_LE(now - before, 16'384U) << "insert " << n;  // a chunk, a bucket, a piece of the order
    before = now;
  }
  catalog.check_invariants();
  for (std::uint64_t n = 0; n < 100'000; ++n) ASSERT_TRUE(catalog.find(id_of(n)).has_value());
}

}  // namespace
}  // namespace cairn
