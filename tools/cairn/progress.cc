// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "engine/base/text.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

constexpr Duration kBarInterval = Duration::millis(100);
constexpr Duration kLineInterval = Duration::seconds(5);
constexpr std::size_t kBarWidth = 24;

}  // namespace

std::string progress_line(const ProgressState& state) {
  std::string out(state.label);
  if (state.total != 0) {
    const double share = static_cast<double>(state.done) / static_cast<double>(state.total);
    out += concat("  ", format_fixed(100 * std::min(1.0, share), 0), " %  ",
                  format_count(state.done), " of ", format_count(state.total), " ", state.unit);
  } else {
    out += concat("  ", format_count(state.done), " ", state.unit);
  }
  // Before the first second is over a rate is noise.
  if (state.elapsed_s >= 1 && state.done > 0) {
    const double rate = static_cast<double>(state.done) / state.elapsed_s;
    const bool slow = rate < 10;
    out += concat(
        "  ", slow ? format_fixed(rate, 1) : format_count(static_cast<std::uint64_t>(rate)), "/s");
    if (state.total > state.done) {
      out += concat("  ETA ", format_seconds(static_cast<double>(state.total - state.done) / rate));
    }
  }
  if (!state.detail.empty()) out += concat("  ", state.detail);
  return out;
}

std::string progress_bar(std::uint64_t done, std::uint64_t total, std::size_t width) {
  const std::size_t filled =
      total == 0 ? 0 : static_cast<std::size_t>(std::min(done, total) * width / total);
  return concat("[", std::string(filled, '#'), std::string(width - filled, '.'), "]");
}

Progress::Mode Progress::mode_for_stderr(bool quiet) {
  if (quiet) return Mode::silent;
  return isatty(STDERR_FILENO) == 1 ? Mode::bar : Mode::lines;
}

Progress::Progress(std::string label, std::string unit, std::uint64_t total, Mode mode,
                   const Clock& clock)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      mode_(mode),
      clock_(clock),
      start_(clock.now()),
      next_draw_(start_ + (mode == Mode::bar ? kBarInterval : kLineInterval)) {}

Progress::~Progress() {
  finish();
}

void Progress::update(std::uint64_t done, std::string_view detail) {
  done_ = done;
  if (mode_ == Mode::silent) return;
  const TimePoint now = clock_.now();
  if (now < next_draw_) return;
  next_draw_ = now + (mode_ == Mode::bar ? kBarInterval : kLineInterval);
  draw(detail, (now - start_).as_seconds());
}

void Progress::finish() {
  if (drawn_ && mode_ == Mode::bar) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

void Progress::draw(std::string_view detail, double elapsed_s) {
  const std::string line = progress_line({.label = label_,
                                          .unit = unit_,
                                          .done = done_,
                                          .total = total_,
                                          .elapsed_s = elapsed_s,
                                          .detail = detail});
  if (mode_ == Mode::bar) {
    std::fprintf(stderr, "\r\033[K%s %s", progress_bar(done_, total_, kBarWidth).c_str(),
                 line.c_str());
    std::fflush(stderr);
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  drawn_ = true;
}

}  // namespace cairn::tools
