// SPDX-License-Identifier: Apache-2.0
// version: what this program is and what it reads.
#include "engine/base/text.h"
#include "tiers/record/format.h"
#include "tools/cairn/commands.h"

namespace cairn::tools {
namespace {

absl::StatusOr<ExitCode> run_version(Output& output) {
  Json object = make_object("version");
  object["version"] = CAIRN_VERSION;
  object["format"] = tiers::kFormatVersion;
  object["compiler"] = __VERSION__;
#if defined(CAIRN_DCHECKS)
  object["checked_build"] = true;
#else
  object["checked_build"] = false;
#endif
  output.object(object);
  output.text(concat("cairn ", CAIRN_VERSION, ", stores of format ", tiers::kFormatVersion));
  return ExitCode::ok;
}

}  // namespace

void add_version_command(CommandLine& line) {
  line.add({"version", "The version of the program and of the stores it opens",
            "  cairn version\n  cairn version --json | jq .format"},
           run_version);
}

}  // namespace cairn::tools
