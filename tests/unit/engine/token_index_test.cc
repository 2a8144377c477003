// SPDX-License-Identifier: Apache-2.0
// Lookup by token ids, with the engine around it: what is put is found, what goes is not promised,
// and what a restart brings back is held against the catalog.
#include "engine/token_index.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

using Tokens = std::vector<std::uint32_t>;
constexpr std::uint32_t kBlock = 16;

/// `count` blocks of tokens that are a function of `seed`.
Tokens prompt(std::uint32_t seed, std::size_t count) {
  Tokens tokens;
  for (std::uint32_t i = 0; i < count * kBlock; ++i) tokens.push_back(seed * 1000 + i);
  return tokens;
}

class TokenIndexTest : public ::testing::Test {
 protected:
  NamespaceId open(std::string_view name, std::uint64_t bytes = kMiB) {
    const auto ns = world_.engine().open_namespace(
        {.name = std::string(name), .tokens_per_block = kBlock}, {.token_index_bytes = bytes});
    EXPECT_TRUE(ns.ok()) << ns.status();
    return ns.ok() ? *ns : NamespaceId{};
  }
  /// The whole blocks from number `first` on, in one batch; keys are `name`/0, `name`/1, …
  std::vector<PutResult> put(NamespaceId ns, std::string_view name, const Tokens& tokens,
                             PutOptions options = {}, std::size_t first = 0, Part part = 0) {
    const std::vector<std::string> keys = EngineWorld::chain(name, tokens.size() / kBlock);
    std::vector<std::string> payloads;
    payloads.reserve(keys.size());
    std::vector<PutBlock> blocks;
    for (std::size_t i = first; i < keys.size(); ++i) {
      payloads.push_back(make_payload(keys[i], part, 500));
      blocks.push_back({.key = keys[i],
                        .part = part,
                        .payload = as_bytes(payloads.back()),
                        .parent = options.links == Links::given && i > 0
                                      ? std::string_view(keys[i - 1])
                                      : std::string_view(),
                        .token_prefix = std::span(tokens).first((i + 1) * kBlock)});
    }
    return world_.engine().put_sync(ns, blocks, options);
  }
  TokenRun match(NamespaceId ns, const Tokens& tokens, const TokenSpace& space = {}) {
    auto run = world_.engine().match_tokens(ns, tokens, space);
    EXPECT_TRUE(run.ok()) << run.status();
    return run.ok() ? *std::move(run) : TokenRun{};
  }
  TokenIndexStats stats(NamespaceId ns) {
    const EngineStats all = world_.engine().stats();
    for (const NamespaceInfo& info : world_.engine().namespaces()) {
      if (info.id != ns) continue;
      for (const NamespaceStats& one : all.namespaces) {
        if (one.name == info.descriptor.name && one.token_index) return *one.token_index;
      }
    }
    ADD_FAILURE() << "no token index";
    return {};
  }

  void wait_for_upkeep() {
    for (int i = 0; i < 2; ++i) world_.advance(world_.options().engine.hot_list_interval);
  }

  EngineWorld world_;
};

TEST_F(TokenIndexTest, FindsTheLongestBeginningThatIsThereAndItCanBeAcquired) {
  const NamespaceId ns = open("n");
  const Tokens tokens = prompt(1, 4);
  for (const PutResult& result : put(ns, "a", tokens)) EXPECT_TRUE(result.status.ok());
  Tokens longer = tokens;
  longer.insert(longer.end(), 20, 7);
  const TokenRun run = match(ns, longer);
  EXPECT_EQ(run.keys, EngineWorld::chain("a", 4));
  EXPECT_EQ(run.tokens, 4U * kBlock);
  EXPECT_FALSE(run.incomplete);
  const auto lease = world_.engine().acquire_sync(ns, run.refs());
  ASSERT_TRUE(lease.ok());
  ASSERT_EQ(lease->blocks().size(), 4U);
  EXPECT_EQ(as_text(lease->blocks()[3].bytes), make_payload("a/3", 0, 500));
  EXPECT_TRUE(match(ns, prompt(2, 4)).keys.empty());
  EXPECT_TRUE(match(ns, {}).keys.empty());
  EXPECT_EQ(match(ns, Tokens(tokens.begin(), tokens.begin() + kBlock + 3)).keys.size(), 1U);
  EXPECT_EQ(stats(ns).blocks, 4U);
  EXPECT_EQ(stats(ns).lookups, 4U);
  EXPECT_EQ(stats(ns).hits, 2U);
  EXPECT_EQ(stats(ns).tokens_matched, 5U * kBlock);
}

