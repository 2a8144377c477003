// SPDX-License-Identifier: Apache-2.0
// Random operations on a token tree and on an obvious one: a map from each root and run of tokens
// to the id of the block that ends there. After every step the answers are the same, and every so
// often all invariants and counters are walked. Tokens are few, so that prompts part everywhere.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/tokens/token_tree.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

using Tokens = std::vector<std::uint32_t>;
/// The root, and all tokens up to the end of a block.
using Path = std::pair<std::uint64_t, Tokens>;

struct Setup {
  std::uint64_t seed = 0;
  std::uint32_t block_tokens = 4;
  std::size_t blocks = 200;      // that may be put
  std::uint32_t alphabet = 2;    // different tokens
  double chained = 0.7;          // how often a block is put behind the one before it
  std::uint64_t bytes_more = 0;  // than an empty tree has; 0: no bound
  double change = 0.6;           // of steps; the others ask
};

/// A block of the universe: what is put under its id is always this, but by mistake.
struct Block {
  BlockId id, parent;
  std::uint64_t root = 0;
  Tokens path;  // with that of its parents
  Tokens own;
};

class Model {
 public:
  explicit Model(std::size_t block_tokens) : block_tokens_(block_tokens) {}

  struct Place {
    BlockId id;
    bool is_present = true;
  };

  TokenInsert insert(const Block& block, const Path& path) {
    if (const auto known = by_id_.find(block.id); known != by_id_.end()) {
      const Tokens& there = known->second.second;
      if (!std::equal(block.own.rbegin(), block.own.rend(), there.rbegin())) {
        return TokenInsert::conflict;
      }
      Place& place = places_.at(known->second);
      if (place.is_present) return TokenInsert::already;
      place.is_present = true;
      return TokenInsert::added;
    }
    waiting_.erase(block.id);
    if (!block.parent.is_null() && !by_id_.contains(block.parent)) {
      waiting_[block.id] = &block;
      return TokenInsert::waiting;
    }
    return add(block.id, path);
  }
  /// Those that waited for `id`, in any order: no two of them have the same tokens.
  void attach(BlockId id) {
    std::vector<BlockId> parents{id};
    while (!parents.empty()) {
      const BlockId parent = parents.back();
      parents.pop_back();
      std::vector<const Block*> children;
      for (const auto& [child, block] : waiting_) {
        if (block->parent == parent) children.push_back(block);
      }
      for (const Block* child : children) {
        waiting_.erase(child->id);
        Path path = by_id_.at(parent);
        path.second.insert(path.second.end(), child->own.begin(), child->own.end());
        if (add(child->id, path) == TokenInsert::added) parents.push_back(child->id);
      }
    }
  }
  bool remove(BlockId id) {
    if (waiting_.erase(id) > 0) return true;
    const auto known = by_id_.find(id);
    if (known == by_id_.end() || !places_.at(known->second).is_present) return false;
    places_.at(known->second).is_present = false;
    forget_holes(known->second);
    return true;
  }
  /// What no block that is there lies behind, from the end of a path on.
  void forget_holes(Path path) {
    while (!path.second.empty()) {
      const auto place = places_.find(path);
      if (place->second.is_present || has_children(path)) return;
      by_id_.erase(place->second.id);
      places_.erase(place);
      path.second.resize(path.second.size() - block_tokens_);
    }
  }
  bool has_children(const Path& path) const {
    const auto next = places_.upper_bound(path);
    return next != places_.end() && next->first.first == path.first &&
           next->first.second.size() > path.second.size() &&
           std::equal(path.second.begin(), path.second.end(), next->first.second.begin());
  }
  /// The ids of the longest run that is there, and what agrees behind it.
  std::pair<std::vector<BlockId>, std::uint32_t> match(const Path& prompt) const {
    const std::size_t each = block_tokens_;
    std::vector<BlockId> ids;
    Path path{prompt.first, {}};
    while (path.second.size() + each <= prompt.second.size()) {
      const auto end =
          prompt.second.begin() + static_cast<std::ptrdiff_t>(path.second.size() + each);
      const auto place = places_.find({path.first, Tokens(prompt.second.begin(), end)});
      if (place == places_.end() || !place->second.is_present) break;
      ids.push_back(place->second.id);
      path = place->first;
    }
    std::size_t tail = 0;
    for (const auto& [known, place] : places_) {
      if (known.first != path.first || known.second.size() != path.second.size() + each) continue;
      const auto [a, b] = std::mismatch(known.second.begin(), known.second.end(),
                                        prompt.second.begin(), prompt.second.end());
      const auto same = static_cast<std::size_t>(a - known.second.begin());
      if (same > path.second.size()) tail = std::max(tail, same - path.second.size());
    }
    return {ids, static_cast<std::uint32_t>(tail)};
  }
  bool contains(BlockId id) const {
    const auto known = by_id_.find(id);
    return known != by_id_.end() && places_.at(known->second).is_present;
  }
  bool is_known(BlockId id) const { return by_id_.contains(id); }
  bool waits(BlockId id) const { return waiting_.contains(id); }
  bool is_last(BlockId id) const { return !has_children(by_id_.at(id)); }
  const Path& path_of(BlockId id) const { return by_id_.at(id); }
  const std::map<Path, Place>& places() const { return places_; }
  const std::map<BlockId, const Block*>& waiting() const { return waiting_; }

