// SPDX-License-Identifier: Apache-2.0
// XXH64's state and short XXH3 hashes are compiled in, as in native_chain.cc.
#define XXH_INLINE_ALL
#include "engine/hash/u64_chains.h"

#include <xxhash.h>

#include <charconv>
#include <vector>

#include "engine/hash/cbor.h"

namespace cairn::detail {
namespace {

constexpr std::uint64_t kDynamoSeed = 1337;

void write_key(const HashRequest& request, std::size_t i, std::size_t key_bytes,
               std::uint64_t key) {
  const std::uint64_t image = __builtin_bswap64(key);
  std::memcpy(request.keys.data() + i * key_bytes, &image, sizeof image);
}

/// FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/
std::uint64_t fnv1a(ByteSpan bytes) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const std::byte byte : bytes) {
    hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * 1099511628211ULL;
  }
  return hash;
}

/// Of the array [seed, null, model].
std::uint64_t fnv1a_of_root(std::uint64_t seed, std::string_view model) {
  std::vector<std::byte> image(2 * CborWriter::kHeaderBytesMax + 1 +
                               CborWriter::text_bytes_max(model.size()));
  CborWriter writer(image);
  writer.begin_array(3);
  writer.write_unsigned(seed);
  writer.write_null();
  writer.write_text(model);
  return fnv1a(ByteSpan(image).first(writer.size()));
}

}  // namespace

std::optional<std::uint64_t> parse_dynamo_seed(std::string_view text) {
  if (text.empty()) return kDynamoSeed;
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return seed;
}

void hash_dynamo(const HashChainOptions& options, const HashRequest& request,
                 std::size_t key_bytes) {
  const std::uint64_t seed = parse_dynamo_seed(options.seed).value_or(kDynamoSeed);
  const std::size_t block = options.block_tokens;
  std::uint64_t key = 0;
  for (std::size_t i = 0; i < request.tokens.size() / block; ++i) {
    const std::uint64_t local =
        XXH3_64bits_withSeed(request.tokens.data() + i * block, 4 * block, seed);
    const std::uint64_t link[2] = {key, local};
    key = i == 0 ? local : XXH3_64bits_withSeed(link, sizeof link, seed);
    write_key(request, i, key_bytes, key);
  }
}

void hash_flexkv(const HashChainOptions& options, const HashRequest& request,
                 std::size_t key_bytes) {
  const std::size_t block = options.block_tokens;
  std::vector<std::uint64_t> words(block);
  XXH64_state_t state;
  XXH64_reset(&state, 0);
  for (std::size_t i = 0; i < request.tokens.size() / block; ++i) {
    const auto tokens = request.tokens.subspan(i * block, block);
    words.assign(tokens.begin(), tokens.end());
    XXH64_update(&state, words.data(), 8 * block);
    write_key(request, i, key_bytes, XXH64_digest(&state));
  }
}

void hash_llm_d(const HashChainOptions& options, const HashRequest& request,
                std::size_t key_bytes) {
  const std::size_t block = options.block_tokens;
  std::vector<std::byte> image(2 * CborWriter::kHeaderBytesMax +
                               CborWriter::tokens_bytes_max(block) + 1);
  std::uint64_t key = fnv1a_of_root(fnv1a(as_bytes(options.seed)), options.model);
  for (std::size_t i = 0; i < request.tokens.size() / block; ++i) {
    CborWriter writer(image);
    writer.begin_array(3);
    writer.write_unsigned(key);
    writer.write_tokens(request.tokens.data() + i * block, block);
    writer.write_null();
    key = fnv1a(ByteSpan(image).first(writer.size()));
    write_key(request, i, key_bytes, key);
  }
}

}  // namespace cairn::detail