TEST_F(TokenIndexTest, PromptsThatPartInsideABlockShareWhatIsBeforeIt) {
  const NamespaceId ns = open("n");
  const Tokens one = prompt(1, 3);
  Tokens other = one;
  other[kBlock + 5] = 99;  // in the second block
  put(ns, "a", one);
  // The first block is the same one, and is put under its own key again.
  const std::string payload = make_payload("b/1", 0, 500);
  const PutBlock second{.key = "b/1",
                        .payload = as_bytes(payload),
                        .parent = "a/0",
                        .token_prefix = std::span(other).first(2 * kBlock)};
  ASSERT_TRUE(
      world_.engine().put_sync(ns, {&second, 1}, {.links = Links::given}).at(0).status.ok());
  EXPECT_EQ(match(ns, one).keys, (std::vector<std::string>{"a/0", "a/1", "a/2"}));
  EXPECT_EQ(match(ns, other).keys, (std::vector<std::string>{"a/0", "b/1"}));
  const auto picture = world_.engine().token_tree_picture(ns, 20);
  ASSERT_TRUE(picture.ok());
  EXPECT_GE(std::count(picture->begin(), picture->end(), '\n'), 3) << *picture;
}

TEST_F(TokenIndexTest, ABatchMayGoOnWithAChain) {
  const NamespaceId ns = open("n");
  const Tokens tokens = prompt(1, 5);
  put(ns, "a", Tokens(tokens.begin(), tokens.begin() + 2 * kBlock));
  put(ns, "a", tokens, {}, 2);  // its first block has no parent in the batch
  EXPECT_EQ(match(ns, tokens).keys.size(), 5U);
  // The middle of a chain whose beginning nobody knows is no beginning.
  const Tokens strange = prompt(2, 3);
  put(ns, "s", strange, {}, 1);
  EXPECT_TRUE(match(ns, strange).keys.empty());
  EXPECT_TRUE(match(ns, Tokens(strange.begin() + kBlock, strange.end())).keys.empty());
  // With links it waits, and is found once that is put.
  const Tokens late = prompt(3, 3);
  put(ns, "l", late, {.links = Links::given}, 1);
  EXPECT_TRUE(match(ns, late).keys.empty());
  EXPECT_EQ(stats(ns).waiting, 3U) << "and one of the strange ones";
  put(ns, "l", Tokens(late.begin(), late.begin() + kBlock), {.links = Links::given});
  EXPECT_EQ(match(ns, late).keys.size(), 3U);
}

TEST_F(TokenIndexTest, SpacesAndPartsAreApart) {
  const NamespaceId ns = open("n");
  const Tokens tokens = prompt(1, 2);
  const Hash128 adapter{1, 2};
  put(ns, "plain", tokens);
  put(ns, "lora", tokens, {.token_root = adapter});
  put(ns, "plain", tokens, {}, 0, 3);
  EXPECT_EQ(match(ns, tokens).keys, EngineWorld::chain("plain", 2));
  EXPECT_EQ(match(ns, tokens, {.root = adapter}).keys, EngineWorld::chain("lora", 2));
  EXPECT_TRUE(match(ns, tokens, {.root = {2, 1}}).keys.empty());
  const TokenRun third = match(ns, tokens, {.part = 3});
  EXPECT_EQ(third.keys.size(), 2U);
  EXPECT_EQ(third.refs()[1].part, 3U);
  EXPECT_TRUE(match(ns, tokens, {.root = {}, .part = 1}).keys.empty());
}

TEST_F(TokenIndexTest, NamespacesShareNothing) {
  const NamespaceId one = open("one"), two = open("two");
  const Tokens tokens = prompt(1, 2);
  put(one, "a", tokens);
  EXPECT_EQ(match(one, tokens).keys.size(), 2U);
  EXPECT_TRUE(match(two, tokens).keys.empty());
  ASSERT_TRUE(world_.engine().clear(two).ok());
  EXPECT_EQ(match(one, tokens).keys.size(), 2U);
}

