// SPDX-License-Identifier: Apache-2.0
// Goal: what no published vector covers (prompt embeddings, bigrams, any mixture of extra
// keys) equals an independent implementation.
// Method: one batch of fixed and random requests goes to hash_reference.py, which computes the
// keys with cbor2, hashlib and xxhash; every line it prints is compared.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/seed.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/engine/hash_case.h"

namespace cairn {
namespace {

using Json = nlohmann::json;

Json to_json(const HashCase& c) {
  Json features = Json::array();
  for (const HashCase::Feature& f : c.features) {
    features.push_back({{"identifier", f.identifier}, {"offset", f.offset}, {"length", f.length}});
  }
  return {{"scheme", hash_scheme_name(c.scheme)},
          {"seed", c.seed},
          {"block_tokens", c.block_tokens},
          {"group", c.group ? Json(*c.group) : Json()},
          {"tokens", c.tokens},
          {"lora", c.lora},
          {"salt", c.salt},
          {"features", features},
          {"embeds", c.row_bytes != 0 ? Json(to_hex(as_bytes(c.embeds))) : Json()},
          {"row_bytes", c.row_bytes},
          {"model", c.model}};
}

/// The first interpreter that has the packages; empty where none has.
std::string find_python() {
  const char* const wanted = std::getenv("CAIRN_PYTHON");
  for (const std::string& python :
       {std::string(wanted != nullptr ? wanted : "python3"), std::string("/usr/bin/python3")}) {
    const std::string probe = python + " -c 'import cbor2, xxhash' 2>/dev/null";
    if (std::system(probe.c_str()) == 0) return python;
  }
  return "";
}

class HashReference : public testing::Test {
 protected:
  void SetUp() override {
    python_ = find_python();
    if (python_.empty()) {
      GTEST_SKIP() << "no Python with cbor2 and xxhash (pip install -r tests/requirements.txt)";
    }
  }

  void expect_equal(const std::vector<HashCase>& cases) {
    const test::TempDir dir("hash_reference");
    std::ofstream requests(dir.file("requests"));
    for (const HashCase& c : cases) requests << to_json(c).dump() << '\n';
    requests.close();
    const char* const source = std::getenv("CAIRN_SOURCE_DIR");
    const std::string command = python_ + " " + (source != nullptr ? source : ".") +
                                "/tests/unit/engine/hash_reference.py < " + dir.file("requests") +
                                " > " + dir.file("keys");
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    std::ifstream answers(dir.file("keys"));
    for (const HashCase& c : cases) {
      std::string line;
      ASSERT_TRUE(std::getline(answers, line));
      ASSERT_EQ(c.keys(), Json::parse(line).get<std::vector<std::string>>()) << to_json(c).dump();
    }
  }

  std::string python_;
};

std::vector<std::uint32_t> counting(std::uint32_t count) {
  std::vector<std::uint32_t> tokens(count);
  for (std::uint32_t i = 0; i < count; ++i) tokens[i] = i * 97;
  return tokens;
}

TEST_F(HashReference, PromptEmbeddingsAreHashedBlockByBlock) {
  std::vector<HashCase> cases;
  for (const HashScheme scheme :
       {HashScheme::vllm_sha256_cbor, HashScheme::vllm_xxhash_cbor, HashScheme::native}) {
    // Rows for all tokens, for some of them, ending inside a block, and for none.
    for (const std::size_t rows : {64U, 32U, 39U, 0U}) {
      HashCase c{
          .scheme = scheme, .seed = "vllm-none-hash", .tokens = counting(64), .row_bytes = 6};
      for (std::size_t i = 0; i < rows * c.row_bytes; ++i)
        c.embeds.push_back(static_cast<char>(i * 7));
      cases.push_back(c);
      c.lora = "sql-lora";
      c.salt = "tenant";
      c.features = {{"img", 5, 20}};
      cases.push_back(c);
    }
  }
  expect_equal(cases);
}

TEST_F(HashReference, BigramsPairEveryTokenWithTheNext) {
  std::vector<HashCase> cases;
  for (const std::uint32_t count : {0U, 1U, 2U, 16U, 17U, 33U, 100U}) {
    for (const std::size_t page : {1U, 16U, 64U}) {
      cases.push_back(
          {.scheme = HashScheme::sglang_bigram, .block_tokens = page, .tokens = counting(count)});
      cases.push_back(
          {.scheme = HashScheme::sglang, .block_tokens = page, .tokens = counting(count)});
    }
  }
  expect_equal(cases);
}

std::string random_text(test::Rng& rng) {
  static constexpr std::array<const char*, 6> kPieces{"a",  "Z9",   "é",
                                                      "石", "🪨", "tenant-with-a-long-name/"};
  std::string text;
  // Lengths around 23, 255 and 256 bytes are where CBOR headers change.
  for (std::uint64_t n = rng.chance(0.1) ? rng.between(20, 40) : rng.below(5); n > 0; --n)
    text += rng.pick(kPieces);
  return text;
}

std::uint32_t random_token(test::Rng& rng) {
  static constexpr std::array<std::uint32_t, 10> kEdges{
      0, 23, 24, 255, 256, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff};
  if (rng.chance(0.2)) return rng.pick(kEdges);
  return static_cast<std::uint32_t>(rng.next() >> (32 + rng.below(32)));
}

HashCase random_case(test::Rng& rng) {
  static constexpr std::array<std::size_t, 8> kBlockTokens{1, 2, 3, 16, 23, 24, 32, 300};
  HashCase c{.scheme = static_cast<HashScheme>(rng.below(8)),
             .block_tokens = rng.pick(kBlockTokens)};
  c.tokens.resize(rng.below(4 * c.block_tokens + 2));
  for (std::uint32_t& token : c.tokens) token = random_token(rng);
  if (rng.chance(0.3)) c.group = random_token(rng);
  if (c.scheme == HashScheme::dynamo) c.seed = rng.chance(0.2) ? "" : std::to_string(rng.next());
  if (c.scheme == HashScheme::llm_d) {
    c.seed = random_text(rng);
    c.model = random_text(rng);
  }
  if (!takes_extra_keys(c.scheme)) return c;

  c.seed = random_text(rng);
  if (rng.chance(0.4)) c.lora = random_text(rng);
  if (rng.chance(0.4)) c.salt = random_text(rng);
  for (std::uint64_t n = rng.below(5); n > 0; --n) {
    c.features.push_back({random_text(rng),
                          static_cast<std::int64_t>(rng.below(c.tokens.size() + 9)),
                          static_cast<std::int64_t>(rng.below(2 * c.block_tokens + 2))});
  }
  if (rng.chance(0.3)) {
    c.row_bytes = rng.between(1, 9);
    c.embeds.resize(rng.below(c.tokens.size() + 3) * c.row_bytes);
    for (char& byte : c.embeds) byte = static_cast<char>(rng.next());
  }
  return c;
}

TEST_F(HashReference, RandomRequestsEqualTheReference) {
  for (const std::uint64_t seed : test::seeds({1, 2}, 1)) {
    test::print_seed(seed);
    test::Rng rng(seed);
    std::vector<HashCase> cases;
    for (std::size_t i = test::scaled(1000); i > 0; --i) cases.push_back(random_case(rng));
    expect_equal(cases);
  }
}

}  // namespace
}  // namespace cairn
