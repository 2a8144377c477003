// SPDX-License-Identifier: Apache-2.0
// engine_stats.h — how the engine counts without getting into anybody's way.
//
// Counters are striped by thread, so that two threads on the read path do not share a cache
// line; latencies go into histograms of eight buckets to a power of two (a quantile is at most
// 9 % off); the last thousand requests are a ring of relaxed atomics.
//
// Threading:  thread-safe. A snapshot is consistent per field, not across fields.
// Blocking:   never.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "engine/stats.h"

namespace cairn::detail {

enum class Counter : std::uint8_t {
  matches,
  acquires,
  loads,
  puts,
  erases,
  announces,
  blocks_asked,
  blocks_served,
  bytes_served,
  tokens_asked,
  tokens_served,
  blocks_put,
  bytes_put,
  blocks_already_present,
  blocks_replaced,
  busy,
  refused,
  no_space,
  deadline_missed,
  leases_overstayed,
  hot_hits,
  warm_hits,
  cold_hits,
  hot_bytes_read,
  warm_bytes_read,
  cold_bytes_read,
  hot_bytes_written,
  warm_bytes_written,
  cold_bytes_written,
  hot_evictions,
  hot_evicted_bytes,
  warm_evictions,
  warm_evicted_bytes,
  cold_evictions,
  cold_evicted_bytes,
  hot_promoted_in,
  warm_promoted_in,
  free_demotions,
  spares_dropped,
  written_back_blocks,
  written_back_bytes,
  second_sight_blocks,
  second_sight_bytes,
  write_queue_full,
  write_no_room,
  write_failed,
  dirty_dropped_blocks,
  dirty_dropped_bytes,
  corrupt_blocks,
  recovered_blocks,
  rewarmed_blocks,
  kCount,
};

class Counters {
 public:
  void add(Counter counter, std::uint64_t n = 1) {
    // Relaxed: nothing is ordered by a statistic.
    stripe().values[static_cast<std::size_t>(counter)].fetch_add(n, std::memory_order_relaxed);
  }
  std::uint64_t total(Counter counter) const;
  void reset();
  /// Counts a refusal under its reason; other errors are not counted here.
  void add_refusal(const absl::Status& status);

 private:
  static constexpr std::size_t kStripes = 8;
  struct alignas(64) Stripe {
    std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Counter::kCount)> values{};
  };
  Stripe& stripe();

  std::array<Stripe, kStripes> stripes_;
};

class LatencyHistogram {
 public:
  void record(Duration latency);
  LatencySummary summary() const;
  void reset();

 private:
  static constexpr std::size_t kSubBuckets = 8;  // to a power of two
  static constexpr std::size_t kBuckets = 64 * kSubBuckets;
  static std::size_t bucket_of(std::uint64_t ns);
  static double middle_s(std::size_t bucket);

  std::array<std::atomic<std::uint64_t>, kBuckets> counts_{};
  std::atomic<std::uint64_t> total_ns_{0};
};

/// The last thousand requests.
class RequestWindow {
 public:
  void add(std::uint64_t asked, std::uint64_t served, std::uint64_t bytes);
  WindowStats summary() const;
  void reset();

 private:
  static constexpr std::size_t kRequests = 1000;
  struct Slot {
    std::atomic<std::uint64_t> asked{0}, served{0}, bytes{0};
  };
  std::atomic<std::uint64_t> next_{0};
  std::array<Slot, kRequests> slots_;
};

/// How blocks moved between tiers, and why others did not.
class MoveMeters {
 public:
  enum class Outcome : std::uint8_t { no_room, over_budget, in_use, gone, failed, kCount };

  void moved(MoveKind kind, std::uint64_t blocks, std::uint64_t bytes);
  void stayed(MoveKind kind, Outcome why, std::uint64_t blocks = 1);
  std::array<MoveStats, kMoveKinds> summary() const;
  void reset();

 private:
  struct Meter {
    std::atomic<std::uint64_t> blocks{0}, bytes{0};
    std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Outcome::kCount)> stayed{};
  };
  Meter& of(MoveKind kind) { return meters_[static_cast<std::size_t>(kind)]; }

  std::array<Meter, kMoveKinds> meters_;
};

struct EngineMeters {
  Counters counters;
  MoveMeters moves;
  LatencyHistogram hit_latency, miss_latency, put_latency;
  RequestWindow window;
  void reset();
};

/// What is counted here; usage, health and recovery are for the engine to add.
EngineStats snapshot(const EngineMeters& meters);

}  // namespace cairn::detail
