// SPDX-License-Identifier: Apache-2.0
// Repair: the index made again from the segments. Goal: after any life of the store and any loss
// of its index, what was kept is there, what was erased is not, and a repair that is killed
// can be repeated. Judge: the model of cold_world.h.
#include "tiers/cold/repair.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/cold_world.h"
#include "tests/support/payload.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"
#include "tiers/cold/record.h"
#include "tiers/cold/rocksdb_index.h"

namespace cairn::tiers {
namespace {

using test::ColdWorld;
using test::SimDevice;
using test::SimDisk;

constexpr const char* kDirectory = "/store";

absl::StatusOr<RepairReport> repair(const std::shared_ptr<SimDisk>& disk, bool dry_run = false,
                                    bool verify = false) {
  test::ManualClock clock;
  SimDevice device(disk, clock);
  RepairOptions options;
  options.directory = kDirectory;
  options.dry_run = dry_run;
  options.verify_payloads = verify;
  options.index_file_system = test::make_sim_rocksdb_fs(disk);
  return repair_store(device, options);
}

void lose_index(SimDisk& disk) {
  for (const std::string& path : disk.files()) {
    if (path.find("/store/index/") != std::string::npos) disk.take_away(path);
  }
}

std::string fingerprint(const SimDisk& disk) {
  std::string all;
  for (const std::string& path : disk.files()) {
    all += path + to_hex(xxh3_128(as_bytes(disk.content(path)))) + "\n";
  }
  return all;
}

enum class End : std::uint8_t { closed, killed, power_cut };

void live(ColdWorld& world, std::size_t steps, End end) {
  for (std::size_t i = 0; i < steps; ++i) world.step();
  if (end == End::closed) {
    world.close();
  } else if (end == End::killed) {
    world.kill();
  } else {
    world.power_cut();
  }
}

TEST(Repair, GivesBackWhatTheSegmentsHoldHoweverTheStoreEnded) {
  for (const End end : {End::closed, End::killed, End::power_cut}) {
    for (const std::uint64_t seed : test::seeds({21, 22}, 1)) {
      test::print_seed(seed);
      ColdWorld world({.seed = seed, .evicted_may_return = true});
      for (std::size_t round = 0; round < test::scaled(3); ++round) {
        ASSERT_TRUE(world.open().ok());
        world.check_all();
        live(world, 300, end);
        const bool lost = world.rng().chance(0.6);
        if (lost) lose_index(world.disk());
        std::string dbg; for (const std::string& f : world.disk().files()) dbg += f + " " + std::to_string(world.disk().content(f).size()) + "\n";
        const auto report = repair(world.shared_disk(), false, world.rng().chance(0.3));
        ASSERT_TRUE(report.ok()) << report.status();
        EXPECT_GT(report->rebuilt.records, 0U);
        EXPECT_TRUE(!lost || report->old_index.empty()) << "nothing was there to put aside";
      }
      ASSERT_TRUE(world.open().ok());
      world.check_all();
      world.close();
      EXPECT_EQ(world.counts().lost, 0U);
      EXPECT_GT(world.counts().found, 50U);
    }
  }
}

TEST(Repair, ADryRunSaysTheSameAndChangesNoByte) {
  ColdWorld world({.seed = 31});
  ASSERT_TRUE(world.open().ok());
  live(world, 300, End::killed);
  lose_index(world.disk());
  const std::string before = fingerprint(world.disk());
  const auto dry = repair(world.shared_disk(), true);
  ASSERT_TRUE(dry.ok()) << dry.status();
  EXPECT_EQ(fingerprint(world.disk()), before);
  const auto wet = repair(world.shared_disk());
  ASSERT_TRUE(wet.ok()) << wet.status();
  EXPECT_EQ(dry->rebuilt.kept, wet->rebuilt.kept);
  EXPECT_EQ(dry->rebuilt.tombstones_applied, wet->rebuilt.tombstones_applied);
  EXPECT_EQ(dry->rebuilt.records, wet->rebuilt.records);
  EXPECT_NE(fingerprint(world.disk()), before);
  // And a second time: the same again.
  const auto again = repair(world.shared_disk());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->rebuilt.kept, wet->rebuilt.kept);
  EXPECT_FALSE(again->old_index.empty());
}

TEST(Repair, KilledAtEveryWriteItCanBeRepeated) {
  ColdWorld world({.seed = 41, .keys = 40, .evicted_may_return = true});
  ASSERT_TRUE(world.open().ok());
  live(world, 120, End::killed);
  lose_index(world.disk());
  const std::uint64_t start = world.disk().mutations();
  const std::size_t stride = test::test_scale() < 1 ? 7 : 2;
  std::uint64_t kills = 0;
  for (std::uint64_t n = 1;; n += stride) {
    std::shared_ptr<SimDisk> disk = world.disk().snapshot();
    disk->freeze_at(disk->mutations() + n);
    const bool finished = repair(disk).ok();
    test::Rng rng(n);
    disk = n % 4 == 1 ? disk->kill_process(rng) : disk->power_cut(rng);
    if (finished) break;
    ++kills;
    const auto report = repair(disk);
    ASSERT_TRUE(report.ok()) << "killed at " << n << ": " << report.status();
    const auto whole = repair(disk, true);
    ASSERT_TRUE(whole.ok());
    ASSERT_EQ(whole->rebuilt.kept, report->rebuilt.kept) << "killed at " << n;
  }
  EXPECT_GE(kills, stride == 2 ? 20U : 3U) << "from " << start;
  std::printf("repair kills=%llu\n", static_cast<unsigned long long>(kills));
  ASSERT_TRUE(repair(world.shared_disk()).ok());
  ASSERT_TRUE(world.open().ok());
  world.check_all();
  world.close();
}

TEST(Repair, NumbersAreNotHandedOutTwice) {
  ColdWorld world({.seed = 51});
  ASSERT_TRUE(world.open().ok());
  for (int i = 0; i < 200; ++i) world.step();
  const std::uint64_t before = world.tier().next_sequence();
  live(world, 10, End::killed);
  lose_index(world.disk());
  ASSERT_TRUE(repair(world.shared_disk()).ok());
  ASSERT_TRUE(world.open().ok());
  EXPECT_GT(world.tier().next_sequence(), before);
  world.close();
}

TEST(Repair, OneCopyOfTheSuperblockIsEnoughAndBothGoneIsToldAndNothingTouched) {
  ColdWorld world({.seed = 61, .evicted_may_return = true});
  ASSERT_TRUE(world.open().ok());
  live(world, 200, End::closed);
  world.disk().flip_bit(superblock_path(kDirectory), 20, 1);
  lose_index(world.disk());
  const auto report = repair(world.shared_disk());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->superblock_healed);
  world.disk().flip_bit(superblock_path(kDirectory), 20, 1);
  world.disk().take_away(superblock_copy_path(kDirectory));
  const std::string before = fingerprint(world.disk());
  EXPECT_TRUE(has_code(repair(world.shared_disk()).status(), ErrorCode::corruption));
  EXPECT_EQ(fingerprint(world.disk()), before);
}

