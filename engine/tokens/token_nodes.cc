// SPDX-License-Identifier: Apache-2.0
#include "engine/tokens/token_nodes.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace cairn::detail {
namespace {

/// How many leading tokens are the same. Pieces, because a compare of bytes is many times faster
/// than one of tokens but does not say where.
std::uint32_t same_tokens(const std::uint32_t* a, const std::uint32_t* b, std::size_t count) {
  constexpr std::size_t kPiece = 64;
  std::size_t at = 0;
  while (count - at >= kPiece && std::memcmp(a + at, b + at, kPiece * sizeof(*a)) == 0) {
    at += kPiece;
  }
  while (at < count && a[at] == b[at]) ++at;
  return static_cast<std::uint32_t>(at);
}

}  // namespace

TokenNodes::TokenNodes(std::uint32_t block_tokens, std::uint64_t secret)
    : block_tokens_(block_tokens),
      edge_tokens_max_(block_tokens * std::clamp(kEdgeTokens / block_tokens, 1U, kEdgeBlocksMax)),
      secret_(secret),
      by_id_(HashOfId{this}),
      by_token_(HashOfEdge{this}),
      by_root_(HashOfRoot{this}) {}

TokenNodes::~TokenNodes() {
  for (TokenNode* node = roots_; node != nullptr;) {
    if (!node->is_leaf()) {
      TokenNode* child = node->first_child;
      node->first_child = nullptr;  // entered once
      node = child;
      continue;
    }
    TokenNode* const following = node->next != nullptr ? node->next : node->parent;
    if (node->is_root()) {
      delete static_cast<TokenRoot*>(node);
    } else {
      delete node;
    }
    node = following;
  }
}

TokenNodes::Walk TokenNodes::walk(const Hash128& root, std::span<const std::uint32_t> tokens,
                                  std::span<BlockId> out) const {
  Walk walk;
  TokenNode* node = find_root(root);
  std::uint64_t depth = 0;
  while (node != nullptr && depth < tokens.size()) {
    node = find_child(node, tokens[depth]);
    if (node == nullptr) break;
    const std::size_t length = std::min<std::size_t>(node->length, tokens.size() - depth);
    const std::uint32_t same = same_tokens(node->tokens(), tokens.data() + depth, length);
    const auto ended =
        static_cast<std::uint32_t>((depth + same) / block_tokens_ - depth / block_tokens_);
    const auto there = std::min(ended, static_cast<std::uint32_t>(std::countr_one(node->present)));
    if (walk.blocks < out.size() && there > 0) {
      std::copy_n(node->ids(), std::min<std::uint64_t>(there, out.size() - walk.blocks),
                  out.data() + walk.blocks);
    }
    walk.blocks += there;
    if (there > 0) walk.deepest = node;
    depth += same;
    if (there < ended || same < node->length) break;  // a hole, or other tokens
  }
  walk.tail = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(depth - walk.blocks * block_tokens_, block_tokens_));
  return walk;
}

TokenNodes::Place TokenNodes::find(BlockId id) const {
  const auto found = by_id_.find(hash_of(id), [&](const auto& entry) {
    return entry.pointer->ids()[index_of(entry.pointer, entry.number)] == id;
  });
  if (found.pointer == nullptr) return {};
  return {found.pointer, index_of(found.pointer, found.number)};
}

bool TokenNodes::is_of(Place place, std::span<const std::uint32_t> tokens) const {
  const TokenNode* node = place.node;
  std::uint32_t to = offset_behind(node, place.index);
  for (std::size_t left = tokens.size(); left > 0; node = node->parent, to = node->length) {
    const std::size_t here = std::min<std::size_t>(to, left);
    left -= here;
    if (same_tokens(node->tokens() + to - here, tokens.data() + left, here) != here) return false;
    if (left == 0) return true;
  }
  return true;
}

TokenNodes::Cursor TokenNodes::behind(Place place) const {
  return {place.node, offset_behind(place.node, place.index)};
}

TokenNodes::Cursor TokenNodes::at_root(const Hash128& root) {
  if (TokenRoot* found = find_root(root)) return {found, 0};
  auto* made = new TokenRoot;
  made->id = root;
  made->next = roots_;
  if (roots_ != nullptr) roots_->prev = made;
  roots_ = made;
  by_root_.insert(hash_of(BlockId{root}), {made, 0});
  ++counts_.roots;
  counts_.node_bytes += sizeof(TokenRoot);
  return {made, 0};
}

