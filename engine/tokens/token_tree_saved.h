// SPDX-License-Identifier: Apache-2.0
// token_tree_saved.h — a token tree as bytes, and back.
//
// Parents before their children. Little-endian:
//
//   header   u32 magic "CTKT" · u32 version 1 · u32 block_tokens · u32 roots · u64 blocks
//   roots    16 B each: u64 high · u64 low
//   runs     of blocks each of which is the parent of the next, until all blocks are there:
//            u32 root, a number in the list · u32 parent, 0 or 1 + the number of a block before ·
//            u32 n · u8 w · ceil(n/8) B, bit i set where block i is there and no hole ·
//            n ids, u64 high · u64 low · n × block_tokens tokens in w bytes, the fewest that do
//   trailer  XXH3-128 of everything before, u64 low · u64 high
//
// What parse accepts, encode writes byte for byte.
//
// Threading:  pure functions. Blocking: cpu.
// Failure:    `format` for another magic or version; `corruption` for all that encode would not
//             write. Nothing is allocated that the input's own length does not justify.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/key.h"

namespace cairn {

struct SavedTokenBlock {
  BlockId id;
  std::uint32_t root = 0;    // in SavedTokenTree::roots
  std::uint32_t parent = 0;  // 0: none; else 1 + a block before this one
  bool is_present = true;    // else a hole
  friend bool operator==(const SavedTokenBlock&, const SavedTokenBlock&) = default;
};

struct SavedTokenTree {
  std::uint32_t block_tokens = 0;
  std::vector<Hash128> roots;
  std::vector<SavedTokenBlock> blocks;
  std::vector<std::uint32_t> tokens;  // block_tokens for each block
  friend bool operator==(const SavedTokenTree&, const SavedTokenTree&) = default;
};

/// The state file of a store (DurableTier::load_state) that holds a namespace's.
std::string token_tree_state_name(NamespaceId ns);

std::string encode_token_tree(const SavedTokenTree& tree);
absl::StatusOr<SavedTokenTree> parse_token_tree(ByteSpan bytes);

}  // namespace cairn
