// SPDX-License-Identifier: Apache-2.0
// The superblock and the state files: two copies, the higher revision, other versions left
// alone, damage told apart from absence.
#include "tiers/cold/superblock.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/seed.h"
#include "tests/support/sim_device.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/state_file.h"

namespace cairn::tiers {
namespace {

constexpr const char* kDirectory = "/store";

Superblock sample() {
  Superblock s = make_superblock(8 * kMiB, 512 * kMiB, 32 * kMiB, 1'700'000'000'000'000);
  s.next_namespace_id = 3;
  s.namespaces.push_back({static_cast<NamespaceId>(1),
                          4,
                          {.name = "llama",
                           .model = "m",
                           .revision = "r",
                           .dtype = Dtype::bf16,
                           .layout = {32, 2, 16, 8, 128},
                           .tokens_per_block = 16,
                           .hash_scheme = "native",
                           .tenant_salt = "s"}});
  s.namespaces.push_back(
      {static_cast<NamespaceId>(2), 0, {.name = "default", .kind = NamespaceKind::mutable_}});
  return s;
}

void expect_same(const Superblock& a, const Superblock& b) {
  EXPECT_EQ(a.revision, b.revision);
  EXPECT_EQ(a.store, b.store);
  EXPECT_EQ(a.block_id_secret, b.block_id_secret);
  EXPECT_EQ(a.segment_bytes, b.segment_bytes);
  EXPECT_EQ(a.cold_bytes, b.cold_bytes);
  EXPECT_EQ(a.index_bytes, b.index_bytes);
  EXPECT_EQ(a.data_directories, b.data_directories);
  ASSERT_EQ(a.namespaces.size(), b.namespaces.size());
  for (std::size_t i = 0; i < a.namespaces.size(); ++i) {
    EXPECT_EQ(a.namespaces[i].id, b.namespaces[i].id);
    EXPECT_EQ(a.namespaces[i].epoch, b.namespaces[i].epoch);
    EXPECT_EQ(a.namespaces[i].descriptor, b.namespaces[i].descriptor);
  }
}

/// Patches bytes and closes the sum again: what another build would have written.
std::string patched(std::string bytes, std::size_t at, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
  bytes.resize(bytes.size() - sizeof(Hash128));
  const Hash128 sum = xxh3_128(as_bytes(bytes));
  append_le(bytes, sum.low);
  append_le(bytes, sum.high);
  return bytes;
}

TEST(Superblock, IsReadBackAsItWasWritten) {
  const Superblock s = sample();
  const auto parsed = parse_superblock(as_bytes(encode_superblock(s)));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  expect_same(s, *parsed);
}

TEST(Superblock, TwoStoresShareNothing) {
  const Superblock a = sample();
  const Superblock b = sample();
  EXPECT_NE(a.store, b.store);
  EXPECT_NE(a.block_id_secret, b.block_id_secret);
}

TEST(Superblock, EveryFlippedBitAndEveryCutIsCorruption) {
  const std::string bytes = encode_superblock(sample());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(has_code(parse_superblock(as_bytes(damaged)).status(), ErrorCode::corruption))
        << bit;
  }
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const std::vector<std::byte> cut(as_bytes(bytes).begin(),
                                     as_bytes(bytes).begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_TRUE(has_code(parse_superblock(cut).status(), ErrorCode::corruption)) << length;
  }
}

TEST(Superblock, UnderASoundSumNonsenseIsStillRefused) {
  test::Rng rng(5);
  const std::string bytes = encode_superblock(sample());
  for (std::size_t i = 0; i < test::scaled(20000); ++i) {
    const std::string other =
        patched(bytes, rng.below(bytes.size() - 17), rng.next(), 1 + rng.below(8));
    parse_superblock(as_bytes(other)).status().IgnoreError();  // no crash is all that is asked
  }
}

class SuperblockFilesTest : public ::testing::Test {
 protected:
  SuperblockFilesTest() {
    EXPECT_TRUE(make_store_directories(device_, kDirectory).ok());
    EXPECT_TRUE(replace_superblock(device_, kDirectory, written_).ok());
  }
  std::string primary() const { return superblock_path(kDirectory); }
  std::string copy() const { return superblock_copy_path(kDirectory); }
  void write(const std::string& path, const std::string& bytes) {
    ASSERT_TRUE(device_.write_small(path, as_bytes(bytes)).ok());
  }
  absl::StatusOr<LoadedSuperblock> load() { return load_superblock(device_, kDirectory); }
  std::string read(const std::string& path) { return *device_.read_small(path); }