TokenNodes::Added TokenNodes::add(Cursor from, std::span<const std::uint32_t> tokens, BlockId id,
                                  std::uint64_t stamp) {
  auto [node, offset] = from;
  if (node->begin + offset > std::numeric_limits<std::uint32_t>::max() - block_tokens_) {
    return Added::too_deep;
  }
  std::size_t done = 0;
  while (done < tokens.size()) {
    if (offset == node->length) {
      TokenNode* child = find_child(node, tokens[done]);
      if (child == nullptr) {
        hang(node, offset, tokens.subspan(done), id, stamp);
        return Added::added;
      }
      node = child;
      offset = 0;
    }
    const std::size_t length = std::min<std::size_t>(tokens.size() - done, node->length - offset);
    const std::uint32_t same = same_tokens(node->tokens() + offset, tokens.data() + done, length);
    offset += same;
    done += same;
    if (same < length) {
      hang(node, offset, tokens.subspan(done), id, stamp);
      return Added::added;
    }
  }
  // All of its tokens are there, so a block ends here that has them.
  const Place place{node, (node->begin + offset) / block_tokens_ - first_block(node) - 1};
  if (is_present(place)) {
    return node->ids()[place.index] == id ? Added::already : Added::conflict;
  }
  unfile(node, place.index);
  node->ids()[place.index] = id;
  file(node, place.index);
  restore(place, stamp);
  return Added::added;
}

void TokenNodes::restore(Place hole, std::uint64_t stamp) {
  hole.node->present |= std::uint64_t{1} << hole.index;
  hole.node->used.store(stamp, std::memory_order_relaxed);
  --counts_.holes;
  ++counts_.blocks;
}

void TokenNodes::remove(Place place) {
  place.node->present &= ~(std::uint64_t{1} << place.index);
  --counts_.blocks;
  ++counts_.holes;
  prune(place.node);
}

bool TokenNodes::drop_least_recent() {
  TokenNode* leaf = leaves_.least_recent();
  if (leaf == nullptr) return false;
  remove({leaf, count_of(leaf) - 1});
  return true;
}

/// A leaf ends with a block that is there: what is behind its last one goes, and the node with
/// it where there is none, and then its parent may be such a leaf.
void TokenNodes::prune(TokenNode* node) {
  while (node->is_leaf()) {
    const auto blocks = static_cast<std::uint32_t>(64 - std::countl_zero(node->present));
    TokenNode* parent = node->parent;
    if (blocks > 0) {
      if (offset_behind(node, blocks - 1) == node->length) return;
      cut(node, blocks);
      merge_if_fits(parent);
      return;
    }
    cut(node, 0);
    const std::uint64_t used = node->used.load(std::memory_order_relaxed);
    leaves_.remove(node);
    unlink(node);
    counts_.node_bytes -= bytes_of(node);
    counts_.tokens -= node->length;
    --counts_.nodes;
    delete node;
    if (parent->is_root()) {
      if (parent->is_leaf()) remove_root(static_cast<TokenRoot*>(parent));
      return;
    }
    // What was matched below it was matched through it.
    if (used > parent->used.load(std::memory_order_relaxed)) {
      parent->used.store(used, std::memory_order_relaxed);
    }
    if (!parent->is_leaf()) {
      merge_if_fits(parent);
      return;
    }
    leaves_.add(parent);
    node = parent;
  }
}

void TokenNodes::remove_root(TokenRoot* root) {
  by_root_.erase(hash_of(BlockId{root->id}),
                 [root](const auto& entry) { return entry.pointer == root; });
  if (root->prev != nullptr) root->prev->next = root->next;
  if (root->next != nullptr) root->next->prev = root->prev;
  if (roots_ == root) roots_ = root->next;
  --counts_.roots;
  counts_.node_bytes -= sizeof(TokenRoot);
  delete root;
}

TokenRoot* TokenNodes::find_root(const Hash128& root) const {
  return by_root_
      .find(hash_of(BlockId{root}), [&](const auto& entry) { return entry.pointer->id == root; })
      .pointer;
}

TokenNode* TokenNodes::find_child(const TokenNode* parent, std::uint32_t token) const {
  return by_token_
      .find(hash_of(parent, token),
            [&](const auto& entry) {
              return entry.pointer->parent == parent && entry.pointer->tokens()[0] == token;
            })
      .pointer;
}

const TokenNode* TokenNodes::following(const TokenNode* node) {
  if (!node->is_leaf()) return node->first_child;
  while (node != nullptr && node->next == nullptr) node = node->parent;
  return node == nullptr ? nullptr : node->next;
}

}  // namespace cairn::detail
