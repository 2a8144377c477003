// SPDX-License-Identifier: Apache-2.0
// hash128.h — 128-bit hashes and the one door to XXH3 in engine/.
//
// Source: xxHash's XXH3 family, https://github.com/Cyan4973/xxHash (doc/xxhash_spec.md).
// Threading: pure functions. Blocking: cpu.
#pragma once

#include <compare>
#include <cstdint>
#include <string_view>

#include "engine/base/bytes.h"

namespace cairn {

struct Hash128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend constexpr auto operator<=>(const Hash128&, const Hash128&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Hash128& x) {
    return H::combine(std::move(h), x.low);  // already uniform
  }
};

std::uint64_t xxh3_64(ByteSpan bytes);
Hash128 xxh3_128(ByteSpan bytes);
/// Seeded with a 64-bit secret: not a MAC, but unguessable without it for short inputs.
Hash128 xxh3_128(ByteSpan bytes, std::uint64_t seed);

/// 16 bytes, high64 then low64, big-endian: XXH128_canonical_t.
std::string canonical_bytes(Hash128 hash);
std::string to_hex(Hash128 hash);

/// XXH3-64 over bytes that arrive in pieces; equals xxh3_64 of the whole.
class Xxh3Stream {
 public:
  Xxh3Stream();
  ~Xxh3Stream();
  Xxh3Stream(const Xxh3Stream&) = delete;
  Xxh3Stream& operator=(const Xxh3Stream&) = delete;
  void update(ByteSpan bytes);
  std::uint64_t digest() const;

 private:
  void* state_;
};

}  // namespace cairn
