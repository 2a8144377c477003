// SPDX-License-Identifier: Apache-2.0
// hash_bench.cc — what hashing a prompt costs, block by block, on one core.
//
// Each chain over prompts of random tokens, beside the bare hash of the very bytes that the
// chain hashes: for CBOR 85 bytes a block (tokens from 256 to 65,535), for native 64 and 32.
//
//   BM_Hash_chain/{native,vllm_sha256_cbor,vllm_xxhash_cbor,sglang}/{token range}
//   BM_Hash_bare_sha256        SHA-256 of 85 bytes, the yardstick of vllm_sha256_cbor
//   BM_Hash_bare_sha256_evp    the same through EVP, the documented way
//   BM_Hash_bare_xxh3          XXH3-128 of 64 and of 32 bytes, the yardstick of native
//   BM_Hash_requests           many prompts at once, by threads
#define OPENSSL_SUPPRESS_DEPRECATED  // the low-level SHA-256 is the faster, so the harder yardstick
#include <benchmark/benchmark.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <cstdint>
#include <random>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/hash128.h"
#include "engine/hash/chain.h"

namespace cairn {
namespace {

constexpr std::size_t kBlocks = 4096;
constexpr std::size_t kBlockTokens = 16;
constexpr std::size_t kCborBytes = 85;

std::vector<std::uint32_t> random_tokens(std::uint32_t limit) {
  std::mt19937 random(7);
  std::vector<std::uint32_t> tokens(kBlocks * kBlockTokens);
  for (auto& token : tokens) token = static_cast<std::uint32_t>(random()) % limit;
  return tokens;
}

HashChain make_chain(HashScheme scheme) {
  auto chain = HashChain::make({.scheme = scheme, .seed = "0", .block_tokens = kBlockTokens});
  CAIRN_CHECK(chain.ok());
  return *chain;
}

void count_blocks(benchmark::State& state, std::size_t blocks) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(blocks));
}

void BM_Hash_chain(benchmark::State& state, HashScheme scheme) {
  const HashChain chain = make_chain(scheme);
  const auto tokens = random_tokens(static_cast<std::uint32_t>(state.range(0)));
  std::vector<std::byte> keys(kBlocks * chain.key_bytes());
  for (auto _ : state) {
    CAIRN_CHECK(chain.hash({.tokens = tokens, .keys = keys}).ok());
    benchmark::DoNotOptimize(keys.data());
  }
  count_blocks(state, kBlocks);
}
BENCHMARK_CAPTURE(BM_Hash_chain, native, HashScheme::native)->Arg(65536);
BENCHMARK_CAPTURE(BM_Hash_chain, vllm_sha256_cbor, HashScheme::vllm_sha256_cbor)
    ->Arg(65536)
    ->Arg(131072);
BENCHMARK_CAPTURE(BM_Hash_chain, vllm_xxhash_cbor, HashScheme::vllm_xxhash_cbor)->Arg(65536);
BENCHMARK_CAPTURE(BM_Hash_chain, sglang, HashScheme::sglang)->Arg(65536);

void BM_Hash_bare_sha256(benchmark::State& state) {
  std::vector<unsigned char> message(kCborBytes, 'x');
  unsigned char digest[32];
  for (auto _ : state) {
    SHA256_CTX context;
    SHA256_Init(&context);
    SHA256_Update(&context, message.data(), message.size());
    SHA256_Final(digest, &context);
    std::memcpy(message.data() + 3, digest, 32);
  }
  count_blocks(state, 1);
}
BENCHMARK(BM_Hash_bare_sha256);

void BM_Hash_bare_sha256_evp(benchmark::State& state) {
  std::vector<unsigned char> message(kCborBytes, 'x');
  unsigned char digest[32];
  EVP_MD_CTX* const context = EVP_MD_CTX_new();
  EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  for (auto _ : state) {
    EVP_DigestInit_ex2(context, sha256, nullptr);
    EVP_DigestUpdate(context, message.data(), message.size());
    EVP_DigestFinal_ex(context, digest, nullptr);
    std::memcpy(message.data() + 3, digest, 32);
  }
  EVP_MD_free(sha256);
  EVP_MD_CTX_free(context);
  count_blocks(state, 1);
}
BENCHMARK(BM_Hash_bare_sha256_evp);

void BM_Hash_bare_xxh3(benchmark::State& state) {
  std::vector<std::byte> message(64, std::byte{1});
  for (auto _ : state) {
    const Hash128 local = xxh3_128(message);
    std::memcpy(message.data(), &local, 16);
    const Hash128 key = xxh3_128(ByteSpan(message).first(32));
    std::memcpy(message.data(), &key, 16);
  }
  count_blocks(state, 1);
}
BENCHMARK(BM_Hash_bare_xxh3);

void BM_Hash_requests(benchmark::State& state) {
  const HashChain chain = make_chain(HashScheme::vllm_sha256_cbor);
  const auto tokens = random_tokens(65536);
  constexpr std::size_t kRequests = 64;
  std::vector<std::byte> keys(kRequests * kBlocks * chain.key_bytes());
  std::vector<HashRequest> requests;
  for (std::size_t i = 0; i < kRequests; ++i) {
    const std::size_t bytes = kBlocks * chain.key_bytes();
    requests.push_back({.tokens = tokens, .keys = MutableByteSpan(keys).subspan(i * bytes, bytes)});
  }
  for (auto _ : state) {
    CAIRN_CHECK(chain.hash_requests(requests, static_cast<unsigned>(state.range(0))).ok());
  }
  count_blocks(state, kRequests * kBlocks);
}
BENCHMARK(BM_Hash_requests)->Arg(1)->Arg(2)->UseRealTime();

}  // namespace
}  // namespace cairn

BENCHMARK_MAIN();
