// SPDX-License-Identifier: Apache-2.0
#include "engine/tokens/token_waiting.h"

#include <algorithm>
#include <new>

namespace cairn::detail {

TokenWaiting::TokenWaiting(std::uint32_t block_tokens, std::uint64_t secret)
    : block_tokens_(block_tokens),
      secret_(secret),
      by_id_(HashOfId{secret}),
      by_parent_(HashOfParent{secret}) {}

TokenWaiting::~TokenWaiting() {
  while (drop_oldest()) {
  }
}

void TokenWaiting::add(BlockId id, BlockId parent, std::span<const std::uint32_t> tokens) {
  auto* bytes = new std::byte[block_bytes()];
  auto* block = ::new (static_cast<void*>(bytes)) WaitingBlock{.id = id, .parent = parent};
  std::copy(tokens.begin(), tokens.end(),
            reinterpret_cast<std::uint32_t*>(bytes + sizeof(WaitingBlock)));
  block->older = newest_;
  (newest_ == nullptr ? oldest_ : newest_->newer) = block;
  newest_ = block;
  // Behind the first of its parent, so that the table is left alone.
  if (WaitingBlock* first = first_of(parent)) {
    block->prev = first;
    block->next = first->next;
    if (first->next != nullptr) first->next->prev = block;
    first->next = block;
  } else {
    by_parent_.insert(hash_of(parent), {block, 0});
  }
  by_id_.insert(hash_of(id), {block, 0});
}

bool TokenWaiting::contains(BlockId id) const {
  return find(id) != nullptr;
}

WaitingBlock* TokenWaiting::first_of(BlockId parent) const {
  return by_parent_
      .find(hash_of(parent), [&](const auto& entry) { return entry.pointer->parent == parent; })
      .pointer;
}

std::span<const std::uint32_t> TokenWaiting::tokens_of(const WaitingBlock* block) const {
  return {reinterpret_cast<const std::uint32_t*>(block + 1), block_tokens_};
}

void TokenWaiting::remove(WaitingBlock* block) {
  const auto is_this = [block](const auto& entry) { return entry.pointer == block; };
  by_id_.erase(hash_of(block->id), is_this);
  if (block->prev != nullptr) {
    block->prev->next = block->next;
  } else if (block->next != nullptr) {
    by_parent_.replace(hash_of(block->parent), is_this, {block->next, 0});
  } else {
    by_parent_.erase(hash_of(block->parent), is_this);
  }
  if (block->next != nullptr) block->next->prev = block->prev;
  (block->older == nullptr ? oldest_ : block->older->newer) = block->newer;
  (block->newer == nullptr ? newest_ : block->newer->older) = block->older;
  delete[] reinterpret_cast<std::byte*>(block);
}

bool TokenWaiting::remove(BlockId id) {
  WaitingBlock* block = find(id);
  if (block != nullptr) remove(block);
  return block != nullptr;
}

bool TokenWaiting::drop_oldest() {
  if (oldest_ == nullptr) return false;
  remove(oldest_);
  return true;
}

bool TokenWaiting::is_sound() const {
  std::size_t count = 0, firsts = 0;
  const WaitingBlock* before = nullptr;
  for (const WaitingBlock* block = oldest_; block != nullptr; block = block->newer) {
    ++count;
    firsts += block->prev == nullptr;
    if (block->older != before || find(block->id) != block) return false;
    if (block->prev == nullptr && first_of(block->parent) != block) return false;
    if (block->next != nullptr && block->next->prev != block) return false;
    if (block->next != nullptr && block->next->parent != block->parent) return false;
    before = block;
  }
  return before == newest_ && count == by_id_.size() && firsts == by_parent_.size();
}

WaitingBlock* TokenWaiting::find(BlockId id) const {
  return by_id_.find(hash_of(id), [&](const auto& entry) { return entry.pointer->id == id; })
      .pointer;
}

}  // namespace cairn::detail