TEST(Repair, WhereThereIsNoStoreNothingIsMade) {
  const auto disk = std::make_shared<SimDisk>();
  EXPECT_TRUE(has_code(repair(disk).status(), ErrorCode::not_found));
  EXPECT_TRUE(disk->files().empty());
}

TEST(Repair, AnOpenStoreIsLeftAlone) {
  ColdWorld world({.seed = 71});
  ASSERT_TRUE(world.open().ok());
  EXPECT_TRUE(has_code(repair(world.shared_disk()).status(), ErrorCode::locked));
  EXPECT_TRUE(has_code(repair(world.shared_disk(), true).status(), ErrorCode::locked));
  world.close();
}

// --- what wins, on segments written by hand ---------------------------------------------

/// A segment file in memory, filled record by record.
class HandMade {
 public:
  HandMade(const Superblock& superblock, std::uint32_t segment, std::uint32_t generation)
      : superblock_(superblock), segment_(segment), generation_(generation) {
    bytes_.resize(superblock.segment_bytes);
    SegmentHeader header;
    header.store = superblock.store;
    header.segment = segment;
    header.generation = generation;
    header.segment_bytes = superblock.segment_bytes;
    encode_segment_header(header, page(0, kPage));
  }

  /// Gives back where the record lies.
  std::uint64_t add(RecordKind kind, std::string_view key, std::uint64_t sequence,
                    std::string_view payload = {}, std::uint64_t note_sequence = 0,
                    WallMicros expiry = 0) {
    const auto plain = static_cast<std::uint32_t>(payload.size());
    const RecordLayout layout = lay_out_record(key.size(), plain, kOpaqueChunkBytes);
    std::vector<ChunkEntry> chunks(layout.chunk_count);
    sum_chunks(as_bytes(payload), kOpaqueChunkBytes, chunks);
    end_ = round_up(end_, layout.alignment);
    RecordFields f;
    f.kind = kind;
    f.store = superblock_.store;
    f.segment = static_cast<SegmentId>(segment_);
    f.generation = generation_;
    f.offset = end_;
    f.sequence = sequence;
    f.namespace_id = static_cast<NamespaceId>(namespace_id);
    f.epoch = epoch;
    f.key = key;
    f.expiry = expiry;
    f.chunk_bytes = kOpaqueChunkBytes;
    f.plain_length = f.payload_length = plain;
    f.payload_offset = layout.payload_offset;
    if (kind == RecordKind::block) f.plain_sum = xxh3_64(as_bytes(payload));
    f.note_sequence = note_sequence;
    f.chunk_table = std::as_bytes(std::span(chunks));
    f.header_length = layout.header_length;
    encode_record_header(f, page(end_, layout.payload_offset));
    std::copy(payload.begin(), payload.end(),
              bytes_.begin() + static_cast<std::ptrdiff_t>(end_ + layout.payload_offset));
    const std::uint64_t at = end_;
    headers_.append(bytes_, end_, layout.header_length);
    ++records_;
    end_ += layout.total_bytes;
    return at;
  }

