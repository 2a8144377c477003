// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/exit_code.h"

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "engine/base/check.h"

namespace cairn::tools {
namespace {

constexpr absl::string_view kHintUrl = "cairn/hint";
constexpr std::string_view kForbiddenHint =
    "run as the owner of the files, or have their permissions changed; a store is its owner's "
    "alone";

bool is_forbidden(const absl::Status& status) {
  return status.code() == absl::StatusCode::kPermissionDenied;
}

}  // namespace

ErrorReaction reaction_to(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return {ExitCode::usage, "see `cairn --help`"};
    case ErrorCode::too_large:
      return {ExitCode::failed, "a block is at most 64 MiB, and no larger than a segment holds"};
    case ErrorCode::mismatch:
      return {ExitCode::failed,
              "a content-addressed block never changes; use another key or another namespace"};
    case ErrorCode::not_found:
      return {ExitCode::not_found, "`cairn ls --dir DIR` lists what is there"};
    case ErrorCode::busy:
      return {ExitCode::failed,
              "come again when less is under way; if the process may have no more memory or "
              "threads, raise `ulimit -v`, `ulimit -u`, `ulimit -f` (hot is files, too) or its "
              "cgroup's limits"};
    case ErrorCode::no_space:
      return {
          ExitCode::failed,
          "free some disk, give the store a smaller --cold, or raise the limit on the size of a "
          "file (`ulimit -f`)"};
    case ErrorCode::refused:
      return {ExitCode::not_allowed, "admission or the write budget will not write it"};
    case ErrorCode::deadline:
      return {ExitCode::unreachable, "the medium was too slow; `cairn doctor` looks at it"};
    case ErrorCode::degraded:
      return {ExitCode::degraded, "see `cairn stats --dir DIR` for the reason"};
    case ErrorCode::read_only:
      return {ExitCode::not_allowed, "the store or its file system allows reading only"};
    case ErrorCode::locked:
      return {ExitCode::locked, "stop the process that has the store, or wait for it"};
    case ErrorCode::format:
      return {ExitCode::format, "nothing was changed; use the version of Cairn that wrote it"};
    case ErrorCode::corruption:
      return {ExitCode::corruption,
              "`cairn verify --dir DIR` says what is bad, and with --fix forgets it"};
    case ErrorCode::io:
      return {ExitCode::failed, "see the kernel's log, and `cairn doctor`"};
    case ErrorCode::closed:
      return {ExitCode::failed, "the store was closing"};
    case ErrorCode::internal:
      return {ExitCode::failed, "this is a bug in Cairn; please report it"};
  }
  CAIRN_UNREACHABLE();
}

absl::Status with_hint(absl::Status status, std::string_view hint) {
  if (!status.ok()) status.SetPayload(kHintUrl, absl::Cord(std::string(hint)));
  return status;
}

bool has_hint(const absl::Status& status) {
  return status.GetPayload(kHintUrl).has_value();
}

std::string hint_of(const absl::Status& status) {
  if (const auto hint = status.GetPayload(kHintUrl)) return std::string(*hint);
  if (is_forbidden(status)) return std::string(kForbiddenHint);
  return std::string(reaction_to(error_code(status)).hint);
}

absl::Status interrupted_error() {
  return absl::CancelledError("interrupted");
}

bool is_interrupted_error(const absl::Status& status) {
  return status.code() == absl::StatusCode::kCancelled;
}

ExitCode exit_code_of(const absl::Status& status) {
  if (is_interrupted_error(status)) return ExitCode::interrupted;
  if (is_forbidden(status)) return ExitCode::not_allowed;
  return reaction_to(error_code(status)).exit;
}

}  // namespace cairn::tools
