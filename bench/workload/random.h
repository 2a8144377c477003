// SPDX-License-Identifier: Apache-2.0
// random.h — the random numbers of workloads: the same on every machine, from a seed.
//
// Source: splitmix64, https://prng.di.unimi.it/splitmix64.c (public domain).
// Threading: thread-compatible. Blocking: never.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace cairn::workload {

/// A bijection that scatters: the output stage of splitmix64.
constexpr std::uint64_t scatter(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}
constexpr std::uint64_t kGoldenStep = 0x9e3779b97f4a7c15U;

/// The i-th number of a stream, without those before it.
constexpr std::uint64_t random_at(std::uint64_t stream, std::uint64_t i) {
  return scatter(stream + (i + 1) * kGoldenStep);
}

/// In [0, 1), 53 bits.
constexpr double to_fraction(std::uint64_t word) {
  return static_cast<double>(word >> 11) * 0x1p-53;
}

struct NormalPair {
  double first;
  double second;
};
/// Two independent standard normal values from two words (Box and Muller).
inline NormalPair to_normals(std::uint64_t a, std::uint64_t b) {
  const double radius = std::sqrt(-2 * std::log1p(-to_fraction(a)));
  const double angle = 2 * std::numbers::pi * to_fraction(b);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(scatter(seed + kGoldenStep)) {}
  std::uint64_t next() { return scatter(state_ += kGoldenStep); }
  double fraction() { return to_fraction(next()); }
  /// 0 … bound-1, bound > 0; biased by less than bound ÷ 2^64.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  bool chance(double odds) { return fraction() < odds; }
  double normal() {
    const std::uint64_t a = next();
    return to_normals(a, next()).first;
  }
  /// Mean of the waiting time until an event of a Poisson process.
  double exponential(double mean) { return -mean * std::log1p(-fraction()); }
  /// Median and spread (σ of the logarithm) as people give them for lengths of texts.
  double lognormal(double median, double spread) { return median * std::exp(spread * normal()); }

 private:
  std::uint64_t state_;
};

}  // namespace cairn::workload
