// SPDX-License-Identifier: Apache-2.0
// Goal: at most 128 bytes of RAM a block, all in, while the catalog grows from ten thousand
// blocks to a million. Method: the catalog's own figure and the process's resident set, after
// every fifty thousand blocks, so that a resize would show.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

#include "engine/catalog.h"
#include "tests/support/seed.h"

namespace cairn {
namespace {

constexpr std::uint64_t kFirst = 10'000;
constexpr std::uint64_t kStep = 55'000;
constexpr std::uint64_t kLast = 1'000'000;
constexpr std::uint64_t kBytesMax = 128;

std::uint64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  EXPECT_NE(file, nullptr);
  unsigned long total = 0, resident = 0;
  EXPECT_EQ(std::fscanf(file, "%lu %lu", &total, &resident), 2);
  std::fclose(file);
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

class CatalogMemory : public testing::TestWithParam<std::pair<bool, bool>> {};

/// In one tier or two, as chains (most blocks are held by their children) or all alone (every
/// block is in the order of every tier: the most that a block can take).
TEST_P(CatalogMemory, AMillionBlocksTakeAtMost128BytesEach) {
  const auto [both_tiers, chained] = GetParam();
  Catalog catalog({.blocks_max = kLast + 1000});
  test::Rng rng(5);
  BlockId previous;
  std::uint64_t base = 0, resident_base = 0, worst = 0, resident_worst = 0;
  for (std::uint64_t n = 1; n <= kLast; ++n) {
    BlockFacts facts;
    facts.sequence = n;
    if (chained && n % 1000 != 0) facts.parent = previous;
    previous = {{rng.next(), rng.next()}};
    ASSERT_TRUE(catalog.publish_cold(previous, {NamespaceId{1}}, facts, Location{n}, 9, nullptr));
    ASSERT_TRUE(!both_tiers || catalog.add_hot(previous, n, Location{n}));
    if (n == kFirst) {
      base = catalog.memory_bytes();
      resident_base = resident_bytes();
    } else if (n > kFirst && (n - kFirst) % kStep == 0) {
      worst = std::max(worst, (catalog.memory_bytes() - base) / (n - kFirst));
      // The resident set grows by huge pages, several arrays at a time: judged once they are small
      // against what there is.
      if (n >= kLast / 2) {
        resident_worst =
            std::max(resident_worst, (resident_bytes() - resident_base) / (n - kFirst));
      }
    }
  }
  std::printf("bytes a block: %lu by its own figure, %lu resident\n",
              static_cast<unsigned long>(worst), static_cast<unsigned long>(resident_worst));
  EXPECT_LE(worst, kBytesMax);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LE(resident_worst, kBytesMax);
#endif
}

INSTANTIATE_TEST_SUITE_P(Shapes, CatalogMemory,
                         testing::Values(std::pair(false, true), std::pair(true, false)));

}  // namespace
}  // namespace cairn
