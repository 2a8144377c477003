// SPDX-License-Identifier: Apache-2.0
// Goal: no page and no share is anybody else's, none is lost, and memory that is given back is
// gone. Method: random takes and gives, each marked and looked at again; invariants every step.
#include "tiers/warm/page_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <string>

#include "engine/base/text.h"
#include "tests/support/seed.h"
#include "tiers/warm/page_region.h"

namespace cairn::tiers {
namespace {

using test::Rng;

std::vector<PageRun> take(PagePool& pool, std::uint32_t pages) {
  std::vector<PageRun> runs;
  pool.take(pages, runs);
  return runs;
}

bool is_all(const std::byte* data, std::uint64_t bytes, std::byte mark) {
  return std::all_of(data, data + bytes, [mark](std::byte byte) { return byte == mark; });
}

/// Something held: runs, or a share.
struct Held {
  std::vector<PageRun> runs;
  PageShare share;
  std::uint64_t share_bytes = 0;
  std::byte mark{};

  void fill() const {
    for (const PageRun& run : runs) {
      std::memset(run.data, std::to_integer<int>(mark), run.bytes());
    }
    if (share.data != nullptr) std::memset(share.data, std::to_integer<int>(mark), share_bytes);
  }
  bool is_intact() const {
    for (const PageRun& run : runs) {
      if (!is_all(run.data, run.bytes(), mark)) return false;
    }
    return share.data == nullptr || is_all(share.data, share_bytes, mark);
  }
  void give(PagePool& pool) const {
    for (const PageRun& run : runs) pool.give(run);
    if (share.data != nullptr) pool.give(share);
  }
};

Held take_any(PagePool& pool, Rng& rng) {
  Held held;
  held.mark = static_cast<std::byte>(rng.between(1, 255));
  if (rng.chance(0.6)) {
    held.share_bytes = rng.between(1, kShareBytesMax);
    if (const auto share = pool.take_share(held.share_bytes)) {
      held.share = *share;
    } else {
      held.share = pool.share_page(take(pool, 1).front(), held.share_bytes);
    }
  } else {
    held.runs = take(
        pool, static_cast<std::uint32_t>(rng.between(1, std::min<std::uint64_t>(pool.free(), 40))));
  }
  held.fill();
  return held;
}

TEST(PagePool, NothingIsHandedOutTwiceAndNothingIsLost) {
  for (const std::uint64_t seed : test::seeds({1, 2, 3}, 2)) {
    test::print_seed(seed);
    Rng rng(seed);
    PagePool pool(rng.between(1, 70) * kPage, rng.chance(0.5));
    std::vector<Held> held;
    for (std::size_t step = test::scaled(3000); step-- > 0;) {
      const std::uint64_t kind = rng.below(10);
      if (kind == 0 && pool.resident() < 500) {
        const std::uint64_t pages = rng.between(1, 150);
        const std::uint64_t before = pool.resident();
        ASSERT_TRUE(pool.grow(pages, pages + 10).ok());
        ASSERT_GE(pool.resident(), before + pages);
        ASSERT_LE(pool.resident(), before + pages + 10);
      } else if (kind == 1) {
        PagePool::Retired retired;
        const std::uint64_t before = pool.resident();
        const std::uint64_t wanted = rng.below(pool.free() + 1);
        ASSERT_EQ(pool.shrink(wanted, UINT64_MAX, retired), wanted);
        ASSERT_EQ(pool.resident(), before - wanted);
      } else if (kind < 6 && !held.empty()) {
        std::swap(rng.pick(held), held.back());
        ASSERT_TRUE(held.back().is_intact());
        held.back().give(pool);
        held.pop_back();
      } else if (pool.free() > 0) {
        held.push_back(take_any(pool, rng));
      }
      pool.check_invariants();
    }
    for (const Held& one : held) {
      ASSERT_TRUE(one.is_intact());
      one.give(pool);
    }
    EXPECT_EQ(pool.used(), 0U);
    pool.check_invariants();
  }
}

TEST(PagePool, NeighboursAreHandedOutAsOneRun) {
  PagePool pool(64 * kPage, false);
  ASSERT_TRUE(pool.grow(100, 128).ok());
  const std::vector<PageRun> low = take(pool, 60);
  ASSERT_EQ(low.size(), 1U);
  std::vector<PageRun> next = take(pool, 10);
  ASSERT_EQ(next.size(), 2U) << "four in the first region, six in the second";
  // What is given back low comes again before what is higher.
  pool.give(low[0]);
  const std::vector<PageRun> again = take(pool, 60);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].data, low[0].data);
  for (const PageRun& run : again) pool.give(run);
  for (const PageRun& run : next) pool.give(run);
}

