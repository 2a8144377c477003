// SPDX-License-Identifier: Apache-2.0
#include "engine/tokens/token_leaves.h"

#include "engine/base/check.h"

namespace cairn::detail {

void TokenLeaves::add(TokenNode* leaf) {
  if (size_ == chunks_.size() * kChunk) chunks_.push_back(std::make_unique<Chunk>());
  leaf->ranked = leaf->used.load(std::memory_order_relaxed);  // the caller is alone with it
  set(size_++, leaf);
  sift_up(size_ - 1);
}

void TokenLeaves::remove(TokenNode* leaf) {
  CAIRN_CHECK(holds(leaf));
  const std::size_t index = leaf->heap_at;
  TokenNode* last = at(--size_);
  leaf->heap_at = TokenNode::kNoLeaf;
  if (last != leaf) {
    set(index, last);
    sift_up(index);
    sift_down(last->heap_at);
  }
  // One chunk is kept in reserve, so that a leaf that comes and goes allocates nothing.
  if (size_ + kChunk < chunks_.size() * kChunk || size_ == 0) chunks_.pop_back();
  if (chunks_.empty()) chunks_.shrink_to_fit();
}

TokenNode* TokenLeaves::least_recent() {
  TokenNode* best = nullptr;
  for (std::size_t i = 0; i < kCatchUpMax && size_ > 0; ++i) {
    TokenNode* top = at(0);
    // Relaxed: a stamp orders nothing but the leaves.
    const std::uint64_t used = top->used.load(std::memory_order_relaxed);
    if (used == top->ranked) return top;
    top->ranked = used;
    if (best == nullptr || used < best->ranked) best = top;
    sift_down(0);
  }
  return best;
}

bool TokenLeaves::is_ordered() const {
  for (std::size_t i = 0; i < size_; ++i) {
    if (at(i)->heap_at != i || at(i)->ranked > at(i)->used.load(std::memory_order_relaxed)) {
      return false;
    }
    if (i > 0 && at((i - 1) / 2)->ranked > at(i)->ranked) return false;
  }
  return true;
}

void TokenLeaves::sift_up(std::size_t index) {
  TokenNode* leaf = at(index);
  for (; index > 0 && at((index - 1) / 2)->ranked > leaf->ranked; index = (index - 1) / 2) {
    set(index, at((index - 1) / 2));
  }
  set(index, leaf);
}

void TokenLeaves::sift_down(std::size_t index) {
  TokenNode* leaf = at(index);
  for (;;) {
    std::size_t child = 2 * index + 1;
    if (child >= size_) break;
    if (child + 1 < size_ && at(child + 1)->ranked < at(child)->ranked) ++child;
    if (at(child)->ranked >= leaf->ranked) break;
    set(index, at(child));
    index = child;
  }
  set(index, leaf);
}

}  // namespace cairn::detail
