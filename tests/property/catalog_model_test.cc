// SPDX-License-Identifier: Apache-2.0
// Goal: the catalog answers like an obvious one, whatever is done to it in whatever order.
// Method: random operations on few ids, so that everything collides; after each the invariants
// are checked and the answers compared, victims step by step. The same with a policy that
// sorts everything every time, to show that the interface carries more than one.
#include "tests/support/catalog_model.h"

#include <gtest/gtest.h>

#include <memory>

#include "engine/policy/lru.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

/// LRU without an idea: all blocks in a map, sorted when asked. Uses are counted to see that
/// they are told where they are wanted.
class SlowLru final : public Policy {
 public:
  explicit SlowLru(const PolicyContext& context) : stamps_(context.stamps) {}
  void on_insert(BlockHandle block, Standing standing) override {
    EXPECT_TRUE(blocks_.emplace(block, standing).second);
  }
  void on_standing(BlockHandle block, Standing standing) override { blocks_.at(block) = standing; }
  void on_remove(BlockHandle block) override { EXPECT_EQ(blocks_.erase(block), 1U); }
  void on_demote(BlockHandle block) override { EXPECT_TRUE(blocks_.contains(block)); }
  bool wants_accesses() const override { return true; }
  void on_access(std::span<const BlockHandle> blocks) override { accesses_ += blocks.size(); }
  bool victims(Standing most, std::size_t count, std::vector<Candidate>& out) override {
    std::vector<Candidate> all;
    for (const auto& [block, standing] : blocks_) {
      if (standing == Standing::held || standing > most) continue;
      if ((standing == Standing::spare) != (most == Standing::spare)) continue;
      all.push_back({block, stamps_[block]});
    }
    std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.worth < b.worth; });
    all.resize(std::min(all.size(), count));
    out.insert(out.end(), all.begin(), all.end());
    return true;
  }
  std::uint64_t worth(BlockHandle block) const override { return stamps_[block]; }
  bool offers(BlockHandle block, Standing standing) const override {
    const auto found = blocks_.find(block);
    return (found == blocks_.end() ? Standing::held : found->second) == standing;
  }
  std::size_t offered() const override {
    std::size_t count = 0;
    for (const auto& [block, standing] : blocks_) count += standing != Standing::held;
    return count;
  }
  std::size_t memory_bytes() const override { return 0; }
  void check_invariants() const override {}

 private:
  Stamps stamps_;
  std::map<BlockHandle, Standing> blocks_;
  std::uint64_t accesses_ = 0;
};

struct Setup {
  std::uint64_t seed = 0;
  std::uint64_t blocks_max = 0;
  std::uint32_t shards = 1;
  std::size_t ids = 0;
  bool slow_policy = false;
};

class Run {
 public:
  explicit Run(const Setup& setup)
      : setup_(setup), rng_(setup.seed), catalog_(options(setup)), model_(setup.blocks_max) {
    for (std::size_t i = 0; i < setup.ids; ++i) ids_.push_back({{rng_.next(), rng_.next()}});
    branching_ = rng_.between(1, 4);
  }

  void step() {
    switch (rng_.below(24)) {
      case 0:
      case 1:
      case 2:
      case 3:
        publish(TierKind::hot);
        break;
      case 4:
      case 5:
      case 6:
        publish(TierKind::cold);
        break;
      case 7:
      case 8:
        write_back();
        break;
      case 9:
        promote();
        break;
      case 10:
        remove_copy();
        break;
      case 11:
        remove();
        break;
      case 12:
        drop_copy();
        break;
      case 13:
        relocate();
        break;
      case 14:
        pin();
        break;
      case 15:
      case 16:
        lease();
        break;
      case 17:
      case 18:
        release();
        break;
      case 19:
        touch();
        break;
      case 20:
        demote_or_expire();
        break;
      case 21:
        match();
        break;
      case 22:
        catalog_.set_loading(loading_ = rng_.chance(0.3));
        break;
      case 23:
        evict();
        break;
    }
    catalog_.check_invariants();
    compare();
    victims();
  }

