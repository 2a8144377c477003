// SPDX-License-Identifier: Apache-2.0
// core.h — what the stories of the engine share: its parts, its tables, its counts.
//
// Each story (write_path, read_path, mover, recovery, …) is a class of its own that is handed
// the core; none of them owns what is here, and the core knows none of them.
//
// Threading:  every member is thread-safe or immutable.
// Blocking:   never.
#pragma once

#include <atomic>
#include <functional>

#include "engine/catalog.h"
#include "engine/engine.h"
#include "engine/engine_factory.h"
#include "engine/engine_stats.h"
#include "engine/entry_count.h"
#include "engine/gates.h"
#include "engine/lease.h"
#include "engine/loop_scope.h"
#include "engine/namespaces.h"
#include "engine/options.h"
#include "engine/removal_notes.h"
#include "engine/tier.h"

namespace cairn::detail {

struct EngineCore {
  EngineCore(const EngineOptions& engine_options, const EngineParts& engine_parts);

  BlockId id_of(NamespaceId ns, const KeyRef& key) const {
    return block_id({ns, key.key, key.part}, secret);
  }
  std::uint64_t next_sequence();

  /// Present to readers: listed and not expired.
  bool is_expired(const Residency& residency) const {
    return residency.facts.expiry != 0 && residency.facts.expiry <= clock.wall();
  }
  /// What the catalog, the names of its blocks and the token indexes cost, live.
  std::uint64_t metadata_bytes() const {
    return catalog.entries() * Catalog::kBytesPerBlock + catalog.long_key_bytes() +
           metadata_reserved.load() + token_index_bytes.load();
  }

  /// Takes so much of what is unpaid, or less. False where there is none.
  bool pay_metadata(std::uint64_t bytes);

  /// Lists what lies in cold, where it is by now: it may have been moved since. The caller holds
  /// the gate.
  bool publish_cold(BlockId id, const BlockName& name, const BlockFacts& facts, Location location,
                    std::uint32_t cold_bytes, Residency* replaced);
  /// Room in cold, within the tier's limit and the namespace's own: `no_space` beyond either.
  /// `growth` is by how many payload bytes the namespace grows; settle_cold() takes it back when
  /// the blocks are listed, or given up.
  absl::Status reserve_cold(NamespaceState& ns, std::uint64_t growth,
                            std::span<const std::uint32_t> sizes, std::span<Location> locations);
  void settle_cold(NamespaceState& ns, std::uint64_t growth);
  /// Whether the namespace's own limit is in the way.
  bool is_cold_limited(const NamespaceState& ns, std::uint64_t growth) const;

  /// Acknowledged in memory by a namespace that writes back, and not written yet: while there is
  /// anything else to drop it stays.
  bool is_owed(const Residency& residency) const;
  /// Of a namespace that writes to cold what is seen a second time.
  bool is_selective(const Residency& residency) const;

  /// Frees what a publication or removal took out. A leased hot copy comes back through its
  /// lease instead.
  void free_replaced(const Residency& replaced);
  /// The same for what lies in memory.
  void free_in_memory(const Residency& removed);
  void free_hot(Location location);

  /// The rest of a wait: runs the loops once, or says that threads run them.
  bool pump() const {
    if (!parts.pump) return false;
    parts.pump();
    return true;
  }

  const EngineOptions options;
  const EngineParts parts;
  AddressableTier& hot;
  ImageTier* const warm;    // null: none
  DurableTier* const cold;  // null: RAM only
  const Clock& clock;
  const bool read_only;
  const std::uint64_t secret;
  const std::uint64_t block_bytes_max;

  LoopScope loop;
  Catalog catalog;
  RemovalNotes notes;
  GateTable gates;
  NamespaceTable namespaces;
  EngineMeters meters;
  LeaseRegistry leases;
  EntryCount operations;  // shut by close()
  std::atomic<bool> closing{false};
  std::atomic<std::uint64_t> metadata_reserved{0};  // for puts under way
  std::atomic<std::uint64_t> token_index_bytes{0};  // of all namespaces
  /// What puts have taken of metadata_bytes without an eviction for it. While the catalog is being
  /// loaded, blocks of former processes may lack it, and then evictions make good for it.
  std::atomic<std::uint64_t> unpaid_metadata{0};
  /// For good: the catalog lists some of what the index names, whatever is not listed is looked
  /// up, and so an entry can be forgotten without its block being evicted.
  std::atomic<bool> is_partial{false};
  /// Removals from cold that asked for no sync, in all, and up to which one a sync has covered
  /// them. The one that is ahead from the start stands for those of earlier processes.
  std::atomic<std::uint64_t> removals_begun{1}, removals_synced{0};
  /// Writes and removals that cold was given, and how many of them have ended.
  std::atomic<std::uint64_t> cold_changes_begun{0}, cold_changes_ended{0};

 private:
  bool has_policy(NamespaceId ns, WritePolicy policy) const;

  std::atomic<std::uint64_t> memory_sequence_{1};  // where there is no cold tier
};

}  // namespace cairn::detail
