// SPDX-License-Identifier: Apache-2.0
// cold_repair.h — the index of a ColdWorld lost and made again, and what its segments hold.
//
// While no tier is open on the world's disk.
//
// Threading: confined. Blocking: cpu.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/support/cold_world.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/repair.h"
#include "tiers/cold/segment_walk.h"
#include "tiers/cold/superblock.h"

namespace cairn::test {

inline void lose_index(SimDisk& disk) {
  for (const std::string& path : disk.files()) {
    if (path.find("/store/index/") != std::string::npos) disk.take_away(path);
  }
}

inline void repair(ColdWorld& world) {
  SimDevice device(world.shared_disk(), world.clock());
  tiers::RepairOptions options;
  options.directory = "/store";
  options.index_file_system = make_sim_rocksdb_fs(world.shared_disk());
  const auto report = repair_store(device, options);
  ASSERT_TRUE(report.ok()) << report.status();
}

/// One record, without what it borrows.
struct RecordSeen {
  tiers::SegmentId segment{};
  std::uint32_t generation = 0;
  tiers::RecordKind kind = tiers::RecordKind::block;
  std::uint64_t sequence = 0, note_sequence = 0;
  WallMicros expiry = 0;
};

/// Of this name, in the order of the segments' numbers: the order in which a repair meets them.
inline std::vector<RecordSeen> records_of(ColdWorld& world, std::string_view key) {
  std::vector<RecordSeen> out;
  SimDevice device(world.shared_disk(), world.clock());
  const auto loaded = tiers::load_superblock(device, "/store");
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  if (!loaded.ok()) return out;
  const tiers::WalkOptions options{.store = loaded->superblock.store,
                                   .segment_bytes = loaded->superblock.segment_bytes};
  for (std::uint32_t number = 0; number < 64; ++number) {  // more than such a store has
    const tiers::SegmentId id{number};
    const auto visit = [&](const tiers::WalkedRecord& record) {
      const tiers::RecordFields& f = record.fields;
      if (f.key == key) {
        out.push_back({id, f.generation, f.kind, f.sequence, f.note_sequence, f.expiry});
      }
      return absl::OkStatus();
    };
    tiers::walk_segment(device, tiers::segment_path("/store", id), id, options, visit)
        .status()
        .IgnoreError();  // there is no such segment
  }
  return out;
}

}  // namespace cairn::test
