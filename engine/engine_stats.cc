// SPDX-License-Identifier: Apache-2.0
#include "engine/engine_stats.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/base/status.h"

namespace cairn::detail {

Counters::Stripe& Counters::stripe() {
  static std::atomic<std::size_t> next_thread{0};
  thread_local const std::size_t mine = next_thread.fetch_add(1, std::memory_order_relaxed);
  return stripes_[mine % kStripes];
}

std::uint64_t Counters::total(Counter counter) const {
  std::uint64_t sum = 0;
  for (const Stripe& stripe : stripes_) {
    sum += stripe.values[static_cast<std::size_t>(counter)].load(std::memory_order_relaxed);
  }
  return sum;
}

void Counters::reset() {
  for (Stripe& stripe : stripes_) {
    for (auto& value : stripe.values) value.store(0, std::memory_order_relaxed);
  }
}

void Counters::add_refusal(const absl::Status& status) {
  if (status.ok()) return;
  const ErrorCode code = error_code(status);
  if (code == ErrorCode::busy) add(Counter::busy);
  if (code == ErrorCode::refused) add(Counter::refused);
  if (code == ErrorCode::no_space) add(Counter::no_space);
  if (code == ErrorCode::deadline) add(Counter::deadline_missed);
}

std::size_t LatencyHistogram::bucket_of(std::uint64_t ns) {
  if (ns < kSubBuckets) return static_cast<std::size_t>(ns);
  const auto exponent = static_cast<std::size_t>(std::bit_width(ns)) - 1;  // ≥ 3
  const auto fraction = static_cast<std::size_t>(ns >> (exponent - 3)) & (kSubBuckets - 1);
  return (exponent - 2) * kSubBuckets + fraction;
}

double LatencyHistogram::middle_s(std::size_t bucket) {
  if (bucket < kSubBuckets) return static_cast<double>(bucket) * 1e-9;
  const std::size_t exponent = bucket / kSubBuckets + 2;
  const auto fraction = static_cast<double>(bucket % kSubBuckets);
  return std::exp2(static_cast<double>(exponent)) * (1.0 + (fraction + 0.5) / kSubBuckets) * 1e-9;
}

void LatencyHistogram::record(Duration latency) {
  const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(latency.ns, 0));
  counts_[std::min(bucket_of(ns), kBuckets - 1)].fetch_add(1, std::memory_order_relaxed);
  total_ns_.fetch_add(ns, std::memory_order_relaxed);
}

LatencySummary LatencyHistogram::summary() const {
  std::array<std::uint64_t, kBuckets> counts;
  LatencySummary out;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    counts[i] = counts_[i].load(std::memory_order_relaxed);
    out.count += counts[i];
  }
  if (out.count == 0) return out;
  out.mean_s = static_cast<double>(total_ns_.load(std::memory_order_relaxed)) * 1e-9 /
               static_cast<double>(out.count);
  const auto quantile = [&](double q) {
    const auto rank = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(out.count)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      seen += counts[i];
      if (seen >= rank) return middle_s(i);
    }
    return middle_s(kBuckets - 1);
  };
  out.p50_s = quantile(0.50);
  out.p95_s = quantile(0.95);
  out.p99_s = quantile(0.99);
  return out;
}

void LatencyHistogram::reset() {
  for (auto& count : counts_) count.store(0, std::memory_order_relaxed);
  total_ns_.store(0, std::memory_order_relaxed);
}

void RequestWindow::add(std::uint64_t asked, std::uint64_t served, std::uint64_t bytes) {
  Slot& slot = slots_[next_.fetch_add(1, std::memory_order_relaxed) % kRequests];
  slot.asked.store(asked, std::memory_order_relaxed);
  slot.served.store(served, std::memory_order_relaxed);
  slot.bytes.store(bytes, std::memory_order_relaxed);
}

WindowStats RequestWindow::summary() const {
  WindowStats out;
  out.requests = std::min<std::uint64_t>(next_.load(std::memory_order_relaxed), kRequests);
  for (std::size_t i = 0; i < out.requests; ++i) {
    out.blocks_asked += slots_[i].asked.load(std::memory_order_relaxed);
    out.blocks_served += slots_[i].served.load(std::memory_order_relaxed);
    out.bytes_served += slots_[i].bytes.load(std::memory_order_relaxed);
  }
  return out;
}

void RequestWindow::reset() {
  next_.store(0, std::memory_order_relaxed);
  for (Slot& slot : slots_) {
    slot.asked.store(0, std::memory_order_relaxed);
    slot.served.store(0, std::memory_order_relaxed);
    slot.bytes.store(0, std::memory_order_relaxed);
  }
}

// Relaxed, all of them: statistics.
void MoveMeters::moved(MoveKind kind, std::uint64_t blocks, std::uint64_t bytes) {
  of(kind).blocks.fetch_add(blocks, std::memory_order_relaxed);
  of(kind).bytes.fetch_add(bytes, std::memory_order_relaxed);
}

