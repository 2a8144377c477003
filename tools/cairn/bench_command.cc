// SPDX-License-Identifier: Apache-2.0
// bench: runs one of the named benches and prints each figure beside its yardstick.
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "bench/registry.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/files.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

using Align = Table::Align;

struct BenchArguments {
  std::string name, directory;
  bool list = false;
  bool quick = false;
  std::uint64_t minutes = 0, seconds = 0;  // 0: not given
};

const bench::Bench* find_bench(std::string_view name) {
  for (const bench::Bench& one : bench::all_benches()) {
    if (one.name == name) return &one;
  }
  return nullptr;
}

absl::Status unknown_bench(std::string_view name) {
  std::vector<std::string_view> names;
  for (const bench::Bench& one : bench::all_benches()) names.push_back(one.name);
  const auto meant = nearest(name, names);
  return with_hint(make_error(ErrorCode::invalid_argument, concat("no bench '", name, "'")),
                   meant ? concat("did you mean '", *meant, "'?") : "`cairn bench --list`");
}

ExitCode list_benches(Output& output) {
  Json object = make_object("bench");
  object["benches"] = Json::array();
  Table table({Align::left, Align::left});
  for (const bench::Bench& one : bench::all_benches()) {
    object["benches"].push_back(
        {{"name", std::string(one.name)}, {"summary", std::string(one.summary)}});
    table.add({std::string(one.name), std::string(one.summary)});
  }
  output.object(object);
  output.text(table.text());
  return ExitCode::ok;
}

/// A goal that stands for nothing is null, so that nobody reads it as failed.
Json case_object(const bench::Case& one) {
  const bool judged = one.goal.on != bench::Goal::On::none;
  return {{"case", one.name},
          {"unit", one.unit},
          {"better", one.higher_is_better ? "higher" : "lower"},
          {"figure", one.figure},
          {"yardstick",
           {{"name", one.yardstick.name},
            {"figure", one.yardstick.figure},
            {"how", one.yardstick.how}}},
          {"ratio", one.ratio},
          {"goal", judged ? Json(one.goal_text()) : Json()},
          {"met", judged ? Json(one.met()) : Json()},
          {"rounds", one.rounds},
          {"spread", one.spread},
          {"note", one.note}};
}

void print_report(const bench::Report& report, Output& output) {
  Json object = make_object("bench");
  object["name"] = report.name;
  object["cases"] = Json::array();
  Table table({Align::left, Align::right, Align::left, Align::right, Align::right, Align::left,
               Align::left, Align::left});
  table.add({"case", "figure", "unit", "yardstick", "ratio", "goal", "", "against"});
  for (const bench::Case& one : report.cases) {
    object["cases"].push_back(case_object(one));
    const bool judged = one.goal.on != bench::Goal::On::none;
    table.add({one.name, format_fixed(one.figure, 3), one.unit,
               format_fixed(one.yardstick.figure, 3), format_fixed(one.ratio, 3),
               judged ? one.goal_text() : "-",
               !judged     ? ""
               : one.met() ? "met"
                           : "missed",
               one.yardstick.name});
    if (!one.note.empty()) table.add({concat("  ", one.note)});
  }
  output.object(object);
  output.text(table.text());
}

/// What a bench does not find is never a block or a store of the user's.
absl::Status explain_bench_error(const absl::Status& status, const std::string& directory) {
  const char* const temporary = std::getenv("TMPDIR");
  const std::string place = !directory.empty()     ? directory
                            : temporary != nullptr ? temporary
                                                   : std::string();
  std::error_code error;
  if (!place.empty() && !std::filesystem::is_directory(place, error)) {
    return with_hint(not_a_miss(status),
                     concat(place, " is not a directory: ", directory.empty() ? "TMPDIR" : "--dir",
                            " names one that is there, for the data of the bench"));
  }
  if (!has_code(status, ErrorCode::not_found)) return status;
  return with_hint(not_a_miss(status), "install what is missing, or add its place to PATH");
}

absl::StatusOr<ExitCode> run_bench(const BenchArguments& arguments, Output& output) {
  if (arguments.list) return list_benches(output);
  if (arguments.name.empty()) {
    return with_hint(make_error(ErrorCode::invalid_argument, "which bench?"),
                     "`cairn bench --list` names them");
  }
  const bench::Bench* const chosen = find_bench(arguments.name);
  if (chosen == nullptr) return unknown_bench(arguments.name);
  if ((arguments.minutes > 0 || arguments.seconds > 0) && !chosen->runs_for_a_time) {
    return with_hint(make_error(ErrorCode::invalid_argument,
                                concat("'", arguments.name, "' ends when its rounds are done")),
                     "--minutes and --seconds are for churn");
  }
  if (arguments.minutes > 0 && arguments.seconds > 0) {
    return make_error(ErrorCode::invalid_argument, "--minutes or --seconds, not both");
  }
  const bench::Settings settings{
      .quick = arguments.quick,
      .seconds =
          60.0 * static_cast<double>(arguments.minutes) + static_cast<double>(arguments.seconds),
      .directory = arguments.directory,
      .progress = [&output](std::string_view line) { output.note(line); }};
  const absl::StatusOr<bench::Report> report = chosen->run(settings);
  if (!report.ok()) return explain_bench_error(report.status(), arguments.directory);
  print_report(*report, output);
  return ExitCode::ok;
}

}  // namespace

void add_bench_command(CommandLine& line) {
  const auto arguments = std::make_shared<BenchArguments>();
  Command command =
      line.add({"bench", "Measure, beside a yardstick in the same run",
                "  cairn bench --list\n"
                "  cairn bench cold-load --quick --json\n"
                "  cairn bench churn --minutes 10\n"
                "  cairn bench cold-put --dir /mnt/nvme     # where the data of the bench goes"},
               [arguments](Output& output) { return run_bench(*arguments, output); });
  command.file("NAME", arguments->name, "One of --list", Command::Need::optional);
  command.flag("--list", arguments->list, "The names, with a line each");
  command.flag("--quick", arguments->quick, "End within 60 seconds");
  const auto length = [&command](std::string_view name, std::uint64_t& value, std::string_view help,
                                 std::string_view shown_default) {
    const auto parse = [&value](const std::string& typed) -> absl::Status {
      CAIRN_ASSIGN_OR_RETURN(value, parse_count(typed));
      if (value > 0) return absl::OkStatus();
      return make_error(ErrorCode::invalid_argument, "0 is no time");
    };
    command.option(name, "N", help, parse, shown_default);
  };
  length("--minutes", arguments->minutes, "How long churn runs once its tiers are full", "10");
  length("--seconds", arguments->seconds, "The same, for a look", {});
  command.text("--dir", arguments->directory, "DIR", "Where to put the data [a temporary place]");
}

}  // namespace cairn::tools
