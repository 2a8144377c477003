// SPDX-License-Identifier: Apache-2.0
#include "bench/measure.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

extern char** environ;

namespace cairn::bench {

bool Case::met() const {
  const double value = goal.on == Goal::On::ratio ? ratio : figure;
  switch (goal.on) {
    case Goal::On::none:
      return true;
    case Goal::On::figure:
      return higher_is_better ? value >= goal.bound : value <= goal.bound;
    case Goal::On::ratio:
      return higher_is_better ? value >= goal.bound : value <= goal.bound;
  }
  CAIRN_UNREACHABLE();
}

std::string Case::goal_text() const {
  if (goal.on == Goal::On::none) return "";
  return concat(goal.on == Goal::On::ratio ? "ratio" : "figure",
                higher_is_better ? " >= " : " <= ", goal.bound);
}

double median(std::vector<double> values) {
  CAIRN_CHECK(!values.empty());
  const std::size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle),
                   values.end());
  if (values.size() % 2 == 1) return values[middle];
  return (values[middle] +
          *std::max_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle))) /
         2;
}

double median_deviation(std::span<const double> values) {
  const double middle = median({values.begin(), values.end()});
  std::vector<double> deviations;
  for (const double value : values) deviations.push_back(std::abs(value - middle));
  return median(std::move(deviations));
}

absl::StatusOr<Case> compare(Case shape, int rounds, const Run& subject, const Run& yardstick) {
  std::vector<double> figures;
  std::vector<double> yardsticks;
  std::vector<double> ratios;
  for (int round = 0; round < rounds; ++round) {
    double figure = 0;
    double stick = 0;
    const bool subject_first = round % 2 == 0;
    for (const bool is_subject : {subject_first, !subject_first}) {
      CAIRN_ASSIGN_OR_RETURN((is_subject ? figure : stick), is_subject ? subject() : yardstick());
    }
    figures.push_back(figure);
    yardsticks.push_back(stick);
    ratios.push_back(stick > 0 ? figure / stick : 0);
  }
  shape.figure = median(figures);
  shape.yardstick.figure = median(yardsticks);
  shape.ratio = median(ratios);
  shape.rounds = rounds;
  shape.spread = shape.ratio > 0 ? median_deviation(ratios) / shape.ratio : 0;
  return shape;
}

absl::StatusOr<std::string> run_program(std::span<const std::string> arguments) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return from_errno(errno, "pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return from_errno(error, concat("run ", arguments[0]));
  }
  std::string output;
  std::array<char, 65536> piece{};
  for (;;) {
    const ssize_t got = read(ends[0], piece.data(), piece.size());
    if (got <= 0) break;
    output.append(piece.data(), static_cast<std::size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return make_error(
        ErrorCode::internal,
        concat(arguments[0], " failed; its output ends: ",
               output.substr(output.size() - std::min<std::size_t>(output.size(), 300))));
  }
  return output;
}

}  // namespace cairn::bench
