// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/cold_encoder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/check.h"

namespace cairn::tiers {
namespace {

// Enough for the threads to work ahead of the device.
constexpr std::uint64_t kBufferedBytesMax = 16 * kMiB;

}  // namespace

ColdEncoder::ColdEncoder(ColdCore& core, BufferPool& pool, CodecPool& codec)
    : core_(core), pool_(pool), codec_(codec) {}

ColdEncoder::~ColdEncoder() {
  CAIRN_CHECK(waiting_.empty() && buffered_bytes_ == 0);
}

void ColdEncoder::encode(Encoding& encoding) {
  CAIRN_CHECK(!encoding.plain.empty());
  waiting_.push_back(&encoding);
  pump();
}

void ColdEncoder::release(Encoding& encoding) {
  if (encoding.buffer.is_empty()) return;
  buffered_bytes_ -= encoding.buffer.size();
  encoding.buffer = Buffer();
  pump();
}

void ColdEncoder::pump() {
  while (!waiting_.empty()) {
    Encoding& next = *waiting_.front();
    // One alone may be larger.
    const std::uint64_t limit = std::min(kBufferedBytesMax, core_.options.buffer_bytes / 2);
    if (buffered_bytes_ > 0 && buffered_bytes_ + next.plain.size() > limit) return;
    waiting_.pop_front();
    start(next);
  }
}

void ColdEncoder::start(Encoding& encoding) {
  encoding.buffer = pool_.take(encoding.plain.size());
  buffered_bytes_ += encoding.buffer.size();
  for (const ChunkRange range : share_chunks(static_cast<std::uint32_t>(encoding.table.size()),
                                             encoding.plain.size(), codec_.width())) {
    encoding.pieces.push_back({.range = range});
  }
  encoding.left.store(encoding.pieces.size());
  for (Encoding::Piece& piece : encoding.pieces) {
    codec_.submit([this, &encoding, &piece](CodecWorker& worker) {
      const std::size_t offset = std::size_t{piece.range.begin} * encoding.chunk_bytes;
      piece.stored_bytes = encode_chunks(worker.encoder(encoding.chunk_bytes), encoding.dtype,
                                         encoding.plain, encoding.chunk_bytes, piece.range,
                                         encoding.table, encoding.buffer.span().subspan(offset));
      if (encoding.left.fetch_sub(1) > 1) return;
      join(encoding);
      core_.io_loop.post([this, &encoding] { finished(encoding); });
    });
  }
}

/// By the thread that was last: the pieces side by side.
void ColdEncoder::join(Encoding& encoding) {
  std::size_t used = 0;
  for (const Encoding::Piece& piece : encoding.pieces) {
    std::byte* const from =
        encoding.buffer.data() + std::size_t{piece.range.begin} * encoding.chunk_bytes;
    if (from != encoding.buffer.data() + used) {
      std::memmove(encoding.buffer.data() + used, from, piece.stored_bytes);
    }
    used += piece.stored_bytes;
  }
  encoding.stored = ByteSpan(encoding.buffer.span()).first(used);
}

void ColdEncoder::finished(Encoding& encoding) {
  encoding.has_shrunk = encoding.stored.size() < encoding.plain.size();
  if (!encoding.has_shrunk) {
    encoding.stored = encoding.plain;  // each chunk is raw: the table says so already
    release(encoding);
  }
  Task done = std::move(encoding.done);
  done();
}

}  // namespace cairn::tiers
