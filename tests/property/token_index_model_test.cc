// SPDX-License-Identifier: Apache-2.0
// Random puts, erasures, evictions, clearings, restarts and kills of a namespace with a token
// index.
//
// A key is a function of the tokens up to its block, so an answer can be judged by itself: it names
// the blocks of these tokens, and the catalog lists each of them. How long it must be says a slow
// model: a map from each run of tokens to the put that made it known, without which a block that is
// there need not be found. Tokens are few, so that prompts part everywhere, also inside blocks.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "engine/tokens/token_tree.h"
#include "tests/support/engine_world.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

using Tokens = std::vector<std::uint32_t>;
constexpr std::uint32_t kBlock = 4;
constexpr std::size_t kDeep = 6;
constexpr std::size_t kBytes = 900;

Tokens first_blocks(const Tokens& prompt, std::size_t count) {
  return {prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(count * kBlock)};
}

std::string key_of(const Tokens& prefix) {
  std::string key = "k";
  for (const std::uint32_t token : prefix) key += static_cast<char>('a' + token);
  return key;
}

class Run {
 public:
  Run(std::uint64_t seed, std::uint64_t index_bytes, bool is_bounded)
      : rng_(seed), index_bytes_(index_bytes), is_bounded_(is_bounded) {
    world_.options().hot_bytes = 30 * 1024;
    world_.options().cold_bytes = 120 * 1024;
    world_.restart();
    open();
  }

  void step() {
    const std::uint64_t what = rng_.below(100);
    if (what < 45) {
      put();
    } else if (what < 60) {
      const Tokens prompt = any_prompt();
      world_.erase(ns_, key_of(first_blocks(prompt, rng_.between(1, kDeep))));
    } else if (what < 64) {
      const TierKind tier = rng_.chance(0.5) ? TierKind::hot : TierKind::cold;
      ASSERT_TRUE(world_.engine().evict_unused(tier, rng_.below(60) * 1024).ok());
    } else if (what < 66) {
      world_.advance(world_.options().engine.hot_list_interval);
      world_.advance(world_.options().engine.hot_list_interval);
      note_what_has_gone();
      saved_ = known_;
    } else if (what < 68) {
      world_.restart();
      open();
    } else if (what < 70) {
      world_.kill();
      open();
      std::erase_if(known_, [this](const auto& one) {
        const auto saved = saved_.find(one.first);
        return saved == saved_.end() || saved->second != one.second;
      });
    } else if (what < 71 && rng_.chance(0.3)) {
      ASSERT_TRUE(world_.engine().clear(ns_).ok());
    }
    note_what_has_gone();
    for (int i = 0; i < 3; ++i) ask(any_prompt());
  }

  std::uint64_t found() const { return found_; }

 private:
  void open() {
    const auto ns = world_.engine().open_namespace({.name = "n", .tokens_per_block = kBlock},
                                                   {.token_index_bytes = index_bytes_});
    ASSERT_TRUE(ns.ok());
    ns_ = *ns;
  }

  Tokens any_prompt() {
    Tokens tokens(kBlock * kDeep + rng_.below(kBlock));
    for (std::uint32_t& token : tokens) token = rng_.chance(is_bounded_ ? 0.3 : 0.12) ? 1 : 0;
    return tokens;
  }

