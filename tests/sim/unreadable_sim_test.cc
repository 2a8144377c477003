// SPDX-License-Identifier: Apache-2.0
// Sectors that the disk cannot read any more, one after the other under everything that a store
// has on it. Goal: whoever opens, repairs, verifies or reads goes on with what lies around them,
// gives no other bytes for what lies there, and writes there no more.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/sim_store.h"
#include "tiers/cold/file_window.h"
#include "tiers/cold/verify.h"

namespace cairn::test {
namespace {

constexpr std::size_t kBytes = 5'000;
constexpr int kKeys = 12;
constexpr std::uint64_t kPages = 24;  // more than such keys take

std::string key_of(int i) {
  return concat("key-", i);
}

class Unreadable : public ::testing::Test {
 protected:
  /// Durable blocks at the beginning of one segment, which no footer closes.
  void put_some() {
    store_ = std::make_unique<SimStore>(small_sim_store(1));
    open();
    ASSERT_TRUE(store_->close().ok());  // the index is more than its log
    open();
    for (int i = 0; i < kKeys; ++i) {
      const std::string payload = make_payload(key_of(i), 1, kBytes);
      ASSERT_TRUE(store_->put(ns_, key_of(i), as_bytes(payload), Durability::durable).status.ok());
    }
  }
  void open() {
    const absl::Status opened = store_->open();
    ASSERT_TRUE(opened.ok()) << opened;
    ns_ = *store_->engine().open_namespace({.name = "n", .kind = NamespaceKind::mutable_});
    ASSERT_TRUE(store_->wait_recovered());
  }
  std::string segment() const {
    std::string first;
    for (const std::string& path : store_->disk().files()) {
      if (path.ends_with(".seg") && (first.empty() || path < first)) first = path;
    }
    return first;
  }
  void TearDown() override { std::printf("cairn-count: unreadable_pages=%d\n", made_); }
  void make_unreadable(std::uint64_t page) {
    store_->disk().make_unreadable(segment(), page);
    ++made_;
  }
  /// How many blocks are there, each with its bytes.
  int count() {
    int found = 0;
    for (int i = 0; i < kKeys; ++i) {
      const auto got = store_->get(ns_, key_of(i));
      if (!got.ok() || !got->has_value()) continue;
      EXPECT_TRUE(is_payload(key_of(i), 1, as_bytes(**got))) << key_of(i);
      ++found;
    }
    return found;
  }

  std::unique_ptr<SimStore> store_;
  NamespaceId ns_{};
  int made_ = 0;
  Rng rng_{1};
};

// What cannot be read may be a tombstone that the log has lost: nobody opens over it unasked.
TEST_F(Unreadable, AnIndexThatLostItsLogIsNotBroughtUpFromAPartButRepaired) {
  int fewest = kKeys;
  for (std::uint64_t page = 0; page < kPages; ++page) {
    SCOPED_TRACE(page);
    put_some();
    store_->kill(rng_);
    for (const std::string& path : store_->disk().files()) {
      if (path.ends_with(".log")) store_->disk().truncate(path, 0);
    }
    make_unreadable(page);
    const absl::Status refused = store_->open();
    ASSERT_TRUE(has_code(refused, ErrorCode::io)) << refused;
    const auto report = store_->repair();
    ASSERT_TRUE(report.ok()) << report.status();
    open();
    const int found = count();
    // The first page says which of the segment's uses its records are of.
    EXPECT_GE(found, page == 0 ? 0 : kKeys - 3);
    if (page > 0) fewest = std::min(fewest, found);
    const std::string later = make_payload("later", 1, kBytes);
    EXPECT_TRUE(store_->put(ns_, "later", as_bytes(later), Durability::durable).status.ok());
    EXPECT_TRUE(store_->close().ok());
  }
  EXPECT_LT(fewest, kKeys) << "no page mattered";
}

TEST_F(Unreadable, RepairGivesBackWhatLiesAround) {
  int fewest = kKeys;
  for (std::uint64_t page = 0; page < kPages; ++page) {
    SCOPED_TRACE(page);
    put_some();
    store_->kill(rng_);
    const std::string bad = segment();
    make_unreadable(page);
    const auto report = store_->repair();  // the old index tells the generation
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->rebuilt.unreadable_bytes, tiers::kPage);
    EXPECT_EQ(report->rebuilt.segments_damaged, 1U);
    const std::string before = store_->disk().content(bad);
    open();
    const int found = count();
    EXPECT_GE(found, page == 0 ? 0 : kKeys - 3);
    fewest = std::min(fewest, page == 0 ? kKeys : found);
    // The cleaner empties it; then there are lives in which every other file is filled.
    store_->pump_until([] { return false; }, Duration::seconds(2));
    for (int life = 0; life < (page < 2 ? 3 : 1); ++life) {
      ASSERT_TRUE(store_->close().ok());
      open();
      for (std::uint64_t i = 0; page < 2 && i < 250; ++i) {
        const std::string later = make_payload("later", i, 60 * kBytes);
        ASSERT_TRUE(store_->put(ns_, concat("later-", i), as_bytes(later), Durability::written)
                        .status.ok());
      }
    }
    EXPECT_TRUE(store_->close().ok());
    // But for its first page, which says that what lies behind it is not meant any more.
    EXPECT_TRUE(std::string_view(store_->disk().content(bad)).substr(tiers::kPage) ==
                std::string_view(before).substr(tiers::kPage))
        << "written to again";
  }
  EXPECT_LT(fewest, kKeys) << "no page mattered";
}

TEST_F(Unreadable, ADeviceThatFailsOverAWideRangeEndsARepairThatChangesNothing) {
  put_some();
  store_->kill(rng_);
  for (std::uint64_t page = 0; page * tiers::kPage <= tiers::FileWindow::kUnreadableBytesMax;
       ++page) {
    make_unreadable(page + 100);
  }
  const auto report = store_->repair();
  ASSERT_TRUE(has_code(report.status(), ErrorCode::io)) << report.status();
  EXPECT_NE(message_of(report.status()).find("move it away"), std::string_view::npos);
  open();
  EXPECT_EQ(count(), kKeys);
}

TEST_F(Unreadable, AStoreFullOfBadSegmentsKeepsWhatItHas) {
  SimStoreOptions options = small_sim_store(1);
  options.cold.codec = CodecUse::off;
  store_ = std::make_unique<SimStore>(options);
  open();
  const int blocks = 40;
  for (int i = 0; i < blocks; ++i) {
    const std::string payload = make_payload(key_of(i), 1, 300'000);
    ASSERT_TRUE(store_->put(ns_, key_of(i), as_bytes(payload), Durability::durable).status.ok());
  }
  store_->kill(rng_);
  std::size_t files = 0;
  for (const std::string& path : store_->disk().files()) {
    if (!path.ends_with(".seg")) continue;
    store_->disk().make_unreadable(path, 20);
    ++files;
    ++made_;
  }
  ASSERT_GE(files, 3U);
  ASSERT_TRUE(store_->repair().ok());
  open();
  for (int i = 0; i < 3; ++i) {
    const std::string later = make_payload("later", 1, 300'000);
    store_->put(ns_, concat("later-", i), as_bytes(later), Durability::written);
  }
  store_->pump_until([] { return false; }, Duration::seconds(5));
  std::size_t found = 0;
  for (int i = 0; i < blocks; ++i) {
    const auto got = store_->get(ns_, key_of(i));
    if (!got.ok() || !got->has_value()) continue;
    EXPECT_TRUE(is_payload(key_of(i), 1, as_bytes(**got)));
    ++found;
  }
  EXPECT_GE(found + 2 * files, static_cast<std::size_t>(blocks));
}

TEST_F(Unreadable, VerifyTellsWhichBlocksAndFixForgetsThem) {
  put_some();
  ASSERT_TRUE(store_->close().ok());
  open();
  make_unreadable(3);
  const auto verify = [&](bool fix) {
    SimDevice own(store_->shared_disk(), store_->clock());
    tiers::VerifyOptions options;
    options.directory = store_->options().cold.directory;
    options.fix = fix;
    options.clock = &store_->clock();
    options.pump = [&] { store_->pump_until([] { return false; }, Duration::micros(100)); };
    const auto report = verify_store(store_->cold(), own, options);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : tiers::VerifyReport{};
  };
  const tiers::VerifyReport found = verify(false);
  EXPECT_GE(found.unreadable, 1U);
  EXPECT_LE(found.unreadable, 3U);
  EXPECT_EQ(found.bad(), found.unreadable);
  EXPECT_EQ(found.scanned, std::uint64_t{kKeys});
  // Reads go without the first page.
  make_unreadable(0);
  EXPECT_EQ(verify(false).unreadable, found.unreadable);
  EXPECT_EQ(verify(true).fixed, found.unreadable);
  EXPECT_EQ(verify(false).ok, kKeys - found.unreadable);
  EXPECT_EQ(verify(false).bad(), 0U);
}

}  // namespace
}  // namespace cairn::test
