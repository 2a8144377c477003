// SPDX-License-Identifier: Apache-2.0
// Names in the catalog against a std::map. Goal: a block answers to its own name alone, keys of
// every length come back whole from entries that were others' before, a lease keeps its name
// while the block is overwritten or removed, and what is known of a version goes with it.
#include <gtest/gtest.h>

#include <map>

#include "engine/catalog.h"
#include "tests/support/seed.h"

namespace cairn {
namespace {

constexpr NamespaceId kNs{7};
constexpr std::size_t kLengths[] = {1, 16, 32, 57, 58, 59, 64, 1024};

BlockId id_of(std::uint64_t n) {
  test::Rng rng(n);
  return {{rng.next(), rng.next()}};
}

std::string key_of(std::uint64_t n, std::size_t length) {
  std::string key(length, 'k');
  const std::string digits = std::to_string(n) + "/";
  for (std::size_t i = 0; i < std::min(length, digits.size()); ++i) key[i] = digits[i];
  return key;
}

BlockFacts facts_of(std::uint64_t sequence) {
  BlockFacts facts;
  facts.sequence = sequence;
  facts.plain_bytes = 10;
  return facts;
}

struct Held {
  BlockHandle handle = 0;
  std::string key;
};

TEST(CatalogNames, AgreeWithAMapWhateverComesAndGoes) {
  test::Rng rng(test::announce_seed());
  Catalog catalog({.blocks_max = 400, .shards = 2, .policy = {}});
  std::map<std::uint64_t, std::string> model;
  std::vector<Held> leases;
  std::uint64_t sequence = 0;
  for (std::size_t step = 0; step < test::scaled(100'000); ++step) {
    const std::uint64_t n = rng.below(60);
    const BlockId id = id_of(n);
    const auto known = model.find(n);
    switch (rng.below(6)) {
      case 0:
      case 1: {
        const std::string key = key_of(n, kLengths[rng.below(std::size(kLengths))]);
        const bool fits = known == model.end() || known->second == key;
        const Location location{++sequence};
        ASSERT_EQ(catalog.publish_hot(id, {kNs, key, 3}, facts_of(sequence), location, nullptr),
                  fits);
        if (fits) model[n] = key;
        break;
      }
      case 2:
        catalog.remove(id, sequence);
        model.erase(n);
        break;
      case 3: {
        Residency out;
        const std::size_t leased = catalog.lease_hot({&id, 1}, Read::each, {&out, 1});
        ASSERT_EQ(leased == 1, known != model.end());
        if (leased == 1) leases.push_back({out.handle, known->second});
        break;
      }
      case 4: {
        if (leases.empty()) break;
        std::swap(leases[rng.below(leases.size())], leases.back());
        ASSERT_TRUE(catalog.is_named(leases.back().handle, {kNs, leases.back().key, 3}));
        std::vector<Location> freeable;
        catalog.release({&leases.back().handle, 1}, &freeable);
        leases.pop_back();
        break;
      }
      default: {
        const auto found = catalog.name_of(id);
        ASSERT_EQ(found.has_value(), known != model.end());
        if (!found) break;
        ASSERT_EQ(found->key, known->second);
        ASSERT_EQ(found->part, 3);
        ASSERT_TRUE(catalog.is_named(id, {kNs, known->second, 3}));
        ASSERT_FALSE(catalog.is_named(id, {kNs, known->second, 4}));
        ASSERT_FALSE(catalog.is_named(id, {NamespaceId{8}, known->second, 3}));
        ASSERT_FALSE(catalog.is_named(id, {kNs, known->second + "x", 3}));
      }
    }
  }
  for (const Held& lease : leases) {
    ASSERT_TRUE(catalog.is_named(lease.handle, {kNs, lease.key, 3}));
    std::vector<Location> freeable;
    catalog.release({&lease.handle, 1}, &freeable);
  }
  catalog.check_invariants();
  for (const auto& [n, key] : model) catalog.remove(id_of(n), sequence);
  EXPECT_EQ(catalog.entries(), 0U);
  EXPECT_EQ(catalog.long_key_bytes(), 0U) << "a long key outlived its block";
}

TEST(CatalogNames, WhatIsKnownOfAVersionGoesWithIt) {
  Catalog catalog({});
  const BlockId id = id_of(1);
  const BlockName name{kNs, "a", 0};
  catalog.set_durable(id, true);
  EXPECT_FALSE(catalog.is_durable(id)) << "there is no such block";
  ASSERT_TRUE(catalog.publish_hot(id, name, facts_of(1), Location{1}, nullptr));
  ASSERT_TRUE(catalog.publish_cold(id, name, facts_of(1), Location{2}, 9, nullptr));
  catalog.set_durable(id, true);
  EXPECT_TRUE(catalog.is_durable(id));
  catalog.set_left_cold(id);
  EXPECT_TRUE(catalog.has_left_cold(id));
  EXPECT_FALSE(catalog.is_durable(id)) << "what is not in cold is not durable there";
  catalog.remove(id, 1);
  EXPECT_FALSE(catalog.has_left_cold(id));
  ASSERT_TRUE(catalog.publish_hot(id, name, facts_of(2), Location{3}, nullptr));
  EXPECT_FALSE(catalog.has_left_cold(id));
  EXPECT_FALSE(catalog.is_durable(id));
}

TEST(CatalogNames, ANewVersionIsNotDurableAndItsPredecessorsRemovalStaysUnsynced) {
  Catalog catalog({});
  const BlockName name{kNs, "a", 0};
  for (const bool leased : {false, true}) {
    const BlockId id = id_of(leased ? 2 : 1);
    ASSERT_TRUE(catalog.publish_hot(id, name, facts_of(1), Location{1}, nullptr));
    catalog.set_left_cold(id);
    catalog.set_durable(id, true);
    Residency out;
    if (leased) {
      ASSERT_EQ(catalog.lease_hot({&id, 1}, Read::each, {&out, 1}), 1U);
    }
    ASSERT_TRUE(catalog.publish_hot(id, name, facts_of(2), Location{2}, nullptr));
    EXPECT_FALSE(catalog.is_durable(id));
    EXPECT_TRUE(catalog.has_left_cold(id));
    EXPECT_TRUE(catalog.is_named(id, name));
    if (!leased) continue;
    EXPECT_TRUE(catalog.is_named(out.handle, name)) << "the lease is of the old version";
    std::vector<Location> freeable;
    catalog.release({&out.handle, 1}, &freeable);
    EXPECT_EQ(freeable.size(), 1U);
  }
}

}  // namespace
}  // namespace cairn
