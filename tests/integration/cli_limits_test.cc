// SPDX-License-Identifier: Apache-2.0
// The program where the machine says no: files that may not grow, no memory, no threads, files of
// the store that are gone. Always an error that says what to do, and never a signal.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "engine/base/bytes.h"
#include "engine/base/text.h"
#include "tests/integration/cli_fixture.h"
#include "tests/support/process_limit.h"
#include "tiers/open.h"

namespace cairn::test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

TEST_F(Cli, AFileThatMayNotGrowIsAFullDisk) {
  make_store();
  const std::string payload = random_bytes(3'000'000);
  const std::string fresh = temp_.file("fresh");
  for (const std::uint64_t bytes : {std::uint64_t{0}, 100 * kKiB, 2000 * kKiB}) {
    SCOPED_TRACE(bytes);
    const ProcessLimit limit(RLIMIT_FSIZE, bytes);
    const CliResult put = run_json({"put", "k", "-"}, payload);
    EXPECT_THAT(put.exit, AnyOf(1, 7)) << put.err;
    EXPECT_EQ(put.object()["schema"], "cairn.error/1") << put.out;
    EXPECT_THAT(put.object()["message"].get<std::string>(), HasSubstr("File too large"));
    EXPECT_THAT(put.object()["hint"].get<std::string>(), HasSubstr("ulimit -f"));
    const CliResult made =
        run_cairn({"put", "--dir", concat(fresh, bytes), "k", "-", "--cold", "64MiB"}, payload);
    EXPECT_THAT(made.exit, AnyOf(1, 7)) << made.err;
    EXPECT_EQ(run({"get", "greeting"}).out, "hello");
  }
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
  EXPECT_EQ(run({"put", "k", "-"}, payload).exit, 0);
  EXPECT_EQ(run({"get", "k"}).out, payload);
  EXPECT_EQ(run({"verify"}).exit, 0);
}

