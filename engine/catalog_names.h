// SPDX-License-Identifier: Apache-2.0
// catalog_names.h — the full name of every block, beside its entry. Private to engine/catalog_*.
//
// The catalog finds blocks by 128 bits; names are compared here, on every delivery from hot, so
// that two names with one BlockId are a miss and never each other's bytes. (Cold compares with the
// record itself.) Eviction and expiry need the name too, because durable tiers are keyed by it.
//
// A name has its entry's handle: there is no second table to look into, none that pauses to grow,
// and whoever holds a lease compares without a lock, for the name of a leased block never changes.
// Costs one cache line a block, and the key's length and 16 bytes where it is longer than 58.
//
// Threading:  a name is written under the lock of its entry's shard, before the block is in hot;
//             it is read under that lock, or under a lease.
// Blocking:   never.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "engine/base/sparse_array.h"
#include "engine/key.h"
#include "engine/policy/policy.h"

namespace cairn::detail {

/// One name but for its namespace, which is the entry's.
class alignas(64) NameSlot {
 public:
  static constexpr std::size_t kInlineKeyBytes = 58;

  std::string_view key() const;
  Part part() const { return part_; }
  bool is(std::string_view key, Part part) const { return part == part_ && key == this->key(); }

  /// What is known of the version in cold; all go with the name.
  bool durable = false;               // its record and its index entry are synced
  bool left_cold : 1 = false;         // it, or one before it, was evicted from there
  bool it_has_left_cold : 1 = false;  // it itself, while still in memory

 private:
  friend class Names;
  Part part_ = 0;
  std::uint16_t length_ = 0;
  std::array<char, kInlineKeyBytes> bytes_{};  // the key, or a char* to it
};
static_assert(sizeof(NameSlot) == 64);

class Names {
 public:
  /// Whoever owns it clears every name that it has set.
  explicit Names(std::size_t handles) : slots_(handles, true) {}

  const NameSlot& operator[](BlockHandle handle) const { return slots_[handle]; }
  NameSlot& operator[](BlockHandle handle) { return slots_[handle]; }

  /// A new name, of which nothing else is known yet. Both leave a slot untouched, hence its page
  /// without memory, that has no name and gets none.
  void set(BlockHandle handle, std::string_view key, Part part);
  void clear(BlockHandle handle) { set(handle, {}, 0); }

  /// Beyond one slot for each entry.
  std::uint64_t long_key_bytes() const { return long_key_bytes_.load(std::memory_order_relaxed); }
  static std::uint64_t long_key_bytes(std::size_t length) {
    return length > NameSlot::kInlineKeyBytes ? length + kAllocationBytes : 0;
  }

 private:
  static constexpr std::uint64_t kAllocationBytes = 16;
  SparseArray<NameSlot> slots_;
  std::atomic<std::uint64_t> long_key_bytes_{0};  // a statistic
};

}  // namespace cairn::detail
