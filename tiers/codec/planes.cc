// SPDX-License-Identifier: Apache-2.0
// Each of the four is a loop over whole vectors and the scalar loop for what is left, so the scalar
// twin is part of every kind and its definition at once.
#include "tiers/codec/planes.h"

#include "engine/base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cairn::tiers {
namespace {

std::uint8_t byte_of(std::uint32_t value) {
  return static_cast<std::uint8_t>(value);
}
std::uint32_t at(ByteSpan bytes, std::size_t i) {
  return std::to_integer<std::uint32_t>(bytes[i]);
}

// --- scalar, from element `i` on ---------------------------------------------------------------

void split16_scalar(ByteSpan elements, MutableByteSpan high, MutableByteSpan low, std::size_t i) {
  for (; i < high.size(); ++i) {
    const std::uint32_t x = load_le<std::uint16_t>(elements, 2 * i);
    high[i] = std::byte{byte_of(x >> 7)};
    low[i] = std::byte{byte_of((x >> 8 & 0x80U) | (x & 0x7fU))};
  }
}

void join16_scalar(ByteSpan high, std::uint32_t base, ByteSpan low, MutableByteSpan elements,
                   std::size_t i) {
  for (; i < high.size(); ++i) {
    const std::uint32_t rest = at(low, i);
    const std::uint32_t exponent = (at(high, i) + base) & 0xffU;
    const std::uint32_t x = (rest & 0x80U) << 8 | exponent << 7 | (rest & 0x7fU);
    elements[2 * i] = std::byte{byte_of(x)};
    elements[2 * i + 1] = std::byte{byte_of(x >> 8)};
  }
}

void split32_scalar(ByteSpan elements, MutableByteSpan high, MutableByteSpan low, std::size_t i) {
  const std::size_t n = high.size();
  for (; i < n; ++i) {
    const auto x = load_le<std::uint32_t>(elements, 4 * i);
    high[i] = std::byte{byte_of(x >> 23)};
    low[i] = std::byte{byte_of((x >> 24 & 0x80U) | (x >> 16 & 0x7fU))};
    low[n + i] = std::byte{byte_of(x >> 8)};
    low[2 * n + i] = std::byte{byte_of(x)};
  }
}

void join32_scalar(ByteSpan high, std::uint32_t base, ByteSpan low, MutableByteSpan elements,
                   std::size_t i) {
  const std::size_t n = high.size();
  for (; i < n; ++i) {
    const std::uint32_t top = at(low, i);
    const std::uint32_t exponent = (at(high, i) + base) & 0xffU;
    const std::uint32_t x = (top & 0x80U) << 24 | exponent << 23 | (top & 0x7fU) << 16 |
                            at(low, n + i) << 8 | at(low, 2 * n + i);
    for (std::size_t b = 0; b < 4; ++b) elements[4 * i + b] = std::byte{byte_of(x >> (8 * b))};
  }
}

// --- vectors: each returns how many elements it has done ---------------------------------------

#if defined(__x86_64__)

#define CAIRN_AVX2 __attribute__((target("avx2")))
#define CAIRN_AVX512 __attribute__((target("avx512f,avx512bw")))

CAIRN_AVX2 std::size_t split16_avx2(const std::byte* elements, std::byte* high, std::byte* low,
                                    std::size_t n) {
  const __m256i sign = _mm256_set1_epi16(0x80);
  const __m256i rest = _mm256_set1_epi16(0x7f);
  const __m256i byte = _mm256_set1_epi16(0xff);
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const auto* from = reinterpret_cast<const __m256i*>(elements + 2 * i);
    const __m256i a = _mm256_loadu_si256(from);
    const __m256i b = _mm256_loadu_si256(from + 1);
    const __m256i high_a = _mm256_and_si256(_mm256_srli_epi16(a, 7), byte);
    const __m256i high_b = _mm256_and_si256(_mm256_srli_epi16(b, 7), byte);
    const __m256i low_a =
        _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(a, 8), sign), _mm256_and_si256(a, rest));
    const __m256i low_b =
        _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(b, 8), sign), _mm256_and_si256(b, rest));
    // Packing works within halves of 128 bits; the quarters are put in order again.
    const __m256i packed_high =
        _mm256_permute4x64_epi64(_mm256_packus_epi16(high_a, high_b), 0b11011000);
    const __m256i packed_low =
        _mm256_permute4x64_epi64(_mm256_packus_epi16(low_a, low_b), 0b11011000);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + i), packed_high);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + i), packed_low);
  }
  return i;
}