TEST_F(TokenIndexTest, OnlyWhoAsksHasOne) {
  const auto is_invalid = [](const absl::Status& status) {
    return has_code(status, ErrorCode::invalid_argument);
  };
  Engine& engine = world_.engine();
  const NamespaceId plain = world_.open_namespace("plain");
  EXPECT_TRUE(is_invalid(engine.match_tokens(plain, prompt(1, 1)).status()));
  EXPECT_TRUE(is_invalid(engine.token_tree_picture(plain, 1).status()));
  EXPECT_TRUE(is_invalid(engine.match_tokens(NamespaceId{77}, prompt(1, 1)).status()));
  EXPECT_TRUE(put(plain, "a", prompt(1, 1)).at(0).status.ok()) << "tokens are ignored there";
  EXPECT_FALSE(engine.stats().namespaces.at(0).token_index.has_value());
  EXPECT_TRUE(
      is_invalid(engine.open_namespace({.name = "x"}, {.token_index_bytes = kMiB}).status()));
  EXPECT_TRUE(
      is_invalid(engine
                     .open_namespace(
                         {.name = "y", .kind = NamespaceKind::mutable_, .tokens_per_block = kBlock},
                         {.token_index_bytes = kMiB})
                     .status()));
  EXPECT_TRUE(is_invalid(
      engine.open_namespace({.name = "z", .tokens_per_block = kBlock}, {.token_index_bytes = 1})
          .status()));
  // One may be asked for later, and then stays.
  EXPECT_EQ(open("plain"), plain);
  EXPECT_EQ(open("plain", 0), plain);
  put(plain, "a", prompt(1, 2));
  EXPECT_EQ(match(plain, prompt(1, 2)).keys.size(), 2U);
}

TEST_F(TokenIndexTest, APrefixThatIsNotOfWholeBlocksIsRefused) {
  const NamespaceId ns = open("n");
  const Tokens tokens(kBlock + 1, 5);
  const PutBlock block{.key = "k", .payload = {}, .token_prefix = tokens};
  const PutResult result = world_.engine().put_sync(ns, {&block, 1}).at(0);
  EXPECT_TRUE(has_code(result.status, ErrorCode::invalid_argument)) << result.status;
}

TEST_F(TokenIndexTest, AFailedPutTellsNothing) {
  const NamespaceId ns = open("n");
  world_.cold().fail_writes(ErrorCode::io, 1);
  EXPECT_FALSE(put(ns, "a", prompt(1, 1)).at(0).status.ok());
  EXPECT_TRUE(match(ns, prompt(1, 1)).keys.empty());
  EXPECT_EQ(stats(ns).blocks, 0U);
}

TEST_F(TokenIndexTest, BlocksReservedAndCommittedAreFound) {
  const NamespaceId ns = open("n");
  const Tokens tokens = prompt(1, 2);
  std::unique_ptr<PutBatch> batch;
  {
    const Tokens borrowed = tokens;  // gone before commit
    const std::string payload(100, 'x');
    std::vector<PutBlock> blocks;
    const std::vector<std::string> keys{"r/0", "r/1"};
    for (std::size_t i = 0; i < 2; ++i) {
      blocks.push_back({.key = keys[i],
                        .payload = as_bytes(payload),
                        .token_prefix = std::span(borrowed).first((i + 1) * kBlock)});
    }
    auto reserved = world_.engine().reserve(ns, blocks, {});
    ASSERT_TRUE(reserved.ok());
    batch = *std::move(reserved);
  }
  bool is_done = false;
  batch->commit([&](const std::vector<PutResult>& results) {
    is_done = true;
    EXPECT_TRUE(results.at(1).status.ok());
  });
  world_.settle();
  ASSERT_TRUE(is_done);
  EXPECT_EQ(match(ns, tokens).keys, (std::vector<std::string>{"r/0", "r/1"}));
}

TEST_F(TokenIndexTest, WhatIsErasedIsNotPromisedAndForgotten) {
  const NamespaceId ns = open("n");
  const Tokens tokens = prompt(1, 4);
  put(ns, "a", tokens);
  ASSERT_TRUE(world_.erase(ns, "a/2"));
  EXPECT_EQ(match(ns, tokens).keys.size(), 2U) << "not what is behind it either";
  EXPECT_EQ(stats(ns).stale, 1U);
  EXPECT_EQ(stats(ns).holes, 1U);
  put(ns, "a", tokens);
  EXPECT_EQ(match(ns, tokens).keys.size(), 4U);
  ASSERT_TRUE(world_.erase(ns, "a/3"));
  EXPECT_EQ(match(ns, tokens).keys.size(), 3U);
  EXPECT_EQ(stats(ns).blocks, 3U);
  EXPECT_EQ(stats(ns).holes, 0U);
}

