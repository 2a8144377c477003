// SPDX-License-Identifier: Apache-2.0
// commands.h — the command groups, one .cc file each; main.cc puts them together.
//
// Threading: confined to the main thread. Blocking: as the command that is run.
#pragma once

#include "tools/cairn/arguments.h"

namespace cairn::tools {

void add_data_commands(CommandLine& line);    // put get erase
void add_list_command(CommandLine& line);     // ls
void add_stats_command(CommandLine& line);    // stats
void add_inspect_command(CommandLine& line);  // inspect
void add_upkeep_commands(CommandLine& line);  // verify repair compact
void add_doctor_command(CommandLine& line);   // doctor
void add_explain_command(CommandLine& line);  // explain
void add_replay_command(CommandLine& line);   // replay
void add_bench_command(CommandLine& line);    // bench
void add_version_command(CommandLine& line);  // version

}  // namespace cairn::tools
