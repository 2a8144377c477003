// SPDX-License-Identifier: Apache-2.0
// token_index.h — the longest beginning of a prompt that is there, for callers with token ids.
//
// Namespaces that ask for it have a token tree each (tokens/token_tree.h), fed by their puts. The
// catalog stays the only authority: what the tree says is looked up there before it is told, so an
// entry of a block that has gone can make an answer shorter and never wrong.
//
// That is also why no removal tells the tree. Blocks go by eviction, erasure, quarantine, in the
// cleaner and in clearing; a hook in each would couple all of them to an index that few namespaces
// have, and still come too late for a lookup between the two. Instead an entry whose block has
// gone is forgotten by the lookup that meets it and by a walk of the tree at every
// hot_list_interval; until then it costs its bytes, which bytes_max bounds. clear() alone empties
// the tree itself.
//
// Forgetting is done inside the block's gate, so that it cannot meet a put of the same block, and
// not while the catalog may lack what is there. Where it lacks some for good (metadata_bytes too
// small), nothing is forgotten but for bytes_max, and runs end at the first block not listed.
//
// A key says its tokens: whoever puts a block under a key that was there before gives it the same
// ones. That is the rule of a content-addressed namespace; the others can have no index.
//
// The trees are saved beside the data where they have changed, at that interval and by close().
// After a kill the state saved last is used: what was put after it is known again when it is put
// again. A state that cannot be trusted is dropped with a line in the log.
//
// Threading:  thread-safe; start and save on the mover's loop or while it is quiet.
// Blocking:   open, start and save: disk. The walk holds a tree's lock, shared, for a copy of all
//             of it, 0.05 s for a million blocks of 16 tokens (2-core VM), in which puts to that
//             tree wait, and lookups behind them. The loop is busy for longer: it looks each block
//             up, and encodes (0.1 s) and writes 64 MB. That takes twice the tree's bytes for a
//             moment, which nothing counts.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "engine/core.h"
#include "engine/recovery.h"
#include "engine/tokens/token_tree.h"

namespace cairn::detail {

/// What one namespace has of it. Never taken away while the engine lives.
struct NamespaceTokens {
  explicit NamespaceTokens(const TokenTreeOptions& options)
      : block_tokens(options.block_tokens), bytes_max(options.bytes_max), tree(options) {}

  const std::uint32_t block_tokens;
  const std::uint64_t bytes_max;
  TokenTree tree;
  std::atomic<std::uint64_t> charged{0};  // of tree.size().bytes, what metadata_bytes counts
  // Statistics, relaxed.
  std::atomic<std::uint64_t> lookups{0}, hits{0}, tokens_asked{0}, tokens_matched{0}, stale{0};
  std::atomic<std::uint64_t> clears{0};
  std::uint64_t changes_saved = 0;  // confined to the loop
};

/// A block that was put, and the tokens of its chain up to its own end. Borrowed.
struct PutTokens {
  BlockId id;
  BlockId parent;  // as far as links say
  Part part = 0;
  std::span<const std::uint32_t> prefix;
  bool is_new = false;  // stored by this put, not there before
};

class TokenIndex {
 public:
  TokenIndex(EngineCore& core, const Recovery& recovery) : core_(core), recovery_(recovery) {}

  /// The first opening says how large it may become; later ones share it.
  absl::Status open(NamespaceState& ns, std::uint64_t bytes_max);
  /// Once the catalog is loaded.
  void start();
  absl::Status save();

  /// The caller is inside the gates of these blocks. Does nothing in a namespace without index.
  void put(NamespaceState& ns, const Hash128& root, std::span<const PutTokens> blocks);
  /// Nothing of the namespace is there any more, and nobody puts.
  void clear(NamespaceState& ns);

  absl::StatusOr<TokenRun> match(NamespaceId ns, std::span<const std::uint32_t> tokens,
                                 const TokenSpace& space) const;
  absl::StatusOr<std::string> picture(NamespaceId ns, std::size_t lines_max) const;
  static std::optional<TokenIndexStats> stats(const NamespaceState& ns);

 private:
  absl::StatusOr<NamespaceTokens*> find(NamespaceId ns) const;
  void load(const NamespaceState& ns, NamespaceTokens& tokens);
  void add(NamespaceTokens& tokens, const Hash128& root, const PutTokens& block);
  bool free_place(NamespaceTokens& tokens, const Hash128& root, const PutTokens& block) const;
  bool is_gone(BlockId id) const;
  bool forget(NamespaceTokens& tokens, BlockId id) const;
  void charge(NamespaceTokens& tokens) const;
  absl::Status tend(const NamespaceState& ns, NamespaceTokens& tokens);
  void tend_again();

  EngineCore& core_;
  const Recovery& recovery_;
  /// Never held across the tier's call.
  Mutex mutex_{LockRank::engine_lifecycle};
  std::vector<std::unique_ptr<NamespaceTokens>> all_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t set_aside_ CAIRN_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::detail
