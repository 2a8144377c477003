// SPDX-License-Identifier: Apache-2.0
// Damage to what lies on the disk while nobody runs: flipped bits, zeroed, swapped and stale
// pages in the segments. A reader gets the right bytes or a miss; nothing crashes, nothing
// hangs, what was erased stays erased, and undamaged blocks are served.
//
// Damage to superblock and state files is here too; damage to RocksDB's own files is in
// index_damage_test.cc.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/sim_store.h"

namespace cairn::test {
namespace {

constexpr std::size_t kBlocks = 60;

std::size_t bytes_of(std::size_t block) {
  constexpr std::size_t kSizes[] = {900, 5000, 70'000, 262'144, 300'001};
  return kSizes[block % 5];
}

class Damage : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  /// A closed store with kBlocks blocks, of which every seventh was erased, and two versions of
  /// every fifth, so that there are stale pages to bring back.
  void fill(SimStore& store) {
    ASSERT_TRUE(store.open().ok());
    const auto ns = store.engine().open_namespace({.name = "n", .kind = NamespaceKind::mutable_});
    ASSERT_TRUE(ns.ok());
    for (std::size_t i = 0; i < kBlocks; ++i) {
      for (std::uint64_t version = 1; version <= (i % 5 == 0 ? 2U : 1U); ++version) {
        const std::string key = concat("key-", i);
        ASSERT_TRUE(store
                        .put(*ns, key, as_bytes(make_payload(key, version, bytes_of(i))),
                             Durability::durable)
                        .status.ok());
      }
    }
    for (std::size_t i = 0; i < kBlocks; i += 7)
      ASSERT_TRUE(store.erase(*ns, concat("key-", i)).ok());
    ASSERT_TRUE(store.close().ok());
  }

  struct Read {
    std::size_t right = 0, missed = 0;
  };
  /// Opens the store and reads everything; wrong bytes and resurrections fail the test.
  Read read_all(SimStore& store) {
    Read read;
    const absl::Status opened = store.open();
    EXPECT_TRUE(opened.ok()) << message_of(opened);
    if (!opened.ok()) return read;
    const auto ns = store.engine().open_namespace({.name = "n", .kind = NamespaceKind::mutable_});
    EXPECT_TRUE(ns.ok()) << message_of(ns.status());
    if (!ns.ok()) return read;
    for (std::size_t i = 0; i < kBlocks; ++i) {
      const std::string key = concat("key-", i);
      const auto got = store.get(*ns, key);
      EXPECT_TRUE(got.ok()) << message_of(got.status());
      if (!got.ok() || !got->has_value()) {
        ++read.missed;
        continue;
      }
      EXPECT_NE(i % 7, 0U) << key << " was erased and is back";
      const std::uint64_t version = i % 5 == 0 ? 2 : 1;
      EXPECT_TRUE((*got)->size() == bytes_of(i) && is_payload(key, version, as_bytes(**got)))
          << key;
      ++read.right;
    }
    return read;
  }

  static std::vector<std::string> segments(SimDisk& disk) {
    std::vector<std::string> found;
    for (const std::string& file : disk.files()) {
      if (file.ends_with(".seg") && !disk.content(file).empty()) found.push_back(file);
    }
    return found;
  }

  static constexpr std::size_t kErased = (kBlocks + 6) / 7;
};

TEST_P(Damage, UndamagedStoreServesEverything) {
  SimStore store(small_sim_store(GetParam()));
  fill(store);
  const Read read = read_all(store);
  EXPECT_EQ(read.right, kBlocks - kErased);
  EXPECT_EQ(read.missed, kErased);
}

TEST_P(Damage, InSegmentsIsAMissNeverWrongBytes) {
  print_seed(GetParam());
  Rng rng(GetParam());
  SimStore store(small_sim_store(GetParam()));
  fill(store);
  SimDisk& disk = store.disk();
  std::size_t damages = 0;
  // The used part: damage beyond it would prove nothing.
  std::map<std::string, std::uint64_t> used;
  for (const std::string& file : segments(disk)) {
    const std::string content = disk.content(file);
    const std::size_t last = content.find_last_not_of('\0');
    used[file] = last == std::string::npos ? 1 : last / 4096 + 1;
  }
  const std::vector<std::string> files = segments(disk);
  for (std::size_t round = 0; round < 25; ++round) {
    const std::string& file = files[rng.below(files.size())];
    const std::string& other = files[rng.below(files.size())];
    const std::uint64_t page = rng.below(used[file]);
    switch (rng.below(4)) {
      case 0:
        disk.flip_bit(file, page * 4096 + rng.below(4096), static_cast<unsigned>(rng.below(8)));
        break;
      case 1:
        disk.zero_page(file, page);
        break;
      case 2:
        disk.swap_pages(file, page, other, rng.below(used[other]));
        break;
      default:
        if (!disk.make_page_stale(file, page)) disk.flip_bit(file, page * 4096, 1);
    }
    ++damages;
  }
  const Read read = read_all(store);
  EXPECT_LT(read.right, kBlocks) << "nothing was damaged";
  EXPECT_GE(store.engine().stats().corrupt_blocks + (kBlocks - kErased - read.right), 1U);
  std::printf("cairn-count: flips=%zu\n", damages);
}

TEST_P(Damage, EachSuperblockCopyAloneIsEnough) {
  for (const char* victim : {"/store/CAIRN", "/store/state/CAIRN.copy"}) {
    for (const bool missing : {true, false}) {
      SimStore store(small_sim_store(GetParam()));
      fill(store);
      if (missing) {
        store.disk().take_away(victim);
      } else {
        store.disk().flip_bit(victim, 40, 3);
      }
      EXPECT_EQ(read_all(store).right, kBlocks - kErased) << victim;
    }
  }
}

TEST_P(Damage, AStateFileThatIsGoneOrBadIsDoneWithout) {
  Rng rng(GetParam());
  for (const bool missing : {true, false}) {
    SimStore store(small_sim_store(GetParam()));
    fill(store);
    for (const std::string& file : store.disk().files()) {
      if (!file.starts_with("/store/state/") || file.ends_with("CAIRN.copy")) continue;
      if (missing) {
        store.disk().take_away(file);
      } else {
        const std::uint64_t length = store.disk().content(file).size();
        if (length > 0) store.disk().flip_bit(file, rng.below(length), 5);
      }
    }
    EXPECT_EQ(read_all(store).right, kBlocks - kErased);
  }
}

TEST_P(Damage, ASegmentThatIsGoneOrCutCostsItsBlocksAlone) {
  Rng rng(GetParam());
  for (const bool missing : {true, false}) {
    SimStore store(small_sim_store(GetParam()));
    fill(store);
    const std::vector<std::string> files = segments(store.disk());
    const std::string& victim = files[rng.below(files.size())];
    if (missing) {
      store.disk().take_away(victim);
    } else {
      store.disk().truncate(victim, rng.below(store.disk().content(victim).size()));
    }
    const Read read = read_all(store);
    EXPECT_LE(read.right, kBlocks - kErased);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Damage, ::testing::ValuesIn(seeds({11, 12, 13}, scaled(20))));

}  // namespace
}  // namespace cairn::test
