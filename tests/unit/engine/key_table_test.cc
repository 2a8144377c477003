// SPDX-License-Identifier: Apache-2.0
// The table of names against a std::map. Goal: growth and removal lose, double or mix up no
// name, however full its neighbourhood is, and keys of every length come back whole.
#include "engine/key_table.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/seed.h"

namespace cairn::detail {
namespace {

constexpr NamespaceId kNs{7};

/// Few values of the low word: neighbours crowd, wrap around and move when one goes.
BlockId crowded_id(test::Rng& rng) {
  return {{.high = 1 + rng.below(12), .low = rng.below(40) * 0x1000'0001ULL}};
}

std::string key_of(BlockId id, std::size_t length) {
  std::string key(length, 'k');
  const std::string digits = std::to_string(id.hash.low) + "/" + std::to_string(id.hash.high);
  for (std::size_t i = 0; i < std::min(length, digits.size()); ++i) key[i] = digits[i];
  return key;
}

TEST(KeyTable, AgreesWithAMapWhateverComesAndGoes) {
  test::Rng rng(test::announce_seed());
  KeyTable table;
  std::map<BlockId, std::string> model;
  constexpr std::size_t kLengths[] = {1, 16, 37, 38, 39, 64, 1024};
  for (std::size_t step = 0; step < test::scaled(200'000); ++step) {
    const BlockId id = crowded_id(rng);
    const auto known = model.find(id);
    switch (rng.below(4)) {
      case 0:
      case 1: {
        const std::string key = key_of(id, kLengths[rng.below(std::size(kLengths))]);
        const bool fits = known == model.end() || known->second == key;
        ASSERT_EQ(table.put(id, {kNs, key, 3}), fits);
        if (known == model.end()) model[id] = key;
        break;
      }
      case 2:
        table.erase(id);
        model.erase(id);
        break;
      default: {
        const auto found = table.find(id);
        ASSERT_EQ(found.has_value(), known != model.end());
        if (!found) break;
        ASSERT_EQ(found->key, known->second);
        ASSERT_TRUE(table.matches(id, {kNs, known->second, 3}));
        ASSERT_FALSE(table.matches(id, {kNs, known->second, 4}));
        ASSERT_FALSE(table.matches(id, {NamespaceId{8}, known->second, 3}));
        ASSERT_FALSE(table.matches(id, {kNs, known->second + "x", 3}));
      }
    }
    ASSERT_EQ(table.size(), model.size());
  }
  for (const auto& [id, key] : model) ASSERT_TRUE(table.matches(id, {kNs, key, 3}));
}

TEST(KeyTable, FlagsGoWithTheName) {
  KeyTable table;
  const BlockId id{{.high = 9, .low = 5}};
  table.set_durable(id, true);
  EXPECT_FALSE(table.is_durable(id)) << "there is no such name";
  ASSERT_TRUE(table.put(id, {kNs, "a", 0}));
  table.set_durable(id, true);
  EXPECT_TRUE(table.is_durable(id));
  table.set_left_cold(id);
  EXPECT_TRUE(table.has_left_cold(id));
  EXPECT_FALSE(table.is_durable(id)) << "what is not in cold is not durable there";
  table.erase(id);
  ASSERT_TRUE(table.put(id, {kNs, "a", 0}));
  EXPECT_FALSE(table.has_left_cold(id));
}

}  // namespace
}  // namespace cairn::detail
