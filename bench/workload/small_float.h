// SPDX-License-Identifier: Apache-2.0
// small_float.h — values rounded to the element types of KV caches.
//
// To nearest, ties to even; beyond the largest finite value it saturates, as inference engines
// do when they quantise.
//
// Threading: pure functions. Blocking: never.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace cairn::workload {

/// A binary format with one sign bit.
struct SmallFloat {
  int mantissa_bits;
  int exponent_bias;
  std::uint32_t sign_bit;
  std::uint32_t largest;  // the code of the largest finite value
};
constexpr SmallFloat kFp16{10, 15, 0x8000, 0x7bff};
constexpr SmallFloat kFp8E4m3{3, 7, 0x80, 0x7e};
constexpr SmallFloat kFp8E5m2{2, 15, 0x80, 0x7b};

inline std::uint32_t round_to(const SmallFloat& format, double value) {
  const std::uint32_t sign = std::signbit(value) ? format.sign_bit : 0;
  const double magnitude = std::fabs(value);
  if (magnitude == 0) return sign;
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude is in [2^(exponent-1), 2^exponent)
  exponent = std::max(exponent - 1, 1 - format.exponent_bias);
  // In units of the last place; a subnormal has less than 2^mantissa_bits of them. Adding the
  // exponent above carries into the next binade by itself when rounding went up to it.
  const double units = std::nearbyint(std::ldexp(magnitude, format.mantissa_bits - exponent));
  const double code = units + std::ldexp(exponent + format.exponent_bias - 1, format.mantissa_bits);
  return sign | (code < format.largest ? static_cast<std::uint32_t>(code) : format.largest);
}

inline std::uint16_t round_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace cairn::workload
