// SPDX-License-Identifier: Apache-2.0
// clock.h — time as the engine sees it, so that tests can hold it still.
//
// Two times that are never mixed: monotonic nanoseconds for deadlines, intervals and
// budgets; wall microseconds (Unix epoch) for expiry alone, because only they mean
// anything after a restart.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace cairn {

/// A span of monotonic time in nanoseconds.
struct Duration {
  std::int64_t ns = 0;
  static constexpr Duration nanos(std::int64_t n) { return {n}; }
  static constexpr Duration micros(std::int64_t n) { return {n * 1'000}; }
  static constexpr Duration millis(std::int64_t n) { return {n * 1'000'000}; }
  static constexpr Duration seconds(std::int64_t n) { return {n * 1'000'000'000}; }
  constexpr double as_seconds() const { return static_cast<double>(ns) * 1e-9; }
  friend constexpr auto operator<=>(Duration, Duration) = default;
};

/// A point of monotonic time; its zero means nothing.
struct TimePoint {
  std::int64_t ns = 0;
  static constexpr TimePoint never() { return {std::numeric_limits<std::int64_t>::max()}; }
  friend constexpr auto operator<=>(TimePoint, TimePoint) = default;
  /// Saturates, so that never() + anything stays never().
  friend constexpr TimePoint operator+(TimePoint t, Duration d) {
    const std::int64_t limit = std::numeric_limits<std::int64_t>::max();
    return {d.ns > 0 && t.ns > limit - d.ns ? limit : t.ns + d.ns};
  }
  friend constexpr Duration operator-(TimePoint a, TimePoint b) { return {a.ns - b.ns}; }
};

using Deadline = TimePoint;

/// Microseconds since the Unix epoch; 0 stands for "never expires" where an expiry is meant.
using WallMicros = std::int64_t;

/// Threading: thread-safe. Blocking: never.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
  virtual WallMicros wall() const = 0;
};

/// CLOCK_MONOTONIC and CLOCK_REALTIME; lives for ever.
const Clock& system_clock();

}  // namespace cairn
