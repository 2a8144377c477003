// SPDX-License-Identifier: Apache-2.0
#include "engine/tokens/token_tree_saved.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn {
namespace {

constexpr std::uint32_t kMagic = 0x544b5443;  // "CTKT"
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 24;
constexpr std::size_t kHashBytes = 16;
constexpr std::size_t kRunBytes = 13;
constexpr std::uint32_t kBlockTokensMax = 1U << 16;

absl::Status damaged() {
  return make_error(ErrorCode::corruption, "a saved token tree that is damaged");
}

void append_hash(std::string& out, const Hash128& hash) {
  append_le(out, hash.high);
  append_le(out, hash.low);
}
Hash128 load_hash(ByteSpan bytes, std::size_t at) {
  return {load_le<std::uint64_t>(bytes, at), load_le<std::uint64_t>(bytes, at + 8)};
}

/// Bytes that hold each of them.
std::uint8_t width_of(std::span<const std::uint32_t> tokens) {
  std::uint32_t all = 0;
  for (const std::uint32_t token : tokens) all |= token;
  return all < 1U << 8 ? 1 : all < 1U << 16 ? 2 : all < 1U << 24 ? 3 : 4;
}

bool continues(const SavedTokenTree& tree, std::size_t block) {
  return block > 0 && tree.blocks[block].parent == block &&
         tree.blocks[block].root == tree.blocks[block - 1].root;
}

void append_run(const SavedTokenTree& tree, std::size_t first, std::size_t end, std::string* out) {
  const std::size_t count = end - first;
  const std::span<const std::uint32_t> tokens =
      std::span(tree.tokens).subspan(first * tree.block_tokens, count * tree.block_tokens);
  const std::uint8_t width = width_of(tokens);
  append_le(*out, tree.blocks[first].root);
  append_le(*out, tree.blocks[first].parent);
  append_le(*out, static_cast<std::uint32_t>(count));
  append_le(*out, width);
  std::string bits((count + 7) / 8, '\0');
  for (std::size_t i = 0; i < count; ++i) {
    if (!tree.blocks[first + i].is_present) continue;
    bits[i / 8] = static_cast<char>(static_cast<unsigned char>(bits[i / 8]) | 1U << i % 8);
  }
  *out += bits;
  for (std::size_t i = first; i < end; ++i) append_hash(*out, tree.blocks[i].id.hash);
  for (const std::uint32_t token : tokens) {
    out->append(reinterpret_cast<const char*>(&token), width);
  }
}

/// Reads one run at `*at` behind the blocks that are there; false on anything that append_run
/// would not have written.
bool parse_run(ByteSpan bytes, std::size_t* at, std::uint64_t blocks_left, SavedTokenTree* tree) {
  if (bytes.size() - *at < kRunBytes) return false;
  const auto root = load_le<std::uint32_t>(bytes, *at);
  const auto parent = load_le<std::uint32_t>(bytes, *at + 4);
  const std::uint64_t count = load_le<std::uint32_t>(bytes, *at + 8);
  const auto width = load_le<std::uint8_t>(bytes, *at + 12);
  *at += kRunBytes;
  const std::size_t first = tree->blocks.size();
  if (root >= tree->roots.size() || parent > first || count == 0 || count > blocks_left) {
    return false;
  }
  if (parent > 0 && tree->blocks[parent - 1].root != root) return false;
  if (parent > 0 && parent == first) return false;  // would be one run with the one before
  if (width < 1 || width > 4) return false;
  const std::uint64_t bit_bytes = (count + 7) / 8;
  const std::uint64_t each = kHashBytes + std::uint64_t{tree->block_tokens} * width;
  const std::uint64_t left = bytes.size() - *at;
  if (bit_bytes > left || count > (left - bit_bytes) / each) return false;
  const ByteSpan bits = bytes.subspan(*at, bit_bytes);
  if (count % 8 != 0 && std::to_integer<unsigned>(bits.back()) >> count % 8 != 0) return false;
  *at += bit_bytes;
  for (std::size_t i = 0; i < count; ++i) {
    const bool is_present = (std::to_integer<unsigned>(bits[i / 8]) >> i % 8 & 1U) != 0;
    const auto above = static_cast<std::uint32_t>(i == 0 ? parent : first + i);
    tree->blocks.push_back({BlockId{load_hash(bytes, *at)}, root, above, is_present});
    if (tree->blocks.back().id.is_null()) return false;
    *at += kHashBytes;
  }
  const std::size_t tokens_before = tree->tokens.size();
  for (std::uint64_t i = 0; i < count * tree->block_tokens; ++i) {
    std::uint32_t token = 0;
    std::memcpy(&token, bytes.data() + *at, width);
    tree->tokens.push_back(token);
    *at += width;
  }
  return width_of(std::span(tree->tokens).subspan(tokens_before)) == width;
}

}  // namespace

