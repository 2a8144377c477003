// SPDX-License-Identifier: Apache-2.0
// replay: a trace, or requests made up, through RAM and disk; every byte verified.
#include <memory>

#include "tools/cairn/commands.h"
#include "tools/cairn/replay_report.h"
#include "tools/cairn/replay_run.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

absl::StatusOr<ExitCode> run(const ReplayOptions& options, Output& output) {
  CAIRN_ASSIGN_OR_RETURN(const ReplayReport report, run_replay(options, output));
  output.object(replay_object(report));
  output.text(replay_table(report));
  return replay_exit(report);
}

}  // namespace

void add_replay_command(CommandLine& line) {
  const auto arguments = std::make_shared<ReplayOptions>();
  ReplayOptions& options = *arguments;
  Command command = line.add(
      {"replay", "Replay requests through all tiers, verify every byte, survive a kill",
       "  cairn replay                                     # made-up requests\n"
       "  cairn replay --trace conversation.jsonl --model 1b --cold 16GiB --json\n"
       "  cairn replay --kill-at 0.5                       # killed half-way, brought back\n"
       "A trace has JSON lines with timestamp, input_length, output_length, hash_ids.\n"
       "Exit 6: a wrong byte. Exit 1: a block promised as written or durable was lost."},
      [arguments](Output& output) { return run(*arguments, output); });
  command.text("--trace", options.trace, "FILE",
               "Requests to replay; - reads stdin [made up from --seed]");
  command.text("--dir", options.directory, "DIR",
               "The store; made where there is none [temporary, removed at the end]");
  command.size("--hot", options.hot_bytes, "RAM for blocks");
  command.size("--warm", options.warm_bytes, "RAM for blocks made smaller; 0: none",
               Command::Zero::allowed);
  command.size("--cold", options.cold_limit,
               "Limit on disk, which the store keeps; else what it has, and of a new one 8 GiB");
  command.option("--codec", "auto|on|off", "Make blocks smaller on their way to disk [auto]",
                 [&options](const std::string& typed) -> absl::Status {
                   CAIRN_ASSIGN_OR_RETURN(options.codec, parse_codec_use(typed));
                   return absl::OkStatus();
                 });
  command.text("--model", options.model, "NAME", "Whose blocks: tiny, 1b, 8b, 70b or mla");
  command.count("--block-tokens", options.block_tokens, "Tokens for each id of the trace");
  command.durability("--durability", options.durability, "Of every put", "goes round by request");
  command.option("--kill-at", "F", "SIGKILL once this share of the requests is done (0 to 1)",
                 [&options](const std::string& typed) -> absl::Status {
                   CAIRN_ASSIGN_OR_RETURN(options.kill_at, parse_fraction(typed));
                   return absl::OkStatus();
                 });
  command.count("--requests", options.generated_requests, "How many to make up without --trace");
  command.count("--seed", options.seed, "Of what is made up");
}

}  // namespace cairn::tools
