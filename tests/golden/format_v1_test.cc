// SPDX-License-Identifier: Apache-2.0
// Format version 1, kept as a fixture: every build reads it, for reading and for writing and
// after its index was made again; and stores of other versions, features and identities are
// refused untouched.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "tests/golden/format_store.h"
#include "tests/support/temp_dir.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/repair.h"
#include "tiers/cold/superblock.h"

namespace cairn::test {
namespace {

using tiers::StoreMode;

std::string slurp(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class FormatV1 : public ::testing::Test {
 protected:
  FormatV1() {
    const char* root = std::getenv("CAIRN_SOURCE_DIR");
    const std::string pack =
        slurp(std::string(root != nullptr ? root : ".") + "/tests/golden/format_v1.pack");
    EXPECT_FALSE(pack.empty());
    unpack_directory(pack, store_);
  }

  void check(StoreMode mode, bool rebuilt = false) {
    const auto opened = OpenedStoreDirectory::open(store_, mode);
    ASSERT_TRUE(opened.ok()) << opened.status();
    check_store(**opened, rebuilt);
  }
  /// Changes a superblock's bytes and seals both copies again, as the build that it pretends to
  /// come from would have.
  void patch(const std::function<void(std::string&)>& change) {
    std::string bytes = slurp(tiers::superblock_path(store_));
    bytes.resize(bytes.size() - sizeof(Hash128));
    change(bytes);
    const Hash128 sum = xxh3_128(as_bytes(bytes));
    append_le(bytes, sum.low);
    append_le(bytes, sum.high);
    for (const auto& path : {tiers::superblock_path(store_), tiers::superblock_copy_path(store_)}) {
      std::ofstream(path, std::ios::binary) << bytes;
    }
  }
  void expect_refused(ErrorCode code) {
    const std::string before = pack_directory(store_);
    for (const StoreMode mode :
         {StoreMode::read_only, StoreMode::open_existing, StoreMode::create_or_open}) {
      const auto opened = OpenedStoreDirectory::open(store_, mode);
      EXPECT_TRUE(has_code(opened.status(), code)) << opened.status();
    }
    EXPECT_EQ(pack_directory(store_), before) << "not untouched";
  }

  TempDir dir_{"golden"};
  const std::string store_ = dir_.file("store");
};

TEST_F(FormatV1, IsReadWithoutChangingAByte) {
  const std::string before = pack_directory(store_);
  check(StoreMode::read_only);
  EXPECT_EQ(pack_directory(store_), before);
}

TEST_F(FormatV1, IsOpenedForWritingAgainAndAgain) {
  check(StoreMode::open_existing);
  check(StoreMode::open_existing);
  check(StoreMode::read_only);
}

TEST_F(FormatV1, IsRepairedWithoutItsIndex) {
  std::filesystem::remove_all(tiers::index_path(store_));
  const auto device = tiers::open_device(store_, {.choice = tiers::DeviceChoice::posix});
  ASSERT_TRUE(device.ok());
  tiers::RepairOptions options;
  options.directory = store_;
  const auto report = tiers::repair_store(**device, options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->rebuilt.segments_sealed, 0U);
  check(StoreMode::open_existing, true);
}

TEST_F(FormatV1, AnotherMajorVersionIsLeftAlone) {
  patch([](std::string& bytes) { bytes[4] = 2; });
  expect_refused(ErrorCode::format);
}

TEST_F(FormatV1, AnUnknownIncompatibleFeatureIsLeftAlone) {
  patch([](std::string& bytes) { bytes[24] = 1; });
  expect_refused(ErrorCode::format);
}

TEST_F(FormatV1, AnotherStoresSuperblockOpensNothing) {
  patch([](std::string& bytes) { bytes[40] = static_cast<char>(bytes[40] ^ 1); });  // its uuid
  const auto opened = OpenedStoreDirectory::open(store_, StoreMode::read_only);
  EXPECT_TRUE(has_code(opened.status(), ErrorCode::corruption)) << opened.status();
}

}  // namespace
}  // namespace cairn::test
