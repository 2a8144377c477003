// SPDX-License-Identifier: Apache-2.0
// lease.h — what a Lease holds, and the register that lets no lease be held for ever.
//
// A lease is made of pins in the catalog. It ends once: by its owner (release) or by the
// sweep, when its hold limit has run out (revoke); whoever comes second finds nothing to do.
//
//        take()        release()
//   free ──────► held ───────────► free (back in the pool)
//                 │ sweep, past `expires`
//                 ▼
//              revoked ──release()──► free
//
// Threading:  LeaseRegistry is thread-safe. A LeaseState belongs to its Lease's owner, but for
//             `standing`, which the sweep may change.
// Blocking:   never.
// Lifetime:   the registry outlives every lease.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/catalog.h"
#include "engine/engine.h"
#include "engine/engine_stats.h"
#include "engine/loop_scope.h"
#include "engine/tier.h"

namespace cairn {

namespace detail {
class LeaseRegistry;
}

class LeaseState {
 public:
  enum class Standing : std::uint8_t { free, held, revoked };

  std::vector<LeasedBlock> blocks;
  std::vector<BlockHandle> handles;  // one for each pin held
  // Scratch of the read path, kept for its capacity.
  std::vector<BlockId> ids;
  std::vector<Residency> residencies;
  Duration hold_limit;

 private:
  friend class detail::LeaseRegistry;
  friend class Lease;
  detail::LeaseRegistry* registry_ = nullptr;
  std::size_t shard_ = 0;
  TimePoint expires_;               // guarded by the shard's lock
  LeaseState* previous_ = nullptr;  // likewise
  LeaseState* next_ = nullptr;      // likewise
  std::atomic<Standing> standing_{Standing::free};
};

namespace detail {

class LeaseRegistry {
 public:
  LeaseRegistry(Catalog& catalog, AddressableTier& hot, LoopScope& loop, EngineMeters& meters);
  ~LeaseRegistry();

  /// An empty state out of the pool.
  std::shared_ptr<LeaseState> take();
  /// Puts back a state that take() gave and that never became a lease; it holds no pins.
  void put_back(std::shared_ptr<LeaseState> state);
  /// From now on the sweep watches it.
  void hold(LeaseState& state, TimePoint now);
  absl::Status renew(LeaseState& state);
  void release(std::shared_ptr<LeaseState> state);

  /// Ends these pins and frees what nobody needs any more.
  void unpin(std::span<const BlockHandle> handles);

  std::uint64_t open_leases() const;

 private:
  static constexpr std::size_t kShards = 8;
  static constexpr std::size_t kPooledMax = 64;  // a shard
  struct alignas(64) Shard {
    mutable Mutex mutex{LockRank::engine_operations};
    LeaseState* first CAIRN_GUARDED_BY(mutex) = nullptr;
    std::uint64_t held CAIRN_GUARDED_BY(mutex) = 0;
    std::vector<std::shared_ptr<LeaseState>> pool CAIRN_GUARDED_BY(mutex);
  };
  void link(Shard& shard, LeaseState& state) CAIRN_REQUIRES(shard.mutex);
  void unlink(Shard& shard, LeaseState& state) CAIRN_REQUIRES(shard.mutex);
  void watch(TimePoint expires);
  void sweep();

  Catalog& catalog_;
  AddressableTier& hot_;
  LoopScope& loop_;
  EngineMeters& meters_;
  std::array<Shard, kShards> shards_;
  /// When the next sweep is due; never() when no lease is held.
  std::atomic<std::int64_t> sweep_ns_{TimePoint::never().ns};
};

}  // namespace detail
}  // namespace cairn
