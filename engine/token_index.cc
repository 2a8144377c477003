// SPDX-License-Identifier: Apache-2.0
#include "engine/token_index.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "engine/base/log.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn {

std::vector<KeyRef> TokenRun::refs() const {
  std::vector<KeyRef> refs;
  refs.reserve(keys.size());
  for (const std::string& key : keys) refs.push_back({key, part});
  return refs;
}

namespace detail {
namespace {

/// A chain's parts are chains of their own: each has its own place for the same tokens.
Hash128 root_of(const Hash128& root, Part part) {
  if (part == 0) return root;
  std::string bytes;
  append_le(bytes, root.high);
  append_le(bytes, root.low);
  append_le(bytes, part);
  return xxh3_128(as_bytes(bytes));
}

/// Rises with everything that a saved state would show.
std::uint64_t changes_of(const NamespaceTokens& tokens) {
  const TokenTreeStats stats = tokens.tree.stats();
  return stats.inserts + stats.removals + stats.dropped + tokens.clears.load();
}

/// Relaxed: statistics.
void count(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) {
  counter.fetch_add(n, std::memory_order_relaxed);
}

}  // namespace

// --- opening ---------------------------------------------------------------------------------

absl::Status TokenIndex::open(NamespaceState& ns, std::uint64_t bytes_max) {
  if (bytes_max == 0 || ns.tokens.load() != nullptr) return absl::OkStatus();
  const std::uint32_t block_tokens = ns.descriptor.tokens_per_block;
  if (ns.is_mutable()) {
    return make_error(ErrorCode::invalid_argument,
                      "only a content-addressed namespace has a token index");
  }
  if (block_tokens == 0 || block_tokens > TokenTree::kBlockTokensMax) {
    return make_error(ErrorCode::invalid_argument,
                      concat("a token index needs tokens_per_block from 1 to ",
                             TokenTree::kBlockTokensMax, ", not ", block_tokens));
  }
  auto made = std::make_unique<NamespaceTokens>(TokenTreeOptions{
      .block_tokens = block_tokens, .bytes_max = bytes_max, .secret = core_.secret});
  if (const std::uint64_t empty = made->tree.size().bytes; empty > bytes_max) {
    return make_error(ErrorCode::invalid_argument,
                      concat("a token index of ", bytes_max, " bytes; empty it has ", empty));
  }
  {
    MutexLock lock(mutex_);
    const auto limit = static_cast<std::uint64_t>(
        static_cast<double>(core_.options.metadata_bytes) * core_.options.token_index_fraction);
    if (bytes_max > limit - std::min(limit, set_aside_)) {
      return make_error(ErrorCode::no_space,
                        concat("token indexes may have ", limit, " bytes of metadata_bytes, of ",
                               "which ", set_aside_, " are given to others"));
    }
    set_aside_ += bytes_max;
  }
  load(ns, *made);
  MutexLock lock(mutex_);
  if (ns.tokens.load() != nullptr) {  // somebody else was first
    set_aside_ -= bytes_max;
    return absl::OkStatus();
  }
  charge(*made);
  ns.tokens.store(made.get());
  all_.push_back(std::move(made));
  return absl::OkStatus();
}

void TokenIndex::load(const NamespaceState& ns, NamespaceTokens& tokens) {
  if (core_.cold == nullptr) return;
  const absl::StatusOr<std::string> content = core_.cold->load_state(token_tree_state_name(ns.id));
  absl::Status status = content.status();
  if (has_code(status, ErrorCode::not_found)) return;
  if (status.ok()) {
    const absl::StatusOr<SavedTokenTree> saved = parse_token_tree(as_bytes(*content));
    status = saved.ok() ? tokens.tree.restore(*saved) : saved.status();
  }
  if (!status.ok()) {
    tokens.tree.clear();
    log_line(LogLevel::warning, concat("the token index of namespace '", ns.descriptor.name,
                                       "' begins empty: ", message_of(status)));
    return;
  }
  tokens.changes_saved = changes_of(tokens);
}

// --- what is put -----------------------------------------------------------------------------

void TokenIndex::put(NamespaceState& ns, const Hash128& root, std::span<const PutTokens> blocks) {
  NamespaceTokens* const tokens = ns.tokens.load();
  if (tokens == nullptr) return;
  for (const PutTokens& block : blocks) {
    const bool is_whole = !block.prefix.empty() && block.prefix.size() % tokens->block_tokens == 0;
    if (is_whole) add(*tokens, root_of(root, block.part), block);
  }
  charge(*tokens);
}

void TokenIndex::add(NamespaceTokens& tokens, const Hash128& root, const PutTokens& block) {
  const std::size_t before = block.prefix.size() - tokens.block_tokens;
  TokenTreeBlock one{
      .id = block.id, .parent = block.parent, .root = root, .tokens = block.prefix.subspan(before)};
  if (before == 0) {
    one.parent = {};
  } else if (one.parent.is_null()) {
    // A batch that goes on with a chain: its first block is behind what its tokens say.
    std::vector<BlockId> ids(before / tokens.block_tokens);
    if (tokens.tree.match(root, block.prefix.first(before), ids).blocks != ids.size()) return;
    one.parent = ids.back();
  }
  if (tokens.tree.insert(one) != TokenInsert::conflict) return;
  // Either this block was known with other tokens, before it went and was put again, or another
  // one has its place, which may have gone.
  const bool is_free = tokens.tree.contains(block.id) ? block.is_new && tokens.tree.remove(block.id)
                                                      : free_place(tokens, root, block);
  if (is_free) tokens.tree.insert(one);
}

bool TokenIndex::free_place(NamespaceTokens& tokens, const Hash128& root,
                            const PutTokens& block) const {
  std::vector<BlockId> ids(block.prefix.size() / tokens.block_tokens);
  return tokens.tree.match(root, block.prefix, ids).blocks == ids.size() &&
         forget(tokens, ids.back());
}

void TokenIndex::clear(NamespaceState& ns) {
  NamespaceTokens* const tokens = ns.tokens.load();
  if (tokens == nullptr) return;
  tokens->tree.clear();
  tokens->clears.fetch_add(1);
  charge(*tokens);
}

/// Whoever comes last says what it is now; the sum counts what each has said.
void TokenIndex::charge(NamespaceTokens& tokens) const {
  const std::uint64_t now = tokens.tree.size().bytes;
  core_.token_index_bytes.fetch_add(now - tokens.charged.exchange(now));
}

// --- what has gone ---------------------------------------------------------------------------

bool TokenIndex::is_gone(BlockId id) const {
  const std::optional<Residency> listed = core_.catalog.find(id);
  return !listed || !listed->present();
}

bool TokenIndex::forget(NamespaceTokens& tokens, BlockId id) const {
  if (!recovery_.is_complete() || !core_.gates.try_enter(id)) return false;
  const bool forgotten = is_gone(id) && tokens.tree.remove(id);
  core_.gates.leave(id);
  if (forgotten) count(tokens.stale);
  return forgotten;
}

// --- lookup ----------------------------------------------------------------------------------

absl::StatusOr<NamespaceTokens*> TokenIndex::find(NamespaceId id) const {
  const NamespaceState* const ns = core_.namespaces.find(id);
  NamespaceTokens* const tokens = ns == nullptr ? nullptr : ns->tokens.load();
  if (tokens == nullptr) {
    return make_error(ErrorCode::invalid_argument,
                      "there is no such namespace, or it was opened without token index");
  }
  return tokens;
}

absl::StatusOr<TokenRun> TokenIndex::match(NamespaceId ns, std::span<const std::uint32_t> tokens,
                                           const TokenSpace& space) const {
  CAIRN_ASSIGN_OR_RETURN(NamespaceTokens* const known, find(ns));
  TokenRun run{.part = space.part, .incomplete = !recovery_.is_complete()};
  std::vector<BlockId> ids(tokens.size() / known->block_tokens);
  ids.resize(known->tree.match(root_of(space.root, space.part), tokens, ids).blocks);
  for (const BlockId id : ids) {
    std::optional<OwnedName> name = core_.catalog.name_of(id);
    if (!name || name->namespace_id != ns || name->part != space.part) {
      if (forget(*known, id)) charge(*known);
#if defined(CAIRN_PLANTED_TOKENS_UNCHECKED)
      continue;
#endif
      break;
    }
    run.keys.push_back(std::move(name->key));
  }
  run.tokens = run.keys.size() * known->block_tokens;
  count(known->lookups);
  count(known->hits, run.keys.empty() ? 0 : 1);
  count(known->tokens_asked, tokens.size());
  count(known->tokens_matched, run.tokens);
  return run;
}

absl::StatusOr<std::string> TokenIndex::picture(NamespaceId ns, std::size_t lines_max) const {
  CAIRN_ASSIGN_OR_RETURN(const NamespaceTokens* const tokens, find(ns));
  return tokens->tree.picture(lines_max);
}

std::optional<TokenIndexStats> TokenIndex::stats(const NamespaceState& ns) {
  const NamespaceTokens* const tokens = ns.tokens.load();
  if (tokens == nullptr) return std::nullopt;
  const TokenTreeSize size = tokens->tree.size();
  return TokenIndexStats{.blocks = size.blocks,
                         .holes = size.holes,
                         .waiting = size.waiting,
                         .nodes = size.nodes,
                         .tokens = size.tokens,
                         .bytes = size.bytes,
                         .bytes_max = tokens->bytes_max,
                         .dropped = tokens->tree.stats().dropped,
                         .stale = tokens->stale.load(std::memory_order_relaxed),
                         .lookups = tokens->lookups.load(std::memory_order_relaxed),
                         .hits = tokens->hits.load(std::memory_order_relaxed),
                         .tokens_asked = tokens->tokens_asked.load(std::memory_order_relaxed),
                         .tokens_matched = tokens->tokens_matched.load(std::memory_order_relaxed)};
}

// --- upkeep ----------------------------------------------------------------------------------

void TokenIndex::start() {
  tend_again();
}

void TokenIndex::tend_again() {
  if (core_.closing.load() || !core_.operations.enter()) return;
  if (const absl::Status saved = save(); !saved.ok()) {
    log_line(LogLevel::warning, concat("a token index was not saved: ", message_of(saved)));
  }
  core_.operations.leave();
  core_.loop.run_after(core_.options.hot_list_interval, [this] { tend_again(); });
}

absl::Status TokenIndex::save() {
  absl::Status status;
  for (const NamespaceState* const ns : core_.namespaces.all()) {
    NamespaceTokens* const tokens = ns->tokens.load();
    if (tokens == nullptr) continue;
    if (absl::Status tended = tend(*ns, *tokens); !tended.ok()) status = std::move(tended);
  }
  return status;
}

/// Forgets what has gone, and saves what is left.
absl::Status TokenIndex::tend(const NamespaceState& ns, NamespaceTokens& tokens) {
  std::uint64_t changes = changes_of(tokens);  // before the copy: what comes between is saved twice
  SavedTokenTree saved = tokens.tree.save();
  for (SavedTokenBlock& block : saved.blocks) {
    if (!block.is_present || !is_gone(block.id) || !forget(tokens, block.id)) continue;
    block.is_present = false;
    ++changes;
  }
  charge(tokens);
  if (core_.cold == nullptr || core_.read_only || changes == tokens.changes_saved) {
    return absl::OkStatus();
  }
  CAIRN_RETURN_IF_ERROR(
      core_.cold->save_state(token_tree_state_name(ns.id), as_bytes(encode_token_tree(saved))));
  tokens.changes_saved = changes;
  return absl::OkStatus();
}

}  // namespace detail
}  // namespace cairn
