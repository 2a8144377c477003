// SPDX-License-Identifier: Apache-2.0
// seed.h — random numbers that can be had again.
//
// A random test asks for its seeds here and they are printed before it runs; with CAIRN_SEED
// in the environment it runs that one seed alone. CAIRN_TEST_SCALE (1.0 when unset) scales
// how many iterations a test makes: sanitizer runs use 0.1, `make check-long` 10.
//
// Threading: Rng is thread-compatible; the functions are thread-safe.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/check.h"

namespace cairn::test {

/// xoshiro256**, seeded through splitmix64 (https://prng.di.unimi.it): small, and the same
/// numbers on every machine, which std's distributions do not promise.
class Rng {
 public:
  using result_type = std::uint64_t;

  explicit Rng(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15U;
      std::uint64_t mixed = seed;
      mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
      word = mixed ^ (mixed >> 31);
    }
  }

  static constexpr std::uint64_t min() { return 0; }
  static constexpr std::uint64_t max() { return std::numeric_limits<std::uint64_t>::max(); }
  std::uint64_t operator()() { return next(); }

  std::uint64_t next() {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// 0 … bound-1; the bias is below 2^-32 for every bound a test uses.
  std::uint64_t below(std::uint64_t bound) {
    CAIRN_CHECK(bound > 0);
    return next() % bound;
  }
  /// low … high, both included.
  std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + below(high - low + 1);
  }
  double fraction() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  /// Draws even when the answer is certain, so that changing odds shifts nothing else.
  bool chance(double odds) { return fraction() < odds; }

  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }
  template <typename Container>
  auto& pick(Container& items) {
    return items[below(items.size())];
  }
  void fill(MutableByteSpan bytes) {
    while (!bytes.empty()) {
      const std::uint64_t word = next();
      const std::size_t count = std::min(bytes.size(), sizeof(word));
      std::memcpy(bytes.data(), &word, count);
      bytes = bytes.subspan(count);
    }
  }
  /// A generator of its own, so that one part's draws do not shift another's.
  Rng fork() { return Rng(next()); }

 private:
  std::uint64_t state_[4];
};

/// CAIRN_SEED, decimal or 0x….
std::optional<std::uint64_t> seed_from_environment();
/// CAIRN_SEED, else a fresh one; printed.
std::uint64_t announce_seed();
/// Prints `seed=` for a seed that was chosen elsewhere.
void print_seed(std::uint64_t seed);
/// The fixed seeds, then `fresh` new ones; CAIRN_SEED alone when it is set. Each is to be
/// printed by print_seed when its run begins.
std::vector<std::uint64_t> seeds(std::initializer_list<std::uint64_t> fixed, std::size_t fresh);

double test_scale();
/// `count` times the scale, at least 1.
std::size_t scaled(std::size_t count);

}  // namespace cairn::test
