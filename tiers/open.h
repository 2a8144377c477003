// SPDX-License-Identifier: Apache-2.0
// open.h — assembles the standard store: the one place that knows every tier.
//
// Threading:  open_store anywhere; Store is thread-safe through its Engine.
// Blocking:   open and destruction: disk. Neither grows with the bytes stored: the catalog is
//             loaded in the background while the store already serves.
// Failure:    `busy` when the process may have no more threads or memory. A file that may not
//             grow (RLIMIT_FSIZE) is a full disk: `no_space`, and no signal; hot's regions are
//             such files too. The dispositions of the process stay as they are; SIGXFSZ is blocked
//             on the store's threads, and on the caller's while it writes for the store.
// Lifetime:   the Store owns its threads, its tiers and the Engine; destroying it closes.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "tiers/cold/cold_tier.h"
#include "tiers/hot/hot_tier.h"
#include "tiers/io/device.h"

namespace cairn {

struct StoreOptions {
  std::string directory;
  tiers::StoreMode mode = tiers::StoreMode::create_or_open;
  EngineOptions engine;
  tiers::ColdOptions cold;  // directory and mode are taken from above
  /// One limit for hot, catalog, keys, the index's caches and memtables, buffers and what is in
  /// flight. Given, it is shared out (memory_plan.h): engine.hot_bytes is not looked at, and the
  /// other limits only where they are smaller. 0: each part has the limit that its options name.
  std::uint64_t memory_bytes = 0;
  /// Threads that encode and decode blocks. 0: one for each core.
  std::uint32_t codec_threads = 0;
  tiers::DeviceOptions device;
  /// Faults and yardsticks of the tests; null: the real thing.
  std::function<std::unique_ptr<tiers::Device>(std::unique_ptr<tiers::Device>)> wrap_device;
};

class Store {
 public:
  virtual ~Store() = default;
  virtual Engine& engine() = 0;
  virtual DurableTier& cold() = 0;
  virtual tiers::HotTier& hot() = 0;
  virtual tiers::DeviceInfo device_info() const = 0;
  virtual tiers::DeviceCounters device_counters() const = 0;
};

absl::StatusOr<std::unique_ptr<Store>> open_store(const StoreOptions& options);

}  // namespace cairn
