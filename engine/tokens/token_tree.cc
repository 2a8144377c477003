// SPDX-License-Identifier: Apache-2.0
#include "engine/tokens/token_tree.h"

#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/tokens/token_tree_state.h"

namespace cairn {

using detail::TokenNodes;
using detail::WaitingBlock;

TokenTree::TokenTree(const TokenTreeOptions& options) : state_(std::make_unique<State>(options)) {
  CAIRN_CHECK(options.block_tokens > 0 && options.block_tokens <= kBlockTokensMax);
}
TokenTree::~TokenTree() = default;

TokenMatch TokenTree::match(const Hash128& root, std::span<const std::uint32_t> tokens,
                            std::span<BlockId> ids) const {
  // Relaxed, here and below: stamps and counters order nothing.
  state_->matches.fetch_add(1, std::memory_order_relaxed);
  TokenNodes::Walk walk;
  {
    const SharedMutexReadLock lock(state_->mutex);
    walk = state_->nodes->walk(root, tokens, ids);
    // Under the lock: a stamp from before it could be older than what the leaves already know.
    if (walk.deepest != nullptr) {
      walk.deepest->used.store(state_->clock.fetch_add(1, std::memory_order_relaxed),
                               std::memory_order_relaxed);
    }
  }
  if (walk.blocks > 0) state_->hits.fetch_add(1, std::memory_order_relaxed);
  return {walk.blocks, walk.blocks * state_->options.block_tokens, walk.tail};
}

TokenInsert TokenTree::insert(const TokenTreeBlock& block) {
  const SharedMutexLock lock(state_->mutex);
  return state_->insert(block);
}

bool TokenTree::remove(BlockId id) {
  const SharedMutexLock lock(state_->mutex);
  return state_->remove(id);
}

void TokenTree::clear() {
  const SharedMutexLock lock(state_->mutex);
  state_->clear();
}

bool TokenTree::contains(BlockId id) const {
  const SharedMutexReadLock lock(state_->mutex);
  return state_->contains(id);
}

TokenTreeSize TokenTree::size() const {
  const SharedMutexReadLock lock(state_->mutex);
  const TokenNodes::Counts& counts = state_->nodes->counts();
  return {counts.blocks, counts.holes,  state_->waiting->size(), counts.roots,
          counts.nodes,  counts.tokens, state_->bytes()};
}

TokenTreeStats TokenTree::stats() const {
  const SharedMutexReadLock lock(state_->mutex);
  TokenTreeStats stats = state_->stats;
  stats.matches = state_->matches.load(std::memory_order_relaxed);
  stats.hits = state_->hits.load(std::memory_order_relaxed);
  stats.splits += state_->nodes->counts().splits;
  stats.merges += state_->nodes->counts().merges;
  return stats;
}

SavedTokenTree TokenTree::save() const {
  const SharedMutexReadLock lock(state_->mutex);
  return state_->save();
}

absl::Status TokenTree::restore(const SavedTokenTree& saved) {
  const SharedMutexLock lock(state_->mutex);
  return state_->restore(saved);
}

std::string TokenTree::picture(std::size_t lines_max) const {
  const SharedMutexReadLock lock(state_->mutex);
  return state_->picture(lines_max);
}

bool TokenTree::is_sound(std::string* why) const {
  const SharedMutexReadLock lock(state_->mutex);
  std::string found = state_->nodes->unsoundness();
  if (found.empty() && !state_->waiting->is_sound()) found = "those that wait are out of order";
  if (why != nullptr) *why = found;
  return found.empty();
}

TokenTree::State::State(const TokenTreeOptions& given) : options(given) {
  clear();
}

TokenInsert TokenTree::State::insert(const TokenTreeBlock& block) {
  if (block.id.is_null() || block.id == block.parent ||
      block.tokens.size() != options.block_tokens) {
    return TokenInsert::refused;
  }
  const std::uint64_t stamp = clock.fetch_add(1, std::memory_order_relaxed);
  const TokenInsert result = place(block, stamp);
  if (result == TokenInsert::added) attach_waiting(block.id, stamp);
  const bool was_taken = result == TokenInsert::added || result == TokenInsert::waiting;
  if (!make_room() || !was_taken) return result;
  return contains(block.id) || waiting->contains(block.id) ? result : TokenInsert::no_room;
}

TokenInsert TokenTree::State::place(const TokenTreeBlock& block, std::uint64_t stamp) {
  if (const TokenNodes::Place known = nodes->find(block.id); known.node != nullptr) {
    if (!nodes->is_of(known, block.tokens)) {
      ++stats.conflicts;
      return TokenInsert::conflict;
    }
    if (nodes->is_present(known)) {
      known.node->used.store(stamp, std::memory_order_relaxed);
      return TokenInsert::already;
    }
    nodes->restore(known, stamp);
    ++stats.inserts;
    return TokenInsert::added;
  }
  waiting->remove(block.id);  // what it says now is what counts
  if (block.parent.is_null()) return add(nodes->at_root(block.root), block.tokens, block.id, stamp);
  const TokenNodes::Place parent = nodes->find(block.parent);
  if (parent.node == nullptr) {
    waiting->add(block.id, block.parent, block.tokens);
    ++stats.waited;
    return TokenInsert::waiting;
  }
  return add(nodes->behind(parent), block.tokens, block.id, stamp);
}

TokenInsert TokenTree::State::add(TokenNodes::Cursor from, std::span<const std::uint32_t> tokens,
                                  BlockId id, std::uint64_t stamp) {
  switch (nodes->add(from, tokens, id, stamp)) {
    case TokenNodes::Added::added:
      ++stats.inserts;
      return TokenInsert::added;
    case TokenNodes::Added::already:
      return TokenInsert::already;
    case TokenNodes::Added::conflict:
      ++stats.conflicts;
      return TokenInsert::conflict;
    case TokenNodes::Added::too_deep:
      return TokenInsert::refused;
  }
  CAIRN_UNREACHABLE();
}

/// Those that waited for `id`, and for these in turn. The list grows with what is attached and
/// not with its depth.
void TokenTree::State::attach_waiting(BlockId id, std::uint64_t stamp) {
  if (waiting->size() == 0) return;
  std::vector<BlockId> attached{id};
  while (!attached.empty()) {
    const BlockId parent = attached.back();
    attached.pop_back();
    while (WaitingBlock* child = waiting->first_of(parent)) {
      const TokenInsert result =
          add(nodes->behind(nodes->find(parent)), waiting->tokens_of(child), child->id, stamp);
      if (result == TokenInsert::added) attached.push_back(child->id);
      waiting->remove(child);
    }
  }
}

/// Whether anything had to go.
bool TokenTree::State::make_room() {
  bool is_full = false;
  while (bytes() > options.bytes_max) {
    is_full = true;
    if (waiting->drop_oldest()) {
      ++stats.waiting_dropped;
    } else if (nodes->drop_least_recent()) {
      ++stats.dropped;
    } else {
      break;
    }
  }
  return is_full;
}

bool TokenTree::State::remove(BlockId id) {
  const TokenNodes::Place place = nodes->find(id);
  const bool is_there = place.node != nullptr && nodes->is_present(place);
  if (is_there) nodes->remove(place);
  const bool was_there = is_there || waiting->remove(id);
  stats.removals += was_there;
  make_room();  // edges that are cut or merged may cost more than what went
  return was_there;
}

void TokenTree::State::clear() {
  if (nodes.has_value()) {
    stats.splits += nodes->counts().splits;
    stats.merges += nodes->counts().merges;
  }
  nodes.emplace(options.block_tokens, options.secret);
  waiting.emplace(options.block_tokens, options.secret);
}

bool TokenTree::State::contains(BlockId id) const {
  const TokenNodes::Place place = nodes->find(id);
  return place.node != nullptr && nodes->is_present(place);
}

SavedTokenTree TokenTree::State::save() const {
  const std::uint32_t each = options.block_tokens;
  SavedTokenTree saved{.block_tokens = each, .roots = {}, .blocks = {}, .tokens = {}};
  const TokenNodes::Counts& counts = nodes->counts();
  saved.blocks.reserve(counts.blocks + counts.holes);
  saved.tokens.reserve((counts.blocks + counts.holes) * each);
  // The way from the root to where the walk is: its tokens, and 1 + each block's number.
  std::vector<std::uint32_t> tokens, numbers;
  for (const auto* node = nodes->first(); node != nullptr; node = TokenNodes::following(node)) {
    if (node->is_root()) {
      saved.roots.push_back(static_cast<const detail::TokenRoot*>(node)->id);
      continue;
    }
    tokens.resize(node->begin);
    tokens.insert(tokens.end(), node->tokens(), node->tokens() + node->length);
    numbers.resize(node->begin / each);
    for (std::uint32_t i = 0; i < nodes->count_of(node); ++i) {
      const auto from = static_cast<std::ptrdiff_t>(numbers.size() * each);
      saved.tokens.insert(saved.tokens.end(), tokens.begin() + from, tokens.begin() + from + each);
      saved.blocks.push_back(
          {.id = node->ids()[i],
           .root = static_cast<std::uint32_t>(saved.roots.size() - 1),
           .parent = numbers.empty() ? 0 : numbers.back(),
           .is_present = nodes->is_present({const_cast<detail::TokenNode*>(node), i})});
      numbers.push_back(static_cast<std::uint32_t>(saved.blocks.size()));
    }
  }
  return saved;
}

absl::Status TokenTree::State::restore(const SavedTokenTree& saved) {
  if (saved.block_tokens != options.block_tokens) {
    return make_error(ErrorCode::mismatch, "a token tree of blocks of another length");
  }
  if (nodes->counts().nodes > 0 || waiting->size() > 0) {
    return make_error(ErrorCode::invalid_argument, "the token tree is not empty");
  }
  if (saved.tokens.size() != saved.blocks.size() * options.block_tokens) {
    return make_error(ErrorCode::invalid_argument, "a token tree without all of its tokens");
  }
  for (std::size_t i = 0; i < saved.blocks.size(); ++i) {
    const SavedTokenBlock& block = saved.blocks[i];
    if (block.root >= saved.roots.size() || block.parent > i) {
      return make_error(ErrorCode::invalid_argument, "a token tree with children before parents");
    }
    insert({.id = block.id,
            .parent = block.parent == 0 ? BlockId{} : saved.blocks[block.parent - 1].id,
            .root = saved.roots[block.root],
            .tokens =
                std::span(saved.tokens).subspan(i * options.block_tokens, options.block_tokens)});
  }
  for (const SavedTokenBlock& block : saved.blocks) {
    if (block.is_present) continue;
    const TokenNodes::Place place = nodes->find(block.id);
    if (place.node != nullptr && nodes->is_present(place)) nodes->remove(place);
  }
  make_room();
  return absl::OkStatus();
}

}  // namespace cairn
