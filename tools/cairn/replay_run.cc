// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/replay_run.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "engine/base/text.h"
#include "tools/cairn/files.h"
#include "tools/cairn/replay_worker.h"
#include "tools/cairn/signals.h"
#include "tools/cairn/store_access.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

// Hot holds what is leased, what is being put and what is loaded, each at most a quarter of it.
constexpr std::uint64_t kHotBlocksMin = 16;
constexpr Duration kWatchInterval = Duration::micros(200);

absl::Status check_sizes(const ReplayOptions& options, std::uint64_t block_bytes) {
  if (options.hot_bytes >= kHotBlocksMin * block_bytes) return absl::OkStatus();
  return make_error(ErrorCode::invalid_argument,
                    concat("--hot ", format_size(options.hot_bytes), " is less than ",
                           kHotBlocksMin, " blocks of ", format_size(block_bytes)));
}

/// A store that does not fit onto the disk is better refused than met half-way.
absl::Status check_room(const ReplayOptions& options) {
  CAIRN_ASSIGN_OR_RETURN(const std::uint64_t free_bytes, free_disk_bytes(options.directory));
  if (free_bytes >= options.cold_bytes) return absl::OkStatus();
  return with_hint(
      make_error(ErrorCode::no_space,
                 concat(options.directory, " has ", format_size(free_bytes),
                        " free, and --cold asks for ", format_size(options.cold_bytes))),
      "give a smaller --cold, or a --dir (or TMPDIR) on a larger disk");
}

ReplayBlocks blocks_in(const ReplaySetting& setting, const ReplayStore& opened) {
  return {setting.plan, setting.model, opened.namespace_name, opened.namespace_id};
}

absl::Status work(const ReplaySetting& setting, ReplayStore& opened, Progress::Mode mode) {
  setting.journal.begin_life();
  Progress progress("replaying", "requests", setting.plan.requests(), mode);
  ReplayWorker worker(*opened.store, blocks_in(setting, opened), setting.options, setting.journal);
  const std::size_t first = setting.journal.requests_done();
  return worker.run(first, [&] {
    progress.update(setting.journal.requests_done(),
                    concat(format_size(setting.journal.verified_bytes()), " verified"));
  });
}

// --- the child ----------------------------------------------------------------------------

[[noreturn]] void run_child(const ReplaySetting& setting) {
  leave_signals_to_parent();
  absl::Status status;
  {
    auto opened = open_replay_store(setting.options, setting.plan, setting.model, setting.journal,
                                    tiers::StoreMode::create_or_open);
    status = opened.status();
    if (status.ok()) status = work(setting, *opened, Progress::Mode::silent);
    if (status.ok()) status = opened->store->engine().close();
  }
  if (!status.ok()) setting.journal.set_failure(status);
  _exit(status.ok() ? 0 : 1);
}

// --- the parent ---------------------------------------------------------------------------

struct ChildEnd {
  bool killed = false;
  std::uint64_t last_chance = 0;  // requests done when puts were last seen under way
};

void pause_watching() {
  const timespec time{0, kWatchInterval.ns};
  nanosleep(&time, nullptr);
}

bool has_ended(pid_t child, int options) {
  int status = 0;
  pid_t ended = 0;
  do {
    ended = waitpid(child, &status, options);
  } while (ended < 0 && errno == EINTR);
  return ended == child && !WIFSTOPPED(status);
}

enum class Attempt : std::uint8_t { killed, too_late, ended };

/// Between a look and a kill the last put may get its answer. So the child is stopped first, all of
/// its threads, and looked at again: what is seen then is what the kill meets.
Attempt try_to_kill(const ReplaySetting& setting, pid_t child) {
  kill(child, SIGSTOP);
  if (has_ended(child, WUNTRACED)) return Attempt::ended;
  const bool puts = setting.journal.puts_in_flight() > 0;
  kill(child, puts ? SIGKILL : SIGCONT);
  if (!puts) return Attempt::too_late;
  has_ended(child, 0);
  return Attempt::killed;
}

