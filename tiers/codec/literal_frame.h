// SPDX-License-Identifier: Apache-2.0
// literal_frame.h — exponents as a zstd frame (RFC 8878) of Huffman-coded literals and nothing
// else.
//
// A frame like libzstd's own for the same bytes, made twice as fast: libzstd looks for repetitions
// that it cannot find, and codes one of the four streams after the other where this codes them side
// by side. Any zstd decoder reads it; ours is libzstd's.
//
// Huffman's weights are written as four bits each, which only the symbols 0…128 have. Exponents
// lie close together, so they are taken less the smallest of them: the base.
//
// Threading: confined; one for every worker. Blocking: cpu.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/base/bytes.h"

namespace cairn::tiers {

struct LiteralFrame {
  std::size_t bytes = 0;  // of the frame
  std::byte base{0};      // to be added to each byte that is decoded, modulo 256
};

class LiteralFrameEncoder {
 public:
  /// Of at most this many bytes.
  explicit LiteralFrameEncoder(std::size_t plain_bytes_max);

  /// Nothing where the frame would not be shorter than `plain` or not fit into `out`, or where the
  /// symbols lie too far apart: libzstd may do better.
  std::optional<LiteralFrame> encode(ByteSpan plain, MutableByteSpan out);

 private:
  static constexpr std::size_t kSymbols = 256;
  static constexpr std::size_t kStreams = 4;
  static constexpr std::size_t kTables = 8;
  using Counts = std::array<std::uint32_t, kSymbols>;
  struct Code {
    std::uint16_t bits = 0;
    std::uint16_t length = 0;
  };

  std::byte less_base(std::byte symbol) const {
    return static_cast<std::byte>(std::to_integer<std::uint32_t>(symbol) - first_);
  }
  void count(ByteSpan block);
  bool choose_lengths();
  void assign_codes();
  std::size_t write_streams(ByteSpan block);
  /// Of a block that was counted last.
  std::optional<std::size_t> write_block(ByteSpan block, bool is_last, MutableByteSpan out);

  std::array<Counts, kTables> counts_{};
  Counts total_{};
  std::array<Code, kSymbols> codes_{};
  std::array<std::uint8_t, kSymbols> lengths_{};
  std::uint32_t first_ = 0, last_ = 0, longest_ = 0;
  std::array<std::vector<std::byte>, kStreams> streams_;
  std::array<std::size_t, kStreams> stream_bytes_{};
};

}  // namespace cairn::tiers
