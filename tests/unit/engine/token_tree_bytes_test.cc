// SPDX-License-Identifier: Apache-2.0
// The bytes that a token tree says it has are those it has asked the allocator for: this program
// counts them itself, beneath the tree. And its bound holds after every call.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "engine/tokens/token_tree.h"
#include "tests/support/seed.h"

namespace {

constexpr std::size_t kPrefix = 64;  // holds the size, and keeps what follows aligned
std::atomic<std::uint64_t> allocated = 0;

void* counted(std::size_t bytes) {
  auto* base = static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 2 * kPrefix - 1) / 64 * 64));
  if (base == nullptr) std::abort();
  *reinterpret_cast<std::size_t*>(base) = bytes;
  allocated += bytes;
  return base + kPrefix;
}
void uncounted(void* pointer) {
  if (pointer == nullptr) return;
  std::byte* base = static_cast<std::byte*>(pointer) - kPrefix;
  allocated -= *reinterpret_cast<std::size_t*>(base);
  std::free(base);
}

}  // namespace

void* operator new(std::size_t bytes) {
  return counted(bytes);
}
void* operator new[](std::size_t bytes) {
  return counted(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t) {
  return counted(bytes);
}
void operator delete(void* pointer) noexcept {
  uncounted(pointer);
}
void operator delete[](void* pointer) noexcept {
  uncounted(pointer);
}
void operator delete(void* pointer, std::size_t) noexcept {
  uncounted(pointer);
}
void operator delete[](void* pointer, std::size_t) noexcept {
  uncounted(pointer);
}
void operator delete(void* pointer, std::align_val_t) noexcept {
  uncounted(pointer);
}
void operator delete(void* pointer, std::size_t, std::align_val_t) noexcept {
  uncounted(pointer);
}

namespace cairn::test {
namespace {

struct Block {
  BlockId id, parent;
  std::vector<std::uint32_t> tokens;
};

/// A random forest, parents first.
std::vector<Block> make_blocks(Rng& rng, std::size_t count, std::uint32_t block_tokens) {
  std::vector<Block> blocks;
  for (std::size_t i = 0; i < count; ++i) {
    Block block{BlockId{{rng.next(), rng.next()}}, {}, {}};
    if (i > 0 && rng.chance(0.95)) {
      block.parent = blocks[rng.chance(0.7) ? i - 1 : rng.below(i)].id;
    }
    for (std::uint32_t t = 0; t < block_tokens; ++t) {
      block.tokens.push_back(static_cast<std::uint32_t>(rng.below(3)));
    }
    blocks.push_back(block);
  }
  return blocks;
}

TEST(TokenTreeBytes, AreThoseThatWereAskedOfTheAllocator) {
  for (const std::uint64_t seed : seeds({1, 2}, 1)) {
    print_seed(seed);
    Rng rng(seed);
    const auto block_tokens = static_cast<std::uint32_t>(rng.between(1, 24));
    const std::vector<Block> blocks = make_blocks(rng, scaled(4000), block_tokens);
    const std::uint64_t before = allocated;
    {
      TokenTree tree({.block_tokens = block_tokens, .secret = seed});
      ASSERT_EQ(tree.size().bytes, allocated - before);
      for (std::size_t i = 0; i < 4 * blocks.size(); ++i) {
        const Block& block = blocks[rng.below(blocks.size())];
        if (rng.chance(0.7)) {
          tree.insert({.id = block.id, .parent = block.parent, .root = {}, .tokens = block.tokens});
        } else {
          tree.remove(block.id);
        }
        ASSERT_EQ(tree.size().bytes, allocated - before) << i;
      }
      for (const Block& block : blocks) tree.remove(block.id);
      ASSERT_EQ(tree.size().bytes, allocated - before);
      ASSERT_EQ(tree.size().tokens, 0U);
    }
    ASSERT_EQ(allocated, before);
  }
}

TEST(TokenTreeBytes, TheBoundHoldsAfterEveryCall) {
  for (const std::uint64_t seed : seeds({11}, 1)) {
    print_seed(seed);
    Rng rng(seed);
    const std::vector<Block> blocks = make_blocks(rng, scaled(8000), 16);
    const std::uint64_t empty = TokenTree({.block_tokens = 16}).size().bytes;
    TokenTree tree({.block_tokens = 16, .bytes_max = empty + 100 * kKiB});
    for (const Block& block : blocks) {
      tree.insert({.id = block.id, .parent = block.parent, .root = {}, .tokens = block.tokens});
      ASSERT_LE(tree.size().bytes, empty + 100 * kKiB);
    }
    std::string why;
    EXPECT_TRUE(tree.is_sound(&why)) << why;
  }
}

TEST(TokenTreeBytes, MatchAllocatesNothing) {
  Rng rng(1);
  const std::vector<Block> blocks = make_blocks(rng, 100, 16);
  TokenTree tree({.block_tokens = 16});
  for (const Block& block : blocks) {
    tree.insert({.id = block.id, .parent = block.parent, .root = {}, .tokens = block.tokens});
  }
  std::vector<BlockId> ids(1);
  const std::uint64_t before = allocated;
  EXPECT_EQ(tree.match({}, blocks[0].tokens, ids).blocks, 1U);
  EXPECT_EQ(allocated, before);
}

TEST(TokenTreeBytes, ABoundThatHoldsNothingTakesNothing) {
  TokenTree tree({.block_tokens = 2, .bytes_max = 1});
  const std::vector<std::uint32_t> tokens = {1, 2};
  const BlockId id{{1, 2}};
  EXPECT_EQ(tree.insert({.id = id, .root = {}, .tokens = tokens}), TokenInsert::no_room);
  EXPECT_EQ(tree.insert({.id = id, .parent = {{3, 4}}, .tokens = tokens}), TokenInsert::no_room);
  EXPECT_EQ(tree.size().blocks + tree.size().waiting, 0U);
}

}  // namespace
}  // namespace cairn::test
