// SPDX-License-Identifier: Apache-2.0
// token_leaves.h — the leaves of a token tree, least recently matched first. Private to
// engine/token_*.
//
// A binary heap by the stamp that a leaf had when it was last looked at. Matches run together and
// only raise a leaf's own stamp; the heap learns of it when the leaf comes up: as stamps never
// fall, a leaf on top whose stamp is what the heap knows is the least recent of all. Kept in
// chunks, so that growing copies no leaf.
//
// Threading:  thread-compatible; stamps may be raised meanwhile by others.
// Blocking:   never. Cost: O(log leaves) to add, to take out, and for each stamp that is caught up
//             with: at most kCatchUpMax for one leaf that is picked.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/tokens/token_node.h"

namespace cairn::detail {

class TokenLeaves {
 public:
  void add(TokenNode* leaf);
  void remove(TokenNode* leaf);
  /// The least recently matched; the least recent of kCatchUpMax where so many that came before
  /// it have been matched since they were last looked at. Null when there is none.
  TokenNode* least_recent();

  std::size_t size() const { return size_; }
  bool holds(const TokenNode* leaf) const {
    return leaf->heap_at < size_ && at(leaf->heap_at) == leaf;
  }
  bool is_ordered() const;
  /// Allocated, beside the object itself.
  std::uint64_t bytes() const {
    return chunks_.capacity() * sizeof(chunks_[0]) + chunks_.size() * sizeof(Chunk);
  }

 private:
  static constexpr std::size_t kChunk = 512;
  static constexpr std::size_t kCatchUpMax = 64;
  using Chunk = std::array<TokenNode*, kChunk>;

  TokenNode* at(std::size_t index) const { return (*chunks_[index / kChunk])[index % kChunk]; }
  void set(std::size_t index, TokenNode* leaf) {
    (*chunks_[index / kChunk])[index % kChunk] = leaf;
    leaf->heap_at = static_cast<std::uint32_t>(index);
  }
  void sift_up(std::size_t index);
  void sift_down(std::size_t index);

  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::size_t size_ = 0;
};

}  // namespace cairn::detail
