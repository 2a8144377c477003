// SPDX-License-Identifier: Apache-2.0
#include "engine/hash/sglang_chain.h"

#include <vector>

#include "engine/hash/sha256.h"

namespace cairn::detail {
namespace {

/// Copies the words of one page behind the parent's digest; returns the end.
std::byte* append_page(std::byte* out, const std::uint32_t* tokens, std::size_t count,
                       bool bigram) {
  if (!bigram) {
    std::memcpy(out, tokens, 4 * count);
    return out + 4 * count;
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(out, tokens + i, 8);  // the token and the one after it
    out += 8;
  }
  return out;
}

}  // namespace

void hash_sglang(const HashChainOptions& options, const HashRequest& request,
                 std::size_t key_bytes) {
  const bool bigram = options.scheme == HashScheme::sglang_bigram;
  const std::size_t page_tokens = options.block_tokens;
  const std::size_t units =
      bigram && !request.tokens.empty() ? request.tokens.size() - 1 : request.tokens.size();
  std::vector<std::byte> buffer(kSha256Bytes + (bigram ? 8 : 4) * page_tokens + kSha256PaddingMax);
  std::size_t parent_bytes = 0;  // the first page has none before it
  for (std::size_t i = 0; i < units / page_tokens; ++i) {
    const std::byte* const end = append_page(
        buffer.data() + parent_bytes, request.tokens.data() + i * page_tokens, page_tokens, bigram);
    std::byte* const key = request.keys.data() + i * key_bytes;
    sha256_in_place(buffer.data(), static_cast<std::size_t>(end - buffer.data()), key);
    std::memcpy(buffer.data(), key, kSha256Bytes);
    parent_bytes = kSha256Bytes;
  }
}

}  // namespace cairn::detail
