// SPDX-License-Identifier: Apache-2.0
// plane_codec.h — one chunk of a block's payload, smaller, and back, bit by bit the same.
//
// A chunk is one (layer, K or V) plane of the block where the namespace has a layout, so that its
// entropy table fits its numbers, and chunks are independent: they are coded in parallel, and one
// layer is read without the others. Of 16-bit and 32-bit numbers the exponents are coded and the
// rest is kept; bytes (fp8, opaque) are coded whole. What does not shrink is kept as it is.
//
// Threading:  confined; one of each for every worker. Blocking: cpu.
// Failure:    encoding cannot fail. Decoding takes any bytes and says `corruption` where they are
//             not what the encoding and the plain length ask for; the target then holds garbage.
// Lifetime:   holds no reference to what it was given once a call has returned.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "engine/base/bytes.h"
#include "engine/namespace.h"
#include "tiers/codec/chunk_encoding.h"
#include "tiers/codec/literal_frame.h"
#include "tiers/codec/planes.h"
#include "tiers/codec/zstd_frame.h"

namespace cairn::tiers {

struct EncodedChunk {
  ChunkEncoding encoding = ChunkEncoding::raw;
  std::size_t stored_bytes = 0;
};

class ChunkEncoder {
 public:
  /// Chunks have at most this many plain bytes. `simd`: for tests; all give the same bytes.
  explicit ChunkEncoder(std::size_t chunk_bytes_max, Simd simd = best_simd());

  /// The stored bytes of `plain`, at the beginning of `out`, which is as long as `plain` and does
  /// not overlap it. Equal plain bytes give equal stored bytes.
  EncodedChunk encode(Dtype dtype, ByteSpan plain, MutableByteSpan out);

 private:
  std::optional<LiteralFrame> encode_high(ByteSpan high, MutableByteSpan out);

  LiteralFrameEncoder literals_;
  FrameEncoder frames_;
  const Simd simd_;
  const std::size_t chunk_bytes_max_;
  std::unique_ptr<std::byte[]> high_;
};

class ChunkDecoder {
 public:
  explicit ChunkDecoder(std::size_t chunk_bytes_max, Simd simd = best_simd());

  /// `plain` has exactly the chunk's plain length, and is written from its beginning on.
  absl::Status decode(ChunkEncoding encoding, ByteSpan stored, MutableByteSpan plain);

 private:
  FrameDecoder frames_;
  const Simd simd_;
  const std::size_t chunk_bytes_max_;
  std::unique_ptr<std::byte[]> high_;
};

}  // namespace cairn::tiers
