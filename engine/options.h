// SPDX-License-Identifier: Apache-2.0
// options.h — everything an engine can be told, with what happens at each limit.
//
// Threading: a plain value. validate() before use; Engine refuses what it refuses.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "engine/base/bytes.h"
#include "engine/base/clock.h"
#include "engine/block.h"
#include "engine/key.h"

namespace cairn {

enum class TierKind : std::uint8_t;

/// A promise that ends for want of room: what leaves is the last copy of a block, or its copy in
/// a durable tier. (A demotion is neither; an erase, an expiry and an overwrite are no eviction.)
struct Eviction {
  BlockId id;
  NamespaceId namespace_id{};
  std::uint64_t sequence = 0;  // of the version that goes
  TierKind tier{};             // which it leaves
  bool last_copy = false;      // no tier has it any more
};

struct EngineOptions {
  /// Hot payload memory. Full: the policy evicts tail first; if all is leased, `busy`.
  std::uint64_t hot_bytes = kGiB;
  /// Memory for what leaves hot, encoded: about 1.5 times as many blocks as hot would hold of it.
  /// Full: spares and what cold has go, last copies go to cold. 0: no warm tier.
  std::uint64_t warm_bytes = 0;
  /// Catalog, keys, ghosts, links and token indexes. At the limit new blocks evict old ones,
  /// whatever room the tiers have. About 192 bytes a block, its key of up to 58 bytes included. A
  /// store that has more blocks when it is opened loses none of them: what finds no room is looked
  /// up in the index each time, and wait_recovered() says how many those are.
  std::uint64_t metadata_bytes = 256 * kMiB;
  /// Of metadata_bytes, what token indexes may take together; only what they do take is not the
  /// catalog's. Beyond: `no_space` to the namespace that asks for one.
  double token_index_fraction = 0.5;
  /// Of hot, what leases may hold together. Beyond: `busy`.
  double leasable_fraction = 0.5;
  /// Of hot, what announcements may hold together. Beyond: told `later`.
  double announceable_fraction = 0.125;
  /// Of hot's capacity, where eviction starts and where it stops. Between the two nothing
  /// is evicted; a put never waits for the low mark.
  double high_watermark = 0.97;
  double low_watermark = 0.94;
  /// The same for cold, lower: its cleaner needs dead bytes to win, and moves the more living
  /// ones for each segment it frees the fuller the tier is (write amplification about
  /// 1 / (1 - live share of the segment it picks)).
  double cold_high_watermark = 0.88;
  double cold_low_watermark = 0.84;
  /// How much may move down, to warm and to cold; 0: as much as there is. Beyond, hot and warm
  /// drop what another tier has, and keep what none has until a put needs the room.
  std::uint64_t to_warm_bytes_per_second = 0;
  std::uint64_t to_cold_bytes_per_second = 0;
  /// How much may come from cold to warm ahead of demand; 0: as much as there is room for.
  std::uint64_t cold_to_warm_bytes_per_second = 0;
  /// Puts under way; beyond: `busy`, nothing queued.
  std::uint64_t put_bytes_in_flight_max = 256 * kMiB;
  /// Of namespaces that write selectively: blocks that were seen again and wait to be written.
  /// Beyond, they wait for the next time that they are seen, and are counted.
  std::uint32_t second_sight_queue_max = 16'384;
  /// Cold reads under way; beyond, batches wait in order, up to load_queue_max; then `busy`. So
  /// are acquires, while as many wait for the index to say what the catalog does not know yet.
  std::uint64_t load_bytes_in_flight_max = 256 * kMiB;
  std::uint32_t load_queue_max = 4096;
  /// How long a lease is held unless renewed; then its pins are dropped (an overstayed lease
  /// is counted) and reading its spans is no longer allowed.
  Duration lease_hold_limit = Duration::seconds(30);
  /// The longest an announcement pins anything.
  Duration announce_limit = Duration::seconds(30);
  /// How much of hot the hot list may bring back after a restart, and how fast. What does not fit
  /// goes to warm while that has room.
  std::uint64_t rewarm_bytes = 512 * kMiB;
  std::uint64_t rewarm_bytes_per_second = kGiB;
  /// How often the hot list and token indexes are saved. They are also saved by close().
  Duration hot_list_interval = Duration::seconds(60);
  /// Checks every payload sum on delivery from hot too, not only from cold. For tests and the
  /// suspicious; costs one XXH3-64 pass over the bytes.
  bool paranoid = false;
  /// Told of evictions *before* the removal is handed to the index, so that a block which is
  /// gone after a kill was reported; a block that was reported may still be there. A later put
  /// of the same name is acknowledged only after the report. Called on engine threads, without
  /// a lock held; it must not block nor call the engine. Empty: nobody is told.
  std::function<void(std::span<const Eviction>)> on_evicted;
};

absl::Status validate(const EngineOptions& options);

}  // namespace cairn
