// SPDX-License-Identifier: Apache-2.0
// memory_bytes.h — a payload as a MemoryTier stores it: with sums of its chunks, so that damage is
// met where it is and not elsewhere.
//
// Threading: thread-compatible.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/hash128.h"

namespace cairn::test {

struct MemoryBytes {
  static constexpr std::size_t kChunkBytes = 4096;

  explicit MemoryBytes(std::string payload) : text(std::move(payload)) {
    for (std::size_t i = 0; i * kChunkBytes < text.size(); ++i) sums.push_back(xxh3_64(chunk(i)));
  }
  /// Whether the chunks are as they were written that bytes [offset, offset + count) lie in.
  bool is_sound(std::size_t offset, std::size_t count) const {
    for (std::size_t i = offset / kChunkBytes; count > 0 && i * kChunkBytes < offset + count; ++i) {
      if (xxh3_64(chunk(i)) != sums[i]) return false;
    }
    return true;
  }
  ByteSpan chunk(std::size_t i) const {
    const std::size_t at = i * kChunkBytes;
    return as_bytes(text).subspan(at, std::min(kChunkBytes, text.size() - at));
  }

  std::string text;
  std::vector<std::uint64_t> sums;  // taken when it was written
};

}  // namespace cairn::test
