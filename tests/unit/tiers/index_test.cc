// SPDX-License-Identifier: Apache-2.0
// The index in RocksDB: atomic batches, order, what survives, and what a full disk, a torn log
// or a missing file does to it. Damage bit by bit is in tests/crash/index_damage_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/seed.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tests/support/temp_dir.h"
#include "tiers/cold/index_codec.h"
#include "tiers/cold/rocksdb_index.h"

namespace cairn::tiers {
namespace {

using test::Fault;
using test::Side;

const StoreUuid kStore{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

IndexEntry entry(std::uint64_t sequence) {
  IndexEntry out;
  out.id.hash = {sequence * 7 + 1, sequence * 13 + 5};
  out.location.bits = sequence + 1000;
  out.stored_bytes = 4096;
  out.epoch = 3;
  out.facts = {sequence, 4000, sequence * 31, 0, {}, false};
  out.heat = 2;
  return out;
}

NamespaceId ns(std::uint32_t id) {
  return static_cast<NamespaceId>(id);
}

absl::Status put(Index& index, std::string_view key, std::uint64_t sequence, bool sync = false,
                 std::uint32_t in = 1) {
  const IndexChange change{{ns(in), key, 0}, entry(sequence)};
  return index.write({&change, 1}, {}, {}, sync);
}

std::map<std::string, std::uint64_t> all(Index& index, std::size_t step = 7) {
  std::map<std::string, std::uint64_t> out;
  std::string cursor;
  do {
    const absl::Status status =
        index.scan(cursor, step, [&](const BlockName& name, const IndexEntry& e) {
          out[std::string(name.key)] = e.facts.sequence;
        });
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) break;
  } while (!cursor.empty());
  return out;
}

class IndexTest : public ::testing::Test {
 protected:
  std::unique_ptr<Index> make(bool create) {
    IndexOptions options = options_;
    options.create = create;
    absl::StatusOr<std::unique_ptr<Index>> index = open_rocksdb_index(options);
    EXPECT_TRUE(index.ok()) << index.status();
    return index.ok() ? std::move(*index) : nullptr;
  }
  absl::Status open_status() {
    IndexOptions options = options_;
    return open_rocksdb_index(options).status();
  }

