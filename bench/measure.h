// SPDX-License-Identifier: Apache-2.0
// measure.h — interleaved rounds, medians, ratios.
//
// One round runs the subject and the yardstick one after the other, and the next round the
// other way round, so that a neighbour's noise and the clock's drift fall on both. What is
// reported is the median figure, the median yardstick and the median of the rounds' ratios,
// with their spread.
//
// Threading: confined. Blocking: as what is measured.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/registry.h"
#include "engine/base/clock.h"

namespace cairn::bench {

double median(std::vector<double> values);
/// Median absolute deviation from the median.
double median_deviation(std::span<const double> values);

/// Seconds on the monotonic clock since construction.
class Stopwatch {
 public:
  double seconds() const { return (system_clock().now() - start_).as_seconds(); }

 private:
  TimePoint start_ = system_clock().now();
};

/// One run of the subject or the yardstick: its figure in the case's unit.
using Run = std::function<absl::StatusOr<double>()>;

/// Fills figure, yardstick.figure, ratio, rounds and spread of `shape`.
absl::StatusOr<Case> compare(Case shape, int rounds, const Run& subject, const Run& yardstick);

/// Runs a program and gives its standard output; an error names the command when it is missing
/// or fails. Arguments are passed as they are, no shell.
absl::StatusOr<std::string> run_program(std::span<const std::string> arguments);

/// Hidden from the optimiser.
template <typename T>
void keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

}  // namespace cairn::bench
