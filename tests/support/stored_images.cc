// SPDX-License-Identifier: Apache-2.0
#include "tests/support/stored_images.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "tiers/codec/plane_codec.h"
#include "tiers/io/aligned_buffer.h"
#include "tiers/record/payload_codec.h"

namespace cairn::test {
namespace {

using tiers::kPage;

/// What an image borrows from.
struct ImageMemory {
  std::string key;
  std::vector<tiers::ChunkEntry> chunks;
  tiers::AlignedBuffer payload;
};

MutableByteSpan bytes_of(std::string& text) {
  return {reinterpret_cast<std::byte*>(text.data()), text.size()};
}

/// With a page between each piece and the next.
void lay_out(ByteSpan stored, std::size_t piece_pages, ImageMemory& memory, StoredImage& image) {
  if (stored.empty()) return;
  const std::size_t piece = piece_pages == 0 ? stored.size() : piece_pages * kPage;
  const std::size_t begin = piece_pages == 0 ? 64 : 0;
  const std::size_t pieces = (stored.size() - 1) / piece + 1;
  memory.payload = tiers::AlignedBuffer(begin + pieces * (piece + kPage));
  for (std::size_t i = 0; i < pieces; ++i) {
    const ByteSpan from = stored.subspan(i * piece, std::min(piece, stored.size() - i * piece));
    const MutableByteSpan to =
        memory.payload.span().subspan(begin + i * (piece + kPage), from.size());
    std::memcpy(to.data(), from.data(), from.size());
    image.payload.push_back(to);
  }
}

}  // namespace

std::shared_ptr<StoredImage> make_image(const BlockName& name, const BlockFacts& facts,
                                        ByteSpan plain, std::uint32_t chunk_bytes, ImageShape shape,
                                        Dtype dtype) {
  auto memory = std::make_shared<ImageMemory>();
  memory->key = name.key;
  memory->chunks.resize(tiers::chunk_count_for(facts.plain_bytes, chunk_bytes));
  std::string stored(plain.size(), '\0');
  bool has_shrunk = false;
  if (shape.coded && !plain.empty()) {
    tiers::ChunkEncoder encoder(chunk_bytes);
    const auto count = static_cast<std::uint32_t>(memory->chunks.size());
    stored.resize(tiers::encode_chunks(encoder, dtype, plain, chunk_bytes, {0, count},
                                       memory->chunks, bytes_of(stored)));
    has_shrunk = stored.size() < plain.size();
  } else {
    tiers::sum_chunks(plain, chunk_bytes, memory->chunks);
    stored = as_text(plain);
  }
  auto image = std::make_shared<StoredImage>();
  image->fields = tiers::fields_of_block({name.namespace_id, memory->key, name.part}, facts,
                                         chunk_bytes, memory->chunks);
  image->fields.codec = has_shrunk ? tiers::Codec::planes : tiers::Codec::none;
  image->fields.payload_length = static_cast<std::uint32_t>(stored.size());
  lay_out(as_bytes(stored), shape.piece_pages, *memory, *image);
  image->hold = std::move(memory);
  return image;
}

std::string stored_bytes_of(const StoredImage& image) {
  std::string stored;
  for (const ByteSpan piece : image.payload) stored += as_text(piece);
  return stored;
}

absl::StatusOr<std::string> plain_bytes_of(const StoredImage& image) {
  CAIRN_RETURN_IF_ERROR(tiers::check_block(image.fields));
  const std::string stored = stored_bytes_of(image);
  std::string plain(image.fields.plain_length, '\0');
  tiers::ChunkDecoder decoder(image.fields.chunk_bytes);
  CAIRN_RETURN_IF_ERROR(tiers::decode_chunks(decoder, image.fields, as_bytes(stored),
                                             {0, image.fields.chunk_count()}, bytes_of(plain)));
  return plain;
}

}  // namespace cairn::test
