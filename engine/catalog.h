// SPDX-License-Identifier: Apache-2.0
// catalog.h — BlockId → where the block is now: the single authority on residency.
//
// A tier that holds something the catalog does not list holds garbage, not data. The catalog
// is a sharded hash table in RAM that grows bucket by bucket without a pause (linear hashing
// over slabs of entries that never move), ≤ 128 bytes a block all in (8 more for a block that
// expires). BlockIds are taken to be uniform, which XXH3-128 makes them. Beside that lies the full
// name of each block, 64 bytes: two names with one BlockId are a miss, never each other's bytes.
//
// It knows locations and links, not bytes: it never calls a tier, and its locks are held for
// memory accesses only, never across I/O.
//
// Threading:  thread-safe; each call locks one shard at a time, the link lists with a lock of
//             their own below the shards. Batches are grouped by shard.
// Blocking:   never.
//
// Invariants (check_invariants):
//   C1  an entry lives while it is resident somewhere, leased, or somebody's parent
//   C2  a parent's counts of children equal the number of resident entries that name it
//   C3  per tier, the entries that its policy offers are exactly those resident there that are
//       not pinned and that no child needs
//   C4  every counter of bytes and blocks equals the sum over the entries
//
// Links are hints for placement and eviction. A parent that is not resident is a placeholder:
// an entry with no location that exists for its children. A block whose parent is one is an
// orphan. A link that would close a circle is left out, and so is one that finds no room.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/block.h"
#include "engine/engine.h"
#include "engine/key.h"
#include "engine/policy/policy.h"
#include "engine/tier.h"

namespace cairn {

/// What the catalog says of one block: a copy, true at the time of the call.
struct Residency {
  Location hot, warm, cold;
  BlockFacts facts;
  NamespaceId namespace_id{};
  std::uint32_t cold_bytes = 0;  // record on the medium
  BlockHandle handle = 0;        // what release() takes; meaningful while a lease is held
  bool pinned = false;           // by a count, or for good by facts.pinned
  bool leased = false;
  bool left_cold = false;  // this version was in cold, and was given up there
  bool present() const { return tier() != TierKind::none; }
  /// The hottest that has it.
  TierKind tier() const {
    if (!hot.is_null()) return TierKind::hot;
    if (!warm.is_null()) return TierKind::warm;
    return cold.is_null() ? TierKind::none : TierKind::cold;
  }
  bool is_last_copy() const {
    return int{!hot.is_null()} + int{!warm.is_null()} + int{!cold.is_null()} == 1;
  }
  /// In memory alone, and never was in cold: what nobody has written yet.
  bool is_dirty() const { return present() && cold.is_null() && !left_cold; }
  Location in(TierKind tier) const {
    if (tier == TierKind::hot) return hot;
    return tier == TierKind::warm ? warm : cold;
  }
};

struct CatalogOptions {
  std::uint64_t blocks_max = 1U << 21;
  std::uint32_t shards = 16;  // a power of two, at most 256
  PolicyFactory policy;       // of each tier; null: LRU
};

struct NamespaceUsage {
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;  // payload, each block once
  std::uint64_t hot_blocks = 0, hot_bytes = 0;
  std::uint64_t warm_blocks = 0, warm_bytes = 0;  // payload, spares included
  std::uint64_t cold_blocks = 0, cold_bytes = 0;
  friend bool operator==(const NamespaceUsage&, const NamespaceUsage&) = default;
};

/// A candidate for eviction from one tier.
struct Victim {
  BlockId id;
  Residency residency;
};

class Catalog {
 public:
  explicit Catalog(const CatalogOptions& options);
  ~Catalog();
  Catalog(const Catalog&) = delete;
  Catalog& operator=(const Catalog&) = delete;