  test::TempDir dir_{"index"};
  IndexOptions options_{.directory = dir_.file("index"), .store = kStore};
};

TEST_F(IndexTest, GivesBackWhatWasPut) {
  const auto index = make(true);
  IndexEntry rich = entry(9);
  rich.facts.expiry = 1234567;
  rich.facts.parent.hash = {77, 88};
  rich.facts.pinned = true;
  rich.tombstone = true;
  const std::string longest(kKeyLengthMax, 'k');
  const IndexChange changes[] = {{{ns(1), "a", 0}, entry(1)},
                                 {{ns(1), "a", 1}, entry(2)},
                                 {{ns(2), "a", 0}, entry(3)},
                                 {{ns(1), longest, 65535}, rich}};
  ASSERT_TRUE(index->write(changes, {}, {}, false).ok());
  for (const IndexChange& change : changes) {
    EXPECT_EQ(**index->get(change.name), *change.put);
  }
  EXPECT_FALSE((*index->get({ns(2), "a", 1})).has_value());
  const BlockName names[] = {{ns(1), "a", 1}, {ns(3), "a", 0}, {ns(1), longest, 65535}};
  const auto found = index->get_batch(names);
  EXPECT_EQ((*found[0])->facts.sequence, 2U);
  EXPECT_FALSE(found[1]->has_value());
  EXPECT_EQ((*found[2])->facts.sequence, 9U);
}

TEST_F(IndexTest, ScansInKeyOrderAndGoesOnFromItsCursor) {
  const auto index = make(true);
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(put(*index, concat("key", 1000 + i), i).ok());
  }
  EXPECT_EQ(all(*index, 7).size(), 100U);
  EXPECT_EQ(all(*index, 100).size(), 100U);
  EXPECT_EQ(all(*index, 1).size(), 100U);
  std::string cursor;
  std::vector<std::string> keys;
  ASSERT_TRUE(index
                  ->scan(cursor, 10,
                         [&](const BlockName& n, const IndexEntry&) { keys.emplace_back(n.key); })
                  .ok());
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  EXPECT_FALSE(cursor.empty());
}

TEST_F(IndexTest, RowsOfItsOwnAreNeverSeenAsEntries) {
  const auto index = make(true);
  const SegmentRow rows[] = {{static_cast<SegmentId>(3), SegmentState::sealed, 7, 55, 4096},
                             {static_cast<SegmentId>(70000), SegmentState::open, 1, 60, 0}};
  ASSERT_TRUE(index->write({}, rows, {.evicted = 2, .media_bytes_written = 9}, true).ok());
  EXPECT_TRUE(all(*index).empty());
  const auto read = index->segments();
  ASSERT_TRUE(read.ok());
  ASSERT_EQ(read->size(), 2U);
  EXPECT_EQ((*read)[0], rows[0]);
  EXPECT_EQ((*read)[1], rows[1]);
  // The highest namespace a store gives out is next to them.
  ASSERT_TRUE(put(*index, "last", 1, false, 0xfffffffe).ok());
  ASSERT_TRUE(index->erase_namespace(ns(0xfffffffe)).ok());
  EXPECT_EQ(index->segments()->size(), 2U);
  EXPECT_TRUE(all(*index).empty());
}

TEST_F(IndexTest, ErasesOneNamespaceAndNoOther) {
  const auto index = make(true);
  for (std::uint32_t id = 1; id <= 3; ++id) {
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(put(*index, concat(id, "-", i), 5, false, id).ok());
  }
  ASSERT_TRUE(index->erase_namespace(ns(2)).ok());
  const auto left = all(*index);
  EXPECT_EQ(left.size(), 40U);
  for (const auto& [key, sequence] : left) EXPECT_NE(key[0], '2');
  ASSERT_TRUE(put(*index, "2-new", 6, false, 2).ok());
  EXPECT_EQ(all(*index).size(), 41U);
}

TEST_F(IndexTest, CountersAndEntriesAndSequencesSurviveReopening) {
  std::uint64_t first = 0;
  {
    const auto index = make(true);
    const IndexChange change{{ns(1), "a", 0}, entry(1)};
    ASSERT_TRUE(index->write({&change, 1}, {}, {.evicted = 1, .erased = 2}, false).ok());
    ASSERT_TRUE(index->write({}, {}, {.evicted = 10, .expired = 4}, false).ok());
    first = *index->reserve_sequences(1000);
    EXPECT_GE(first, 1U);
    EXPECT_EQ(*index->reserve_sequences(10), first + 1000);
  }
  const auto index = make(false);
  EXPECT_EQ(index->counters(), (IndexCounters{.evicted = 11, .erased = 2, .expired = 4}));
  EXPECT_EQ(**index->get({ns(1), "a", 0}), entry(1));
  EXPECT_GE(*index->reserve_sequences(1), first + 1010);
  EXPECT_FALSE(index->recovery().log_torn);
}

TEST_F(IndexTest, ADeleteAndAPutAreOneStep) {
  const auto index = make(true);
  ASSERT_TRUE(put(*index, "old", 1).ok());
  const IndexChange changes[] = {{{ns(1), "old", 0}, std::nullopt}, {{ns(1), "new", 0}, entry(2)}};
  ASSERT_TRUE(index->write(changes, {}, {}, true).ok());
  EXPECT_EQ(all(*index), (std::map<std::string, std::uint64_t>{{"new", 2}}));
}

TEST_F(IndexTest, AStoreThatWasMadeTwiceBeginsEmpty) {
  {
    const auto index = make(true);
    ASSERT_TRUE(put(*index, "a", 1).ok());
  }
  const auto index = make(true);
  EXPECT_TRUE(all(*index).empty());
}

TEST_F(IndexTest, AnotherStoresIndexIsRefused) {
  make(true).reset();
  IndexOptions other = options_;
  other.store[0] = 99;
  EXPECT_TRUE(has_code(open_rocksdb_index(other).status(), ErrorCode::corruption));
}

TEST_F(IndexTest, IsOpenOnceAtATime) {
  const auto index = make(true);
  EXPECT_TRUE(has_code(open_status(), ErrorCode::locked)) << open_status();
}

TEST_F(IndexTest, UsageCountsWhatIsAllocated) {
  const auto index = make(true);
  ASSERT_TRUE(put(*index, "a", 1).ok());
  // The log is allocated whole with its first byte.
  EXPECT_GE(index->usage_bytes(), 8 * kMiB);
  EXPECT_LT(index->usage_bytes(), 12 * kMiB);
  EXPECT_GT(index->bytes_written(), 0U);
  EXPECT_GT(index->memory_bytes(), 0U);
}

/// Name, length, allocation and content of everything below a directory.
std::map<std::string, std::string> picture(const std::string& directory) {
  std::map<std::string, std::string> out;
  for (const auto& file : std::filesystem::recursive_directory_iterator(directory)) {
    std::ostringstream text;
    if (file.is_regular_file()) text << std::ifstream(file.path(), std::ios::binary).rdbuf();
    out[file.path().string()] =
        concat(file.last_write_time().time_since_epoch().count(), "|") + text.str();
  }
  return out;
}

TEST_F(IndexTest, ReadingChangesNoByte) {
  const std::string copy = dir_.file("copy");
  {
    const auto index = make(true);
    for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(put(*index, concat("k", i), i, true).ok());
    // What a killed process leaves: a log that was never flushed.
    std::filesystem::copy(options_.directory, copy, std::filesystem::copy_options::recursive);
  }
  for (const std::string& directory : {options_.directory, copy}) {
    const auto before = picture(directory);
    IndexOptions options = options_;
    options.directory = directory;
    options.read_only = true;
    {
      const auto index = open_rocksdb_index(options);
      ASSERT_TRUE(index.ok()) << index.status();
      EXPECT_EQ(all(**index).size(), 50U);
      EXPECT_TRUE(has_code(put(**index, "x", 1), ErrorCode::read_only));
      EXPECT_TRUE(has_code((*index)->reserve_sequences(1).status(), ErrorCode::read_only));
    }
    EXPECT_EQ(before, picture(directory));
  }
}

TEST_F(IndexTest, ATornEndOfTheLogIsAcceptedAndReported) {
  const std::string copy = dir_.file("copy");
  {
    const auto index = make(true);
    for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(put(*index, concat("k", i), i, true).ok());
    std::filesystem::copy(options_.directory, copy, std::filesystem::copy_options::recursive);
  }
  for (const auto& file : std::filesystem::directory_iterator(copy)) {
    if (file.path().extension() != ".log") continue;
    std::filesystem::resize_file(file.path(), std::filesystem::file_size(file.path()) - 5);
  }
  IndexOptions options = options_;
  options.directory = copy;
  const auto index = open_rocksdb_index(options);
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(all(**index).size(), 49U);
  EXPECT_TRUE((*index)->recovery().log_torn);
  EXPECT_GT((*index)->recovery().log_bytes, 0U);
}

TEST_F(IndexTest, AMissingFileIsCorruptionWithAHintToRepair) {
  {
    const auto index = make(true);
    for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(put(*index, concat("k", i), i, true).ok());
  }
  std::size_t tried = 0;
  for (const auto& file : std::filesystem::directory_iterator(options_.directory)) {
    const std::string name = file.path().filename();
    if (name.starts_with("OPTIONS") || name == "LOCK" || name == "IDENTITY") continue;
    std::filesystem::rename(file.path(), dir_.file("aside"));
    const absl::Status status = open_status();
    EXPECT_TRUE(has_code(status, ErrorCode::corruption)) << name << ": " << status;
    EXPECT_NE(message_of(status).find("cairn repair"), std::string_view::npos) << name;
    std::filesystem::rename(dir_.file("aside"), file.path());
    ++tried;
  }
  EXPECT_GE(tried, 4U);  // CURRENT, MANIFEST, a table, the log
  const auto index = make(false);
  EXPECT_EQ(all(*index).size(), 50U);
}

TEST_F(IndexTest, AScanThatMeetsABadBlockEndsWithCorruptionAndNotWithTheEnd) {
  {
    const auto index = make(true);
    for (std::uint64_t i = 0; i < 3000; ++i) ASSERT_TRUE(put(*index, concat("key", i), i).ok());
  }
  for (const auto& file : std::filesystem::directory_iterator(options_.directory)) {
    if (file.path().extension() != ".sst") continue;
    std::fstream table(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    table.seekp(static_cast<std::streamoff>(file.file_size() / 2));
    table.put('!').put('?').put('!');
  }
  const auto index = make(false);
  std::string cursor;
  std::uint64_t visited = 0;
  absl::Status status;
  do {
    status = index->scan(cursor, 100, [&](const BlockName&, const IndexEntry&) { ++visited; });
  } while (status.ok() && !cursor.empty());
  EXPECT_TRUE(has_code(status, ErrorCode::corruption)) << status;
  EXPECT_GT(visited, 0U);
  EXPECT_LT(visited, 3000U);
}

// --- a full disk ------------------------------------------------------------------------

class FullDiskTest : public ::testing::Test {
 protected:
  explicit FullDiskTest() : disk_(std::make_shared<test::SimDisk>()) {
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

TEST_F(FullDiskTest, RefusesBeforeItHurtsReadsOnAndResumes) {
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

TEST_F(FullDiskTest, RemovalsGoOnLongerThanPuts) {
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(put(*index_, concat("k", i), i).ok());
  disk_->set_capacity(disk_->allocated_bytes() + 64 * kKiB);
  EXPECT_TRUE(has_code(put(*index_, "new", 1), ErrorCode::no_space));
  const IndexChange change{{ns(1), "k7", 0}, std::nullopt};
  EXPECT_TRUE(index_->write({&change, 1}, {}, {.evicted = 1}, true).ok());
  EXPECT_EQ(all(*index_).size(), 99U);
}

TEST_F(FullDiskTest, NoSpaceInAnyFileNeitherAbortsNorLosesNorInvents) {
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

TEST_F(FullDiskTest, OpensForReadingAndWritesWhenThereIsRoom) {
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

TEST_F(FullDiskTest, TheShareSetAsideIsALimitOfItsOwn) {
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

TEST_F(FullDiskTest, AFailedSyncEndsWritingForGood) {
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

TEST_F(FullDiskTest, AWriteErrorIsAnErrorAndTheNextWriteComesBack) {
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

TEST_F(FullDiskTest, AfterAPowerCutWhatWasSyncedIsThereAndABatchIsWhole) {
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