  void seal() {
    const std::uint64_t length = footer_bytes(headers_.size());
    SegmentFooter footer;
    footer.store = superblock_.store;
    footer.segment = segment_;
    footer.generation = generation_;
    footer.record_count = records_;
    encode_footer(footer, as_bytes(headers_), bytes_.size() - length,
                  page(bytes_.size() - length, length));
  }

  void write_to(SimDevice& device) const {
    ASSERT_TRUE(device
                    .write_small(segment_path(kDirectory, static_cast<SegmentId>(segment_)),
                                 as_bytes(bytes_))
                    .ok());
  }
  std::string& bytes() { return bytes_; }

  std::uint32_t namespace_id = 1;
  std::uint32_t epoch = 0;

 private:
  MutableByteSpan page(std::uint64_t offset, std::uint64_t length) {
    return std::as_writable_bytes(std::span(bytes_)).subspan(offset, length);
  }

  const Superblock& superblock_;
  const std::uint32_t segment_;
  const std::uint32_t generation_;
  std::string bytes_;
  std::string headers_;
  std::uint32_t records_ = 0;
  std::uint64_t end_ = kPage;
};

class RepairByHand : public ::testing::Test {
 protected:
  RepairByHand() : superblock_(make_superblock(kSegmentBytesMin, 64 * kMiB, 8 * kMiB, 1)) {
    superblock_.next_namespace_id = 2;
    superblock_.namespaces.push_back({static_cast<NamespaceId>(1), 0, {.name = "one"}});
    SimDevice device(disk_, clock_);
    EXPECT_TRUE(make_store_directories(device, kDirectory).ok());
    EXPECT_TRUE(replace_superblock(device, kDirectory, superblock_).ok());
  }

  HandMade segment(std::uint32_t id, std::uint32_t generation = 1) {
    return HandMade(superblock_, id, generation);
  }
  void place(const HandMade& segment) {
    SimDevice device(disk_, clock_);
    segment.write_to(device);
  }
  RebuildReport repaired() {
    const auto report = repair(disk_);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? report->rebuilt : RebuildReport{};
  }
  std::optional<IndexEntry> entry(std::string_view key) {
    IndexOptions options;
    options.directory = index_path(kDirectory);
    options.store = superblock_.store;
    options.file_system = test::make_sim_rocksdb_fs(disk_);
    const auto index = open_rocksdb_index(options);
    EXPECT_TRUE(index.ok()) << index.status();
    return *(*index)->get({static_cast<NamespaceId>(1), key, 0});
  }
  std::uint64_t version(std::string_view key) {
    const auto found = entry(key);
    return found && !found->tombstone ? found->facts.sequence : 0;
  }

