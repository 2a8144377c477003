// SPDX-License-Identifier: Apache-2.0
// registry.h — the named benches behind `cairn bench`, and the shape of what they report.
//
// A bench measures a figure and, interleaved with it in the same run, a yardstick on the same
// machine: machines are noisy and shared, ratios are not. It verifies the data it moves, so a
// fast wrong answer is an error and no figure.
//
// Threading: one bench at a time. Blocking: disk, minutes; with Settings::quick below one.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cairn::bench {

struct Yardstick {
  std::string name;   // "fio 3.33"
  double figure = 0;  // in the case's unit
  std::string how;    // its settings, so that it can be run by hand
};

/// What is judged: the figure itself or figure ÷ yardstick, against a bound.
struct Goal {
  enum class On { figure, ratio, none };
  On on = On::none;
  double bound = 0;
};

struct Case {
  std::string name;
  std::string unit;
  bool higher_is_better = true;
  double figure = 0;  // median over the rounds
  Yardstick yardstick;
  double ratio = 0;  // median of the rounds' ratios, figure ÷ yardstick
  Goal goal;
  int rounds = 0;
  double spread = 0;  // median absolute deviation of the ratios ÷ their median
  std::string note;   // the device, what was dropped, what limits

  bool met() const;
  /// "ratio >= 0.9", "figure <= 70"
  std::string goal_text() const;
};

struct Report {
  std::string name;
  std::vector<Case> cases;
};

struct Settings {
  bool quick = false;                                   // ends within 60 s
  double seconds = 0;                                   // of benches that run for a time; 0: theirs
  std::string directory;                                // for data; empty: a temporary one
  std::function<void(std::string_view line)> progress;  // may be empty
};

struct Bench {
  std::string_view name;
  std::string_view summary;  // one line
  absl::StatusOr<Report> (*run)(const Settings& settings);
  bool runs_for_a_time = false;  // looks at Settings::seconds
};

/// In the order of `cairn bench --list`.
std::span<const Bench> all_benches();

}  // namespace cairn::bench
