// SPDX-License-Identifier: Apache-2.0
// token_nodes.h — the edges of a token tree: walked, split, merged and cut. Private to
// engine/token_*.
//
// An edge is at most kEdgeBlocksMax blocks and about kEdgeTokens tokens long; what is longer is a
// chain of edges. That bounds the work of a split, a merge and a cut, which copy one edge, and so
// an adversary who has the same edge split and merged again and again.
//
// Threading:  thread-compatible: const calls together, all others alone.
// Blocking:   never. Nothing recurses: a chain may be as deep as its tokens can be counted.
//
// Invariants (unsoundness):
//   N1  a node but a root has at least one token, and begins where its parent ends
//   N2  no two children of a node begin with the same token
//   N3  a leaf ends with a block that is there; so something that is there lies behind every hole
//   N4  an only child does not fit into its parent's edge (roots keep theirs)
//   N5  the leaves are exactly the nodes without children; no root is one
//   N6  by_id holds each block, there or a hole, exactly once
//   N7  each counter equals the sum over the nodes
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "engine/base/hash128.h"
#include "engine/tokens/pointer_table.h"
#include "engine/tokens/token_leaves.h"
#include "engine/tokens/token_node.h"

namespace cairn::detail {

class TokenNodes {
 public:
  static constexpr std::uint32_t kEdgeBlocksMax = 64;
  static constexpr std::uint32_t kEdgeTokens = 1024;

  TokenNodes(std::uint32_t block_tokens, std::uint64_t secret);
  ~TokenNodes();
  TokenNodes(const TokenNodes&) = delete;
  TokenNodes& operator=(const TokenNodes&) = delete;

  /// Behind the first `offset` tokens of a node's edge.
  struct Cursor {
    TokenNode* node = nullptr;
    std::uint32_t offset = 0;
  };
  /// A block: the `index`-th of those that end in a node's edge.
  struct Place {
    TokenNode* node = nullptr;
    std::uint32_t index = 0;
  };
  enum class Added : std::uint8_t { added, already, conflict, too_deep };
  struct Walk {
    std::uint64_t blocks = 0;      // whole blocks from the root that are there
    std::uint32_t tail = 0;        // tokens that agree behind them, at most a block
    TokenNode* deepest = nullptr;  // where the last of the blocks ends
  };

  /// The longest run. Ids go to `out` as far as it reaches.
  Walk walk(const Hash128& root, std::span<const std::uint32_t> tokens,
            std::span<BlockId> out) const;

  Place find(BlockId id) const;  // a null node: unknown
  bool is_present(Place place) const { return (place.node->present >> place.index & 1) != 0; }
  /// Whether the block is of these block_tokens tokens.
  bool is_of(Place place, std::span<const std::uint32_t> tokens) const;
  Cursor behind(Place place) const;
  /// Makes the root where there is none: the caller adds a block to it.
  Cursor at_root(const Hash128& root);

  /// A block of block_tokens tokens whose id is not known yet. A hole of the same tokens is taken
  /// over, also from another id.
  Added add(Cursor from, std::span<const std::uint32_t> tokens, BlockId id, std::uint64_t stamp);
  void restore(Place hole, std::uint64_t stamp);
  /// Makes it a hole, or cuts it off with the holes before it where nothing lies behind.
  void remove(Place place);
  /// Takes off the last block of the leaf that was matched least recently; false when empty.
  bool drop_least_recent();

  std::uint32_t block_tokens() const { return block_tokens_; }
  /// The ids of blocks that end in an edge.
  std::uint32_t count_of(const TokenNode* node) const {
    return node->end() / block_tokens_ - node->begin / block_tokens_;
  }
  /// Roots, in no order, then depth first: the node that follows, or null.
  const TokenNode* first() const { return roots_; }
  static const TokenNode* following(const TokenNode* node);
  /// Empty when every invariant holds, else the first that does not.
  std::string unsoundness() const;

