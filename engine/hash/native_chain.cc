// SPDX-License-Identifier: Apache-2.0
// The only file of engine/hash that compiles XXH3 in: a call into libxxhash for 64 and for 32
// bytes costs as much as the hashing, and inlined with lengths known it is straight-line code.
#define XXH_INLINE_ALL
#include "engine/hash/native_chain.h"

#include <xxhash.h>

#include <string>

#include "engine/hash/sha256.h"

namespace cairn::detail {
namespace {

/// key ‖ local, both as canonical bytes: the words are swapped once, on the way in.
struct Link {
  std::uint64_t key_high;
  std::uint64_t key_low;
  std::uint64_t local_high;
  std::uint64_t local_low;
};
static_assert(sizeof(Link) == 32);

void append_extra_key(std::string& image, char kind, std::string_view value) {
  append_le(image, static_cast<std::uint32_t>(1 + value.size()));
  image.push_back(kind);
  image.append(value);
}

/// key[-1]: everything about the request that is not a token.
XXH128_hash_t root_of(std::string_view seed, const ExtraKeys& extra) {
  std::string image(seed);
  if (!extra.lora_name.empty()) append_extra_key(image, 'L', extra.lora_name);
  for (const MultimodalFeature& feature : extra.features) {
    std::string value(feature.identifier);
    append_le(value, feature.offset);
    append_le(value, feature.length);
    append_extra_key(image, 'M', value);
  }
  if (!extra.cache_salt.empty()) append_extra_key(image, 'S', extra.cache_salt);
  if (extra.has_embeds()) append_extra_key(image, 'E', as_text(sha256(extra.prompt_embeds)));
  return XXH3_128bits(image.data(), image.size());
}

/// kTokens is the block's length where it is known when compiling, else 0.
template <std::size_t kTokens>
void hash_blocks(const HashRequest& request, std::size_t block_tokens, std::size_t key_bytes,
                 XXH128_hash_t key) {
  const std::size_t tokens = kTokens != 0 ? kTokens : block_tokens;
  const std::size_t blocks = request.tokens.size() / tokens;
  const std::uint32_t* next = request.tokens.data();
  std::byte* out = request.keys.data();
  for (std::size_t i = 0; i < blocks; ++i, next += tokens, out += key_bytes) {
    const XXH128_hash_t local = XXH3_128bits(next, 4 * tokens);
    const Link link{__builtin_bswap64(key.high64), __builtin_bswap64(key.low64),
                    __builtin_bswap64(local.high64), __builtin_bswap64(local.low64)};
    key = XXH3_128bits(&link, sizeof link);
    const std::uint64_t high = __builtin_bswap64(key.high64);
    const std::uint64_t low = __builtin_bswap64(key.low64);
    std::memcpy(out, &high, sizeof high);
    std::memcpy(out + sizeof high, &low, sizeof low);
  }
}

}  // namespace

void hash_native(const HashChainOptions& options, const HashRequest& request,
                 std::size_t key_bytes) {
  const XXH128_hash_t root = root_of(options.seed, request.extra);
  switch (options.block_tokens) {
    case 2:
      return hash_blocks<2>(request, 2, key_bytes, root);
    case 16:
      return hash_blocks<16>(request, 16, key_bytes, root);
    case 32:
      return hash_blocks<32>(request, 32, key_bytes, root);
    default:
      return hash_blocks<0>(request, options.block_tokens, key_bytes, root);
  }
}

}  // namespace cairn::detail
