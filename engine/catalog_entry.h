// SPDX-License-Identifier: Apache-2.0
// catalog_entry.h — what the catalog keeps of a block, to the byte. Private to engine/catalog_*.
//
// Two records with the same handle: Entry is one cache line with all that a lookup and a lease
// need; LinkRecord is what only movement and eviction ask for. Who guards what is said at each
// field: "shard" is the lock of the shard of the entry's id, "links" the lock of CatalogLinks.
// Fields that are read outside those locks are atomics.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "absl/container/flat_hash_map.h"
#include "engine/base/check.h"
#include "engine/block.h"
#include "engine/key.h"
#include "engine/policy/policy.h"

namespace cairn::detail {

constexpr BlockHandle kNoBlock = 0;

// Entry::state: the number of leases below, flags above. A lease is taken and given back without
// a lock, by compare-and-swap against kHasHot: so kHasHot goes (under the shard's lock) only in
// the same atomic step that sees that there is no lease, or that marks the entry for its leases.
constexpr std::uint32_t kLeaseMask = (1U << 24) - 1;
constexpr std::uint32_t kDetached = 1U << 24;  // out of the table: only its leases keep it
constexpr std::uint32_t kHasHot = 1U << 25;
constexpr std::uint32_t kHasCold = 1U << 26;
constexpr std::uint32_t kPinned = 1U << 27;      // LinkRecord::pins is not 0
constexpr std::uint32_t kDurablePin = 1U << 28;  // BlockFacts::pinned
constexpr std::uint32_t kExpires = 1U << 29;     // the time lies in CatalogStorage::expiries
constexpr std::uint32_t kLeaving = 1U << 30;     // removed while leased: `hot` waits for the last
constexpr std::uint32_t kHasWarm = 1U << 31;
constexpr std::uint32_t kPresent = kHasHot | kHasWarm | kHasCold;

/// In which tiers a block has a copy.
struct Copies {
  bool hot = false, warm = false, cold = false;
  static Copies of(std::uint32_t state) {
    return {(state & kHasHot) != 0, (state & kHasWarm) != 0, (state & kHasCold) != 0};
  }
  bool any() const { return hot || warm || cold; }
  bool is_last() const { return int{hot} + int{warm} + int{cold} == 1; }
  /// A warm copy of what hot has needs nobody and is needed by nobody: in the order of warm it is
  /// nobody's child.
  bool is_spare() const { return hot && warm; }
};

struct alignas(64) Entry {
  std::atomic<std::uint64_t> id_high;      // shard; id null: free. Unchanged while anything
  std::atomic<std::uint64_t> id_low;       // points here; read without the lock as a hint
  std::atomic<std::uint64_t> stamp;        // recency; anyone
  std::uint64_t sequence;                  // shard; by a lease's holder: these five are not
  std::uint64_t plain_sum;                 // written while kHasHot or a lease is there
  Location hot;                            // while leaving or detached: what the last release frees
  std::atomic<std::uint32_t> state;        // see above
  std::atomic<std::uint32_t> plain_bytes;  // shard; read without as a hint
  NamespaceId namespace_id;                // shard
  BlockHandle next;                        // shard; overflow chain of its bucket, or free list