  std::shared_ptr<test::SimDisk> disk_ = std::make_shared<test::SimDisk>();
  test::ManualClock clock_;
  test::SimDevice device_{disk_, clock_};
  Superblock written_ = sample();
};

TEST_F(SuperblockFilesTest, LoadsWhatWasStored) {
  const auto loaded = load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  expect_same(written_, loaded->superblock);
  EXPECT_FALSE(loaded->needs_healing());
}

TEST_F(SuperblockFilesTest, EitherCopyAloneIsEnough) {
  for (const std::string& bad : {primary(), copy()}) {
    const std::string whole = read(bad);
    disk_->flip_bit(bad, 30, 3);
    auto loaded = load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    expect_same(written_, loaded->superblock);
    EXPECT_EQ(bad == primary() ? loaded->primary : loaded->copy, CopyState::damaged);
    disk_->take_away(bad);
    loaded = load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(bad == primary() ? loaded->primary : loaded->copy, CopyState::missing);
    EXPECT_TRUE(loaded->needs_healing());
    write(bad, "");
    EXPECT_TRUE(load().ok());
    write(bad, whole);
    EXPECT_FALSE(load()->needs_healing());
  }
}

TEST_F(SuperblockFilesTest, TheHigherRevisionWins) {
  Superblock older = written_;
  const std::string old_bytes = encode_superblock(older);
  ASSERT_TRUE(replace_superblock(device_, kDirectory, written_).ok());
  for (const std::string& path : {primary(), copy()}) {
    const std::string newest = read(path);
    write(path, old_bytes);
    const auto loaded = load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->superblock.revision, written_.revision);
    EXPECT_TRUE(loaded->needs_healing());
    write(path, newest);
  }
}

TEST_F(SuperblockFilesTest, AnotherVersionIsLeftAloneEvenIfOneCopyIsOurs) {
  const std::string bytes = encode_superblock(written_);
  for (const std::string& path : {primary(), copy()}) {
    write(path, patched(bytes, 4, 2, 2));  // format_major
    EXPECT_TRUE(has_code(load().status(), ErrorCode::format)) << load().status();
    EXPECT_NE(message_of(load().status()).find("version 2"), std::string_view::npos);
    write(path, patched(bytes, 24, 1ULL << 40, 8));  // an incompatible feature
    EXPECT_TRUE(has_code(load().status(), ErrorCode::format)) << load().status();
    write(path, bytes);
  }
  write(primary(), patched(bytes, 8, ~0ULL, 8));  // compatible features: may be ignored
  EXPECT_TRUE(load().ok()) << load().status();
  const std::string reading = patched(bytes, 16, 1, 8);
  write(primary(), reading);
  write(copy(), reading);
  ASSERT_TRUE(load().ok());
  EXPECT_TRUE(load()->read_only_required);
}

TEST_F(SuperblockFilesTest, AFlippedVersionIsDamageAndNotAnotherVersion) {
  disk_->flip_bit(primary(), 4, 1);
  const auto loaded = load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->primary, CopyState::damaged);
}

TEST_F(SuperblockFilesTest, CopiesOfTwoStoresAreNotMixed) {
  Superblock other = sample();
  other.revision = 50;
  write(copy(), encode_superblock(other));
  EXPECT_TRUE(has_code(load().status(), ErrorCode::corruption));
}

TEST_F(SuperblockFilesTest, SaysWhatKindOfLossItIs) {
  disk_->take_away(primary());
  disk_->take_away(copy());
  EXPECT_TRUE(has_code(load().status(), ErrorCode::not_found));
  write(primary(),
        "#!/bin/sh\necho this is somebody else's file\nsome more bytes so that it is not short\n");
  EXPECT_TRUE(has_code(load().status(), ErrorCode::format)) << load().status();
  write(segment_path(kDirectory, static_cast<SegmentId>(0)), "x");
  EXPECT_TRUE(has_code(load().status(), ErrorCode::corruption)) << load().status();
  disk_->take_away(primary());
  const absl::Status status = load().status();
  EXPECT_TRUE(has_code(status, ErrorCode::corruption)) << status;
  EXPECT_NE(message_of(status).find("nothing says whose"), std::string_view::npos);
}

TEST(SuperblockCut, AtEveryWriteLeavesTheOldOrTheNew) {
  for (std::uint64_t at = 1;; ++at) {
    auto disk = std::make_shared<test::SimDisk>();
    test::ManualClock clock;
    test::Rng rng(at);
    Superblock s = sample();
    {
      test::SimDevice device(disk, clock);
      ASSERT_TRUE(make_store_directories(device, kDirectory).ok());
      ASSERT_EQ(disk->sync_directory("/"), 0);
      ASSERT_TRUE(replace_superblock(device, kDirectory, s).ok());
    }
    const std::uint64_t before = s.revision;
    disk->freeze_at(disk->mutations() + at);
    bool survived = false;
    {
      test::SimDevice device(disk, clock);
      survived = replace_superblock(device, kDirectory, s).ok();
    }
    disk = disk->power_cut(rng);
    test::SimDevice device(disk, clock);
    const auto loaded = load_superblock(device, kDirectory);
    ASSERT_TRUE(loaded.ok()) << at << ": " << loaded.status();
    EXPECT_GE(loaded->superblock.revision, before);
    if (!survived) continue;
    EXPECT_EQ(loaded->superblock.revision, before + 1);
    EXPECT_GT(at, 4U);  // write, sync, rename and directory sync of one copy are the commit
    if (!loaded->needs_healing()) break;
    EXPECT_LE(at, 8U);  // and after those of the other both agree
  }
}