TEST_F(TokenIndexTest, WhatIsEvictedIsNotPromisedAndForgottenInTime) {
  const NamespaceId ns = open("n");
  for (std::uint32_t i = 0; i < 20; ++i) put(ns, "a" + std::to_string(i), prompt(i, 3));
  EXPECT_EQ(stats(ns).blocks, 60U);
  ASSERT_TRUE(world_.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_EQ(match(ns, prompt(0, 3)).keys.size(), 3U) << "cold has them";
  ASSERT_TRUE(world_.engine().evict_unused(TierKind::cold, 0).ok());
  EXPECT_EQ(match(ns, prompt(0, 3)).keys.size(), 0U);
  EXPECT_EQ(stats(ns).blocks, 59U);
  wait_for_upkeep();
  EXPECT_EQ(stats(ns).blocks, 0U) << "nobody had to ask";
  EXPECT_EQ(stats(ns).nodes, 0U);
}

TEST_F(TokenIndexTest, ABlockThatCannotBeReadIsNoLongerPromised) {
  const NamespaceId ns = open("n");
  const Tokens tokens = prompt(1, 3);
  put(ns, "a", tokens);
  ASSERT_TRUE(world_.engine().evict_unused(TierKind::hot, 0).ok());
  ASSERT_TRUE(world_.cold().corrupt(world_.name(ns, "a/1")));
  EXPECT_FALSE(world_.get(ns, "a/1").has_value());
  EXPECT_EQ(match(ns, tokens).keys.size(), 1U);
}

TEST_F(TokenIndexTest, ClearingEmptiesIt) {
  const NamespaceId ns = open("n");
  put(ns, "a", prompt(1, 3));
  ASSERT_TRUE(world_.engine().clear(ns).ok());
  EXPECT_EQ(stats(ns).blocks, 0U);
  EXPECT_TRUE(match(ns, prompt(1, 3)).keys.empty());
  world_.restart();
  EXPECT_EQ(stats(open("n")).blocks, 0U);
  // What was there before may be put under the same keys with other tokens.
  put(ns, "a", prompt(2, 3));
  EXPECT_EQ(match(ns, prompt(2, 3)).keys.size(), 3U);
}

TEST_F(TokenIndexTest, AKeyThatWasErasedMayComeBackWithOtherTokens) {
  const NamespaceId ns = open("n");
  put(ns, "a", prompt(1, 1));
  ASSERT_TRUE(world_.erase(ns, "a/0"));
  put(ns, "a", prompt(2, 1));
  EXPECT_TRUE(match(ns, prompt(1, 1)).keys.empty());
  EXPECT_EQ(match(ns, prompt(2, 1)).keys.size(), 1U);
  put(ns, "a", prompt(3, 1));  // already present: the first says what it is
  EXPECT_EQ(match(ns, prompt(2, 1)).keys.size(), 1U);
  EXPECT_TRUE(match(ns, prompt(3, 1)).keys.empty());
}

TEST_F(TokenIndexTest, AnotherKeyTakesThePlaceOfOneThatHasGone) {
  const NamespaceId ns = open("n");
  const Tokens tokens = prompt(1, 2);
  put(ns, "old", tokens);
  put(ns, "new", tokens);
  EXPECT_EQ(match(ns, tokens).keys, EngineWorld::chain("old", 2)) << "the first is as good";
  for (const std::string& key : EngineWorld::chain("old", 2)) ASSERT_TRUE(world_.erase(ns, key));
  put(ns, "new", tokens);
  EXPECT_EQ(match(ns, tokens).keys, EngineWorld::chain("new", 2));
}

TEST_F(TokenIndexTest, ItIsBoundedAndCountsAsMetadata) {
  const std::uint64_t bytes = TokenTree({.block_tokens = kBlock}).size().bytes + 8 * kKiB;
  const NamespaceId ns = open("n", bytes);
  for (std::uint32_t i = 0; i < 200; ++i) {
    put(ns, "k" + std::to_string(i), prompt(i, 2));
    ASSERT_LE(stats(ns).bytes, bytes);
    EXPECT_EQ(match(ns, prompt(i, 2)).keys.size(), 2U) << i;
  }
  EXPECT_GT(stats(ns).dropped, 0U);
  EXPECT_GT(stats(ns).bytes, bytes / 2);
  EXPECT_TRUE(match(ns, prompt(0, 2)).keys.empty()) << "the oldest is not known any more";
  EXPECT_EQ(world_.match(ns, EngineWorld::chain("k0", 2)), 2U) << "but there";
}

TEST_F(TokenIndexTest, AllTogetherTakeAShareOfMetadataBytes) {
  world_.options().engine.metadata_bytes = 2 * kMiB;
  world_.options().engine.token_index_fraction = 0.5;
  world_.restart();
  open("one", 600 * kKiB);
  const absl::Status status = world_.engine()
                                  .open_namespace({.name = "two", .tokens_per_block = kBlock},
                                                  {.token_index_bytes = 600 * kKiB})
                                  .status();
  EXPECT_TRUE(has_code(status, ErrorCode::no_space)) << status;
  open("three", 400 * kKiB);
}

TEST_F(TokenIndexTest, WhatItTakesIsNotTheCatalogs) {
  world_.options().engine.metadata_bytes = 300 * kKiB;
  world_.restart();
  const NamespaceId with = open("with", 140 * kKiB), without = world_.open_namespace("without");
  for (std::uint32_t i = 0; i < 1000; ++i) put(with, "w" + std::to_string(i), prompt(i, 1));
  EXPECT_GT(stats(with).bytes, 100 * kKiB);
  for (std::uint32_t i = 0; i < 2000; ++i) world_.put(without, "k" + std::to_string(i), 100);
  const EngineStats all = world_.engine().stats();
  EXPECT_LE(all.catalog_blocks * Catalog::kBytesPerBlock + stats(with).bytes, 300 * kKiB);
  EXPECT_GT(all.catalog_blocks * Catalog::kBytesPerBlock + stats(with).bytes, 270 * kKiB);
}

TEST_F(TokenIndexTest, ComesBackWithARestart) {
  const NamespaceId ns = open("n");
  const Tokens tokens = prompt(1, 4);
  put(ns, "a", tokens);
  put(ns, "b", prompt(2, 2), {.durability = Durability::memory});
  world_.restart();
  EXPECT_TRUE(
      has_code(world_.engine().match_tokens(ns, tokens).status(), ErrorCode::invalid_argument))
      << "it is asked for anew";
  ASSERT_EQ(open("n"), ns);
  EXPECT_EQ(match(ns, tokens).keys, EngineWorld::chain("a", 4));
  EXPECT_TRUE(match(ns, prompt(2, 2)).keys.empty()) << "what was only in memory has gone";
  wait_for_upkeep();
  EXPECT_EQ(stats(ns).blocks, 4U);
}

TEST_F(TokenIndexTest, IsOpenedBeforeTheCatalogIsLoaded) {
  const NamespaceId ns = open("n");
  put(ns, "a", prompt(1, 4));
  world_.restart_unloaded();
  open("n");
  const TokenRun early = match(ns, prompt(1, 4));
  EXPECT_TRUE(early.incomplete);
  world_.settle();
  const TokenRun run = match(ns, prompt(1, 4));
  EXPECT_FALSE(run.incomplete);
  EXPECT_EQ(run.keys.size(), 4U) << "nothing was forgotten meanwhile";
  EXPECT_EQ(stats(ns).stale, 0U);
}

TEST_F(TokenIndexTest, AfterAKillWhatWasSavedLastIsKnown) {
  const NamespaceId ns = open("n");
  put(ns, "a", prompt(1, 2));
  put(ns, "gone", prompt(3, 2));
  wait_for_upkeep();
  put(ns, "b", prompt(2, 2));
  ASSERT_TRUE(world_.erase(ns, "gone/0"));
  world_.kill();
  open("n");
  EXPECT_EQ(match(ns, prompt(1, 2)).keys.size(), 2U);
  EXPECT_TRUE(match(ns, prompt(2, 2)).keys.empty());
  EXPECT_EQ(world_.match(ns, EngineWorld::chain("b", 2)), 2U) << "it is there all the same";
  EXPECT_TRUE(match(ns, prompt(3, 2)).keys.empty()) << "saved as there, and erased after";
  put(ns, "b", prompt(2, 2));
  EXPECT_EQ(match(ns, prompt(2, 2)).keys.size(), 2U) << "put again it is known again";
}

TEST_F(TokenIndexTest, ADamagedOrForeignStateIsDropped) {
  const NamespaceId ns = open("n");
  put(ns, "a", prompt(1, 2));
  world_.restart();
  const std::string name = token_tree_state_name(ns);
  const std::string good = *world_.cold().load_state(name);
  std::string flipped = good;
  flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 4);
  const std::string foreign = encode_token_tree({.block_tokens = 8, .roots = {}, .blocks = {}});
  for (const std::string& bad :
       {flipped, good.substr(0, good.size() - 1), std::string(), foreign}) {
    ASSERT_TRUE(world_.cold().save_state(name, as_bytes(bad)).ok());
    world_.restart();
    open("n");
    EXPECT_EQ(stats(ns).blocks, 0U);
    EXPECT_TRUE(match(ns, prompt(1, 2)).keys.empty());
    EXPECT_EQ(world_.match(ns, EngineWorld::chain("a", 2)), 2U) << "and nothing else";
  }
  put(ns, "a", prompt(1, 2));
  world_.restart();
  open("n");
  EXPECT_EQ(match(ns, prompt(1, 2)).keys.size(), 2U) << "and it is written anew";
  // Of another store: every block is one that this one does not have.
  SavedTokenTree strange{.block_tokens = kBlock, .roots = {Hash128{}}};
  strange.blocks.push_back({.id = BlockId{{3, 4}}});
  strange.tokens = prompt(9, 1);
  ASSERT_TRUE(world_.cold().save_state(name, as_bytes(encode_token_tree(strange))).ok());
  auto survivor = encode_token_tree(strange);
  world_.kill();
  ASSERT_TRUE(world_.cold().save_state(name, as_bytes(survivor)).ok());
  open("n");
  EXPECT_TRUE(match(ns, prompt(9, 1)).keys.empty());
  EXPECT_EQ(stats(ns).blocks, 0U);
}

