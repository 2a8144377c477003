// SPDX-License-Identifier: Apache-2.0
// announcer.h — blocks that will be wanted soon: fetched ahead, and pinned once they are in hot.
//
// An announcement is a promise that ends: at its deadline (at most announce_limit away), or when
// a lease delivers the block. Announcements hold at most announceable_fraction of hot; what does
// not fit is not accepted, and the caller hears so by the count.
//
// Threading:  thread-safe.
// Blocking:   never.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/core.h"
#include "engine/fetcher.h"
#include "engine/read_path.h"
#include "engine/recovery.h"

namespace cairn::detail {

class Announcer {
 public:
  Announcer(EngineCore& core, Recovery& recovery, Fetcher& fetcher, ReadPath& reads);

  std::size_t announce(NamespaceId ns, std::span<const KeyRef> keys, Deadline deadline);
  /// A lease has delivered these: they are held by it now.
  void delivered(std::span<const BlockId> ids);
  std::uint64_t held_bytes() const { return held_bytes_.load(); }

 private:
  class Announcement;
  struct Held {
    BlockHandle handle = 0;  // meaningful when pinned
    bool pinned = false;
    std::uint64_t bytes = 0;
    TimePoint until;
    NamespaceState* ns = nullptr;
    OwnedName name;
  };
  bool accept(NamespaceState& ns, const KeyRef& key, BlockId id, std::uint64_t bytes,
              TimePoint until);
  void pin_arrived(BlockId id);
  void fetch(NamespaceState& ns, const std::vector<BlockId>& ids, TimePoint until);
  void let_go(BlockId id);
  void sweep();

  EngineCore& core_;
  Recovery& recovery_;
  Fetcher& fetcher_;
  ReadPath& reads_;
  const std::uint64_t limit_bytes_;
  std::atomic<std::uint64_t> held_bytes_{0};
  std::atomic<std::size_t> held_count_{0};
  mutable Mutex mutex_{LockRank::engine_operations};
  absl::flat_hash_map<BlockId, Held> held_ CAIRN_GUARDED_BY(mutex_);
};

}  // namespace cairn::detail