  // --- lookup -----------------------------------------------------------------------------
  /// Length of the leading run of `ids` that is present. No allocation; prefetches. If `out`
  /// is not empty it has ids.size() elements and receives the residency of the run.
  std::size_t match(std::span<const BlockId> ids, std::span<MatchedBlock> out) const;
  std::optional<Residency> find(BlockId id) const;
  /// A hint that these will be published or linked to next: asks for their memory in good time.
  void look_ahead(std::span<const BlockId> ids) const;

  // --- publication ------------------------------------------------------------------------
  /// Publishes a block in hot (its name and facts). False, and nothing changes, when an entry with
  /// a sequence as high or higher is present, or another name has the same id, or blocks_max is
  /// reached for a new entry.
  /// What it replaces comes back in `replaced` (locations to free; pins go over to the new
  /// version). The block is now the newest: after the last of a batch, touch() the batch, so
  /// that its root becomes the newest.
  bool publish_hot(BlockId id, const BlockName& name, const BlockFacts& facts, Location hot,
                   Residency* replaced);
  /// The same for cold. With equal sequence it adds the cold location to the entry.
  bool publish_cold(BlockId id, const BlockName& name, const BlockFacts& facts, Location cold,
                    std::uint32_t cold_bytes, Residency* replaced);
  /// For a block whose copy in hot had to go at once, and its entry with it: only where the block
  /// is not there.
  bool publish_warm(BlockId id, const BlockName& name, const BlockFacts& facts, Location warm);
  /// A promotion has been filled: adds hot to an entry that still has this sequence.
  bool add_hot(BlockId id, std::uint64_t sequence, Location hot);
  /// A demotion, or an image from cold: adds warm likewise. While hot has the block, too, it is a
  /// spare.
  bool add_warm(BlockId id, std::uint64_t sequence, Location warm);
  /// Eviction: takes the copy out of one tier if the entry still holds `location` there and is
  /// neither leased (hot) nor pinned nor needed by a child (a child is in the same tier, or
  /// this is the last copy and a child is anywhere); a spare goes in any case. Nor is it taken out
  /// when by now its loss would be greater than `most`. The caller then frees it. The entry goes
  /// with its last copy.
  bool remove_copy(BlockId id, TierKind tier, Location location,
                   Standing most = Standing::last_copy);
  /// A copy in warm or cold that is bad or gone: taken out whatever needs it. Children become
  /// orphans if it was the last.
  bool drop_copy(BlockId id, TierKind tier, Location location);
  /// Takes the whole entry out if its sequence is at most `sequence`; leased hot copies stay
  /// readable for their leases and come back through release(). What was there, for freeing.
  std::optional<Residency> remove(BlockId id, std::uint64_t sequence);
  /// Compare-and-swap of a cold location.
  bool relocate_cold(BlockId id, Location from, Location to);
  void set_expiry(BlockId id, WallMicros expiry);

  // --- names ------------------------------------------------------------------------------
  /// Whether the block that the caller has leased has this name. No lock.
  bool is_named(BlockHandle leased, const BlockName& name) const;
  /// Whether a block is present under this name.
  bool is_named(BlockId id, const BlockName& name) const;
  std::optional<OwnedName> name_of(BlockId id) const;  // nothing when not present
  /// Whether the version in cold is known to be durable, so that a second put that asks for it
  /// need not sync. Forgotten with the block; a wrong `false` costs a sync.
  void set_durable(BlockId id, bool durable);
  bool is_durable(BlockId id) const;
  /// The block was evicted from cold and is still in hot. Its removal may not be synced yet, so
  /// an erase needs a tombstone all the same. No longer durable with that.
  void set_left_cold(BlockId id);
  bool has_left_cold(BlockId id) const;

