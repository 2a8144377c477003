// SPDX-License-Identifier: Apache-2.0
// Goal: what the catalog promises, it promises to threads that work at the same time. Method:
// writers that move, replace, remove and evict; readers that check what they are told against
// bytes which say to whom they belong. Run under TSan.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <mutex>
#include <thread>

#include "engine/catalog.h"
#include "tests/support/seed.h"

namespace cairn {
namespace {

constexpr NamespaceId kNs{1};

BlockId id_of(std::uint64_t n) {
  test::Rng rng(n);
  return {{rng.next(), rng.next()}};
}
BlockFacts facts_of(std::uint64_t sequence, std::uint32_t plain_bytes = 1, BlockId parent = {}) {
  BlockFacts facts;
  facts.sequence = sequence;
  facts.plain_bytes = plain_bytes;
  facts.parent = parent;
  return facts;
}

template <typename Work>
void run_threads(std::size_t count, Work work) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&work, i] { work(i); });
  for (std::thread& thread : threads) thread.join();
}

TEST(CatalogThreads, SwitchIsInvisibleToConcurrentReaders) {
  constexpr std::uint64_t kBlocks = 64;
  Catalog catalog({.blocks_max = 1000});
  std::vector<BlockId> ids;
  for (std::uint64_t n = 0; n < kBlocks; ++n) {
    ids.push_back(id_of(n));
    catalog.publish_cold(ids[n], {kNs}, facts_of(1, 7), Location{1000 + n}, 9, nullptr);
  }
  std::atomic<bool> stop{false};
  std::thread mover([&] {
    test::Rng rng(1);
    std::uint64_t location = 1'000'000;
    for (std::size_t step = test::scaled(200'000); step-- > 0;) {
      const BlockId id = rng.pick(ids);
      const Residency now = *catalog.find(id);
      if (now.hot.is_null()) {
        EXPECT_TRUE(catalog.add_hot(id, 1, Location{++location}));
      } else if (now.cold.is_null()) {
        EXPECT_TRUE(
            catalog.publish_cold(id, {kNs}, facts_of(1, 7), Location{++location}, 9, nullptr));
      } else if (rng.chance(0.3)) {
        EXPECT_TRUE(catalog.relocate_cold(id, now.cold, Location{++location}));
      } else {
        const bool hot = rng.chance(0.5);
        EXPECT_TRUE(catalog.remove_copy(id, hot ? TierKind::hot : TierKind::cold,
                                        hot ? now.hot : now.cold));
      }
    }
    stop = true;
  });
  run_threads(2, [&](std::size_t) {
    std::vector<MatchedBlock> out(kBlocks);
    while (!stop) {
      ASSERT_EQ(catalog.match(ids, out), kBlocks);
      for (const MatchedBlock& block : out) ASSERT_EQ(block.plain_bytes, 7U);
      for (const BlockId id : ids) {
        const auto found = catalog.find(id);
        ASSERT_TRUE(found.has_value() && found->present());
      }
    }
  });
  mover.join();
  catalog.check_invariants();
}

/// Hot memory in miniature: each slot says which version of which block lies in it.
class Slots {
 public:
  static constexpr std::size_t kSlots = 64;
  struct Content {
    std::atomic<std::uint64_t> block{0};
    std::atomic<std::uint64_t> sequence{0};
  };
  Slots() {
    for (std::uint64_t i = 1; i <= kSlots; ++i) free_.push_back(Location{i});
  }
  Location take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return {};
    const Location slot = free_.back();
    free_.pop_back();
    return slot;
  }
  void give(Location slot) {
    if (slot.is_null()) return;
    Content& content = at(slot);
    content.block.store(UINT64_MAX, std::memory_order_relaxed);
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(slot);
  }
  Content& at(Location slot) { return content_[slot.bits - 1]; }
  std::size_t free_slots() const { return free_.size(); }

 private:
  std::mutex mutex_;
  std::vector<Location> free_;
  std::array<Content, kSlots> content_;
};

