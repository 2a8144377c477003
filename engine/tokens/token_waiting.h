// SPDX-License-Identifier: Apache-2.0
// token_waiting.h — blocks that came before their parents. Private to engine/token_*.
//
// Threading:  thread-compatible.
// Blocking:   never. Cost: each call O(1) expected.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "engine/key.h"
#include "engine/tokens/pointer_table.h"

namespace cairn::detail {

/// One block; block_tokens tokens lie behind it in the same allocation.
struct WaitingBlock {
  BlockId id, parent;
  WaitingBlock* older = nullptr;
  WaitingBlock* newer = nullptr;
  WaitingBlock* prev = nullptr;  // of the same parent
  WaitingBlock* next = nullptr;
};

class TokenWaiting {
 public:
  TokenWaiting(std::uint32_t block_tokens, std::uint64_t secret);
  ~TokenWaiting();
  TokenWaiting(const TokenWaiting&) = delete;
  TokenWaiting& operator=(const TokenWaiting&) = delete;

  /// The id is not waiting yet.
  void add(BlockId id, BlockId parent, std::span<const std::uint32_t> tokens);
  bool contains(BlockId id) const;
  /// Any of those that wait for this parent; null when there is none.
  WaitingBlock* first_of(BlockId parent) const;
  std::span<const std::uint32_t> tokens_of(const WaitingBlock* block) const;
  void remove(WaitingBlock* block);
  bool remove(BlockId id);
  bool drop_oldest();

  std::uint64_t size() const { return by_id_.size(); }
  /// Allocated, beside the object itself.
  std::uint64_t bytes() const {
    return size() * block_bytes() + by_id_.bytes() + by_parent_.bytes();
  }
  bool is_sound() const;

 private:
  struct HashOfId {
    std::uint64_t secret;
    std::uint64_t operator()(const WaitingBlock* block, std::uint32_t) const {
      return of(block->id);
    }
    std::uint64_t of(BlockId id) const {
      return mix64(id.hash.low ^ secret) + mix64(id.hash.high ^ ~secret);
    }
  };
  struct HashOfParent {
    std::uint64_t secret;
    std::uint64_t operator()(const WaitingBlock* block, std::uint32_t) const {
      return HashOfId{secret}.of(block->parent);
    }
  };
  std::uint64_t hash_of(BlockId id) const { return HashOfId{secret_}.of(id); }
  std::uint64_t block_bytes() const {
    return sizeof(WaitingBlock) + block_tokens_ * sizeof(std::uint32_t);
  }
  WaitingBlock* find(BlockId id) const;

  const std::uint32_t block_tokens_;
  const std::uint64_t secret_;
  PointerTable<WaitingBlock, 64, HashOfId> by_id_;
  PointerTable<WaitingBlock, 64, HashOfParent> by_parent_;  // the first of each parent
  WaitingBlock* oldest_ = nullptr;
  WaitingBlock* newest_ = nullptr;
};

}  // namespace cairn::detail
