// SPDX-License-Identifier: Apache-2.0
// Every chunk comes back bit by bit; whatever else is decoded is refused or has the right length,
// and nothing is written outside.
#include "tiers/codec/plane_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "bench/workload/kv_model.h"
#include "engine/base/status.h"
#include "tests/support/seed.h"
#include "tests/unit/tiers/codec_bytes.h"

namespace cairn::tiers {
namespace {

constexpr std::size_t kChunkMax = kMiB;
constexpr Dtype kDtypes[] = {Dtype::opaque,   Dtype::bf16,     Dtype::fp16,
                             Dtype::fp8_e4m3, Dtype::fp8_e5m2, Dtype::fp32};

struct Stored {
  ChunkEncoding encoding = ChunkEncoding::raw;
  Bytes bytes;
  friend bool operator==(const Stored&, const Stored&) = default;
};

Stored encode(ChunkEncoder& encoder, Dtype dtype, ByteSpan plain) {
  Stored stored{.encoding = {}, .bytes = Bytes(plain.size())};
  const EncodedChunk chunk = encoder.encode(dtype, plain, stored.bytes);
  EXPECT_LE(chunk.stored_bytes, plain.size());
  EXPECT_EQ(chunk.encoding == ChunkEncoding::raw, chunk.stored_bytes == plain.size());
  stored.encoding = chunk.encoding;
  stored.bytes.resize(chunk.stored_bytes);
  return stored;
}

/// Encoded by every kind to the same bytes, and back.
Stored round_trip(Dtype dtype, ByteSpan plain) {
  Stored first;
  for (const Simd simd : kinds()) {
    ChunkEncoder encoder(std::max<std::size_t>(kChunkMax, plain.size()), simd);
    ChunkDecoder decoder(std::max<std::size_t>(kChunkMax, plain.size()), simd);
    const Stored stored = encode(encoder, dtype, plain);
    if (simd == Simd::scalar) first = stored;
    EXPECT_EQ(stored, first) << "the kinds differ for " << dtype_name(dtype);
    // Exactly as long, so that a sanitizer sees every step outside.
    Bytes back(plain.size());
    const absl::Status status = decoder.decode(stored.encoding, stored.bytes, back);
    EXPECT_TRUE(status.ok()) << message_of(status);
    EXPECT_TRUE(std::equal(back.begin(), back.end(), plain.begin(), plain.end()))
        << dtype_name(dtype) << ", " << plain.size() << " bytes";
  }
  return first;
}

template <typename Word>
Bytes of_words(std::initializer_list<Word> words, std::size_t times) {
  Bytes out;
  for (std::size_t i = 0; i < times; ++i) {
    for (const Word word : words) {
      const auto* bytes = reinterpret_cast<const std::byte*>(&word);
      out.insert(out.end(), bytes, bytes + sizeof(word));
    }
  }
  return out;
}

TEST(PlaneCodec, ModelsOfEveryDtypeComeBackAndShrink) {
  for (const Dtype dtype : kDtypes) {
    if (dtype == Dtype::opaque) continue;
    const auto model = workload::KvModel::make("1b", dtype);
    ASSERT_TRUE(model.ok());
    Bytes block(model->block_bytes());
    model->fill({.namespace_name = "n", .key = "k"}, block);
    const std::size_t plane = plane_bytes(model->shape().layout, dtype);
    std::size_t stored = 0;
    for (std::size_t at = 0; at < block.size(); at += plane) {
      stored += round_trip(dtype, ByteSpan(block).subspan(at, plane)).bytes.size();
    }
    EXPECT_LT(stored, block.size()) << dtype_name(dtype);
    if (dtype == Dtype::bf16) {
      EXPECT_LT(static_cast<double>(stored) * 1.45, static_cast<double>(block.size()));
    }
  }
}

TEST(PlaneCodec, EveryLengthComesBack) {
  for (const std::uint64_t seed : test::seeds({7}, 1)) {
    test::print_seed(seed);
    Rng rng(seed);
    for (const Dtype dtype : kDtypes) {
      for (std::size_t length = 0; length < 70; ++length) {
        round_trip(dtype, random_bytes(length, rng));
        round_trip(dtype, Bytes(length, std::byte{0x3f}));
      }
      for (const std::size_t length : {4095U, 4096U, 4097U, 65536U, 131071U, 300001U}) {
        Bytes few = random_bytes(length, rng);  // of few values, so that it shrinks
        for (std::byte& byte : few) byte &= std::byte{0x07};
        EXPECT_LT(round_trip(dtype, few).bytes.size(), length);
        round_trip(dtype, random_bytes(length, rng));
      }
    }
  }
}

TEST(PlaneCodec, TheLargestBlockComesBack) {
  Bytes block(64 * kMiB);
  Rng rng(64);
  for (std::size_t i = 0; i < block.size(); ++i) {
    block[i] = static_cast<std::byte>(i % 2 == 1 ? 0x3e + rng.below(3) : i);
  }
  ChunkEncoder encoder(block.size());
  ChunkDecoder decoder(block.size());
  for (const Dtype dtype : {Dtype::bf16, Dtype::opaque, Dtype::fp32}) {
    const Stored stored = encode(encoder, dtype, block);
    Bytes back(block.size());
    ASSERT_TRUE(decoder.decode(stored.encoding, stored.bytes, back).ok());
    EXPECT_TRUE(back == block) << dtype_name(dtype);
  }
}

TEST(PlaneCodec, ConstantsAndTheOddNumbersComeBack) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float denormal = std::numeric_limits<float>::denorm_min();
  // Signalling, negative, and with a payload: no arithmetic may ever touch them.
  const auto odd_nan = std::bit_cast<float>(0xffa12345U);
  const Bytes odd32 = of_words<float>(
      {0.0F, -0.0F, infinity, -infinity, nan, odd_nan, denormal, -denormal, 1.0F}, 3000);
  const Bytes odd16 = of_words<std::uint16_t>(
      {0x0000, 0x8000, 0x7f80, 0xff80, 0x7fc0, 0xffa5, 0x0001, 0x8001, 0x7c00, 0xfc01}, 3000);
  for (const Dtype dtype : kDtypes) {
    for (const Bytes& odd : {odd32, odd16}) round_trip(dtype, odd);
    for (const int value : {0x00, 0x3f, 0x7f, 0x80, 0xff}) {
      const Stored stored = round_trip(dtype, Bytes(32768, static_cast<std::byte>(value)));
      EXPECT_NE(stored.encoding, ChunkEncoding::raw);
    }
  }
}

TEST(PlaneCodec, WhatDoesNotShrinkIsKeptAsItIs) {
  Rng rng(11);
  for (const Dtype dtype : kDtypes) {
    const Bytes noise = random_bytes(32768, rng);
    const Stored stored = round_trip(dtype, noise);
    EXPECT_EQ(stored.encoding, ChunkEncoding::raw) << dtype_name(dtype);
    EXPECT_EQ(stored.bytes, noise);
  }
}

TEST(PlaneCodec, AnEncoderRemembersNothing) {
  Rng rng(12);
  ChunkEncoder used(kChunkMax);
  for (const Dtype dtype : kDtypes) {
    Bytes few = random_bytes(20'000, rng);
    for (std::byte& byte : few) byte &= std::byte{0x13};
    encode(used, dtype, random_bytes(kChunkMax, rng));
    ChunkEncoder fresh(kChunkMax);
    EXPECT_EQ(encode(used, dtype, few), encode(fresh, dtype, few)) << dtype_name(dtype);
  }
}

TEST(PlaneCodec, DamageIsRefusedOrGivesTheRightLength) {
  for (const std::uint64_t seed : test::seeds({21}, 1)) {
    test::print_seed(seed);
    Rng rng(seed);
    ChunkEncoder encoder(kChunkMax);
    ChunkDecoder decoder(kChunkMax);
    std::size_t refused = 0;
    for (const Dtype dtype : kDtypes) {
      Bytes plain = random_bytes(30'003, rng);
      for (std::byte& byte : plain) byte &= std::byte{0x0f};
      const Stored stored = encode(encoder, dtype, plain);
      ASSERT_NE(stored.encoding, ChunkEncoding::raw);
      Bytes back(plain.size());
      for (int round = 0; round < 300; ++round) {
        Bytes damaged = stored.bytes;
        const std::uint64_t how = rng.below(3);
        if (how == 0) damaged.resize(rng.below(damaged.size()));
        if (how == 1) damaged.resize(damaged.size() + 1 + rng.below(100), std::byte{1});
        if (how == 2)
          damaged[rng.below(damaged.size())] ^= static_cast<std::byte>(1 + rng.below(255));
        const auto as = static_cast<ChunkEncoding>(rng.below(5));
        const absl::Status status =
            decoder.decode(rng.chance(0.5) ? stored.encoding : as, Bytes(damaged), back);
        refused += status.ok() ? 0U : 1U;
      }
      // And it is none the worse for it.
      ASSERT_TRUE(decoder.decode(stored.encoding, stored.bytes, back).ok());
      EXPECT_EQ(back, plain);
    }
    EXPECT_GT(refused, 600U);
  }
}

TEST(PlaneCodec, ALengthThatIsNotTheChunksIsRefused) {
  ChunkEncoder encoder(kChunkMax);
  ChunkDecoder decoder(kChunkMax);
  for (const Dtype dtype : kDtypes) {
    const Bytes plain(10'000, std::byte{0x3c});
    const Stored stored = encode(encoder, dtype, plain);
    for (const std::size_t length : {0U, 1U, 9'996U, 9'998U, 10'002U, 10'004U, 20'000U}) {
      Bytes back(length);
      EXPECT_TRUE(
          has_code(decoder.decode(stored.encoding, stored.bytes, back), ErrorCode::corruption))
          << dtype_name(dtype) << ", " << length;
    }
  }
}

TEST(PlaneCodec, AnUnknownEncodingIsRefused) {
  ChunkDecoder decoder(kChunkMax);
  Bytes back(10);
  EXPECT_TRUE(
      has_code(decoder.decode(static_cast<ChunkEncoding>(77), Bytes(10), back), ErrorCode::format));
}

TEST(PlaneCodec, AFrameBehindAFrameIsNotOne) {
  FrameEncoder encoder;
  FrameDecoder decoder;
  const Bytes plain(1000, std::byte{7});
  Bytes frame(1000);
  frame.resize(*encoder.encode(FrameContent::literals, plain, frame));
  Bytes back(1000);
  EXPECT_TRUE(decoder.decode(frame, back));
  Bytes two = frame;
  two.insert(two.end(), frame.begin(), frame.end());
  Bytes both(2000);
  EXPECT_FALSE(decoder.decode(two, both));
  // A frame that is to be skipped (RFC 8878, 3.1.2): magic, length, content.
  Bytes skipped = of_words<std::uint32_t>({0x184D2A50, 4, 0}, 1);
  skipped.insert(skipped.end(), frame.begin(), frame.end());
  EXPECT_FALSE(decoder.decode(skipped, back));
}

}  // namespace
}  // namespace cairn::tiers
