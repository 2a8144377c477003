// SPDX-License-Identifier: Apache-2.0
// Longest cached prefix by token ids: what a match says after edges were split and merged, blocks
// removed, put again, and told in any order; and that no shape of tree is a slow one.
#include "engine/tokens/token_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

using Tokens = std::vector<std::uint32_t>;

constexpr Hash128 kRoot{0, 77};

BlockId id_of(std::uint64_t number) {
  Rng rng(number);
  const std::uint64_t high = rng.next();
  return BlockId{{high, rng.next()}};
}

/// Blocks of four tokens.
class TokenTreeTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kBlock = 4;

  ~TokenTreeTest() override {
    std::string why;
    EXPECT_TRUE(tree_.is_sound(&why)) << why;
  }

  TokenInsert put(std::uint64_t id, std::uint64_t parent, const Tokens& tokens,
                  const Hash128& root = kRoot) {
    return tree_.insert({.id = id_of(id),
                         .parent = parent == 0 ? BlockId{} : id_of(parent),
                         .root = root,
                         .tokens = tokens});
  }
  /// A chain of whole blocks with ids from `first` on.
  void put_chain(std::uint64_t first, const Tokens& tokens) {
    for (std::size_t i = 0; i < tokens.size() / kBlock; ++i) {
      const auto at = tokens.begin() + static_cast<std::ptrdiff_t>(i * kBlock);
      ASSERT_EQ(put(first + i, i == 0 ? 0 : first + i - 1, {at, at + kBlock}), TokenInsert::added);
    }
  }
  TokenMatch match(const Tokens& tokens, const Hash128& root = kRoot) {
    ids_.assign(tokens.size() / kBlock, BlockId{});
    const TokenMatch match = tree_.match(root, tokens, ids_);
    ids_.resize(match.blocks);
    EXPECT_EQ(match.tokens, match.blocks * kBlock);
    return match;
  }
  bool is_sound() {
    std::string why;
    const bool sound = tree_.is_sound(&why);
    EXPECT_TRUE(sound) << why << "\n" << tree_.picture(100);
    return sound;
  }

  TokenTree tree_{{.block_tokens = kBlock, .secret = 5}};
  std::vector<BlockId> ids_;
};

TEST_F(TokenTreeTest, MatchesTheLongestRunOfWholeBlocks) {
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}).blocks, 3U);
  EXPECT_EQ(ids_, (std::vector{id_of(1), id_of(2), id_of(3)}));
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7, 8}).blocks, 2U);
  const TokenMatch part = match({1, 2, 3, 4, 5, 6, 9, 9, 9});
  EXPECT_EQ(part.blocks, 1U);
  EXPECT_EQ(part.tail_tokens, 2U);
  EXPECT_EQ(match({1, 2, 3}).tail_tokens, 3U);
  EXPECT_EQ(match({2, 2, 3, 4}).tail_tokens, 0U);
  EXPECT_EQ(match({}).blocks, 0U);
}

TEST_F(TokenTreeTest, IdsGoAsFarAsThereIsRoomForThem) {
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8});
  std::vector<BlockId> one(1);
  EXPECT_EQ(tree_.match(kRoot, Tokens{1, 2, 3, 4, 5, 6, 7, 8}, one).blocks, 2U);
  EXPECT_EQ(one[0], id_of(1));
  EXPECT_EQ(tree_.match(kRoot, Tokens{1, 2, 3, 4, 5, 6, 7, 8}, {}).blocks, 2U);
}

TEST_F(TokenTreeTest, AnEdgeIsSplitWherePromptsPartInTheMiddleOfABlock) {
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  EXPECT_EQ(tree_.size().nodes, 1U);
  EXPECT_EQ(put(20, 1, {5, 6, 70, 80}), TokenInsert::added);
  ASSERT_TRUE(is_sound());
  EXPECT_EQ(tree_.size().nodes, 3U);
  EXPECT_EQ(tree_.size().tokens, 14U) << "what they share is there once";
  EXPECT_EQ(tree_.stats().splits, 1U);
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}).blocks, 3U);
  EXPECT_EQ(ids_, (std::vector{id_of(1), id_of(2), id_of(3)}));
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 70, 80, 9, 10, 11, 12}).blocks, 2U);
  EXPECT_EQ(ids_, (std::vector{id_of(1), id_of(20)}));
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 70, 9}).tail_tokens, 3U);
}