  BlockId id() const {
    return {{id_high.load(std::memory_order_relaxed), id_low.load(std::memory_order_relaxed)}};
  }
  bool is(BlockId other) const { return id() == other; }
  void set_id(BlockId id) {
    id_high.store(id.hash.high, std::memory_order_relaxed);
    id_low.store(id.hash.low, std::memory_order_relaxed);
  }
  /// Takes kHasHot away unless there is a lease; then no lease can come any more. Acquire: what
  /// the holders of former leases read comes before the slot is used again.
  bool claim_hot() {
    std::uint32_t seen = state.load(std::memory_order_relaxed);
    do {
#if !defined(CAIRN_PLANTED_LEASE_NOT_PINNED)
      if ((seen & (kLeaseMask | kLeaving)) != 0) return false;
#endif
    } while (!state.compare_exchange_weak(seen, seen & ~kHasHot, std::memory_order_acquire,
                                          std::memory_order_relaxed));
    return true;
  }
  /// Later uses win over earlier ones that arrive late. Not a fetch-max: that would cost a
  /// locked instruction for a case that does no harm (lru.h).
  void use(std::uint64_t now) {
    if (stamp.load(std::memory_order_relaxed) < now) stamp.store(now, std::memory_order_relaxed);
  }
};
static_assert(sizeof(Entry) == 64);

struct LinkRecord {
  Location cold;                           // shard
  Location warm;                           // shard
  std::uint32_t cold_units : 24;           // shard; bytes ÷ kColdUnit, rounded up
  std::uint8_t children_warm;              // links; SpilledCount; spares are not counted
  std::atomic<BlockHandle> parent_handle;  // links; whether there is one: shard, too
  std::uint32_t first_child : 30;          // links
  std::uint32_t linked_warm : 1;           // links; kHasWarm as the links know it
  BlockHandle next_sibling;                // links
  std::uint32_t previous_sibling : 30;     // links
  std::uint32_t linked_hot : 1;            // links
  std::uint32_t linked_cold : 1;           // links
  std::uint8_t children_hot;               // links; SpilledCount
  std::uint8_t children_cold;              // links; SpilledCount
  std::uint8_t children_present;           // links; SpilledCount
  std::uint8_t pins;                       // shard; SpilledCount

  /// Records lie on multiples of it (record/format.h).
  static constexpr std::uint32_t kColdUnit = 64;
  std::uint32_t cold_bytes() const { return cold_units * kColdUnit; }
  void set_cold_bytes(std::uint32_t bytes) {
    cold_units = (bytes / kColdUnit + (bytes % kColdUnit != 0 ? 1 : 0)) & 0xffffff;
  }
  Copies copies() const { return {linked_hot != 0, linked_warm != 0, linked_cold != 0}; }
  BlockHandle parent() const { return parent_handle.load(std::memory_order_relaxed); }
  void set_parent(BlockHandle parent) { parent_handle.store(parent, std::memory_order_relaxed); }
};
static_assert(sizeof(LinkRecord) == 40);
constexpr std::uint32_t kHandlesMax = 1U << 30;  // bit fields
constexpr std::uint32_t kHandleMask = kHandlesMax - 1;

/// Counters of one byte each that go beyond 255 in a side map: roots with thousands of
/// children are few, so all others need not pay for them.
class SpilledCount {
 public:
  void add(std::uint8_t& field, BlockHandle handle) {
    if (field < kFull) {
      ++field;
    } else {
      ++beyond_[handle];
    }
  }
  void subtract(std::uint8_t& field, BlockHandle handle) {
    CAIRN_CHECK(field > 0);
    if (field == kFull) {
      if (const auto beyond = beyond_.find(handle); beyond != beyond_.end()) {
        if (--beyond->second == 0) beyond_.erase(beyond);
        return;
      }
    }
    --field;
  }
  std::uint64_t get(std::uint8_t field, BlockHandle handle) const {
    if (field < kFull) return field;
    const auto beyond = beyond_.find(handle);
    return std::uint64_t{field} + (beyond == beyond_.end() ? 0 : beyond->second);
  }
  void clear(std::uint8_t& field, BlockHandle handle) {
    if (field == kFull) beyond_.erase(handle);
    field = 0;
  }
  void move(std::uint8_t& from_field, BlockHandle from, std::uint8_t& to_field, BlockHandle to) {
    to_field = from_field;
    if (from_field == kFull) {
      if (const auto beyond = beyond_.find(from); beyond != beyond_.end()) {
        const std::uint32_t count = beyond->second;
        beyond_.erase(beyond);
        beyond_[to] = count;
      }
    }
    from_field = 0;
  }
  std::uint64_t memory_bytes() const { return beyond_.capacity() * 9; }

 private:
  static constexpr std::uint8_t kFull = 255;
  absl::flat_hash_map<BlockHandle, std::uint32_t> beyond_;
};

}  // namespace cairn::detail