  // --- leases and pins --------------------------------------------------------------------
  /// Pins the leading run of ids that is in hot (each: every one that is); out[i].hot is null
  /// where it is not leased. Renews recency, tail first. Returns the number leased. Of a leased
  /// block everything is filled in but warm, cold, cold_bytes and facts.parent (they would cost
  /// another cache line; find() has them). `out` has ids.size() elements.
  std::size_t lease_hot(std::span<const BlockId> ids, Read read, std::span<Residency> out);
  /// Pins one block that is in hot without renewing its recency: for who writes it down.
  bool lease_unused(BlockId id, Residency& out);
  /// Ends one lease of each. Hot locations of entries that were removed meanwhile and whose
  /// last lease this was are appended to `freeable`.
  void release(std::span<const BlockId> ids, std::span<const Location> hot,
               std::vector<Location>* freeable);
  /// The same by the handles that lease_hot gave: no lock and no lookup, a quarter of the cost.
  void release(std::span<const BlockHandle> handles, std::vector<Location>* freeable);
  /// Counts pins. False when not present. Taking one where none is counted takes back the
  /// durable pin that the block was published with.
  bool pin(BlockId id, int delta);
  /// facts.pinned: published with the block, changed here.
  bool set_durable_pin(BlockId id, bool pinned);
  /// Renews recency, tail first: ids in chain order, the root becomes the newest.
  std::size_t touch(std::span<const BlockId> ids);
  /// Makes the block the first to go.
  bool make_oldest(BlockId id);

  // --- links ------------------------------------------------------------------------------
  std::vector<BlockId> children(BlockId id) const;
  std::optional<BlockId> parent(BlockId id) const;
  struct Descendant {
    BlockId id;
    std::uint32_t depth = 0;  // below the root of the sub-tree
  };
  /// The block and all below it that is present, parents before their children; at most `count`.
  /// What comes and goes meanwhile may be missed.
  std::vector<Descendant> subtree(BlockId root, std::size_t count) const;

  // --- eviction ---------------------------------------------------------------------------
  /// The next victims of `tier` in the policy's order, leaves first: never leased, never
  /// pinned, and of no standing beyond `most`: up to last_copy may be dropped, anchored only
  /// moved. Orphans and what hangs below them go before all others. In the order given, each can
  /// be removed once those before it are. At most `count`; nothing is changed.
  std::vector<Victim> victims(TierKind tier, std::size_t count, Standing most);
  /// The same for one namespace that is at a limit of its own: least recent first, whatever the
  /// policy holds. A child was used before its parent, so most can be removed once those before
  /// them are; not all. Costs a walk of the catalog, a few entries under one lock.
  std::vector<Victim> victims_of(NamespaceId ns, TierKind tier, std::size_t count) const;

  // --- whole -----------------------------------------------------------------------------
  /// While loading, a parent that is not there may be still to come: orphans are counted, but
  /// keep their place in the order. Begins as false.
  void set_loading(bool loading);
  /// Calls visit for present entries of a namespace (or all), a few under one lock; entries
  /// that come and go meanwhile may be missed, none is visited twice. The callback must not
  /// call the catalog.
  void for_each(std::optional<NamespaceId> ns,
                const std::function<void(BlockId, const Residency&)>& visit) const;
  /// The ids in hot, most worth first, and then those in warm; at most `count`: the hot list.
  std::vector<BlockId> hottest(std::size_t count) const;

  std::uint64_t blocks() const;   // present
  std::uint64_t entries() const;  // with placeholders and what only leases keep: ≤ blocks_max
  std::uint64_t orphans() const;
  NamespaceUsage usage(NamespaceId ns) const;
  /// Payload under at least one lease, each block once, also of blocks removed meanwhile: what
  /// the engine holds against the leasable share of hot.
  std::uint64_t leased_bytes() const;
  std::uint64_t memory_bytes() const;  // slabs, buckets and orders; names not included
  std::uint64_t name_bytes() const;
  /// Of keys that are too long for their name's 64 bytes.
  std::uint64_t long_key_bytes() const;
  /// What one block costs, name included, as metadata_bytes counts it.
  static constexpr std::uint64_t kBytesPerBlock = 128 + 64;
  static std::uint64_t cost_bytes(std::size_t key_length);
  /// Costs O(n) and expects that no other thread is calling.
  void check_invariants() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn
