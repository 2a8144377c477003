// SPDX-License-Identifier: Apache-2.0
// The index's log is lost, but for its first bytes at most, and an opening takes from the segments
// what it said. Goal: nothing durable is lost by that, nor what is put later, and nothing erased
// comes back.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

#include "engine/base/text.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/sim_store.h"

namespace cairn::test {
namespace {

constexpr std::size_t kBytes = 20'000;

void cut_log(SimDisk& disk, std::uint64_t to) {
  for (const std::string& path : disk.files()) {
    if (path.ends_with(".log")) disk.truncate(path, to);
  }
}

/// What is left of the log: nothing, or not even its first batch.
class LostLog : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void open() {
    const absl::Status opened = store_->open();
    ASSERT_TRUE(opened.ok()) << opened;
    const auto ns = store_->engine().open_namespace({.name = "n", .kind = NamespaceKind::mutable_});
    ASSERT_TRUE(ns.ok());
    ns_ = *ns;
    ASSERT_TRUE(store_->wait_recovered());
  }
  absl::Status put(const std::string& key, std::uint64_t version) {
    const std::string payload = make_payload(key, version, kBytes);
    return store_->put(ns_, key, as_bytes(payload), Durability::durable).status;
  }
  /// 0: it is not there.
  std::uint64_t version(const std::string& key) {
    const auto got = store_->get(ns_, key);
    if (!got.ok() || !got->has_value()) return 0;
    for (std::uint64_t version = 1; version < 20; ++version) {
      if (is_payload(key, version, as_bytes(**got))) return version;
    }
    return UINT64_MAX;
  }
  /// What it gets, and that "gone" is erased, lies behind the footer of a clean close.
  void go_on_with_a_sealed_segment() {
    open();
    ASSERT_TRUE(put("key", 1).ok());
    ASSERT_TRUE(put("gone", 1).ok());
    ASSERT_TRUE(store_->close().ok());
    open();
    for (std::uint64_t v = 2; v <= 9; ++v) ASSERT_TRUE(put("key", v).ok());
    ASSERT_TRUE(store_->erase(ns_, "gone").ok());
  }
  void lose_log() {
    store_->kill(rng_);
    cut_log(store_->disk(), GetParam());
  }

  std::unique_ptr<SimStore> store_ = std::make_unique<SimStore>(small_sim_store(1));
  NamespaceId ns_{};
  Rng rng_{1};
};

// The log also says how far the numbers of versions were given out.
TEST_P(LostLog, NoVersionIsNumberedLikeAnEarlierOne) {
  open();
  ASSERT_TRUE(put("key", 1).ok());
  store_->kill(rng_);
  open();
  for (std::uint64_t v = 2; v <= 9; ++v) ASSERT_TRUE(put("key", v).ok());
  ASSERT_TRUE(put("gone", 1).ok());
  ASSERT_TRUE(store_->erase(ns_, "gone").ok());
  lose_log();
  open();
  EXPECT_EQ(version("key"), 9U);
  EXPECT_EQ(version("gone"), 0U);
  ASSERT_TRUE(put("key", 10).ok());
  ASSERT_TRUE(put("gone", 11).ok());
  EXPECT_EQ(version("key"), 10U);
  EXPECT_EQ(version("gone"), 11U);
  ASSERT_TRUE(store_->close().ok());
  open();
  EXPECT_EQ(version("key"), 10U);
  EXPECT_EQ(version("gone"), 11U);
}

// The same where the opening that learnt those numbers ends at any write of its own: the log that
// it leaves is whole, and what it did not come to is taken from the segments by the next.
TEST_P(LostLog, AnOpeningThatEndsOnTheWayIsMadeUpFor) {
  for (std::uint64_t writes = 1; writes <= 60; ++writes) {
    SCOPED_TRACE(writes);
    store_ = std::make_unique<SimStore>(small_sim_store(writes));
    open();
    ASSERT_TRUE(put("key", 1).ok());
    ASSERT_TRUE(put("gone", 1).ok());
    store_->kill(rng_);
    open();
    for (std::uint64_t v = 2; v <= 9; ++v) ASSERT_TRUE(put("key", v).ok());
    ASSERT_TRUE(store_->erase(ns_, "gone").ok());
    lose_log();
    store_->disk().freeze_at(store_->disk().mutations() + writes);
    store_->open().IgnoreError();
    writes % 2 == 0 ? store_->kill(rng_) : store_->power_cut(rng_);
    open();
    EXPECT_EQ(version("key"), 9U);
    EXPECT_EQ(version("gone"), 0U);
    ASSERT_TRUE(put("key", 10).ok());
    ASSERT_TRUE(store_->close().ok());
    open();
    EXPECT_EQ(version("key"), 10U);
    ASSERT_TRUE(store_->close().ok());
  }
}

// That a segment was gone on with is told by the log alone.
TEST_P(LostLog, WhatWasAddedToASealedSegmentIsFound) {
  go_on_with_a_sealed_segment();
  lose_log();
  open();
  EXPECT_EQ(version("key"), 9U);
  EXPECT_EQ(version("gone"), 0U);
}

// Nor is its footer missing once it is full.
TEST_P(LostLog, WhatFilledASealedSegmentIsFound) {
  go_on_with_a_sealed_segment();
  for (int i = 0; i < 30; ++i) {
    const std::string key = concat("filler-", i);
    const std::string payload = make_payload(key, 1, 300'000);
    ASSERT_TRUE(store_->put(ns_, key, as_bytes(payload), Durability::written).status.ok());
  }
  lose_log();
  open();
  EXPECT_EQ(version("key"), 9U);
  EXPECT_EQ(version("gone"), 0U);
}

INSTANTIATE_TEST_SUITE_P(LeftOfIt, LostLog, ::testing::Values(0, 1, 40));

}  // namespace
}  // namespace cairn::test
