// SPDX-License-Identifier: Apache-2.0
// hash — blocks a second of each chain on one core, beside the bare hash of the same bytes.
#define OPENSSL_SUPPRESS_DEPRECATED  // the low-level SHA-256 is the faster, so the harder yardstick
#include <openssl/sha.h>

#include <random>

#include "bench/measure.h"
#include "bench/named/named.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/hash/chain.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kBlockTokens = 16;
constexpr std::size_t kCborBytes = 85;  // 16 tokens from 256 to 65,535, a 32-byte parent, no extras

struct Prompt {
  std::vector<std::uint32_t> tokens;
  explicit Prompt(std::size_t blocks) : tokens(blocks * kBlockTokens) {
    std::mt19937 random(7);
    for (std::uint32_t& token : tokens)
      token = 256 + static_cast<std::uint32_t>(random()) % (65536 - 256);
  }
};

Run chain_run(HashScheme scheme, std::size_t blocks) {
  return [scheme, prompt = Prompt(blocks), blocks]() -> absl::StatusOr<double> {
    CAIRN_ASSIGN_OR_RETURN(
        const HashChain chain,
        HashChain::make({.scheme = scheme, .seed = "0", .block_tokens = kBlockTokens}));
    std::vector<std::byte> keys(blocks * chain.key_bytes());
    const Stopwatch watch;
    CAIRN_RETURN_IF_ERROR(chain.hash({.tokens = prompt.tokens, .keys = keys}));
    keep(keys.back());
    return static_cast<double>(blocks) / watch.seconds() / 1e6;
  };
}

Run bare_sha256(std::size_t blocks) {
  return [blocks]() -> absl::StatusOr<double> {
    std::array<unsigned char, kCborBytes> image{};
    std::array<unsigned char, 32> digest{};
    const Stopwatch watch;
    for (std::size_t i = 0; i < blocks; ++i) {
      std::memcpy(image.data(), digest.data(), digest.size());  // a chain: each waits for the last
      SHA256_CTX context;
      SHA256_Init(&context);
      SHA256_Update(&context, image.data(), image.size());
      SHA256_Final(digest.data(), &context);
    }
    keep(digest);
    return static_cast<double>(blocks) / watch.seconds() / 1e6;
  };
}

Run bare_xxh3(std::size_t blocks, std::size_t first, std::size_t second) {
  return [=]() -> absl::StatusOr<double> {
    std::vector<std::byte> image(first);
    std::array<std::byte, 32> link{};
    const Stopwatch watch;
    for (std::size_t i = 0; i < blocks; ++i) {
      const Hash128 local = xxh3_128(image);
      std::memcpy(second != 0 ? link.data() : image.data(), &local, sizeof(local));
      if (second != 0) {
        const Hash128 key = xxh3_128(ByteSpan(link).first(second));
        std::memcpy(link.data() + 16, &key, sizeof(key));
      }
    }
    keep(link);
    return static_cast<double>(blocks) / watch.seconds() / 1e6;
  };
}

}  // namespace

absl::StatusOr<Report> run_hash(const Settings& settings) {
  Report report{.name = "hash", .cases = {}};
  const std::size_t blocks = settings.quick ? 400'000 : 2'000'000;
  const int rounds = settings.quick ? 7 : 21;
  struct Row {
    std::string name;
    HashScheme scheme;
    Goal goal;
    Yardstick yardstick;
    Run run;
  };
  const std::vector<Row> rows{
      {"native",
       HashScheme::native,
       {Goal::On::figure, 60},
       {"bare XXH3-128 of 64 and of 32 bytes", 0, "libxxhash, chained, one core"},
       bare_xxh3(blocks, 64, 32)},
      {"vllm-sha256-cbor",
       HashScheme::vllm_sha256_cbor,
       {Goal::On::figure, 5},
       {"bare SHA-256 of 85 bytes", 0, "OpenSSL SHA256_Init/Update/Final, chained, one core"},
       bare_sha256(blocks)},
      {"vllm-sha256-cbor against bare",
       HashScheme::vllm_sha256_cbor,
       {Goal::On::ratio, 0.7},
       {"bare SHA-256 of 85 bytes", 0, "OpenSSL SHA256_Init/Update/Final, chained, one core"},
       bare_sha256(blocks)},
      {"vllm-xxhash-cbor",
       HashScheme::vllm_xxhash_cbor,
       {},
       {"bare XXH3-128 of 69 bytes", 0, "libxxhash, chained, one core"},
       bare_xxh3(blocks, 69, 0)},
      {"sglang",
       HashScheme::sglang,
       {},
       {"bare SHA-256 of 85 bytes", 0, "OpenSSL SHA256_Init/Update/Final, chained, one core"},
       bare_sha256(blocks)},
  };
  for (const Row& row : rows) {
    Case shape{.name = row.name,
               .unit = "M blocks/s",
               .higher_is_better = true,
               .yardstick = row.yardstick,
               .goal = row.goal,
               .note = "16-token blocks, tokens 256 to 65,535"};
    CAIRN_ASSIGN_OR_RETURN(
        Case done, compare(std::move(shape), rounds, chain_run(row.scheme, blocks), row.run));
    report.cases.push_back(std::move(done));
  }
  return report;
}

}  // namespace cairn::bench