  void finish() {
    while (!leases_.empty()) release();
    for (const BlockId id : ids_) {
      EXPECT_EQ(catalog_.remove(id, UINT64_MAX).has_value(),
                model_.remove(id, UINT64_MAX).has_value());
      catalog_.check_invariants();
    }
    EXPECT_EQ(catalog_.entries(), 0U);
    EXPECT_EQ(catalog_.blocks(), 0U);
    EXPECT_EQ(catalog_.orphans(), 0U);
  }

 private:
  struct Lease {
    BlockId id;
    Location hot;
    BlockHandle handle;
  };

  static CatalogOptions options(const Setup& setup) {
    CatalogOptions options;
    options.blocks_max = setup.blocks_max;
    options.shards = setup.shards;
    if (setup.slow_policy) {
      options.policy = [](const PolicyContext& context) {
        return std::make_unique<SlowLru>(context);
      };
    }
    return options;
  }

  static std::string key_of(BlockId id) {
    return std::string(1 + id.hash.low % 80, static_cast<char>('a' + id.hash.high % 26));
  }
  BlockId any() { return ids_[rng_.below(ids_.size())]; }
  TierKind any_tier() { return static_cast<TierKind>(rng_.between(1, 3)); }
  Location fresh() { return Location{++locations_}; }
  std::vector<BlockId> chain() {
    std::vector<BlockId> ids;
    std::size_t at = rng_.below(ids_.size());
    for (std::size_t i = rng_.between(1, 8); i-- > 0; at = (at - 1) / branching_) {
      ids.push_back(ids_[at]);
      if (at == 0) break;
    }
    std::reverse(ids.begin(), ids.end());
    return ids;
  }

