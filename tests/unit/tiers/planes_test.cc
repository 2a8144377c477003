// SPDX-License-Identifier: Apache-2.0
// The kinds of splitting and joining give the same bytes, and those that planes.h promises.
#include "tiers/codec/planes.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/support/seed.h"
#include "tests/unit/tiers/codec_bytes.h"

namespace cairn::tiers {
namespace {

struct Split {
  Bytes high, low;
  friend bool operator==(const Split&, const Split&) = default;
};

using SplitKind = void (*)(Simd, ByteSpan, MutableByteSpan, MutableByteSpan);
using JoinKind = void (*)(Simd, ByteSpan, std::byte, ByteSpan, MutableByteSpan);

/// At a distance from the beginning of its memory, and with a sentinel behind.
Split split(SplitKind kind, Simd simd, ByteSpan elements, std::size_t width, std::size_t shift) {
  const std::size_t n = elements.size() / width;
  Bytes from(shift + elements.size()), high(shift + n + 1), low(shift + n * (width - 1) + 1);
  std::copy(elements.begin(), elements.end(), from.begin() + static_cast<std::ptrdiff_t>(shift));
  high.back() = low.back() = std::byte{0x5a};
  kind(simd, ByteSpan(from).subspan(shift), MutableByteSpan(high).subspan(shift, n),
       MutableByteSpan(low).subspan(shift, n * (width - 1)));
  EXPECT_EQ(high.back(), std::byte{0x5a});
  EXPECT_EQ(low.back(), std::byte{0x5a});
  const auto part = [shift](const Bytes& bytes) {
    return Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(shift), bytes.end() - 1);
  };
  return {part(high), part(low)};
}

Bytes join(JoinKind kind, Simd simd, const Split& halves, std::size_t width) {
  Bytes out(halves.high.size() * width + 1, std::byte{0x5a});
  // The base goes around: less it here, and added again.
  const std::byte base{0xe7};
  Bytes high = halves.high;
  for (std::byte& byte : high)
    byte =
        static_cast<std::byte>(std::to_integer<unsigned>(byte) - std::to_integer<unsigned>(base));
  kind(simd, high, base, halves.low, MutableByteSpan(out).first(out.size() - 1));
  EXPECT_EQ(out.back(), std::byte{0x5a});
  out.pop_back();
  return out;
}

TEST(Planes, SixteenBitsGoWhereTheHeaderSays) {
  Bytes every;
  for (std::uint32_t x = 0; x < 65536; ++x) {
    every.push_back(static_cast<std::byte>(x & 0xff));
    every.push_back(static_cast<std::byte>(x >> 8));
  }
  for (const Simd simd : kinds()) {
    const Split halves = split(split16, simd, every, 2, 0);
    for (std::uint32_t x = 0; x < 65536; ++x) {
      ASSERT_EQ(std::to_integer<std::uint32_t>(halves.high[x]), x >> 7 & 0xff);
      ASSERT_EQ(std::to_integer<std::uint32_t>(halves.low[x]), (x >> 15) << 7 | (x & 0x7f));
    }
    EXPECT_EQ(join(join16, simd, halves, 2), every);
  }
}

TEST(Planes, ThirtyTwoBitsGoWhereTheHeaderSays) {
  Rng rng(32);
  const std::size_t n = 1000;
  const Bytes elements = random_bytes(4 * n, rng);
  for (const Simd simd : kinds()) {
    const Split halves = split(split32, simd, elements, 4, 0);
    for (std::size_t i = 0; i < n; ++i) {
      const auto x = load_le<std::uint32_t>(ByteSpan(elements), 4 * i);
      ASSERT_EQ(std::to_integer<std::uint32_t>(halves.high[i]), x >> 23 & 0xff);
      ASSERT_EQ(std::to_integer<std::uint32_t>(halves.low[i]), (x >> 31) << 7 | (x >> 16 & 0x7f));
      ASSERT_EQ(std::to_integer<std::uint32_t>(halves.low[n + i]), x >> 8 & 0xff);
      ASSERT_EQ(std::to_integer<std::uint32_t>(halves.low[2 * n + i]), x & 0xff);
    }
    EXPECT_EQ(join(join32, simd, halves, 4), elements);
  }
}

TEST(Planes, EveryKindGivesTheSameAtEveryLengthAndPlace) {
  for (const std::uint64_t seed : test::seeds({1}, 1)) {
    test::print_seed(seed);
    Rng rng(seed);
    for (std::size_t n = 0; n < 140; ++n) {
      const std::size_t shift = rng.below(65);
      const Bytes elements = random_bytes(4 * n, rng);
      const Split half = split(split16, Simd::scalar, elements, 2, 0);
      const Split quarter = split(split32, Simd::scalar, elements, 4, 0);
      for (const Simd simd : kinds()) {
        EXPECT_EQ(split(split16, simd, elements, 2, shift), half) << n;
        EXPECT_EQ(split(split32, simd, elements, 4, shift), quarter) << n;
        EXPECT_EQ(join(join16, simd, half, 2), elements) << n;
        EXPECT_EQ(join(join32, simd, quarter, 4), elements) << n;
      }
    }
  }
}

}  // namespace
}  // namespace cairn::tiers
