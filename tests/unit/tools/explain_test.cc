// SPDX-License-Identifier: Apache-2.0
// Goal: what people type becomes the right keys, or an error that names the option and place.
#include "tools/cairn/explain.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"

namespace cairn::tools {
namespace {

std::string token_error(std::string_view text) {
  const auto tokens = parse_tokens(text);
  return tokens.ok() ? "" : std::string(message_of(tokens.status()));
}

std::string counting(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += std::to_string(i) + "\n";
  return text;
}

std::vector<std::string> hex_keys(const ExplainOptions& options) {
  const auto keys = explain_keys(options);
  EXPECT_TRUE(keys.ok()) << keys.status();
  std::vector<std::string> hex;
  if (keys.ok()) {
    for (const std::string& key : *keys) hex.push_back(to_hex(as_bytes(key)));
  }
  return hex;
}

std::string error_of(const ExplainOptions& options) {
  const auto keys = explain_keys(options);
  EXPECT_TRUE(has_code(keys.status(), ErrorCode::invalid_argument));
  return std::string(message_of(keys.status()));
}

TEST(Explain, TokensAreAnArrayOrWords) {
  const std::vector<std::uint32_t> expected{0, 17, 4294967295};
  EXPECT_EQ(parse_tokens("0 17 4294967295").value(), expected);
  EXPECT_EQ(parse_tokens("\n0\t17\r\n 4294967295\n\n").value(), expected);
  EXPECT_EQ(parse_tokens("[0,17,4294967295]").value(), expected);
  EXPECT_EQ(parse_tokens(" [ 0 , 17\n,4294967295 ] \n").value(), expected);
  EXPECT_TRUE(parse_tokens("").value().empty());
  EXPECT_TRUE(parse_tokens(" [ ] ").value().empty());
}

TEST(Explain, AWrongTokenIsNamedWithItsPlace) {
  constexpr std::string_view kWanted = "expected an integer from 0 to 4294967295";
  EXPECT_EQ(token_error("1 2 x3 4"), "token 2 (byte 4): " + std::string(kWanted) + ", not 'x3'");
  EXPECT_EQ(token_error("1 4294967296"),
            "token 1 (byte 2): " + std::string(kWanted) + ", not '4294967296'");
  EXPECT_EQ(token_error("-1"), "token 0 (byte 0): " + std::string(kWanted) + ", not '-1'");
  EXPECT_EQ(token_error("[1.5]"), "token 0 (byte 1): " + std::string(kWanted) + ", not '1.5]'");
  EXPECT_EQ(token_error("[1,]"), "token 1 (byte 3): " + std::string(kWanted) + ", not ']'");
  EXPECT_EQ(token_error("[1"), "token 1 (byte 2): expected ',' or ']', not the end");
  EXPECT_EQ(token_error("[1 2]"), "token 1 (byte 3): expected ',' or ']', not '2]'");
  EXPECT_EQ(token_error("[1] 2"), "token 1 (byte 4): expected nothing behind the array, not '2'");
  EXPECT_EQ(token_error("1,2"), "token 1 (byte 1): " + std::string(kWanted) + ", not ',2'");
}

TEST(Explain, KeysAreThoseOfTheChain) {
  // The first published vectors of vLLM.
  const ExplainOptions plain{.scheme = "vllm-sha256-cbor", .seed = "0", .tokens = counting(32)};
  EXPECT_EQ(hex_keys(plain),
            (std::vector<std::string>{
                "d830de3d42c00f25a2949b5d12d98642664a44872c1614c5b0147556276afc9c",
                "fedd9e4abebebbe6f6cf96b682f08d316063fe2f22a5c552192dd62904fcccac"}));
  const ExplainOptions xxhash{.scheme = "vllm-xxhash-cbor", .seed = "0", .tokens = counting(40)};
  EXPECT_EQ(hex_keys(xxhash), (std::vector<std::string>{"209f5d549fc07c8e39d823615ede61ce",
                                                        "03888914ee75b87e89df867a21beb72b"}));
  ExplainOptions grouped = xxhash;
  grouped.group = 3;
  EXPECT_EQ(hex_keys(grouped)[0], "209f5d549fc07c8e39d823615ede61ce00000003");
  const ExplainOptions native{.scheme = "native", .tokens = counting(16)};
  EXPECT_EQ(hex_keys(native), std::vector<std::string>{"a7477d7d5705daf7de18ae2f3f979ee7"});
  EXPECT_TRUE(hex_keys({.scheme = "sglang", .tokens = counting(15)}).empty());
}

TEST(Explain, EveryExtraKeyChangesTheKeys) {
  const ExplainOptions plain{.scheme = "vllm-sha256-cbor", .seed = "0", .tokens = counting(32)};
  std::vector<std::vector<std::string>> all{hex_keys(plain)};
  ExplainOptions changed = plain;
  changed.lora = "adapter";
  all.push_back(hex_keys(changed));
  changed.salt = "tenant";
  all.push_back(hex_keys(changed));
  changed.features = R"([{"identifier": "img", "offset": 8, "length": 12}])";
  all.push_back(hex_keys(changed));
  changed.embeds = std::string(64, 'e');
  all.push_back(hex_keys(changed));
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(all[i], all[j]);
  }
  // Empty is absent, as in vLLM.
  changed = plain;
  changed.lora = changed.salt = "";
  changed.features = "[]";
  EXPECT_EQ(hex_keys(changed), all[0]);
}

TEST(Explain, WhatCannotBeIsRefusedByName) {
  EXPECT_NE(error_of({.scheme = "sha256"}).find("--scheme: there is no 'sha256'"),
            std::string::npos);
  EXPECT_EQ(error_of({.scheme = "native", .tokens = "1 x"}).find("--tokens: token 1"), 0U);
  EXPECT_EQ(error_of({.scheme = "native", .block_tokens = 0}).find("--block-tokens: "), 0U);
  EXPECT_EQ(
      error_of({.scheme = "native", .tokens = "1 2", .embeds = "abc"}).find("--embeds: 3 bytes"),
      0U);
  EXPECT_EQ(error_of({.scheme = "native", .tokens = "", .embeds = "abc"}).find("--embeds: "), 0U);
  for (const char* features :
       {"", "{}", "[1]", "[{}]", R"([{"identifier":"x","offset":0}])",
        R"([{"identifier":"x","offset":-1,"length":2}])",
        R"([{"identifier":"x","offset":0.5,"length":2}])",
        R"([{"identifier":"x","offset":18446744073709551615,"length":2}])"}) {
    EXPECT_NE(error_of({.scheme = "native", .features = features}), "") << features;
  }
  for (const char* scheme : {"sglang", "sglang-bigram"}) {
    EXPECT_EQ(error_of({.scheme = scheme, .lora = ""}).find("--lora does not go with sglang"), 0U);
    EXPECT_EQ(error_of({.scheme = scheme, .salt = "s"}).find("--salt "), 0U);
    EXPECT_EQ(error_of({.scheme = scheme, .features = "[]"}).find("--mm "), 0U);
    EXPECT_EQ(error_of({.scheme = scheme, .embeds = ""}).find("--embeds "), 0U);
  }
  for (const char* scheme : {"sglang", "sglang-bigram", "flexkv"}) {
    EXPECT_EQ(error_of({.scheme = scheme, .seed = "7"}).find("--seed does not go with "), 0U);
  }
  EXPECT_EQ(error_of({.scheme = "dynamo", .salt = "s"}).find("--salt does not go with dynamo"), 0U);
  EXPECT_EQ(error_of({.scheme = "dynamo", .seed = "x"}).find("--seed: a seed of Dynamo's"), 0U);
  EXPECT_EQ(error_of({.scheme = "native", .model = "m"}).find("--model does not go with"), 0U);
  EXPECT_EQ(hex_keys({.scheme = "llm-d", .tokens = counting(16), .model = "m"}),
            std::vector<std::string>{"6b03331a89270195"});
}

}  // namespace
}  // namespace cairn::tools
