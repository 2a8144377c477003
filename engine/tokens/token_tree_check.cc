// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "engine/base/text.h"
#include "engine/tokens/token_nodes.h"
#include "engine/tokens/token_tree_state.h"

namespace cairn::detail {
namespace {

constexpr std::size_t kIndentMax = 24;  // levels; deeper ones are told by their depth alone

std::string short_id(const Hash128& hash) {
  return to_hex(hash).substr(0, 8);
}

std::string tokens_of(const TokenNode& node) {
  constexpr std::uint32_t kShown = 5;
  std::string text;
  for (std::uint32_t i = 0; i < std::min(node.length, kShown); ++i) {
    text += (i == 0 ? "" : " ") + std::to_string(node.tokens()[i]);
  }
  if (node.length > kShown + 1) text += " …";
  if (node.length > kShown) text += " " + std::to_string(node.tokens()[node.length - 1]);
  return text;
}

std::string line_of(const TokenNode& node, std::uint32_t blocks) {
  if (node.is_root()) return "root " + short_id(static_cast<const TokenRoot&>(node).id);
  std::string line = concat("[", std::to_string(node.begin), ", ", std::to_string(node.end()), ") ",
                            tokens_of(node));
  if (blocks == 0) return line;
  const auto there = static_cast<std::uint32_t>(std::popcount(node.present));
  line += concat("  ", std::to_string(blocks), blocks == 1 ? " block " : " blocks ",
                 short_id(node.ids()[0].hash));
  if (blocks > 1) line += concat(blocks > 2 ? " … " : " ", short_id(node.ids()[blocks - 1].hash));
  if (there < blocks) line += concat("  holes: ", std::to_string(blocks - there));
  return line;
}

}  // namespace

std::string TokenNodes::unsoundness() const {
  Counts sums;
  std::uint64_t leaves = 0, roots = 0;
  for (const TokenNode* node = first(); node != nullptr; node = following(node)) {
    if (std::string why = unsoundness_of(node, &sums); !why.empty()) return why;
    leaves += node->is_leaf();
    roots += node->is_root();
  }
  if (sums.blocks != counts_.blocks) return "the count of blocks is wrong";
  if (sums.holes != counts_.holes) return "the count of holes is wrong";
  if (sums.nodes != counts_.nodes) return "the count of nodes is wrong";
  if (sums.tokens != counts_.tokens) return "the count of tokens is wrong";
  if (sums.node_bytes != counts_.node_bytes) return "the count of bytes is wrong";
  if (roots != counts_.roots || roots != by_root_.size()) return "the count of roots is wrong";
  if (by_id_.size() != sums.blocks + sums.holes) return "by_id holds another number of blocks";
  if (by_token_.size() != sums.nodes) return "by_token holds another number of nodes";
  if (leaves != leaves_.size()) return "the leaves are more or fewer than there are";
  return leaves_.is_ordered() ? "" : "the leaves are out of order";
}

std::string TokenNodes::unsoundness_of(const TokenNode* node, Counts* sums) const {
  for (const TokenNode* child = node->first_child; child != nullptr; child = child->next) {
    if (child->parent != node) return "a child has another parent";
    if (child->next != nullptr && child->next->prev != child) return "siblings disagree";
  }
  if (node->first_child != nullptr && node->first_child->prev != nullptr) {
    return "a first child has one before it";
  }
  if (node->is_root()) {
    const auto* root = static_cast<const TokenRoot*>(node);
    if (root->length != 0 || root->begin != 0 || root->capacity != 0) return "a root has tokens";
    if (root->is_leaf() || leaves_.holds(root)) return "a root without children";
    if (find_root(root->id) != root) return "a root is not found";
    sums->node_bytes += sizeof(TokenRoot);
    return "";
  }
  if (node->length == 0 || node->length > edge_tokens_max_) return "an edge of a wrong length";
  if (node->begin != node->parent->end()) return "an edge begins not where its parent ends";
  if (node->capacity != capacity_for(node->length)) return "storage of a wrong size";
  if (find_child(node->parent, node->tokens()[0]) != node) return "a child is not found";
  const std::uint32_t blocks = count_of(node);
  if (blocks > node->capacity) return "more blocks than there is storage for";
  if (blocks < 64 && node->present >> blocks != 0) return "a block is there behind the end";
  for (std::uint32_t i = 0; i < blocks; ++i) {
    const Place place = find(node->ids()[i]);
    if (place.node != node || place.index != i) return "a block is not found under its id";
  }
  if (node->is_leaf() != leaves_.holds(node)) return "a leaf is missing, or one is none";
  if (node->is_leaf() && (node->end() % block_tokens_ != 0 || blocks == 0 ||
                          (node->present >> (blocks - 1) & 1) == 0)) {
    return "a leaf ends without a block";
  }
  if (node->has_one_child() && node->length + node->first_child->length <= edge_tokens_max_) {
    return "an only child fits into its parent";
  }
  const auto there = static_cast<std::uint32_t>(std::popcount(node->present));
  sums->blocks += there;
  sums->holes += blocks - there;
  sums->tokens += node->length;
  sums->node_bytes += bytes_of(node);
  ++sums->nodes;
  return "";
}

}  // namespace cairn::detail

namespace cairn {

std::string TokenTree::State::picture(std::size_t lines_max) const {
  using detail::TokenNode;
  using detail::TokenNodes;
  if (lines_max == 0) return "";
  const TokenNodes::Counts& counts = nodes->counts();
  const std::uint64_t lines = counts.nodes + counts.roots;
  std::string text =
      concat(std::to_string(counts.blocks), " blocks, ", std::to_string(counts.holes), " holes, ",
             std::to_string(waiting->size()), " waiting, ", std::to_string(counts.nodes),
             " edges, ", std::to_string(counts.tokens), " tokens, ", format_size(bytes()), "\n");
  std::size_t shown = 0, level = 0;
  const TokenNode* node = nodes->first();
  while (node != nullptr) {
    // The last line is for what there is no room for.
    if (shown + 2 >= lines_max && shown + 1 < lines) {
      if (lines_max > 1) text += concat("… ", std::to_string(lines - shown), " more\n");
      return text;
    }
    text += std::string(2 * std::min(level, detail::kIndentMax), ' ');
    text += detail::line_of(*node, nodes->count_of(node)) + "\n";
    ++shown;
    const TokenNode* const next = TokenNodes::following(node);
    if (next != nullptr && next->parent == node) {
      ++level;
    } else {
      for (; next != nullptr && node->parent != next->parent; node = node->parent) --level;
    }
    node = next;
  }
  return text;
}

}  // namespace cairn
