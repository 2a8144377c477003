// SPDX-License-Identifier: Apache-2.0
// lookup — the longest prefix of 1,000 resident blocks: hashing the keys, taking the locks and
// finding each block, beside as many finds of 128-bit keys in an absl::flat_hash_map, which
// hashes nothing and locks nothing.
#include <thread>

#include "absl/container/flat_hash_map.h"
#include "bench/measure.h"
#include "bench/named/named.h"
#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/catalog.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kChain = 1000;
constexpr std::size_t kKeyBytes = 36;  // vLLM's offload key: SHA-256 ‖ group
constexpr std::uint64_t kSecret = 0x7ea5e77e;

/// Key i, made from nothing, so that the keys themselves need not be kept.
void make_key(std::uint64_t i, char* out) {
  for (std::size_t word = 0; word < 4; ++word) {
    const std::uint64_t value = (i + 1) * 0x9e3779b97f4a7c15ULL + word;
    std::memcpy(out + 8 * word, &value, 8);
  }
  std::memset(out + 32, 0, 4);
}

BlockId id_of(std::uint64_t i) {
  std::array<char, kKeyBytes> key{};
  make_key(i, key.data());
  return block_id({NamespaceId{1}, {key.data(), key.size()}, 0}, kSecret);
}

struct Fixture {
  explicit Fixture(std::uint64_t count) : blocks(count), catalog({.blocks_max = count + 1}) {
    map.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      BlockFacts facts{.sequence = i + 1, .plain_bytes = 4096};
      const BlockId id = id_of(i);
      if (i % kChain != 0) facts.parent = id_of(i - 1);
      CAIRN_CHECK(
          catalog.publish_cold(id, {NamespaceId{1}}, facts, Location{i + 1}, 4096, nullptr));
      map.emplace(id.hash, i);
    }
  }

  std::uint64_t chain_at(std::uint64_t n) const {
    return (n * 0x9e3779b97f4a7c15ULL >> 16) % (blocks / kChain) * kChain;
  }

  /// ns a block; keys are prepared before the clock starts, ids are not.
  absl::StatusOr<double> match(std::uint64_t first_chain, std::size_t chains) const {
    std::vector<char> keys(kChain * kKeyBytes);
    std::vector<BlockId> ids(kChain);
    double seconds = 0;
    for (std::size_t c = 0; c < chains; ++c) {
      const std::uint64_t start = chain_at(first_chain + c);
      for (std::size_t i = 0; i < kChain; ++i) make_key(start + i, keys.data() + i * kKeyBytes);
      const Stopwatch watch;
      for (std::size_t i = 0; i < kChain; ++i) {
        ids[i] = block_id({NamespaceId{1}, {keys.data() + i * kKeyBytes, kKeyBytes}, 0}, kSecret);
      }
      const std::size_t found = catalog.match(ids, {});
      seconds += watch.seconds();
      if (found != kChain)
        return make_error(ErrorCode::internal, concat("matched ", found, " of ", kChain));
    }
    return seconds * 1e9 / static_cast<double>(chains * kChain);
  }

  absl::StatusOr<double> find(std::uint64_t first_chain, std::size_t chains) const {
    std::vector<Hash128> ids(kChain);
    double seconds = 0;
    for (std::size_t c = 0; c < chains; ++c) {
      const std::uint64_t start = chain_at(first_chain + c);
      for (std::size_t i = 0; i < kChain; ++i) ids[i] = id_of(start + i).hash;
      std::uint64_t sum = 0;
      const Stopwatch watch;
      for (const Hash128& id : ids) sum += map.find(id)->second;
      seconds += watch.seconds();
      keep(sum);
    }
    return seconds * 1e9 / static_cast<double>(chains * kChain);
  }

  std::uint64_t blocks;
  Catalog catalog;
  absl::flat_hash_map<Hash128, std::uint64_t> map;
};

/// Blocks a microsecond of `threads` threads together.
double throughput(const Fixture& fixture, unsigned threads, std::size_t chains) {
  const Stopwatch watch;
  std::vector<std::thread> workers;
  for (unsigned t = 0; t < threads; ++t) {
    workers.emplace_back(
        [&fixture, t, chains] { CAIRN_CHECK(fixture.match(t * 7919, chains).ok()); });
  }
  for (std::thread& worker : workers) worker.join();
  return static_cast<double>(threads) * static_cast<double>(chains * kChain) / watch.seconds() /
         1e6;
}

}  // namespace

absl::StatusOr<Report> run_lookup(const Settings& settings) {
  Report report{.name = "lookup", .cases = {}};
  const std::size_t chains = settings.quick ? 300 : 1000;
  const int rounds = settings.quick ? 9 : 21;
  const Yardstick map_find{"absl::flat_hash_map::find", 0,
                           "as many 128-bit keys, reserved, no lock, no hashing of keys"};
  std::vector<std::pair<std::uint64_t, double>> sizes{{1'000'000, 70}};
  if (!settings.quick) sizes.emplace_back(10'000'000, 110);
  for (const auto& [size, bound] : sizes) {
    const Fixture fixture(size);
    std::uint64_t next = 0;
    Case shape{.name = concat("prefix of 1,000 among ", size / 1'000'000, " M"),
               .unit = "ns a block",
               .higher_is_better = false,
               .yardstick = map_find,
               .goal = {Goal::On::figure, bound},
               .note = "36-byte keys; key hashing and locks included"};
    CAIRN_ASSIGN_OR_RETURN(Case done, compare(
                                          std::move(shape), rounds,
                                          [&] { return fixture.match(next += chains, chains); },
                                          [&] { return fixture.find(next += chains, chains); }));
    report.cases.push_back(std::move(done));
    if (size != 1'000'000) continue;
    Case threads{.name = "two threads among 1 M",
                 .unit = "M blocks/s",
                 .higher_is_better = true,
                 .yardstick = {"one thread", 0, "the same lookups"},
                 .goal = {Goal::On::ratio, 1.8}};
    CAIRN_ASSIGN_OR_RETURN(
        Case both, compare(
                       std::move(threads), rounds,
                       [&]() -> absl::StatusOr<double> { return throughput(fixture, 2, chains); },
                       [&]() -> absl::StatusOr<double> { return throughput(fixture, 1, chains); }));
    report.cases.push_back(std::move(both));
  }
  return report;
}

}  // namespace cairn::bench