 private:
  TokenInsert add(BlockId id, const Path& path) {
    const auto [place, is_new] = places_.try_emplace(path, Place{id, true});
    if (!is_new) {
      if (place->second.is_present) return TokenInsert::conflict;
      by_id_.erase(place->second.id);
      place->second = {id, true};
    }
    by_id_[id] = path;
    return TokenInsert::added;
  }

  std::map<Path, Place> places_;
  std::map<BlockId, Path> by_id_;
  std::map<BlockId, const Block*> waiting_;
  const std::size_t block_tokens_;
};

class Run {
 public:
  explicit Run(const Setup& setup)
      : setup_(setup), rng_(setup.seed), tree_(options(setup)), model_(setup.block_tokens) {
    std::map<Path, BlockId> taken;
    while (blocks_.size() < setup.blocks) make_block(&taken);
  }

  void step() {
    ++steps_;
    if (rng_.chance(setup_.change)) {
      if (rng_.chance(insert_odds_)) {
        insert();
      } else {
        remove();
      }
    } else {
      match();
    }
    if (steps_ % 400 == 0) insert_odds_ = rng_.chance(0.5) ? 0.75 : 0.3;
    if (steps_ % 16 == 0) compare();
  }
  void compare() {
    std::string why;
    ASSERT_TRUE(tree_.is_sound(&why)) << why << "\n" << tree_.picture(60);
    std::uint64_t blocks = 0, holes = 0;
    std::set<std::uint64_t> roots;
    // In their order: each path adds what it does not share with the one before.
    std::uint64_t tokens = 0;
    const Path* before = nullptr;
    for (const auto& [path, place] : model_.places()) {
      ++(place.is_present ? blocks : holes);
      roots.insert(path.first);
      tokens += path.second.size();
      if (before != nullptr && before->first == path.first) {
        tokens -=
            static_cast<std::uint64_t>(std::mismatch(path.second.begin(), path.second.end(),
                                                     before->second.begin(), before->second.end())
                                           .first -
                                       path.second.begin());
      }
      before = &path;
    }
    const TokenTreeSize size = tree_.size();
    ASSERT_EQ(size.blocks, blocks);
    ASSERT_EQ(size.holes, holes);
    ASSERT_EQ(size.waiting, model_.waiting().size());
    ASSERT_EQ(size.roots, roots.size());
    ASSERT_EQ(size.tokens, tokens) << "each token of a shared beginning once";
    if (setup_.bytes_more > 0) {
      ASSERT_LE(size.bytes, options(setup_).bytes_max);
    }
  }
  /// What is saved is restored, and what is restored is saved the same way again.
  void save_and_restore() {
    const SavedTokenTree saved = tree_.save();
    const auto parsed = parse_token_tree(as_bytes(encode_token_tree(saved)));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    ASSERT_EQ(*parsed, saved);
    TokenTree other({.block_tokens = setup_.block_tokens});
    ASSERT_TRUE(other.restore(saved).ok());
    ASSERT_TRUE(other.is_sound());
    for (const Block& block : blocks_) {
      ASSERT_EQ(other.contains(block.id), model_.contains(block.id));
      const auto [ids, tail] = model_.match({block.root, block.path});
      std::vector<BlockId> actual(ids.size());
      ASSERT_EQ(other.match(root_of(block.root), block.path, actual).blocks, ids.size());
      ASSERT_EQ(actual, ids);
    }
    ASSERT_EQ(other.size().tokens, tree_.size().tokens);
  }