  void publish(TierKind tier) {
    const std::size_t index = rng_.below(ids_.size());
    const BlockId id = ids_[index];
    BlockFacts facts;
    facts.sequence = rng_.between(1, 4);
    facts.plain_bytes = static_cast<std::uint32_t>(rng_.between(0, kBlockBytesMax));
    facts.plain_sum = rng_.next();
    facts.pinned = rng_.chance(0.05);
    facts.expiry = rng_.chance(0.2) ? static_cast<WallMicros>(rng_.between(1, 1000)) : 0;
    if (index > 0 && rng_.chance(0.9)) facts.parent = ids_[(index - 1) / branching_];
    if (rng_.chance(0.05)) facts.parent = any();
    // Mostly of one namespace: of another it is another name with the same id.
    const auto ns = NamespaceId{static_cast<std::uint32_t>(rng_.chance(0.1) ? 4 : 1 + index % 3)};
    const std::string key = key_of(id);
    const Location location = fresh();
    // As records are, in units of 64 bytes.
    const auto cold_bytes =
        static_cast<std::uint32_t>(tier == TierKind::cold ? 64 * rng_.below(1U << 21) : 0);
    CatalogModel::Freed freed;
    const bool expected = model_.publish(id, ns, facts, tier, location, cold_bytes, &freed);
    Residency replaced;
    const bool actual =
        tier == TierKind::hot
            ? catalog_.publish_hot(id, {ns, key}, facts, location, &replaced)
            : catalog_.publish_cold(id, {ns, key}, facts, location, cold_bytes, &replaced);
    ASSERT_EQ(actual, expected);
    ASSERT_EQ(replaced.hot, freed.hot);
    ASSERT_EQ(replaced.warm, freed.warm);
    ASSERT_EQ(replaced.cold, freed.cold);
  }
  void write_back() {
    const BlockId id = any();
    const CatalogModel::Block* block = model_.find(id);
    if (block == nullptr) return;
    BlockFacts facts = block->facts;
    const Location location = fresh();
    CatalogModel::Freed none;
    const bool expected = model_.publish(id, block->ns, facts, TierKind::cold, location, 64, &none);
    const std::string key = key_of(id);
    ASSERT_EQ(catalog_.publish_cold(id, {block->ns, key}, facts, location, 64, nullptr), expected);
  }
  void promote() {
    const BlockId id = any();
    const std::uint64_t sequence = rng_.between(1, 4);
    const Location location = fresh();
    if (rng_.chance(0.5)) {
      ASSERT_EQ(catalog_.add_hot(id, sequence, location),
                model_.add(id, sequence, TierKind::hot, location));
    } else {
      ASSERT_EQ(catalog_.add_warm(id, sequence, location),
                model_.add(id, sequence, TierKind::warm, location));
    }
  }
  void remove_copy() {
    const BlockId id = any();
    const TierKind tier = any_tier();
    Location location = fresh();
    if (const CatalogModel::Block* block = model_.find(id); block != nullptr && rng_.chance(0.9)) {
      location = block->in(tier);
    }
    const auto most = static_cast<Standing>(rng_.between(1, 3));
    const bool expected = !location.is_null() && model_.remove_copy(id, tier, location, most);
    ASSERT_EQ(catalog_.remove_copy(id, tier, location, most), expected);
  }
  void remove() {
    const BlockId id = any();
    const std::uint64_t sequence = rng_.between(1, 4);
    const auto expected = model_.remove(id, sequence);
    const auto actual = catalog_.remove(id, sequence);
    ASSERT_EQ(actual.has_value(), expected.has_value());
    if (!expected.has_value()) return;
    ASSERT_EQ(actual->hot, expected->hot);
    ASSERT_EQ(actual->warm, expected->warm);
    ASSERT_EQ(actual->cold, expected->cold);
  }
  void drop_copy() {
    const BlockId id = any();
    const TierKind tier = rng_.chance(0.5) ? TierKind::warm : TierKind::cold;
    const CatalogModel::Block* block = model_.find(id);
    const Location location = block != nullptr && rng_.chance(0.9) ? block->in(tier) : fresh();
    ASSERT_EQ(catalog_.drop_copy(id, tier, location), model_.drop_copy(id, tier, location));
  }
  void relocate() {
    const BlockId id = any();
    const CatalogModel::Block* block = model_.find(id);
    const Location from = block != nullptr && rng_.chance(0.9) ? block->cold : fresh();
    const Location to = fresh();
    ASSERT_EQ(catalog_.relocate_cold(id, from, to), model_.relocate(id, from, to));
  }
  void pin() {
    const BlockId id = any();
    if (rng_.chance(0.2)) {
      const bool pinned = rng_.chance(0.5);
      CatalogModel::Block* block = model_.present(id);
      if (block != nullptr) block->facts.pinned = pinned;
      ASSERT_EQ(catalog_.set_durable_pin(id, pinned), block != nullptr);
      return;
    }
    const int delta = rng_.chance(0.45) ? 1 : -1;
    ASSERT_EQ(catalog_.pin(id, delta), model_.pin(id, delta));
  }
  void lease() {
    const std::vector<BlockId> ids = chain();
    const Read read = rng_.chance(0.5) ? Read::prefix : Read::each;
    const std::vector<bool> expected = model_.lease(ids, read);
    std::vector<Residency> out(ids.size());
    const std::size_t count = catalog_.lease_hot(ids, read, out);
    ASSERT_EQ(count, static_cast<std::size_t>(std::count(expected.begin(), expected.end(), true)));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ASSERT_EQ(!out[i].hot.is_null(), expected[i]) << i;
      if (!expected[i]) continue;
      const CatalogModel::Block* block = model_.find(ids[i]);
      ASSERT_EQ(out[i].hot, block->hot);
      ASSERT_EQ(out[i].facts.sequence, block->facts.sequence);
      ASSERT_EQ(out[i].facts.plain_sum, block->facts.plain_sum);
      ASSERT_EQ(out[i].facts.expiry, block->facts.expiry);
      leases_.push_back({ids[i], out[i].hot, out[i].handle});
    }
  }
  void release() {
    std::vector<Location> freeable;
    std::set<Location> expected;
    const bool by_handle = rng_.chance(0.5);
    std::vector<BlockId> ids;
    std::vector<Location> hot;
    std::vector<BlockHandle> handles;
    for (std::size_t count = rng_.between(1, 6); count > 0 && !leases_.empty(); --count) {
      const std::size_t at = rng_.below(leases_.size());
      const Lease lease = leases_[at];
      leases_.erase(leases_.begin() + static_cast<std::ptrdiff_t>(at));
      if (model_.release(lease.id, lease.hot)) expected.insert(lease.hot);
      ids.push_back(lease.id);
      hot.push_back(lease.hot);
      handles.push_back(lease.handle);
    }
    if (by_handle) {
      catalog_.release(handles, &freeable);
    } else {
      catalog_.release(ids, hot, &freeable);
    }
    ASSERT_EQ(std::set<Location>(freeable.begin(), freeable.end()), expected);
    ASSERT_EQ(freeable.size(), expected.size());
  }
  void touch() {
    const std::vector<BlockId> ids = chain();
    ASSERT_EQ(catalog_.touch(ids), model_.touch(ids));
  }
  void demote_or_expire() {
    const BlockId id = any();
    if (rng_.chance(0.5)) {
      model_.make_oldest(id);
      ASSERT_EQ(catalog_.make_oldest(id), model_.find(id) != nullptr);
      return;
    }
    const auto expiry = static_cast<WallMicros>(rng_.below(3));
    if (CatalogModel::Block* block = model_.present(id)) block->facts.expiry = expiry;
    catalog_.set_expiry(id, expiry);
  }
  void match() {
    const std::vector<BlockId> ids = chain();
    std::vector<MatchedBlock> out(ids.size());
    std::size_t expected = 0;
    while (expected < ids.size() && model_.find(ids[expected]) != nullptr) ++expected;
    ASSERT_EQ(catalog_.match(ids, out), expected);
    for (std::size_t i = 0; i < expected; ++i) {
      const CatalogModel::Block* block = model_.find(ids[i]);
      ASSERT_EQ(out[i].tier, !block->hot.is_null()    ? TierKind::hot
                             : !block->warm.is_null() ? TierKind::warm
                                                      : TierKind::cold);
      ASSERT_EQ(out[i].plain_bytes, block->facts.plain_bytes);
    }
  }
  void evict() {
    const TierKind tier = any_tier();
    const auto most = static_cast<Standing>(rng_.between(1, 3));
    for (const Victim& victim : catalog_.victims(tier, rng_.between(1, 10), most)) {
      const Location location = victim.residency.in(tier);
      ASSERT_TRUE(model_.remove_copy(victim.id, tier, location, most));
      ASSERT_TRUE(catalog_.remove_copy(victim.id, tier, location, most));
    }
  }

  void compare() {
    const BlockId id = any();
    const auto actual = catalog_.find(id);
    const CatalogModel::Block* expected = model_.find(id);
    ASSERT_EQ(actual.has_value(), expected != nullptr);
    if (expected != nullptr) {
      BlockFacts facts = expected->facts;
      facts.parent = expected->parent;
      ASSERT_EQ(actual->facts, facts);
      ASSERT_EQ(actual->hot, expected->hot);
      ASSERT_EQ(actual->warm, expected->warm);
      ASSERT_EQ(actual->cold, expected->cold);
      ASSERT_EQ(actual->cold_bytes, expected->cold_bytes);
      ASSERT_EQ(actual->namespace_id, expected->ns);
      ASSERT_EQ(actual->pinned, expected->is_pinned());
      ASSERT_EQ(actual->leased, model_.is_leased(id));
    }
    const std::vector<BlockId> children = catalog_.children(id);
    ASSERT_EQ(std::set<BlockId>(children.begin(), children.end()), model_.children(id));
    ASSERT_EQ(catalog_.entries(), model_.entries());
    ASSERT_EQ(catalog_.orphans(), model_.orphans());
    std::uint64_t blocks = 0, in_memory = 0;
    for (const auto& [key, block] : model_.blocks()) {
      blocks += block.present;
      in_memory += !block.hot.is_null() || !block.warm.is_null();
    }
    ASSERT_EQ(catalog_.blocks(), blocks);
    const std::vector<BlockId> hottest = catalog_.hottest(ids_.size());
    ASSERT_EQ(hottest.size(), in_memory);
    for (std::size_t i = 1; i < hottest.size(); ++i) {
      const CatalogModel::Block* const before = model_.find(hottest[i - 1]);
      const CatalogModel::Block* const after = model_.find(hottest[i]);
      ASSERT_GE(!before->hot.is_null(), !after->hot.is_null());
      if (before->hot.is_null() == after->hot.is_null()) {
        ASSERT_GT(before->stamp, after->stamp);
      }
    }
  }

  void victims() {
    const TierKind tier = any_tier();
    const auto most = static_cast<Standing>(rng_.between(1, 4));
    const std::size_t count = rng_.between(1, setup_.ids);
    if (most == Standing::spare) {
      spares(tier, count);
      return;
    }
    std::set<BlockId> orphans;
    for (const auto& [id, block] : model_.blocks()) {
      if (!loading_ && block.present && model_.is_below_lost(id)) orphans.insert(id);
    }
    CatalogModel after = model_;
    std::size_t taken = 0;
    for (const Victim& victim : catalog_.victims(tier, count, most)) {
      ++taken;
      const std::set<BlockId> next = after.next_victims(tier, most, orphans);
      ASSERT_TRUE(next.contains(victim.id)) << "victim " << taken << " of " << count;
      if (most == Standing::anchored) {
        ASSERT_TRUE(after.move_down(victim.id, tier));
      } else {
        ASSERT_TRUE(after.remove_copy(victim.id, tier, victim.residency.in(tier)));
      }
    }
    ASSERT_LE(taken, count);
    if (taken == count) return;
    ASSERT_TRUE(after.next_victims(tier, most, orphans).empty());
  }

  /// In no order that is promised.
  void spares(TierKind tier, std::size_t count) {
    std::set<BlockId> expected, found;
    for (const auto& [id, block] : model_.blocks()) {
      if (model_.standing_of(id, tier) == Standing::spare) expected.insert(id);
    }
    for (const Victim& victim : catalog_.victims(tier, count, Standing::spare)) {
      ASSERT_TRUE(expected.contains(victim.id));
      ASSERT_TRUE(found.insert(victim.id).second);
    }
    ASSERT_EQ(found.size(), std::min(count, expected.size()));
  }

  const Setup setup_;
  Rng rng_;
  Catalog catalog_;
  CatalogModel model_;
  std::vector<BlockId> ids_;
  std::uint64_t branching_ = 2;
  std::uint64_t locations_ = 0;
  bool loading_ = false;
  std::vector<Lease> leases_;
};

void run(const Setup& setup, std::size_t steps) {
  print_seed(setup.seed);
  Run run(setup);
  for (std::size_t i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) run.step();
  if (!testing::Test::HasFatalFailure()) run.finish();
}

TEST(CatalogModel, RandomOperationsAgreeWithAnObviousCatalog) {
  for (const std::uint64_t seed : seeds({1, 2, 3}, 2)) {
    run({seed, 1000, 4, 40, false}, scaled(3000));
    if (HasFatalFailure()) return;
  }
}

TEST(CatalogModel, TheLimitOfEntriesIsExact) {
  for (const std::uint64_t seed : seeds({11, 12}, 2)) {
    run({seed, 24, 2, 40, false}, scaled(3000));
    if (HasFatalFailure()) return;
  }
}

TEST(CatalogModel, OneShardIsEnough) {
  for (const std::uint64_t seed : seeds({21}, 1)) {
    run({seed, 1000, 1, 60, false}, scaled(2000));
    if (HasFatalFailure()) return;
  }
}

TEST(CatalogModel, APolicyThatWantsAccessesFitsTheSameInterface) {
  for (const std::uint64_t seed : seeds({31, 32}, 2)) {
    run({seed, 1000, 4, 40, true}, scaled(2000));
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace cairn::test
