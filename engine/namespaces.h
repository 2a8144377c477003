// SPDX-License-Identifier: Apache-2.0
// namespaces.h — the namespaces of an open engine, found by id without a lock.
//
// A namespace is never taken away while the engine lives, so a pointer to its state stays good.
//
// Threading:  thread-safe.
// Blocking:   open: disk, where there is a durable tier. find never.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "engine/entry_count.h"
#include "engine/namespace.h"
#include "engine/tier.h"

namespace cairn::detail {

struct NamespaceTokens;

struct NamespaceState {
  explicit NamespaceState(NamespaceInfo information)
      : id(information.id),
        descriptor(std::move(information.descriptor)),
        epoch(information.epoch) {}
  bool is_mutable() const { return descriptor.kind == NamespaceKind::mutable_; }

  const NamespaceId id;
  const NamespaceDescriptor descriptor;
  std::atomic<std::uint32_t> epoch;
  /// Whatever publishes blocks of this namespace is inside; clear() shuts it meanwhile, so that
  /// nothing of the old epoch is published after it.
  EntryCount publishers;
  /// Versions below this are dead, whatever a scan that began earlier may still show.
  std::atomic<std::uint64_t> cleared_below{0};
  std::atomic<std::uint64_t> lookups{0}, hits{0};  // blocks; statistics, relaxed
  /// Its own limits in payload bytes, 0 for none, and what is on its way into cold: counted
  /// before the limit is looked at, and until the catalog counts it.
  std::atomic<std::uint64_t> hot_limit{0}, cold_limit{0}, cold_pending{0};
  std::atomic<bool> verifies_tokens{false};  // NamespaceOptions::verify_tokens; never unset
  /// Its token index (token_index.h); null without.
  std::atomic<NamespaceTokens*> tokens{nullptr};
  std::atomic<WritePolicy> write_policy{WritePolicy::through};
  /// It writes through by now, and what it kept in memory before is not all in cold yet.
  std::atomic<bool> owes_writes{false};
};

class NamespaceTable {
 public:
  /// `cold` may be null: then ids are given here.
  explicit NamespaceTable(DurableTier* cold);
  ~NamespaceTable();

  absl::StatusOr<NamespaceState*> open(const NamespaceDescriptor& descriptor);
  /// Null when there is none.
  NamespaceState* find(NamespaceId id) const;
  std::vector<NamespaceInfo> list() const;
  std::vector<NamespaceState*> all() const;

  static constexpr std::uint32_t kIdsMax = 1U << 16;

 private:
  static constexpr std::uint32_t kChunk = 256;
  using Chunk = std::array<std::atomic<NamespaceState*>, kChunk>;
  absl::StatusOr<NamespaceState*> add(const NamespaceInfo& info) CAIRN_REQUIRES(mutex_);

  DurableTier* const cold_;
  /// Never held across the tier's call.
  mutable Mutex mutex_{LockRank::engine_lifecycle};
  std::vector<std::unique_ptr<NamespaceState>> states_ CAIRN_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Chunk>> chunks_ CAIRN_GUARDED_BY(mutex_);
  std::array<std::atomic<Chunk*>, kIdsMax / kChunk> by_id_{};
};

}  // namespace cairn::detail