CAIRN_AVX2 std::size_t join16_avx2(const std::byte* high, std::byte base, const std::byte* low,
                                   std::byte* elements, std::size_t n) {
  const __m256i sign = _mm256_set1_epi16(0x80);
  const __m256i rest = _mm256_set1_epi16(0x7f);
  const __m256i byte = _mm256_set1_epi16(0xff);
  const __m256i bases = _mm256_set1_epi16(std::to_integer<short>(base));
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i h =
        _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(high + i)));
    const __m256i l =
        _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low + i)));
    const __m256i upper =
        _mm256_or_si256(_mm256_slli_epi16(_mm256_and_si256(l, sign), 8),
                        _mm256_slli_epi16(_mm256_and_si256(_mm256_add_epi16(h, bases), byte), 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(elements + 2 * i),
                        _mm256_or_si256(upper, _mm256_and_si256(l, rest)));
  }
  return i;
}

/// Eight bytes as 32-bit numbers.
CAIRN_AVX2 __m256i load_bytes_avx2(const std::byte* from) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}

/// 32 numbers below 256 as bytes.
CAIRN_AVX2 void store_bytes_avx2(std::byte* to, const __m256i* numbers) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(numbers[0], numbers[1]),
                                            _mm256_packus_epi32(numbers[2], numbers[3]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(bytes, order));
}

CAIRN_AVX2 std::size_t split32_avx2(const std::byte* elements, std::byte* high, std::byte* low,
                                    std::size_t n) {
  const __m256i byte = _mm256_set1_epi32(0xff);
  const __m256i sign = _mm256_set1_epi32(0x80);
  const __m256i rest = _mm256_set1_epi32(0x7f);
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const auto* from = reinterpret_cast<const __m256i*>(elements + 4 * i);
    __m256i exponent[4], top[4], middle[4], bottom[4];
    for (int v = 0; v < 4; ++v) {
      const __m256i x = _mm256_loadu_si256(from + v);
      exponent[v] = _mm256_and_si256(_mm256_srli_epi32(x, 23), byte);
      top[v] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(x, 24), sign),
                               _mm256_and_si256(_mm256_srli_epi32(x, 16), rest));
      middle[v] = _mm256_and_si256(_mm256_srli_epi32(x, 8), byte);
      bottom[v] = _mm256_and_si256(x, byte);
    }
    store_bytes_avx2(high + i, exponent);
    store_bytes_avx2(low + i, top);
    store_bytes_avx2(low + n + i, middle);
    store_bytes_avx2(low + 2 * n + i, bottom);
  }
  return i;
}

CAIRN_AVX2 std::size_t join32_avx2(const std::byte* high, std::byte base, const std::byte* low,
                                   std::byte* elements, std::size_t n) {
  const __m256i sign = _mm256_set1_epi32(0x80);
  const __m256i rest = _mm256_set1_epi32(0x7f);
  const __m256i byte = _mm256_set1_epi32(0xff);
  const __m256i bases = _mm256_set1_epi32(std::to_integer<int>(base));
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i top = load_bytes_avx2(low + i);
    const __m256i exponent =
        _mm256_and_si256(_mm256_add_epi32(load_bytes_avx2(high + i), bases), byte);
    const __m256i upper =
        _mm256_or_si256(_mm256_slli_epi32(_mm256_and_si256(top, sign), 24),
                        _mm256_or_si256(_mm256_slli_epi32(exponent, 23),
                                        _mm256_slli_epi32(_mm256_and_si256(top, rest), 16)));
    const __m256i lower = _mm256_or_si256(_mm256_slli_epi32(load_bytes_avx2(low + n + i), 8),
                                          load_bytes_avx2(low + 2 * n + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(elements + 4 * i),
                        _mm256_or_si256(upper, lower));
  }
  return i;
}

