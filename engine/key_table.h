// SPDX-License-Identifier: Apache-2.0
// key_table.h — the full name of every block that the catalog lists.
//
// The catalog compares 128 bits; names are compared here, on every delivery from hot, so that
// two names with one BlockId are a miss and never each other's bytes. (Cold compares with the
// record itself.) Eviction and expiry also need the name, because durable tiers are keyed by it.
//
// A name is here as long as its block is in the catalog. Names come and go under the block's
// gate; comparing takes a shard's lock for the length of a lookup and a memcmp. Costs about 40
// bytes and the key a block, counted against metadata_bytes.
//
// Threading:  thread-safe.
// Blocking:   never.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/container/flat_hash_map.h"
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

  static std::uint64_t cost_bytes(std::size_t key_length) { return 56 + key_length; }

 private:
  struct Header {
    NamespaceId namespace_id{};
    Part part = 0;
    std::uint16_t length = 0;
    bool durable = false;
    bool left_cold = false;
  };
  struct Free {
    void operator()(Header* header) const { ::operator delete(header); }
  };
  using Blob = std::unique_ptr<Header, Free>;  // Header, then the key's bytes
  struct Shard {
    mutable Mutex mutex{LockRank::engine_keys};
    absl::flat_hash_map<BlockId, Blob> names CAIRN_GUARDED_BY(mutex);
  };
  static Blob make_blob(const BlockName& name);
  static std::string_view key_of(const Header& header);
  static bool is_name(const Header& header, const BlockName& name);
  Shard& shard_of(BlockId id) { return shards_[id.hash.high % shards_.size()]; }
  const Shard& shard_of(BlockId id) const { return shards_[id.hash.high % shards_.size()]; }

  std::array<Shard, 64> shards_;
  std::atomic<std::uint64_t> size_{0}, bytes_{0};
};

}  // namespace cairn::detail