TEST_F(TokenTreeTest, AndAtItsEnd) {
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(put(20, 1, {50, 60, 70, 80}), TokenInsert::added);
  ASSERT_TRUE(is_sound());
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7, 8}).blocks, 2U);
  EXPECT_EQ(match({1, 2, 3, 4, 50, 60, 70, 80}).blocks, 2U);
  EXPECT_EQ(ids_, (std::vector{id_of(1), id_of(20)}));
}

TEST_F(TokenTreeTest, EdgesAreMergedAgainAndTheirBytesComeBack) {
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  const TokenTreeSize before = tree_.size();
  put(20, 1, {5, 6, 70, 80});
  EXPECT_TRUE(tree_.remove(id_of(20)));
  ASSERT_TRUE(is_sound());
  EXPECT_EQ(tree_.size(), before);
  EXPECT_EQ(tree_.stats().merges, 1U);
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}).blocks, 3U);
}

TEST_F(TokenTreeTest, AnEmptyTreeHasNothingLeft) {
  const TokenTreeSize empty = tree_.size();
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8});
  put(20, 1, {5, 6, 7, 9});
  put(30, 99, {1, 2, 3, 4});
  for (const std::uint64_t id : {20U, 1U, 30U, 2U}) EXPECT_TRUE(tree_.remove(id_of(id))) << id;
  EXPECT_EQ(tree_.size(), empty);
  EXPECT_FALSE(tree_.remove(id_of(1)));
}

TEST_F(TokenTreeTest, NoMatchGoesThroughAHoleAndWhatLiesBehindIsNotForgotten) {
  const Tokens tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  put_chain(1, tokens);
  EXPECT_TRUE(tree_.remove(id_of(2)));
  EXPECT_FALSE(tree_.remove(id_of(2)));
  EXPECT_FALSE(tree_.contains(id_of(2)));
  EXPECT_TRUE(tree_.contains(id_of(3)));
  EXPECT_EQ(match(tokens).blocks, 1U);
  EXPECT_EQ(match(tokens).tail_tokens, kBlock) << "the tokens of the hole are known";
  EXPECT_EQ(tree_.size().holes, 1U);
  EXPECT_EQ(put(2, 1, {5, 6, 7, 8}), TokenInsert::added);
  EXPECT_EQ(match(tokens).blocks, 3U);
}

TEST_F(TokenTreeTest, AHoleGoesWithTheLastBlockBehindIt) {
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  tree_.remove(id_of(2));
  tree_.remove(id_of(3));
  ASSERT_TRUE(is_sound());
  EXPECT_EQ(tree_.size().holes, 0U);
  EXPECT_EQ(tree_.size().tokens, 4U);
}

TEST_F(TokenTreeTest, ABlockBelowAHoleIsTakenAndAnotherIdMayFillIt) {
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  tree_.remove(id_of(2));
  EXPECT_EQ(put(30, 2, {9, 10, 11, 13}), TokenInsert::added);
  EXPECT_EQ(put(40, 1, {5, 6, 7, 8}), TokenInsert::added);
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13}).blocks, 3U);
  EXPECT_EQ(ids_, (std::vector{id_of(1), id_of(40), id_of(30)}));
  EXPECT_EQ(put(2, 1, {5, 6, 7, 8}), TokenInsert::conflict);
}

