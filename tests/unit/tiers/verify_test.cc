// SPDX-License-Identifier: Apache-2.0
// Verify and inspect: each kind of damage is found, named for what it is, and fixed on request;
// a sound store is found sound, and reading it changes nothing.
#include "tiers/cold/verify.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/payload.h"
#include "tests/support/sim_device.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tiers/cold/cold_tier.h"
#include "tiers/cold/inspect.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"
#include "tiers/cold/rocksdb_index.h"

namespace cairn::tiers {
namespace {

using test::SimDevice;
using test::SimDisk;

constexpr const char* kDirectory = "/store";

class VerifyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    open(StoreMode::create_or_open);
    const auto ns = tier_->open_namespace({.name = "blocks"});
    ASSERT_TRUE(ns.ok());
    namespace_ = ns->id;
    // Small ones side by side, and large ones on pages of their own.
    for (std::size_t i = 0; i < 12; ++i) put(concat("key-", i), i % 3 == 0 ? 300000 : 5000 + i);
  }
  void TearDown() override { close(); }

  void open(StoreMode mode) {
    device_ = std::make_unique<SimDevice>(disk_, clock_);
    loop_ = std::make_unique<EventLoop>(clock_, device_.get());
    ColdOptions options;
    options.directory = kDirectory;
    options.mode = mode;
    options.cold_bytes = 64 * kMiB;
    options.clock = &clock_;
    options.index_file_system = test::make_sim_rocksdb_fs(disk_);
    auto tier = open_cold_tier(options, {.device = device_.get(),
                                         .io_loop = loop_.get(),
                                         .index_loop = loop_.get(),
                                         .pump = [this] { pump(); }});
    ASSERT_TRUE(tier.ok()) << tier.status();
    tier_ = std::move(*tier);
  }
  void close() {
    if (tier_ != nullptr) tier_->close();
    tier_.reset();
    loop_.reset();
    device_.reset();
  }
  void pump() {
    if (loop_->run_once({}) == 0) clock_.advance(Duration::micros(100));
  }
  void put(const std::string& key, std::size_t bytes) {
    const std::string payload = test::make_payload(key, 1, bytes);
    TierWrite write;
    const auto size = static_cast<std::uint32_t>(bytes);
    ASSERT_TRUE(tier_->reserve(namespace_, {&size, 1}, {&write.location, 1}).ok());
    write.name = {namespace_, key, 0};
    write.id = block_id(write.name, tier_->block_id_secret());
    write.payload = as_bytes(payload);
    write.facts = {.sequence = tier_->next_sequence(),
                   .plain_bytes = size,
                   .plain_sum = xxh3_64(as_bytes(payload))};
    bool done = false;
    tier_->write({&write, 1}, Durability::durable, [&] { done = true; });
    while (!done) pump();
    ASSERT_TRUE(write.status.ok()) << write.status;
    places_[key] = unpack_location(write.location);
  }

  VerifyReport verify(bool fix = false) {
    SimDevice own(disk_, clock_);
    VerifyOptions options;
    options.directory = kDirectory;
    options.fix = fix;
    options.clock = &clock_;
    options.pump = [this] { pump(); };
    const auto report = verify_store(*tier_, own, options);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : VerifyReport{};
  }
  std::string segment_of(const std::string& key) {
    return segment_path(kDirectory, places_[key].segment);
  }
  /// Flips a bit in the record of `key`, `at` bytes behind its beginning.
  void damage(const std::string& key, std::uint64_t at) {
    disk_->flip_bit(segment_of(key), places_[key].offset + at, 2);
  }

  std::shared_ptr<SimDisk> disk_ = std::make_shared<SimDisk>();
  test::ManualClock clock_;
  std::unique_ptr<SimDevice> device_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<DurableTier> tier_;
  NamespaceId namespace_{};
  std::map<std::string, Place> places_;
};

TEST_F(VerifyTest, FindsASoundStoreSound) {
  const VerifyReport report = verify();
  EXPECT_EQ(report.scanned, 12U);
  EXPECT_EQ(report.ok, 12U);
  EXPECT_EQ(report.bad(), 0U);
  EXPECT_EQ(report.orphans, 0U);
  EXPECT_GT(report.bytes, 4 * 150000U);  // some of them are stored smaller
}

