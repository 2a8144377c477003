// SPDX-License-Identifier: Apache-2.0
// catalog_impl.h — the parts of the catalog together. Private to engine/catalog_*.
//
// Order of locks: one shard, then the links; never two shards. What concerns two entries of
// different shards (a block and its parent) is done in steps that each leave the truth intact:
// the parent is held as a placeholder before the child is published, and a placeholder that has
// lost its last child is taken out (reap) after the child's shard has been released.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/catalog.h"
#include "engine/catalog_links.h"
#include "engine/catalog_table.h"

namespace cairn {

struct Catalog::Impl {
  explicit Impl(const CatalogOptions& options);

  using Entry = detail::Entry;
  using LinkRecord = detail::LinkRecord;
  using Shard = detail::Shard;

  static constexpr std::size_t kWindow = 256;
  static constexpr std::size_t kFirstWindow = 32;
  static constexpr std::uint64_t kFirstStamp = 1ULL << 62;

  /// For some ids of one call: what probe() said.
  using Hints = std::array<BlockHandle, kWindow>;
  enum class Use : std::uint8_t { look, change, lease };

  struct Publication {
    BlockId id;
    const BlockName& name;
    const BlockFacts& facts;
    TierKind tier = TierKind::none;
    Location location;
    std::uint32_t cold_bytes = 0;
  };
  enum class Verdict : std::uint8_t { refuse, add_copy, store };

  mutable detail::Storage storage;
  std::unique_ptr<Shard[]> shards;
  mutable detail::Links links;
  std::atomic<std::uint64_t> clock{kFirstStamp};       // the next stamp
  std::atomic<std::uint64_t> oldest{kFirstStamp - 1};  // goes down
  /// Locations whose last lease ended where nobody could be told: given out by the next release.
  mutable Mutex strays_mutex{LockRank::metrics};
  std::vector<Location> strays CAIRN_GUARDED_BY(strays_mutex);
  std::atomic<bool> has_strays{false};
  /// Under at least one lease, each block once. A count: nothing is ordered by it.
  std::atomic<std::uint64_t> leased_bytes{0};

  Shard& shard_of(BlockId id) const { return shards[storage.shard_of(id)]; }
  Entry& entry_of(BlockHandle handle) const { return storage.entries[handle]; }
  LinkRecord& record_of(BlockHandle handle) const { return storage.records[handle]; }
  std::uint32_t state_of(BlockHandle handle) const {
    // Acquire: pairs with the release of a lease, whose reads come before the slot is used again.
    return entry_of(handle).state.load(std::memory_order_acquire);
  }
  static std::uint32_t flag_of(TierKind tier) {
    if (tier == TierKind::hot) return detail::kHasHot;
    return tier == TierKind::warm ? detail::kHasWarm : detail::kHasCold;
  }
  static std::size_t order_of(TierKind tier) {
    if (tier == TierKind::hot) return detail::kHotOrder;
    return tier == TierKind::warm ? detail::kWarmOrder : detail::kColdOrder;
  }
  static bool is_kept_by_leases(std::uint32_t state) {
    return (state & (detail::kLeaseMask | detail::kLeaving)) != 0;
  }
  bool is_present(BlockHandle handle) const {
    return handle != detail::kNoBlock && (state_of(handle) & detail::kPresent) != 0;
  }

  // --- lookup (catalog_lookup.cc) -----------------------------------------------------------
  void look_ahead(std::span<const BlockId> ids, Use use, Hints& hints) const;
  /// kPresent bits of the block; 0 where it is not there.
  std::uint32_t peek(BlockId id, BlockHandle hint, std::uint32_t& plain_bytes) const;
  std::uint32_t peek_locked(BlockId id, std::uint32_t& plain_bytes) const;
  BlockHandle find_present(BlockId id) const;
  void describe_leased(BlockHandle handle, std::uint32_t state, Residency& residency) const;
  bool lease(BlockId id, BlockHandle hint, Residency& out, std::uint64_t& first_bytes);
  bool lease_locked(BlockId id, Residency& out, std::uint64_t& first_bytes);
  void give_back(BlockHandle handle);
  std::uint64_t end_lease(BlockHandle handle, std::vector<Location>* freeable);
  void finish_release(BlockHandle handle, std::vector<Location>* freeable);
  void give_out_strays(std::vector<Location>* freeable);

  // --- names (catalog_names.cc) -------------------------------------------------------------
  bool is_named(BlockHandle handle, const BlockName& name) const;
  /// Of a present block; null where it is not.
  detail::NameSlot* present_name(const Shard& shard, BlockId id) const CAIRN_REQUIRES(shard.mutex);

  // --- publication (catalog.cc) -------------------------------------------------------------
  /// Everything known of an entry; its shard is locked.
  Residency describe(BlockHandle handle) const;
  bool publish(const Publication& publication, Residency* replaced);
  Verdict judge(BlockHandle found, const Publication& publication) const;
  enum class Parent : std::uint8_t { as_linked, held };
  bool store(Shard& shard, BlockHandle found, const Publication& publication, Parent parent,
             Residency* replaced, BlockId& unneeded) CAIRN_REQUIRES(shard.mutex);
  bool add(BlockId id, std::uint64_t sequence, TierKind tier, Location location);
  void add_copy(Shard& shard, BlockHandle handle, TierKind tier, Location location,
                std::uint32_t cold_bytes) CAIRN_REQUIRES(shard.mutex);
  bool hold_parent(BlockId id);
  BlockHandle supersede(Shard& shard, BlockHandle old) CAIRN_REQUIRES(shard.mutex);
  void store_name(BlockHandle handle, BlockHandle before, const BlockName& name);
  enum class Sign : std::uint8_t { plus, minus };
  void count_block(Shard& shard, BlockHandle handle, Sign sign) CAIRN_REQUIRES(shard.mutex);
  void count_copy(Shard& shard, BlockHandle handle, TierKind tier, Sign sign)
      CAIRN_REQUIRES(shard.mutex);
  bool take(BlockId id, TierKind tier, Location location, std::optional<Standing> most);
  /// Takes one copy out of an entry; whatever needs it without `most`. False: it may not go.
  /// `unneeded` receives the id of a parent that may have become useless, for reap() once the
  /// shard is unlocked.
  bool take_copy(Shard& shard, BlockHandle handle, TierKind tier, std::optional<Standing> most,
                 BlockId& unneeded) CAIRN_REQUIRES(shard.mutex);
  /// Frees an entry that nothing needs; returns the id of a parent that may follow it.
  BlockId settle(Shard& shard, BlockHandle handle) CAIRN_REQUIRES(shard.mutex);
  void reap(BlockId id);
};

}  // namespace cairn
