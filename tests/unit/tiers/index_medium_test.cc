// SPDX-License-Identifier: Apache-2.0
// The index on a medium that is full, that fails, or that loses its power. Goal: what is refused
// is told and costs nothing that was there, and what was synced stays. Deaths of the whole store
// on a full disk are in tests/crash/index_full_disk_test.cc.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/seed.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tests/unit/tiers/index_entries.h"
#include "tiers/cold/rocksdb_index.h"

namespace cairn::tiers {
namespace {

using test::Fault;
using test::Side;

class IndexMediumTest : public ::testing::Test {
 protected:
  explicit IndexMediumTest() : disk_(std::make_shared<test::SimDisk>()) {
    EXPECT_EQ(disk_->make_directory("/store"), 0);
    options_.directory = "/store/index";
    options_.store = kStore;
    options_.write_buffer_bytes = 256 * kKiB;
    options_.create = true;
    options_.file_system = test::make_sim_rocksdb_fs(disk_);
    auto index = open_rocksdb_index(options_);
    EXPECT_TRUE(index.ok()) << index.status();
    index_ = std::move(*index);
    options_.create = false;
  }
  absl::StatusOr<std::unique_ptr<Index>> again() {
    index_.reset();
    return open_rocksdb_index(options_);
  }

  std::shared_ptr<test::SimDisk> disk_;
  IndexOptions options_;
  std::unique_ptr<Index> index_;
};

TEST_F(IndexMediumTest, RefusesBeforeItHurtsReadsOnAndResumes) {
  disk_->set_capacity(disk_->allocated_bytes() + 4 * kMiB);
  std::map<std::string, std::uint64_t> acknowledged;
  absl::Status status;
  std::uint64_t i = 0;
  for (; i < 200000 && status.ok(); ++i) {
    const std::string key = concat("key-", i);
    status = put(*index_, key, i);
    if (status.ok()) acknowledged[key] = i;
  }
  ASSERT_TRUE(has_code(status, ErrorCode::no_space)) << status;
  EXPECT_TRUE(index_->health().full);
  EXPECT_FALSE(index_->health().failed);
  EXPECT_EQ(all(*index_, 1000), acknowledged);
  disk_->set_capacity(disk_->allocated_bytes());  // compaction may have won a little
  EXPECT_TRUE(has_code(put(*index_, "more", 1), ErrorCode::no_space));
  disk_->set_capacity(std::uint64_t{1} << 40);
  ASSERT_TRUE(put(*index_, "more", 1, true).ok());
  acknowledged["more"] = 1;
  EXPECT_FALSE(index_->health().full);
  EXPECT_EQ(all(*index_, 1000), acknowledged);
  const auto reopened = again();
  ASSERT_TRUE(reopened.ok()) << reopened.status();
  EXPECT_EQ(all(**reopened, 1000), acknowledged);
}

TEST_F(IndexMediumTest, RemovalsGoOnLongerThanPuts) {
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(put(*index_, concat("k", i), i).ok());
  disk_->set_capacity(disk_->allocated_bytes() + 64 * kKiB);
  EXPECT_TRUE(has_code(put(*index_, "new", 1), ErrorCode::no_space));
  const IndexChange change{{ns(1), "k7", 0}, std::nullopt};
  EXPECT_TRUE(index_->write({&change, 1}, {}, {.evicted = 1}, true).ok());
  EXPECT_EQ(all(*index_).size(), 99U);
}

TEST_F(IndexMediumTest, NoSpaceInAnyFileNeitherAbortsNorLosesNorInvents) {
  for (const std::uint64_t seed : test::seeds({1, 2, 3}, 2)) {
    test::print_seed(seed);
    test::Rng rng(seed);
    std::map<std::string, std::uint64_t> model = all(*index_, 1000);
    for (std::size_t round = 0; round < test::scaled(8); ++round) {
      disk_->faults().add({.fault = Fault::no_space,
                           .side = Side::rocksdb,
                           .nth = 1 + rng.below(60),
                           .times = 1 + rng.below(3)});
      std::uint64_t refused = 0;
      for (int i = 0; i < 200; ++i) {
        const std::string key = concat("key-", rng.below(5000));
        const std::uint64_t sequence = rng.below(1 << 30);
        std::vector<IndexChange> changes(1 + rng.below(30), {{ns(1), key, 0}, entry(sequence)});
        const absl::Status status = index_->write(changes, {}, {}, rng.chance(0.2));
        if (status.ok()) {
          model[key] = sequence;
        } else {
          ++refused;
          ASSERT_TRUE(has_code(status, ErrorCode::no_space)) << status;
        }
      }
      disk_->faults().clear();
      ASSERT_LT(refused, 100U) << "it came back once there was room";
      ASSERT_EQ(all(*index_, 1000), model);
    }
  }
  EXPECT_GT(disk_->faults().fired(Fault::no_space), 0U);
  EXPECT_GT(index_->health().reopened, 0U);
}

TEST_F(IndexMediumTest, OpensForReadingAndWritesWhenThereIsRoom) {
  ASSERT_TRUE(put(*index_, "a", 1, true).ok());
  index_.reset();
  disk_->set_capacity(disk_->allocated_bytes());
  auto index = open_rocksdb_index(options_);
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(all(**index).size(), 1U);
  EXPECT_TRUE((*index)->health().full);
  EXPECT_TRUE(has_code(put(**index, "b", 2), ErrorCode::no_space));
  disk_->set_capacity(std::uint64_t{1} << 40);
  EXPECT_TRUE(put(**index, "b", 2).ok());
  EXPECT_EQ(all(**index).size(), 2U);
}

TEST_F(IndexMediumTest, TheShareSetAsideIsALimitOfItsOwn) {
  index_.reset();
  options_.capacity_bytes = 16 * kMiB;  // no store has less
  auto index = open_rocksdb_index(options_);
  ASSERT_TRUE(index.ok()) << index.status();
  absl::Status status;
  std::uint64_t i = 0;
  for (; i < 1'000'000 && status.ok(); ++i) {
    status = put(**index, concat("key-", i), i);
    ASSERT_LE((*index)->usage_bytes(), options_.capacity_bytes);
  }
  ASSERT_TRUE(has_code(status, ErrorCode::no_space)) << status;
  EXPECT_GT(i, 5000U);
  const IndexChange change{{ns(1), "key-1", 0}, std::nullopt};
  EXPECT_TRUE((*index)->write({&change, 1}, {}, {}, false).ok());
}

// --- a failing medium -------------------------------------------------------------------

TEST_F(IndexMediumTest, AFailedSyncEndsWritingForGood) {
  ASSERT_TRUE(put(*index_, "a", 1, true).ok());
  disk_->faults().add({.fault = Fault::sync_error,
                       .side = Side::rocksdb,
                       .nth = 1,
                       .times = 1,
                       .path_contains = ".log"});
  EXPECT_FALSE(put(*index_, "b", 2, true).ok());
  EXPECT_EQ(disk_->faults().fired(Fault::sync_error), 1U);
  EXPECT_TRUE(index_->health().failed);
  EXPECT_TRUE(has_code(put(*index_, "c", 3), ErrorCode::degraded));
  EXPECT_TRUE(has_code(index_->sync(), ErrorCode::degraded));
  EXPECT_EQ(all(*index_).size(), 1U);
}

TEST_F(IndexMediumTest, AWriteErrorIsAnErrorAndTheNextWriteComesBack) {
  ASSERT_TRUE(put(*index_, "a", 1).ok());
  disk_->faults().add({.fault = Fault::write_error,
                       .side = Side::rocksdb,
                       .nth = 1,
                       .times = 1,
                       .path_contains = ".log"});
  EXPECT_TRUE(has_code(put(*index_, "b", 2), ErrorCode::io));
  EXPECT_EQ(all(*index_).size(), 1U);
  EXPECT_TRUE(put(*index_, "c", 3).ok());
  EXPECT_EQ(all(*index_), (std::map<std::string, std::uint64_t>{{"a", 1}, {"c", 3}}));
  EXPECT_EQ(index_->health().reopened, 1U);
}

TEST_F(IndexMediumTest, AfterAPowerCutWhatWasSyncedIsThereAndABatchIsWhole) {
  for (const std::uint64_t seed : test::seeds({11, 12}, 2)) {
    test::print_seed(seed);
    test::Rng rng(seed);
    auto disk = std::make_shared<test::SimDisk>();
    ASSERT_EQ(disk->make_directory("/store"), 0);
    ASSERT_EQ(disk->sync_directory("/"), 0);
    IndexOptions options = options_;
    std::uint64_t done = 0;
    std::uint64_t next_sequence = 1;
    for (std::size_t cut = 0; cut < test::scaled(6); ++cut) {
      options.file_system = test::make_sim_rocksdb_fs(disk);
      options.create = cut == 0;
      auto index = open_rocksdb_index(options);
      ASSERT_TRUE(index.ok()) << index.status();
      if (cut == 0) {
        ASSERT_EQ(disk->sync_directory("/store"), 0);
      }
      const absl::StatusOr<std::uint64_t> first = (*index)->reserve_sequences(1000);
      ASSERT_TRUE(first.ok());
      ASSERT_GE(*first, next_sequence);
      next_sequence = *first + 1000;
      std::uint64_t synced = done;
      const std::uint64_t length = 100 + rng.below(2000);
      for (std::uint64_t i = 0; i < length; ++i) {
        const std::string a = concat("a", done);
        const std::string b = concat("b", done);
        const IndexChange pair[] = {{{ns(1), a, 0}, entry(done)}, {{ns(1), b, 0}, entry(done)}};
        const bool sync = rng.chance(0.02);
        ASSERT_TRUE((*index)->write(pair, {}, {.evicted = 1}, sync).ok());
        ++done;
        if (sync) synced = done;
      }
      disk = disk->power_cut(rng);
      index->reset();
      options.file_system = test::make_sim_rocksdb_fs(disk);
      options.create = false;
      auto after = open_rocksdb_index(options);
      ASSERT_TRUE(after.ok()) << after.status();
      const auto found = all(**after, 500);
      const std::uint64_t whole = found.size() / 2;
      ASSERT_EQ(found.size() % 2, 0U);
      ASSERT_GE(whole, synced);
      ASSERT_EQ((*after)->counters().evicted, whole);
      for (std::uint64_t i = 0; i < whole; ++i) ASSERT_TRUE(found.contains(concat("b", i)));
      done = whole;
    }
  }
}

}  // namespace
}  // namespace cairn::tiers
