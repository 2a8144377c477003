// SPDX-License-Identifier: Apache-2.0
// replay_run.h — one replay from beginning to end, killed half-way if asked for.
//
// With kill_at the process forks before it has any thread. The child opens the store and works;
// the parent reads the journal and, once the share of the requests is done and puts are under
// way, sends SIGKILL. The child never learns when. The parent then judges the store and replays
// the rest in it.
//
// Threading: called by a process with one thread. Blocking: minutes.
// Failure:   interrupted_error() after Ctrl-C, with no child left and no directory of ours.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "tools/cairn/output.h"
#include "tools/cairn/replay_options.h"
#include "tools/cairn/replay_recovery.h"

namespace cairn::tools {

struct ReplayReport {
  ReplayOptions options;
  std::uint64_t block_bytes = 0;
  std::uint64_t distinct_blocks = 0;
  ReplayTotals totals;
  std::uint64_t verified_bytes = 0, wrong_bytes = 0, evicted_blocks = 0;
  std::uint64_t device_read_bytes = 0, device_written_bytes = 0;
  CodecReport codec;             // as it was at the end
  EngineStats engine;            // since the last opening, before the end
  double compression_ratio = 0;  // plain bytes of what is stored, by its bytes on disk; 0: nothing
  std::string device;
  double seconds = 0;
  std::optional<Recovery> recovery;
};

/// Refuses what cannot work (a hot tier of less than a few blocks, no such model) before
/// anything is made.
absl::StatusOr<ReplayReport> run_replay(ReplayOptions options, Output& output);

}  // namespace cairn::tools