TEST_F(SuperblockFilesTest, TheFirstCopyOnTheMediumIsTheCommit) {
  disk_->faults().add({.fault = test::Fault::no_space, .odds = 1, .path_contains = "/CAIRN.new"});
  Superblock changed = written_;
  ++changed.namespaces[0].epoch;
  ASSERT_TRUE(replace_superblock(device_, kDirectory, changed).ok());
  disk_->faults().clear();
  test::Rng rng(1);
  const auto disk = disk_->power_cut(rng);
  test::SimDevice device(disk, clock_);
  auto loaded = load_superblock(device, kDirectory);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  expect_same(changed, loaded->superblock);
  EXPECT_EQ(loaded->primary, CopyState::older);
  ASSERT_TRUE(replace_superblock(device, kDirectory, loaded->superblock).ok());
  EXPECT_FALSE(load_superblock(device, kDirectory)->needs_healing());
}

TEST_F(SuperblockFilesTest, AFailureSaysWhetherTheNextOpeningMaySeeTheNew) {
  Superblock changed = written_;
  Replacement how = Replacement::unknown;
  disk_->faults().add(
      {.fault = test::Fault::write_error, .odds = 1, .path_contains = "/CAIRN.copy.new"});
  EXPECT_FALSE(replace_superblock(device_, kDirectory, changed, &how).ok());
  EXPECT_EQ(how, Replacement::untouched);
  EXPECT_EQ(load()->superblock.revision, written_.revision);
  disk_->faults().clear();
  // The copy has its new content and its new name, and the name may not be on the medium.
  changed = written_;
  disk_->faults().add(
      {.fault = test::Fault::sync_error, .nth = 2, .times = 1, .path_contains = "/state"});
  disk_->faults().add(
      {.fault = test::Fault::write_error, .odds = 1, .path_contains = "/CAIRN.new"});
  EXPECT_FALSE(replace_superblock(device_, kDirectory, changed, &how).ok());
  EXPECT_EQ(how, Replacement::unknown);
  disk_->faults().clear();
  EXPECT_EQ(load()->superblock.revision, written_.revision + 1);
  // With the other copy on the medium it does not matter.
  disk_->faults().add(
      {.fault = test::Fault::sync_error, .nth = 2, .times = 1, .path_contains = "/state"});
  EXPECT_TRUE(replace_superblock(device_, kDirectory, changed, &how).ok());
}

TEST(StateFile, IsBoundToItsStoreAndName) {
  const StoreUuid store{1};
  const StoreUuid other{2};
  const std::string bytes = encode_state(store, "hot-list", as_bytes("content"));
  EXPECT_EQ(*parse_state(as_bytes(bytes), store, "hot-list"), "content");
  EXPECT_FALSE(parse_state(as_bytes(bytes), other, "hot-list").ok());
  EXPECT_FALSE(parse_state(as_bytes(bytes), store, "policy").ok());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(has_code(parse_state(as_bytes(damaged), store, "hot-list").status(),
                         ErrorCode::corruption));
  }
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(parse_state(as_bytes(bytes).first(length), store, "hot-list").ok());
  }
}

TEST(StateFile, IsSavedLoadedAndRemoved) {
  auto disk = std::make_shared<test::SimDisk>();
  test::ManualClock clock;
  test::SimDevice device(disk, clock);
  const StoreUuid store{7};
  ASSERT_TRUE(make_store_directories(device, kDirectory).ok());
  EXPECT_TRUE(
      has_code(load_state_file(device, kDirectory, store, "x").status(), ErrorCode::not_found));
  ASSERT_TRUE(save_state_file(device, kDirectory, store, "x", as_bytes("one")).ok());
  ASSERT_TRUE(save_state_file(device, kDirectory, store, "x", as_bytes("two")).ok());
  EXPECT_EQ(*load_state_file(device, kDirectory, store, "x"), "two");
  ASSERT_TRUE(remove_state_file(device, kDirectory, "x").ok());
  ASSERT_TRUE(remove_state_file(device, kDirectory, "x").ok());
  EXPECT_FALSE(load_state_file(device, kDirectory, store, "x").ok());
  for (const std::string_view bad : {"", ".", "..", ".x", "a/b", "CAIRN.copy", "a b"}) {
    EXPECT_TRUE(
        has_code(save_state_file(device, kDirectory, store, bad, {}), ErrorCode::invalid_argument))
        << bad;
  }
}

TEST(Layout, SegmentNamesAreReadBack) {
  EXPECT_EQ(segment_path("d", static_cast<SegmentId>(17)), "d/segments/000017.seg");
  EXPECT_EQ(segment_of_name("000017.seg"), static_cast<SegmentId>(17));
  for (const std::string_view bad :
       {"17.seg", "000017.sex", "00001x.seg", "999999.seg", "-00017.seg", ""}) {
    EXPECT_FALSE(segment_of_name(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace cairn::tiers