 private:
  static TokenTreeOptions options(const Setup& setup) {
    TokenTreeOptions options{.block_tokens = setup.block_tokens, .secret = setup.seed};
    if (setup.bytes_more > 0) {
      options.bytes_max =
          TokenTree({.block_tokens = setup.block_tokens}).size().bytes + setup.bytes_more;
    }
    return options;
  }
  static Hash128 root_of(std::uint64_t root) { return {root, 3}; }

  void make_block(std::map<Path, BlockId>* taken) {
    Block block{.id = BlockId{{rng_.next(), rng_.next()}}};
    block.root = rng_.below(2);
    if (!blocks_.empty() && rng_.chance(0.9)) {
      const Block& parent = rng_.chance(setup_.chained) ? blocks_.back() : rng_.pick(blocks_);
      block.parent = parent.id;
      block.root = parent.root;
      block.path = parent.path;
    }
    for (std::uint32_t i = 0; i < setup_.block_tokens; ++i) {
      // Mostly as others are: it is the later tokens that differ.
      const bool differs = rng_.chance(0.3);
      block.own.push_back(static_cast<std::uint32_t>(differs ? rng_.below(setup_.alphabet) : 0));
    }
    block.path.insert(block.path.end(), block.own.begin(), block.own.end());
    if (taken->emplace(Path{block.root, block.path}, block.id).second) {
      blocks_.push_back(block);
    } else if (rng_.chance(0.5)) {
      blocks_.push_back({BlockId{{rng_.next(), rng_.next()}}, {}, 7, {}, {}});
      Block& other = blocks_.back();
      other.own.resize(setup_.block_tokens);
      for (std::uint32_t& token : other.own) token = static_cast<std::uint32_t>(rng_.next());
      other.path = other.own;
    }
  }

  void insert() {
    const Block& block = rng_.pick(blocks_);
    if (rng_.chance(0.05)) {
      insert_wrongly(block);
      return;
    }
    Path path{block.root, block.own};
    if (!block.parent.is_null() && model_.is_known(block.parent)) {
      path = model_.path_of(block.parent);
      path.second.insert(path.second.end(), block.own.begin(), block.own.end());
    }
    const TokenInsert expected = model_.insert(block, path);
    if (expected == TokenInsert::added) model_.attach(block.id);
    const TokenInsert actual = tree_.insert(
        {.id = block.id, .parent = block.parent, .root = root_of(block.root), .tokens = block.own});
    if (setup_.bytes_more == 0 || actual != TokenInsert::no_room) {
      ASSERT_EQ(actual, expected);
    }
    if (setup_.bytes_more > 0) learn_what_was_dropped(block.id, actual);
  }
  /// Another id for a place, or other tokens for an id.
  void insert_wrongly(const Block& block) {
    if (!model_.contains(block.id)) return;
    Tokens tokens = block.own;
    BlockId id = block.id;
    if (rng_.chance(0.5)) {
      tokens[rng_.below(tokens.size())] += 1000;
    } else {
      id = BlockId{{rng_.next(), rng_.next()}};
    }
    ASSERT_EQ(
        tree_.insert(
            {.id = id, .parent = block.parent, .root = root_of(block.root), .tokens = tokens}),
        id != block.id && !block.parent.is_null() && !model_.is_known(block.parent)
            ? TokenInsert::waiting
            : TokenInsert::conflict);
    tree_.remove(id != block.id ? id : BlockId{});
  }
  /// With a bound: whatever is missing was dropped, each from the end of its path.
  void learn_what_was_dropped(BlockId put, TokenInsert result) {
    const TokenTreeStats stats = tree_.stats();
    std::uint64_t dropped = 0;
    for (bool again = true; again;) {
      again = false;
      for (const Block& block : blocks_) {
        if (!model_.contains(block.id) || tree_.contains(block.id)) continue;
        if (!model_.is_last(block.id)) continue;
        ASSERT_TRUE(model_.remove(block.id));
        ++dropped;
        again = true;
      }
    }
    ASSERT_EQ(stats.dropped - dropped_, dropped);
    dropped_ = stats.dropped;
    // Who waits cannot be asked for but by taking it out: all go, and come back.
    if (stats.waiting_dropped != waiting_dropped_) {
      waiting_dropped_ = stats.waiting_dropped;
      std::vector<BlockId> waiting;
      for (const auto& [id, block] : model_.waiting()) waiting.push_back(id);
      for (const BlockId id : waiting) {
        model_.remove(id);
        tree_.remove(id);
      }
      ASSERT_EQ(tree_.size().waiting, 0U);
    }
    const bool is_there = model_.contains(put) || model_.waits(put);
    if (result == TokenInsert::no_room) {
      ASSERT_FALSE(model_.contains(put));
    } else if (result == TokenInsert::added) {
      ASSERT_TRUE(is_there);
    }
  }
  void remove() {
    const BlockId id = rng_.pick(blocks_).id;
    ASSERT_EQ(tree_.remove(id), model_.remove(id));
  }
  void match() {
    const Block& block = rng_.pick(blocks_);
    Tokens prompt = block.path;
    if (rng_.chance(0.3)) prompt[rng_.below(prompt.size())] ^= 1U;
    if (rng_.chance(0.3)) prompt.resize(rng_.below(prompt.size() + 1));
    if (rng_.chance(0.3)) prompt.resize(prompt.size() + rng_.below(2 * setup_.block_tokens));
    const auto [ids, tail] = model_.match({block.root, prompt});
    std::vector<BlockId> actual(prompt.size() / setup_.block_tokens);
    const TokenMatch match = tree_.match(root_of(block.root), prompt, actual);
    ASSERT_EQ(match.blocks, ids.size());
    ASSERT_EQ(match.tokens, ids.size() * setup_.block_tokens);
    ASSERT_EQ(match.tail_tokens, tail);
    actual.resize(match.blocks);
    ASSERT_EQ(actual, ids);
    ASSERT_EQ(tree_.contains(block.id), model_.contains(block.id));
  }

