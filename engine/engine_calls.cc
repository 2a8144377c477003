// SPDX-License-Identifier: Apache-2.0
// engine_calls.cc — what is made of other calls: those that wait, and those on whole sub-trees.
#include <algorithm>
#include <optional>
#include <utility>

#include "engine/base/status.h"
#include "engine/completion.h"
#include "engine/engine.h"

namespace cairn {
namespace {

constexpr std::size_t kSubtreeMax = std::size_t{1} << 20;
constexpr std::size_t kEraseBatch = 4096;

std::vector<KeyRef> refs_of(std::span<const SubtreeBlock> blocks) {
  std::vector<KeyRef> refs;
  refs.reserve(blocks.size());
  for (const SubtreeBlock& block : blocks) refs.push_back({block.key, block.part});
  return refs;
}

}  // namespace

// --- the calls that wait ---------------------------------------------------------------------

absl::StatusOr<Lease> Engine::acquire_sync(NamespaceId ns, std::span<const KeyRef> keys,
                                           const AcquireOptions& options) {
  detail::Completion arrived;
  std::optional<absl::StatusOr<Lease>> result;
  acquire(ns, keys, options, [&](absl::StatusOr<Lease> lease) {
    result = std::move(lease);
    arrived.notify();
  });
  arrived.wait([this] { return pump(); });
  return *std::move(result);
}

absl::Status Engine::load_sync(NamespaceId ns, std::span<LoadTarget> targets,
                               const AcquireOptions& options) {
  detail::Completion arrived;
  absl::Status result;
  load(ns, targets, options, [&](absl::Status status) {
    result = std::move(status);
    arrived.notify();
  });
  arrived.wait([this] { return pump(); });
  return result;
}

std::vector<PutResult> Engine::put_sync(NamespaceId ns, std::span<const PutBlock> blocks,
                                        const PutOptions& options) {
  detail::Completion arrived;
  std::vector<PutResult> results;
  put(ns, blocks, options, [&](std::vector<PutResult> outcome) {
    results = std::move(outcome);
    arrived.notify();
  });
  arrived.wait([this] { return pump(); });
  return results;
}

absl::StatusOr<std::vector<bool>> Engine::erase_sync(NamespaceId ns, std::span<const KeyRef> keys) {
  detail::Completion arrived;
  absl::StatusOr<std::vector<bool>> result = std::vector<bool>{};
  erase(ns, keys, [&](absl::StatusOr<std::vector<bool>> outcome) {
    result = std::move(outcome);
    arrived.notify();
  });
  arrived.wait([this] { return pump(); });
  return result;
}

// --- sub-trees -------------------------------------------------------------------------------

absl::StatusOr<std::uint64_t> Engine::erase_subtree(NamespaceId ns, const KeyRef& root) {
  std::uint64_t erased = 0;
  for (;;) {
    CAIRN_ASSIGN_OR_RETURN(std::vector<SubtreeBlock> blocks, subtree(ns, root, kSubtreeMax));
    if (blocks.empty()) return erased;
    // Children first: whoever looks meanwhile finds no orphans.
    std::reverse(blocks.begin(), blocks.end());
    const std::vector<KeyRef> keys = refs_of(blocks);
    for (std::size_t at = 0; at < keys.size(); at += kEraseBatch) {
      const auto batch = std::span(keys).subspan(at, std::min(kEraseBatch, keys.size() - at));
      CAIRN_ASSIGN_OR_RETURN(const std::vector<bool> was_there, erase_sync(ns, batch));
      erased += static_cast<std::uint64_t>(std::count(was_there.begin(), was_there.end(), true));
    }
  }
}

absl::Status Engine::pin_subtree(NamespaceId ns, const KeyRef& root, const PinOptions& options) {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<SubtreeBlock> blocks, subtree(ns, root, kSubtreeMax));
  if (blocks.empty()) return make_error(ErrorCode::not_found, "a block to be pinned is not there");
  return pin(ns, refs_of(blocks), options);
}

absl::Status Engine::unpin_subtree(NamespaceId ns, const KeyRef& root, std::string_view owner) {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<SubtreeBlock> blocks, subtree(ns, root, kSubtreeMax));
  return unpin(ns, refs_of(blocks), owner);
}

}  // namespace cairn
