// SPDX-License-Identifier: Apache-2.0
// An error keeps its code through every layer that adds to its message.
#include "engine/base/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

namespace cairn {
namespace {

absl::StatusOr<int> half(int n) {
  if (n % 2 != 0) return make_error(ErrorCode::invalid_argument, "odd");
  return n / 2;
}

absl::StatusOr<int> quarter(int n) {
  CAIRN_ASSIGN_OR_RETURN(const int h, half(n));
  CAIRN_ASSIGN_OR_RETURN(const int q, half(h));
  return q;
}

TEST(Status, CodesHaveDistinctNames) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(ErrorCode::internal); ++i) {
    names.insert(error_code_name(static_cast<ErrorCode>(i)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(ErrorCode::internal) + 1);
}

TEST(Status, ContextIsAddedInFrontAndTheCodeKept) {
  const absl::Status inner = make_error(ErrorCode::locked, "held by pid 7");
  const absl::Status outer = with_context(inner, "open /store");
  EXPECT_EQ(message_of(outer), "open /store: held by pid 7");
  EXPECT_EQ(error_code(outer), ErrorCode::locked);
  EXPECT_TRUE(with_context(absl::OkStatus(), "anything").ok());
}

TEST(Status, AForeignStatusGetsTheNearestCode) {
  EXPECT_EQ(error_code(absl::DataLossError("x")), ErrorCode::corruption);
  EXPECT_EQ(error_code(absl::DeadlineExceededError("x")), ErrorCode::deadline);
  EXPECT_EQ(error_code(absl::UnimplementedError("x")), ErrorCode::internal);
}

TEST(Status, ErrnoIsTranslatedByWhatTheCallerShouldDo) {
  EXPECT_EQ(error_code(from_errno(ENOSPC, "write")), ErrorCode::no_space);
  EXPECT_EQ(error_code(from_errno(ENOENT, "open")), ErrorCode::not_found);
  EXPECT_EQ(error_code(from_errno(EFBIG, "write")), ErrorCode::no_space);
  EXPECT_EQ(error_code(from_errno(EIO, "read")), ErrorCode::io);
  EXPECT_EQ(message_of(from_errno(EIO, "read a.seg")), "read a.seg: Input/output error");
}

TEST(Status, WhatIsForbiddenIsToldFromAMediumThatFails) {
  for (const int error : {EACCES, EPERM}) {
    const absl::Status status = with_context(from_errno(error, "open"), "store");
    EXPECT_EQ(error_code(status), ErrorCode::io);
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  }
  EXPECT_NE(from_errno(EIO, "read").code(), absl::StatusCode::kPermissionDenied);
}

TEST(Status, MacrosPassTheFirstErrorOn) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(error_code(quarter(6).status()), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace cairn
