// SPDX-License-Identifier: Apache-2.0
// exit_code.h — what the shell sees, and the one table from our errors to it.
//
// Threading: pure functions. Blocking: never.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "engine/base/status.h"

namespace cairn::tools {

/// Scripts rely on these numbers; none ever changes its meaning.
enum class ExitCode : std::uint8_t {
  ok = 0,
  failed = 1,
  usage = 2,
  not_found = 3,  // also a miss
  unreachable = 4,
  not_allowed = 5,
  corruption = 6,
  degraded = 7,
  locked = 8,
  format = 9,
  partial = 10,
  interrupted = 130,
};

struct ErrorReaction {
  ExitCode exit;
  std::string_view hint;  // what to do, where the error itself brings no better one
};

/// The one table.
ErrorReaction reaction_to(ErrorCode code);

/// The status with a hint of its own for the person who reads it.
absl::Status with_hint(absl::Status status, std::string_view hint);
/// Whether somebody gave it one.
bool has_hint(const absl::Status& status);
/// Its own hint, else the table's. The status must not be OK.
std::string hint_of(const absl::Status& status);

/// What a command that was stopped by a signal returns.
absl::Status interrupted_error();
bool is_interrupted_error(const absl::Status& status);

/// The status must not be OK.
ExitCode exit_code_of(const absl::Status& status);

}  // namespace cairn::tools
