// SPDX-License-Identifier: Apache-2.0
// warm_tier_impl.h — the warm tier's state: slots, pages and what is promised of them.
//
// A location is a slot: index 32 | serial 32. The serial is never 0 and differs each time that the
// slot is used, so no location is null and a stale one names nothing.
//
//   free ──reserve──► reserved ────write────► filling ──publish──► stored
//     ▲                 │ └──────landing───────▲  │                  │
//     └─────────────────┴──────────drop───────────┴──────────────────┘
//
// What is reserved is the worst case: a page for each 4 KiB of plain bytes, the longest key, a run
// for each page. Pages are taken from it as the encoder fills them, and what is left goes back when
// the block is published.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "tiers/warm/image.h"
#include "tiers/warm/page_pool.h"
#include "tiers/warm/warm_tier.h"

namespace cairn::tiers {

// A piece of coding should be worth waking a thread for.
constexpr std::size_t kWarmWorkBytesMin = 256 * kKiB;

class WarmTierImpl final : public WarmTier {
 public:
  WarmTierImpl(const WarmOptions& options, WarmContext context);
  ~WarmTierImpl() override;

  absl::Status reserve(NamespaceId ns, std::span<const std::uint32_t> plain_sizes,
                       std::span<Location> locations) override;
  void write(std::span<TierWrite> batch, Durability durability, Done done) override;
  void read(std::span<TierRead> batch, Done done) override;
  void free(std::span<const Location> locations) override;
  TierUsage usage() const override;
  void close() override;
  absl::StatusOr<StoredImagePtr> image(Location location) override;
  absl::StatusOr<std::vector<MutableByteSpan>> landing(Location location,
                                                       std::uint32_t payload_bytes) override;
  void set_capacity(std::uint64_t bytes) override;
  void check_invariants() const override;

 private:
  class Builder;
  class Worker;
  struct ReadJob;
  struct WriteJob;

  enum class State : std::uint8_t { free, reserved, landing, filling, stored };
  struct Slot {
    std::uint32_t serial = 1;
    State state = State::free;
    std::uint32_t plain_bytes = 0;
    std::uint32_t pages_left = 0;     // reserved and not taken
    std::uint64_t side_reserved = 0;  // 0 once stored: then the image says it
    Image* image = nullptr;           // stored: counts as a holder
    std::unique_ptr<std::vector<PageRun>> landed;
  };
  /// What a block may come to take.
  struct Room {
    std::uint64_t pages = 0, side_bytes = 0;
  };
  using SlotIndex = std::uint32_t;

  static Room room_for(std::uint32_t plain_bytes, std::uint32_t chunk_bytes);
  static absl::Status closed_error();

  // --- slots ------------------------------------------------------------------------------
  Location location_of(SlotIndex index) const CAIRN_REQUIRES(mutex_);
  /// Null where nobody holds that location.
  Slot* find(Location location) CAIRN_REQUIRES(mutex_);
  static SlotIndex index_of(Location location);
  SlotIndex take_slot(std::uint32_t plain_bytes, const Room& room) CAIRN_REQUIRES(mutex_);
  /// Gives back what is reserved and the slot.
  void give_slot(SlotIndex index) CAIRN_REQUIRES(mutex_);
  /// Makes a slot the caller's alone to fill, or to drop. Null where it is not one that waits for
  /// it: then it is somebody else's, if anybody's. What was landed is moved out.
  Slot* begin_filling(Location location, std::vector<PageRun>& landed) CAIRN_REQUIRES(mutex_);

  // --- room -------------------------------------------------------------------------------
  std::uint64_t spoken_for() const CAIRN_REQUIRES(mutex_);
  std::uint64_t excess_pages() const CAIRN_REQUIRES(mutex_);
  absl::Status make_resident(std::uint64_t pages) CAIRN_REQUIRES(mutex_);
  /// Gives memory back until the capacity is kept, or nothing is free.
  void shrink();

  // --- filling: what Builder asks of the tier ----------------------------------------------
  /// Some of what is left to the slot, `pages_max` at most, never none; returns how many.
  std::uint32_t take_pages(SlotIndex index, std::uint32_t pages_max, std::vector<PageRun>& runs);
  void drop(SlotIndex index, std::span<const PageRun> runs);

  // --- images -----------------------------------------------------------------------------
  Image* hold(Location location) CAIRN_REQUIRES(mutex_);
  void let_go(Image* image);
  void take_apart(Image* image) CAIRN_REQUIRES(mutex_);

  // --- operations -------------------------------------------------------------------------
  bool begin_operation();
  void end_operation();
  /// Runs `done` and ends its operation. What `done` owns is gone before close() returns.
  void finish_operation(Done done);
  void refuse(TierWrite& write, absl::Status why);
  void fill(WriteJob& job, std::size_t i, CodecWorker& worker);
  void encode(Builder& builder, const TierWrite& write, const WarmCoding& coding,
              CodecWorker& worker) const;
  absl::Status keep(Builder& builder, const TierWrite& write, bool has_landed,
                    CodecWorker& worker) const;
  void run_writes(std::unique_ptr<WriteJob> job);
  void run_write_work(WriteJob* job, std::size_t number, CodecWorker& of_pool);
  void run_reads(std::unique_ptr<ReadJob> job);
  void run_read_work(ReadJob* job, std::size_t number, CodecWorker& of_pool);
  void decode(ReadJob& job, std::size_t number, CodecWorker& worker) const;
  void finish_reads(ReadJob* job);

  const WarmOptions options_;
  const WarmContext context_;
  std::atomic<std::uint32_t> lent_{0};

  mutable Mutex mutex_{LockRank::warm_tier};
  CondVar quiet_;
  std::uint64_t capacity_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t allowed_bytes_ CAIRN_GUARDED_BY(mutex_);  // capacity, or more after a shrink
  PagePool pool_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t reserved_pages_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::uint64_t side_bytes_ CAIRN_GUARDED_BY(mutex_) = 0;  // reserved, and of images
  std::uint64_t blocks_ CAIRN_GUARDED_BY(mutex_) = 0;      // reserved or stored
  std::deque<Slot> slots_ CAIRN_GUARDED_BY(mutex_);
  std::vector<SlotIndex> free_slots_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t operations_ CAIRN_GUARDED_BY(mutex_) = 0;
  bool closing_ CAIRN_GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<CodecWorker>> idle_workers_ CAIRN_GUARDED_BY(mutex_);
};

/// What a piece of work codes with. A pool without threads runs work inside submit() and has one
/// worker for all who call at once; there each caller is lent one of the tier's own, of which there
/// are as many as ever called at once.
class WarmTierImpl::Worker {
 public:
  /// `submitter`: the thread that submitted the work.
  Worker(WarmTierImpl& tier, CodecWorker& of_pool, std::thread::id submitter);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  CodecWorker& operator*() const { return own_ != nullptr ? *own_ : of_pool_; }

 private:
  WarmTierImpl& tier_;
  CodecWorker& of_pool_;
  std::unique_ptr<CodecWorker> own_;
};

}  // namespace cairn::tiers
