// SPDX-License-Identifier: Apache-2.0
// Lookups beside each other and beside changes, on real threads. A chain's ids are a function of
// its tokens, so every answer can be judged by itself: whatever is matched is of these tokens, and
// what nobody removes is matched whole.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "engine/tokens/token_tree.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

constexpr std::uint32_t kBlock = 4;
constexpr std::uint64_t kChains = 64, kDeep = 20;

BlockId id_of(std::uint64_t chain, std::uint64_t depth) {
  Rng rng(chain * 1000 + depth);
  const std::uint64_t high = rng.next();
  return BlockId{{high, rng.next()}};
}

/// Chains part from each other somewhere along the way, in the middle of blocks.
std::vector<std::uint32_t> tokens_of(std::uint64_t chain) {
  std::vector<std::uint32_t> tokens(kBlock * kDeep, 1);
  tokens[1 + chain % 7] = static_cast<std::uint32_t>(chain + 2);
  return tokens;
}

TokenInsert put(TokenTree& tree, std::uint64_t chain, std::uint64_t depth) {
  const std::vector<std::uint32_t> tokens = tokens_of(chain);
  return tree.insert({.id = id_of(chain, depth),
                      .parent = depth == 0 ? BlockId{} : id_of(chain, depth - 1),
                      .root = {},
                      .tokens = std::span(tokens).subspan(depth * kBlock, kBlock)});
}

TEST(TokenTreeStress, MatchesAreRightWhileTheTreeChanges) {
  Rng seeds_of_threads(announce_seed());
  // The bound bites now and then; chain 0 is asked for all the time and must outlive the rest.
  const std::uint64_t empty = TokenTree({.block_tokens = kBlock}).size().bytes;
  TokenTree tree({.block_tokens = kBlock, .bytes_max = empty + 96 * kKiB});
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, rng = seeds_of_threads.fork()]() mutable {
      std::vector<BlockId> ids(kDeep);
      while (!stop.load()) {
        const std::uint64_t chain = rng.below(kChains);
        const TokenMatch match = tree.match({}, tokens_of(chain), ids);
        ASSERT_LE(match.blocks, kDeep);
        for (std::uint64_t i = 0; i < match.blocks; ++i) {
          // A first block may be shared: other chains part from it later.
          if ((1 + chain % 7) / kBlock > i) continue;
          ASSERT_EQ(ids[i], id_of(chain, i)) << chain << " " << i;
        }
      }
    });
  }
  threads.emplace_back([&] {
    while (!stop.load()) {
      ASSERT_LE(tree.size().bytes, empty + 96 * kKiB);
      static_cast<void>(tree.picture(20));
      const SavedTokenTree saved = tree.save();
      ASSERT_TRUE(parse_token_tree(as_bytes(encode_token_tree(saved))).ok());
      std::string why;
      ASSERT_TRUE(tree.is_sound(&why)) << why;
    }
  });
  std::vector<std::thread> writers;
  for (int t = 0; t < 2; ++t) {
    writers.emplace_back([&, rng = seeds_of_threads.fork()]() mutable {
      for (std::size_t i = scaled(20000); i > 0; --i) {
        const std::uint64_t chain = rng.below(kChains), depth = rng.below(kDeep);
        if (rng.chance(0.8)) {
          put(tree, chain, depth);
        } else {
          tree.remove(id_of(chain, depth));
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  std::string why;
  EXPECT_TRUE(tree.is_sound(&why)) << why;
  EXPECT_GT(tree.stats().hits, 0U);
}

}  // namespace
}  // namespace cairn::test
