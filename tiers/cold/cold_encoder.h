// SPDX-License-Identifier: Apache-2.0
// cold_encoder.h — payloads on their way to a segment, made smaller by the codec's threads.
//
// A payload is encoded in as many pieces as there are threads into one buffer, in which the pieces
// are then moved together. Buffers are bounded: who comes when they are used up waits in order, so
// memory does not grow with the puts that are under way. What does not shrink gives its buffer back
// at once and is written from where it was.
//
// Threading:  confined to the I/O loop; the codec's threads touch one Encoding's plain bytes, table
//             and buffer between encode() and its done.
// Blocking:   never, but for the encoding itself where the pool has no threads.
#pragma once

#include <cstdint>
#include <deque>
#include <span>

#include "engine/tier.h"
#include "tiers/codec/codec_pool.h"
#include "tiers/cold/buffer_pool.h"
#include "tiers/cold/cold_core.h"
#include "tiers/record/payload_codec.h"

namespace cairn::tiers {

class ColdEncoder {
 public:
  /// One payload. Stays where it is until done has run; the result stays until release().
  struct Encoding {
    ByteSpan plain;
    Dtype dtype = Dtype::opaque;
    std::uint32_t chunk_bytes = 0;
    std::span<ChunkEntry> table;  // out, whether it has shrunk or not
    Task done;
    ByteSpan stored;  // out: what is to be written, the plain bytes where they did not shrink
    bool has_shrunk = false;

   private:
    friend class ColdEncoder;
    struct Piece {
      ChunkRange range;
      std::size_t stored_bytes = 0;
    };
    Buffer buffer;
    std::vector<Piece> pieces;
    std::atomic<std::size_t> left{0};
  };

  ColdEncoder(ColdCore& core, BufferPool& pool, CodecPool& codec);
  ~ColdEncoder();

  void encode(Encoding& encoding);
  /// Its bytes have been written, or will not be.
  void release(Encoding& encoding);

 private:
  void pump();
  void start(Encoding& encoding);
  static void join(Encoding& encoding);
  void finished(Encoding& encoding);

  ColdCore& core_;
  BufferPool& pool_;
  CodecPool& codec_;
  std::deque<Encoding*> waiting_;
  std::uint64_t buffered_bytes_ = 0;
};

}  // namespace cairn::tiers
