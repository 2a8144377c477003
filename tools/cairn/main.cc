// SPDX-License-Identifier: Apache-2.0
// cairn: the command line. Puts the commands together, runs one, turns what comes back into
// an exit code. What a command does stands in its own file.
#include <new>

#include "tools/cairn/arguments.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/output.h"
#include "tools/cairn/signals.h"

namespace {

using cairn::tools::ExitCode;

constexpr std::string_view kTour =
    "Cairn keeps the KV cache of LLM prefixes in RAM and on NVMe, and has it after a crash.\n"
    "  cairn replay                           made-up requests, every byte verified\n"
    "  cairn replay --kill-at 0.5             the same, killed half-way and brought back\n"
    "  cairn put --dir D KEY FILE             store a block; `get`, `erase` and `ls` follow\n"
    "  cairn stats --dir D                    what is there; `verify` and `inspect` look closer\n"
    "  cairn doctor                           what this machine can do; `cairn --help` has the "
    "rest";

absl::StatusOr<ExitCode> run(int argc, const char* const* argv, cairn::tools::Output& output) {
  cairn::tools::CommandLine line;
  add_data_commands(line);
  add_list_command(line);
  add_stats_command(line);
  add_inspect_command(line);
  add_upkeep_commands(line);
  add_doctor_command(line);
  add_explain_command(line);
  add_replay_command(line);
  add_bench_command(line);
  add_version_command(line);
  CAIRN_ASSIGN_OR_RETURN(const auto parsed, line.parse(argc, argv, output));
  if (parsed.run) return parsed.run(output);
  const std::string_view text = parsed.message.empty() ? kTour : parsed.message;
  cairn::tools::Json object = cairn::tools::make_object("help");
  object["text"] = std::string(text);
  output.object(object);
  output.text(text);
  return ExitCode::ok;
}

/// The one thing of ours that may be thrown to here.
absl::StatusOr<ExitCode> run_within_memory(int argc, const char* const* argv,
                                           cairn::tools::Output& output) {
  try {
    return run(argc, argv, output);
  } catch (const std::bad_alloc&) {
    return cairn::make_error(cairn::ErrorCode::busy, "out of memory");
  }
}

}  // namespace

int main(int argc, char** argv) {
  cairn::tools::install_signal_handlers();
  cairn::tools::Output output;
  const absl::StatusOr<ExitCode> result = run_within_memory(argc, argv, output);
  if (!result.ok()) output.failure(result.status());
  const absl::Status written = output.finish();
  if (result.ok() && !written.ok()) {
    // Whoever closed the pipe knows; the exit code is for the others.
    output.set_json(false);
    output.failure(written);
  }
  const ExitCode code = !result.ok()    ? cairn::tools::exit_code_of(result.status())
                        : !written.ok() ? ExitCode::failed
                                        : *result;
  return static_cast<int>(code);
}
