// SPDX-License-Identifier: Apache-2.0
// chain.h — the hash chains of the field: token ids in, the keys of the full blocks out.
//
// Keys are opaque to the engine. This library exists for those who have tokens and no keys
// (offline jobs, `cairn explain`, replays, tests) and must arrive at the very bytes that a
// serving engine would use. It is not used by match, put or get, and it isolates nobody: with
// vLLM's chain a LoRA adapter "X" and a cache salt "X" give one and the same first key, so
// tenants are kept apart by namespaces, never by the chain alone.
//
//   scheme             key   block i
//   native             16 B  XXH3-128(key[i-1] ‖ XXH3-128(tokens u32le)); key[-1] = XXH3-128(
//                            seed ‖ for each extra key: u32le length ‖ bytes); all seed 0, all
//                            digests 16 bytes, high64 ‖ low64 big-endian
//   vllm_sha256_cbor   32 B  SHA-256(CBOR [key[i-1], [tokens], extra keys or null])
//   vllm_xxhash_cbor   16 B  XXH3-128 of the same; in both key[-1] = the hash of CBOR text(seed)
//   sglang             32 B  SHA-256(key[i-1] ‖ tokens u32le), nothing before block 0
//   sglang_bigram      32 B  the same over pairs (token, next token): n tokens make n-1 pairs
//   dynamo              8 B  XXH3-64(u64le key[i-1] ‖ u64le local_i), local_i = XXH3-64(tokens
//                            u32le), seeded; key[0] = local_0. Mooncake's conductor shares it
//   flexkv              8 B  XXH64, seed 0, of all tokens up to the block's end as i64le
//   llm_d               8 B  FNV-1a-64(CBOR [key[i-1], [tokens], null]); key[-1] = the same of
//                            [FNV-1a-64(seed), null, model]
//
// The last three are numbers; a key is the number big-endian (u64_chains.h).
//
// With a group each key is followed by that number, u32 big-endian (vLLM's offload key).
//
// Threading: HashChain is immutable; every call may run beside every other. Blocking: cpu.
// Failure:   make() and check() refuse what the scheme cannot express; after a check that
//            passed hashing cannot fail.
// Lifetime:  requests borrow everything they point to until the call returns.
//
// Invariants: only full blocks have keys; a key depends on no token after its block; no
//             allocation per block; hash_requests equals hash of each request alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/bytes.h"

namespace cairn {

enum class HashScheme : std::uint8_t {
  native,
  vllm_sha256_cbor,
  vllm_xxhash_cbor,
  sglang,
  sglang_bigram,
  dynamo,
  flexkv,
  llm_d,
};

/// "vllm-sha256-cbor": the name in namespace descriptors and on the command line.
std::string_view hash_scheme_name(HashScheme scheme);
std::optional<HashScheme> parse_hash_scheme(std::string_view name);
/// "vllm-sha256-cbor, …, llm-d and native", for messages.
std::string hash_scheme_list();
/// Whether it is known what a scheme makes of ExtraKeys.
bool takes_extra_keys(HashScheme scheme);

/// An image or a sound that stands for the tokens [offset, offset + length) of the prompt.
struct MultimodalFeature {
  std::string_view identifier;
  std::int64_t offset = 0;
  std::int64_t length = 0;
};

/// What changes the KV besides the tokens. Empty text means absent, as it does in vLLM. Texts
/// are UTF-8; they are hashed as given.
///   vLLM:   LoRA in every block; each feature in the blocks that it overlaps, with its offset
///           from the block's start; the salt in block 0; the embeddings' digest in every block.
///   native: all of it is in key[-1], so that two requests which differ anywhere in it share
///           nothing. Each extra key begins with a letter that tells its kind, in this order:
///           'L' name, 'M' identifier ‖ i64le offset ‖ i64le length (each feature),
///           'S' salt, 'E' SHA-256 of the embeddings.
///   sglang, dynamo, flexkv, llm_d: refused; the bytes that such chains begin with are not public,
///           or not confirmed. (Newer Dynamo is said to add them up to the seed: give it that.)
struct ExtraKeys {
  std::string_view lora_name;
  std::string_view cache_salt;
  std::span<const MultimodalFeature> features;  // in the order of the request
  /// The prompt's embeddings, row by row. A block hashes the rows of its own tokens: SHA-256 of
  /// bytes [start × row_bytes, end × row_bytes), cut at the end of what is given, so a block
  /// behind the prompt hashes no bytes and still has the extra key. Absent if row_bytes is 0.
  ByteSpan prompt_embeds;
  std::size_t embeds_row_bytes = 0;

  bool has_embeds() const { return embeds_row_bytes != 0; }
  bool is_empty() const {
    return lora_name.empty() && cache_salt.empty() && features.empty() && !has_embeds();
  }
};

constexpr std::size_t kBlockTokensMax = 65'536;

struct HashChainOptions {
  HashScheme scheme = HashScheme::native;
  /// SGLang's and FlexKV's have none and do not look at it; Dynamo's is a number, 1337 if empty.
  std::string seed;
  std::size_t block_tokens = 16;  // 1 … kBlockTokensMax
  std::string model;              // llm_d's alone, in key[-1]
  std::optional<std::uint32_t> group;
};

struct HashRequest {
  std::span<const std::uint32_t> tokens;
  ExtraKeys extra;
  /// At least block_count(tokens.size()) × key_bytes() long; the keys one after another.
  MutableByteSpan keys;
};

class HashChain {
 public:
  static absl::StatusOr<HashChain> make(HashChainOptions options);

  const HashChainOptions& options() const { return options_; }
  /// Bytes of one key, the group's included.
  std::size_t key_bytes() const { return digest_bytes_ + (options_.group ? 4 : 0); }
  std::size_t block_count(std::size_t tokens) const;

  /// `invalid_argument` for a request that the scheme cannot express or whose `keys` is short.
  absl::Status check(const HashRequest& request) const;
  /// check, then the keys.
  absl::Status hash(const HashRequest& request) const;
  /// Each request once, spread over at most `threads` threads, the caller's among them; 0 means
  /// as many as the machine runs. All requests are checked before the first key is written.
  /// Small work stays on the caller's thread: a thread costs about 20 µs to start.
  absl::Status hash_requests(std::span<const HashRequest> requests, unsigned threads) const;

 private:
  HashChain(HashChainOptions options, std::size_t digest_bytes)
      : options_(std::move(options)), digest_bytes_(digest_bytes) {}
  void hash_checked(const HashRequest& request) const;

  HashChainOptions options_;
  std::size_t digest_bytes_;
};

}  // namespace cairn
