// SPDX-License-Identifier: Apache-2.0
// What is named from the segments again, by an opening that found the end of the index's log torn
// or by a repair, may never have been synced: a kill leaves it in the page cache. Goal: a power cut
// right after that takes nothing along that was durable before.
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/sim_store.h"

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
  store_.lose_index();
  ASSERT_TRUE(store_.repair().ok());
  // The cut comes before the store is opened: nothing else can sync it.
  store_.power_cut(rng_);
  open();
  EXPECT_NE(version_there(), 0U);
}

/// A second version whose sync is under way when its segment is full. A footer that lists it must
/// not be there before its payload is: whoever reads the footer believes it.
class ListedByAFooter : public ::testing::TestWithParam<std::tuple<std::uint64_t, bool>> {};

TEST_P(ListedByAFooter, IsOnTheMedium) {
  const auto [seed, by_repair] = GetParam();
  print_seed(seed);
  Rng rng(seed);
  SimStore store(small_sim_store(seed));
  NamespaceId ns{};
  const auto open = [&] {
    ASSERT_TRUE(store.open().ok());
    const auto opened =
        store.engine().open_namespace({.name = "n", .kind = NamespaceKind::mutable_});
    ASSERT_TRUE(opened.ok());
    ns = *opened;
  };
  open();
  const std::string first = make_payload("key", 1, kBytes);
  ASSERT_TRUE(store.put(ns, "key", as_bytes(first), Durability::durable).status.ok());
  const std::string other = make_payload("other", 1, kBytes);
  ASSERT_TRUE(store.put(ns, "other", as_bytes(other), Durability::written).status.ok());
  // From here on no sync of a segment comes back.
  store.disk().faults().add({.fault = Fault::hang, .side = Side::device, .nth = 2, .times = 1});
  std::vector<std::string> payloads{make_payload("key", 2, kBytes)};
  std::vector<std::string> keys{"key"};
  for (int i = 0; i < 20; ++i) {
    keys.push_back("filler-" + std::to_string(i));
    payloads.push_back(make_payload(keys.back(), 1, 300'000));
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const PutBlock block{.key = keys[i], .payload = as_bytes(payloads[i])};
    store.engine().put(ns, {&block, 1},
                       {.durability = i == 0 ? Durability::durable : Durability::written},
                       [](const std::vector<PutResult>&) {});
    store.pump_until([] { return false; }, Duration::millis(5));
  }
  store.power_cut(rng);
  if (by_repair) {
    store.lose_index();
    ASSERT_TRUE(store.repair().ok());
  } else {
    for (const std::string& path : store.disk().files()) {
      if (!path.ends_with(".log")) continue;
      const std::size_t bytes = store.disk().content(path).size();
      if (bytes > 0) store.disk().truncate(path, bytes - 1);
    }
  }
  open();
  const auto got = store.get(ns, "key");
  ASSERT_TRUE(got.ok());
  EXPECT_TRUE(got->has_value()) << "the durable version went for one that was never there";
}

INSTANTIATE_TEST_SUITE_P(Seeds, ListedByAFooter,
                         ::testing::Combine(::testing::Range(std::uint64_t{1}, std::uint64_t{21}),
                                            ::testing::Bool()));
INSTANTIATE_TEST_SUITE_P(Seeds, NamedAgain, ::testing::Range(std::uint64_t{1}, std::uint64_t{13}));

}  // namespace
}  // namespace cairn::test
