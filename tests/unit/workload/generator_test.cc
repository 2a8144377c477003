// SPDX-License-Identifier: Apache-2.0
// Goal: generated requests repeat from their seed and keep the rules of a trace.
#include "bench/workload/generator.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace cairn::workload {
namespace {

std::vector<TraceRequest> generate(GeneratorOptions options) {
  Generator generator(options);
  std::vector<TraceRequest> requests;
  for (TraceRequest request; generator.next(request);) requests.push_back(request);
  return requests;
}

TEST(Generator, EqualSeedsGiveEqualRequests) {
  EXPECT_EQ(generate({.seed = 7, .requests = 500}), generate({.seed = 7, .requests = 500}));
  EXPECT_NE(generate({.seed = 7, .requests = 500}), generate({.seed = 8, .requests = 500}));
  // A longer run begins as the shorter one.
  std::vector<TraceRequest> longer = generate({.seed = 7, .requests = 700});
  longer.resize(500);
  EXPECT_EQ(longer, generate({.seed = 7, .requests = 500}));
}

TEST(Generator, RequestsKeepTheRulesOfATrace) {
  for (const std::uint32_t block_tokens : {512U, 64U}) {
    std::map<std::uint64_t, std::uint64_t> parent_of;
    std::set<std::uint64_t> unfilled;
    double last_ms = 0;
    for (const TraceRequest& request :
         generate({.requests = 2'000, .block_tokens = block_tokens})) {
      EXPECT_GE(request.timestamp_ms, last_ms);
      last_ms = request.timestamp_ms;
      const std::size_t full = full_blocks(request, block_tokens);
      ASSERT_EQ(full, request.input_length / block_tokens);
      ASSERT_EQ(request.hash_ids.size(), full + (request.input_length % block_tokens != 0));
      EXPECT_GE(request.output_length, 1U);
      // An id names a whole prefix: it always follows the same one.
      std::uint64_t parent = ~std::uint64_t{0};
      for (const std::uint64_t id : request.hash_ids) {
        EXPECT_EQ(parent_of.try_emplace(id, parent).first->second, parent);
        EXPECT_EQ(unfilled.count(id), 0U);
        parent = id;
      }
      if (request.hash_ids.size() > full) unfilled.insert(request.hash_ids.back());
    }
  }
}

TEST(Generator, PrefixesAreSharedAndAllKindsOccur) {
  std::map<std::string, int> kinds;
  std::set<std::uint64_t> seen;
  std::size_t references = 0;
  std::size_t hits = 0;
  for (const TraceRequest& request : generate({.requests = 3'000})) {
    ++kinds[request.type];
    for (std::size_t i = 0; i < full_blocks(request, 512); ++i) {
      hits += !seen.insert(request.hash_ids[i]).second;
      ++references;
    }
  }
  EXPECT_EQ(kinds.size(), 3U);
  for (const auto& [kind, count] : kinds) EXPECT_GT(count, 100) << kind;
  const double ratio = static_cast<double>(hits) / static_cast<double>(references);
  EXPECT_GT(ratio, 0.5);
  EXPECT_LT(ratio, 0.98);
}

TEST(Zipf, RanksComeInTheirProportions) {
  const Zipf zipf(4, 1.0);
  Random random(3);
  std::vector<double> counts(4);
  for (int i = 0; i < 100'000; ++i) ++counts[zipf.draw(random)];
  const double unit = 100'000 / (1 + 1.0 / 2 + 1.0 / 3 + 1.0 / 4);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    EXPECT_NEAR(counts[rank], unit / static_cast<double>(rank + 1), 1'000);
  }
}

}  // namespace
}  // namespace cairn::workload
