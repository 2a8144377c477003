// SPDX-License-Identifier: Apache-2.0
// mover.h — makes room: takes out of a tier what the policy offers, and says why.
//
// Two ways in. A put or a load that finds no room asks for what it needs and no more
// (make_hot_room, make_cold_room, make_catalog_room); the background task, woken when a tier
// passes its high watermark, moves or evicts down to the low one, so that the first way is rare.
//
//   what leaves        goes
//   hot, in the background   to warm, encoded; nowhere where warm has a spare of it
//   hot, at once             nowhere: a put does not wait for the codec. What another tier has goes
//                            first
//   warm                     nowhere where cold has it, spares first; last copies to cold
//   cold                     for good
//
// Hot and warm hold different blocks but for spares: what warm keeps of a block that has come to
// hot again. A spare makes the next demotion free, and is the first thing dropped.
//
// Why an eviction is safe: from memory, the catalog gives a copy up only when it is neither
// leased nor pinned, by a compare-and-swap on its location, and only if that is no greater a loss
// than it was when the block was chosen; its room is freed after that. From cold, the block's gate
// is held until the index has forgotten it, so no put of the same name can begin before; the space
// is freed last. A block whose cold write is still in flight is not listed yet and cannot be a
// victim. A block that was promised only `memory` may be dropped as the last copy; the background
// first tries to demote it to cold. Where its namespace writes back it is owed to cold: it stays
// while there is anything else to drop. Where its namespace is selective it goes without a try.
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
#include "engine/rate_budget.h"

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
  explicit Mover(EngineCore& core) : core_(core) {
    to_warm_budget_.set_rate(core.options.to_warm_bytes_per_second);
    to_cold_budget_.set_rate(core.options.to_cold_bytes_per_second);
  }

  enum class HotRoom : std::uint8_t {
    backed,   // only what another tier has goes
    welcome,  // and last copies, but for what is owed to cold
    needed,   // and that, when nothing else can
  };
  /// Evicts until blocks of these sizes about fit into hot; of their own namespace, last copies or
  /// not, where its limit is in the way. False when nothing could be evicted.
  bool make_hot_room(NamespaceId ns, std::span<const std::uint32_t> sizes,
                     HotRoom room = HotRoom::needed);
  /// For who found no room in hot: moves down what may not be dropped. `done` runs on the loop,
  /// told whether something has been moved; then it is worth trying again.
  void move_for_hot_room(std::function<void(bool moved)> done);
  /// Drops spares and what cold has until so many bytes of payload are gone from warm. False when
  /// nothing could be dropped.
  bool make_warm_room(std::uint64_t bytes);
  bool drop_spares(std::uint64_t bytes) {
    return evict(TierKind::warm, bytes, Standing::spare, Owed::stays) > 0;
  }
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
  /// The same for copies in memory; what other tiers have stays listed.
  void discard_hot(BlockId id, std::uint64_t sequence, Location hot);
  void discard_warm(BlockId id, std::uint64_t sequence, Location warm);
  /// The durable tier has removed by itself what was there. Called on its threads.
  void lost_cold(BlockId id, std::uint64_t sequence, Location cold);

  static constexpr std::size_t kVictimBatch = 64;

 private:
  struct Demotion;
  struct Eviction {
    std::vector<ColdRemoval> removals;
    std::vector<Victim> victims;
  };
  /// Whether what a namespace that writes back has acknowledged, and cold has not, may be dropped.
  enum class Owed : std::uint8_t { stays, goes };
  bool would_drop_owed(const Victim& victim) const {
    return victim.residency.is_last_copy() && core_.is_owed(victim.residency);
  }
  // In memory. All return the bytes freed.
  std::uint64_t evict(TierKind tier, std::uint64_t bytes, Standing most, Owed owed);
  std::uint64_t evict_last_copies(TierKind tier, std::uint64_t bytes);
  std::uint64_t evict_hot_of(NamespaceId ns, std::uint64_t bytes, HotRoom room = HotRoom::needed);
  std::uint64_t evict_hot_of(NamespaceId ns, std::uint64_t bytes, Owed owed);
  std::uint64_t evict_from(TierKind tier, const Victim& victim);
  std::uint64_t evict_hot_copy(const Victim& victim);
  std::uint64_t give_up_hot(const Victim& victim);
  std::uint64_t evict_warm_copy(const Victim& victim);
  bool evict_copy(const Victim& victim, TierKind tier);
  void tell_evicted(std::span<const Victim> victims, TierKind tier) const;
  void list_again(BlockId id, const BlockName& name, const Residency& was);

  // In cold.
  /// Unlists victims at once and returns their bytes; `done` runs when the index has forgotten
  /// them. Not called when 0 is returned.
  std::uint64_t evict_cold(std::uint64_t bytes, std::optional<NamespaceId> only,
                           std::function<void(std::size_t evicted)> done);
  void forget_evicted(Eviction eviction, std::function<void(std::size_t evicted)> done);
  bool unlist_cold(const Victim& victim, Eviction* eviction);
  void relist(BlockId id, const BlockName& name, const Residency& was);

  // Whole blocks.
  bool evict_entries(std::size_t count);
  bool evict_last_entries(std::size_t count, Owed owed);
  bool evict_in_memory(const Victim& victim);
  bool evict_offered(TierKind tier, std::size_t count,
                     const std::function<bool(std::span<const Victim>)>& take);
  bool forget_cold(const Victim& victim);

  // In the background.
  void background();
  void retry_later();
  std::uint64_t hot_excess() const;
  std::uint64_t warm_excess() const;
  std::uint64_t cold_excess() const;
  bool shrink_hot();
  bool shrink_warm();
  bool sink(const std::vector<Victim>& victims, TierKind from);
  void make_room_for_owed(const NamespaceState& ns, std::uint64_t bytes);

  // Down. Victims are of any namespaces; those of the first one's go now.
  enum class Demoted : std::uint8_t {
    under_way,    // these, or others: note_growth() comes again when they are down
    over_budget,  // come again
    refused,      // there is no room, or no such tier
  };
  Demoted demote_to_warm(const std::vector<Victim>& victims);
  Demoted start_filling_warm(const std::vector<Victim>& victims);
  Demoted demote_to_cold(const std::vector<Victim>& victims, TierKind from);
  Demoted start_filling_cold(const std::vector<Victim>& victims, TierKind from);
  std::shared_ptr<Demotion> begin_demotion(const std::vector<Victim>& victims, MoveKind kind);
  bool lease_victim(Demotion& demotion, Victim victim);
  bool borrow_image(Demotion& demotion, Victim victim);
  std::vector<Location> reserve_warm(Demotion& demotion);
  void filled_warm(Demotion& demotion, std::size_t i);
  void filled_cold(Demotion& demotion, std::size_t i);
  void go_on_after(const Demotion& demotion);
  void demote_anchored();
  void tell_waiting(bool moved);
  bool moves_down(const std::vector<Victim>& from_hot);
  /// Takes what was written and could not be listed out of cold again, and then leaves the gate.
  void take_back(BlockId id, OwnedName name, const TierWrite& write);

  EngineCore& core_;
  std::vector<std::function<void(bool)>> waiting_for_hot_;  // of the loop
  RateBudget to_warm_budget_, to_cold_budget_;
  std::atomic<bool> background_posted_{false};
  std::atomic<bool> retry_posted_{false};
  std::atomic<bool> anchored_posted_{false};
  std::atomic<bool> filling_warm_{false}, filling_cold_{false};
};

}  // namespace cairn::detail
