// SPDX-License-Identifier: Apache-2.0
// status.h — errors by what the caller should do, and the two macros that pass them on.
//
// Every error Cairn makes carries an ErrorCode (as a Status payload) beside Abseil's
// canonical code: the canonical code says what kind of reaction is apt, the ErrorCode
// which of our own conditions it is, so that the CLI's exit codes and the server's
// replies need not parse messages. A miss is a value, never an error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cairn {

enum class ErrorCode : std::uint8_t {
  invalid_argument,  // the call can never succeed as made
  too_large,         // a block larger than a segment or the hot tier holds
  mismatch,          // a namespace or block exists with another descriptor or length
  not_found,         // there is no store, namespace or segment of that name
  busy,              // a queue, the leasable share, threads or memory are used up: come again
  no_space,          // room could not be made
  refused,           // admission or the write budget will not write it
  deadline,          // not done in time
  degraded,          // the cold tier is switched off; RAM goes on
  read_only,         // the store was opened for reading
  locked,            // another process has the store
  format,            // another format version, or not a store
  corruption,        // stored bytes failed a check
  io,                // the medium said no
  closed,            // the engine is closing
  internal,          // a bug; please report
};

/// The word the CLI prints: "no_space".
std::string_view error_code_name(ErrorCode code);

/// The message as a std::string_view (Debian's Abseil has a string_view of its own).
std::string_view message_of(const absl::Status& status);

absl::Status make_error(ErrorCode code, std::string_view message);

/// Of a Status that make_error made; otherwise the nearest to its canonical code.
/// The status must not be OK.
ErrorCode error_code(const absl::Status& status);

inline bool has_code(const absl::Status& status, ErrorCode code) {
  return !status.ok() && error_code(status) == code;
}

/// Adds context in front, once per layer, and keeps the ErrorCode: "read segment 17 @ 4096: …".
absl::Status with_context(const absl::Status& status, std::string_view context);

/// The one place where errno becomes a Status: of a `what`. Forbidden is `io` and PermissionDenied.
absl::Status from_errno(int error, std::string_view what);

}  // namespace cairn

#define CAIRN_CONCAT_INNER(a, b) a##b
#define CAIRN_CONCAT(a, b) CAIRN_CONCAT_INNER(a, b)
#define CAIRN_RETURN_IF_ERROR(expression)                               \
  do {                                                                  \
    if (absl::Status cairn_status = (expression); !cairn_status.ok()) { \
      return cairn_status;                                              \
    }                                                                   \
  } while (false)
#define CAIRN_ASSIGN_OR_RETURN(declaration, expression) \
  CAIRN_ASSIGN_OR_RETURN_INNER(CAIRN_CONCAT(cairn_or_, __LINE__), declaration, expression)
#define CAIRN_ASSIGN_OR_RETURN_INNER(temporary, declaration, expression) \
  auto temporary = (expression);                                         \
  if (!temporary.ok()) return std::move(temporary).status();             \
  declaration = std::move(temporary).value()
