// SPDX-License-Identifier: Apache-2.0
// cbor.h — the few kinds of canonical CBOR (RFC 8949 §4.2) that hash chains are made of.
//
// Definite lengths and shortest integers; no maps, floats or tags occur. The writer goes
// straight into memory that the caller has measured with the *_bytes_max functions: it never
// allocates and, outside the checked builds, never tests for the end.
//
// Threading: confined to its owner. Blocking: never.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "engine/base/bytes.h"
#include "engine/base/check.h"

namespace cairn::detail {

class CborWriter {
 public:
  static constexpr std::size_t kHeaderBytesMax = 9;
  static constexpr std::size_t text_bytes_max(std::size_t length) {
    return kHeaderBytesMax + length;
  }
  /// write_tokens stores eight bytes at a time, so it may touch this many beyond the last one.
  static constexpr std::size_t tokens_bytes_max(std::size_t count) {
    return kHeaderBytesMax + 5 * count + 8;
  }

  explicit CborWriter(MutableByteSpan buffer)
      : begin_(buffer.data()), next_(buffer.data()), end_(buffer.data() + buffer.size()) {}

  std::size_t size() const { return static_cast<std::size_t>(next_ - begin_); }

  void write_unsigned(std::uint64_t value) { header(0, value); }
  void write_integer(std::int64_t value) {
    // Major type 1 holds -1 - value, which is the complement.
    value >= 0 ? header(0, static_cast<std::uint64_t>(value))
               : header(1, ~static_cast<std::uint64_t>(value));
  }
  void write_bytes(ByteSpan bytes) {
    header(2, bytes.size());
    append(bytes);
  }
  void write_text(std::string_view text) {
    header(3, text.size());
    append(as_bytes(text));
  }
  void begin_array(std::uint64_t items) { header(4, items); }
  void write_null() { put(std::byte{0xf6}); }

  /// An array of token ids. No branch depends on a token, because ids look random to a branch
  /// predictor: each is written as eight bytes of which the next one overwrites the surplus.
  void write_tokens(const std::uint32_t* tokens, std::size_t count) {
    begin_array(count);
    CAIRN_DCHECK(room() >= 5 * count + 8);
    std::byte* out = next_;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t token = tokens[i];
      const Width width = kWidths[0U + (token >= 24) + (token >= 256) + (token >= 65536)];
      // The header byte in front, then the number's own bytes, most significant first.
      const std::uint64_t image = width.header | std::uint64_t{token} << width.shift;
      const std::uint64_t stored = __builtin_bswap64(image);
      std::memcpy(out, &stored, sizeof stored);
      out += width.bytes;
    }
    next_ = out;
  }

 private:
  struct Width {
    std::uint64_t header;  // in the top byte
    std::uint32_t shift;   // of a token, so that its bytes follow the header
    std::uint32_t bytes;   // header and token
  };
  static constexpr std::array<Width, 4> kWidths{{
      {0, 56, 1},  // below 24 the number is its own header
      {std::uint64_t{0x18} << 56, 48, 2},
      {std::uint64_t{0x19} << 56, 40, 3},
      {std::uint64_t{0x1a} << 56, 24, 5},
  }};

  std::size_t room() const { return static_cast<std::size_t>(end_ - next_); }
  void put(std::byte byte) {
    CAIRN_DCHECK(room() >= 1);
    *next_++ = byte;
  }
  void append(ByteSpan bytes) {
    CAIRN_DCHECK(room() >= bytes.size());
    if (!bytes.empty()) std::memcpy(next_, bytes.data(), bytes.size());
    next_ += bytes.size();
  }
  void header(unsigned major, std::uint64_t value) {
    const unsigned type = major << 5;
    if (value < 24) return put(static_cast<std::byte>(type | value));
    const unsigned log2_bytes =
        0U + (value >= 0x100) + (value >= 0x1'0000) + (value >= 0x1'0000'0000);
    put(static_cast<std::byte>(type | (24 + log2_bytes)));
    for (unsigned i = 1U << log2_bytes; i-- > 0;) put(static_cast<std::byte>(value >> (8 * i)));
  }

  std::byte* const begin_;
  std::byte* next_;
  std::byte* const end_;
};

}  // namespace cairn::detail
