// SPDX-License-Identifier: Apache-2.0
// catalog_table.h — BlockId → handle: linear hashing in shards. Private to engine/catalog_*.
//
// A bucket is one cache line of twelve handles with a tag of eight bits each, so that a lookup
// costs two cache lines, and one that finds nothing mostly one. A shard grows by splitting one
// bucket per few inserts, in order: there is no rehash, hence no pause. What does not fit into
// a bucket before its turn to be split comes hangs in a chain of entries.
//
// All shards share one array of buckets, interleaved (bucket b of shard s lies at b × shards +
// s): shards grow alike, so the array fills densely from its beginning. Entries come from one
// array too, in chunks of 64 that belong to one shard for ever: a handle read without a lock,
// however stale, leads to an entry of the shard in whose bucket it stood.
//
// Buckets are words of relaxed atomics, written under the shard's lock: they may be read
// without it for prefetching, where a wrong answer costs time only.
//
// Threading:  Storage is shared; a Shard's methods need its lock, `probe` and `prefetch` do not.
// Blocking:   never.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/base/sparse_array.h"
#include "engine/catalog.h"
#include "engine/catalog_entry.h"
#include "engine/catalog_names.h"

namespace cairn::detail {

class Bucket {
 public:
  static constexpr std::uint32_t kSlots = 12;

  /// Bit i is set where slot i has the tag.
  std::uint32_t matches(std::uint8_t tag) const;
  BlockHandle handle(std::uint32_t slot) const {
    return static_cast<BlockHandle>(words_[2 + slot / 2].load(kRelaxed) >> (slot % 2 * 32));
  }
  BlockHandle overflow() const { return static_cast<BlockHandle>(words_[1].load(kRelaxed) >> 32); }

  void set(std::uint32_t slot, std::uint8_t tag, BlockHandle handle);
  void set_overflow(BlockHandle handle) { store_half(words_[1], 1, handle); }

 private:
  // The owner writes under its lock; readers without it expect any mixture of old and new.
  static constexpr std::memory_order kRelaxed = std::memory_order_relaxed;
  static void store_half(std::atomic<std::uint64_t>& word, std::uint32_t half, std::uint32_t value);

  // Tags 0–7 | tags 8–11, overflow | handles, two a word. Tag 0: the slot is empty.
  std::array<std::atomic<std::uint64_t>, 8> words_;
};
static_assert(sizeof(Bucket) == 64);

/// What all shards share.
struct Storage {
  explicit Storage(const CatalogOptions& options);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  static constexpr std::uint32_t kChunkEntries = 64;

  const std::uint64_t blocks_max;
  const std::uint32_t shards;
  const std::uint32_t shard_bits;
  SparseArray<Entry> entries;
  SparseArray<LinkRecord> records;
  Names names;
  SparseArray<WallMicros> expiries;  // where kExpires is set
  SparseArray<Bucket> buckets;
  SparseArray<std::uint16_t> chunk_shard;
  std::atomic<std::uint32_t> chunks_used{0};
  std::atomic<std::uint64_t> entries_used{0};

  // Atomic: a lease's holder reads it while another changes it.
  WallMicros expiry(BlockHandle handle) {
    return std::atomic_ref<WallMicros>(expiries[handle]).load(std::memory_order_relaxed);
  }
  void set_expiry(BlockHandle handle, WallMicros expiry) {
    std::atomic_ref<WallMicros>(expiries[handle]).store(expiry, std::memory_order_relaxed);
  }
  std::uint32_t shard_of(BlockId id) const {
    return shard_bits == 0 ? 0 : static_cast<std::uint32_t>(id.hash.high >> (64 - shard_bits));
  }
  static std::uint8_t tag_of(BlockId id) {
    return static_cast<std::uint8_t>(1 + ((id.hash.high & 0xffff) * 255 >> 16));
  }
};

class alignas(64) Shard {
 public:
  Shard() = default;
  void attach(Storage& storage, std::uint32_t index) {
    storage_ = &storage;
    index_ = index;
  }

  mutable Mutex mutex{LockRank::catalog_shard};

  // --- without the lock ---------------------------------------------------------------------
  const Bucket& bucket_of(BlockId id) const { return bucket(bucket_index(id)); }
  /// A handle that may be that of `id`; 0 where there seems to be none.
  static BlockHandle probe(const Bucket& bucket, std::uint8_t tag);

