// SPDX-License-Identifier: Apache-2.0
// payload.h — bytes that are a pure function of (key, version), so that any reader can judge
// any block without keeping a copy.
//
// Every eight bytes differ from those of every other key, version and position: a block that
// is swapped, shifted, stale, torn or foreign is told from the right one. Every other payload has
// five bits a byte, which the codec makes smaller. Not a KV-like payload: those are in
// bench/workload/kv_model.h.
//
// Threading: pure functions. Blocking: cpu.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/hash128.h"

namespace cairn::test {

inline std::uint64_t dense_word(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15ULL;  // splitmix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

inline std::uint64_t payload_word(std::uint64_t seed, std::uint64_t index) {
  const std::uint64_t word = dense_word(seed, index);
  return seed % 2 == 0 ? word : word & 0x1f1f1f1f1f1f1f1fULL;
}

inline std::uint64_t payload_seed(std::string_view key, std::uint64_t version) {
  return xxh3_128(as_bytes(key), version).low;
}

inline void fill_payload(std::string_view key, std::uint64_t version, MutableByteSpan out) {
  const std::uint64_t seed = payload_seed(key, version);
  for (std::size_t offset = 0; offset < out.size(); offset += 8) {
    const std::uint64_t word = payload_word(seed, offset / 8);
    std::memcpy(out.data() + offset, &word, std::min<std::size_t>(8, out.size() - offset));
  }
}

inline std::string make_payload(std::string_view key, std::uint64_t version, std::size_t bytes) {
  std::string out(bytes, '\0');
  fill_payload(key, version, {reinterpret_cast<std::byte*>(out.data()), out.size()});
  return out;
}

inline bool is_payload(std::string_view key, std::uint64_t version, ByteSpan bytes) {
  const std::uint64_t seed = payload_seed(key, version);
  for (std::size_t offset = 0; offset < bytes.size(); offset += 8) {
    const std::uint64_t word = payload_word(seed, offset / 8);
    if (std::memcmp(bytes.data() + offset, &word,
                    std::min<std::size_t>(8, bytes.size() - offset)) != 0)
      return false;
  }
  return true;
}

}  // namespace cairn::test
