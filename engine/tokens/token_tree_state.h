// SPDX-License-Identifier: Apache-2.0
// token_tree_state.h — what a token tree consists of. Private to engine/token_*.
//
// Threading: all but the atomics and what is constant is guarded by `mutex`: for reading with the
//            shared half, for changing with the whole.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "engine/base/mutex.h"
#include "engine/tokens/token_nodes.h"
#include "engine/tokens/token_tree.h"
#include "engine/tokens/token_waiting.h"

namespace cairn {

class TokenTree::State {
 public:
  explicit State(const TokenTreeOptions& given);

  const TokenTreeOptions options;
  mutable SharedMutex mutex{LockRank::token_tree};
  // On a line of their own: each match writes them. The clock stamps recency.
  alignas(64) std::atomic<std::uint64_t> clock = 1;
  std::atomic<std::uint64_t> matches = 0, hits = 0;
  alignas(64) TokenTreeStats stats;
  std::optional<detail::TokenNodes> nodes;
  std::optional<detail::TokenWaiting> waiting;

  TokenInsert insert(const TokenTreeBlock& block);
  bool remove(BlockId id);
  void clear();
  bool contains(BlockId id) const;
  std::uint64_t bytes() const { return sizeof(State) + nodes->bytes() + waiting->bytes(); }
  SavedTokenTree save() const;
  absl::Status restore(const SavedTokenTree& saved);
  std::string picture(std::size_t lines_max) const;

 private:
  TokenInsert place(const TokenTreeBlock& block, std::uint64_t stamp);
  TokenInsert add(detail::TokenNodes::Cursor from, std::span<const std::uint32_t> tokens,
                  BlockId id, std::uint64_t stamp);
  void attach_waiting(BlockId id, std::uint64_t stamp);
  bool make_room();
};

}  // namespace cairn
