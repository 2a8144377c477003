// SPDX-License-Identifier: Apache-2.0
// The generation of a segment never falls: it is what tells the records of one use of a file from
// those of an earlier one. Goal: whatever an index that was made again, or lost a row, knows of it,
// a segment that is begun anew gets a higher one than any header that its file still holds.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "engine/base/text.h"
#include "tests/support/cold_calls.h"
#include "tests/support/cold_repair.h"
#include "tiers/cold/location.h"
#include "tiers/cold/rocksdb_index.h"
#include "tiers/record/record.h"

namespace cairn::test {
namespace {

using tiers::kPage;
using tiers::SegmentId;

/// What the headers in one segment's file say, sound ones of any use of it.
struct Generations {
  std::uint32_t header = 0;   // its own, in the first page
  std::uint32_t highest = 0;  // of all, those of records too
};

class GenerationSim : public ::testing::Test {
 protected:
  void SetUp() override { open(); }

  void open() {
    const absl::Status opened = world_.open();
    ASSERT_TRUE(opened.ok()) << opened;
    ns_ = world_.addressed_namespace();
  }
  BlockPut put(const std::string& key, Durability durability = Durability::written) {
    BlockPut put = put_block(world_, ns_, key, 200'000, durability);
    EXPECT_TRUE(put.status.ok()) << put.status;
    return put;
  }
  /// Fills two segments and empties them, so that their files are free, or used again next time.
  void churn() {
    std::vector<std::string> keys;
    for (int i = 0; i < 44; ++i) {
      keys.push_back(concat("fill-", next_++));
      put(keys.back());
    }
    for (const std::string& key : keys) {
      ASSERT_TRUE(remove_block(world_, ns_, key, RemovalReason::evicted, Durability::written).ok());
    }
    bool done = false;
    world_.tier().compact(0.0, [&](const absl::Status&) { done = true; });
    world_.pump_until([&] { return done; });
  }
  std::map<std::string, Generations> generations() {
    std::map<std::string, Generations> out;
    for (const std::string& path : world_.disk().files()) {
      if (path.ends_with(".seg")) out[path] = generations_in(path);
    }
    return out;
  }
  Generations generations_in(const std::string& path) {
    Generations seen;
    const std::string content = world_.disk().content(path);
    const ByteSpan bytes = as_bytes(content);
    if (bytes.size() < kPage) return seen;
    if (const auto header = tiers::parse_segment_header(bytes.first(kPage)); header.ok()) {
      seen.header = seen.highest = header->generation;
    }
    for (std::size_t at = kPage; at + sizeof(tiers::RecordHeader) <= bytes.size();
         at += tiers::kSmallAlignment) {
      if (load_le<std::uint32_t>(bytes, at) != tiers::kRecordMagic) continue;
      const auto record = tiers::parse_record_header(bytes.subspan(at));
      if (record.ok()) seen.highest = std::max(seen.highest, record->generation);
    }
    return seen;
  }
  /// Of the segments that were begun since; gives back how many those are.
  std::size_t expect_risen(const std::map<std::string, Generations>& before) {
    std::size_t begun = 0;
    for (const auto& [path, now] : generations()) {
      const auto old = before.find(path);
      if (old == before.end() || now.header == old->second.header) continue;
      ++begun;
      EXPECT_GT(now.header, old->second.highest) << path;
    }
    return begun;
  }
  void repair_and_open() {
    lose_index(world_.disk());
    repair(world_);
    open();
  }

  ColdWorld world_{{.seed = 29, .cold = {.codec = CodecUse::off}}};
  NamespaceId ns_{};
  int next_ = 0;
};

TEST_F(GenerationSim, RisesOverEveryLossOfTheIndex) {
  std::size_t begun = 0;
  for (int life = 0; life < 4; ++life) {
    for (int round = 0; round < 3; ++round) {
      const auto before = generations();
      churn();
      begun += expect_risen(before);
    }
    put("kept");
    const auto before = generations();
    world_.kill();
    repair_and_open();
    churn();
    begun += expect_risen(before);
    EXPECT_TRUE(read_block(world_, ns_, "kept").ok());
  }
  EXPECT_GT(begun, 20U);
  world_.close();
}

// Then the records alone say how often the file was used.
TEST_F(GenerationSim, RisesAboveTheRecordsWhereTheHeaderIsDamaged) {
  churn();
  churn();
  const SegmentId segment = tiers::unpack_location(put("lost").location).segment;
  const std::string path = tiers::segment_path("/store", segment);
  world_.close();
  world_.disk().flip_bit(path, 24, 3);
  const auto before = generations();
  ASSERT_EQ(before.at(path).header, 0U);
  ASSERT_GT(before.at(path).highest, 1U);
  repair_and_open();
  for (int i = 0; i < 200 && generations_in(path).header == 0; ++i) put(concat("more-", i));
  EXPECT_GT(generations_in(path).header, before.at(path).highest);
  world_.kill();
  repair_and_open();
  EXPECT_FALSE(look_up(world_, ns_, "lost")->has_value()) << "a record of an earlier use";
  world_.close();
}

// An opening that cannot read a header leaves it to whoever begins the segment.
TEST_F(GenerationSim, RisesAboveAHeaderThatTheOpeningCouldNotRead) {
  churn();
  churn();
  put("kept", Durability::durable);
  world_.kill();
  const auto before = generations();
  SegmentId free{};
  {
    SimDevice device(world_.shared_disk(), world_.clock());
    const auto loaded = tiers::load_superblock(device, "/store");
    ASSERT_TRUE(loaded.ok());
    tiers::IndexOptions options;
    options.directory = tiers::index_path("/store");
    options.store = loaded->superblock.store;
    options.file_system = make_sim_rocksdb_fs(world_.shared_disk());
    const auto index = tiers::open_rocksdb_index(options);
    ASSERT_TRUE(index.ok()) << index.status();
    const auto rows = (*index)->segments();
    ASSERT_TRUE(rows.ok());
    const auto row = std::find_if(rows->begin(), rows->end(), [](const tiers::SegmentRow& r) {
      return r.state == tiers::SegmentState::free && r.generation > 1;
    });
    ASSERT_NE(row, rows->end());
    free = row->segment;
    const tiers::SegmentRow forgotten{.segment = free};
    ASSERT_TRUE((*index)->write({}, {&forgotten, 1}, {}, true).ok());
    world_.disk().freeze();  // no orderly end
  }
  world_.power_cut_unopened();
  const std::string path = tiers::segment_path("/store", free);
  world_.disk().faults().add({.fault = Fault::read_error,
                              .side = Side::device,
                              .nth = 1,
                              .times = 1,
                              .path_contains = path});
  open();
  ASSERT_EQ(world_.disk().faults().fired(Fault::read_error), 1U);
  churn();
  EXPECT_GE(expect_risen(before), 1U);
  EXPECT_GT(generations().at(path).header, before.at(path).header) << "it was not begun";
  EXPECT_TRUE(read_block(world_, ns_, "kept").ok());
  world_.close();
}

}  // namespace
}  // namespace cairn::test
