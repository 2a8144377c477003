// SPDX-License-Identifier: Apache-2.0
// zstd_frame.h — bytes as one zstd frame (RFC 8878) and back; the only one to include <zstd.h>.
//
// A frame here has no checksum and does not say how long its content is: the record that it lies
// in has a sum of it, and knows.
//
// Threading: confined; one of each for every worker. Blocking: cpu.
// Cost:      a FrameEncoder holds some hundred KiB, a FrameDecoder about 150.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "engine/base/bytes.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace cairn::tiers {

enum class FrameContent : std::uint8_t {
  /// Exponents: only how often each comes matters. Looking for repetitions costs time, and the
  /// chance ones that are found cost space.
  literals,
  /// Anything: repetitions are looked for, at zstd's level 1.
  text,
};

class FrameEncoder {
 public:
  FrameEncoder();
  ~FrameEncoder();

  /// The frame's length; nothing where it would be longer than `out`.
  std::optional<std::size_t> encode(FrameContent content, ByteSpan plain, MutableByteSpan out);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> literals_, text_;
};

class FrameDecoder {
 public:
  FrameDecoder();
  ~FrameDecoder();

  /// Whether `frame` is one whole frame of exactly plain.size() bytes, which then are in `plain`.
  /// Any bytes will do for `frame`; nothing outside of `plain` is written.
  bool decode(ByteSpan frame, MutableByteSpan plain);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
};

}  // namespace cairn::tiers
