// SPDX-License-Identifier: Apache-2.0
// What is named from the segments again, by an opening that found the end of the index's log torn
// or by a repair, may never have been synced: a kill leaves it in the page cache. Goal: a power cut
// right after that takes nothing along that was durable before.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tests/support/sim_store.h"
#include "tiers/cold/repair.h"

namespace cairn::test {
namespace {

constexpr std::size_t kBytes = 20'000;

/// A durable version, and a second one that was written and died in its sync.
class NamedAgain : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void SetUp() override {
    print_seed(GetParam());
    open();
    put("key", 1, Durability::durable);
    put("other", 1, Durability::written);
    store_.disk().set_on_mutation([this](std::uint64_t, Mutation kind) {
      if (kind == Mutation::sync) store_.disk().freeze();
    });
    const std::string payload = make_payload("key", 2, kBytes);
    ASSERT_FALSE(store_.put(ns_, "key", as_bytes(payload), Durability::durable).status.ok());
    store_.kill(rng_);
  }

  void open() {
    const absl::Status opened = store_.open();
    ASSERT_TRUE(opened.ok()) << opened;
    const auto ns = store_.engine().open_namespace({.name = "n", .kind = NamespaceKind::mutable_});
    ASSERT_TRUE(ns.ok());
    ns_ = *ns;
  }
  void put(const std::string& key, std::uint64_t version, Durability durability) {
    const std::string payload = make_payload(key, version, kBytes);
    ASSERT_TRUE(store_.put(ns_, key, as_bytes(payload), durability).status.ok());
  }
  /// 0: it is not there.
  std::uint64_t version_there() {
    const auto got = store_.get(ns_, "key");
    if (!got.ok() || !got->has_value()) return 0;
    for (const std::uint64_t version : {1U, 2U}) {
      if (is_payload("key", version, as_bytes(**got))) return version;
    }
    return 0;
  }
  /// Takes the last byte of the index's log, which is of the block that nobody asks for.
  void tear_log() {
    for (const std::string& path : store_.disk().files()) {
      if (!path.ends_with(".log")) continue;
      const std::size_t bytes = store_.disk().content(path).size();
      ASSERT_GT(bytes, 0U);
      store_.disk().truncate(path, bytes - 1);
    }
  }

  SimStore store_{small_sim_store(GetParam())};
  NamespaceId ns_{};
  Rng rng_{GetParam()};
};

TEST_P(NamedAgain, ByAnOpeningAfterATornLog) {
  tear_log();
  open();
  EXPECT_EQ(version_there(), 2U) << "it was not named again";
  store_.power_cut(rng_);
  open();
  EXPECT_NE(version_there(), 0U);
}

TEST_P(NamedAgain, ByARepair) {
  for (const std::string& path : store_.disk().files()) {
    if (path.find("/store/index/") != std::string::npos) store_.disk().take_away(path);
  }
  {
    ManualClock clock;
    SimDevice device(store_.shared_disk(), clock);
    const tiers::RepairOptions options{
        .directory = "/store", .index_file_system = make_sim_rocksdb_fs(store_.shared_disk())};
    ASSERT_TRUE(tiers::repair_store(device, options).ok());
  }
  // The cut comes before the store is opened: nothing else can sync it.
  store_.power_cut(rng_);
  open();
  EXPECT_NE(version_there(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, NamedAgain, ::testing::Range(std::uint64_t{1}, std::uint64_t{13}));

}  // namespace
}  // namespace cairn::test
