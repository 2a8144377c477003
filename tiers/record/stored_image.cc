// SPDX-License-Identifier: Apache-2.0
#include "tiers/record/stored_image.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace cairn::tiers {
namespace {

/// Goes through a payload that lies in pieces.
class PiecesCursor {
 public:
  explicit PiecesCursor(std::span<const ByteSpan> pieces) : pieces_(pieces) {}

  /// The next `bytes`, of which there are as many.
  ByteSpan next(std::size_t bytes, MutableByteSpan scratch) {
    skip_empty();
    if (rest_.size() >= bytes) return take(bytes);
    CAIRN_CHECK(scratch.size() >= bytes);
    for (std::size_t done = 0; done < bytes; skip_empty()) {
      const ByteSpan part = take(std::min(rest_.size(), bytes - done));
      std::memcpy(scratch.data() + done, part.data(), part.size());
      done += part.size();
    }
    return scratch.first(bytes);
  }

 private:
  void skip_empty() {
    while (rest_.empty() && !pieces_.empty()) {
      rest_ = pieces_.front();
      pieces_ = pieces_.subspan(1);
    }
  }
  ByteSpan take(std::size_t bytes) {
    const ByteSpan out = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return out;
  }

  std::span<const ByteSpan> pieces_;  // behind rest_
  ByteSpan rest_;
};

}  // namespace

absl::Status check_image(const StoredImage& image, const BlockName& name, const BlockFacts& facts,
                         std::uint32_t chunk_bytes) {
  const RecordFields& fields = image.fields;
  if (const absl::Status sound = check_block(fields); !sound.ok()) {
    return make_error(ErrorCode::corruption, message_of(sound));
  }
  CAIRN_RETURN_IF_ERROR(check_name(fields, name));
  if (fields.plain_length != facts.plain_bytes || fields.plain_sum != facts.plain_sum) {
    return make_error(ErrorCode::corruption, "the image is one of another version");
  }
  if (fields.plain_length > 0 && fields.chunk_bytes != chunk_bytes) {
    return make_error(ErrorCode::invalid_argument, "the namespace has chunks of another length");
  }
  std::uint64_t length = 0;
  for (const ByteSpan piece : image.payload) length += piece.size();
  if (length != fields.payload_length) {
    return make_error(ErrorCode::corruption, "the image's payload has another length");
  }
  return absl::OkStatus();
}

absl::Status check_image_sums(const StoredImage& image, MutableByteSpan scratch) {
  PiecesCursor cursor(image.payload);
  for (std::uint32_t i = 0; i < image.fields.chunk_count(); ++i) {
    const ChunkEntry entry = image.fields.chunk(i);
    CAIRN_RETURN_IF_ERROR(check_chunk(entry, cursor.next(entry.stored_length, scratch)));
  }
  return absl::OkStatus();
}

}  // namespace cairn::tiers
