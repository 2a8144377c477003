// SPDX-License-Identifier: Apache-2.0
// pins.h — blocks that are exempt from eviction until they are unpinned.
//
// A pin is the mark of an owner, not a count: pinning twice is pinning once, and the block is
// exempt as long as anyone's mark is there. A durable pin is also noted in cold and comes back with
// the block after a restart, as nobody's. Pins hold at most half of hot, because a pinned block
// that has been read stays there, and half of cold; those that came back count, and each block
// counts as large as it is now. Overwriting a pinned block with a larger one is never refused for
// that. A pin that fails leaves what was there before.
//
// Threading:  thread-safe.
// Blocking:   disk, where a durable pin is noted or taken back.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/core.h"
#include "engine/recovery.h"

namespace cairn::detail {

class Pins {
 public:
  Pins(EngineCore& core, Recovery& recovery) : core_(core), recovery_(recovery) {}

  absl::Status pin(NamespaceId ns, std::span<const KeyRef> keys, const PinOptions& options);
  absl::Status unpin(NamespaceId ns, std::span<const KeyRef> keys, std::string_view owner);
  /// Recovery has found a block with a durable pin; it is in the catalog.
  void found(BlockId id);
  std::uint64_t pinned_blocks() const;
  std::vector<PinStats> by_owner() const;

 private:
  struct Target {
    BlockId id;
    BlockName name;
    Residency residency;
  };
  absl::Status with_gates(NamespaceId ns, std::span<const KeyRef> keys,
                          const std::function<absl::Status(std::vector<Target>&)>& change);
  struct Mark {
    std::string owner;
    bool durable = false;
  };
  using Marks = std::vector<Mark>;  // empty: a durable pin of a former process, nobody's
  using Known = std::vector<std::optional<Marks>>;  // of each target, before
  /// What the pins hold together once the targets are pinned, too.
  std::uint64_t bytes_with(const std::vector<Target>& targets) const CAIRN_REQUIRES(mutex_);
  Known mark(const std::vector<Target>& targets, const PinOptions& options) CAIRN_REQUIRES(mutex_);
  void undo(const std::vector<Target>& targets, Known known);
  absl::Status pin_gated(std::vector<Target>& targets, const PinOptions& options);
  absl::Status unpin_gated(std::vector<Target>& targets, std::string_view owner);
  /// What is left when one owner's mark is taken off.
  enum class Left : std::uint8_t { durable, pinned, nothing };
  Left take_mark(BlockId id, std::string_view owner, bool& was_counted, bool& had_durable);
  absl::Status annotate(const std::vector<Target>& targets, bool pinned);
  std::uint64_t limit_bytes() const;
  bool is_pinned(BlockId id) const;
  std::uint64_t pinned_bytes(BlockId id) const;  // 0 for what is not pinned any more
  void drop_gone() CAIRN_REQUIRES(mutex_);

  EngineCore& core_;
  Recovery& recovery_;
  mutable Mutex mutex_{LockRank::engine_operations};
  absl::flat_hash_map<BlockId, Marks> pins_ CAIRN_GUARDED_BY(mutex_);
};

}  // namespace cairn::detail
