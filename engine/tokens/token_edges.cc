// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <new>

#include "engine/tokens/token_nodes.h"

namespace cairn::detail {
namespace {

std::uint64_t low_bits(std::uint32_t count) {
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}
std::uint64_t shifted_down(std::uint64_t bits, std::uint32_t count) {
  return count >= 64 ? 0 : bits >> count;
}
std::uint64_t shifted_up(std::uint64_t bits, std::uint32_t count) {
  return count >= 64 ? 0 : bits << count;
}

}  // namespace

/// Blocks that storage for `tokens` is made for: in steps, so that a chain that grows block by
/// block is not copied each time, and a function of the length alone, so that bytes come back.
std::uint32_t TokenNodes::capacity_for(std::uint32_t tokens) const {
  constexpr std::uint32_t kStep = 4;
  const std::uint32_t blocks = (tokens + block_tokens_ - 1) / block_tokens_;
  return blocks <= 2 ? blocks : static_cast<std::uint32_t>(round_up(blocks, kStep));
}

std::uint64_t TokenNodes::bytes_of(const TokenNode* node) const {
  return sizeof(TokenNode) +
         node->capacity * (sizeof(BlockId) + block_tokens_ * sizeof(std::uint32_t));
}

std::unique_ptr<std::byte[]> TokenNodes::allocate(std::uint32_t capacity) const {
  const std::size_t bytes = capacity * (sizeof(BlockId) + block_tokens_ * sizeof(std::uint32_t));
  return std::unique_ptr<std::byte[]>(new std::byte[bytes]);
}

/// Storage for `tokens`, with what the node has now as far as it fits. Changes no length.
void TokenNodes::resize(TokenNode* node, std::uint32_t tokens) {
  const std::uint32_t capacity = capacity_for(tokens);
  if (capacity == node->capacity) return;
  counts_.node_bytes -= bytes_of(node);
  std::unique_ptr<std::byte[]> old = std::move(node->storage);
  const std::uint32_t old_capacity = node->capacity;
  node->storage = allocate(capacity);
  node->capacity = capacity;
  counts_.node_bytes += bytes_of(node);
  if (old == nullptr) return;
  const std::uint32_t blocks = std::min(count_of(node), capacity);
  std::memcpy(node->storage.get(), old.get(), blocks * sizeof(BlockId));
  const std::uint32_t kept = std::min(node->length, capacity * block_tokens_);
  std::memcpy(node->tokens(), old.get() + old_capacity * sizeof(BlockId),
              kept * sizeof(std::uint32_t));
}

/// Puts a node of its own above, with the first `offset` tokens. The children stay where they
/// are, however many. Returns the upper node.
TokenNode* TokenNodes::split(TokenNode* node, std::uint32_t offset) {
  CAIRN_DCHECK(offset > 0 && offset < node->length);
  auto* upper = new TokenNode;
  upper->begin = node->begin;
  upper->length = offset;
  upper->used.store(node->used.load(std::memory_order_relaxed), std::memory_order_relaxed);
  upper->capacity = capacity_for(offset);
  upper->storage = allocate(upper->capacity);
  const std::uint32_t blocks = count_of(upper);
  std::copy_n(node->ids(), blocks, upper->ids());
  std::copy_n(node->tokens(), offset, upper->tokens());
  upper->present = node->present & low_bits(blocks);
  for (std::uint32_t i = 0; i < blocks; ++i) {
    by_id_.replace(hash_of(node->ids()[i]),
                   [&, number = number_of(first_block(node) + i)](const auto& entry) {
                     return entry.pointer == node && entry.number == number;
                   },
                   {upper, number_of(first_block(node) + i)});
  }
  // In the place of the node among its siblings.
  upper->parent = node->parent;
  upper->prev = node->prev;
  upper->next = node->next;
  if (upper->prev != nullptr) upper->prev->next = upper;
  if (upper->next != nullptr) upper->next->prev = upper;
  if (upper->prev == nullptr) upper->parent->first_child = upper;
  by_token_.replace(hash_of(node->parent, node->tokens()[0]),
                    [node](const auto& entry) { return entry.pointer == node; }, {upper, 0});

  // The lower part, in storage of its own size.
  const std::uint32_t left = node->length - offset;
  const std::uint32_t left_blocks = count_of(node) - blocks;
  counts_.node_bytes -= bytes_of(node);
  const std::unique_ptr<std::byte[]> old = std::move(node->storage);
  const std::uint32_t old_capacity = node->capacity;
  node->capacity = capacity_for(left);
  node->storage = allocate(node->capacity);
  std::memcpy(node->storage.get(), old.get() + blocks * sizeof(BlockId),
              left_blocks * sizeof(BlockId));
  std::memcpy(
      node->tokens(),
      old.get() + old_capacity * sizeof(BlockId) + std::size_t{offset} * sizeof(std::uint32_t),
      left * sizeof(std::uint32_t));
  node->present = shifted_down(node->present, blocks);
  node->begin += offset;
  node->length = left;
  node->prev = node->next = nullptr;
  node->parent = upper;
  upper->first_child = node;
  by_token_.insert(hash_of(upper, node->tokens()[0]), {node, 0});
  counts_.node_bytes += bytes_of(node) + bytes_of(upper);
  ++counts_.nodes;
  ++counts_.splits;
  return upper;
}

void TokenNodes::merge_if_fits(TokenNode* node) {
  if (node->is_root() || !node->has_one_child()) return;
  TokenNode* child = node->first_child;
  if (node->length + child->length <= edge_tokens_max_) merge(node, child);
}

/// The lower node takes in its parent, whose only child it is, and keeps its own children.
void TokenNodes::merge(TokenNode* upper, TokenNode* lower) {
  const std::uint32_t upper_blocks = count_of(upper), lower_blocks = count_of(lower);
  by_token_.erase(hash_of(upper, lower->tokens()[0]),
                  [lower](const auto& entry) { return entry.pointer == lower; });
  by_token_.replace(hash_of(upper->parent, upper->tokens()[0]),
                    [upper](const auto& entry) { return entry.pointer == upper; }, {lower, 0});
  counts_.node_bytes -= bytes_of(upper) + bytes_of(lower);
  const std::uint32_t capacity = capacity_for(upper->length + lower->length);
  std::unique_ptr<std::byte[]> storage = allocate(capacity);
  std::byte* ids = storage.get();
  std::memcpy(ids, upper->ids(), upper_blocks * sizeof(BlockId));
  std::memcpy(ids + upper_blocks * sizeof(BlockId), lower->ids(), lower_blocks * sizeof(BlockId));
  std::byte* tokens = ids + capacity * sizeof(BlockId);
  std::memcpy(tokens, upper->tokens(), upper->length * sizeof(std::uint32_t));
  std::memcpy(tokens + upper->length * sizeof(std::uint32_t), lower->tokens(),
              lower->length * sizeof(std::uint32_t));
  lower->storage = std::move(storage);
  lower->capacity = capacity;
  lower->present = upper->present | shifted_up(lower->present, upper_blocks);
  lower->begin = upper->begin;
  lower->length += upper->length;
  for (std::uint32_t i = 0; i < upper_blocks; ++i) {
    const std::uint32_t number = number_of(first_block(upper) + i);
    by_id_.replace(hash_of(upper->ids()[i]),
                   [upper, number](const auto& entry) {
                     return entry.pointer == upper && entry.number == number;
                   },
                   {lower, number});
  }
  lower->parent = upper->parent;
  lower->prev = upper->prev;
  lower->next = upper->next;
  if (lower->prev != nullptr) lower->prev->next = lower;
  if (lower->next != nullptr) lower->next->prev = lower;
  if (lower->prev == nullptr) lower->parent->first_child = lower;
  const std::uint64_t used = upper->used.load(std::memory_order_relaxed);
  if (used > lower->used.load(std::memory_order_relaxed)) {
    lower->used.store(used, std::memory_order_relaxed);
  }
  counts_.node_bytes += bytes_of(lower);
  --counts_.nodes;
  ++counts_.merges;
  delete upper;
}

/// The tokens that remain of a block whose path leaves the tree behind `offset` tokens of the
/// node's edge.
void TokenNodes::hang(TokenNode* parent, std::uint32_t offset,
                      std::span<const std::uint32_t> tokens, BlockId id, std::uint64_t stamp) {
  TokenNode* below = nullptr;
  if (offset < parent->length) {
    below = parent;
    parent = split(parent, offset);
  } else if (parent->is_leaf() && !parent->is_root()) {
    if (parent->length + tokens.size() <= edge_tokens_max_) {
      append(parent, tokens, id);
      parent->used.store(stamp, std::memory_order_relaxed);
      return;
    }
    leaves_.remove(parent);
  }
  auto* leaf = new TokenNode;
  leaf->begin = parent->end();
  leaf->used.store(stamp, std::memory_order_relaxed);
  counts_.node_bytes += bytes_of(leaf);
  ++counts_.nodes;
  append(leaf, tokens, id);
  link(parent, leaf);
  leaves_.add(leaf);
  // Both parts of a split are shorter than the whole was: the lower may now fit to its only child,
  // and the upper, where it is one, to its parent.
  if (below == nullptr) return;
  merge_if_fits(below);
  merge_if_fits(parent->parent);
}

/// One block more at the end of a leaf, of which `tokens` lie in this edge.
void TokenNodes::append(TokenNode* leaf, std::span<const std::uint32_t> tokens, BlockId id) {
  const std::uint32_t blocks = count_of(leaf);
  const auto more = static_cast<std::uint32_t>(tokens.size());
  resize(leaf, leaf->length + more);
  std::copy(tokens.begin(), tokens.end(), leaf->tokens() + leaf->length);
  ::new (static_cast<void*>(leaf->ids() + blocks)) BlockId(id);
  leaf->length += more;
  leaf->present |= std::uint64_t{1} << blocks;
  counts_.tokens += more;
  ++counts_.blocks;
  file(leaf, blocks);
}

/// Takes off all behind the first `blocks` of a leaf; the ids of these must be holes. With none
/// left the tokens stay: the node is about to go.
void TokenNodes::cut(TokenNode* leaf, std::uint32_t blocks) {
  for (std::uint32_t i = count_of(leaf); i-- > blocks;) {
    unfile(leaf, i);
    --counts_.holes;
  }
  if (blocks == 0) return;
  const std::uint32_t length = offset_behind(leaf, blocks - 1);
  counts_.tokens -= leaf->length - length;
  leaf->length = length;
  resize(leaf, length);
}

void TokenNodes::link(TokenNode* parent, TokenNode* child) {
  child->parent = parent;
  child->prev = nullptr;
  child->next = parent->first_child;
  if (child->next != nullptr) child->next->prev = child;
  parent->first_child = child;
  by_token_.insert(hash_of(parent, child->tokens()[0]), {child, 0});
}

void TokenNodes::unlink(TokenNode* child) {
  by_token_.erase(hash_of(child->parent, child->tokens()[0]),
                  [child](const auto& entry) { return entry.pointer == child; });
  if (child->prev != nullptr) child->prev->next = child->next;
  if (child->next != nullptr) child->next->prev = child->prev;
  if (child->prev == nullptr) child->parent->first_child = child->next;
}

void TokenNodes::file(TokenNode* node, std::uint32_t index) {
  by_id_.insert(hash_of(node->ids()[index]), {node, number_of(first_block(node) + index)});
}

void TokenNodes::unfile(TokenNode* node, std::uint32_t index) {
  const std::uint32_t number = number_of(first_block(node) + index);
  by_id_.erase(hash_of(node->ids()[index]), [node, number](const auto& entry) {
    return entry.pointer == node && entry.number == number;
  });
}

}  // namespace cairn::detail
