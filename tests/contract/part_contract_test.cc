// SPDX-License-Identifier: Apache-2.0
// Parts of blocks, asked of every tier. Finds a chunk too few or too many, bytes beside the
// destination, damage that is noticed where nobody asked, and damage that is not where somebody
// did.
#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "tests/contract/tier_contract.h"
#include "tests/contract/tier_subjects.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

constexpr std::uint32_t kChunk = 64 * 1024;  // of every tier here that has chunks

class PartContract : public TierContract {};

TEST_P(PartContract, EveryEdgeOfABlockLargeAndSmall) {
  // Keys of both kinds: bytes that shrink and bytes that do not.
  for (const char* const key : {"a", "b", "c", "d"}) {
    for (const std::uint32_t bytes : {1U, 5'000U, kChunk, 200'001U, 8 * kChunk, 1'000'003U}) {
      const Stored stored = put(concat(key, bytes), bytes);
      ASSERT_TRUE(stored.status.ok()) << stored.status;
      std::vector<std::uint32_t> edges{0, 1, bytes - 1, bytes, bytes / 2};
      for (std::uint32_t at = kChunk; at < bytes; at += 3 * kChunk) {
        for (const std::uint32_t edge : {at - 1, at, at + 1}) edges.push_back(edge);
      }
      for (const std::uint32_t from : edges) {
        for (const std::uint32_t to : edges) {
          if (from > to || to > bytes) continue;
          ASSERT_TRUE(read_part(stored, from, to - from).ok())
              << stored.key << ": " << from << " to " << to;
        }
      }
      tier().free({&stored.location, 1});
      if (is_durable()) {
        remove(stored.key, ns_, UINT64_MAX, RemovalReason::evicted).IgnoreError();
      }
    }
  }
}

TEST_P(PartContract, RandomPartsManyInABatch) {
  const std::uint64_t seed = seeds({payload_seed(GetParam().name, 1)}, 0).at(0);
  print_seed(seed);
  Rng rng(seed);
  std::vector<Stored> all;
  for (int i = 0; i < 12; ++i) {
    all.push_back(put(concat("k", i), 1 + rng.below(i % 2 == 0 ? 900'000 : 30'000)));
    ASSERT_TRUE(all.back().status.ok()) << all.back().status;
  }
  for (int round = 0; round < 20; ++round) {
    std::vector<TierRead> reads(1 + rng.below(16));
    std::vector<std::string> into(reads.size());
    std::vector<const Stored*> of(reads.size());
    for (std::size_t i = 0; i < reads.size(); ++i) {
      of[i] = &all[rng.below(all.size())];
      const std::size_t bytes = of[i]->payload.size();
      const std::size_t offset = rng.below(bytes);
      const std::size_t count = rng.chance(0.2) ? bytes - offset : rng.below(bytes - offset + 1);
      into[i].assign(count, '\0');
      reads[i].location = of[i]->location;
      reads[i].name = {ns_, of[i]->key, 0};
      reads[i].sequence = of[i]->sequence;
      reads[i].destination = {reinterpret_cast<std::byte*>(into[i].data()), count};
      reads[i].offset = static_cast<std::uint32_t>(offset);
      reads[i].plain_bytes = static_cast<std::uint32_t>(bytes);
      reads[i].plain_sum = xxh3_64(as_bytes(of[i]->payload));
    }
    std::atomic<bool> done{false};
    tier().read(reads, [&] { done = true; });
    medium_->pump_until([&] { return done.load(); });
    for (std::size_t i = 0; i < reads.size(); ++i) {
      ASSERT_TRUE(reads[i].status.ok()) << i << ": " << reads[i].status;
      ASSERT_EQ(into[i], of[i]->payload.substr(reads[i].offset, into[i].size())) << i;
    }
  }
}

TEST_P(PartContract, ThatDoNotLieInTheirPayloadAreRefused) {
  const Stored stored = put("k", 300'000);
  EXPECT_TRUE(has_code(read_part(stored, 300'001, 0), ErrorCode::invalid_argument));
  EXPECT_TRUE(has_code(read_part(stored, 299'999, 2), ErrorCode::invalid_argument));
  EXPECT_TRUE(has_code(read_part(stored, UINT32_MAX, 2), ErrorCode::invalid_argument));
  EXPECT_TRUE(read_part(stored, 300'000, 0).ok());
}

/// Hot and its twin are asked by who holds a lease; the others verify.
class VerifiedPartContract : public TierContract {};

TEST_P(VerifiedPartContract, AreOfTheBlockThatWasMeantAlsoEmptyOnes) {
  for (const std::size_t bytes : {3'000UL, 400'000UL}) {
    const Stored stored = put(concat("k", bytes), bytes);
    for (const std::size_t count : {0UL, 1UL, 1000UL}) {
      Stored other = stored;
      other.key = "wrong";
      EXPECT_TRUE(has_code(read_part(other, 5, count), ErrorCode::corruption));
      other = stored;
      ++other.sequence;
      EXPECT_TRUE(has_code(read_part(other, 5, count), ErrorCode::corruption));
      other = stored;
      other.payload += "!";
      EXPECT_TRUE(has_code(read_part(other, 5, count), ErrorCode::corruption));
      EXPECT_TRUE(read_part(stored, 5, count).ok());
    }
  }
}

TEST_P(VerifiedPartContract, DamageMattersWhereItIsAskedFor) {
  for (const std::uint32_t bytes : {3 * kChunk + 5, 9 * kChunk}) {
    const Stored stored = put(concat("k", bytes), bytes);
    ASSERT_TRUE(stored.status.ok());
    const std::uint32_t at = kChunk + 100;  // in the second chunk
    ASSERT_TRUE(medium_->damage({ns_, stored.key, 0}, stored.sequence, stored.location, at));
    EXPECT_TRUE(read_part(stored, 0, kChunk).ok());
    EXPECT_TRUE(read_part(stored, 2 * kChunk, bytes - 2 * kChunk).ok());
    EXPECT_TRUE(read_part(stored, at, 0).ok());
    if (is_durable()) {
      EXPECT_EQ(durable().health().corruptions, 0U);
    }
    EXPECT_TRUE(has_code(read_part(stored, at, 1), ErrorCode::corruption));
    EXPECT_TRUE(has_code(read_part(stored, 0, at + 1), ErrorCode::corruption));
    EXPECT_TRUE(has_code(read_part(stored, at, bytes - at), ErrorCode::corruption));
    if (!is_durable()) continue;
    EXPECT_GT(durable().health().corruptions, 0U);
    break;  // its neighbours may be quarantined by now
  }
}

std::vector<TierFactory> verified_tiers() {
  std::vector<TierFactory> tiers = image_tiers();
  for (TierFactory& one : durable_tiers()) {
    if (one.name == "memory" || one.name == "cold_simulated") tiers.push_back(std::move(one));
  }
  return tiers;
}

INSTANTIATE_TEST_SUITE_P(Media, PartContract, ::testing::ValuesIn(all_tiers()), name_of);
INSTANTIATE_TEST_SUITE_P(Media, VerifiedPartContract, ::testing::ValuesIn(verified_tiers()),
                         name_of);

}  // namespace
}  // namespace cairn::test
