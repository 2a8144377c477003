// SPDX-License-Identifier: Apache-2.0
// token_tree.h — which blocks hold the longest known beginning of a prompt, by its token ids.
//
// For callers that have tokens and no keys: a radix tree over the token ids of one namespace's
// blocks. An edge is a run of tokens; where prompts part, in the middle of a block or at its end,
// the edge is split; where one of two is left, edges are merged again. Each block has block_tokens
// tokens, and the tree knows the id of every block whose tokens it holds.
//
// It is an index of hints and not an authority: it says which ids to ask the catalog for. It
// knows what it is told with insert and remove; a block that it has forgotten (a bound, a
// restart) is a shorter match, never a wrong one, as long as the rule of the key space is kept:
//
//   Key space. Beneath one root, equal tokens mean equal KV. Whatever else makes KV differ (LoRA
//   adapter, salt, seed of the hash, images behind placeholder tokens) must be in the root's id,
//   for example as the XXH3-128 of all of it. Blocks of which that is not known are not inserted.
//   One tree is for one namespace, and namespaces share nothing.
//
// One id for each place: a second id with the same root and tokens as a block that is there is a
// `conflict` and not taken (the first is as good); the place of a hole it takes over.
//
// Holes. A block that is removed while blocks lie behind it leaves a hole: no match goes through
// it, but its tokens stay, since they are also the path to what lies behind, which the tiers still
// have, and which is matched again once the block is put again. A hole goes when nothing
// lies behind it. The other choice, forgetting the blocks behind, would have each of them put
// again to be known, which nobody does who finds them present.
//
// Children before parents. A block whose parent is not known waits for it, for records come in any
// order after a restart. Waiting blocks count in the bytes and go first, oldest first, when these
// run out; otherwise they wait without end.
//
// Bound. bytes_max holds after every call. What goes first: waiting blocks; then, block by block
// from its end, the leaf that was least recently the end of a match or of an insert. Recency is
// kept by edge: a match that ends inside one renews all of it, up to 64 blocks.
// TokenTreeSize::bytes is what was asked of the allocator; its own overhead is not in it. While a
// table grows, 1/256 of it is there twice.
//
// Threading:  thread-safe. match, size and the like share a lock; insert, remove and restore
//             have it alone, and come before matches that wait, so that these cannot starve them.
// Blocking:   for the lock, which is held for memory accesses alone: save, picture and is_sound
//             hold it for a walk of the whole.
// Failure:    none but to know less. restore refuses what is not for this tree.
// Lifetime:   everything is copied in; match writes into memory of the caller's alone.
//
// Cost: match O(tokens) and no allocation; insert O(block_tokens) and at most one split, merge or
// copy of an edge (1,024 tokens or one block), whatever the depth or the number of siblings; remove
// the same, and O(1) for each hole that goes with it; a leaf dropped O(log leaves). Nothing
// recurses. Children are found by a hash that is seeded, so no choice of tokens is a slow one.
//
// Measured (2-core AMD EPYC VM, time of the core, a million blocks of 16 tokens in chains of
// 64): a match of a whole chain 2.0 µs, lock included, and the same beside another thread that
// matches; 99 bytes a block, of which 64 are tokens and 16 the id. Half a million blocks in chains
// that part from one another midway: 5 µs, 110 bytes. A million first blocks, each an edge of its
// own: 202 bytes. Saved: 64 bytes a block with ids of tokens below 2^24.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "engine/key.h"
#include "engine/tokens/token_tree_saved.h"

namespace cairn {

struct TokenTreeOptions {
  std::uint32_t block_tokens = 16;      // 1 … kBlockTokensMax
  std::uint64_t bytes_max = 64 * kMiB;  // less than the empty tree's: nothing is ever taken
  std::uint64_t secret = 0;             // the store's: seeds the hashes
};

/// A block to be known. Borrowed until insert returns.
struct TokenTreeBlock {
  BlockId id;
  BlockId parent;                         // null: the first of its chain
  Hash128 root;                           // the key space; read when there is no parent
  std::span<const std::uint32_t> tokens;  // its own, block_tokens of them
};

enum class TokenInsert : std::uint8_t {
  added,     // known, and with it those that waited for it
  already,   // was known
  waiting,   // its parent is not known yet
  conflict,  // another id has its place, or the id is known with other tokens; nothing changes
  no_room,   // bytes_max does not even hold this block
  refused,   // a null id, another number of tokens, its own parent, or deeper than 2^32 tokens
};

struct TokenMatch {
  std::uint64_t blocks = 0;  // whole blocks from the beginning, all of them there
  std::uint64_t tokens = 0;  // in them
  // Tokens behind these that agree with what is known there, at most block_tokens: part of
  // another block, or all of a hole.
  std::uint32_t tail_tokens = 0;
};

struct TokenTreeSize {
  std::uint64_t blocks = 0;  // that are there
  std::uint64_t holes = 0;
  std::uint64_t waiting = 0;  // for their parents
  std::uint64_t roots = 0;
  std::uint64_t nodes = 0;   // edges: roots have none
  std::uint64_t tokens = 0;  // held in edges: shared beginnings once
  std::uint64_t bytes = 0;   // allocated
  friend bool operator==(const TokenTreeSize&, const TokenTreeSize&) = default;
};

/// Since the tree was made.
struct TokenTreeStats {
  std::uint64_t inserts = 0;  // blocks that became known, also from waiting or a hole
  std::uint64_t waited = 0;   // came before their parents
  std::uint64_t conflicts = 0;
  std::uint64_t removals = 0;           // asked for
  std::uint64_t dropped = 0;            // for bytes_max
  std::uint64_t waiting_dropped = 0;    // of those that waited
  std::uint64_t matches = 0, hits = 0;  // a hit matches a block or more
  std::uint64_t splits = 0, merges = 0;
};

class TokenTree {
 public:
  static constexpr std::uint32_t kBlockTokensMax = 1U << 16;

  explicit TokenTree(const TokenTreeOptions& options);
  ~TokenTree();
  TokenTree(const TokenTree&) = delete;
  TokenTree& operator=(const TokenTree&) = delete;

  /// The longest run of whole blocks that begins the prompt. Their ids go to `ids` in order, as
  /// many as fit: tokens.size() / block_tokens always do. Renews the run's recency.
  TokenMatch match(const Hash128& root, std::span<const std::uint32_t> tokens,
                   std::span<BlockId> ids) const;

  TokenInsert insert(const TokenTreeBlock& block);
  /// False when it was not there and did not wait.
  bool remove(BlockId id);
  void clear();

  bool contains(BlockId id) const;  // matched where all before it is there too
  TokenTreeSize size() const;
  TokenTreeStats stats() const;

  /// A copy of all but what waits, to be written by encode_token_tree.
  SavedTokenTree save() const;
  /// Into an empty tree; as much as bytes_max holds. Which blocks are still there the caller
  /// knows: those that are not are to be removed. `mismatch` for other block_tokens,
  /// `invalid_argument` for a tree that is not empty.
  absl::Status restore(const SavedTokenTree& saved);

  /// The tree for people, at most `lines_max` lines, one for each edge.
  std::string picture(std::size_t lines_max) const;
  /// Walks everything (tests). `why`, where given, says what is wrong.
  bool is_sound(std::string* why = nullptr) const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn
