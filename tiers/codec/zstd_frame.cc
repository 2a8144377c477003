// SPDX-License-Identifier: Apache-2.0
#include "tiers/codec/zstd_frame.h"

// For ZSTD_c_literalCompressionMode alone: an encoder's choice, no part of the format.
#define ZSTD_STATIC_LINKING_ONLY  // NOLINT(readability-identifier-naming): zstd's
#include <zstd.h>

#include "engine/base/check.h"

namespace cairn::tiers {
namespace {

void set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  const std::size_t result = ZSTD_CCtx_setParameter(context, parameter, value);
  CAIRN_CHECK(ZSTD_isError(result) == 0);
}

ZSTD_CCtx* make_encoder(FrameContent content) {
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  CAIRN_CHECK(context != nullptr);
  const bool literals = content == FrameContent::literals;
  // The lowest level skips so far ahead that it finds next to nothing, which here is what it
  // should.
  set(context, ZSTD_c_compressionLevel, literals ? ZSTD_minCLevel() : 1);
  set(context, ZSTD_c_contentSizeFlag, 0);
  set(context, ZSTD_c_checksumFlag, 0);
  if (literals) set(context, ZSTD_c_literalCompressionMode, ZSTD_ps_enable);
  return context;
}

}  // namespace

FrameEncoder::FrameEncoder()
    : literals_(make_encoder(FrameContent::literals)), text_(make_encoder(FrameContent::text)) {}
FrameEncoder::~FrameEncoder() = default;

void FrameEncoder::Free::operator()(ZSTD_CCtx* context) const {
  ZSTD_freeCCtx(context);
}

std::optional<std::size_t> FrameEncoder::encode(FrameContent content, ByteSpan plain,
                                                MutableByteSpan out) {
  ZSTD_CCtx* const context = content == FrameContent::literals ? literals_.get() : text_.get();
  const std::size_t result =
      ZSTD_compress2(context, out.data(), out.size(), plain.data(), plain.size());
  // Nothing but too little room can go wrong, and then it is not worth it.
  if (ZSTD_isError(result) != 0) return std::nullopt;
  return result;
}

FrameDecoder::FrameDecoder() : context_(ZSTD_createDCtx()) {
  CAIRN_CHECK(context_ != nullptr);
}
FrameDecoder::~FrameDecoder() = default;

void FrameDecoder::Free::operator()(ZSTD_DCtx* context) const {
  ZSTD_freeDCtx(context);
}

bool FrameDecoder::decode(ByteSpan frame, MutableByteSpan plain) {
  // More than one frame would be decoded as one, and a skippable one as none.
  if (ZSTD_findFrameCompressedSize(frame.data(), frame.size()) != frame.size()) return false;
  const std::size_t result =
      ZSTD_decompressDCtx(context_.get(), plain.data(), plain.size(), frame.data(), frame.size());
  return ZSTD_isError(result) == 0 && result == plain.size();
}

}  // namespace cairn::tiers
