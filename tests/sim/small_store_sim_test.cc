// SPDX-License-Identifier: Apache-2.0
// Stores whose segments hold one, two or three of their blocks: room that is counted in bytes is
// not there, and puts that are under way together want more than all of it. Goal: whatever fits
// after an eviction is taken, and nobody waits for what cannot come.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/payload.h"
#include "tests/support/sim_store.h"

namespace cairn::test {
namespace {

constexpr std::uint64_t kColdBytes = 40 * kMiB;  // six segments, four for users

SimStoreOptions options(std::uint64_t seed) {
  SimStoreOptions options;
  options.disk.seed = seed;
  options.cold.directory = "/store";
  options.cold.cold_bytes = kColdBytes;
  options.engine.hot_bytes = 64 * kMiB;
  return options;
}

class SmallStoreSim : public ::testing::TestWithParam<std::size_t> {
 protected:
  void open() {
    ASSERT_TRUE(store_.open().ok());
    ns_ = *store_.engine().open_namespace({.name = "n"});
    ASSERT_TRUE(store_.wait_recovered());
  }

  Rng rng_{announce_seed()};
  SimStore store_{options(rng_.next())};
  NamespaceId ns_{};
};

TEST_P(SmallStoreSim, TakesOneBlockAfterTheOther) {
  open();
  for (int i = 0; i < 60; ++i) {
    const std::string key = concat("key", i);
    const std::string payload = make_payload(key, 0, GetParam());
    const TimePoint began = store_.clock().now();
    const PutResult put =
        store_.put(ns_, {.key = key, .payload = as_bytes(payload)}, {.links = Links::absent});
    EXPECT_TRUE(put.status.ok()) << key << ": " << put.status;
    EXPECT_LT((store_.clock().now() - began).ns, Duration::seconds(1).ns) << key;
    const auto got = store_.get(ns_, key);
    ASSERT_TRUE(got.ok() && *got && **got == payload) << key;
    // What is open is sealed, and gone on with.
    if (i % 7 != 6) continue;
    ASSERT_TRUE(store_.close().ok());
    open();
  }
  EXPECT_LE(store_.cold_bytes_on_disk(), kColdBytes);
}

TEST_P(SmallStoreSim, PutsThatTogetherAreTooLargeGoOneAfterTheOther) {
  open();
  constexpr int kPuts = 12;
  constexpr int kBlocks = 2;
  std::vector<std::string> keys, payloads;
  for (int i = 0; i < kPuts * kBlocks; ++i) {
    keys.push_back(concat("key", i));
    payloads.push_back(make_payload(keys.back(), 0, GetParam()));
  }
  std::vector<PutBlock> blocks;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    blocks.push_back({.key = keys[i], .payload = as_bytes(payloads[i])});
  }
  int ended = 0;
  const TimePoint began = store_.clock().now();
  for (int i = 0; i < kPuts; ++i) {
    store_.engine().put(ns_,
                        std::span(blocks).subspan(static_cast<std::size_t>(i) * kBlocks, kBlocks),
                        {.links = Links::absent}, [&](const std::vector<PutResult>& results) {
                          for (const PutResult& put : results) {
                            EXPECT_TRUE(put.status.ok()) << put.status;
                          }
                          ++ended;
                        });
  }
  EXPECT_TRUE(store_.pump_until([&] { return ended == kPuts; }));
  EXPECT_LT((store_.clock().now() - began).ns, Duration::seconds(5).ns);
  EXPECT_LE(store_.cold_bytes_on_disk(), kColdBytes);
}

/// Longer than all of cold: its beginning is kept, and the rest is told so soon.
TEST_P(SmallStoreSim, AChainThatIsTooLongIsRefusedWithoutWaiting) {
  open();
  std::vector<std::string> keys, payloads;
  for (std::size_t bytes = 0; bytes < kColdBytes; bytes += GetParam()) {
    keys.push_back(concat("key", keys.size()));
    payloads.push_back(make_payload(keys.back(), 0, GetParam()));
  }
  std::vector<PutBlock> blocks;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    blocks.push_back({.key = keys[i], .payload = as_bytes(payloads[i])});
  }
  std::vector<PutResult> results;
  const TimePoint began = store_.clock().now();
  store_.engine().put(ns_, blocks, {},
                      [&](std::vector<PutResult> done) { results = std::move(done); });
  EXPECT_TRUE(store_.pump_until([&] { return !results.empty(); }));
  EXPECT_LT((store_.clock().now() - began).ns, Duration::seconds(5).ns);
  std::size_t stored = 0;
  for (const PutResult& put : results) {
    if (put.status.ok()) {
      ++stored;
    } else {
      EXPECT_TRUE(has_code(put.status, ErrorCode::no_space)) << put.status;
    }
  }
  // Four segments' worth, less what their tails are too short for.
  EXPECT_GE(stored * GetParam(), 7 * kMiB);
  EXPECT_LE(store_.cold_bytes_on_disk(), kColdBytes);
}

INSTANTIATE_TEST_SUITE_P(BlockBytes, SmallStoreSim,
                         testing::Values(300'000, 1'000'000, 1 << 20, 1'360'000, 1'500'000, 2 << 20,
                                         4'100'000));

}  // namespace
}  // namespace cairn::test
