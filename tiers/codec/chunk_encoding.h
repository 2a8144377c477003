// SPDX-License-Identifier: Apache-2.0
// chunk_encoding.h — how the stored bytes of a chunk say its plain ones. Part of the format.
#pragma once

#include <cstdint>

namespace cairn::tiers {

/// Readers refuse those they do not know. "Frame" is a zstd frame (RFC 8878) without a checksum and
/// without its content size; n is the number of whole elements, and bytes behind the last of them
/// follow at the end as they are. Bits are counted from the lowest. The planes begin with a byte,
/// the base: it is added, modulo 256, to each byte of the frame.
enum class ChunkEncoding : std::uint8_t {
  /// The plain bytes.
  raw = 0,
  /// A frame of the plain bytes.
  frame = 1,
  /// Of 16-bit elements, little-endian: base; a frame of n bytes, bits 7…14 of each; then n bytes,
  /// its sign in bit 7 and its bits 0…6.
  planes16 = 2,
  /// Of 32-bit elements, little-endian: base; a frame of n bytes, bits 23…30 of each; then n
  /// bytes, its sign in bit 7 and its bits 16…22; then n of bits 8…15; then n of bits 0…7.
  planes32 = 3,
};

}  // namespace cairn::tiers