/// Watches from outside and kills when the time has come.
absl::StatusOr<ChildEnd> watch(const ReplaySetting& setting, pid_t child, Progress::Mode mode) {
  // Once the last request is done nothing is under way: within it is the last moment there is.
  const std::uint64_t requests = setting.plan.requests();
  const auto target =
      std::min(requests - 1, static_cast<std::uint64_t>(std::ceil(*setting.options.kill_at *
                                                                  static_cast<double>(requests))));
  Progress progress("replaying", "requests", setting.plan.requests(), mode);
  ChildEnd end;
  while (true) {
    if (interrupted()) {
      kill(child, SIGKILL);
      has_ended(child, 0);
      return interrupted_error();
    }
    if (has_ended(child, WNOHANG)) return end;
    const std::uint64_t done = setting.journal.requests_done();
    const bool puts = setting.journal.puts_in_flight() > 0;
    if (puts) end.last_chance = done;
    if (puts && done >= target) {
      const Attempt attempt = try_to_kill(setting, child);
      end.killed = attempt == Attempt::killed;
      if (attempt != Attempt::too_late) return end;
    }
    progress.update(done, concat(format_size(setting.journal.verified_bytes()), " verified"));
    pause_watching();
  }
}

std::string missed_kill_hint(std::uint64_t last_chance, std::uint64_t requests) {
  const double share =
      std::floor(1000.0 * static_cast<double>(last_chance) / static_cast<double>(requests)) / 1000;
  if (share <= 0) return "puts were never seen under way: replay more requests, or larger blocks";
  return concat("puts were last seen under way after ", format_count(last_chance), " of ",
                format_count(requests), " requests: give a --kill-at well below ",
                format_fixed(share, 3), ", or replay more requests");
}

absl::Status run_until_killed(const ReplaySetting& setting, Progress::Mode mode) {
  const pid_t child = fork();
  if (child < 0) return from_errno(errno, "fork");
  if (child == 0) run_child(setting);
  CAIRN_ASSIGN_OR_RETURN(const ChildEnd end, watch(setting, child, mode));
  if (end.killed) return absl::OkStatus();
  CAIRN_RETURN_IF_ERROR(setting.journal.failure());
  if (setting.journal.requests_done() < setting.plan.requests()) {
    return make_error(ErrorCode::internal, "the replaying process died by itself");
  }
  return with_hint(
      make_error(ErrorCode::deadline,
                 concat("the replay was over before it could be killed: after the share of ",
                        format_fixed(*setting.options.kill_at, 3), " no put was under way")),
      missed_kill_hint(end.last_chance, setting.plan.requests()));
}

/// What is stored, by what it takes on disk.
absl::StatusOr<double> compression_ratio(const ReplayStore& opened) {
  std::uint64_t plain = 0;
  std::uint64_t stored = 0;
  std::string cursor;
  do {
    CAIRN_RETURN_IF_ERROR(opened.store->cold().scan(cursor, 1024, [&](const StoredBlock& block) {
      if (block.name.namespace_id != opened.namespace_id) return;
      plain += block.facts.plain_bytes;
      stored += block.stored_bytes;
    }));
  } while (!cursor.empty());
  return stored == 0 ? 0 : static_cast<double>(plain) / static_cast<double>(stored);
}

