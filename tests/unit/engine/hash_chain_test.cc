// SPDX-License-Identifier: Apache-2.0
// Goal: the door of engine/hash: what it refuses, what a key may depend on, and that many
// requests at once are the same requests one by one.
#include <array>

#include "engine/base/status.h"
#include "engine/hash/chain.h"
#include "tests/support/seed.h"
#include "tests/unit/engine/hash_case.h"

namespace cairn {
namespace {

constexpr std::array kSchemes{HashScheme::native,           HashScheme::vllm_sha256_cbor,
                              HashScheme::vllm_xxhash_cbor, HashScheme::sglang,
                              HashScheme::sglang_bigram,    HashScheme::dynamo,
                              HashScheme::flexkv,           HashScheme::llm_d};

HashChain make_chain(HashScheme scheme, std::optional<std::uint32_t> group = std::nullopt) {
  return HashChain::make({.scheme = scheme, .seed = "0", .block_tokens = 16, .group = group})
      .value();
}

std::vector<std::uint32_t> random_tokens(test::Rng& rng, std::size_t count) {
  std::vector<std::uint32_t> tokens(count);
  for (std::uint32_t& token : tokens) token = static_cast<std::uint32_t>(rng.below(150'000));
  return tokens;
}

TEST(HashChain, NamesOfSchemesGoBothWays) {
  for (const HashScheme scheme : kSchemes)
    EXPECT_EQ(parse_hash_scheme(hash_scheme_name(scheme)), scheme);
  EXPECT_FALSE(parse_hash_scheme("sha256").has_value());
  EXPECT_FALSE(parse_hash_scheme("").has_value());
}

TEST(HashChain, OnlyFullBlocksHaveKeys) {
  for (const HashScheme scheme : kSchemes) {
    const HashChain chain = make_chain(scheme);
    const std::size_t extra =
        scheme == HashScheme::sglang_bigram ? 1 : 0;  // n tokens make n-1 pairs
    EXPECT_EQ(chain.block_count(0), 0U);
    EXPECT_EQ(chain.block_count(15 + extra), 0U);
    EXPECT_EQ(chain.block_count(16 + extra), 1U);
    EXPECT_EQ(chain.block_count(31 + extra), 1U);
    EXPECT_EQ(chain.block_count(32 + extra), 2U);
  }
}

TEST(HashChain, AKeyDependsOnItsPrefixAndNothingAfter) {
  test::Rng rng(5);
  for (const HashScheme scheme : kSchemes) {
    HashCase base{.scheme = scheme, .seed = "0", .tokens = random_tokens(rng, 16 * 6 + 1)};
    const std::vector<std::string> keys = base.keys();
    HashCase changed = base;
    changed.tokens[3 * 16 + 5] ^= 1;
    const std::vector<std::string> other = changed.keys();
    for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(keys[i] == other[i], i < 3) << i;
    HashCase shorter = base;
    shorter.tokens.resize(16 * 4 + 1);
    const std::vector<std::string> prefix = shorter.keys();
    EXPECT_TRUE(std::equal(prefix.begin(), prefix.end(), keys.begin()));
  }
}

TEST(HashChain, NativeKeepsApartWhatVllmConfuses) {
  for (const HashScheme scheme : {HashScheme::vllm_sha256_cbor, HashScheme::native}) {
    const std::vector<std::uint32_t> tokens(16, 7);
    const HashCase lora{.scheme = scheme, .tokens = tokens, .lora = "X"};
    const HashCase salt{.scheme = scheme, .tokens = tokens, .salt = "X"};
    EXPECT_EQ(lora.keys() == salt.keys(), scheme == HashScheme::vllm_sha256_cbor);
  }
}

TEST(HashChain, ManyRequestsAtOnceEqualEachAlone) {
  const std::uint64_t seed = test::announce_seed();
  test::Rng rng(seed);
  const MultimodalFeature feature{"image", 20, 40};
  for (const HashScheme scheme : kSchemes) {
    const HashChain chain = make_chain(scheme, 7);
    const bool extra = takes_extra_keys(scheme);
    std::vector<std::vector<std::uint32_t>> tokens;
    for (int i = 0; i < 40; ++i) tokens.push_back(random_tokens(rng, rng.below(20'000)));

    const auto run = [&](unsigned threads, std::vector<std::vector<std::byte>>& keys) {
      std::vector<HashRequest> requests;
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        keys.emplace_back(chain.block_count(tokens[i].size()) * chain.key_bytes());
        HashRequest request{.tokens = tokens[i], .keys = keys.back()};
        if (extra && i % 3 == 0) request.extra = {.lora_name = "l", .features = {&feature, 1}};
        requests.push_back(request);
      }
      if (threads != 0) return chain.hash_requests(requests, threads);
      for (const HashRequest& request : requests) CAIRN_RETURN_IF_ERROR(chain.hash(request));
      return absl::OkStatus();
    };
    std::vector<std::vector<std::byte>> alone;
    alone.reserve(tokens.size());
    ASSERT_TRUE(run(0, alone).ok());
    for (const unsigned threads : {1U, 2U, 5U}) {
      std::vector<std::vector<std::byte>> together;
      together.reserve(tokens.size());
      ASSERT_TRUE(run(threads, together).ok());
      EXPECT_EQ(alone, together) << threads;
    }
  }
}

TEST(HashChain, DynamosSeedIsANumber) {
  for (const char* seed : {"x", "-1", "1.5", " 1", "1 ", "0x10", "18446744073709551616"}) {
    const auto chain = HashChain::make({.scheme = HashScheme::dynamo, .seed = seed});
    EXPECT_TRUE(has_code(chain.status(), ErrorCode::invalid_argument)) << seed;
  }
  for (const char* seed : {"", "0", "18446744073709551615"}) {
    EXPECT_TRUE(HashChain::make({.scheme = HashScheme::dynamo, .seed = seed}).ok()) << seed;
  }
}

TEST(HashChain, TheModelIsPartOfLlmdsChainAlone) {
  for (const HashScheme scheme : kSchemes) {
    HashCase c{.scheme = scheme, .tokens = std::vector<std::uint32_t>(40, 3)};
    const std::vector<std::string> without = c.keys();
    c.model = "a model";
    EXPECT_EQ(c.keys() == without, scheme != HashScheme::llm_d) << hash_scheme_name(scheme);
  }
}

TEST(HashChain, RefusesWhatItCannotExpress) {
  EXPECT_TRUE(has_code(HashChain::make({.block_tokens = 0}).status(), ErrorCode::invalid_argument));
  EXPECT_TRUE(
      has_code(HashChain::make({.block_tokens = 65'537}).status(), ErrorCode::invalid_argument));

  const std::vector<std::uint32_t> tokens(33, 1);
  std::vector<std::byte> keys(64);
  const auto refuses = [&](HashScheme scheme, const ExtraKeys& extra, std::size_t bytes = 64) {
    const HashRequest request{
        .tokens = tokens, .extra = extra, .keys = MutableByteSpan(keys).first(bytes)};
    const HashChain chain = make_chain(scheme);
    EXPECT_EQ(chain.hash(request).ok(), chain.hash_requests({&request, 1}, 2).ok());
    return has_code(chain.hash(request), ErrorCode::invalid_argument);
  };
  const MultimodalFeature backwards{"f", -1, 3};
  const MultimodalFeature negative{"f", 1, -3};
  const MultimodalFeature endless{"f", 1, std::numeric_limits<std::int64_t>::max()};
  for (const HashScheme scheme : kSchemes) {
    EXPECT_FALSE(refuses(scheme, {}));
    for (const MultimodalFeature* f : {&backwards, &negative, &endless}) {
      EXPECT_TRUE(refuses(scheme, {.features = {f, 1}}));
    }
    EXPECT_TRUE(refuses(scheme, {.prompt_embeds = as_bytes("12345"), .embeds_row_bytes = 2}));
    EXPECT_TRUE(refuses(scheme, {.prompt_embeds = as_bytes("12345")}));
    const std::size_t short_by_one = make_chain(scheme).key_bytes() * 2 - 1;
    EXPECT_TRUE(refuses(scheme, {}, short_by_one));
  }
  for (const HashScheme scheme : kSchemes) {
    if (takes_extra_keys(scheme)) continue;
    EXPECT_TRUE(refuses(scheme, {.lora_name = "l"}));
    EXPECT_TRUE(refuses(scheme, {.cache_salt = "s"}));
    EXPECT_TRUE(refuses(scheme, {.embeds_row_bytes = 4}));
  }
}

}  // namespace
}  // namespace cairn