  std::shared_ptr<SimDisk> disk_ = std::make_shared<SimDisk>();
  test::ManualClock clock_;
  Superblock superblock_;
};

TEST_F(RepairByHand, TheHighestSequenceWinsInWhateverOrderSegmentsCome) {
  for (const bool swapped : {false, true}) {
    HandMade first = segment(swapped ? 1 : 0);
    HandMade second = segment(swapped ? 0 : 1);
    first.add(RecordKind::block, "a", 10, "old");
    second.add(RecordKind::block, "a", 20, "new");
    first.add(RecordKind::block, "b", 11, "erased");
    second.add(RecordKind::tombstone, "b", 11);
    first.add(RecordKind::tombstone, "c", 12);
    second.add(RecordKind::block, "c", 13, "put again");
    first.add(RecordKind::note, "d", 14, {}, 30, 999);
    second.add(RecordKind::block, "d", 14, "noted");
    second.add(RecordKind::note, "d", 14, {}, 29, 111);
    first.add(RecordKind::note, "a", 10, {}, 31, 555);
    first.seal();
    place(first);
    place(second);
    const RebuildReport report = repaired();
    EXPECT_EQ(version("a"), 20U);
    EXPECT_EQ(version("b"), 0U);
    EXPECT_TRUE(entry("b")->tombstone);
    EXPECT_EQ(version("c"), 13U);
    EXPECT_EQ(entry("d")->facts.expiry, 999);
    EXPECT_EQ(entry("a")->facts.expiry, 0);
    EXPECT_EQ(report.kept, 3U);
    EXPECT_EQ(report.notes_applied, 1U);
    EXPECT_EQ(report.highest_sequence, 31U);
    EXPECT_EQ(report.segments_sealed, 1U);
  }
}

TEST_F(RepairByHand, ABadRecordDoesNotEndTheWalk) {
  HandMade made = segment(0);
  made.add(RecordKind::block, "first", 1, test::make_payload("first", 1, 3000));
  const std::uint64_t bad =
      made.add(RecordKind::block, "bad", 2, test::make_payload("bad", 2, 3000));
  const std::uint64_t torn =
      made.add(RecordKind::block, "torn", 3, test::make_payload("torn", 3, 300000));
  made.add(RecordKind::block, "last", 4, "still here");
  made.bytes()[bad + 40] ^= 1;
  for (std::size_t i = 0; i < 512; ++i) made.bytes()[torn + kPage + 4096 + i] = 0;
  place(made);
  const RebuildReport report = repaired();
  EXPECT_EQ(version("first"), 1U);
  EXPECT_EQ(version("bad"), 0U);
  EXPECT_EQ(version("torn"), 0U);
  EXPECT_EQ(version("last"), 4U);
  EXPECT_EQ(report.dropped.header, 1U);
  EXPECT_EQ(report.dropped.payload, 1U);
}

TEST_F(RepairByHand, RecordsOfAnotherLifePlaceStoreOrEpochAreNotKept) {
  HandMade old = segment(0, 1);
  old.add(RecordKind::block, "stale", 5, "from an earlier use");
  HandMade now = segment(0, 2);
  now.bytes() = old.bytes().replace(0, kPage, now.bytes().substr(0, kPage));
  place(now);
  Superblock other = make_superblock(kSegmentBytesMin, 64 * kMiB, 8 * kMiB, 1);
  HandMade foreign(other, 1, 1);
  foreign.add(RecordKind::block, "foreign", 6, "of another store");
  HandMade host = segment(1);
  host.bytes().replace(kPage, kMiB, foreign.bytes().substr(kPage, kMiB));
  place(host);
  HandMade moved = segment(2);
  moved.add(RecordKind::block, "moved", 7, "misdirected");
  moved.bytes().insert(kPage, std::string(kPage, '\0'));
  moved.bytes().resize(kSegmentBytesMin);
  place(moved);
  HandMade cleared = segment(3);
  cleared.epoch = 9;
  cleared.add(RecordKind::block, "cleared", 8, "of another epoch");
  cleared.namespace_id = 77;
  cleared.add(RecordKind::block, "nobody's", 9, "of no namespace");
  cleared.seal();
  place(cleared);
  const RebuildReport report = repaired();
  EXPECT_EQ(report.kept, 0U);
  EXPECT_EQ(report.dropped.stale, 1U);
  EXPECT_EQ(report.dropped.foreign, 2U);
  EXPECT_EQ(report.dropped.epoch, 1U);
  EXPECT_EQ(report.dropped.unknown_namespace, 1U);
}

