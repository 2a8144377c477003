// SPDX-License-Identifier: Apache-2.0
// codec_bytes.h — what the tests of tiers/codec share.
#pragma once

#include <cstddef>
#include <vector>

#include "tests/support/seed.h"
#include "tiers/codec/planes.h"

namespace cairn::tiers {

using test::Rng;
using Bytes = std::vector<std::byte>;

/// Those that this processor has; the first is the one that the others are held against.
inline std::vector<Simd> kinds() {
  std::vector<Simd> all{Simd::scalar};
  if (best_simd() >= Simd::avx2) all.push_back(Simd::avx2);
  if (best_simd() >= Simd::avx512) all.push_back(Simd::avx512);
  return all;
}

inline Bytes random_bytes(std::size_t count, Rng& rng) {
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(rng.below(256));
  return bytes;
}

}  // namespace cairn::tiers
