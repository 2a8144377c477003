// SPDX-License-Identifier: Apache-2.0
// manual_clock.h — time that stands still until a test moves it.
//
// Threading: thread-safe. Blocking: never.
#pragma once

#include <atomic>

#include "engine/base/clock.h"

namespace cairn::test {

class ManualClock final : public Clock {
 public:
  /// Both start away from zero, so that "never set" cannot pass for a time.
  explicit ManualClock(TimePoint now = {1'000'000'000}, WallMicros wall = 1'700'000'000'000'000)
      : now_ns_(now.ns), wall_offset_us_(wall - now.ns / 1000) {}

  TimePoint now() const override { return {now_ns_.load()}; }
  WallMicros wall() const override { return now_ns_.load() / 1000 + wall_offset_us_.load(); }

  /// Moves both times forward.
  void advance(Duration by) { now_ns_.fetch_add(by.ns); }
  /// Moves both forward to `when`; never backwards.
  void advance_to(TimePoint when) {
    std::int64_t seen = now_ns_.load();
    while (seen < when.ns && !now_ns_.compare_exchange_weak(seen, when.ns)) {
    }
  }
  /// The wall alone jumps, either way, as an administrator or NTP makes it.
  void jump_wall(std::int64_t by_micros) { wall_offset_us_.fetch_add(by_micros); }

 private:
  std::atomic<std::int64_t> now_ns_;
  std::atomic<std::int64_t> wall_offset_us_;
};

}  // namespace cairn::test