TEST(CatalogThreads, LeasedSlotIsNeverAnothersAndNoSlotIsLost) {
  constexpr std::uint64_t kBlocks = 24;
  Catalog catalog({.blocks_max = 200, .shards = 4});
  Slots slots;
  std::atomic<std::uint64_t> sequence{1};
  std::atomic<std::uint64_t> leased{0};
  std::vector<BlockId> ids;
  for (std::uint64_t n = 0; n < kBlocks; ++n) ids.push_back(id_of(n));
  const std::size_t steps = test::scaled(60'000);

  const auto write = [&](test::Rng& rng) {
    const std::uint64_t n = rng.below(kBlocks);
    const BlockId parent = n > 0 && rng.chance(0.5) ? ids[n / 2] : BlockId{};
    const Location slot = slots.take();
    if (slot.is_null()) {
      for (const Victim& victim : catalog.victims(TierKind::hot, 4, Standing::last_copy)) {
        if (catalog.remove_copy(victim.id, TierKind::hot, victim.residency.hot)) {
          slots.give(victim.residency.hot);
        }
      }
      return;
    }
    const std::uint64_t mine = sequence.fetch_add(1);
    slots.at(slot).block.store(n, std::memory_order_relaxed);
    slots.at(slot).sequence.store(mine, std::memory_order_relaxed);
    Residency replaced;
    if (catalog.publish_hot(ids[n], {kNs}, facts_of(mine, 1, parent), slot, &replaced)) {
      slots.give(replaced.hot);
    } else {
      slots.give(slot);
    }
    if (rng.chance(0.3)) {
      catalog.publish_cold(ids[n], {kNs}, facts_of(mine), Location{mine + 1'000'000}, 9, nullptr);
    }
  };
  const auto remove = [&](test::Rng& rng) {
    const BlockId id = rng.pick(ids);
    if (const auto removed = catalog.remove(id, UINT64_MAX)) slots.give(removed->hot);
  };
  const auto read = [&](test::Rng& rng) {
    std::vector<std::uint64_t> wanted;
    std::vector<BlockId> asked;
    for (std::size_t i = rng.between(1, 6); i-- > 0;) {
      wanted.push_back(rng.below(kBlocks));
      asked.push_back(ids[wanted.back()]);
    }
    std::vector<Residency> out(asked.size());
    const bool prefix = rng.chance(0.5);
    catalog.lease_hot(asked, prefix ? Read::prefix : Read::each, out);
    std::vector<BlockHandle> handles;
    std::vector<Location> locations, freeable;
    std::vector<BlockId> held;
    for (int look = 0; look < 3; ++look) {
      for (std::size_t i = 0; i < out.size(); ++i) {
        if (out[i].hot.is_null()) continue;
        ASSERT_EQ(slots.at(out[i].hot).block.load(std::memory_order_relaxed), wanted[i]);
        ASSERT_EQ(slots.at(out[i].hot).sequence.load(std::memory_order_relaxed),
                  out[i].facts.sequence);
      }
      std::this_thread::yield();
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (out[i].hot.is_null()) continue;
      handles.push_back(out[i].handle);
      locations.push_back(out[i].hot);
      held.push_back(asked[i]);
    }
    leased += handles.size();
    if (rng.chance(0.5)) {
      catalog.release(handles, &freeable);
    } else {
      catalog.release(held, locations, &freeable);
    }
    for (const Location slot : freeable) slots.give(slot);
  };
  run_threads(4, [&](std::size_t thread) {
    test::Rng rng(thread + 1);
    for (std::size_t step = steps; step-- > 0;) {
      const std::uint64_t what = rng.below(10);
      if (what < 4) {
        read(rng);
      } else if (what < 8) {
        write(rng);
      } else {
        remove(rng);
      }
      if (testing::Test::HasFatalFailure()) return;
    }
  });
  catalog.check_invariants();
  EXPECT_GT(leased, 0U);
  for (const BlockId id : ids) {
    if (const auto removed = catalog.remove(id, UINT64_MAX)) slots.give(removed->hot);
  }
  std::vector<Location> freeable;
  catalog.release(std::span<const BlockHandle>{}, &freeable);  // what nobody could be told
  for (const Location slot : freeable) slots.give(slot);
  EXPECT_EQ(catalog.leased_bytes(), 0U);
  EXPECT_EQ(slots.free_slots(), Slots::kSlots);
  EXPECT_EQ(catalog.entries(), 0U);
  catalog.check_invariants();
}

TEST(CatalogThreads, EverythingAtOnceLeavesTheBooksInOrder) {
  constexpr std::uint64_t kBlocks = 400;
  Catalog catalog({.blocks_max = 300});
  std::vector<BlockId> ids;
  for (std::uint64_t n = 0; n < kBlocks; ++n) ids.push_back(id_of(n));
  std::atomic<std::uint64_t> location{1};
  run_threads(4, [&](std::size_t thread) {
    test::Rng rng(thread + 100);
    std::vector<BlockHandle> handles;
    std::vector<Location> freeable;
    for (std::size_t step = test::scaled(60'000); step-- > 0;) {
      const std::uint64_t n = rng.below(kBlocks);
      const BlockId parent = n == 0 ? BlockId{} : ids[(n - 1) / 2];
      const std::uint64_t sequence = rng.between(1, 5);
      const Location fresh{location.fetch_add(1)};
      switch (rng.below(14)) {
        case 0:
        case 1:
          catalog.publish_hot(ids[n], {kNs}, facts_of(sequence, 1, parent), fresh, nullptr);
          break;
        case 2:
        case 3:
          catalog.publish_cold(ids[n], {kNs}, facts_of(sequence, 1, parent), fresh, 9, nullptr);
          break;
        case 4:
          if (rng.chance(0.5)) {
            catalog.add_hot(ids[n], sequence, fresh);
          } else {
            catalog.add_warm(ids[n], sequence, fresh);
          }
          break;
        case 5:
          catalog.remove(ids[n], sequence);
          break;
        case 6: {
          const auto tier = static_cast<TierKind>(rng.between(1, 3));
          const auto most = static_cast<Standing>(rng.between(1, 4));
          for (const Victim& victim : catalog.victims(tier, 8, most)) {
            catalog.remove_copy(victim.id, tier, victim.residency.in(tier));
          }
          break;
        }
        case 7:
          catalog.touch(std::span(ids).subspan(n, std::min<std::size_t>(40, kBlocks - n)));
          break;
        case 8: {
          Residency out;
          if (catalog.lease_hot({&ids[n], 1}, Read::each, {&out, 1}) == 1)
            handles.push_back(out.handle);
          break;
        }
        case 9:
          catalog.release(handles, &freeable);
          handles.clear();
          break;
        case 10:
          catalog.pin(ids[n], 1);
          catalog.pin(ids[n], -1);
          break;
        case 11:
          catalog.make_oldest(ids[n]);
          break;
        case 12:
          catalog.match(ids, {});
          break;
        case 13: {
          if (step % 64 == 0) catalog.hottest(10);
          catalog.children(ids[n]);
          if (const auto found = catalog.find(ids[n]))
            catalog.drop_copy(ids[n], TierKind::cold, found->cold);
          break;
        }
      }
    }
    catalog.release(handles, &freeable);
  });
  catalog.check_invariants();
}

}  // namespace
}  // namespace cairn
