// SPDX-License-Identifier: Apache-2.0
// fetcher.h — brings blocks from warm or cold into hot: one load for all who want the same block.
//
// acquire, announce, promotion by load and re-warming all come here. Slots are reserved first,
// whole or not at all; then the blocks are read into them, and only a block that has arrived
// whole and passed every check is added to the catalog. Who waits is told block by block and
// then leases what it finds: a fetch gives news, never bytes.
//
// What warm has is decoded from there and stays as a spare. Reads are handed on in batches, so that
// a chain stays one long read; beyond load_bytes_in_flight_max batches wait in order, beyond
// load_queue_max blocks are refused. A read has no deadline of its own, because several may wait
// for it; those who wait have theirs. A batch that nobody waits for any more when its turn comes is
// not read.
//
// Threading:  thread-safe. Waiters are told on a thread of the tier's, or inside start().
// Blocking:   never.
//
// Invariants: an id has at most one fetch under way; a slot belongs to its fetch until the
//             catalog has taken it or it is freed, so a read that hangs for ever costs its slot
//             and nobody's bytes.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/core.h"
#include "engine/lower_read.h"
#include "engine/mover.h"

namespace cairn::detail {

class FetchWaiter {
 public:
  virtual ~FetchWaiter() = default;
  /// The block is in hot, or the reason why not. `tag` is the want's, `from` the tier it was read
  /// from.
  virtual void fetched(std::size_t tag, const absl::Status& status, TierKind from) = 0;
  /// Whether there is still somebody to be told.
  virtual bool is_waiting() const = 0;
};

struct FetchWant {
  BlockId id;
  BlockName name;       // copied
  Residency residency;  // as found: not in hot
  std::size_t tag = 0;
};

enum class FetchRoom : std::uint8_t {
  free_only,     // only while hot stays below its low watermark
  evict_backed,  // make room of what another tier has
  evict,         // and of what none has
};

class Fetcher {
 public:
  Fetcher(EngineCore& core, Mover& mover) : core_(core), mover_(mover) {}

  /// `no_space` when hot has no room, `busy` when too many wait; then nobody is told anything. All
  /// of one namespace. The caller is inside core.operations.
  absl::Status start(NamespaceId ns, std::span<const FetchWant> wants,
                     const std::shared_ptr<FetchWaiter>& waiter, FetchRoom room);
  /// Whether hot takes this many bytes more without evicting anything.
  bool has_free_room(std::uint64_t bytes) const;
  bool is_under_way(BlockId id) const;
  /// Payload in slots that are being filled.
  std::uint64_t bytes_under_way() const { return bytes_under_way_.load(); }

 private:
  struct Waiting {
    std::shared_ptr<FetchWaiter> waiter;
    std::size_t tag = 0;
  };
  struct Fetch {
    BlockId id;
    OwnedName name;
    BlockFacts facts;
    Source from;
    Location slot;
    std::uint32_t attempts = 0;
    std::vector<Waiting> waiting;  // guarded by mutex_
  };
  using Batch = std::vector<std::shared_ptr<Fetch>>;

  absl::Status reserve(NamespaceId ns, std::span<const std::uint32_t> sizes, FetchRoom room,
                       std::span<Location> slots);
  Batch join_or_open(std::span<const FetchWant> wants, std::span<const Location> slots,
                     const std::shared_ptr<FetchWaiter>& waiter, std::vector<Location>* surplus);
  void enqueue(Batch batch);
  void start_queued();
  void read(const std::shared_ptr<Batch>& batch);
  void arrived(const Batch& batch, std::vector<TierRead>& reads);
  /// False: it is to be read again, from where `from` says now.
  bool settle(Fetch& fetch, absl::Status status);
  absl::Status check_sum(const Fetch& fetch) const;
  bool is_wanted(const Fetch& fetch) const;
  static std::uint64_t bytes_of(const Batch& batch);

  EngineCore& core_;
  Mover& mover_;
  std::atomic<std::uint64_t> bytes_under_way_{0};
  mutable Mutex mutex_{LockRank::engine_operations};
  absl::flat_hash_map<BlockId, std::shared_ptr<Fetch>> under_way_ CAIRN_GUARDED_BY(mutex_);
  std::deque<Batch> queue_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t queued_blocks_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::uint64_t reading_bytes_ CAIRN_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::detail
