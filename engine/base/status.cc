// SPDX-License-Identifier: Apache-2.0
#include "engine/base/status.h"

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "engine/base/check.h"
#include "engine/base/text.h"

namespace cairn {
namespace {

constexpr absl::string_view kPayloadUrl = "cairn/error_code";

struct CodeInfo {
  std::string_view name;
  absl::StatusCode canonical;
};
constexpr std::array<CodeInfo, 16> kCodes{{
    {"invalid_argument", absl::StatusCode::kInvalidArgument},
    {"too_large", absl::StatusCode::kInvalidArgument},
    {"mismatch", absl::StatusCode::kFailedPrecondition},
    {"not_found", absl::StatusCode::kNotFound},
    {"busy", absl::StatusCode::kResourceExhausted},
    {"no_space", absl::StatusCode::kResourceExhausted},
    {"refused", absl::StatusCode::kResourceExhausted},
    {"deadline", absl::StatusCode::kDeadlineExceeded},
    {"degraded", absl::StatusCode::kUnavailable},
    {"read_only", absl::StatusCode::kFailedPrecondition},
    {"locked", absl::StatusCode::kFailedPrecondition},
    {"format", absl::StatusCode::kFailedPrecondition},
    {"corruption", absl::StatusCode::kDataLoss},
    {"io", absl::StatusCode::kUnavailable},
    {"closed", absl::StatusCode::kUnavailable},
    {"internal", absl::StatusCode::kInternal},
}};
static_assert(static_cast<std::size_t>(ErrorCode::internal) + 1 == kCodes.size());

const CodeInfo& info(ErrorCode code) {
  return kCodes[static_cast<std::size_t>(code)];
}

absl::Status make_status(absl::StatusCode canonical, ErrorCode code, std::string_view message) {
  absl::Status status(canonical, absl::string_view(message.data(), message.size()));
  status.SetPayload(kPayloadUrl, absl::Cord(std::string(1, static_cast<char>(code))));
  return status;
}

}  // namespace

std::string_view message_of(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

std::string_view error_code_name(ErrorCode code) {
  return info(code).name;
}

absl::Status make_error(ErrorCode code, std::string_view message) {
  return make_status(info(code).canonical, code, message);
}

ErrorCode error_code(const absl::Status& status) {
  CAIRN_CHECK(!status.ok());
  if (const auto payload = status.GetPayload(kPayloadUrl); payload && payload->size() == 1) {
    return static_cast<ErrorCode>((*payload)[0]);
  }
  for (std::size_t i = 0; i < kCodes.size(); ++i) {
    if (kCodes[i].canonical == status.code()) return static_cast<ErrorCode>(i);
  }
  return ErrorCode::internal;
}

absl::Status with_context(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  return make_status(status.code(), error_code(status), concat(context, ": ", message_of(status)));
}

absl::Status from_errno(int error, std::string_view what) {
  ErrorCode code = ErrorCode::io;
  // A file beyond RLIMIT_FSIZE, or the file system's own limit, is room that cannot be made.
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) code = ErrorCode::no_space;
  if (error == ENOENT) code = ErrorCode::not_found;
  if (error == EROFS) code = ErrorCode::read_only;
  std::array<char, 128> buffer{};
  const std::string text =
      concat(what, ": ", std::string_view(strerror_r(error, buffer.data(), buffer.size())));
  // The medium said no, but it is the caller who may not.
  if (error == EACCES || error == EPERM) {
    return make_status(absl::StatusCode::kPermissionDenied, code, text);
  }
  return make_error(code, text);
}

}  // namespace cairn
