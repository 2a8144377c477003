// SPDX-License-Identifier: Apache-2.0
// The command line as a machine: what is filled, what is refused, what is suggested.
#include "tools/cairn/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/status.h"

namespace cairn::tools {
namespace {

using testing::HasSubstr;

class Arguments : public testing::Test {
 protected:
  Arguments() {
    Command store = line_.add({"store", "Stores", "  cairn store --dir D key file"},
                              [](Output&) { return ExitCode::ok; });
    store.text("--dir", directory_, "DIR", "Where", Command::Need::required);
    store.key("KEY", key_, "Which", Command::Need::required);
    store.file("FILE", file_, "What", Command::Need::required);
    store.size("--cold", cold_, "How much");
    store.durability("--durability", durability_, "How well", "durable");
    store.flag("--force", force_, "Anyway");
    Command look = line_.add({"look", "Looks", "  cairn look at KEY"}, {});
    Command at = look.add({"at", "At a key", ""}, [](Output&) { return ExitCode::partial; });
    at.key("KEY", key_, "Which", Command::Need::required);
    line_.add({"version", "Version", ""}, [](Output&) { return ExitCode::degraded; });
  }

  absl::StatusOr<CommandLine::Parsed> parse(std::vector<const char*> words) {
    words.insert(words.begin(), "cairn");
    return line_.parse(static_cast<int>(words.size()), words.data(), output_);
  }
  void expect_usage(std::vector<const char*> words, const char* message, const char* hint) {
    const auto parsed = parse(std::move(words));
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(exit_code_of(parsed.status()), ExitCode::usage);
    EXPECT_THAT(std::string(message_of(parsed.status())), HasSubstr(message));
    EXPECT_THAT(hint_of(parsed.status()), HasSubstr(hint));
  }

  CommandLine line_;
  Output output_;
  std::string directory_, key_, file_;
  std::optional<std::uint64_t> cold_;
  std::optional<Durability> durability_;
  bool force_ = false;
};

TEST_F(Arguments, AreFilledWhereverTheyStand) {
  const auto parsed = parse({"store", "hex:00ff", "--cold", "2GiB", "-", "--dir=/d", "--durability",
                             "written", "--json"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed->run(output_), ExitCode::ok);
  EXPECT_EQ(directory_, "/d");
  EXPECT_EQ(key_, std::string("\x00\xff", 2));
  EXPECT_EQ(file_, "-");
  EXPECT_EQ(cold_, 2 * kGiB);
  EXPECT_EQ(durability_, Durability::written);
  EXPECT_FALSE(force_);
  EXPECT_TRUE(output_.json());
}

TEST_F(Arguments, BehindTwoDashesAKeyMayBeginWithOne) {
  ASSERT_TRUE(parse({"store", "--dir", "/d", "--", "--key", "-"}).ok());
  EXPECT_EQ(key_, "--key");
}

TEST_F(Arguments, BadValuesAreNamedWithWhatWouldBeTaken) {
  expect_usage({"store", "--dir", "/d", "hex:0", "f"}, "hex:0", "cairn store --help");
  expect_usage({"store", "--dir", "/d", "k", "f", "--cold", "2Q"}, "GiB", "cairn store --help");
  expect_usage({"store", "--dir", "/d", "k", "f", "--durability", "x"},
               "memory, written or durable", "");
}

TEST_F(Arguments, WhatIsMissingIsNamed) {
  expect_usage({"store", "k", "f"}, "--dir", "cairn store --help");
  expect_usage({"store", "--dir", "/d", "k"}, "FILE", "cairn store --help");
  expect_usage({"store", "--dir"}, "--dir", "");
}

TEST_F(Arguments, UnknownWordsAreAnsweredWithTheNearest) {
  expect_usage({"stroe"}, "unknown command 'stroe'", "'store'");
  expect_usage({"banana"}, "unknown command 'banana'", "cairn --help");
  expect_usage({"store", "--dir", "/d", "k", "f", "--durabilty", "written"},
               "unknown option '--durabilty'", "'--durability'");
  expect_usage({"store", "--dir", "/d", "k", "f", "g"}, "one argument too many: 'g'",
               "cairn store --help");
  expect_usage({"look", "att"}, "unknown command 'att'", "'at'");
}

TEST_F(Arguments, AGroupNeedsOneOfItsCommands) {
  expect_usage({"look"}, "look", "cairn look --help");
  ASSERT_TRUE(parse({"look", "at", "k"}).ok());
}

TEST_F(Arguments, HelpHasTheExamples) {
  const auto parsed = parse({"store", "--help"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_FALSE(parsed->run);
  EXPECT_THAT(parsed->message, HasSubstr("cairn store --dir D key file"));
  EXPECT_THAT(parsed->message, HasSubstr("--durability"));
}

TEST_F(Arguments, AloneTheProgramHasNothingToRun) {
  const auto parsed = parse({});
  ASSERT_TRUE(parsed.ok());
  EXPECT_FALSE(parsed->run);
  EXPECT_TRUE(parsed->message.empty());
}

TEST_F(Arguments, VersionIsAFlagToo) {
  const auto parsed = parse({"--version"});
  ASSERT_TRUE(parsed.ok());
  ASSERT_TRUE(parsed->run);
  EXPECT_EQ(*parsed->run(output_), ExitCode::degraded);
}

TEST_F(Arguments, JsonIsKnownEvenWhereTheRestIsWrong) {
  ASSERT_FALSE(parse({"--json", "stroe"}).ok());
  EXPECT_TRUE(output_.json());
}

}  // namespace
}  // namespace cairn::tools