absl::StatusOr<ReplayReport> replay_in(const ReplaySetting& setting, Output& output) {
  const Progress::Mode mode = Progress::mode_for_stderr(output.quiet());
  const TimePoint start = system_clock().now();
  ReplayReport report;
  ReplayStore opened;
  if (setting.options.kill_at) {
    CAIRN_RETURN_IF_ERROR(run_until_killed(setting, mode));
    Recovery& recovery = report.recovery.emplace();
    recovery.requests_before = setting.journal.requests_done();
    output.note(concat("killed with SIGKILL after ", format_count(recovery.requests_before),
                       " requests; opening what is left"));
    CAIRN_RETURN_IF_ERROR(judge_promises(setting, mode, recovery));
    setting.journal.forget_pending();
    CAIRN_ASSIGN_OR_RETURN(opened, reopen(setting));
  } else {
    CAIRN_ASSIGN_OR_RETURN(
        opened, open_replay_store(setting.options, setting.plan, setting.model, setting.journal,
                                  tiers::StoreMode::create_or_open));
  }
  CAIRN_RETURN_IF_ERROR(work(setting, opened, mode));
  report.seconds = (system_clock().now() - start).as_seconds();
  report.device = opened.store->device_info().name;
  CAIRN_ASSIGN_OR_RETURN(report.compression_ratio, compression_ratio(opened));
  report.engine = opened.store->engine().stats();
  report.codec = report.engine.codec;
  CAIRN_RETURN_IF_ERROR(opened.store->engine().close());

  report.options = setting.options;
  report.block_bytes = setting.model.block_bytes();
  report.distinct_blocks = setting.plan.blocks();
  report.totals = setting.journal.totals();
  report.verified_bytes = setting.journal.verified_bytes();
  report.wrong_bytes = setting.journal.wrong_bytes();
  report.evicted_blocks = setting.journal.evicted_blocks();
  report.device_read_bytes = setting.journal.device_read_bytes();
  report.device_written_bytes = setting.journal.device_written_bytes();
  return report;
}

/// Out here, because hints do not come through the journal.
absl::Status explain_failure(const absl::Status& status, std::uint64_t block_bytes) {
  if (has_code(status, ErrorCode::too_large)) {
    return with_hint(status, concat("a store keeps the size of its segments: ",
                                    roomy_store(block_bytes), " holds such blocks"));
  }
  if (has_code(status, ErrorCode::mismatch)) {
    return with_hint(status,
                     "a replay needs that namespace for itself: name another --dir, or other "
                     "--block-tokens");
  }
  return status;
}

}  // namespace

absl::StatusOr<ReplayReport> run_replay(ReplayOptions options, Output& output) {
  const InterruptGuard guard;
  if (!workload::find_model_shape(options.model)) {
    std::string known;
    for (const workload::ModelShape& shape : workload::model_shapes()) {
      known += concat(known.empty() ? "" : ", ", shape.name);
    }
    return with_hint(
        make_error(ErrorCode::invalid_argument, concat("no model '", options.model, "'")),
        concat("--model is one of ", known));
  }
  CAIRN_ASSIGN_OR_RETURN(const ReplayPlan plan, make_plan(options));
  CAIRN_ASSIGN_OR_RETURN(const workload::KvModel model, workload::KvModel::make(options.model));
  CAIRN_RETURN_IF_ERROR(check_sizes(options, model.block_bytes()));
  const std::optional<std::uint64_t> kept = cold_bytes_of_store(options.directory);
  options.cold_bytes = options.cold_limit.value_or(kept.value_or(kReplayColdBytes));
  CAIRN_RETURN_IF_ERROR(
      check_block_fits(options.directory, options.cold_bytes, model.block_bytes()));

  std::optional<TemporaryDirectory> temporary;
  if (options.directory.empty()) {
    CAIRN_ASSIGN_OR_RETURN(TemporaryDirectory made, TemporaryDirectory::make());
    options.directory = made.path();
    temporary.emplace(std::move(made));
  }
  CAIRN_RETURN_IF_ERROR(check_place_for_store(options.directory));
  if (!check_store_exists(options.directory).ok()) CAIRN_RETURN_IF_ERROR(check_room(options));
  CAIRN_ASSIGN_OR_RETURN(const auto journal, ReplayJournal::make(plan.blocks()));
  auto report = replay_in({options, plan, model, *journal}, output);
  if (!report.ok()) return explain_failure(report.status(), model.block_bytes());
  return report;
}

}  // namespace cairn::tools
