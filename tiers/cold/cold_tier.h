// SPDX-License-Identifier: Apache-2.0
// cold_tier.h — blocks on NVMe: payloads in segments, names in RocksDB.
//
// The index says what is there; the segments say it again, record by record, so that the
// index can be rebuilt from them. Payloads are appended to segments of fixed size and never
// overwritten in place; what dies leaves holes, and the cleaner moves the living out of the
// poorest segment before it is used again.
//
// The order that makes an acknowledgement true, and that nothing may change:
//   written:  payload accepted by the kernel, whole → index entry accepted by the kernel → ack
//   durable:  … → segment synced → index entry synced → ack
//   reuse:    entries removed from the index → index synced → no reads in flight → new generation
//
// Threading:  thread-safe; its state is confined to the I/O loop, RocksDB to the index loop.
// Blocking:   open and close: disk. As Tier otherwise.
// Failure:    as Tier. After repeated write errors or a failed sync of the index the tier is
//             degraded: writes are refused, reads go on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/event_loop.h"
#include "engine/tier.h"
#include "tiers/io/device.h"

namespace rocksdb {
class FileSystem;
}

namespace cairn::tiers {

class CodecPool;

enum class StoreMode : std::uint8_t {
  create_or_open,  // a missing or empty directory becomes a store
  open_existing,   // `not_found` where there is none
  read_only,       // changes no byte; `not_found` where there is none
};

struct ColdOptions {
  std::string directory;
  StoreMode mode = StoreMode::create_or_open;
  /// Limit for segments and index together, by st_blocks; the store keeps it. What it has kept when
  /// 0. A smaller limit than the store uses is reached by eviction, not by refusal.
  std::uint64_t cold_bytes = 0;
  /// Power cuts lose at most this much of what was only `written`.
  Duration sync_interval = Duration::seconds(5);
  /// Payload bytes a day; 0: no limit. Beyond: `refused`.
  std::uint64_t write_budget_bytes_per_day = 0;
  /// Small puts wait this long or for this many bytes of company.
  Duration gather_time = Duration::millis(2);
  std::uint64_t gather_bytes = kMiB;
  /// Whether new blocks are made smaller. What is there is read either way.
  CodecUse codec = CodecUse::automatic;
  /// Page-aligned memory for transfers: what is kept for the next ones, and the cleaner's.
  std::uint64_t buffer_bytes = 40 * kMiB;
  /// Consecutive failures after which the tier is switched off, and a segment quarantined.
  std::uint32_t write_errors_max = 8;
  std::uint32_t segment_corruptions_max = 8;
  /// RocksDB's files; null: the real file system.
  std::shared_ptr<rocksdb::FileSystem> index_file_system;
  const Clock* clock = &system_clock();
};

/// Where the tier's work runs. In production two loops with a thread each; in simulation the
/// same loop twice. The device is the I/O loop's poller. All outlive the tier.
struct ColdRuntime {
  Device* device = nullptr;
  EventLoop* io_loop = nullptr;
  EventLoop* index_loop = nullptr;
  CodecPool* codec = nullptr;  // null: blocks are encoded and decoded on the I/O loop
  /// Called while open() and close() wait for the loops; null where threads run them.
  std::function<void()> pump;
};

/// Opens or makes the store in `options.directory`. `locked` names the holder; `format` leaves
/// everything untouched; a missing or broken index is `corruption` with the hint to repair.
absl::StatusOr<std::unique_ptr<DurableTier>> open_cold_tier(const ColdOptions& options,
                                                            const ColdRuntime& runtime);

}  // namespace cairn::tiers
