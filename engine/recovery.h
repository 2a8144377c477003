// SPDX-License-Identifier: Apache-2.0
// recovery.h — fills the catalog from the durable tier while the engine already serves.
//
//   loading ──scan reaches the end──► complete
//      ├─────scan ends in an error──► failed        (never taken for the end)
//      └──metadata_bytes are too few──► partial
//
// What the catalog lacks while not complete is *unknown*: readers and writers ask the durable
// tier by name (resolve). Nothing is removed because the catalog has no room for it: where the
// scan is over and not complete, the catalog lists some of what the index names, a lookup makes
// room by forgetting the oldest, and that stays where it is. Only what has been put since the
// opening takes the place of the oldest, as it would have without a restart: that is an eviction,
// and told. What is not listed cannot be evicted and does not expire by itself.
//
// A scan may show entries as old as the opening, so what has been
// removed or moved meanwhile is in RemovalNotes until the scan is over: a removed version is not
// published again, a moved one is published where it is now. Of two versions the higher sequence
// wins, which the catalog sees to.
//
// Publication takes the block's gate. Where it is closed, whoever holds it asks the durable tier
// itself, so the entry is skipped. So whether to ask is decided before a gate is entered, and the
// catalog is not complete before everybody who has begun to ask while the scan ran has ended
// (Asking): what was passed over for their sake is listed by then, or it is known that some is not.
//
// Threading:  thread-safe; the scan runs on the mover's loop, in slices.
// Blocking:   never for callers; a slice of the scan: disk.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/core.h"
#include "engine/mover.h"

namespace cairn::detail {

/// A name that the catalog does not list and that may be in the durable tier.
struct Unknown {
  BlockId id;
  BlockName name;  // the key is borrowed until resolved
};

class Recovery {
 public:
  /// Held from before a gate is entered until what was unknown inside it has been listed.
  class Asking {
   public:
    Asking() = default;
    Asking(Recovery& recovery, bool must, bool is_counted)
        : recovery_(&recovery), must_(must), is_counted_(is_counted) {}
    Asking(Asking&& other) noexcept { *this = std::move(other); }
    Asking& operator=(Asking&& other) noexcept {
      std::swap(recovery_, other.recovery_);
      std::swap(must_, other.must_);
      std::swap(is_counted_, other.is_counted_);
      return *this;
    }
    ~Asking() { end(); }
    /// Whether what the catalog lacks is unknown: since before the gates were entered, or by now.
    bool must() const { return must_ || !recovery_->is_complete(); }
    void end() {
      if (std::exchange(is_counted_, false)) recovery_->end_asking();
    }

   private:
    Recovery* recovery_ = nullptr;
    bool must_ = false;
    bool is_counted_ = false;
  };

  Recovery(EngineCore& core, Mover& mover);

  void start();
  /// Runs once the scan is over, however it ended; on the mover's loop.
  void on_end(std::function<void()> ended) { ended_ = std::move(ended); }

  /// Told of every block that was found and expires one day.
  void set_on_expiring(std::function<void(BlockId, WallMicros)> found) {
    on_expiring_ = std::move(found);
  }

  /// A lookup may find out that not all has room just when the scan ends.
  bool is_complete() const { return state_.load() == State::complete && !core_.is_partial.load(); }
  Asking ask();
  bool is_over() const { return state_.load() != State::loading; }
  absl::Status wait(Deadline deadline);
  double seconds() const { return static_cast<double>(took_ns_.load()) * 1e-9; }

  /// Told of every block that was found with a durable pin.
  void set_on_pinned(std::function<void(BlockId)> found) { on_pinned_ = std::move(found); }

  /// After close() has dropped the loop's tasks: whoever waits is told.
  void abandon();

  /// Asks the durable tier and publishes what it has. With `gated` the caller holds the gates, and
  /// an Asking. The caller is inside core.operations. `done` runs on a thread of the tier's; where
  /// a lookup failed, its status comes back, and `no_space` where the catalog has no room for what
  /// was found.
  void resolve(std::vector<Unknown> unknown, bool gated, std::function<void(absl::Status)> done);

  /// The tier's callback: a block moved within it.
  bool relocated(BlockId id, Location from, Location to);

 private:
  enum class State : std::uint8_t { loading, complete, failed, partial };
  struct Lookup;
  struct Slice;
  void run_slice();
  void end(State state, const absl::Status& status);
  void end_scan();
  void end_asking();
  /// With the gate held. Returns false when the catalog has no room for it.
  /// The caller is inside ns.publishers.
  bool publish(const StoredBlock& stored, NamespaceState& ns);
  bool publish_in_room_made(const StoredBlock& stored, NamespaceState& ns);
  void list_crowded_out(Slice& slice);
  bool enter_namespaces(Slice& slice);
  void list(Slice& slice);
  void list(const StoredBlock& stored, Slice& slice);
  void drop(std::vector<ColdRemoval> removals);
  void look_up(const std::shared_ptr<Lookup>& lookup);

  EngineCore& core_;
  Mover& mover_;
  std::atomic<State> state_{State::loading};
  std::atomic<bool> scanned_{false};      // the scan has reached the end
  std::atomic<std::uint32_t> askers_{0};  // that began before that
  std::string cursor_;                    // confined to the loop
  TimePoint began_;
  std::atomic<std::int64_t> took_ns_{0};
  std::atomic<bool> unread_{false};  // a lookup failed: the scan may have passed its blocks over
  std::function<void()> ended_;
  std::uint64_t no_room_for_ = 0;  // blocks that the scan could not list; confined to the loop
  std::function<void(BlockId, WallMicros)> on_expiring_;
  std::function<void(BlockId)> on_pinned_;
  Completion over_;
  Mutex failure_mutex_{LockRank::engine_operations};
  absl::Status failure_ CAIRN_GUARDED_BY(failure_mutex_);
};

}  // namespace cairn::detail
