// SPDX-License-Identifier: Apache-2.0
// pointer_table.h — a hash table of pointers that costs eight bytes a slot and never pauses long.
//
// An entry is a pointer and a small number; what it is filed under is read back from where it
// points to, so nothing is stored twice. A slot holds 48 bits of pointer, 6 of the number and 10
// of the hash, which spare all but a thousandth of the needless looks behind other pointers. The
// table is cut into shards by the top of the hash, and each grows by itself: the pause of a growth
// is that of one shard. Linear probing, removal by shifting back, no tombstones.
//
// Threading:  thread-compatible.
// Blocking:   never. Cost: O(1) expected for hashes that are uniform, which is the caller's to see
//             to; a growth re-reads the keys of one shard.
// Lifetime:   whoever an entry points to outlives it, with the key it was filed under unchanged,
//             whenever insert or erase is called for any entry.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "engine/base/check.h"

namespace cairn::detail {

/// HashOf: a callable, (T*, number) → the hash that the entry was inserted with.
template <typename T, std::size_t kShards, typename HashOf>
class PointerTable {
 public:
  static_assert(kShards >= 1 && kShards <= 256 && (kShards & (kShards - 1)) == 0);
  static constexpr std::uint32_t kNumberMax = 63;

  struct Entry {
    T* pointer = nullptr;
    std::uint32_t number = 0;
  };

  explicit PointerTable(HashOf hash_of) : hash_of_(std::move(hash_of)) {}

  /// The entry under `hash` for which `equal(entry)` holds; a null pointer when there is none.
  template <typename Equal>
  Entry find(std::uint64_t hash, Equal&& equal) const {
    const Shard& shard = shards_[shard_of(hash)];
    const std::uint64_t* slot = find_slot(shard, hash, equal);
    return slot == nullptr ? Entry{} : decode(*slot);
  }

  /// The caller has seen that it is not there.
  void insert(std::uint64_t hash, Entry entry) {
    CAIRN_DCHECK(hash == hash_of_(entry.pointer, entry.number));
    Shard& shard = shards_[shard_of(hash)];
    if ((shard.count + 1) * 4 > shard.capacity * 3) {
      resize(shard, shard.capacity == 0 ? kCapacityMin : shard.capacity * 2);
    }
    place(shard, hash, encode(hash, entry));
    ++shard.count;
    ++size_;
  }

  /// Points the entry elsewhere; what it is filed under stays. The entry must be there.
  template <typename Equal>
  void replace(std::uint64_t hash, Equal&& equal, Entry entry) {
    Shard& shard = shards_[shard_of(hash)];
    std::uint64_t* slot = find_slot(shard, hash, equal);
    CAIRN_CHECK(slot != nullptr);
    *slot = encode(hash, entry);
  }

  /// The entry must be there.
  template <typename Equal>
  void erase(std::uint64_t hash, Equal&& equal) {
    Shard& shard = shards_[shard_of(hash)];
    const std::uint64_t* slot = find_slot(shard, hash, equal);
    CAIRN_CHECK(slot != nullptr);
    close_gap(shard, static_cast<std::size_t>(slot - shard.slots.get()));
    --shard.count;
    --size_;
    if (shard.count == 0) {
      bytes_ -= shard.capacity * sizeof(std::uint64_t);
      shard = Shard{};
    } else if (shard.capacity > kCapacityMin && shard.count * 8 < shard.capacity) {
      resize(shard, shard.capacity / 2);
    }
  }

  std::size_t size() const { return size_; }
  /// Allocated, beside the object itself.
  std::uint64_t bytes() const { return bytes_; }

 private:
  static constexpr std::uint32_t kCapacityMin = 8;
  static constexpr std::uint64_t kTagMask = 0x3ff;

  struct Shard {
    std::unique_ptr<std::uint64_t[]> slots;
    std::uint32_t capacity = 0, count = 0;
  };

  static std::size_t shard_of(std::uint64_t hash) { return (hash >> 56) & (kShards - 1); }
  static std::uint64_t tag_of(std::uint64_t hash) { return (hash >> 40) & kTagMask; }
  static std::uint64_t encode(std::uint64_t hash, Entry entry) {
    const auto address = reinterpret_cast<std::uintptr_t>(entry.pointer);
    CAIRN_CHECK(address != 0 && address >> 48 == 0 && entry.number <= kNumberMax);
    return address << 16 | std::uint64_t{entry.number} << 10 | tag_of(hash);
  }
  static Entry decode(std::uint64_t slot) {
    return {reinterpret_cast<T*>(slot >> 16), static_cast<std::uint32_t>(slot >> 10 & kNumberMax)};
  }

  template <typename Equal>
  static std::uint64_t* find_slot(const Shard& shard, std::uint64_t hash, Equal& equal) {
    if (shard.capacity == 0) return nullptr;
    const std::size_t mask = shard.capacity - 1;
    for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
      const std::uint64_t slot = shard.slots[at];
      if (slot == 0) return nullptr;
      if ((slot & kTagMask) == tag_of(hash) && equal(decode(slot))) return &shard.slots[at];
    }
  }
  static void place(Shard& shard, std::uint64_t hash, std::uint64_t slot) {
    const std::size_t mask = shard.capacity - 1;
    std::size_t at = hash & mask;
    while (shard.slots[at] != 0) at = (at + 1) & mask;
    shard.slots[at] = slot;
  }
  std::uint64_t hash_of_slot(std::uint64_t slot) const {
    const Entry entry = decode(slot);
    return hash_of_(entry.pointer, entry.number);
  }
  void resize(Shard& shard, std::uint32_t capacity) {
    Shard larger{std::make_unique<std::uint64_t[]>(capacity), capacity, shard.count};
    for (std::size_t at = 0; at < shard.capacity; ++at) {
      if (shard.slots[at] != 0) place(larger, hash_of_slot(shard.slots[at]), shard.slots[at]);
    }
    bytes_ += capacity * sizeof(std::uint64_t);
    bytes_ -= shard.capacity * sizeof(std::uint64_t);
    shard = std::move(larger);
  }
  /// Moves back what stands behind the gap only because the gap was taken.
  void close_gap(Shard& shard, std::size_t gap) {
    const std::size_t mask = shard.capacity - 1;
    for (std::size_t at = (gap + 1) & mask; shard.slots[at] != 0; at = (at + 1) & mask) {
      const std::size_t home = hash_of_slot(shard.slots[at]) & mask;
      if (((at - home) & mask) < ((at - gap) & mask)) continue;
      shard.slots[gap] = shard.slots[at];
      gap = at;
    }
    shard.slots[gap] = 0;
  }

  HashOf hash_of_;
  std::array<Shard, kShards> shards_{};
  std::size_t size_ = 0;
  std::uint64_t bytes_ = 0;
};

/// 64 well mixed bits (the finalizer of splitmix64, https://prng.di.unimi.it/splitmix64.c).
inline std::uint64_t mix64(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

}  // namespace cairn::detail
