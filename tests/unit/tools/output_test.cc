// SPDX-License-Identifier: Apache-2.0
// Tables, error objects, exit codes and progress lines, as text.
#include "tools/cairn/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/manual_clock.h"
#include "tools/cairn/diagnosis.h"
#include "tools/cairn/progress.h"

namespace cairn::tools {
namespace {

using Align = Table::Align;

TEST(Output, EveryObjectBeginsWithItsSchema) {
  Json object = make_object("stats");
  object["a"] = 1;
  EXPECT_EQ(to_line(object), R"({"schema":"cairn.stats/1","a":1})");
}

TEST(Output, AnErrorIsAnObjectWithAHint) {
  const auto status = with_hint(make_error(ErrorCode::not_found, "no store"), "make one");
  EXPECT_EQ(to_line(error_object(status)),
            R"({"schema":"cairn.error/1","error":"not_found","message":"no store",)"
            R"("hint":"make one"})");
  EXPECT_EQ(error_object(interrupted_error())["error"], "interrupted");
}

TEST(Output, AMessageThatIsNotUtf8StillMakesJson) {
  const auto object = error_object(make_error(ErrorCode::io, "bad \xff byte"));
  EXPECT_EQ(Json::parse(to_line(object))["message"], "bad \xef\xbf\xbd byte");
}

TEST(Output, EveryErrorHasAnExitCodeAndAHint) {
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
    const auto error = static_cast<ErrorCode>(code);
    EXPECT_NE(reaction_to(error).exit, ExitCode::ok) << error_code_name(error);
    EXPECT_FALSE(reaction_to(error).hint.empty()) << error_code_name(error);
  }
}

TEST(Output, ExitCodesAreThoseThatScriptsRelyOn) {
  const auto exit_of = [](ErrorCode code) {
    return static_cast<int>(exit_code_of(make_error(code, "")));
  };
  EXPECT_EQ(exit_of(ErrorCode::invalid_argument), 2);
  EXPECT_EQ(exit_of(ErrorCode::too_large), 1);
  EXPECT_EQ(exit_of(ErrorCode::not_found), 3);
  EXPECT_EQ(exit_of(ErrorCode::deadline), 4);
  EXPECT_EQ(exit_of(ErrorCode::read_only), 5);
  EXPECT_EQ(exit_of(ErrorCode::refused), 5);
  EXPECT_EQ(exit_of(ErrorCode::corruption), 6);
  EXPECT_EQ(exit_of(ErrorCode::degraded), 7);
  EXPECT_EQ(exit_of(ErrorCode::locked), 8);
  EXPECT_EQ(exit_of(ErrorCode::format), 9);
  EXPECT_EQ(exit_of(ErrorCode::io), 1);
  EXPECT_EQ(static_cast<int>(exit_code_of(interrupted_error())), 130);
  EXPECT_EQ(static_cast<int>(exit_code_of(from_errno(EACCES, "open LOCK"))), 5);
  EXPECT_NE(hint_of(from_errno(EACCES, "open LOCK")), reaction_to(ErrorCode::io).hint);
}

TEST(Output, AHintOfItsOwnGoesBeforeTheTables) {
  const auto plain = make_error(ErrorCode::locked, "held");
  EXPECT_EQ(hint_of(plain), reaction_to(ErrorCode::locked).hint);
  EXPECT_EQ(hint_of(with_hint(plain, "wait")), "wait");
  EXPECT_EQ(error_code(with_hint(plain, "wait")), ErrorCode::locked);
}

TEST(Output, TablesAlignByWhatATerminalShows) {
  Table table({Align::left, Align::right, Align::left});
  table.add({"✓", "1", "one"});
  table.add({"long", "1,000", ""});
  table.add_blank();
  table.add({"a line of its own that is longer than every column"});
  EXPECT_EQ(table.text(),
            "  ✓         1  one\n"
            "  long  1,000\n"
            "\n"
            "  a line of its own that is longer than every column\n");
}

TEST(Progress, SaysHowFarHowFastAndHowLong) {
  EXPECT_EQ(progress_line({.label = "replaying",
                           .unit = "requests",
                           .done = 3000,
                           .total = 12000,
                           .elapsed_s = 10,
                           .detail = "1.0 GiB verified"}),
            "replaying  25 %  3,000 of 12,000 requests  300/s  ETA 30.0 s  1.0 GiB verified");
  EXPECT_EQ(progress_line({.label = "scanning", .unit = "blocks", .done = 7, .elapsed_s = 0.5}),
            "scanning  7 blocks");
  EXPECT_EQ(
      progress_line({.label = "slow", .unit = "steps", .done = 5, .total = 10, .elapsed_s = 10}),
      "slow  50 %  5 of 10 steps  0.5/s  ETA 10.0 s");
}

TEST(Progress, ABarIsAsFullAsTheWork) {
  EXPECT_EQ(progress_bar(0, 10, 4), "[....]");
  EXPECT_EQ(progress_bar(5, 10, 4), "[##..]");
  EXPECT_EQ(progress_bar(20, 10, 4), "[####]");
  EXPECT_EQ(progress_bar(0, 0, 4), "[....]");
}

TEST(Progress, WritesALineEveryFiveSecondsAndNothingWhenSilent) {
  test::ManualClock clock;
  testing::internal::CaptureStderr();
  {
    Progress lines("work", "steps", 100, Progress::Mode::lines, clock);
    Progress silent("work", "steps", 100, Progress::Mode::silent, clock);
    for (std::uint64_t second = 1; second <= 12; ++second) {
      clock.advance(Duration::seconds(1));
      lines.update(second);
      silent.update(second);
    }
  }
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  EXPECT_EQ(text.find('\r'), std::string::npos);
}

TEST(Diagnosis, KnowsFileSystemsByTheirNumber) {
  EXPECT_EQ(judge_file_system(0xef53).found, "ext4");
  EXPECT_EQ(judge_file_system(0xef53).verdict, Verdict::ok);
  EXPECT_EQ(judge_file_system(0x01021994).verdict, Verdict::warn);
  EXPECT_EQ(judge_file_system(0x6969).verdict, Verdict::bad);
  EXPECT_EQ(judge_file_system(12345).verdict, Verdict::warn);
  EXPECT_FALSE(judge_file_system(12345).fix.empty());
}

TEST(Diagnosis, ReadsTheKernelsChoiceOfHugePages) {
  EXPECT_EQ(judge_huge_pages("always within_size [advise] never deny force").verdict, Verdict::ok);
  EXPECT_EQ(judge_huge_pages("always within_size advise [never] deny force").verdict,
            Verdict::warn);
  EXPECT_EQ(judge_huge_pages("").verdict, Verdict::warn);
}

}  // namespace
}  // namespace cairn::tools