  void put() {
    const Tokens prompt = any_prompt();
    const std::size_t first = rng_.chance(0.7) ? 0 : rng_.below(kDeep);
    const std::size_t end = rng_.between(first + 1, kDeep);
    PutOptions options{.durability = static_cast<Durability>(rng_.below(3)),
                       .links = rng_.chance(0.5) ? Links::given : Links::inferred};
    std::vector<std::string> keys, payloads;
    for (std::size_t i = 0; i < end; ++i) {
      keys.push_back(key_of(first_blocks(prompt, i + 1)));
      payloads.push_back(make_payload(keys.back(), 0, kBytes));
    }
    const bool is_parent_known = first == 0 || is_known(first_blocks(prompt, first));
    std::vector<PutBlock> blocks;
    for (std::size_t i = first; i < end; ++i) {
      blocks.push_back({.key = keys[i],
                        .payload = as_bytes(payloads[i]),
                        .parent = i > 0 ? std::string_view(keys[i - 1]) : std::string_view(),
                        .token_prefix = std::span(prompt).first((i + 1) * kBlock)});
    }
    // Without links, the tree must know the whole way to what a batch goes on with.
    bool is_way_known = is_parent_known;
    for (std::size_t i = 1; i < first; ++i) {
      is_way_known = is_way_known && is_known(first_blocks(prompt, i));
    }
    const std::vector<PutResult> results = world_.engine().put_sync(ns_, blocks, options);
    bool is_told = options.links == Links::given ? is_parent_known : is_way_known;
    for (std::size_t i = first; i < end; ++i) {
      is_told = is_told && results[i - first].status.ok();
      const Tokens prefix = first_blocks(prompt, i + 1);
      if (is_told && !is_known(prefix)) known_[prefix] = ++puts_;
    }
  }

  bool is_listed(const Tokens& prefix) { return world_.match(ns_, {key_of(prefix)}) == 1; }
  bool is_known(const Tokens& prefix) { return known_.contains(prefix) && is_listed(prefix); }

  /// What has gone may be forgotten, and is known again only when it is put again.
  void note_what_has_gone() {
    std::erase_if(known_, [this](const auto& one) { return !is_listed(one.first); });
  }

  void ask(const Tokens& prompt) {
    const auto run = world_.engine().match_tokens(ns_, prompt);
    ASSERT_TRUE(run.ok()) << run.status();
    ASSERT_LE(run->keys.size(), kDeep);
    ASSERT_EQ(run->tokens, run->keys.size() * kBlock);
    for (std::size_t i = 0; i < run->keys.size(); ++i) {
      ASSERT_EQ(run->keys[i], key_of(first_blocks(prompt, i + 1)));
    }
    ASSERT_EQ(world_.match(ns_, run->keys), run->keys.size()) << "promised, and not there";
    found_ += run->keys.size();
    const std::optional<TokenIndexStats> stats =
        world_.engine().stats().namespaces.at(0).token_index;
    ASSERT_TRUE(stats.has_value());
    ASSERT_LE(stats->bytes, index_bytes_);
    if (is_bounded_) return;
    std::size_t must = 0;
    while (must < kDeep && is_known(first_blocks(prompt, must + 1))) ++must;
    ASSERT_GE(run->keys.size(), must) << *world_.engine().token_tree_picture(ns_, 100);
  }

  EngineWorld world_;
  Rng rng_;
  const std::uint64_t index_bytes_;
  const bool is_bounded_;
  NamespaceId ns_{};
  std::map<Tokens, std::uint64_t> known_, saved_;  // to the put that made it so
  std::uint64_t puts_ = 0, found_ = 0;
};

void run_all(std::uint64_t index_bytes, bool is_bounded) {
  for (const std::uint64_t seed : seeds({1, 2, 3}, 5)) {
    print_seed(seed);
    Run run(seed, index_bytes, is_bounded);
    for (std::size_t i = 0; i < scaled(3000); ++i) {
      run.step();
      ASSERT_FALSE(::testing::Test::HasFatalFailure()) << "seed=" << seed << " step " << i;
    }
    EXPECT_GT(run.found(), 0U);
  }
}

TEST(TokenIndexModel, FindsWhatItWasToldAndPromisesNothingElse) {
  run_all(4 * kMiB, false);
}

TEST(TokenIndexModel, WithALittleMemoryItForgetsAndPromisesNothingElse) {
  run_all(TokenTree({.block_tokens = kBlock}).size().bytes + 16 * kKiB, true);
}

}  // namespace
}  // namespace cairn::test
