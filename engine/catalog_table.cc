// SPDX-License-Identifier: Apache-2.0
#include "engine/catalog_table.h"

#include <algorithm>
#include <bit>
#include <new>

namespace cairn::detail {
namespace {

/// Entries that are free in one shard cannot serve another: a little more than blocks_max.
std::size_t entries_reserved(const CatalogOptions& options) {
  const std::uint64_t chunks = 2ULL * options.shards * Storage::kChunkEntries;
  const std::uint64_t wanted = options.blocks_max + options.blocks_max / 8 + chunks;
  CAIRN_CHECK(wanted <= kHandlesMax);
  return wanted;
}

std::size_t buckets_reserved(const CatalogOptions& options) {
  // A shard that has more than its share of the ids hangs the rest into overflow chains.
  const std::uint64_t per_shard = options.blocks_max / options.shards / 6 + 8;
  return per_shard * options.shards;
}

}  // namespace

Storage::Storage(const CatalogOptions& options)
    : blocks_max(options.blocks_max),
      shards(options.shards),
      shard_bits(static_cast<std::uint32_t>(std::countr_zero(options.shards))),
      entries(entries_reserved(options), true),
      records(entries_reserved(options), true),
      names(entries_reserved(options)),
      expiries(entries_reserved(options), false),
      buckets(buckets_reserved(options), true),
      chunk_shard(entries_reserved(options) / kChunkEntries + 1, false) {
  CAIRN_CHECK(std::has_single_bit(options.shards) && options.shards <= 256);
}

Storage::~Storage() {
  if (names.long_key_bytes() == 0) return;  // the others are no memory of their own
  const BlockHandle end = chunks_used.load(std::memory_order_relaxed) * kChunkEntries;
  for (BlockHandle handle = 1; handle < end; ++handle) names.clear(handle);
}

// --- buckets ----------------------------------------------------------------------------------

void Bucket::set(std::uint32_t slot, std::uint8_t tag, BlockHandle handle) {
  std::atomic<std::uint64_t>& tags = words_[slot / 8];
  const std::uint32_t shift = slot % 8 * 8;
  const std::uint64_t others = tags.load(kRelaxed) & ~(0xffULL << shift);
  tags.store(others | (std::uint64_t{tag} << shift), kRelaxed);
  store_half(words_[2 + slot / 2], slot % 2, handle);
}

void Bucket::store_half(std::atomic<std::uint64_t>& word, std::uint32_t half, std::uint32_t value) {
  const std::uint64_t other = word.load(kRelaxed) & (half == 0 ? ~0xffffffffULL : 0xffffffffULL);
  word.store(other | (std::uint64_t{value} << (half * 32)), kRelaxed);
}

// --- the table --------------------------------------------------------------------------------

void Shard::put_into(Bucket& bucket, BlockHandle handle) {
  Entry& entry = storage_->entries[handle];
  const std::uint32_t empty = bucket.matches(0);
  if (empty != 0) {
    entry.next = kNoBlock;
    bucket.set(static_cast<std::uint32_t>(std::countr_zero(empty)), Storage::tag_of(entry.id()),
               handle);
    return;
  }
  entry.next = bucket.overflow();
  bucket.set_overflow(handle);
}

void Shard::insert(BlockHandle handle) {
  put_into(bucket(bucket_index(storage_->entries[handle].id())), handle);
  ++table_entries_;
  if (table_entries_ > kEntriesPerBucket * bucket_count()) split_next();
}

/// Divides the bucket whose turn it is between itself and a new last one.
void Shard::split_next() {
  const std::uint32_t count = bucket_count();
  if (slot_of(count) >= storage_->buckets.size()) return;
  Bucket& old = bucket(count & (std::bit_floor(count) - 1));
  std::array<BlockHandle, Bucket::kSlots> moving{};
  std::size_t moving_count = 0;
  for (std::uint32_t slot = 0; slot < Bucket::kSlots; ++slot) {
    const BlockHandle handle = old.handle(slot);
    if (handle == kNoBlock) continue;
    __builtin_prefetch(&storage_->entries[handle]);
    moving[moving_count++] = handle;
    old.set(slot, 0, kNoBlock);
  }
  BlockHandle chain = old.overflow();
  old.set_overflow(kNoBlock);
  bucket_count_.store(count + 1, std::memory_order_relaxed);
  for (std::size_t i = 0; i < moving_count; ++i) {
    put_into(bucket(bucket_index(storage_->entries[moving[i]].id())), moving[i]);
  }
  while (chain != kNoBlock) {
    const BlockHandle next = storage_->entries[chain].next;
    put_into(bucket(bucket_index(storage_->entries[chain].id())), chain);
    chain = next;
  }
}

void Shard::erase(BlockHandle handle) {
  Entry& entry = storage_->entries[handle];
  Bucket& home = bucket(bucket_index(entry.id()));
  --table_entries_;
  for (std::uint32_t slot = 0; slot < Bucket::kSlots; ++slot) {
    if (home.handle(slot) != handle) continue;
    const BlockHandle first = home.overflow();
    if (first == kNoBlock) {
      home.set(slot, 0, kNoBlock);
      return;
    }
    home.set_overflow(storage_->entries[first].next);
    storage_->entries[first].next = kNoBlock;
    home.set(slot, Storage::tag_of(storage_->entries[first].id()), first);
    return;
  }
  BlockHandle before = kNoBlock;
  BlockHandle current = home.overflow();
  while (current != handle) {
    CAIRN_CHECK(current != kNoBlock);
    before = current;
    current = storage_->entries[current].next;
  }
  if (before == kNoBlock) {
    home.set_overflow(entry.next);
  } else {
    storage_->entries[before].next = entry.next;
  }
  entry.next = kNoBlock;
}

// --- entries ----------------------------------------------------------------------------------

BlockHandle Shard::allocate(BlockId id) {
  // Counted first, so that many shards together never pass the limit.
  if (storage_->entries_used.fetch_add(1, std::memory_order_relaxed) >= storage_->blocks_max) {
    storage_->entries_used.fetch_sub(1, std::memory_order_relaxed);
    return kNoBlock;
  }
  BlockHandle handle = free_;
  if (handle != kNoBlock) {
    free_ = storage_->entries[handle].next;
  } else {
    if (chunk_next_ == chunk_end_) {
      const std::uint32_t chunk = storage_->chunks_used.load(std::memory_order_relaxed);
      std::uint32_t mine = chunk;
      do {
        if ((std::size_t{mine} + 1) * Storage::kChunkEntries > storage_->entries.size()) {
          storage_->entries_used.fetch_sub(1, std::memory_order_relaxed);
          return kNoBlock;
        }
        // Release: pairs with whoever walks the chunks by their number.
      } while (
          !storage_->chunks_used.compare_exchange_weak(mine, mine + 1, std::memory_order_acq_rel));
      std::atomic_ref<std::uint16_t>(storage_->chunk_shard[mine])
          .store(static_cast<std::uint16_t>(index_ + 1), std::memory_order_release);
      chunk_next_ = mine * Storage::kChunkEntries;
      chunk_end_ = chunk_next_ + Storage::kChunkEntries;
      if (chunk_next_ == kNoBlock) ++chunk_next_;  // handle 0 means none
    }
    handle = chunk_next_++;
  }
  Entry& entry = storage_->entries[handle];
  entry.set_id(id);
  entry.next = kNoBlock;
  return handle;
}

void Shard::release(BlockHandle handle) {
  Entry& entry = storage_->entries[handle];
  LinkRecord& record = storage_->records[handle];
  CAIRN_DCHECK((entry.state.load(std::memory_order_relaxed) & (kLeaseMask | kPresent)) == 0);
  pins.clear(record.pins, handle);
  entry.set_id(BlockId{});
  entry.hot = Location{};
  entry.sequence = 0;
  entry.state.store(0, std::memory_order_relaxed);
  record.cold = Location{};
  record.warm = Location{};
  record.set_cold_bytes(0);
  storage_->names.clear(handle);
  entry.next = free_;
  free_ = handle;
  storage_->entries_used.fetch_sub(1, std::memory_order_relaxed);
}

void Shard::check_table() const {
  std::uint32_t found = 0;
  for (std::uint32_t index = 0; index < bucket_count(); ++index) {
    const Bucket& home = bucket(index);
    bool has_empty = false;
    const auto check_one = [&](BlockHandle handle) CAIRN_NO_THREAD_SAFETY_ANALYSIS {
      const Entry& entry = storage_->entries[handle];
      CAIRN_CHECK(!entry.id().is_null() && storage_->shard_of(entry.id()) == index_);
      CAIRN_CHECK(bucket_index(entry.id()) == index);
      CAIRN_CHECK((entry.state.load(std::memory_order_relaxed) & kDetached) == 0);
      CAIRN_CHECK(find(entry.id()) == handle);
      ++found;
    };
    for (std::uint32_t slot = 0; slot < Bucket::kSlots; ++slot) {
      if (home.handle(slot) == kNoBlock) {
        has_empty = true;
        continue;
      }
      check_one(home.handle(slot));
    }
    CAIRN_CHECK(!has_empty || home.overflow() == kNoBlock);
    for (BlockHandle h = home.overflow(); h != kNoBlock; h = storage_->entries[h].next)
      check_one(h);
  }
  CAIRN_CHECK(found == table_entries_);
}

}  // namespace cairn::detail
