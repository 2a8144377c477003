// SPDX-License-Identifier: Apache-2.0
// stats.h — what the engine counts. Plain values: a snapshot, consistent per field.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/namespace.h"
#include "engine/tier.h"

namespace cairn {

struct LatencySummary {
  std::uint64_t count = 0;
  double mean_s = 0, p50_s = 0, p95_s = 0, p99_s = 0;
};

struct TierStats {
  TierUsage usage;
  std::uint64_t payload_bytes = 0;  // of the blocks in it, before the codec
  std::uint64_t hits = 0;           // blocks served from here
  std::uint64_t bytes_read = 0, bytes_written = 0;
  std::uint64_t evictions = 0;  // blocks that left for want of room
  std::uint64_t evicted_bytes = 0;
  std::uint64_t promoted_in = 0;  // blocks that came from a colder tier
};

/// The ways that blocks take between tiers.
enum class MoveKind : std::uint8_t {
  hot_to_warm,
  hot_to_cold,
  warm_to_cold,
  warm_to_hot,
  cold_to_hot,
  cold_to_warm,
};
constexpr std::size_t kMoveKinds = 6;
std::string_view move_kind_name(MoveKind kind);

struct MoveStats {
  std::uint64_t blocks = 0, bytes = 0;  // moved; payload
  // Blocks that were to move and did not:
  std::uint64_t no_room = 0;      // where they were to go
  std::uint64_t over_budget = 0;  // bandwidth
  std::uint64_t in_use = 0;       // leased, or being put or removed
  std::uint64_t gone = 0;         // changed or removed meanwhile
  std::uint64_t failed = 0;       // read or write
};

struct WindowStats {
  std::uint64_t requests = 0, blocks_asked = 0, blocks_served = 0, bytes_served = 0;
};

/// Since the namespace was opened with one.
struct TokenIndexStats {
  std::uint64_t blocks = 0;   // known, and taken to be there
  std::uint64_t holes = 0;    // gone, with blocks behind them
  std::uint64_t waiting = 0;  // for their parents
  std::uint64_t nodes = 0;    // edges of the tree
  std::uint64_t tokens = 0;   // in it, shared beginnings once
  std::uint64_t bytes = 0, bytes_max = 0;
  std::uint64_t dropped = 0;            // blocks forgotten for bytes_max
  std::uint64_t stale = 0;              // blocks forgotten because they had gone
  std::uint64_t lookups = 0, hits = 0;  // match_tokens; a hit finds a block or more
  std::uint64_t tokens_asked = 0, tokens_matched = 0;
};

struct NamespaceStats {
  std::string name;
  std::uint64_t blocks = 0;  // known to the catalog
  std::uint64_t bytes = 0;   // their payload
  std::uint64_t hot_blocks = 0, hot_bytes = 0, warm_blocks = 0, warm_bytes = 0;
  std::uint64_t cold_blocks = 0, cold_bytes = 0;
  std::uint64_t hot_limit_bytes = 0, cold_limit_bytes = 0;  // 0: none
  WritePolicy write_policy = WritePolicy::through;
  std::uint64_t dirty_blocks = 0, dirty_bytes = 0;  // in memory alone, and never were in cold
  std::uint64_t lookups = 0, hits = 0;              // blocks
  std::optional<TokenIndexStats> token_index;       // where it has one
};

/// Blocks that two owners have pinned count for both.
struct PinStats {
  std::string owner;
  std::uint64_t blocks = 0, bytes = 0;
};

/// What was acknowledged in memory and written to cold later, or was not. Payload.
struct WriteBackStats {
  std::uint64_t written_back_blocks = 0, written_back_bytes = 0;
  std::uint64_t second_sight_blocks = 0, second_sight_bytes = 0;
  // Not written, and dirty still:
  std::uint64_t refused_queue_full = 0;  // seen again while too many others waited
  std::uint64_t refused_no_room = 0;     // cold is full of what may not go
  std::uint64_t refused_failed = 0;      // the medium
  // Of namespaces that write back: the last copy went for want of room.
  std::uint64_t dropped_blocks = 0, dropped_bytes = 0;
};

struct EngineStats {
  TierStats hot, warm, cold;
  std::array<MoveStats, kMoveKinds> moves;  // by MoveKind
  std::uint64_t free_demotions = 0;         // hot copies that left where warm had a spare
  std::uint64_t spares_dropped = 0;
  WriteBackStats write_back;
  std::vector<NamespaceStats> namespaces;
  // requests
  std::uint64_t matches = 0, acquires = 0, loads = 0, puts = 0, erases = 0, announces = 0;
  std::uint64_t blocks_asked = 0, blocks_served = 0, bytes_served = 0, tokens_asked = 0,
                tokens_served = 0;
  WindowStats last_1000;  // the last thousand acquire and load requests
  std::uint64_t blocks_put = 0, bytes_put = 0, blocks_already_present = 0, blocks_replaced = 0;
  // refusals, by reason
  std::uint64_t busy = 0, refused = 0, no_space = 0, deadline_missed = 0;
  std::uint64_t leases_open = 0, leases_overstayed = 0, blocks_pinned = 0;
  std::vector<PinStats> pins;  // of this process; durable ones of former ones have no owner
  // catalog
  std::uint64_t catalog_blocks = 0, catalog_bytes = 0, orphans = 0;
  // recovery
  bool recovered = false, opened_clean = false;
  double recovery_s = 0;
  std::uint64_t recovered_blocks = 0, rewarmed_blocks = 0;
  // integrity
  std::uint64_t corrupt_blocks = 0;
  DurableHealth health;
  DurableCounters counters;
  CodecReport codec;  // of what goes to cold
  LatencySummary hit_latency, miss_latency, put_latency;
};

}  // namespace cairn