std::string token_tree_state_name(NamespaceId ns) {
  return concat("token-index-", static_cast<std::uint32_t>(ns));
}

std::string encode_token_tree(const SavedTokenTree& tree) {
  std::string out;
  append_le(out, kMagic);
  append_le(out, kVersion);
  append_le(out, tree.block_tokens);
  append_le(out, static_cast<std::uint32_t>(tree.roots.size()));
  append_le(out, std::uint64_t{tree.blocks.size()});
  for (const Hash128& root : tree.roots) append_hash(out, root);
  for (std::size_t first = 0; first < tree.blocks.size();) {
    std::size_t end = first + 1;
    while (end < tree.blocks.size() && continues(tree, end)) ++end;
    append_run(tree, first, end, &out);
    first = end;
  }
  const Hash128 sum = xxh3_128(as_bytes(out));
  append_le(out, sum.low);
  append_le(out, sum.high);
  return out;
}

absl::StatusOr<SavedTokenTree> parse_token_tree(ByteSpan bytes) {
  if (bytes.size() < kHeaderBytes + kHashBytes || load_le<std::uint32_t>(bytes, 0) != kMagic) {
    return make_error(ErrorCode::format, "not a saved token tree");
  }
  if (load_le<std::uint32_t>(bytes, 4) != kVersion) {
    return make_error(ErrorCode::format, "a saved token tree of another version");
  }
  const ByteSpan content = bytes.first(bytes.size() - kHashBytes);
  const Hash128 sum = xxh3_128(content);
  if (load_le<std::uint64_t>(bytes, content.size()) != sum.low ||
      load_le<std::uint64_t>(bytes, content.size() + 8) != sum.high) {
    return damaged();
  }
  SavedTokenTree tree;
  tree.block_tokens = load_le<std::uint32_t>(content, 8);
  const std::uint64_t roots = load_le<std::uint32_t>(content, 12);
  const auto blocks = load_le<std::uint64_t>(content, 16);
  const std::uint64_t left = content.size() - kHeaderBytes;
  if (tree.block_tokens == 0 || tree.block_tokens > kBlockTokensMax || roots > left / kHashBytes ||
      blocks > left / (kHashBytes + tree.block_tokens) ||
      blocks >= std::numeric_limits<std::uint32_t>::max()) {
    return damaged();
  }
  tree.roots.reserve(roots);
  tree.blocks.reserve(blocks);
  tree.tokens.reserve(blocks * tree.block_tokens);
  std::size_t at = kHeaderBytes;
  for (std::uint64_t i = 0; i < roots; ++i, at += kHashBytes) {
    tree.roots.push_back(load_hash(content, at));
  }
  while (tree.blocks.size() < blocks) {
    if (!parse_run(content, &at, blocks - tree.blocks.size(), &tree)) return damaged();
  }
  if (at != content.size()) return damaged();
  return tree;
}

}  // namespace cairn
