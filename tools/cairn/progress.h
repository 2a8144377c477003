// SPDX-License-Identifier: Apache-2.0
// progress.h — how far a long command is, on stderr.
//
// On a terminal one line that is drawn over and over, elsewhere a line every five seconds,
// with --quiet nothing.
//
// Threading: confined to the main thread. Blocking: as stderr does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/clock.h"

namespace cairn::tools {

struct ProgressState {
  std::string_view label;  // "replay"
  std::string_view unit;   // "requests"
  std::uint64_t done = 0;
  std::uint64_t total = 0;  // 0: not known
  double elapsed_s = 0;
  std::string_view detail;  // may be empty
};

/// "replay  45 %  5,414 of 12,031 requests  1,203/s  ETA 6 s  detail"
std::string progress_line(const ProgressState& state);
/// "[#########...........]", `width` characters between the brackets.
std::string progress_bar(std::uint64_t done, std::uint64_t total, std::size_t width);

class Progress {
 public:
  enum class Mode : std::uint8_t { silent, lines, bar };
  static Mode mode_for_stderr(bool quiet);

  Progress(std::string label, std::string unit, std::uint64_t total, Mode mode,
           const Clock& clock = system_clock());
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Cheap when nothing is due: may be called for every item.
  void update(std::uint64_t done, std::string_view detail = {});
  void set_label(std::string label) { label_ = std::move(label); }
  /// Clears the bar, so that other text can follow. Idempotent.
  void finish();

 private:
  void draw(std::string_view detail, double elapsed_s);

  std::string label_;
  const std::string unit_;
  const std::uint64_t total_;
  const Mode mode_;
  const Clock& clock_;
  const TimePoint start_;
  TimePoint next_draw_;
  std::uint64_t done_ = 0;
  bool drawn_ = false;
};

}  // namespace cairn::tools
