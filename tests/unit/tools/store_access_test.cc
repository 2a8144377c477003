// SPDX-License-Identifier: Apache-2.0
// How much a command asks for to open a store that it knows nothing of.
#include "tools/cairn/store_access.h"

#include <gtest/gtest.h>

#include "engine/catalog.h"

namespace cairn::tools {
namespace {

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

}  // namespace
}  // namespace cairn::tools
