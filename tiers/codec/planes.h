// SPDX-License-Identifier: Apache-2.0
// planes.h — numbers taken apart into the bits that repeat and the bits that do not.
//
// Of a floating-point number the exponent says its size, which neighbours share, and the rest is
// as good as random. Side by side, exponents compress; between mantissas they hardly do. Sixteen
// bits are taken apart as for bf16: eight bits below the sign, which for fp16 are its exponent and
// three bits of its mantissa.
//
// Chosen at run time: AVX-512, AVX2 or scalar; all three give the same bytes.
//
// Threading: pure. Blocking: cpu.
#pragma once

#include <cstdint>

#include "engine/base/bytes.h"

namespace cairn::tiers {

enum class Simd : std::uint8_t { scalar, avx2, avx512 };
/// The best that this processor has.
Simd best_simd();

/// elements: 2n bytes, high and low: n. Element i, little-endian, gives high[i], its bits 7…14, and
/// low[i], its sign in bit 7 and its bits 0…6. No alignment is needed; nothing overlaps.
void split16(Simd simd, ByteSpan elements, MutableByteSpan high, MutableByteSpan low);
/// `base` is added to each of high.
void join16(Simd simd, ByteSpan high, std::byte base, ByteSpan low, MutableByteSpan elements);

/// elements: 4n bytes, high: n, low: 3n. Element i gives high[i], its bits 23…30; low[i], its sign
/// in bit 7 and its bits 16…22; low[n + i], its bits 8…15; low[2n + i], its bits 0…7.
void split32(Simd simd, ByteSpan elements, MutableByteSpan high, MutableByteSpan low);
void join32(Simd simd, ByteSpan high, std::byte base, ByteSpan low, MutableByteSpan elements);

}  // namespace cairn::tiers
