// SPDX-License-Identifier: Apache-2.0
// replay_report.h — a replay's result, for scripts and for someone who sees Cairn for the first
// time.
//
// Threading: pure functions. Blocking: never.
#pragma once

#include <string>

#include "tools/cairn/output.h"
#include "tools/cairn/replay_run.h"

namespace cairn::tools {

Json replay_object(const ReplayReport& report);
std::string replay_table(const ReplayReport& report);
/// 6 on a wrong byte, 1 on a lost promise.
ExitCode replay_exit(const ReplayReport& report);

}  // namespace cairn::tools