void MoveMeters::stayed(MoveKind kind, Outcome why, std::uint64_t blocks) {
  of(kind).stayed[static_cast<std::size_t>(why)].fetch_add(blocks, std::memory_order_relaxed);
}

std::array<MoveStats, kMoveKinds> MoveMeters::summary() const {
  std::array<MoveStats, kMoveKinds> all;
  for (std::size_t i = 0; i < kMoveKinds; ++i) {
    const Meter& meter = meters_[i];
    const auto stayed = [&](Outcome why) {
      return meter.stayed[static_cast<std::size_t>(why)].load(std::memory_order_relaxed);
    };
    all[i] = {.blocks = meter.blocks.load(std::memory_order_relaxed),
              .bytes = meter.bytes.load(std::memory_order_relaxed),
              .no_room = stayed(Outcome::no_room),
              .over_budget = stayed(Outcome::over_budget),
              .in_use = stayed(Outcome::in_use),
              .gone = stayed(Outcome::gone),
              .failed = stayed(Outcome::failed)};
  }
  return all;
}

void MoveMeters::reset() {
  for (Meter& meter : meters_) {
    meter.blocks.store(0, std::memory_order_relaxed);
    meter.bytes.store(0, std::memory_order_relaxed);
    for (auto& count : meter.stayed) count.store(0, std::memory_order_relaxed);
  }
}

void EngineMeters::reset() {
  counters.reset();
  moves.reset();
  hit_latency.reset();
  miss_latency.reset();
  put_latency.reset();
  window.reset();
}

EngineStats snapshot(const EngineMeters& meters) {
  const auto total = [&](Counter counter) { return meters.counters.total(counter); };
  EngineStats stats;
  stats.hot = {.hits = total(Counter::hot_hits),
               .bytes_read = total(Counter::hot_bytes_read),
               .bytes_written = total(Counter::hot_bytes_written),
               .evictions = total(Counter::hot_evictions),
               .evicted_bytes = total(Counter::hot_evicted_bytes),
               .promoted_in = total(Counter::hot_promoted_in)};
  stats.warm = {.hits = total(Counter::warm_hits),
                .bytes_read = total(Counter::warm_bytes_read),
                .bytes_written = total(Counter::warm_bytes_written),
                .evictions = total(Counter::warm_evictions),
                .evicted_bytes = total(Counter::warm_evicted_bytes),
                .promoted_in = total(Counter::warm_promoted_in)};
  stats.moves = meters.moves.summary();
  stats.free_demotions = total(Counter::free_demotions);
  stats.spares_dropped = total(Counter::spares_dropped);
  stats.write_back = {.written_back_blocks = total(Counter::written_back_blocks),
                      .written_back_bytes = total(Counter::written_back_bytes),
                      .second_sight_blocks = total(Counter::second_sight_blocks),
                      .second_sight_bytes = total(Counter::second_sight_bytes),
                      .refused_queue_full = total(Counter::write_queue_full),
                      .refused_no_room = total(Counter::write_no_room),
                      .refused_failed = total(Counter::write_failed),
                      .dropped_blocks = total(Counter::dirty_dropped_blocks),
                      .dropped_bytes = total(Counter::dirty_dropped_bytes)};
  stats.cold = {.hits = total(Counter::cold_hits),
                .bytes_read = total(Counter::cold_bytes_read),
                .bytes_written = total(Counter::cold_bytes_written),
                .evictions = total(Counter::cold_evictions),
                .evicted_bytes = total(Counter::cold_evicted_bytes)};
  stats.matches = total(Counter::matches);
  stats.acquires = total(Counter::acquires);
  stats.loads = total(Counter::loads);
  stats.puts = total(Counter::puts);
  stats.erases = total(Counter::erases);
  stats.announces = total(Counter::announces);
  stats.blocks_asked = total(Counter::blocks_asked);
  stats.blocks_served = total(Counter::blocks_served);
  stats.bytes_served = total(Counter::bytes_served);
  stats.tokens_asked = total(Counter::tokens_asked);
  stats.tokens_served = total(Counter::tokens_served);
  stats.last_1000 = meters.window.summary();
  stats.blocks_put = total(Counter::blocks_put);
  stats.bytes_put = total(Counter::bytes_put);
  stats.blocks_already_present = total(Counter::blocks_already_present);
  stats.blocks_replaced = total(Counter::blocks_replaced);
  stats.busy = total(Counter::busy);
  stats.refused = total(Counter::refused);
  stats.no_space = total(Counter::no_space);
  stats.deadline_missed = total(Counter::deadline_missed);
  stats.leases_overstayed = total(Counter::leases_overstayed);
  stats.recovered_blocks = total(Counter::recovered_blocks);
  stats.rewarmed_blocks = total(Counter::rewarmed_blocks);
  stats.corrupt_blocks = total(Counter::corrupt_blocks);
  stats.hit_latency = meters.hit_latency.summary();
  stats.miss_latency = meters.miss_latency.summary();
  stats.put_latency = meters.put_latency.summary();
  return stats;
}

}  // namespace cairn::detail