  const Setup setup_;
  Rng rng_;
  TokenTree tree_;
  Model model_;
  std::vector<Block> blocks_;
  double insert_odds_ = 0.75;
  std::uint64_t steps_ = 0, dropped_ = 0, waiting_dropped_ = 0;
};

void run(const Setup& setup, std::size_t steps) {
  print_seed(setup.seed);
  Run run(setup);
  for (std::size_t i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) run.step();
  if (!testing::Test::HasFatalFailure()) run.compare();
  if (!testing::Test::HasFatalFailure()) run.save_and_restore();
}

TEST(TokenTreeModel, RandomOperationsAgreeWithAnObviousTree) {
  for (const std::uint64_t seed : seeds({1, 2, 3}, 2)) {
    run({.seed = seed}, scaled(6000));
    if (HasFatalFailure()) return;
  }
}

TEST(TokenTreeModel, BlocksOfOneToken) {
  for (const std::uint64_t seed : seeds({11}, 1)) {
    run({.seed = seed, .block_tokens = 1, .alphabet = 4, .chained = 0.9}, scaled(4000));
    if (HasFatalFailure()) return;
  }
}

TEST(TokenTreeModel, ChainsOfManyEdges) {
  for (const std::uint64_t seed : seeds({21, 0x2479c0f66fb1f650, 0x74967275de189bc7}, 1)) {
    run({.seed = seed, .block_tokens = 400, .blocks = 60, .chained = 0.85}, scaled(4500));
    if (HasFatalFailure()) return;
    run({.seed = seed, .block_tokens = 1, .blocks = 400, .alphabet = 3, .chained = 0.99},
        scaled(4000));
    if (HasFatalFailure()) return;
  }
}

TEST(TokenTreeModel, WideNodes) {
  for (const std::uint64_t seed : seeds({31}, 1)) {
    run({.seed = seed, .block_tokens = 2, .blocks = 300, .alphabet = 500, .chained = 0.1},
        scaled(4000));
    if (HasFatalFailure()) return;
  }
}

TEST(TokenTreeModel, ABoundDropsFromTheEndsAlone) {
  for (const std::uint64_t seed : seeds({41, 42}, 2)) {
    run({.seed = seed, .alphabet = 5, .bytes_more = 12 * kKiB}, scaled(4000));
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace cairn::test
