// SPDX-License-Identifier: Apache-2.0
// coded_blocks.h — blocks of KV, encoded and decoded on one core or on several as a store does,
// sums included: what the codec is measured by, and what bounds the tiers that use it.
//
// Threading: confined. Blocking: cpu.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/measure.h"
#include "engine/base/bytes.h"
#include "engine/namespace.h"
#include "tiers/codec/plane_codec.h"

namespace cairn::bench {

/// Blocks that together are larger than the caches, as in a store.
struct Blocks {
  Dtype dtype;
  std::size_t block_bytes, chunk_bytes;
  std::vector<std::vector<std::byte>> plain;

  std::size_t bytes() const { return plain.size() * block_bytes; }
  double giga(double seconds) const { return static_cast<double>(bytes()) / seconds / 1e9; }
};

absl::StatusOr<std::shared_ptr<Blocks>> make_blocks(Dtype dtype, std::size_t count);

/// A block as the record holds it.
struct Image {
  struct Chunk {
    tiers::ChunkEncoding encoding;
    std::size_t offset, bytes;
    std::uint64_t sum;
  };
  std::vector<Chunk> chunks;
  std::vector<std::byte> stored;
  std::size_t stored_bytes = 0;
};

void encode(tiers::ChunkEncoder& encoder, const Blocks& blocks, std::size_t i, Image& image);

/// GB/s of plain bytes, all blocks once.
Run encode_run(const std::shared_ptr<Blocks>& blocks);
Run decode_run(const std::shared_ptr<Blocks>& blocks);
/// The same on so many threads, each taking the next block; each is decoded to a place of its own,
/// as who reads them all needs it.
Run encode_run(const std::shared_ptr<Blocks>& blocks, unsigned threads);
Run decode_run(const std::shared_ptr<Blocks>& blocks, unsigned threads);

}  // namespace cairn::bench
