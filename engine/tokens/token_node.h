// SPDX-License-Identifier: Apache-2.0
// token_node.h — one edge of a token tree with the node it leads to. Private to engine/token_*.
//
// An edge is a run of tokens: `begin` of them lie before it, and it has `length`. Blocks have a
// fixed number of tokens, so the k-th block of a path ends behind k × block_tokens tokens, and an
// edge knows the id of each block that ends inside it: wherever tokens are, the block that they are
// of is known. Edges may begin and end in the middle of a block: blocks that differ in their last
// token alone share all tokens but that.
//
// A root is a node of length 0 with no parent.
//
// Threading: plain data, but for `used`. Lifetime: TokenNodes owns all of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "engine/key.h"

namespace cairn::detail {

struct TokenNode {
  static constexpr std::uint32_t kNoLeaf = 0xffffffff;

  BlockId* ids() const { return reinterpret_cast<BlockId*>(storage.get()); }
  std::uint32_t* tokens() const {
    return reinterpret_cast<std::uint32_t*>(storage.get() + capacity * sizeof(BlockId));
  }
  bool is_leaf() const { return first_child == nullptr; }
  bool is_root() const { return parent == nullptr; }
  bool has_one_child() const { return first_child != nullptr && first_child->next == nullptr; }
  std::uint32_t end() const { return begin + length; }

  TokenNode* parent = nullptr;
  TokenNode* first_child = nullptr;
  TokenNode* next = nullptr;  // siblings
  TokenNode* prev = nullptr;
  std::unique_ptr<std::byte[]> storage;  // `capacity` ids, then as many blocks of tokens
  std::uint64_t present = 0;             // bit i: the i-th block that ends here is there
  std::atomic<std::uint64_t> used = 0;   // when it was last the end of a match
  std::uint64_t ranked = 0;              // `used` as the leaves know it
  std::uint32_t heap_at = kNoLeaf;       // where among the leaves
  std::uint32_t begin = 0, length = 0;   // tokens
  std::uint32_t capacity = 0;            // blocks
};

/// Where the chains of one key space begin.
struct TokenRoot : TokenNode {
  Hash128 id;
};

}  // namespace cairn::detail