TEST_F(TokenTreeTest, OneIdForEachPlace) {
  put_chain(1, {1, 2, 3, 4});
  EXPECT_EQ(put(1, 0, {1, 2, 3, 4}), TokenInsert::already);
  EXPECT_EQ(put(2, 0, {1, 2, 3, 4}), TokenInsert::conflict);
  EXPECT_EQ(put(1, 0, {1, 2, 3, 5}), TokenInsert::conflict);
  EXPECT_EQ(match({1, 2, 3, 4}).blocks, 1U);
  EXPECT_EQ(ids_[0], id_of(1));
  EXPECT_EQ(tree_.stats().conflicts, 2U);
}

TEST_F(TokenTreeTest, RootsShareNothing) {
  const Hash128 lora{0, 78};
  EXPECT_EQ(put(1, 0, {1, 2, 3, 4}), TokenInsert::added);
  EXPECT_EQ(put(2, 0, {1, 2, 3, 4}, lora), TokenInsert::added);
  EXPECT_EQ(put(3, 2, {5, 6, 7, 8}), TokenInsert::added) << "the parent says which root";
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7, 8}).blocks, 1U);
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7, 8}, lora).blocks, 2U);
  EXPECT_EQ(match({1, 2, 3, 4}, Hash128{1, 77}).blocks, 0U);
  EXPECT_EQ(tree_.size().roots, 2U);
}

TEST_F(TokenTreeTest, ChildrenWaitForTheirParents) {
  EXPECT_EQ(put(3, 2, {9, 10, 11, 12}), TokenInsert::waiting);
  EXPECT_EQ(put(4, 2, {9, 10, 11, 13}), TokenInsert::waiting);
  EXPECT_EQ(put(2, 1, {5, 6, 7, 8}), TokenInsert::waiting);
  EXPECT_EQ(tree_.size().waiting, 3U);
  EXPECT_FALSE(tree_.contains(id_of(3)));
  EXPECT_TRUE(tree_.remove(id_of(4)));
  EXPECT_EQ(put(1, 0, {1, 2, 3, 4}), TokenInsert::added);
  EXPECT_EQ(tree_.size().waiting, 0U);
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}).blocks, 3U);
  EXPECT_EQ(match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13}).blocks, 2U);
}

TEST_F(TokenTreeTest, ACircleOfParentsWaits) {
  EXPECT_EQ(put(1, 2, {1, 2, 3, 4}), TokenInsert::waiting);
  EXPECT_EQ(put(2, 1, {1, 2, 3, 4}), TokenInsert::waiting);
  EXPECT_EQ(put(3, 3, {1, 2, 3, 4}), TokenInsert::refused);
  EXPECT_EQ(tree_.size().waiting, 2U);
}

TEST_F(TokenTreeTest, WhatIsNoBlockIsRefused) {
  EXPECT_EQ(put(1, 0, {1, 2, 3}), TokenInsert::refused);
  EXPECT_EQ(put(1, 0, {1, 2, 3, 4, 5}), TokenInsert::refused);
  EXPECT_EQ(tree_.insert({.root = kRoot, .tokens = Tokens{1, 2, 3, 4}}), TokenInsert::refused);
}

TEST_F(TokenTreeTest, StatisticsCount) {
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8});
  match({1, 2, 3, 4});
  match({1, 2, 3});
  tree_.remove(id_of(2));
  const TokenTreeStats stats = tree_.stats();
  EXPECT_EQ(stats.inserts, 2U);
  EXPECT_EQ(stats.matches, 2U);
  EXPECT_EQ(stats.hits, 1U);
  EXPECT_EQ(stats.removals, 1U);
  tree_.clear();
  EXPECT_EQ(tree_.size().blocks, 0U);
  EXPECT_EQ(match({1, 2, 3, 4}).blocks, 0U);
}

