// SPDX-License-Identifier: Apache-2.0
// Goal: hot memory is bounded to the byte, no slot is anybody else's, and what leaves the
// process cannot be written or cut from outside. Method: small tiers, counted by hand; random
// reservations against a map; a second process that tries to do harm.
#include "tiers/hot/hot_tier.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <thread>

#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "tests/support/seed.h"
#include "tiers/hot/size_class.h"

namespace cairn::tiers {
namespace {

constexpr NamespaceId kOne{1};
constexpr NamespaceId kTwo{2};
constexpr NamespaceId kThree{3};

std::unique_ptr<HotTier> open_tier(std::uint64_t capacity, std::optional<std::uint32_t> fixed) {
  auto tier = open_hot_tier({.capacity_bytes = capacity, .huge_pages = false},
                            [fixed](NamespaceId) { return fixed; });
  EXPECT_TRUE(tier.ok());
  return *std::move(tier);
}

std::uint64_t region_bytes(const HotTier& tier) {
  const TierUsage usage = tier.usage();
  return usage.used_bytes + usage.dead_bytes;
}

/// One block of `size`; null where there is no room.
Location reserve_one(HotTier& tier, NamespaceId ns, std::uint32_t size) {
  Location location;
  const absl::Status status = tier.reserve(ns, {&size, 1}, {&location, 1});
  EXPECT_TRUE(status.ok() || has_code(status, ErrorCode::no_space)) << status;
  return location;
}

std::vector<Location> fill(HotTier& tier, NamespaceId ns, std::uint32_t size) {
  std::vector<Location> filled;
  for (Location at = reserve_one(tier, ns, size); !at.is_null(); at = reserve_one(tier, ns, size)) {
    filled.push_back(at);
  }
  return filled;
}

TEST(HotTier, OneSizeWastesLessThanAHundredth) {
  for (const auto& [capacity, size] : std::map<std::uint64_t, std::uint64_t>{
           {kGiB, 512 * kKiB}, {64 * kMiB, 8 * kKiB}, {16 * kMiB, 8 * kKiB}, {kMiB, 4 * kKiB}}) {
    const auto tier = open_tier(capacity, static_cast<std::uint32_t>(size));
    const std::size_t blocks = fill(*tier, kOne, static_cast<std::uint32_t>(size)).size();
    EXPECT_GE(blocks * size, capacity - capacity / 100) << capacity;
    EXPECT_LE(region_bytes(*tier), capacity);
    tier->check_invariants();
  }
}

TEST(HotTier, SmallTierServesThreeNamespaces) {
  const auto tier = open_tier(64 * kMiB, 8 * kKiB);
  for (const NamespaceId ns : {kOne, kTwo, kThree}) {
    for (int i = 0; i < 2000; ++i) EXPECT_FALSE(reserve_one(*tier, ns, 8 * kKiB).is_null());
  }
  const auto tiny = open_tier(kMiB, 8 * kKiB);
  for (const NamespaceId ns : {kOne, kTwo, kThree}) {
    for (int i = 0; i < 30; ++i) EXPECT_FALSE(reserve_one(*tiny, ns, 8 * kKiB).is_null());
  }
}

TEST(HotTier, FullTierSaysNoSpaceAndTakesNothing) {
  const auto tier = open_tier(kMiB, 64 * kKiB);
  fill(*tier, kOne, 64 * kKiB);
  const TierUsage before = tier->usage();
  std::vector<std::uint32_t> sizes(3, 64 * kKiB);
  std::vector<Location> locations(3);
  EXPECT_TRUE(has_code(tier->reserve(kOne, sizes, locations), ErrorCode::no_space));
  EXPECT_EQ(tier->usage().used_bytes, before.used_bytes);
  EXPECT_EQ(tier->usage().blocks, before.blocks);
}

TEST(HotTier, BatchThatDoesNotFitLeavesNothingBehind) {
  const auto tier = open_tier(kMiB, 64 * kKiB);
  std::vector<std::uint32_t> sizes(17, 64 * kKiB);
  std::vector<Location> locations(17);
  EXPECT_TRUE(has_code(tier->reserve(kOne, sizes, locations), ErrorCode::no_space));
  EXPECT_EQ(tier->usage().blocks, 0U);
  for (const Location location : locations) EXPECT_TRUE(location.is_null());
  tier->check_invariants();
}

TEST(HotTier, BlockLargerThanTheTierIsTooLarge) {
  const auto tier = open_tier(kMiB, std::nullopt);
  const std::uint32_t size = 2 * kMiB;
  Location location;
  EXPECT_TRUE(has_code(tier->reserve(kOne, {&size, 1}, {&location, 1}), ErrorCode::too_large));
}

TEST(HotTier, EmptyRegionsMoveToOtherNamespacesAndSizes) {
  const auto tier = open_tier(4 * kMiB, std::nullopt);
  for (int round = 0; round < 3; ++round) {
    for (const std::uint32_t size : {8U * 1024, 100U * 1024, 1024U * 1024}) {
      const NamespaceId ns{static_cast<std::uint32_t>(round) + 1};
      const std::vector<Location> filled = fill(*tier, ns, size);
      EXPECT_GE(filled.size() * slot_bytes_for(size, std::nullopt), 3 * kMiB);
      tier->free(filled);
      tier->check_invariants();
    }
  }
}

TEST(HotTier, ExactLengthIsKeptInTheSlot) {
  const auto tier = open_tier(kMiB, std::nullopt);
  for (const std::uint32_t size : {0U, 1U, 4095U, 4096U, 4097U, 100'000U}) {
    EXPECT_EQ(tier->bytes(reserve_one(*tier, kOne, size)).size(), size);
  }
}

TEST(HotTier, SlotsAreAlignedForDirectIo) {
  const auto tier = open_tier(16 * kMiB, std::nullopt);
  for (std::uint32_t size = 1; size < 200'000; size += 7919) {
    const MutableByteSpan bytes = tier->bytes(reserve_one(*tier, kOne, size));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % 4096, 0U);
  }
}

TEST(HotTier, WhatIsWrittenIsRead) {
  const auto tier = open_tier(16 * kMiB, std::nullopt);
  test::Rng rng(7);
  std::vector<std::byte> payload(700'000), back(700'000);
  rng.fill(payload);
  TierWrite write;
  write.payload = payload;
  write.location = reserve_one(*tier, kOne, 700'000);
  int done = 0;
  tier->write({&write, 1}, Durability::memory, [&done] { ++done; });
  ASSERT_TRUE(write.status.ok());
  TierRead read;
  read.location = write.location;
  read.destination = back;
  read.plain_sum = xxh3_64(payload);
  tier->read({&read, 1}, [&done] { ++done; });
  EXPECT_TRUE(read.status.ok());
  EXPECT_EQ(back, payload);
  read.plain_sum ^= 1;
  tier->read({&read, 1}, [&done] { ++done; });
  EXPECT_TRUE(has_code(read.status, ErrorCode::corruption));
  EXPECT_EQ(done, 3);
}

TEST(HotTier, MoreThanMemoryIsNotPromised) {
  const auto tier = open_tier(kMiB, std::nullopt);
  std::vector<std::byte> payload(100);
  TierWrite write;
  write.payload = payload;
  write.location = reserve_one(*tier, kOne, 100);
  tier->write({&write, 1}, Durability::written, [] {});
  EXPECT_TRUE(has_code(write.status, ErrorCode::invalid_argument));
  EXPECT_TRUE(write.location.is_null());
  EXPECT_EQ(tier->usage().blocks, 0U);
}

TEST(HotTier, ShrinksAsRegionsBecomeEmptyAndGrowsAtOnce) {
  const auto tier = open_tier(8 * kMiB, 64 * kKiB);
  std::vector<Location> filled = fill(*tier, kOne, 64 * kKiB);
  tier->set_capacity(2 * kMiB);
  EXPECT_TRUE(reserve_one(*tier, kOne, 64 * kKiB).is_null());
  EXPECT_EQ(region_bytes(*tier), 8 * kMiB);
  tier->check_invariants();
  tier->free(filled);
  EXPECT_LE(region_bytes(*tier), 2 * kMiB);
  tier->check_invariants();
  tier->set_capacity(16 * kMiB);
  EXPECT_GE(fill(*tier, kOne, 64 * kKiB).size() * 64 * kKiB, 15 * kMiB);
  EXPECT_LE(region_bytes(*tier), 16 * kMiB);
}

// --- property -----------------------------------------------------------------------------------

TEST(HotTier, NoSlotIsHandedOutTwiceAndTheLimitIsExact) {
  for (const std::uint64_t seed : test::seeds({1, 2, 3}, 2)) {
    test::print_seed(seed);
    test::Rng rng(seed);
    const std::uint64_t capacity = rng.between(256 * kKiB, kMiB);
    const auto tier = open_tier(capacity, 8 * kKiB);
    std::map<std::byte*, std::pair<std::byte*, Location>> held;  // begin → end
    for (std::size_t step = test::scaled(4000); step-- > 0;) {
      if (!held.empty() && rng.chance(0.45)) {
        auto victim = held.begin();
        std::advance(victim, static_cast<std::ptrdiff_t>(rng.below(held.size())));
        tier->free({&victim->second.second, 1});
        held.erase(victim);
      } else {
        const auto size =
            static_cast<std::uint32_t>(rng.chance(0.5) ? 8 * kKiB : rng.below(200'000));
        const NamespaceId ns{static_cast<std::uint32_t>(rng.between(1, 3))};
        const Location location = reserve_one(*tier, ns, size);
        if (location.is_null()) continue;
        const MutableByteSpan bytes = tier->bytes(location);
        ASSERT_EQ(bytes.size(), size);
        std::byte* const end = bytes.data() + std::max<std::size_t>(size, 1);
        const auto next = held.lower_bound(bytes.data());
        ASSERT_TRUE(next == held.end() || next->first >= end);
        ASSERT_TRUE(next == held.begin() || std::prev(next)->second.first <= bytes.data());
        held[bytes.data()] = {end, location};
      }
      ASSERT_LE(region_bytes(*tier), capacity);
      ASSERT_EQ(tier->usage().blocks, held.size());
      tier->check_invariants();
    }
    // However few the steps were: the last of them is refused.
    fill(*tier, kOne, 8 * kKiB);
    EXPECT_LE(region_bytes(*tier), capacity);
    tier->check_invariants();
  }
}

TEST(HotTier, ThreadsNeverShareASlot) {
  const auto tier = open_tier(4 * kMiB, 8 * kKiB);
  const auto work = [&tier](std::uint64_t seed) {
    test::Rng rng(seed);
    std::vector<std::pair<Location, std::byte>> held;
    for (std::size_t step = test::scaled(20'000); step-- > 0;) {
      if (!held.empty() && rng.chance(0.5)) {
        std::swap(held[rng.below(held.size())], held.back());
        for (const std::byte byte : tier->bytes(held.back().first))
          EXPECT_EQ(byte, held.back().second);
        tier->free({&held.back().first, 1});
        held.pop_back();
        continue;
      }
      const auto size = static_cast<std::uint32_t>(rng.between(1, 300));
      const Location location =
          reserve_one(*tier, NamespaceId{static_cast<std::uint32_t>(rng.between(1, 3))}, size);
      if (location.is_null()) continue;
      const std::byte mark{static_cast<std::uint8_t>(rng.next())};
      const MutableByteSpan bytes = tier->bytes(location);
      std::fill(bytes.begin(), bytes.end(), mark);
      held.emplace_back(location, mark);
    }
    for (const auto& [location, mark] : held) tier->free({&location, 1});
  };
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  tier->check_invariants();
  EXPECT_EQ(tier->usage().blocks, 0U);
}

// --- sharing ------------------------------------------------------------------------------------

/// What another process can do with a descriptor; one letter for each harm done.
std::string harm_from_another_process(int fd, std::uint64_t bytes) {
  int report[2];
  EXPECT_EQ(pipe(report), 0);
  const pid_t child = fork();
  if (child == 0) {
    std::string harm;
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    const int reopened = open(path.c_str(), O_RDWR);
    for (const int target : {fd, reopened}) {
      if (target < 0) continue;
      if (pwrite(target, "x", 1, 0) == 1) harm += 'w';
      if (ftruncate(target, 0) == 0) harm += 't';
      if (ftruncate(target, static_cast<off_t>(bytes * 2)) == 0) harm += 'g';
      if (fallocate(target, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0) harm += 'p';
      if (mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, target, 0) != MAP_FAILED) {
        harm += 'm';
      }
      if (fcntl(target, F_ADD_SEALS, F_SEAL_WRITE) == 0) harm += 's';
    }
    const void* view = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (view == MAP_FAILED) harm += 'r';  // reading must go
    static_cast<void>(!write(report[1], harm.data(), harm.size()));
    _exit(0);
  }
  close(report[1]);
  std::string harm(64, '\0');
  const ssize_t length = read(report[0], harm.data(), harm.size());
  close(report[0]);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  harm.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
  return harm;
}

TEST(HotTier, SharedRegionCannotBeWrittenOrCutFromOutside) {
  const auto tier = open_tier(4 * kMiB, 64 * kKiB);
  const Location location = reserve_one(*tier, kOne, 64 * kKiB);
  const std::vector<SharedRegion> shared = tier->share(kOne);
  ASSERT_EQ(shared.size(), 1U);
  EXPECT_EQ(harm_from_another_process(shared[0].fd, shared[0].bytes), "");
  // We ourselves go on writing.
  const MutableByteSpan bytes = tier->bytes(location);
  bytes[0] = std::byte{42};
  std::byte seen{};
  ASSERT_EQ(pread(shared[0].fd, &seen, 1, bytes.data() - tier->bytes(location).data()), 1);
  EXPECT_EQ(seen, std::byte{42});
}

TEST(HotTier, TheHarmTestWouldNoticeAnUnsealedRegion) {
  const int fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(fd, 8192), 0);
  const std::string harm = harm_from_another_process(fd, 8192);
  EXPECT_NE(harm.find('w'), std::string::npos);
  EXPECT_NE(harm.find('t'), std::string::npos);
  close(fd);
}

TEST(HotTier, OnlyRegionsOfTheNamespaceAreShared) {
  const auto tier = open_tier(4 * kMiB, 64 * kKiB);
  reserve_one(*tier, kOne, 64 * kKiB);
  const Location theirs = reserve_one(*tier, kTwo, 64 * kKiB);
  const std::vector<SharedRegion> shared = tier->share(kOne);
  ASSERT_EQ(shared.size(), 1U);
  EXPECT_EQ(shared[0].namespace_id, kOne);
  tier->bytes(theirs)[0] = std::byte{99};
  std::vector<std::byte> all(shared[0].bytes);
  ASSERT_EQ(pread(shared[0].fd, all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
  EXPECT_EQ(std::count(all.begin(), all.end(), std::byte{99}), 0);
  EXPECT_TRUE(tier->share(kThree).empty());
}

TEST(HotTier, MemoryOfASharedRegionIsNeverAnothersAfterwards) {
  const auto tier = open_tier(kMiB, kMiB);
  const Location first = reserve_one(*tier, kOne, kMiB);
  const int fd = dup(tier->share(kOne).at(0).fd);  // a client that stays
  tier->free({&first, 1});
  const Location second = reserve_one(*tier, kTwo, kMiB);
  ASSERT_FALSE(second.is_null());
  std::memset(tier->bytes(second).data(), 0x5a, kMiB);
  std::vector<std::byte> seen(kMiB);
  ASSERT_EQ(pread(fd, seen.data(), seen.size(), 0), static_cast<ssize_t>(seen.size()));
  EXPECT_EQ(std::count(seen.begin(), seen.end(), std::byte{0x5a}), 0);
  close(fd);
}

TEST(HotTierDeathTest, StaleLocationIsCaught) {
  const auto tier = open_tier(kMiB, kMiB);
  const Location stale = reserve_one(*tier, kOne, kMiB);
  tier->free({&stale, 1});
  reserve_one(*tier, kTwo, kMiB);  // the number is used again, the serial is not
  EXPECT_DEATH(static_cast<void>(tier->bytes(stale)), "check failed");
  EXPECT_DEATH(tier->free({&stale, 1}), "check failed");
}

}  // namespace
}  // namespace cairn::tiers
