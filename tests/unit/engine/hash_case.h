// SPDX-License-Identifier: Apache-2.0
// hash_case.h — one request to a hash chain with everything it borrows, for the hash tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/hash/chain.h"

namespace cairn {

struct HashCase {
  struct Feature {
    std::string identifier;
    std::int64_t offset = 0;
    std::int64_t length = 0;
  };

  HashScheme scheme = HashScheme::native;
  std::string seed;
  std::size_t block_tokens = 16;
  std::string model;
  std::optional<std::uint32_t> group;
  std::vector<std::uint32_t> tokens;
  std::string lora;
  std::string salt;
  std::vector<Feature> features;
  std::string embeds;
  std::size_t row_bytes = 0;

  std::vector<MultimodalFeature> borrowed_features() const {
    std::vector<MultimodalFeature> borrowed;
    for (const Feature& f : features) borrowed.push_back({f.identifier, f.offset, f.length});
    return borrowed;
  }

  /// The keys as hexadecimal; fails the test if the chain refuses the request.
  std::vector<std::string> keys() const {
    const auto chain = HashChain::make({.scheme = scheme,
                                        .seed = seed,
                                        .block_tokens = block_tokens,
                                        .model = model,
                                        .group = group});
    EXPECT_TRUE(chain.ok());
    const std::size_t blocks = chain->block_count(tokens.size());
    const std::vector<MultimodalFeature> borrowed = borrowed_features();
    // A byte more than the keys need, which must stay as it is.
    std::vector<std::byte> flat(blocks * chain->key_bytes() + 1, std::byte{0xa5});
    const absl::Status status = chain->hash({.tokens = tokens,
                                             .extra = {.lora_name = lora,
                                                       .cache_salt = salt,
                                                       .features = borrowed,
                                                       .prompt_embeds = as_bytes(embeds),
                                                       .embeds_row_bytes = row_bytes},
                                             .keys = flat});
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(flat.back(), std::byte{0xa5});
    std::vector<std::string> hex;
    for (std::size_t i = 0; i < blocks; ++i) {
      hex.push_back(to_hex(ByteSpan(flat).subspan(i * chain->key_bytes(), chain->key_bytes())));
    }
    return hex;
  }
};

}  // namespace cairn