  struct Counts {
    std::uint64_t blocks = 0, holes = 0, nodes = 0, roots = 0, tokens = 0;
    std::uint64_t splits = 0, merges = 0;
    std::uint64_t node_bytes = 0;  // nodes and what they hold
  };
  const Counts& counts() const { return counts_; }
  /// Allocated, beside the object itself.
  std::uint64_t bytes() const {
    return counts_.node_bytes + by_id_.bytes() + by_token_.bytes() + by_root_.bytes() +
           leaves_.bytes();
  }

 private:
  struct HashOfId {
    const TokenNodes* owner;
    std::uint64_t operator()(const TokenNode* node, std::uint32_t number) const {
      return owner->hash_of(node->ids()[owner->index_of(node, number)]);
    }
  };
  struct HashOfEdge {
    const TokenNodes* owner;
    std::uint64_t operator()(const TokenNode* node, std::uint32_t) const {
      return owner->hash_of(node->parent, node->tokens()[0]);
    }
  };
  struct HashOfRoot {
    const TokenNodes* owner;
    std::uint64_t operator()(const TokenRoot* root, std::uint32_t) const {
      return owner->hash_of(BlockId{root->id});
    }
  };

  std::uint64_t hash_of(BlockId id) const {
    return mix64(id.hash.low ^ secret_) + mix64(id.hash.high ^ ~secret_);
  }
  std::uint64_t hash_of(const TokenNode* parent, std::uint32_t token) const {
    return mix64(mix64(reinterpret_cast<std::uintptr_t>(parent) ^ secret_) + token);
  }
  // A block is filed with its place on the path modulo 64: a split or a merge does not change it.
  static std::uint32_t number_of(std::uint64_t block) { return block & 63; }
  std::uint32_t first_block(const TokenNode* node) const { return node->begin / block_tokens_; }
  std::uint32_t index_of(const TokenNode* node, std::uint32_t number) const {
    return (number - first_block(node)) & 63;
  }
  std::uint32_t offset_behind(const TokenNode* node, std::uint32_t index) const {
    return (first_block(node) + index + 1) * block_tokens_ - node->begin;
  }

  TokenRoot* find_root(const Hash128& root) const;
  TokenNode* find_child(const TokenNode* parent, std::uint32_t token) const;

  // token_edges.cc: one edge at a time.
  std::uint32_t capacity_for(std::uint32_t tokens) const;
  std::uint64_t bytes_of(const TokenNode* node) const;
  std::unique_ptr<std::byte[]> allocate(std::uint32_t capacity) const;
  void resize(TokenNode* node, std::uint32_t tokens);
  TokenNode* split(TokenNode* node, std::uint32_t offset);
  void merge_if_fits(TokenNode* node);
  void merge(TokenNode* upper, TokenNode* lower);
  void append(TokenNode* leaf, std::span<const std::uint32_t> tokens, BlockId id);
  void hang(TokenNode* parent, std::uint32_t offset, std::span<const std::uint32_t> tokens,
            BlockId id, std::uint64_t stamp);
  void link(TokenNode* parent, TokenNode* child);
  void unlink(TokenNode* child);
  void file(TokenNode* node, std::uint32_t index);
  void unfile(TokenNode* node, std::uint32_t index);
  void cut(TokenNode* leaf, std::uint32_t blocks);
  void remove_root(TokenRoot* root);
  void prune(TokenNode* node);
  std::string unsoundness_of(const TokenNode* node, Counts* sums) const;

  const std::uint32_t block_tokens_;
  const std::uint32_t edge_tokens_max_;
  const std::uint64_t secret_;
  TokenNode* roots_ = nullptr;
  PointerTable<TokenNode, 256, HashOfId> by_id_;
  PointerTable<TokenNode, 256, HashOfEdge> by_token_;
  PointerTable<TokenRoot, 1, HashOfRoot> by_root_;
  TokenLeaves leaves_;
  Counts counts_;
};

}  // namespace cairn::detail
