// SPDX-License-Identifier: Apache-2.0
// How much a command asks for to open a store that it knows nothing of, and what a new store gets
// whose owner named no limit, on disks of every size.
#include "tools/cairn/store_access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/catalog.h"

namespace cairn::tools {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kPlenty = 256 * kGiB;

TEST(StoreAccess, TheCatalogHasRoomForWhatTheIndexNames) {
  const std::uint64_t usual = EngineOptions{}.metadata_bytes;
  EXPECT_EQ(metadata_bytes_for(0, kPlenty), usual);
  EXPECT_EQ(metadata_bytes_for(kMiB, kPlenty), usual);
  // Ten million blocks with keys of a few bytes, as RocksDB lays them down.
  constexpr std::uint64_t kBlocks = 10'000'000;
  EXPECT_GE(metadata_bytes_for(kBlocks * 75, kPlenty), kBlocks * Catalog::kBytesPerBlock);
}

TEST(StoreAccess, TheCatalogLeavesHalfOfMemoryToOthers) {
  EXPECT_EQ(metadata_bytes_for(kGiB, 2 * kGiB), kGiB);
  EXPECT_LE(metadata_bytes_for(1024 * kGiB, 1024 * kGiB), 64 * kGiB);
  EXPECT_EQ(metadata_bytes_for(kGiB, 0), EngineOptions{}.metadata_bytes);
}

TEST(StoreAccess, ANewStoreTakesHalfOfTheFreeDisk) {
  EXPECT_EQ(*default_cold_bytes("D", 80 * kMiB), 40 * kMiB);
  EXPECT_EQ(*default_cold_bytes("D", 10 * kGiB), 5 * kGiB);
  EXPECT_EQ(*default_cold_bytes("D", 1024 * kGiB), 64 * kGiB);
}

TEST(StoreAccess, ADiskThatIsNearlyFullIsNamed) {
  for (const std::uint64_t free_bytes : {std::uint64_t{0}, 30 * kMiB, 80 * kMiB - 1}) {
    const absl::Status full = default_cold_bytes("/some/where", free_bytes).status();
    EXPECT_TRUE(has_code(full, ErrorCode::no_space));
    EXPECT_EQ(exit_code_of(full), ExitCode::failed);
    EXPECT_THAT(std::string(message_of(full)), HasSubstr("/some/where"));
    EXPECT_THAT(std::string(message_of(full)), HasSubstr(format_size(free_bytes)));
    EXPECT_THAT(hint_of(full), HasSubstr("--cold"));
  }
}

TEST(StoreAccess, WhatIsSaidToBeRoomyIs) {
  EXPECT_EQ(roomy_store(5 * kMiB), "a new store with --cold 768MiB or more");
  EXPECT_TRUE(check_block_fits("/none", 768 * kMiB, 5 * kMiB).ok());
  const absl::Status small = check_block_fits("/none", 767 * kMiB, 5 * kMiB);
  EXPECT_TRUE(has_code(small, ErrorCode::too_large));
  EXPECT_THAT(hint_of(small), HasSubstr("--cold 768MiB"));
}

}  // namespace
}  // namespace cairn::tools
