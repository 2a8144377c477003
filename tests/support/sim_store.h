// SPDX-License-Identifier: Apache-2.0
// sim_store.h — the whole store on a disk in memory, in one thread.
//
// The real engine, hot tier, cold tier and RocksDB; only the medium and the clock are
// simulated. All loops are one loop that the test pumps, so what happens is a function of the
// seed (RocksDB's own background work aside).
//
// Threading: confined. Blocking: cpu.
// Lifetime:  open() makes a store on the disk as it is; kill() and power_cut() end it without
//            a word and leave the disk that the next process finds.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/event_loop.h"
#include "engine/engine.h"
#include "engine/engine_factory.h"
#include "tests/support/manual_clock.h"
#include "tests/support/seed.h"
#include "tests/support/sim_device.h"
#include "tests/support/sim_disk.h"
#include "tiers/codec/codec_pool.h"
#include "tiers/cold/cold_tier.h"
#include "tiers/cold/repair.h"
#include "tiers/hot/hot_tier.h"
#include "tiers/namespace_facts.h"
#include "tiers/warm/warm_tier.h"

namespace cairn::test {

struct SimStoreOptions {
  EngineOptions engine;
  tiers::ColdOptions cold;
  SimDiskOptions disk;
};

/// A small store, every other one with a warm tier, in which sealing, cleaning and eviction happen
/// within a few hundred puts.
SimStoreOptions small_sim_store(std::uint64_t seed);

class SimStore {
 public:
  explicit SimStore(SimStoreOptions options);
  ~SimStore();

  absl::Status open();
  /// close() as a well-behaved process does.
  absl::Status close();
  /// SIGKILL: what the kernel had accepted stays.
  void kill(Rng& rng);
  /// What was not synced is dropped, kept or torn.
  void power_cut(Rng& rng, CutReport* report = nullptr);

  // While no store is open on the disk.
  /// Takes every file of the index away.
  void lose_index();
  absl::StatusOr<tiers::RepairReport> repair();

  Engine& engine() { return *engine_; }
  DurableTier& cold() { return *cold_; }
  SimDisk& disk() { return *disk_; }
  /// For tools that open a device of their own on it, while the store is closed.
  std::shared_ptr<SimDisk> shared_disk() { return disk_; }
  ManualClock& clock() { return clock_; }
  SimDevice& device() { return *device_; }
  EventLoop& loop() { return *loop_; }
  bool is_open() const { return engine_ != nullptr; }
  /// Those of the next opening.
  SimStoreOptions& options() { return options_; }

  /// Runs what can run; time moves to the next timer when nothing can, at most `patience` in all.
  /// True when `finished` came true.
  bool pump_until(const std::function<bool()>& finished,
                  Duration patience = Duration::seconds(120));
  /// Runs what can run without moving time.
  void pump();

  // Operations that pump until they are done. A store that died on the way gives `closed`.
  PutResult put(NamespaceId ns, std::string_view key, ByteSpan payload, Durability durability);
  PutResult put(NamespaceId ns, const PutBlock& block, const PutOptions& options);
  /// Empty: a miss.
  absl::StatusOr<std::optional<std::string>> get(NamespaceId ns, std::string_view key);
  absl::StatusOr<bool> erase(NamespaceId ns, std::string_view key);
  bool wait_recovered();

  /// What segments and index take of the disk: never more than cold_bytes.
  std::uint64_t cold_bytes_on_disk() const;
  std::uint64_t cold_bytes() const { return options_.cold.cold_bytes; }

 private:
  void drop_everything();

  SimStoreOptions options_;
  ManualClock clock_;
  std::shared_ptr<SimDisk> disk_;
  std::unique_ptr<SimDevice> device_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<tiers::CodecPool> codec_;
  std::unique_ptr<tiers::NamespaceFacts> facts_;
  std::unique_ptr<tiers::HotTier> hot_;
  std::unique_ptr<tiers::WarmTier> warm_;
  std::unique_ptr<DurableTier> cold_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace cairn::test
