// SPDX-License-Identifier: Apache-2.0
// The index in RocksDB: atomic batches, order, what survives, and what a torn log or a
// missing file does to it. What the medium does to it is in index_medium_test.cc, damage bit by bit
// in tests/crash/index_damage_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/tiers/index_entries.h"
#include "tiers/cold/rocksdb_index.h"

namespace cairn::tiers {
namespace {

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

}  // namespace
}  // namespace cairn::tiers
