// SPDX-License-Identifier: Apache-2.0
#include "tests/support/seed.h"

#include <cstdio>
#include <cstdlib>
#include <random>

namespace cairn::test {
namespace {

std::uint64_t fresh_seed() {
  std::random_device entropy;
  return (std::uint64_t{entropy()} << 32) | entropy();
}

}  // namespace

std::optional<std::uint64_t> seed_from_environment() {
  const char* text = std::getenv("CAIRN_SEED");
  if (text == nullptr || *text == '\0') return std::nullopt;
  return std::strtoull(text, nullptr, 0);
}

void print_seed(std::uint64_t seed) {
  std::printf("seed=0x%016llx\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
}

std::uint64_t announce_seed() {
  const std::uint64_t seed = seed_from_environment().value_or(fresh_seed());
  print_seed(seed);
  return seed;
}

std::vector<std::uint64_t> seeds(std::initializer_list<std::uint64_t> fixed, std::size_t fresh) {
  if (const auto given = seed_from_environment()) return {*given};
  std::vector<std::uint64_t> all(fixed);
  for (std::size_t i = 0; i < fresh; ++i) all.push_back(fresh_seed());
  return all;
}

double test_scale() {
  const char* text = std::getenv("CAIRN_TEST_SCALE");
  const double scale = text == nullptr ? 1.0 : std::strtod(text, nullptr);
  return scale > 0 ? scale : 1.0;
}

std::size_t scaled(std::size_t count) {
  return std::max<std::size_t>(1,
                               static_cast<std::size_t>(static_cast<double>(count) * test_scale()));
}

}  // namespace cairn::test