TEST_F(Cli, TooLittleMemoryIsAnError) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's shadow needs more address space than any limit";
  make_store();
  int refused = 0;
  for (std::uint64_t mib = 64; mib <= 768; mib += 64) {
    SCOPED_TRACE(mib);
    const ProcessLimit limit(RLIMIT_AS, mib * kMiB);
    for (const CliArguments& command :
         {CliArguments{"get", "greeting"}, {"put", "k", "-"}, {"stats"}}) {
      const CliResult result = run(command, "value");
      EXPECT_THAT(result.exit, AnyOf(0, 1)) << result.err;
      if (result.exit == 0) continue;
      ++refused;
      EXPECT_THAT(result.err, HasSubstr("ulimit -v"));
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
}

TEST_F(Cli, DoctorSeesTheLimitsOfTheProcess) {
  make_store();
  const ProcessLimit limit(RLIMIT_FSIZE, kMiB);
  const auto checks = run_json({"doctor"}).object()["checks"];
  const auto found = std::find_if(checks.begin(), checks.end(),
                                  [](const auto& check) { return check["name"] == "file size"; });
  ASSERT_NE(found, checks.end());
  EXPECT_EQ((*found)["verdict"], "warn");
  EXPECT_THAT((*found)["fix"].get<std::string>(), HasSubstr("ulimit -f"));
}

TEST_F(Cli, ReadingNeedsNoLockFile) {
  make_store();
  std::filesystem::remove(dir() + "/LOCK");
  std::filesystem::remove_all(dir() + "/state");
  const auto before = fingerprint(dir());
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
  EXPECT_EQ(run({"get", "nothing"}).exit, 3);
  for (const CliArguments& command :
       {CliArguments{"ls"}, {"stats"}, {"verify"}, {"repair", "--dry-run"}}) {
    EXPECT_EQ(run(command).exit, 0) << command.front();
  }
  EXPECT_EQ(run({"doctor"}).exit, 7) << "the superblock's copy is gone";
  EXPECT_EQ(fingerprint(dir()), before);
  EXPECT_EQ(run({"put", "k", "-"}, "value").exit, 0);
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
}

TEST_F(Cli, WithoutItsSuperblockNobodyIsSentToRepair) {
  make_store();
  for (const bool damaged : {true, false}) {
    for (const char* name : {"/CAIRN", "/state/CAIRN.copy"}) {
      if (damaged) {
        write_file(dir() + name, std::string(400, '\0'));
      } else {
        std::filesystem::remove(dir() + name);
      }
    }
    const auto before = fingerprint(dir());
    for (const CliArguments& command : {CliArguments{"get", "k"},
                                        {"put", "k", "-"},
                                        {"stats"},
                                        {"repair"},
                                        {"verify"},
                                        {"inspect", "superblock"}}) {
      SCOPED_TRACE(command.front());
      const CliResult lost = run_json(command, "x");
      expect_error(lost, 6, "corruption");
      EXPECT_THAT(lost.object()["hint"].get<std::string>(), HasSubstr("repair cannot help"));
    }
    EXPECT_EQ(fingerprint(dir()), before);
  }
}

TEST_F(Cli, PuttingIntoAnotherDirectorySaysWhatIsWrongWithIt) {
  std::filesystem::create_directory(dir());
  write_file(dir() + "/letters.txt", "not a store");
  const CliResult put = run_json({"put", "k", "-"}, "x");
  expect_error(put, 9, "format");
  EXPECT_THAT(put.object()["hint"].get<std::string>(), HasSubstr("empty"));
  EXPECT_THAT(put.object()["hint"].get<std::string>(), Not(HasSubstr("version")));
  write_file(dir() + "/CAIRN", "a file of somebody else's");
  EXPECT_THAT(run_json({"get", "k"}).object()["hint"].get<std::string>(),
              Not(HasSubstr("version")));
}

TEST_F(Cli, APlaceThatCannotBecomeAStoreIsNamed) {
  const std::string deep = temp_.file("no/such/place");
  const std::string file = temp_.file("file");
  write_file(file, "a file");
  for (const std::string_view command : {"put", "replay"}) {
    SCOPED_TRACE(command);
    const auto in = [command](const std::string& place) {
      return command == "put" ? run_cairn({"put", "--dir", place, "k", "-", "--json"}, "x")
                              : run_cairn({"replay", "--dir", place, "--json"});
    };
    const CliResult missing = in(deep);
    expect_error(missing, 3, "not_found");
    EXPECT_THAT(missing.object()["hint"].get<std::string>(), HasSubstr("mkdir -p"));
    for (const std::string& place : {file, file + "/store"}) {
      expect_error(in(place), 3, "not_found");
    }
  }
  EXPECT_FALSE(std::filesystem::exists(temp_.file("no")));
  EXPECT_EQ(read_file(file), "a file");
  const CliResult directory = run({"put", "k", temp_.path()});
  EXPECT_THAT(directory.err, HasSubstr("name a file that can be read"));
  EXPECT_EQ(run_cairn({"put", "--dir", dir() + "/", "k", file}).exit, 0) << "a slash at the end";
}

TEST_F(Cli, ASizeOfZeroIsRefusedAndMakesNothing) {
  for (const CliArguments& command : {CliArguments{"put", "k", "-", "--cold", "0"},
                                      {"replay", "--cold", "0"},
                                      {"replay", "--hot", "0MiB"},
                                      {"verify", "--rate", "0"}}) {
    const CliResult refused = run_json(command, "x");
    expect_error(refused, 2, "invalid_argument");
    EXPECT_THAT(refused.object()["message"].get<std::string>(), HasSubstr("size of 0"));
    EXPECT_THAT(refused.object()["hint"].get<std::string>(),
                HasSubstr(concat("`cairn ", command.front(), " --help`")));
  }
  EXPECT_FALSE(std::filesystem::exists(dir()));
}

TEST_F(Cli, AnEmptyNameIsAUsageError) {
  make_store();
  for (const CliArguments& command : {CliArguments{"explain", "--scheme", "native", "--tokens", ""},
                                      {"get", "greeting", "-f", ""},
                                      {"put", "k", ""}}) {
    expect_error(run_json(command), 2, "invalid_argument");
  }
  expect_error(run_cairn({"stats", "--dir", "", "--json"}), 2, "invalid_argument");
}

TEST_F(Cli, HintsOfUsageErrorsNameTheCommand) {
  make_store();
  // Found by the command itself, not by the parser.
  const CliResult small = run({"put", "k", "-", "--cold", "1MiB"}, "x");
  EXPECT_EQ(small.exit, 2);
  EXPECT_THAT(small.err, HasSubstr("see `cairn put --help`"));
  EXPECT_THAT(small.err, HasSubstr("the least is 24MiB"));
  EXPECT_EQ(run({"put", "k", "-", "--cold", "23MiB"}, "x").exit, 2);
  EXPECT_EQ(run({"put", "k", "-", "--cold", "24MiB"}, "x").exit, 0);
  const CliResult large = run({"put", "k", "-", "--cold", "20000000T"}, "x");
  EXPECT_EQ(large.exit, 2);
  EXPECT_THAT(large.err, HasSubstr("too large"));
  const CliResult requests = run_cairn({"replay", "--requests", "0"});
  EXPECT_EQ(requests.exit, 2);
  EXPECT_THAT(requests.err, HasSubstr("see `cairn replay --help`"));
}

TEST_F(Cli, TheStoreKeepsTheLimitThatWasGivenLast) {
  make_store();
  const auto limit = [this] { return run_json({"inspect", "superblock"}).object()["cold_bytes"]; };
  EXPECT_EQ(limit(), 256U << 20);
  EXPECT_EQ(run({"put", "k", "-", "--cold", "100MiB"}, "x").exit, 0);
  EXPECT_EQ(limit(), 100U << 20);
  EXPECT_EQ(run({"put", "k", "-"}, "y").exit, 0);
  EXPECT_EQ(limit(), 100U << 20);
  EXPECT_EQ(run({"put", "k", "-", "--cold", "1MiB"}, "z").exit, 2);
  EXPECT_EQ(limit(), 100U << 20) << "a limit that is refused";
  EXPECT_EQ(run({"get", "k"}).out, "y");
}

TEST_F(Cli, WhatBeginsWithADashGoesBehindTwo) {
  make_store();
  EXPECT_EQ(run_cairn({"put", "--dir", dir(), "--", "-k", "-"}, "dashed").exit, 0);
  EXPECT_EQ(run_cairn({"get", "--dir", dir(), "--", "-k"}).out, "dashed");
  const CliResult taken = run_cairn({"get", "--dir", dir(), "-k"});
  EXPECT_EQ(taken.exit, 2);
  EXPECT_THAT(taken.err, HasSubstr("unknown option '-k'"));
  EXPECT_THAT(taken.err, HasSubstr("behind --"));
  const CliResult behind = run_cairn({"get", "--dir", dir(), "--", "-k", "--json"});
  EXPECT_EQ(behind.exit, 2);
  EXPECT_THAT(behind.err, HasSubstr("one argument too many: '--json'"));
  EXPECT_THAT(behind.err, Not(HasSubstr("did you mean '--json'")));
}

TEST_F(Cli, StatsShowWhatTheFileSystemHasAllocated) {
  make_store();
  ASSERT_EQ(run({"put", "k", "-", "--namespace", "kv"}, random_bytes(100'000)).exit, 0);
  const auto stats = run_json({"stats"}).object();
  std::uint64_t allocated = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir())) {
    struct stat info {};
    ASSERT_EQ(stat(entry.path().c_str(), &info), 0);
    allocated += static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  const auto cold = stats["tiers"]["cold"];
  EXPECT_EQ(cold["disk_bytes"], allocated);
  EXPECT_GT(cold["disk_segments_bytes"].get<std::uint64_t>(), 100'000U);
  EXPECT_GT(cold["disk_index_bytes"].get<std::uint64_t>(), 0U);
  EXPECT_GE(cold["disk_bytes"].get<std::uint64_t>(), cold["disk_segments_bytes"]);
  EXPECT_LE(cold["disk_bytes"].get<std::uint64_t>(), cold["capacity_bytes"]);
  for (const auto& ns : stats["namespaces"]) {
    EXPECT_EQ(ns["blocks"], 1) << ns["name"];
    EXPECT_EQ(ns["bytes"], ns["name"] == "kv" ? 100'000 : 5);
  }
  EXPECT_THAT(run({"stats"}).out, HasSubstr("allocated"));
}

TEST_F(Cli, StatsShowTheTokenIndexThatWasSaved) {
  make_store();
  EXPECT_FALSE(run_json({"stats"}).object()["namespaces"][0].contains("token_index"));
  const std::vector<std::uint32_t> tokens(48, 7);
  const auto open = [&](Store& store) {
    return store.engine().open_namespace({.name = "tokens", .tokens_per_block = 16},
                                         {.token_index_bytes = kMiB});
  };
  {
    const auto store = open_store({.directory = dir()});
    ASSERT_TRUE(store.ok()) << store.status();
    const auto ns = open(**store);
    ASSERT_TRUE(ns.ok());
    const std::vector<std::string> keys{"a", "b", "c"};
    std::vector<PutBlock> blocks;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      blocks.push_back({.key = keys[i],
                        .payload = as_bytes(keys[i]),
                        .token_prefix = std::span(tokens).first(16 * (i + 1))});
    }
    for (const PutResult& one : (*store)->engine().put_sync(*ns, blocks)) {
      ASSERT_TRUE(one.status.ok()) << one.status;
    }
    const KeyRef middle{"b"};
    ASSERT_TRUE((*store)->engine().erase_sync(*ns, {&middle, 1}).ok());
  }
  const auto stats = run_json({"stats"}).object();
  for (const auto& ns : stats["namespaces"]) {
    if (ns["name"] != "tokens") continue;
    ASSERT_TRUE(ns.contains("token_index"));
    EXPECT_EQ(ns["token_index"]["blocks"], 2);
    EXPECT_EQ(ns["token_index"]["holes"], 1);
    EXPECT_GT(ns["token_index"]["saved_bytes"], 16);
  }
  EXPECT_THAT(run({"stats"}).out, HasSubstr("tokens: 2 blocks, 1 holes"));
  // And the next process finds by it what is there.
  const auto store = open_store({.directory = dir()});
  ASSERT_TRUE(store.ok()) << store.status();
  const auto ns = open(**store);
  ASSERT_TRUE(ns.ok());
  ASSERT_TRUE((*store)->engine().wait_recovered(TimePoint::never()).ok());
  const auto found = (*store)->engine().match_tokens(*ns, tokens);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->keys, std::vector<std::string>{"a"});
}

}  // namespace
}  // namespace cairn::test
