// SPDX-License-Identifier: Apache-2.0
#include "engine/hash/vllm_chain.h"

#include <algorithm>
#include <vector>

#include "engine/base/hash128.h"
#include "engine/hash/cbor.h"
#include "engine/hash/sha256.h"

namespace cairn::detail {
namespace {

// The two hashes have one shape: the digest of buffer[0, length), where kTailBytes behind the
// message may be overwritten.
struct Sha256Cbor {
  static constexpr std::size_t kDigestBytes = kSha256Bytes;
  static constexpr std::size_t kTailBytes = kSha256PaddingMax;
  static void digest(std::byte* buffer, std::size_t length, std::byte* out) {
    sha256_in_place(buffer, length, out);
  }
};

struct XxhashCbor {
  static constexpr std::size_t kDigestBytes = 16;
  static constexpr std::size_t kTailBytes = 0;
  static void digest(std::byte* buffer, std::size_t length, std::byte* out) {
    const Hash128 hash = xxh3_128({buffer, length});
    store_le(MutableByteSpan(out, 16), 0, __builtin_bswap64(hash.high));
    store_le(MutableByteSpan(out, 16), 8, __builtin_bswap64(hash.low));
  }
};

struct TokenRange {
  std::size_t begin;
  std::size_t end;
};

bool overlaps(const MultimodalFeature& feature, TokenRange block) {
  // Offsets and lengths were checked to be neither negative nor to overflow when added.
  return static_cast<std::uint64_t>(feature.offset) < block.end &&
         block.begin < static_cast<std::uint64_t>(feature.offset + feature.length);
}

ByteSpan embeds_of(const ExtraKeys& extra, TokenRange block) {
  const std::size_t rows = extra.prompt_embeds.size() / extra.embeds_row_bytes;
  const std::size_t begin = std::min(block.begin, rows) * extra.embeds_row_bytes;
  const std::size_t end = std::min(block.end, rows) * extra.embeds_row_bytes;
  return extra.prompt_embeds.subspan(begin, end - begin);
}

/// Null, or an array of what applies to this block.
void write_extra_keys(CborWriter& cbor, const ExtraKeys& extra, TokenRange block) {
  const bool has_lora = !extra.lora_name.empty();
  const bool has_salt = block.begin == 0 && !extra.cache_salt.empty();
  const auto features = static_cast<std::size_t>(
      std::ranges::count_if(extra.features, [&](const auto& f) { return overlaps(f, block); }));
  const std::size_t count = has_lora + features + has_salt + extra.has_embeds();
  if (count == 0) return cbor.write_null();

  cbor.begin_array(count);
  if (has_lora) cbor.write_text(extra.lora_name);
  for (const MultimodalFeature& feature : extra.features) {
    if (!overlaps(feature, block)) continue;
    cbor.begin_array(2);
    cbor.write_text(feature.identifier);
    cbor.write_integer(feature.offset - static_cast<std::int64_t>(block.begin));
  }
  if (has_salt) cbor.write_text(extra.cache_salt);
  if (extra.has_embeds()) cbor.write_bytes(sha256(embeds_of(extra, block)));
}

std::size_t extra_keys_bytes_max(const ExtraKeys& extra) {
  std::size_t bytes = CborWriter::kHeaderBytesMax;
  bytes += CborWriter::text_bytes_max(extra.lora_name.size());
  bytes += CborWriter::text_bytes_max(extra.cache_salt.size());
  for (const MultimodalFeature& feature : extra.features) {
    bytes +=
        2 * CborWriter::kHeaderBytesMax + CborWriter::text_bytes_max(feature.identifier.size());
  }
  return bytes + CborWriter::text_bytes_max(kSha256Bytes);
}

template <typename Hash>
void hash_seed(std::string_view seed, std::byte* digest) {
  std::vector<std::byte> buffer(CborWriter::text_bytes_max(seed.size()) + Hash::kTailBytes);
  CborWriter cbor(buffer);
  cbor.write_text(seed);
  Hash::digest(buffer.data(), cbor.size(), digest);
}

template <typename Hash>
void hash_blocks(const HashChainOptions& options, const HashRequest& request,
                 std::size_t key_bytes) {
  const std::size_t block_tokens = options.block_tokens;
  const std::size_t blocks = request.tokens.size() / block_tokens;
  const bool has_extra = !request.extra.is_empty();

  std::array<std::byte, Hash::kDigestBytes> root;
  hash_seed<Hash>(options.seed, root.data());
  const std::byte* parent = root.data();

  // One buffer for the whole request, as large as its largest block can become.
  std::vector<std::byte> buffer(CborWriter::kHeaderBytesMax * 2 + Hash::kDigestBytes +
                                CborWriter::tokens_bytes_max(block_tokens) +
                                extra_keys_bytes_max(request.extra) + Hash::kTailBytes);
  for (std::size_t i = 0; i < blocks; ++i) {
    const TokenRange block{i * block_tokens, (i + 1) * block_tokens};
    CborWriter cbor(buffer);
    cbor.begin_array(3);
    cbor.write_bytes({parent, Hash::kDigestBytes});
    cbor.write_tokens(request.tokens.data() + block.begin, block_tokens);
    has_extra ? write_extra_keys(cbor, request.extra, block) : cbor.write_null();

    std::byte* const key = request.keys.data() + i * key_bytes;
    Hash::digest(buffer.data(), cbor.size(), key);
    parent = key;
  }
}

}  // namespace

void hash_vllm(const HashChainOptions& options, const HashRequest& request, std::size_t key_bytes) {
  if (options.scheme == HashScheme::vllm_sha256_cbor) {
    hash_blocks<Sha256Cbor>(options, request, key_bytes);
  } else {
    CAIRN_CHECK(options.scheme == HashScheme::vllm_xxhash_cbor);
    hash_blocks<XxhashCbor>(options, request, key_bytes);
  }
}

}  // namespace cairn::detail
