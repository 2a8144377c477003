// SPDX-License-Identifier: Apache-2.0
// Shapes that an adversary would choose: deep, wide, all tokens equal, all but the last equal, told
// backwards, the same edge split and merged for ever. Each is done in seconds under a sanitizer if
// calls cost what token_tree.h says, in hours if one is quadratic, and not at all if one recurses.
// And who is dropped first when room runs out.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/tokens/token_tree.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

using Tokens = std::vector<std::uint32_t>;

constexpr std::uint32_t kMany = 100'000;

BlockId id_of(std::uint64_t number) {
  Rng rng(number);
  const std::uint64_t high = rng.next();
  return BlockId{{high, rng.next()}};
}

BlockId parent_of(std::uint64_t number) {
  return number == 0 ? BlockId{} : id_of(number);
}

void expect_sound(const TokenTree& tree) {
  std::string why;
  EXPECT_TRUE(tree.is_sound(&why)) << why;
}

TEST(TokenTreeShape, AHundredThousandBlocksDeepAndAllTokensEqual) {
  TokenTree tree({.block_tokens = 4});
  const Tokens block(4, 7);
  for (std::uint64_t i = 1; i <= kMany; ++i) {
    ASSERT_EQ(
        tree.insert({.id = id_of(i), .parent = parent_of(i - 1), .root = {}, .tokens = block}),
        TokenInsert::added);
  }
  expect_sound(tree);
  const Tokens prompt(4 * kMany + 3, 7);
  std::vector<BlockId> ids(kMany);
  const TokenMatch match = tree.match({}, prompt, ids);
  EXPECT_EQ(match.blocks, kMany);
  EXPECT_EQ(ids.back(), id_of(kMany));
  EXPECT_FALSE(tree.picture(10).empty());
  const SavedTokenTree saved = tree.save();
  TokenTree other({.block_tokens = 4});
  ASSERT_TRUE(other.restore(saved).ok());
  EXPECT_EQ(other.size().blocks, kMany);
  EXPECT_EQ(other.size().nodes, tree.size().nodes);
  // From its beginning all become holes, and the last takes them along.
  for (std::uint64_t i = 1; i <= kMany; ++i) ASSERT_TRUE(tree.remove(id_of(i)));
  expect_sound(tree);
  EXPECT_EQ(tree.size().tokens, 0U);
}

TEST(TokenTreeShape, AHundredThousandBlocksDeepToldBackwards) {
  TokenTree tree({.block_tokens = 4});
  for (std::uint32_t i = kMany; i > 1; --i) {
    const Tokens block = {i, 0, 0, 0};
    ASSERT_EQ(tree.insert({.id = id_of(i), .parent = id_of(i - 1), .root = {}, .tokens = block}),
              TokenInsert::waiting);
  }
  expect_sound(tree);
  const Tokens first = {1, 0, 0, 0};
  EXPECT_EQ(tree.insert({.id = id_of(1), .root = {}, .tokens = first}), TokenInsert::added);
  expect_sound(tree);
  EXPECT_EQ(tree.size().blocks, kMany);
  EXPECT_EQ(tree.size().waiting, 0U);
}

TEST(TokenTreeShape, AHundredThousandChildrenThatPartAtOnceOrInTheirLastToken) {
  for (const std::size_t differing : {std::size_t{0}, std::size_t{15}}) {
    TokenTree tree({.block_tokens = 16});
    Tokens block(16, 1);
    for (std::uint32_t i = 1; i <= kMany; ++i) {
      block[differing] = i;
      ASSERT_EQ(tree.insert({.id = id_of(i), .root = {}, .tokens = block}), TokenInsert::added);
    }
    expect_sound(tree);
    block[differing] = kMany / 2;
    std::vector<BlockId> ids(1);
    EXPECT_EQ(tree.match({}, block, ids).blocks, 1U);
    EXPECT_EQ(ids[0], id_of(kMany / 2));
    for (std::uint32_t i = 1; i <= kMany; ++i) ASSERT_TRUE(tree.remove(id_of(i)));
    expect_sound(tree);
    EXPECT_EQ(tree.size().nodes, 0U);
  }
}

TEST(TokenTreeShape, AHundredThousandChildrenThatWaitForOneParent) {
  TokenTree tree({.block_tokens = 1});
  for (std::uint32_t i = 2; i <= kMany; ++i) {
    const Tokens block = {i};
    ASSERT_EQ(tree.insert({.id = id_of(i), .parent = id_of(1), .root = {}, .tokens = block}),
              TokenInsert::waiting);
  }
  const Tokens block = {1};
  EXPECT_EQ(tree.insert({.id = id_of(1), .root = {}, .tokens = block}), TokenInsert::added);
  EXPECT_EQ(tree.size().blocks, kMany);
  expect_sound(tree);
}

