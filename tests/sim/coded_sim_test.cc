// SPDX-License-Identifier: Apache-2.0
// Blocks that the codec makes smaller, through everything that a record goes through: sealing,
// cleaning, eviction, kills, cuts, repair, damage, and a life that writes without the codec.
#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "engine/base/text.h"
#include "tests/support/payload.h"
#include "tests/support/sim_store.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"

namespace cairn::test {
namespace {

SimStoreOptions options(std::uint64_t seed) {
  SimStoreOptions options = small_sim_store(seed);
  options.cold.cold_bytes = 64 * kMiB;
  options.cold.codec = CodecUse::on;
  return options;
}

/// Numbers near each other, as KV state has: some keys' payloads do not shrink at all.
std::string numbers(std::string_view key, std::size_t bytes) {
  std::string payload = make_payload(key, 0, bytes);
  if (payload_seed(key, 0) % 4 == 0) return payload;
  for (std::size_t i = 1; i < bytes; i += 2) {
    payload[i] = static_cast<char>(0x3e | (payload[i] & 0x81));  // a bf16 of small exponent
  }
  return payload;
}

class CodedSim : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void SetUp() override {
    print_seed(GetParam());
    open();
  }
  void open() {
    ASSERT_TRUE(store_.open().ok());
    ASSERT_TRUE(store_.wait_recovered());
    ns_ = *store_.engine().open_namespace({.name = "n", .dtype = Dtype::bf16});
  }
  void put_some(int count, Durability durability) {
    for (int i = 0; i < count; ++i) {
      const std::string key = concat("key", next_++);
      const std::size_t bytes = rng_.chance(0.3) ? rng_.below(5'000) : rng_.below(900'000);
      const std::string payload = numbers(key, bytes);
      const PutResult put = store_.put(ns_, {.key = key, .payload = as_bytes(payload)},
                                       {.durability = durability, .links = Links::absent});
      ASSERT_TRUE(put.status.ok()) << put.status;
      bytes_[key] = bytes;
    }
  }
  /// How many are there; those that are have the right bytes.
  std::size_t read_all() {
    store_.engine().evict_unused(TierKind::hot, 0).IgnoreError();
    std::size_t found = 0;
    for (const auto& [key, bytes] : bytes_) {
      const auto got = store_.get(ns_, key);
      EXPECT_TRUE(got.ok()) << got.status();
      if (!got.ok() || !*got) continue;
      ++found;
      EXPECT_EQ(**got, numbers(key, bytes)) << key;
    }
    return found;
  }

  Rng rng_{GetParam()};
  SimStore store_{options(rng_.next())};
  NamespaceId ns_{};
  int next_ = 0;
  std::map<std::string, std::size_t> bytes_;
};

TEST_P(CodedSim, TakesLessAndGivesBackEveryByte) {
  put_some(50, Durability::written);
  EXPECT_EQ(read_all(), 50U);
  std::uint64_t plain = 0, stored = 0;
  std::string cursor;
  ASSERT_TRUE(store_.cold()
                  .scan(cursor, 1000,
                        [&](const StoredBlock& block) {
                          plain += block.facts.plain_bytes;
                          stored += block.stored_bytes;
                        })
                  .ok());
  EXPECT_LT(stored, plain * 9 / 10);
  // A life without the codec reads them, and what it writes is read with it.
  ASSERT_TRUE(store_.close().ok());
  store_.options().cold.codec = CodecUse::off;
  open();
  put_some(10, Durability::written);
  ASSERT_TRUE(store_.close().ok());
  store_.options().cold.codec = CodecUse::on;
  open();
  EXPECT_EQ(read_all(), 60U);
}

TEST_P(CodedSim, SurvivesCleaningKillsCutsAndTheLossOfTheIndex) {
  for (int life = 0; life < 4; ++life) {
    put_some(60, Durability::durable);  // more than fits: the oldest are evicted, segments cleaned
    const std::size_t there = read_all();
    EXPECT_GT(there, 40U);
    if (life % 2 == 0) {
      store_.kill(rng_);
    } else {
      store_.power_cut(rng_);
    }
    if (life == 2) {
      store_.lose_index();
      ASSERT_TRUE(store_.repair().ok());
    }
    open();
    EXPECT_GE(read_all(), there);  // repair may bring evicted ones back
  }
  EXPECT_GT(store_.cold().counters().evicted_ever, 0U);
}

TEST_P(CodedSim, DamageIsAMissAndNeverWrongBytes) {
  put_some(40, Durability::durable);
  ASSERT_EQ(read_all(), 40U);
  std::string cursor;
  std::vector<tiers::Place> places;
  ASSERT_TRUE(store_.cold()
                  .scan(cursor, 1000,
                        [&](const StoredBlock& block) {
                          places.push_back(tiers::unpack_location(block.location));
                        })
                  .ok());
  for (const tiers::Place& place : places) {
    if (rng_.chance(0.5)) continue;
    store_.disk().flip_bit(tiers::segment_path("/store", place.segment),
                           place.offset + rng_.below(place.record_bytes),
                           static_cast<unsigned>(rng_.below(8)));
  }
  EXPECT_LT(read_all(), 40U);
}

// Its record is as long as it would be uncoded, so a reader cannot tell from its length.
TEST_P(CodedSim, WhatShrinksByLessThanARecordIsRoundedToIsReadBack) {
  const std::size_t bytes = 600'000;
  for (int i = 0; i < 20; ++i) {
    const std::string key = concat("hardly", i);
    std::string payload(bytes, '\0');
    for (std::size_t at = 0; at + 8 <= bytes; at += 8) {
      const std::uint64_t word = dense_word(payload_seed(key, 0), at / 8);
      std::memcpy(payload.data() + at, &word, 8);
    }
    // Some exponents of one chunk are the same: that saves a byte for every few of them.
    for (std::size_t at = 1; at < 4'000 + 200U * static_cast<unsigned>(i); at += 2) {
      payload[at] = 0x3e;
    }
    ASSERT_TRUE(store_.put(ns_, key, as_bytes(payload), Durability::durable).status.ok());
    store_.engine().evict_unused(TierKind::hot, 0).IgnoreError();
    const auto got = store_.get(ns_, key);
    ASSERT_TRUE(got.ok() && got->has_value()) << i;
    EXPECT_TRUE(**got == payload) << i;
  }
  const CodecReport report = store_.cold().codec();
  EXPECT_LT(report.stored_bytes, report.plain_bytes) << "nothing shrank";
  EXPECT_LT(report.plain_bytes - report.stored_bytes, 20 * tiers::kPage);
  EXPECT_EQ(store_.cold().health().corruptions, 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, CodedSim, ::testing::ValuesIn(seeds({1, 2, 3}, 2)));

}  // namespace
}  // namespace cairn::test