TEST_F(TokenTreeTest, ThePictureShowsEdgesBlocksAndHoles) {
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8});
  put(20, 1, {5, 6, 70, 80});
  put(21, 20, {1, 1, 1, 1});
  tree_.remove(id_of(20));
  const std::string picture = tree_.picture(100);
  EXPECT_NE(picture.find("3 blocks, 1 holes, 0 waiting, 3 edges"), std::string::npos) << picture;
  EXPECT_NE(picture.find("\nroot 00000000\n  [0, 6) 1 2 3 4 5 6  1 block "), std::string::npos)
      << picture;
  EXPECT_NE(picture.find("\n    [6, 8) 7 8  1 block "), std::string::npos) << picture;
  EXPECT_NE(picture.find("\n    [6, 12) 70 80 1 1 1 1  2 blocks "), std::string::npos) << picture;
  EXPECT_NE(picture.find("holes: 1\n"), std::string::npos) << picture;
  for (std::size_t lines = 0; lines < 8; ++lines) {
    const std::string cut = tree_.picture(lines);
    EXPECT_EQ(std::count(cut.begin(), cut.end(), '\n'),
              static_cast<std::ptrdiff_t>(std::min<std::size_t>(lines, 5)))
        << cut;
  }
  EXPECT_NE(tree_.picture(3).find("… 3 more\n"), std::string::npos) << tree_.picture(3);
}

TEST_F(TokenTreeTest, WhatIsSavedIsRestored) {
  put_chain(1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  put(20, 1, {5, 6, 70, 80});
  put(30, 0, {1, 2, 3, 4}, {9, 9});
  tree_.remove(id_of(2));
  const SavedTokenTree saved = tree_.save();
  const auto parsed = parse_token_tree(as_bytes(encode_token_tree(saved)));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, saved);
  TokenTree other({.block_tokens = kBlock});
  ASSERT_TRUE(other.restore(*parsed).ok());
  std::string why;
  EXPECT_TRUE(other.is_sound(&why)) << why;
  TokenTreeSize size = other.size();
  size.bytes = tree_.size().bytes;  // tables hash addresses, and grow when these fall together
  EXPECT_EQ(size, tree_.size());
  EXPECT_FALSE(other.contains(id_of(2)));
  EXPECT_EQ(other.match({9, 9}, Tokens{1, 2, 3, 4}, {}).blocks, 1U);
  EXPECT_TRUE(has_code(other.restore(saved), ErrorCode::invalid_argument)) << "not empty";
  TokenTree longer({.block_tokens = 8});
  EXPECT_TRUE(has_code(longer.restore(saved), ErrorCode::mismatch));
}

/// An edge that is cut or merged may cost more than the block that went: seeds that have shown it,
/// and fresh ones.
TEST(TokenTreeBound, HoldsAfterRemovalsOfLargeBlocks) {
  for (const std::uint64_t seed : seeds({126, 833}, scaled(20))) {
    print_seed(seed);
    Rng rng(seed);
    std::uint32_t each = 128U << rng.below(4);
    if (rng.chance(0.3)) each += static_cast<std::uint32_t>(rng.below(100));
    const std::uint64_t bytes_max =
        TokenTree({.block_tokens = each}).size().bytes + rng.between(4, 400) * kKiB;
    TokenTree tree({.block_tokens = each, .bytes_max = bytes_max});
    struct Block {
      BlockId id, parent;
      std::vector<std::uint32_t> tokens;
    };
    std::vector<Block> blocks(20 + rng.below(80));
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const std::uint64_t high = rng.next();
      blocks[i].id = BlockId{{high, rng.next()}};
      if (i > 0 && rng.chance(0.8)) {
        blocks[i].parent = blocks[rng.chance(0.6) ? i - 1 : rng.below(i)].id;
      }
      blocks[i].tokens.assign(each, 7);
      blocks[i].tokens[rng.below(each)] = static_cast<std::uint32_t>(7 + rng.below(3));
    }
    for (int step = 0; step < 400; ++step) {
      const Block& block = rng.pick(blocks);
      if (rng.chance(0.6)) {
        tree.insert({.id = block.id, .parent = block.parent, .root = {}, .tokens = block.tokens});
      } else {
        tree.remove(block.id);
      }
      ASSERT_LE(tree.size().bytes, bytes_max) << step;
    }
    std::string why;
    EXPECT_TRUE(tree.is_sound(&why)) << why;
  }
}

}  // namespace
}  // namespace cairn::test