TEST_F(TokenIndexTest, ASmallerBoundTakesBackAsMuchAsFits) {
  const NamespaceId ns = open("n");
  for (std::uint32_t i = 0; i < 200; ++i) put(ns, "k" + std::to_string(i), prompt(i, 2));
  world_.restart();
  const std::uint64_t bytes = TokenTree({.block_tokens = kBlock}).size().bytes + 8 * kKiB;
  open("n", bytes);
  EXPECT_LE(stats(ns).bytes, bytes);
  EXPECT_GT(stats(ns).blocks, 10U);
  EXPECT_LT(stats(ns).blocks, 400U);
}

TEST_F(TokenIndexTest, WithoutColdItLivesWithTheEngine) {
  world_.options().with_cold = false;
  world_.restart();
  const NamespaceId ns = open("ram");
  put(ns, "a", prompt(1, 2), {.durability = Durability::memory});
  EXPECT_EQ(match(ns, prompt(1, 2)).keys.size(), 2U);
  ASSERT_TRUE(world_.engine().evict_unused(TierKind::hot, 0).ok());
  EXPECT_TRUE(match(ns, prompt(1, 2)).keys.empty());
  wait_for_upkeep();
  EXPECT_EQ(stats(ns).blocks, 0U);
}

TEST_F(TokenIndexTest, AStoreThatIsOnlyReadHasWhatWasSaved) {
  const NamespaceId ns = open("n");
  put(ns, "a", prompt(1, 2));
  world_.restart();
  world_.options().read_only = true;
  world_.restart();
  open("n");
  EXPECT_EQ(match(ns, prompt(1, 2)).keys.size(), 2U);
  wait_for_upkeep();
}

TEST_F(TokenIndexTest, WhereTheCatalogLacksSomeNothingIsForgotten) {
  const NamespaceId ns = open("n");
  for (std::uint32_t i = 0; i < 1000; ++i) put(ns, "k" + std::to_string(i), prompt(i, 1));
  world_.options().engine.metadata_bytes = 150 * kKiB;
  world_.options().engine.token_index_fraction = 1.0;
  world_.restart();
  open("n", 150 * kKiB);
  const std::uint64_t known = stats(ns).blocks;
  EXPECT_GT(known, 100U);
  std::size_t matched = 0;
  for (std::uint32_t i = 0; i < 1000; ++i) matched += match(ns, prompt(i, 1)).keys.size();
  wait_for_upkeep();
  EXPECT_LT(matched, known) << "a lower bound";
  EXPECT_EQ(stats(ns).blocks, known);
}

}  // namespace
}  // namespace cairn::test
