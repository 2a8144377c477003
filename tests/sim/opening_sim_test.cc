// SPDX-License-Identifier: Apache-2.0
// Stores that are opened where something has changed behind their back: segment files that are
// gone, a disk that somebody else has filled. Goal: what is left is served, the limit holds, and
// nobody has to repair what needs no repair.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/cold_calls.h"
#include "tests/support/payload.h"
#include "tests/support/sim_store.h"
#include "tiers/cold/space.h"

namespace cairn::test {
namespace {

constexpr std::size_t kBytes = 300'000;

std::vector<std::string> segment_files(const SimDisk& disk) {
  std::vector<std::string> files = disk.files();
  std::erase_if(files, [](const std::string& path) { return !path.ends_with(".seg"); });
  return files;
}

absl::Status put(SimStore& store, NamespaceId ns, const std::string& key) {
  const std::string payload = make_payload(key, 1, kBytes);
  return store.put(ns, key, as_bytes(payload), Durability::written).status;
}

class LostFiles : public ::testing::TestWithParam<std::size_t> {};

TEST_P(LostFiles, AreNotCountedAndTheLimitHolds) {
  SimStoreOptions options = small_sim_store(2);
  options.cold.codec = CodecUse::off;  // how many files these blocks take is what this is about
  SimStore store(options);
  ASSERT_TRUE(store.open().ok());
  NamespaceId ns = *store.engine().open_namespace({.name = "n"});
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(put(store, ns, concat("a", i)).ok());
  for (int i = 0; i < 60; i += 6) ASSERT_TRUE(store.erase(ns, concat("a", i)).ok());
  ASSERT_TRUE(store.close().ok());
  const std::vector<std::string> files = segment_files(store.disk());
  ASSERT_GT(files.size(), GetParam());
  for (std::size_t i = 1; i <= GetParam(); ++i) store.disk().take_away(files[i]);

  ASSERT_TRUE(store.open().ok());
  ns = *store.engine().open_namespace({.name = "n"});
  ASSERT_TRUE(store.wait_recovered());
  bool compacted = false;
  store.cold().compact(0.0, [&](const absl::Status&) { compacted = true; });
  ASSERT_TRUE(store.pump_until([&] { return compacted; }));
  const std::uint64_t bytes = store.cold_bytes();
  const std::size_t limit =
      tiers::plan_space(bytes, tiers::segment_bytes_for(bytes), tiers::index_bytes_for(bytes))
          .segments;
  std::size_t most = 0;
  for (int i = 0; i < 500; ++i) {
    const absl::Status status = put(store, ns, concat("b", i));
    ASSERT_TRUE(status.ok()) << "put " << i << ": " << status;
    most = std::max(most, segment_files(store.disk()).size());
  }
  EXPECT_LE(most, limit);
  EXPECT_GT(store.cold().counters().evicted_ever, 0U) << "the store was never full";
  EXPECT_TRUE(store.close().ok());
}

INSTANTIATE_TEST_SUITE_P(Files, LostFiles, ::testing::Values(1, 2, 4));

TEST(FullDiskSim, AnOpeningThatHasNoRoomSaysSoAndCostsNothing) {
  for (const bool is_clean : {true, false}) {
    ColdWorld world({.seed = 3});
    ASSERT_TRUE(world.open().ok());
    const NamespaceId ns = world.addressed_namespace();
    ASSERT_TRUE(put_block(world, ns, "k", 20'000, Durability::durable).status.ok());
    is_clean ? world.close() : world.kill();
    const std::uint64_t capacity = world.disk().capacity_bytes();
    world.disk().set_capacity(world.disk().allocated_bytes());
    const absl::Status refused = world.open();
    ASSERT_TRUE(has_code(refused, ErrorCode::no_space)) << refused;
    EXPECT_NE(message_of(refused).find("open the store for reading"), std::string_view::npos)
        << refused;
    ASSERT_TRUE(world.open(tiers::StoreMode::read_only).ok());
    EXPECT_TRUE(read_block(world, ns, "k").ok());
    world.close();
    world.disk().set_capacity(capacity);
    ASSERT_TRUE(world.open().ok());
    EXPECT_EQ(world.tier().opened_clean(), is_clean);
    EXPECT_TRUE(read_block(world, ns, "k").ok());
    EXPECT_TRUE(put_block(world, ns, "later", 20'000, Durability::durable).status.ok());
    world.close();
  }
}

}  // namespace
}  // namespace cairn::test
