// SPDX-License-Identifier: Apache-2.0
#include "tiers/record/payload_codec.h"

#include <gtest/gtest.h>

#include <atomic>

#include "engine/base/status.h"
#include "engine/completion.h"
#include "tests/support/seed.h"
#include "tiers/codec/codec_pool.h"

namespace cairn::tiers {
namespace {

using test::Rng;

/// A payload as a record would hold it, encoded in `pieces` pieces laid side by side.
struct Coded {
  Coded(Dtype dtype, ByteSpan plain, std::uint32_t chunk_bytes, std::size_t pieces) {
    table.resize(chunk_count_for(static_cast<std::uint32_t>(plain.size()), chunk_bytes));
    ChunkEncoder encoder(chunk_bytes);
    for (const ChunkRange range : cut_chunks(static_cast<std::uint32_t>(table.size()), pieces)) {
      std::vector<std::byte> out(plain.size());
      out.resize(encode_chunks(encoder, dtype, plain, chunk_bytes, range, table, out));
      stored.insert(stored.end(), out.begin(), out.end());
    }
    fields.codec = Codec::planes;
    fields.chunk_bytes = chunk_bytes;
    fields.plain_length = static_cast<std::uint32_t>(plain.size());
    fields.payload_length = static_cast<std::uint32_t>(stored.size());
    fields.chunk_table = std::as_bytes(std::span<const ChunkEntry>(table));
  }
  absl::Status decode(std::size_t pieces, MutableByteSpan plain) const {
    ChunkDecoder decoder(fields.chunk_bytes);
    for (const ChunkRange range : cut_chunks(fields.chunk_count(), pieces)) {
      CAIRN_RETURN_IF_ERROR(decode_chunks(decoder, fields, stored, range, plain));
    }
    return absl::OkStatus();
  }

  std::vector<ChunkEntry> table;
  std::vector<std::byte> stored;
  RecordFields fields;
};

std::vector<std::byte> some_bytes(Rng& rng, std::size_t length) {
  std::vector<std::byte> bytes(length);
  rng.fill(bytes);
  const std::uint64_t kind = rng.below(3);
  if (kind == 0) return bytes;  // does not shrink
  for (std::size_t i = 0; i < length; ++i) {
    // In turns, so that some chunks of a payload shrink and others do not.
    if (kind == 1 || i / 5000 % 2 == 0) bytes[i] &= std::byte{0x0f};
  }
  return bytes;
}

TEST(PayloadCodec, GivesBackWhatWasPutInHoweverItIsCut) {
  Rng rng(test::announce_seed());
  for (std::size_t round = test::scaled(300); round > 0; --round) {
    const auto chunk_bytes = static_cast<std::uint32_t>(rng.between(1, 40'000));
    const std::vector<std::byte> plain = some_bytes(rng, rng.between(1, 200'000));
    const auto dtype = rng.chance(0.5) ? Dtype::bf16 : Dtype::opaque;
    const Coded coded(dtype, plain, chunk_bytes, rng.between(1, 5));
    EXPECT_LE(coded.stored.size(), plain.size());
    std::vector<std::byte> back(plain.size(), std::byte{0xee});
    const absl::Status status = coded.decode(rng.between(1, 5), back);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(back, plain);
  }
}

TEST(PayloadCodec, ARangeWritesNothingButItsChunks) {
  Rng rng(test::announce_seed());
  const std::vector<std::byte> plain = some_bytes(rng, 10'000);
  const Coded coded(Dtype::bf16, plain, 1'000, 1);
  ChunkDecoder decoder(1'000);
  std::vector<std::byte> back(plain.size(), std::byte{0xee});
  ASSERT_TRUE(decode_chunks(decoder, coded.fields, coded.stored, {3, 5}, back).ok());
  for (std::size_t i = 0; i < back.size(); ++i) {
    ASSERT_EQ(back[i], i >= 3000 && i < 5000 ? plain[i] : std::byte{0xee}) << i;
  }
}

TEST(PayloadCodec, AnyFlippedBitIsCorruption) {
  Rng rng(test::announce_seed());
  const std::vector<std::byte> plain = some_bytes(rng, 20'000);
  Coded coded(Dtype::bf16, plain, 4'096, 1);
  std::vector<std::byte> back(plain.size());
  for (std::size_t round = test::scaled(500); round > 0; --round) {
    std::byte& byte = coded.stored[rng.below(coded.stored.size())];
    const auto bit = static_cast<std::byte>(1U << rng.below(8));
    byte ^= bit;
    ASSERT_TRUE(has_code(coded.decode(1, back), ErrorCode::corruption));
    byte ^= bit;
  }
  // Chunks that have changed places with their lengths and encodings, but not their sums.
  std::swap(coded.table[0].sum, coded.table[1].sum);
  EXPECT_TRUE(has_code(coded.decode(1, back), ErrorCode::corruption));
}

TEST(PayloadCodec, CutsCoverEveryChunkOnce) {
  for (std::uint32_t count = 0; count < 20; ++count) {
    for (std::size_t pieces = 0; pieces < 8; ++pieces) {
      std::uint32_t next = 0;
      for (const ChunkRange range : cut_chunks(count, pieces)) {
        EXPECT_EQ(range.begin, next);
        EXPECT_LT(range.begin, range.end);
        next = range.end;
      }
      EXPECT_EQ(next, count);
    }
  }
}

TEST(CodecPool, RunsEverythingOnceWithThreadsAndWithout) {
  for (const std::size_t threads : {0U, 1U, 3U}) {
    std::atomic<int> sum{0};
    {
      auto pool = CodecPool::start(threads);
      ASSERT_TRUE(pool.ok());
      EXPECT_EQ((*pool)->width(), std::max<std::size_t>(threads, 1));
      for (int i = 1; i <= 1000; ++i) {
        (*pool)->submit([&sum, i](CodecWorker& worker) {
          worker.decoder(static_cast<std::size_t>(i));
          sum += i;
        });
      }
    }
    EXPECT_EQ(sum.load(), 500'500) << threads;
  }
}

}  // namespace
}  // namespace cairn::tiers
