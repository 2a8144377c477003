// SPDX-License-Identifier: Apache-2.0
#include "engine/hash/chain.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/hash/native_chain.h"
#include "engine/hash/sglang_chain.h"
#include "engine/hash/u64_chains.h"
#include "engine/hash/vllm_chain.h"

namespace cairn {
namespace {

// Below this a second thread costs more than it takes over.
constexpr std::size_t kTokensPerThreadMin = 65'536;

struct SchemeName {
  HashScheme scheme;
  std::string_view name;
};
constexpr std::array<SchemeName, 8> kSchemeNames{{
    {HashScheme::native, "native"},
    {HashScheme::vllm_sha256_cbor, "vllm-sha256-cbor"},
    {HashScheme::vllm_xxhash_cbor, "vllm-xxhash-cbor"},
    {HashScheme::sglang, "sglang"},
    {HashScheme::sglang_bigram, "sglang-bigram"},
    {HashScheme::dynamo, "dynamo"},
    {HashScheme::flexkv, "flexkv"},
    {HashScheme::llm_d, "llm-d"},
}};

std::size_t digest_bytes(HashScheme scheme) {
  switch (scheme) {
    case HashScheme::native:
    case HashScheme::vllm_xxhash_cbor:
      return 16;
    case HashScheme::vllm_sha256_cbor:
    case HashScheme::sglang:
    case HashScheme::sglang_bigram:
      return 32;
    case HashScheme::dynamo:
    case HashScheme::flexkv:
    case HashScheme::llm_d:
      return 8;
  }
  CAIRN_UNREACHABLE();
}

absl::Status invalid(std::string_view why) {
  return make_error(ErrorCode::invalid_argument, why);
}

absl::Status check_extra(const ExtraKeys& extra) {
  for (const MultimodalFeature& feature : extra.features) {
    constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
    if (feature.offset < 0 || feature.length < 0 || feature.offset > kMax - feature.length) {
      return invalid(concat("multimodal feature '", feature.identifier, "' has offset ",
                            feature.offset, " and length ", feature.length,
                            "; neither may be negative"));
    }
  }
  if (!extra.has_embeds() && !extra.prompt_embeds.empty()) {
    return invalid("prompt embeddings need the bytes of one row");
  }
  if (extra.has_embeds() && extra.prompt_embeds.size() % extra.embeds_row_bytes != 0) {
    return invalid(concat("prompt embeddings of ", extra.prompt_embeds.size(),
                          " bytes are not whole rows of ", extra.embeds_row_bytes));
  }
  return absl::OkStatus();
}

void append_group(const HashRequest& request, std::size_t blocks, std::size_t key_bytes,
                  std::uint32_t group) {
  const std::uint32_t suffix = __builtin_bswap32(group);
  for (std::size_t i = 1; i <= blocks; ++i) {
    std::memcpy(request.keys.data() + i * key_bytes - sizeof suffix, &suffix, sizeof suffix);
  }
}

}  // namespace

std::string_view hash_scheme_name(HashScheme scheme) {
  for (const SchemeName& entry : kSchemeNames) {
    if (entry.scheme == scheme) return entry.name;
  }
  CAIRN_UNREACHABLE();
}

std::optional<HashScheme> parse_hash_scheme(std::string_view name) {
  for (const SchemeName& entry : kSchemeNames) {
    if (entry.name == name) return entry.scheme;
  }
  return std::nullopt;
}

std::string hash_scheme_list() {
  std::string list;
  for (const SchemeName& entry : kSchemeNames) {
    if (entry.scheme != HashScheme::native) list += concat(entry.name, ", ");
  }
  list.resize(list.size() - 2);
  return concat(list, " and ", hash_scheme_name(HashScheme::native));
}

bool takes_extra_keys(HashScheme scheme) {
  return scheme == HashScheme::native || scheme == HashScheme::vllm_sha256_cbor ||
         scheme == HashScheme::vllm_xxhash_cbor;
}

absl::StatusOr<HashChain> HashChain::make(HashChainOptions options) {
  if (options.block_tokens == 0 || options.block_tokens > kBlockTokensMax) {
    return invalid(
        concat("a block has 1 to ", kBlockTokensMax, " tokens, not ", options.block_tokens));
  }
  if (options.scheme == HashScheme::dynamo && !detail::parse_dynamo_seed(options.seed)) {
    return invalid(
        concat("a seed of Dynamo's chain is a number of 64 bits, not '", options.seed, "'"));
  }
  const std::size_t bytes = digest_bytes(options.scheme);
  return HashChain(std::move(options), bytes);
}

std::size_t HashChain::block_count(std::size_t tokens) const {
  const bool bigram = options_.scheme == HashScheme::sglang_bigram;
  return (bigram && tokens > 0 ? tokens - 1 : tokens) / options_.block_tokens;
}

absl::Status HashChain::check(const HashRequest& request) const {
  const std::size_t bytes = block_count(request.tokens.size()) * key_bytes();
  if (request.keys.size() < bytes) {
    return invalid(concat("the keys take ", bytes, " bytes, the buffer has ", request.keys.size()));
  }
  if (request.extra.is_empty()) return check_extra(request.extra);
  if (!takes_extra_keys(options_.scheme)) {
    return invalid(concat("a chain of ", hash_scheme_name(options_.scheme),
                          " takes no extra keys: what it makes of them is not known"));
  }
  return check_extra(request.extra);
}

absl::Status HashChain::hash(const HashRequest& request) const {
  CAIRN_RETURN_IF_ERROR(check(request));
  hash_checked(request);
  return absl::OkStatus();
}

absl::Status HashChain::hash_requests(std::span<const HashRequest> requests,
                                      unsigned threads) const {
  std::size_t tokens = 0;
  for (const HashRequest& request : requests) {
    CAIRN_RETURN_IF_ERROR(check(request));
    tokens += request.tokens.size();
  }
  const std::size_t wanted =
      threads != 0 ? threads : std::max(1U, std::thread::hardware_concurrency());
  const std::size_t workers = std::min({wanted, requests.size(), 1 + tokens / kTokensPerThreadMin});

  // A chain is serial, so a request is the unit; whoever is free takes the next one. Relaxed is
  // enough: the counter only deals out indices, and joining publishes the keys.
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < requests.size();) {
      hash_checked(requests[i]);
    }
  };
  std::vector<std::jthread> helpers;
  helpers.reserve(workers);
  try {
    for (std::size_t i = 1; i < workers; ++i) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // The machine gives no more threads; those that run take the work among them.
  }
  work();
  helpers.clear();  // joins
  return absl::OkStatus();
}

void HashChain::hash_checked(const HashRequest& request) const {
  switch (options_.scheme) {
    case HashScheme::native:
      detail::hash_native(options_, request, key_bytes());
      break;
    case HashScheme::vllm_sha256_cbor:
    case HashScheme::vllm_xxhash_cbor:
      detail::hash_vllm(options_, request, key_bytes());
      break;
    case HashScheme::sglang:
    case HashScheme::sglang_bigram:
      detail::hash_sglang(options_, request, key_bytes());
      break;
    case HashScheme::dynamo:
      detail::hash_dynamo(options_, request, key_bytes());
      break;
    case HashScheme::flexkv:
      detail::hash_flexkv(options_, request, key_bytes());
      break;
    case HashScheme::llm_d:
      detail::hash_llm_d(options_, request, key_bytes());
      break;
  }
  if (options_.group) {
    append_group(request, block_count(request.tokens.size()), key_bytes(), *options_.group);
  }
}

}  // namespace cairn