  // --- with the lock ------------------------------------------------------------------------
  BlockHandle find(BlockId id) const CAIRN_REQUIRES(mutex);
  /// find(), but looks at the entry that probe() named first.
  BlockHandle find(BlockId id, BlockHandle hint) const CAIRN_REQUIRES(mutex) {
    if (hint != kNoBlock) {
      const Entry& entry = storage_->entries[hint];
      if (entry.is(id) && !(entry.state.load(std::memory_order_relaxed) & kDetached)) return hint;
    }
    return find(id);
  }
  /// A fresh entry with its id, not in the table; 0 when there is no room.
  BlockHandle allocate(BlockId id) CAIRN_REQUIRES(mutex);
  /// The entry must be out of the table.
  void release(BlockHandle handle) CAIRN_REQUIRES(mutex);
  void insert(BlockHandle handle) CAIRN_REQUIRES(mutex);
  void erase(BlockHandle handle) CAIRN_REQUIRES(mutex);
  void check_table() const CAIRN_REQUIRES(mutex);

  std::uint32_t table_entries() const CAIRN_REQUIRES(mutex) { return table_entries_; }
  std::uint32_t bucket_count() const { return bucket_count_.load(std::memory_order_relaxed); }

  // Counters of what is present, C4.
  std::uint64_t blocks CAIRN_GUARDED_BY(mutex) = 0;
  absl::flat_hash_map<NamespaceId, NamespaceUsage> usage CAIRN_GUARDED_BY(mutex);
  SpilledCount pins CAIRN_GUARDED_BY(mutex);
  /// Entries that only leases keep, by the location that they keep.
  absl::flat_hash_map<std::uint64_t, BlockHandle> detached CAIRN_GUARDED_BY(mutex);

 private:
  static constexpr std::uint32_t kBucketsAtFirst = 4;
  static constexpr std::uint32_t kEntriesPerBucket = 8;  // on average, before one is split

  std::uint32_t bucket_index(BlockId id) const;
  Bucket& bucket(std::uint32_t index) { return storage_->buckets[slot_of(index)]; }
  const Bucket& bucket(std::uint32_t index) const { return storage_->buckets[slot_of(index)]; }
  std::size_t slot_of(std::uint32_t index) const {
    return (std::size_t{index} << storage_->shard_bits) | index_;
  }
  void put_into(Bucket& bucket, BlockHandle handle) CAIRN_REQUIRES(mutex);
  void split_next() CAIRN_REQUIRES(mutex);

  Storage* storage_ = nullptr;
  std::uint32_t index_ = 0;
  std::atomic<std::uint32_t> bucket_count_{kBucketsAtFirst};  // written under the lock
  std::uint32_t table_entries_ CAIRN_GUARDED_BY(mutex) = 0;
  BlockHandle free_ CAIRN_GUARDED_BY(mutex) = kNoBlock;
  BlockHandle chunk_next_ CAIRN_GUARDED_BY(mutex) = kNoBlock;
  BlockHandle chunk_end_ CAIRN_GUARDED_BY(mutex) = kNoBlock;
};

// --- inline: the path of every lookup ------------------------------------------------------------

inline std::uint32_t Bucket::matches(std::uint8_t tag) const {
  const std::uint64_t low = words_[0].load(kRelaxed);
  const std::uint64_t high = words_[1].load(kRelaxed);
#if defined(__SSE2__)
  const __m128i tags = _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
  const __m128i same = _mm_cmpeq_epi8(tags, _mm_set1_epi8(static_cast<char>(tag)));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(same)) & ((1U << kSlots) - 1);
#else
  std::uint32_t found = 0;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    const std::uint64_t word = i < 8 ? low : high;
    if (static_cast<std::uint8_t>(word >> (i % 8 * 8)) == tag) found |= 1U << i;
  }
  return found;
#endif
}

inline BlockHandle Shard::probe(const Bucket& bucket, std::uint8_t tag) {
  const std::uint32_t found = bucket.matches(tag);
  if (found != 0) return bucket.handle(static_cast<std::uint32_t>(std::countr_zero(found)));
  return bucket.overflow();
}

/// Buckets below the split point have been divided by one bit more than those behind it.
inline std::uint32_t Shard::bucket_index(BlockId id) const {
  const std::uint32_t count = bucket_count_.load(std::memory_order_relaxed);
  const std::uint32_t mask = std::bit_ceil(count) - 1;
  const auto hash = static_cast<std::uint32_t>(id.hash.low);
  const std::uint32_t index = hash & mask;
  return index < count ? index : hash & (mask >> 1);
}

inline BlockHandle Shard::find(BlockId id) const {
  const Bucket& home = bucket_of(id);
  for (std::uint32_t found = home.matches(Storage::tag_of(id)); found != 0; found &= found - 1) {
    const BlockHandle handle = home.handle(static_cast<std::uint32_t>(std::countr_zero(found)));
    if (storage_->entries[handle].is(id)) return handle;
  }
  BlockHandle handle = home.overflow();
  while (handle != kNoBlock && !storage_->entries[handle].is(id)) {
    handle = storage_->entries[handle].next;
  }
  return handle;
}

}  // namespace cairn::detail
