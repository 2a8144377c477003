// SPDX-License-Identifier: Apache-2.0
// mover.h — makes room: takes out of a tier what the policy offers, and says why.
//
// Two ways in. A put or a load that finds no room asks for what it needs and no more
// (make_hot_room, make_cold_room, make_catalog_room); the background task, woken when a tier
// passes its high watermark, evicts down to the low one, so that the first way is rare.
//
// Why an eviction is safe: from hot, the catalog gives a copy up only when it is neither
// leased nor pinned, by a compare-and-swap on its location, and the slot is freed after that.
// From cold, the block's gate is held until the index has forgotten it, so no put of the same
// name can begin before; the space is freed last. A block whose cold write is still in flight
// is not listed yet and cannot be a victim. A block that was promised only `memory` may be
// dropped as the last copy; the background first tries to demote it to cold.
//
// Where the catalog lists only some of what cold has (core.is_partial), its room is made by
// forgetting entries: nothing is evicted for it that cold keeps.
//
// Threading:  thread-safe.
// Blocking:   never; removals from cold end on the tier's threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/core.h"

namespace cairn::detail {

/// One name to take out of the durable tier. The gate is held by whoever asks.
struct ColdRemoval {
  BlockId id;
  OwnedName name;
  std::uint64_t sequence = 0;
  Location location;  // freed after the index has forgotten it; may be null
  /// As what it was listed until now. When the removal fails it is listed again: the index still
  /// names it, and what nobody lists can be neither evicted nor removed by a second attempt.
  std::optional<Residency> was;
  absl::Status status;
};

class Mover {
 public:
  explicit Mover(EngineCore& core) : core_(core) {}

  /// Evicts until blocks of these sizes about fit into hot; of their own namespace where its
  /// limit is in the way. False when nothing could be evicted.
  bool make_hot_room(NamespaceId ns, std::span<const std::uint32_t> sizes);
  /// The same for cold; `only` the namespace that is at its limit. done is told whether anything
  /// was evicted.
  void make_cold_room(std::uint64_t bytes, std::optional<NamespaceId> only,
                      const std::function<void(bool evicted)>& done);
  /// Evicts what a namespace holds beyond limits that have been lowered, as far as it may go now.
  void trim(NamespaceState& ns);
  /// Reserves this much of metadata_bytes, to be given back to core.metadata_reserved when the
  /// blocks are listed. False, and nothing reserved: room could not be made.
  bool make_catalog_room(std::uint64_t bytes);
  /// The same without reserving it.
  bool free_catalog_room(std::uint64_t bytes);

  /// Something was put or promoted: looks at the watermarks in the background.
  void note_growth();

  /// Waits for nothing but disk. Returns the bytes freed.
  absl::StatusOr<std::uint64_t> evict_unused(TierKind tier, std::uint64_t target_bytes);

  /// Removes names from the durable tier and then frees their space, or lists them again. `done`
  /// gets them back with their statuses; gates stay with the caller.
  void remove_cold(std::vector<ColdRemoval> removals, RemovalReason reason, Durability durability,
                   std::function<void(std::vector<ColdRemoval>)> done);

  /// Takes out a block that failed a check, wherever it lies, if it is still that version.
  void quarantine(BlockId id, std::uint64_t sequence, Location cold);
  /// The same for a copy in hot; what cold has stays listed.
  void discard_hot(BlockId id, std::uint64_t sequence, Location hot);
  /// The durable tier has removed by itself what was there. Called on its threads.
  void lost_cold(BlockId id, std::uint64_t sequence, Location cold);

 private:
  struct Demotion;
  struct Eviction {
    std::vector<ColdRemoval> removals;
    std::vector<Victim> victims;
  };
  /// Both return the bytes freed, as far as they are known at once.
  std::uint64_t evict_hot(std::uint64_t bytes, bool include_last_copies);
  std::uint64_t evict_hot_of(NamespaceId ns, std::uint64_t bytes);
  std::uint64_t evict_hot_copy(const Victim& victim);
  void tell_evicted(std::span<const Victim> victims, TierKind tier) const;
  /// Unlists victims at once and returns their bytes; `done` runs when the index has forgotten
  /// them. Not called when 0 is returned.
  std::uint64_t evict_cold(std::uint64_t bytes, std::optional<NamespaceId> only,
                           std::function<void(std::size_t evicted)> done);
  void forget_evicted(Eviction eviction, std::function<void(std::size_t evicted)> done);
  bool unlist_cold(const Victim& victim, Eviction* eviction);
  bool evict_entries(std::size_t count);
  bool evict_offered(TierKind tier, std::size_t count,
                     const std::function<bool(std::span<const Victim>)>& take);
  bool forget_cold(const Victim& victim);
  void relist(BlockId id, const BlockName& name, const Residency& was);
  void background();
  bool shrink_hot();
  /// Writes blocks that only hot has to cold, and then drops them from hot. False: cold takes
  /// nothing now.
  bool demote(std::vector<Victim> victims);
  /// Writes blocks to cold that hot may not drop, because they are the last copies of what children
  /// elsewhere need. Without it hot could fill with them and have no room for anything.
  void demote_held();
  void finish_demotion(Demotion& demotion);
  /// Takes what was written and could not be listed out of cold again, and then leaves the gate.
  void take_back(BlockId id, OwnedName name, const TierWrite& write);

  EngineCore& core_;
  std::atomic<bool> background_posted_{false};
  std::atomic<bool> demoting_{false};
  std::atomic<bool> held_posted_{false};
};

}  // namespace cairn::detail