TEST_F(VerifyTest, NamesEachKindOfDamage) {
  damage("key-1", 16);         // the header
  damage("key-0", 2 * kPage);  // a large payload
  damage("key-2", 1500);       // a small one
  const Place four = places_["key-4"];
  const Place five = places_["key-5"];
  // Another record, whole, where key-4's should be.
  const std::string content = disk_->content(segment_of("key-5"));
  disk_->overwrite(segment_of("key-4"), four.offset,
                   as_bytes(content).subspan(five.offset, five.record_bytes));
  const VerifyReport report = verify();
  EXPECT_EQ(report.bad_header, 1U);
  EXPECT_EQ(report.bad_payload, 2U);
  EXPECT_EQ(report.bad_location, 1U);
  EXPECT_EQ(report.ok, 8U);
  EXPECT_EQ(report.examples.size(), 4U);
  for (const BadBlock& bad : report.examples) EXPECT_FALSE(bad.why.empty());
}

TEST_F(VerifyTest, FixForgetsWhatIsBadAndNothingElse) {
  damage("key-1", 16);
  damage("key-0", 2 * kPage);
  VerifyReport report = verify(true);
  EXPECT_EQ(report.bad(), 2U);
  EXPECT_EQ(report.fixed, 2U);
  report = verify();
  EXPECT_EQ(report.scanned, 10U);
  EXPECT_EQ(report.bad(), 0U);
  close();
  open(StoreMode::open_existing);
  EXPECT_EQ(verify().ok, 10U);
}

TEST_F(VerifyTest, AMissingSegmentIsDangling) {
  close();
  disk_->take_away(segment_of("key-3"));
  open(StoreMode::read_only);
  const VerifyReport report = verify();
  EXPECT_EQ(report.dangling, 12U);
  EXPECT_EQ(report.bad(), 12U);
}

TEST_F(VerifyTest, ReadingChangesNoByte) {
  close();
  const auto picture = [&] {
    std::string all;
    for (const std::string& path : disk_->files()) all += path + disk_->content(path);
    return xxh3_128(as_bytes(all));
  };
  const Hash128 before = picture();
  open(StoreMode::read_only);
  EXPECT_EQ(verify().ok, 12U);
  close();
  EXPECT_EQ(picture(), before);
}

TEST_F(VerifyTest, KeepsToItsRate) {
  SimDevice own(disk_, clock_);
  VerifyOptions options;
  options.directory = kDirectory;
  options.clock = &clock_;
  options.pump = [this] { pump(); };
  options.bytes_per_second_max = 100'000;
  options.wait = [this](Duration rest) { clock_.advance(rest); };
  const TimePoint begin = clock_.now();
  const auto report = verify_store(*tier_, own, options);
  ASSERT_TRUE(report.ok());
  const double seconds = (clock_.now() - begin).as_seconds();
  EXPECT_GE(seconds, static_cast<double>(report->bytes) / 100'000.0 * 0.99);
}

TEST_F(VerifyTest, InspectTellsSegmentsAndSuperblockApart) {
  damage("key-2", 1500);
  SimDevice own(disk_, clock_);
  const auto superblock = inspect_superblock(own, kDirectory);
  ASSERT_TRUE(superblock.ok());
  EXPECT_EQ(superblock->superblock.namespaces.size(), 1U);
  EXPECT_EQ(uuid_text(superblock->superblock.store).size(), 36U);
  const auto segment = inspect_segment(own, kDirectory, places_["key-2"].segment, nullptr);
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_TRUE(segment->summary.header_sound);
  EXPECT_EQ(segment->records.size(), 12U);
  std::size_t unsound = 0;
  for (const InspectedRecord& record : segment->records) unsound += record.payload_sound ? 0U : 1U;
  EXPECT_EQ(unsound, 1U);
  EXPECT_TRUE(
      has_code(inspect_segment(own, kDirectory, static_cast<SegmentId>(99), nullptr).status(),
               ErrorCode::not_found));
}

}  // namespace
}  // namespace cairn::tiers