TEST(PagePool, GivenBackMemoryIsGone) {
  PagePool pool(64 * kPage, false);
  ASSERT_TRUE(pool.grow(64, 64).ok());
  std::vector<PageRun> all = take(pool, 64);
  std::memset(all[0].data, 0xee, all[0].bytes());
  // One page stays, so that the region does.
  const PageRun kept{all[0].data, all[0].first, 1};
  pool.give(PageRun{all[0].data + kPage, all[0].first + 1, 63});
  PagePool::Retired retired;
  EXPECT_EQ(pool.shrink(100, 20, retired), 20U);
  EXPECT_EQ(pool.shrink(100, 100, retired), 43U);
  EXPECT_TRUE(retired.empty());
  EXPECT_EQ(pool.resident(), 1U);
  ASSERT_TRUE(pool.grow(63, 63).ok());
  EXPECT_EQ(pool.resident(), 64U);
  const std::vector<PageRun> again = take(pool, 63);
  for (const PageRun& run : again) EXPECT_TRUE(is_all(run.data, run.bytes(), std::byte{0}));
  EXPECT_TRUE(is_all(kept.data, kPage, std::byte{0xee}));
  for (const PageRun& run : again) pool.give(run);
  pool.give(kept);
  EXPECT_EQ(pool.shrink(64, 0, retired), 64U) << "a region that is all free goes whole";
  EXPECT_EQ(retired.size(), 1U);
}

/// Whether the kernel was told of the mapping around `data` what VmFlags calls by this name.
bool has_vm_flag(const std::byte* data, const std::string& flag) {
  std::ifstream maps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<std::uintptr_t>(data);
  bool is_around = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      is_around = begin <= wanted && wanted < end;
    } else if (is_around && line.starts_with("VmFlags:")) {
      return concat(line, " ").find(concat(" ", flag, " ")) != std::string::npos;
    }
  }
  return false;
}

TEST(PagePool, NoHugePageBringsHollowOnesBack) {
  PagePool pool(2 * kMiB, true);
  const auto pages = static_cast<std::uint32_t>(2 * kMiB / kPage);
  ASSERT_TRUE(pool.grow(pages, pages).ok());
  const std::vector<PageRun> all = take(pool, pages);
  const std::byte* const data = all[0].data;
  if (!has_vm_flag(data, "hg")) GTEST_SKIP() << "no huge pages, or no /proc";
  const PageRun kept{all[0].data, all[0].first, 1};
  pool.give(PageRun{all[0].data + kPage, all[0].first + 1, pages - 1});
  PagePool::Retired retired;
  EXPECT_EQ(pool.shrink(0, 100, retired), 0U);
  EXPECT_TRUE(has_vm_flag(data, "hg")) << "nothing became hollow";
  EXPECT_EQ(pool.shrink(10, 100, retired), 10U);
  EXPECT_TRUE(has_vm_flag(data, "nh"));
  ASSERT_TRUE(pool.grow(9, 9).ok());
  EXPECT_TRUE(has_vm_flag(data, "nh")) << "one is hollow still";
  ASSERT_TRUE(pool.grow(1, 1).ok());
  EXPECT_TRUE(has_vm_flag(data, "hg"));
  // A region that begins with less than it has room for.
  ASSERT_TRUE(pool.grow(5, 5).ok());
  pool.check_invariants();
  const std::vector<PageRun> again = take(pool, pages + 4);
  EXPECT_TRUE(has_vm_flag(again.back().data, "nh"));
  for (const PageRun& run : again) pool.give(run);
  pool.give(kept);
}

TEST(PagePool, HoweverItGrowsThereAreNoMoreRegionsThanItFills) {
  PagePool pool(64 * kPage, false);
  for (int page = 0; page < 128; ++page) ASSERT_TRUE(pool.grow(1, 1).ok());
  EXPECT_EQ(pool.resident(), 128U);
  pool.check_invariants();
  const std::vector<PageRun> all = take(pool, 128);
  std::set<PageNumber> regions;
  for (const PageRun& run : all) regions.insert(run.first >> 16);
  EXPECT_EQ(regions.size(), 2U);
  for (const PageRun& run : all) pool.give(run);
}

TEST(PagePool, SharesOfOneSizeLieTogether) {
  PagePool pool(64 * kPage, false);
  ASSERT_TRUE(pool.grow(64, 64).ok());
  for (const auto& [bytes, to_a_page] : {std::pair<std::uint64_t, std::uint64_t>{400, 8},
                                         {512, 8},
                                         {513, 4},
                                         {1024, 4},
                                         {1025, 2},
                                         {2048, 2}}) {
    std::vector<PageShare> shares{pool.share_page(take(pool, 1).front(), bytes)};
    while (const auto share = pool.take_share(bytes)) shares.push_back(*share);
    EXPECT_EQ(shares.size(), to_a_page) << bytes;
    EXPECT_EQ(pool.used(), 1U);
    for (const PageShare& share : shares) {
      EXPECT_EQ(pool.used(), 1U);
      pool.give(share);
    }
    EXPECT_EQ(pool.used(), 0U);
  }
}

TEST(PagePoolDeathTest, GivingTwiceIsCaught) {
  PagePool pool(64 * kPage, false);
  ASSERT_TRUE(pool.grow(64, 64).ok());
  const PageRun run = take(pool, 1).front();
  const PageShare share = pool.share_page(take(pool, 1).front(), 100);
  pool.give(run);
  EXPECT_DEATH(pool.give(run), "check failed");
  pool.give(share);
  EXPECT_DEATH(pool.give(share), "check failed");
}

}  // namespace
}  // namespace cairn::tiers
