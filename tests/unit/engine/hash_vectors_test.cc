// SPDX-License-Identifier: Apache-2.0
// Goal: the chains are those of the field, bit for bit, and our own never drifts.
// Method: published vectors of vLLM, SGLang, Dynamo, FlexKV and llm-d from $CAIRN_DATA/vectors
// (kept beside the project), and the native chain's from tests/golden, which an independent script
// made.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/engine/hash_case.h"

namespace cairn {
namespace {

using Json = nlohmann::json;

std::string source_dir() {
  const char* const dir = std::getenv("CAIRN_SOURCE_DIR");
  return dir != nullptr ? dir : ".";
}

std::string vectors_file() {
  const char* const data = std::getenv("CAIRN_DATA");
  return (data != nullptr ? std::string(data) : source_dir() + "/../shared") +
         "/vectors/hash_vectors.json";
}

std::string text_or_empty(const Json& value) {
  return value.is_null() ? "" : value.get<std::string>();
}

class PublishedVectors : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(vectors_file())) {
      GTEST_SKIP() << "no published vectors at " << vectors_file() << " (set CAIRN_DATA)";
    }
    vectors_ = Json::parse(std::ifstream(vectors_file()));
  }
  Json vectors_;
};

std::vector<HashCase::Feature> features_of(const Json& list) {
  std::vector<HashCase::Feature> features;
  for (const Json& f : list)
    features.push_back({f.at("identifier"), f.at("offset"), f.at("length")});
  return features;
}

HashCase vllm_case(const Json& vector) {
  const auto scheme = parse_hash_scheme(
      vector.at("algorithm") == "sha256_cbor" ? "vllm-sha256-cbor" : "vllm-xxhash-cbor");
  return {.scheme = *scheme,
          .seed = vector.at("none_hash_seed"),
          .block_tokens = vector.at("block_size"),
          .tokens = vector.at("tokens"),
          .lora = text_or_empty(vector.at("lora_name")),
          .salt = text_or_empty(vector.at("cache_salt")),
          .features = features_of(vector.at("mm_features"))};
}

TEST_F(PublishedVectors, VllmChainsEqualEveryVector) {
  std::size_t compared = 0;
  for (const Json& vector : vectors_.at("vllm")) {
    SCOPED_TRACE(vector.at("case").get<std::string>() + " " +
                 vector.at("algorithm").get<std::string>());
    const std::vector<std::string> keys = vllm_case(vector).keys();
    ASSERT_EQ(keys.size(), vector.at("blocks").size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      EXPECT_EQ(keys[i], vector.at("blocks")[i].at("hash_hex"));
      ++compared;
    }
  }
  EXPECT_GE(compared, 48U);
}

TEST_F(PublishedVectors, GroupsMakeVllmsOffloadKeys) {
  for (const Json& vector : vectors_.at("vllm")) {
    for (const std::uint32_t group : {0U, 3U}) {
      HashCase with_group = vllm_case(vector);
      with_group.group = group;
      const std::vector<std::string> keys = with_group.keys();
      const std::string field = "offload_key_group" + std::to_string(group) + "_hex";
      for (std::size_t i = 0; i < keys.size(); ++i) {
        EXPECT_EQ(keys[i], vector.at("blocks").at(i).at(field));
      }
    }
  }
}

TEST_F(PublishedVectors, SglangChainEqualsEveryVector) {
  std::size_t compared = 0;
  for (const Json& vector : vectors_.at("sglang")) {
    const HashCase plain{.scheme = HashScheme::sglang,
                         .block_tokens = vector.at("page_size"),
                         .tokens = vector.at("tokens")};
    const std::vector<std::string> keys = plain.keys();
    ASSERT_EQ(keys.size(), vector.at("pages").size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      EXPECT_EQ(keys[i], vector.at("pages")[i].at("hash_hex"));
      ++compared;
    }
  }
  EXPECT_GE(compared, 8U);
}

/// A number as the key that stands for it.
std::string key_of(const Json& number) {
  std::array<char, 17> hex{};
  std::snprintf(hex.data(), hex.size(), "%016llx", number.get<unsigned long long>());
  return hex.data();
}

TEST_F(PublishedVectors, DynamosChainEqualsEveryVector) {
  std::size_t compared = 0;
  for (const Json& vector : vectors_.at("dynamo_mooncake_conductor")) {
    SCOPED_TRACE(vector.at("note").get<std::string>());
    const auto seed = vector.at("seed").get<std::uint64_t>();
    HashCase c{.scheme = HashScheme::dynamo,
               .seed = std::to_string(seed),
               .block_tokens = vector.at("block_size"),
               .tokens = vector.at("tokens")};
    std::vector<std::string> wanted;
    for (const Json& block : vector.at("blocks"))
      wanted.push_back(key_of(block.at("sequence_hash")));
    EXPECT_EQ(c.keys(), wanted);
    if (seed == 1337) {
      c.seed.clear();
      EXPECT_EQ(c.keys(), wanted) << "1337 is what no seed means";
    }
    compared += wanted.size();
  }
  EXPECT_GE(compared, 10U);
}

TEST_F(PublishedVectors, FlexkvsAndLlmdsChainsEqualEveryVector) {
  std::size_t compared = 0;
  for (const bool is_flexkv : {true, false}) {
    for (const Json& vector : vectors_.at(is_flexkv ? "flexkv_xxh64" : "llm_d_fnv64a")) {
      HashCase c{.scheme = is_flexkv ? HashScheme::flexkv : HashScheme::llm_d,
                 .block_tokens = vector.at("block_size"),
                 .tokens = vector.at("tokens")};
      if (!is_flexkv) {
        c.seed = vector.at("hash_seed");
        c.model = vector.at("model");
      }
      std::vector<std::string> wanted;
      for (const Json& hash : vector.at("hashes")) wanted.push_back(key_of(hash));
      EXPECT_EQ(c.keys(), wanted);
      compared += wanted.size();
    }
  }
  EXPECT_GE(compared, 6U);
}

TEST(NativeChain, EqualsItsGoldenVectors) {
  std::ifstream file(source_dir() + "/tests/golden/native_chain.json");
  ASSERT_TRUE(file.good());
  const Json golden = Json::parse(file);
  ASSERT_GE(golden.at("vectors").size(), 16U);
  for (const Json& vector : golden.at("vectors")) {
    SCOPED_TRACE(vector.at("name").get<std::string>());
    const HashCase native{.seed = vector.at("seed"),
                          .block_tokens = vector.at("block_tokens"),
                          .tokens = vector.at("tokens"),
                          .lora = vector.at("lora"),
                          .salt = vector.at("salt"),
                          .features = features_of(vector.at("features")),
                          .embeds = from_hex(text_or_empty(vector.at("embeds"))).value(),
                          .row_bytes = vector.at("row_bytes")};
    EXPECT_EQ(native.keys(), vector.at("keys").get<std::vector<std::string>>());
  }
}

}  // namespace
}  // namespace cairn
