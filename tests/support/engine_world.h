// SPDX-License-Identifier: Apache-2.0
// engine_world.h — an engine over memory twins, on one loop that the test pumps by hand. Warm is
// the real one, and codes inside the call.
//
// Time moves only when the loop has nothing else to do and a sync call waits for a timer, so a
// run is a pure function of what the test does. restart() takes the engine and its tiers down
// and opens others on the same medium; kill() does it without closing.
//
// Threading:  confined to the test.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/event_loop.h"
#include "engine/engine.h"
#include "engine/engine_factory.h"
#include "tests/support/faulty_warm.h"
#include "tests/support/manual_clock.h"
#include "tests/support/memory_hot_tier.h"
#include "tests/support/memory_tier.h"
#include "tests/support/payload.h"
#include "tiers/codec/codec_pool.h"
#include "tiers/namespace_facts.h"
#include "tiers/warm/warm_tier.h"

namespace cairn::test {

struct EngineWorldOptions {
  EngineOptions engine;
  std::uint64_t hot_bytes = kMiB;
  std::uint64_t warm_bytes = 0;
  std::uint64_t cold_bytes = 16 * kMiB;
  bool with_cold = true;
  bool read_only = false;
  /// Completions of cold come as tasks of the loop; false: inside the call.
  bool asynchronous_cold = true;
};

class EngineWorld {
 public:
  explicit EngineWorld(EngineWorldOptions options = {});
  ~EngineWorld();

  Engine& engine() { return *engine_; }
  MemoryTier& cold() { return *cold_; }
  MemoryHotTier& hot() { return *hot_; }
  FaultyWarm& warm() { return *faulty_warm_; }
  MemoryMedium& medium() { return *medium_; }
  ManualClock& clock() { return clock_; }
  EventLoop& loop() { return loop_; }
  EngineWorldOptions& options() { return options_; }

  /// Runs what is due, without moving time.
  void settle();
  /// Moves time, running what falls due on the way.
  void advance(Duration by);

  void restart();
  /// The process is stopped: nothing is closed, nothing saved.
  void kill();
  /// The same, and what was not synced is lost.
  void power_cut();
  void open();
  /// Without waiting for the catalog; settle() then loads it.
  void restart_unloaded();

  NamespaceId open_namespace(std::string_view name,
                             NamespaceKind kind = NamespaceKind::content_addressed);
  /// Puts f(key, version) of this many bytes; without a durability as the write policy says.
  PutResult put(NamespaceId ns, std::string_view key, std::size_t bytes, std::uint64_t version = 0,
                std::optional<Durability> durability = Durability::written, WallMicros expiry = 0);
  std::vector<PutResult> put_chain(NamespaceId ns, const std::vector<std::string>& keys,
                                   std::size_t bytes,
                                   std::optional<Durability> durability = Durability::written);
  /// The bytes of one block, or nothing.
  std::optional<std::string> get(NamespaceId ns, std::string_view key);
  absl::StatusOr<Lease> acquire(NamespaceId ns, const std::vector<std::string>& keys,
                                AcquireOptions options = {});
  std::size_t match(NamespaceId ns, const std::vector<std::string>& keys);
  bool erase(NamespaceId ns, std::string_view key);
  /// The hottest that has it.
  TierKind tier_of(NamespaceId ns, std::string_view key);
  BlockName name(NamespaceId ns, std::string_view key) const { return {ns, key, 0}; }

  static std::vector<KeyRef> refs(const std::vector<std::string>& keys);
  static std::vector<std::string> chain(std::string_view prefix, std::size_t count);

 private:
  void pump();
  void open_unloaded();
  void take_down();
  void make();

  EngineWorldOptions options_;
  ManualClock clock_;
  EventLoop loop_{clock_};
  std::shared_ptr<MemoryMedium> medium_ = std::make_shared<MemoryMedium>();
  std::unique_ptr<MemoryTier> cold_;
  std::unique_ptr<MemoryHotTier> hot_;
  std::unique_ptr<tiers::CodecPool> codec_;
  std::unique_ptr<tiers::NamespaceFacts> facts_;
  std::unique_ptr<tiers::WarmTier> warm_;
  std::unique_ptr<FaultyWarm> faulty_warm_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace cairn::test
