// SPDX-License-Identifier: Apache-2.0
// key_table.h — the full name of every block that the catalog lists.
//
// The catalog compares 128 bits; names are compared here, on every delivery from hot, so that
// two names with one BlockId are a miss and never each other's bytes. (Cold compares with the
// record itself.) Eviction and expiry also need the name, because durable tiers are keyed by it.
//
// A name is here as long as its block is in the catalog. Names come and go under the block's
// gate; comparing takes a shard's lock for the length of a lookup and a memcmp, and where the
// caller has said prefetch() before, no wait for memory. Costs 85 to 170 bytes a block, and a
// key of more than 38, counted against metadata_bytes.
//
// Threading:  thread-safe.
// Blocking:   never.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/mutex.h"
#include "engine/key.h"

namespace cairn::detail {

/// A name that owns its key.
struct OwnedName {
  NamespaceId namespace_id{};
  std::string key;
  Part part = 0;
  BlockName view() const { return {namespace_id, key, part}; }
};

class KeyTable {
 public:
  /// False, and nothing changes, when the id is there under another name.
  bool put(BlockId id, const BlockName& name);
  void erase(BlockId id);
  bool matches(BlockId id, const BlockName& name) const;
  std::optional<OwnedName> find(BlockId id) const;

  /// Whether the version in cold is known to be durable, so that a second put that asks for it
  /// need not sync. Forgotten with the name; a wrong `false` costs a sync.
  void set_durable(BlockId id, bool durable);
  bool is_durable(BlockId id) const;
  /// The block was evicted from cold and is still in hot. Its removal may not be synced yet, so
  /// an erase needs a tombstone all the same. No longer durable with that.
  void set_left_cold(BlockId id);
  bool has_left_cold(BlockId id) const;

  std::uint64_t size() const { return size_.load(std::memory_order_relaxed); }    // a statistic
  std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }  // likewise

  /// Of one name, at the load that a shard has on average.
  static std::uint64_t cost_bytes(std::size_t key_length) {
    return 112 + (key_length > kInlineKeyBytes ? key_length + 16 : 0);
  }

  /// Asks for the line that matches() will look at; no lock, no promise.
  void prefetch(BlockId id) const { shard_of(id).prefetch(id); }

 private:
  static constexpr std::size_t kInlineKeyBytes = 38;

  /// One name and all about it in one cache line, so that comparing a name that is not in the
  /// cache waits once. A longer key is behind a pointer.
  struct alignas(64) Slot {
    BlockId id;  // null: empty
    NamespaceId namespace_id{};
    Part part = 0;
    std::uint16_t length = 0;
    bool durable = false;
    bool left_cold = false;
    std::array<char, kInlineKeyBytes> bytes{};  // the key, or a char* to it

    std::string_view key() const;
    bool is(const BlockName& name) const;
    void set_key(std::string_view key);
    void free_key();
  };
  static_assert(sizeof(Slot) == 64);

  /// Open addressing, linear probing, backward shift on removal: no tombstones. A BlockId is a
  /// hash already.
  class Shard {
   public:
    Shard() = default;
    ~Shard();
    Shard(const Shard&) = delete;
    Shard& operator=(const Shard&) = delete;

    mutable Mutex mutex{LockRank::engine_keys};
    Slot* find(BlockId id) CAIRN_REQUIRES(mutex);
    const Slot* find(BlockId id) const CAIRN_REQUIRES(mutex);
    /// Of an id that is not there.
    Slot& insert(BlockId id) CAIRN_REQUIRES(mutex);
    void erase(Slot* slot) CAIRN_REQUIRES(mutex);
    void prefetch(BlockId id) const;

   private:
    void grow() CAIRN_REQUIRES(mutex);
    std::size_t home(BlockId id) const CAIRN_REQUIRES(mutex) { return id.hash.low & mask_; }

    std::unique_ptr<Slot[]> slots_ CAIRN_GUARDED_BY(mutex);
    std::size_t mask_ CAIRN_GUARDED_BY(mutex) = 0;
    std::size_t used_ CAIRN_GUARDED_BY(mutex) = 0;
    // For prefetch alone, which may see one of them old: it then asks for a line in vain.
    std::atomic<std::uintptr_t> base_{0};
    std::atomic<std::size_t> base_mask_{0};
  };
  Shard& shard_of(BlockId id) { return shards_[id.hash.high % shards_.size()]; }
  const Shard& shard_of(BlockId id) const { return shards_[id.hash.high % shards_.size()]; }

  std::array<Shard, 64> shards_;
  std::atomic<std::uint64_t> size_{0}, bytes_{0};
};

}  // namespace cairn::detail