/// 32 bytes as 16-bit numbers.
CAIRN_AVX512 __m512i load_halves_avx512(const std::byte* from) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

/// 16 bytes as 32-bit numbers.
CAIRN_AVX512 __m512i load_bytes_avx512(const std::byte* from) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

/// The lowest byte of each of 16 numbers.
CAIRN_AVX512 void store_bytes_avx512(std::byte* to, __m512i numbers) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(numbers));
}

CAIRN_AVX512 std::size_t split16_avx512(const std::byte* elements, std::byte* high, std::byte* low,
                                        std::size_t n) {
  const __m512i sign = _mm512_set1_epi16(0x80);
  const __m512i rest = _mm512_set1_epi16(0x7f);
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512i x = _mm512_loadu_si512(elements + 2 * i);
    const __m512i l =
        _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(x, 8), sign), _mm512_and_si512(x, rest));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + i),
                        _mm512_cvtepi16_epi8(_mm512_srli_epi16(x, 7)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + i), _mm512_cvtepi16_epi8(l));
  }
  return i;
}

CAIRN_AVX512 std::size_t join16_avx512(const std::byte* high, std::byte base, const std::byte* low,
                                       std::byte* elements, std::size_t n) {
  const __m512i sign = _mm512_set1_epi16(0x80);
  const __m512i rest = _mm512_set1_epi16(0x7f);
  const __m512i byte = _mm512_set1_epi16(0xff);
  const __m512i bases = _mm512_set1_epi16(std::to_integer<short>(base));
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512i l = load_halves_avx512(low + i);
    const __m512i exponent =
        _mm512_and_si512(_mm512_add_epi16(load_halves_avx512(high + i), bases), byte);
    const __m512i upper = _mm512_or_si512(_mm512_slli_epi16(_mm512_and_si512(l, sign), 8),
                                          _mm512_slli_epi16(exponent, 7));
    _mm512_storeu_si512(elements + 2 * i, _mm512_or_si512(upper, _mm512_and_si512(l, rest)));
  }
  return i;
}

CAIRN_AVX512 std::size_t split32_avx512(const std::byte* elements, std::byte* high, std::byte* low,
                                        std::size_t n) {
  const __m512i sign = _mm512_set1_epi32(0x80);
  const __m512i rest = _mm512_set1_epi32(0x7f);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512i x = _mm512_loadu_si512(elements + 4 * i);
    const __m512i top = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(x, 24), sign),
                                        _mm512_and_si512(_mm512_srli_epi32(x, 16), rest));
    store_bytes_avx512(high + i, _mm512_srli_epi32(x, 23));
    store_bytes_avx512(low + i, top);
    store_bytes_avx512(low + n + i, _mm512_srli_epi32(x, 8));
    store_bytes_avx512(low + 2 * n + i, x);
  }
  return i;
}

CAIRN_AVX512 std::size_t join32_avx512(const std::byte* high, std::byte base, const std::byte* low,
                                       std::byte* elements, std::size_t n) {
  const __m512i sign = _mm512_set1_epi32(0x80);
  const __m512i rest = _mm512_set1_epi32(0x7f);
  const __m512i byte = _mm512_set1_epi32(0xff);
  const __m512i bases = _mm512_set1_epi32(std::to_integer<int>(base));
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512i top = load_bytes_avx512(low + i);
    const __m512i exponent =
        _mm512_and_si512(_mm512_add_epi32(load_bytes_avx512(high + i), bases), byte);
    const __m512i upper =
        _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(top, sign), 24),
                        _mm512_or_si512(_mm512_slli_epi32(exponent, 23),
                                        _mm512_slli_epi32(_mm512_and_si512(top, rest), 16)));
    const __m512i lower = _mm512_or_si512(_mm512_slli_epi32(load_bytes_avx512(low + n + i), 8),
                                          load_bytes_avx512(low + 2 * n + i));
    _mm512_storeu_si512(elements + 4 * i, _mm512_or_si512(upper, lower));
  }
  return i;
}