TEST_F(RepairByHand, WithoutItsHeaderASegmentIsBelievedOnlyIfItsGenerationIsKnown) {
  HandMade made = segment(0, 6);
  made.add(RecordKind::block, "a", 10, "value");
  place(made);
  repaired();
  EXPECT_EQ(version("a"), 10U);
  disk_->zero_page(segment_path(kDirectory, static_cast<SegmentId>(0)), 0);
  // The old index still tells the generation.
  EXPECT_EQ(repaired().segments_damaged, 1U);
  EXPECT_EQ(version("a"), 10U);
  lose_index(*disk_);
  EXPECT_EQ(repaired().kept, 0U);
  EXPECT_EQ(version("a"), 0U);
  // What it knows of the generation is kept, so that its next use gets a higher one.
  IndexOptions options;
  options.directory = index_path(kDirectory);
  options.store = superblock_.store;
  options.file_system = test::make_sim_rocksdb_fs(disk_);
  const auto index = open_rocksdb_index(options);
  ASSERT_TRUE(index.ok());
  EXPECT_EQ((*index)->segments()->at(0).generation, 6U);
}

TEST_F(RepairByHand, ATruncatedSegmentGivesWhatIsLeft) {
  HandMade made = segment(0);
  made.add(RecordKind::block, "a", 1, test::make_payload("a", 1, 5000));
  const std::uint64_t second =
      made.add(RecordKind::block, "b", 2, test::make_payload("b", 2, 300000));
  made.seal();
  made.bytes().resize(second + kPage + 100000);
  place(made);
  const RebuildReport report = repaired();
  EXPECT_EQ(version("a"), 1U);
  EXPECT_EQ(version("b"), 0U);
  EXPECT_EQ(report.segments_sealed, 0U);
  EXPECT_EQ(report.dropped.payload, 1U);
}

TEST_F(RepairByHand, RollForwardAppliesOnlyWhatTheIndexCouldNotKnow) {
  HandMade sealed = segment(0);
  sealed.add(RecordKind::block, "evicted", 1, "no tombstone, no entry");
  sealed.seal();
  HandMade open = segment(1, 3);
  open.add(RecordKind::block, "lost", 2, "its entry was in the log's end");
  open.add(RecordKind::tombstone, "erased", 3);
  HandMade newer = segment(2, 8);
  newer.add(RecordKind::block, "later", 4, "in a segment opened since");
  place(sealed);
  place(open);
  place(newer);
  IndexOptions options;
  options.directory = index_path(kDirectory);
  options.store = superblock_.store;
  options.create = true;
  options.file_system = test::make_sim_rocksdb_fs(disk_);
  {
    const auto index = open_rocksdb_index(options);
    ASSERT_TRUE(index.ok());
    IndexEntry erased;
    erased.facts.sequence = 3;
    erased.location = pack_location({0, static_cast<SegmentId>(0), 8192, 64});
    const IndexChange change{{static_cast<NamespaceId>(1), "erased", 0}, erased};
    const SegmentRow rows[] = {{static_cast<SegmentId>(0), SegmentState::sealed, 1, 0, 0},
                               {static_cast<SegmentId>(1), SegmentState::open, 3, 0, 0},
                               {static_cast<SegmentId>(2), SegmentState::free, 7, 0, 0}};
    ASSERT_TRUE((*index)->write({&change, 1}, rows, {}, true).ok());
    SimDevice device(disk_, clock_);
    const auto report = roll_forward(device, **index, kDirectory, superblock_);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->segments, 2U);
    EXPECT_EQ((*index)->segments()->at(2).generation, 8U);
    EXPECT_EQ((*index)->segments()->at(2).state, SegmentState::open);
  }
  EXPECT_EQ(version("lost"), 2U);
  EXPECT_EQ(version("later"), 4U);
  EXPECT_EQ(version("erased"), 0U);
  EXPECT_FALSE(entry("evicted").has_value());
}

}  // namespace
}  // namespace cairn::tiers
