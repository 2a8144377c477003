// SPDX-License-Identifier: Apache-2.0
// The simulated disk keeps its own promises.
//
// Goal: every crash and fault test stands on SimDisk, so what it claims is shown here: what is
// synced stays, what is not may go, tears are at 512 bytes, each injector fires and is counted, and
// RocksDB with synced writes lives through cuts on it.
// Method: small scenarios on one thread; for chances, many cuts of the same disk, each on a copy.
#include "tests/support/sim_disk.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "engine/base/text.h"
#include "tests/support/sim_device.h"
#include "tests/support/sim_rocksdb_fs.h"

namespace cairn::test {
namespace {

using tiers::OpenMode;

std::string filled(std::size_t bytes, char value) {
  return std::string(bytes, value);
}

/// One file in a synced directory, its name durable, its content not.
struct Scene {
  std::shared_ptr<SimDisk> disk = std::make_shared<SimDisk>();
  SimFile file;

  Scene() {
    EXPECT_EQ(disk->make_directory("/d"), 0);
    EXPECT_EQ(disk->open("/d/f", OpenMode::create, &file), 0);
    EXPECT_EQ(disk->sync_directory("/"), 0);
    EXPECT_EQ(disk->sync_directory("/d"), 0);
  }
  void write(std::uint64_t offset, const std::string& bytes) {
    std::size_t written = 0;
    ASSERT_EQ(disk->write(file, offset, as_bytes(bytes), &written), 0);
    ASSERT_EQ(written, bytes.size());
  }
  void sync() { ASSERT_EQ(disk->sync(file, disk->write_marker()), 0); }
};

TEST(SimDisk, WhatIsSyncedSurvivesEveryCut) {
  Scene scene;
  scene.write(0, filled(3000, 'a'));
  scene.write(1000, filled(500, 'b'));
  scene.sync();
  const std::string expected = scene.disk->content("/d/f");
  Rng rng(1);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(scene.disk->snapshot()->power_cut(rng)->content("/d/f"), expected);
  }
}

TEST(SimDisk, WhatIsNotSyncedIsKeptDroppedOrTornAt512Bytes) {
  Scene scene;
  scene.write(0, filled(8192, 'a'));
  scene.sync();
  scene.write(0, filled(8192, 'b'));
  Rng rng(announce_seed());
  int kept = 0;
  int dropped = 0;
  int torn = 0;
  CutReport report;
  for (int i = 0; i < 200; ++i) {
    const std::string content = scene.disk->snapshot()->power_cut(rng, &report)->content("/d/f");
    ASSERT_EQ(content.size(), 8192U);
    bool changed = false;
    for (std::size_t sector = 0; sector < content.size(); sector += kSimSector) {
      const std::string piece = content.substr(sector, kSimSector);
      ASSERT_TRUE(piece == filled(kSimSector, 'a') || piece == filled(kSimSector, 'b'));
      changed = changed || piece[0] != content[0];
    }
    ++(changed ? torn : content[0] == 'a' ? dropped : kept);
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(dropped, 0);
  EXPECT_GT(torn, 0);
  EXPECT_EQ(report.writes_dropped + report.writes_kept + report.writes_torn, 200U);
}

TEST(SimDisk, LaterWritesMayOutliveEarlierOnes) {
  Scene scene;
  scene.write(0, filled(4096, 'a'));
  scene.write(4096, filled(4096, 'b'));
  Rng rng(announce_seed());
  bool seen = false;
  for (int i = 0; i < 100 && !seen; ++i) {
    const std::string content = scene.disk->snapshot()->power_cut(rng)->content("/d/f");
    seen = content.size() == 8192 && content.substr(0, 4096) == filled(4096, '\0') &&
           content.substr(4096) == filled(4096, 'b');
  }
  EXPECT_TRUE(seen);
}

TEST(SimDisk, ASyncCoversNothingWrittenAfterItsMarker) {
  Scene scene;
  scene.write(0, filled(512, 'a'));
  const std::uint64_t marker = scene.disk->write_marker();
  scene.write(512, filled(512, 'b'));
  ASSERT_EQ(scene.disk->sync(scene.file, marker), 0);
  Rng rng(announce_seed());
  bool lost = false;
  for (int i = 0; i < 100; ++i) {
    const std::string content = scene.disk->snapshot()->power_cut(rng)->content("/d/f");
    EXPECT_EQ(content.substr(0, 512), filled(512, 'a'));
    lost = lost || content.size() == 512;
  }
  EXPECT_TRUE(lost);
}

TEST(SimDisk, NamesLiveOnlyOnceTheirDirectoryIsSynced) {
  Scene scene;
  SimFile other;
  ASSERT_EQ(scene.disk->open("/d/g", OpenMode::create, &other), 0);
  ASSERT_EQ(scene.disk->sync(other, scene.disk->write_marker()), 0);  // the file's own sync
  Rng rng(announce_seed());
  std::map<std::size_t, int> seen;
  for (int i = 0; i < 50; ++i) ++seen[scene.disk->snapshot()->power_cut(rng)->files().size()];
  EXPECT_GT(seen[1], 0);
  EXPECT_GT(seen[2], 0);
  ASSERT_EQ(scene.disk->sync_directory("/d"), 0);
  EXPECT_EQ(scene.disk->power_cut(rng)->files().size(), 2U);
}

TEST(SimDisk, UnsyncedNamesAreKeptInTheirOrder) {
  Scene scene;
  for (int i = 0; i < 5; ++i) {
    SimFile file;
    ASSERT_EQ(scene.disk->open(concat("/d/n", i), OpenMode::create, &file), 0);
  }
  Rng rng(announce_seed());
  for (int i = 0; i < 50; ++i) {
    const std::vector<std::string> files = scene.disk->snapshot()->power_cut(rng)->files();
    for (std::size_t n = 1; n < files.size(); ++n) EXPECT_EQ(files[n], concat("/d/n", n - 1));
  }
}

TEST(SimDisk, ARenameIsOldOrNewAndNeverBothOrNeither) {
  Scene scene;
  SimFile fresh;
  std::size_t written = 0;
  ASSERT_EQ(scene.disk->open("/d/f.new", OpenMode::create, &fresh), 0);
  ASSERT_EQ(scene.disk->write(fresh, 0, as_bytes("new"), &written), 0);
  ASSERT_EQ(scene.disk->sync(fresh, scene.disk->write_marker()), 0);
  scene.write(0, "old");
  scene.sync();
  ASSERT_EQ(scene.disk->sync_directory("/d"), 0);
  ASSERT_EQ(scene.disk->rename("/d/f.new", "/d/f"), 0);
  Rng rng(announce_seed());
  std::map<std::string, int> seen;
  for (int i = 0; i < 50; ++i) {
    const auto next = scene.disk->snapshot()->power_cut(rng);
    const std::string content = next->content("/d/f");
    ++seen[content];
    EXPECT_EQ(next->files().size(), content == "old" ? 2U : 1U);
  }
  EXPECT_EQ(seen["old"] + seen["new"], 50);
  EXPECT_GT(seen["old"], 0);
  EXPECT_GT(seen["new"], 0);
}

TEST(SimDisk, AFailedSyncMayHaveLostWhatALaterSyncClaims) {
  Rng rng(announce_seed());
  bool lost = false;
  for (std::uint64_t seed = 1; seed < 40 && !lost; ++seed) {
    SimDisk disk({.seed = seed});
    SimFile file;
    std::size_t written = 0;
    ASSERT_EQ(disk.open("/f", OpenMode::create, &file), 0);
    ASSERT_EQ(disk.sync_directory("/"), 0);
    ASSERT_EQ(disk.write(file, 0, as_bytes("precious"), &written), 0);
    ASSERT_EQ(disk.sync_badly(file), EIO);
    ASSERT_EQ(disk.sync(file, disk.write_marker()), 0);
    EXPECT_EQ(disk.content("/f"), "precious");  // the cache still says so
    lost = disk.power_cut(rng)->content("/f").empty();
  }
  EXPECT_TRUE(lost);
}

TEST(SimDisk, AfterDeathEveryOperationFails) {
  Scene scene;
  scene.disk->freeze_at(scene.disk->mutations() + 2);
  scene.write(0, "first");
  std::size_t written = 0;
  EXPECT_EQ(scene.disk->write(scene.file, 5, as_bytes("second"), &written), EIO);
  EXPECT_TRUE(scene.disk->frozen());
  EXPECT_EQ(scene.disk->sync(scene.file, scene.disk->write_marker()), EIO);
  EXPECT_EQ(scene.disk->rename("/d/f", "/d/g"), EIO);
  SimFile file;
  EXPECT_EQ(scene.disk->open("/d/f", OpenMode::read, &file), EIO);
  Rng rng(7);
  const auto next = scene.disk->kill_process(rng);
  EXPECT_EQ(next->content("/d/f"), "firstsecond");  // in flight, and it landed
  EXPECT_EQ(next->open("/d/f", OpenMode::read, &file), 0);
}

TEST(SimDisk, MutationsAreNumberedOverBothSides) {
  auto disk = std::make_shared<SimDisk>();
  std::vector<std::pair<std::uint64_t, Mutation>> seen;
  disk->set_on_mutation(
      [&](std::uint64_t number, Mutation kind) { seen.emplace_back(number, kind); });
  ManualClock clock;
  SimDevice device(disk, clock);
  ASSERT_TRUE(device.write_small("/a", as_bytes("x")).ok());
  const auto fs = make_sim_rocksdb_fs(disk);
  std::unique_ptr<rocksdb::FSWritableFile> file;
  ASSERT_TRUE(fs->NewWritableFile("/b", {}, &file, nullptr).ok());
  ASSERT_TRUE(file->Append("y", {}, nullptr).ok());
  ASSERT_TRUE(file->Sync({}, nullptr).ok());
  ASSERT_TRUE(device.rename_file("/a", "/c").ok());
  const std::vector<std::pair<std::uint64_t, Mutation>> expected{
      {1, Mutation::create}, {2, Mutation::write}, {3, Mutation::create},
      {4, Mutation::write},  {5, Mutation::sync},  {6, Mutation::rename}};
  EXPECT_EQ(seen, expected);
}

TEST(SimDisk, AllocatedBytesAreWholePagesAndAFullDiskTakesWhatFits) {
  SimDisk disk({.capacity_bytes = 3 * kSimPage});
  SimFile file;
  std::size_t written = 0;
  ASSERT_EQ(disk.open("/f", OpenMode::create, &file), 0);
  ASSERT_EQ(disk.write(file, 2 * kSimPage, as_bytes("x"), &written), 0);
  EXPECT_EQ(disk.allocated_bytes(), kSimPage);  // two holes
  ASSERT_EQ(disk.write(file, 4 * kSimPage, as_bytes(filled(3 * kSimPage, 'y')), &written), 0);
  EXPECT_EQ(written, 2 * kSimPage);
  EXPECT_EQ(disk.write(file, 0, as_bytes("z"), &written), ENOSPC);
  EXPECT_EQ(disk.allocate(file, 8 * kSimPage), ENOSPC);
  ASSERT_EQ(disk.remove("/f"), 0);
  EXPECT_EQ(disk.allocated_bytes(), disk.capacity_bytes());  // open, so still there
  disk.close(file);
  EXPECT_EQ(disk.allocated_bytes(), 0U);
}

TEST(SimDisk, TheVandalReachesTheMedium) {
  Scene scene;
  scene.write(0, filled(4096, 'a') + filled(4096, 'b'));
  scene.write(0, filled(4096, 'c'));
  scene.sync();
  Rng rng(3);
  const auto after = [&] { return scene.disk->snapshot()->power_cut(rng)->content("/d/f"); };
  scene.disk->flip_bit("/d/f", 5, 0);
  EXPECT_EQ(after()[5], 'c' ^ 1);
  scene.disk->swap_pages("/d/f", 0, "/d/f", 1);
  EXPECT_EQ(after()[0], 'b');
  scene.disk->zero_page("/d/f", 1);
  EXPECT_EQ(after().substr(4096), filled(4096, '\0'));
  EXPECT_TRUE(scene.disk->make_page_stale("/d/f", 1));
  EXPECT_EQ(after()[4096], 'c');
  scene.disk->truncate("/d/f", 10);
  EXPECT_EQ(after().size(), 10U);
  scene.disk->take_away("/d/f");
  EXPECT_TRUE(scene.disk->files().empty());
}

// --- RocksDB on it ---------------------------------------------------------------------------

struct Database {
  std::unique_ptr<rocksdb::Env> env;
  std::unique_ptr<rocksdb::DB> db;

  rocksdb::Status open(const std::shared_ptr<SimDisk>& disk) {
    env = make_sim_env(disk);
    rocksdb::Options options;
    options.env = env.get();
    options.create_if_missing = true;
    options.write_buffer_size = 64 << 10;
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    rocksdb::DB* raw = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(options, "/db", &raw);
    db.reset(raw);
    return status;
  }
  rocksdb::Status put(const std::string& key, const std::string& value) {
    rocksdb::WriteOptions durable;
    durable.sync = true;
    return db->Put(durable, key, value);
  }
  ~Database() { db.reset(); }
};

TEST(SimRocksdbFs, RocksdbOpensWritesFlushesAndReopens) {
  const auto disk = std::make_shared<SimDisk>();
  {
    Database database;
    const rocksdb::Status status = database.open(disk);
    ASSERT_TRUE(status.ok()) << status.ToString();
    for (int i = 0; i < 500; ++i) {
      ASSERT_TRUE(database.db->Put({}, concat("key", i), filled(1000, 'v')).ok());
    }
    ASSERT_TRUE(database.db->Flush({}).ok());
    ASSERT_TRUE(database.db->CompactRange({}, nullptr, nullptr).ok());
    Database second;
    EXPECT_FALSE(second.open(disk).ok());  // locked
  }
  Database database;
  ASSERT_TRUE(database.open(disk).ok());
  std::string value;
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(database.db->Get({}, concat("key", i), &value).ok());
    EXPECT_EQ(value, filled(1000, 'v'));
  }
}

TEST(SimRocksdbFs, SyncedWritesSurvivePowerCutsAtAnyMutation) {
  std::uint64_t dropped = 0;
  for (const std::uint64_t seed : seeds({1, 2}, 2)) {
    print_seed(seed);
    Rng rng(seed);
    auto disk = std::make_shared<SimDisk>(SimDiskOptions{.seed = seed});
    ASSERT_EQ(disk->make_directory("/db"), 0);
    ASSERT_EQ(disk->sync_directory("/"), 0);  // RocksDB does not sync its directory's own name
    std::map<std::string, std::string> acknowledged;
    CutReport report;
    const std::size_t cuts = std::max<std::size_t>(8, scaled(25));
    for (std::size_t cut = 0; cut < cuts; ++cut) {
      disk->freeze_at(disk->mutations() + 1 + rng.below(400));
      {
        Database database;
        const rocksdb::Status status = database.open(disk);
        ASSERT_TRUE(status.ok() || disk->frozen()) << status.ToString();
        std::string value;
        for (const auto& [key, expected] : acknowledged) {
          if (!status.ok()) break;
          const rocksdb::Status got = database.db->Get({}, key, &value);
          if (disk->frozen()) break;
          ASSERT_TRUE(got.ok()) << key << " after cut " << cut << ": " << got.ToString();
          ASSERT_EQ(value.substr(0, expected.size()), expected);
        }
        for (int i = 0; status.ok() && i < 150 && !disk->frozen(); ++i) {
          const std::string key = concat("key", cut, ".", i);
          value = concat(key, ":", filled(rng.below(2000), 'x'));
          if (database.put(key, value).ok()) acknowledged[key] = value;
        }
        disk->freeze();
      }
      disk = disk->power_cut(rng, &report);
    }
    EXPECT_GT(acknowledged.size(), cuts);
    dropped += report.names_dropped + report.writes_dropped;
  }
  EXPECT_GT(dropped, 0U) << "the cuts took nothing away";
}

TEST(SimRocksdbFs, EachOfItsInjectorsFires) {
  const auto disk = std::make_shared<SimDisk>();
  const auto fs = make_sim_rocksdb_fs(disk);
  std::unique_ptr<rocksdb::FSWritableFile> file;
  ASSERT_TRUE(fs->NewWritableFile("/f", {}, &file, nullptr).ok());
  ASSERT_TRUE(file->Append(filled(100, 'a'), {}, nullptr).ok());
  std::unique_ptr<rocksdb::FSRandomAccessFile> reader;
  ASSERT_TRUE(fs->NewRandomAccessFile("/f", {}, &reader, nullptr).ok());
  const auto once = [&](Fault fault) {
    disk->faults().clear();
    disk->faults().add({.fault = fault, .side = Side::rocksdb, .nth = 1});
  };
  std::string scratch(100, '\0');
  rocksdb::Slice got;

  once(Fault::write_error);
  EXPECT_TRUE(file->Append("b", {}, nullptr).IsIOError());
  once(Fault::no_space);
  EXPECT_TRUE(file->Append("b", {}, nullptr).IsNoSpace());
  once(Fault::sync_error);
  EXPECT_TRUE(file->Sync({}, nullptr).IsIOError());
  once(Fault::rename_error);
  EXPECT_TRUE(fs->RenameFile("/f", "/g", {}, nullptr).IsIOError());
  once(Fault::lost_write);
  EXPECT_TRUE(file->Append(filled(10, 'l'), {}, nullptr).ok());
  EXPECT_EQ(disk->content("/f").find('l'), std::string::npos);
  once(Fault::read_error);
  EXPECT_TRUE(reader->Read(0, 100, {}, &got, scratch.data(), nullptr).IsIOError());
  once(Fault::short_read);
  EXPECT_TRUE(reader->Read(0, 100, {}, &got, scratch.data(), nullptr).ok());
  EXPECT_LT(got.size(), 100U);
  once(Fault::flipped_read);
  EXPECT_TRUE(reader->Read(0, 100, {}, &got, scratch.data(), nullptr).ok());
  EXPECT_NE(got.ToString(), filled(100, 'a'));
  EXPECT_EQ(disk->faults().fired(), 8U) << disk->faults().summary();
}

}  // namespace
}  // namespace cairn::test