#undef CAIRN_AVX512
#undef CAIRN_AVX2

Simd detect() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return Simd::avx512;
  if (__builtin_cpu_supports("avx2")) return Simd::avx2;
  return Simd::scalar;
}

#else

Simd detect() {
  return Simd::scalar;
}

#endif

/// The vector loops of one kind. They return how many elements they have done: the scalar loop does
/// the rest, which without vectors is all.
struct Loops {
  using Split = std::size_t (*)(const std::byte* elements, std::byte* high, std::byte* low,
                                std::size_t n);
  using Join = std::size_t (*)(const std::byte* high, std::byte base, const std::byte* low,
                               std::byte* elements, std::size_t n);
  Split split16, split32;
  Join join16, join32;
};

const Loops& loops(Simd simd) {
  CAIRN_CHECK(simd <= best_simd());
#if defined(__x86_64__)
  static constexpr Loops kAvx2{split16_avx2, split32_avx2, join16_avx2, join32_avx2};
  static constexpr Loops kAvx512{split16_avx512, split32_avx512, join16_avx512, join32_avx512};
  if (simd == Simd::avx512) return kAvx512;
  if (simd == Simd::avx2) return kAvx2;
#endif
  static constexpr Loops::Split kNoSplit = [](const std::byte*, std::byte*, std::byte*,
                                              std::size_t) { return std::size_t{0}; };
  static constexpr Loops::Join kNoJoin = [](const std::byte*, std::byte, const std::byte*,
                                            std::byte*, std::size_t) { return std::size_t{0}; };
  static constexpr Loops kScalar{kNoSplit, kNoSplit, kNoJoin, kNoJoin};
  return kScalar;
}

}  // namespace

Simd best_simd() {
  static const Simd best = detect();
  return best;
}

void split16(Simd simd, ByteSpan elements, MutableByteSpan high, MutableByteSpan low) {
  CAIRN_CHECK(elements.size() == 2 * high.size());
  CAIRN_CHECK(low.size() == high.size());
  const std::size_t done =
      loops(simd).split16(elements.data(), high.data(), low.data(), high.size());
  split16_scalar(elements, high, low, done);
}

void join16(Simd simd, ByteSpan high, std::byte base, ByteSpan low, MutableByteSpan elements) {
  CAIRN_CHECK(elements.size() == 2 * high.size());
  CAIRN_CHECK(low.size() == high.size());
  const std::size_t done =
      loops(simd).join16(high.data(), base, low.data(), elements.data(), high.size());
  join16_scalar(high, std::to_integer<std::uint32_t>(base), low, elements, done);
}

void split32(Simd simd, ByteSpan elements, MutableByteSpan high, MutableByteSpan low) {
  CAIRN_CHECK(elements.size() == 4 * high.size());
  CAIRN_CHECK(low.size() == 3 * high.size());
  const std::size_t done =
      loops(simd).split32(elements.data(), high.data(), low.data(), high.size());
  split32_scalar(elements, high, low, done);
}

void join32(Simd simd, ByteSpan high, std::byte base, ByteSpan low, MutableByteSpan elements) {
  CAIRN_CHECK(elements.size() == 4 * high.size());
  CAIRN_CHECK(low.size() == 3 * high.size());
  const std::size_t done =
      loops(simd).join32(high.data(), base, low.data(), elements.data(), high.size());
  join32_scalar(high, std::to_integer<std::uint32_t>(base), low, elements, done);
}

}  // namespace cairn::tiers
