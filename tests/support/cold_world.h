// SPDX-License-Identifier: Apache-2.0
// cold_world.h — a cold tier on a simulated disk in one thread, and a model that knows what it
// may answer.
//
// The model keeps, for every name, the puts and removals that were asked for, in the order of
// their sequence numbers, and how far each was acknowledged. From that follows what may be
// there: nothing older than the newest operation that is surely kept, nothing that failed, and
// of what is there exactly its bytes. After kill() everything acknowledged is surely kept,
// after power_cut() what was acknowledged as durable, or synced since.
//
// Threading: confined. Blocking: cpu; a hang is a failed CHECK.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/event_loop.h"
#include "tests/support/manual_clock.h"
#include "tests/support/seed.h"
#include "tests/support/sim_device.h"
#include "tests/support/sim_disk.h"
#include "tiers/cold/cold_tier.h"

namespace cairn::test {

struct ColdWorldOptions {
  std::uint64_t seed = 1;
  tiers::ColdOptions cold;
  std::size_t keys = 120;
  std::size_t payload_bytes_max = 600 * 1024;
  /// How many of the puts and reads are of blocks as they are stored.
  double images = 0;
  /// Faults that destroy bytes are under way: a block may be lost, never wrong.
  bool losses_allowed = false;
  /// The index was made again from the segments: of content-addressed blocks, those that were
  /// evicted may be back, for they left no tombstone.
  bool evicted_may_return = false;
  /// The index refuses what the segments have taken already: where that tore its log, the next
  /// opening learns it from them.
  bool refused_may_return = false;
};

struct ColdWorldCounts {
  std::uint64_t puts = 0, removals = 0, reads = 0, found = 0, missing = 0, lost = 0, refused = 0;
  std::uint64_t evicted_for_room = 0, opens = 0, cleaned_segments = 0;
  std::uint64_t failed_puts = 0;
  std::array<std::uint64_t, kFaultKinds> fired{};  // on disks that are gone
  std::uint64_t writes_torn = 0, writes_dropped = 0, writes_kept = 0;
};

class ColdWorld {
 public:
  explicit ColdWorld(ColdWorldOptions options);
  ~ColdWorld();

  /// Fails when the store cannot be opened; opens the two namespaces.
  absl::Status open(tiers::StoreMode mode = tiers::StoreMode::create_or_open);
  /// As a well-behaved process.
  void close();
  void kill();
  void power_cut();
  /// The same, for an opening that the cut has ended.
  void power_cut_unopened();
  bool is_open() const { return tier_ != nullptr; }

  /// One random operation: put, overwrite, read, erase, evict, annotate, sync, or time passing.
  /// Several may be under way at once.
  void step();
  /// Waits for everything under way.
  void settle();
  /// Looks up and reads every name and holds it against the model. After a crash this also
  /// decides what the model holds from now on.
  void check_all();
  /// Allocated bytes of segments and index are within the limit.
  void check_limit();

  DurableTier& tier() { return *tier_; }
  SimDisk& disk() { return *disk_; }
  /// For tools that open a device of their own on it, while the store is closed.
  std::shared_ptr<SimDisk> shared_disk() { return disk_; }
  SimDevice& device() { return *device_; }
  ManualClock& clock() { return clock_; }
  EventLoop& loop() { return *loop_; }
  Rng& rng() { return rng_; }
  const ColdWorldCounts& counts() const { return counts_; }
  /// On every disk this world has had.
  std::uint64_t fired(Fault fault) const {
    return counts_.fired[static_cast<std::size_t>(fault)] + disk_->faults().fired(fault);
  }
  /// What the first failed puts said, for messages.
  const std::string& last_error() const { return last_error_; }
  ColdWorldOptions& options() { return options_; }
  NamespaceId mutable_namespace() const { return mutable_; }
  NamespaceId addressed_namespace() const { return addressed_; }

  /// Pumps until it comes true; moves the clock when nothing can run.
  void pump_until(const std::function<bool()>& ready);

 private:
  enum class Level : std::uint8_t { asked, failed, written, durable };
  struct Operation {
    std::uint64_t sequence = 0;
    bool is_put = false;
    bool is_eviction = false;
    std::size_t bytes = 0;
    Level level = Level::asked;
  };
  struct Name {
    NamespaceId namespace_id{};
    std::string key;
    std::map<std::uint64_t, Operation> history;  // by sequence
    bool busy = false;                           // one operation of ours is under way
  };
  Name& pick_name();
  void put(Name& name);
  void read(Name& name);
  void remove(Name& name, RemovalReason reason);
  void annotate(Name& name);
  void sync();
  void make_room();
  static std::string story(const Name& name);
  bool may_be_there(const Name& name, std::uint64_t sequence, std::size_t bytes) const;
  bool was_evicted_later(const Name& name, std::uint64_t sequence) const;
  bool may_be_missing(const Name& name) const;
  void check_name(Name& name);
  void check_image(Name& name, const StoredBlock& stored);
  /// What a failed read of a block that the index names tells.
  void unreadable(Name& name, std::uint64_t sequence, const absl::Status& status);
  bool draw_image() { return options_.images > 0 && rng_.chance(options_.images); }
  /// After a crash: what is surely kept is what `level` or more was acknowledged for.
  void crash(Level level);
  void drop();
  void count_faults();
  std::size_t draw_size();
  Durability draw_durability();

  ColdWorldOptions options_;
  Rng rng_;
  ManualClock clock_;
  std::shared_ptr<SimDisk> disk_;
  std::unique_ptr<SimDevice> device_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<DurableTier> tier_;
  NamespaceId mutable_{}, addressed_{};
  std::vector<Name> names_;
  std::size_t in_flight_ = 0;
  std::string last_error_;
  ColdWorldCounts counts_;
};

}  // namespace cairn::test