TEST(TokenTreeShape, TheSameEdgeIsSplitAndMergedForEver) {
  TokenTree tree({.block_tokens = 16});
  const Tokens block(16, 1);
  constexpr std::uint32_t kDeep = 20'000;
  for (std::uint64_t i = 1; i <= kDeep; ++i) {
    tree.insert({.id = id_of(i), .parent = parent_of(i - 1), .root = {}, .tokens = block});
  }
  const TokenTreeSize before = tree.size();
  Tokens other(16, 1);
  other[8] = 2;
  for (std::uint32_t i = 0; i < kMany; ++i) {
    const BlockId parent = id_of(1 + i * 7919ULL % kDeep);
    tree.insert({.id = id_of(kMany), .parent = parent, .root = {}, .tokens = other});
    ASSERT_TRUE(tree.remove(id_of(kMany)));
  }
  expect_sound(tree);
  EXPECT_EQ(tree.size().blocks, before.blocks);
  EXPECT_EQ(tree.size().tokens, before.tokens);
}

TEST(TokenTreeShape, BlocksLongerThanAnEdgeIsOtherwise) {
  TokenTree tree({.block_tokens = 5000});
  Tokens block(5000, 3);
  for (std::uint64_t i = 1; i <= 5; ++i) {
    tree.insert({.id = id_of(i), .parent = parent_of(i - 1), .root = {}, .tokens = block});
  }
  block[4321] = 4;
  tree.insert({.id = id_of(6), .parent = id_of(3), .root = {}, .tokens = block});
  expect_sound(tree);
  Tokens prompt(20'000, 3);
  EXPECT_EQ(tree.match({}, prompt, {}).blocks, 4U);
  prompt[15'000 + 4321] = 4;
  EXPECT_EQ(tree.match({}, prompt, {}).blocks, 4U);
  prompt[15'000 + 4321] = 5;
  EXPECT_EQ(tree.match({}, prompt, {}).tail_tokens, 4321U);
}

/// Chains of two blocks, all different; room for some of them.
class TokenTreeDrops : public ::testing::Test {
 protected:
  void put(std::uint32_t chain) {
    for (std::uint32_t i = 0; i < 2; ++i) {
      const Tokens block = {chain, i};
      tree_.insert({.id = id_of(2 * chain + i),
                    .parent = i == 0 ? BlockId{} : id_of(2 * chain),
                    .root = {},
                    .tokens = block});
    }
  }
  bool is_whole(std::uint32_t chain) const {
    return tree_.contains(id_of(2 * chain)) && tree_.contains(id_of(2 * chain + 1));
  }
  bool is_gone(std::uint32_t chain) const {
    return !tree_.contains(id_of(2 * chain)) && !tree_.contains(id_of(2 * chain + 1));
  }

  const std::uint64_t empty_ = TokenTree({.block_tokens = 2}).size().bytes;
  TokenTree tree_{{.block_tokens = 2, .bytes_max = empty_ + 16 * kKiB}};
};

TEST_F(TokenTreeDrops, TheLeastRecentlyMatchedGoesFirst) {
  std::uint32_t chains = 1;
  for (; tree_.stats().dropped == 0; ++chains) {
    put(chains);
    const Tokens first = {1, 0, 1, 1};
    tree_.match({}, first, {});  // the oldest, but for its matches
  }
  EXPECT_TRUE(is_whole(1));
  EXPECT_FALSE(is_whole(2)) << "the oldest that nobody asked for";
  for (std::uint32_t chain = 4; chain < chains; ++chain) EXPECT_TRUE(is_whole(chain)) << chain;
  // Long after, what is there is what came last, in order.
  for (const std::uint32_t end = chains + 300; chains < end; ++chains) put(chains);
  bool was_whole = false;
  for (std::uint32_t chain = 1; chain < chains; ++chain) {
    EXPECT_TRUE(is_whole(chain) || !was_whole) << chain;
    was_whole = was_whole || is_whole(chain);
  }
  EXPECT_TRUE(is_gone(1));
  expect_sound(tree_);
}

TEST_F(TokenTreeDrops, WhatWaitsGoesBeforeWhatIsThereOldestFirst) {
  put(1);
  std::uint32_t waiting = 100;
  for (; tree_.stats().waiting_dropped == 0; ++waiting) {
    const Tokens block = {waiting, 0};
    tree_.insert({.id = id_of(waiting), .parent = id_of(99), .root = {}, .tokens = block});
  }
  EXPECT_TRUE(is_whole(1));
  EXPECT_FALSE(tree_.remove(id_of(100)));
  EXPECT_TRUE(tree_.remove(id_of(waiting - 1)));
  EXPECT_EQ(tree_.stats().dropped, 0U);
}

}  // namespace
}  // namespace cairn::test
