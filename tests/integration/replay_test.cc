// SPDX-License-Identifier: Apache-2.0
// Replays of made-up requests, killed at many points: every byte verified, nothing promised is
// lost, nothing is left behind.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/integration/cli_fixture.h"

namespace cairn::test {
namespace {

using testing::HasSubstr;

class Replay : public testing::Test {
 protected:
  bool nothing_left() const { return std::filesystem::is_empty(temp_.path()); }

  static CliArguments tiny(CliArguments more) {
    CliArguments all = {"replay", "--json", "--model", "tiny",       "--hot",
                        "8MiB",   "--cold", "64MiB",   "--requests", "400"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static void expect_sound(const nlohmann::ordered_json& report, std::uint64_t requests) {
    ASSERT_TRUE(report.is_object());
    EXPECT_EQ(report.begin().key(), "schema");
    EXPECT_EQ(report["schema"], "cairn.replay/1");
    EXPECT_EQ(report["requests"], requests);
    EXPECT_EQ(report["wrong_bytes"], 0);
    EXPECT_GT(report["blocks"], 0);
    EXPECT_GT(report["verified_bytes"], 0);
    EXPECT_GT(report["hits"]["hot"].get<int>() + report["hits"]["cold"].get<int>(), 0);
    for (const char* field : {"tokens", "prefix_hit_ratio", "moved_bytes", "compression_ratio",
                              "put_bytes_per_s", "get_bytes_per_s", "evicted_blocks", "recovery"}) {
      EXPECT_TRUE(report.contains(field)) << field;
    }
  }
  static void expect_recovered(const nlohmann::ordered_json& recovery) {
    ASSERT_TRUE(recovery.is_object());
    EXPECT_EQ(recovery["signal"], "SIGKILL");
    // Both since the first opening after the kill, so the order of the two is certain.
    if (recovery["first_hit_s"].is_number()) {
      EXPECT_GT(recovery["first_hit_s"], 0);
      EXPECT_GE(recovery["full_s"], recovery["first_hit_s"]);
    }
    for (const char* level : {"memory", "written", "durable"}) {
      const auto& count = recovery["by_durability"][level];
      EXPECT_EQ(count["acknowledged"].get<int>(),
                count["found"].get<int>() + count["evicted"].get<int>() + count["lost"].get<int>())
          << level;
      if (std::string_view(level) != "memory") {
        EXPECT_EQ(count["lost"], 0) << level;
      }
    }
  }

  TempDir temp_{"replay"};
  // What a replay makes for itself goes here, and must be gone when it ends.
  Environment tmpdir_{"TMPDIR", temp_.path()};
};

TEST_F(Replay, ServesVerifiesAndLeavesNothingBehind) {
  const CliResult result = run_cairn(tiny({}));
  ASSERT_EQ(result.exit, 0) << result.out << result.err;
  expect_sound(result.object(), 400);
  EXPECT_TRUE(result.object()["recovery"].is_null());
  EXPECT_TRUE(nothing_left());
}

TEST_F(Replay, EvictsWhenDiskIsShort) {
  const CliResult result = run_cairn(tiny({"--cold", "40MiB", "--requests", "3000"}));
  ASSERT_EQ(result.exit, 0) << result.out << result.err;
  expect_sound(result.object(), 3000);
  EXPECT_GT(result.object()["evicted_blocks"], 0);
}

TEST_F(Replay, KilledAnywhereKeepsItsPromises) {
  const std::uint64_t seed = announce_seed();
  Rng rng(seed);
  for (int kill = 0; kill < static_cast<int>(scaled(6)); ++kill) {
    const double share = 0.05 + 0.85 * rng.fraction();
    SCOPED_TRACE(share);
    const CliResult result = run_cairn(
        tiny({"--kill-at", std::to_string(share), "--seed", std::to_string(rng.below(1'000'000))}));
    ASSERT_EQ(result.exit, 0) << result.out << result.err;
    const auto report = result.object();
    expect_sound(report, 400);
    expect_recovered(report["recovery"]);
    EXPECT_GT(report["recovery"]["puts_in_flight"], 0) << "the kill met no put under way";
    EXPECT_TRUE(nothing_left());
  }
}

// Where most of what is asked is there already, and memory promises at once, a put is under way for
// moments only.
TEST_F(Replay, EveryKillMeetsPutsAlsoWhereTheyAreRare) {
  int kills = 0;
  for (const bool memory : {true, false}) {
    const std::string directory = temp_.file(memory ? "memory" : "mixed");
    for (int round = 0; round < static_cast<int>(scaled(9)); ++round) {
      CliArguments arguments = tiny({"--dir", directory, "--kill-at", "0.5"});
      if (memory) arguments.insert(arguments.end(), {"--durability", "memory"});
      const CliResult result = run_cairn(arguments);
      if (result.exit == 4) continue;  // nothing was put any more
      ASSERT_EQ(result.exit, 0) << result.out << result.err;
      EXPECT_GT(result.object()["recovery"]["puts_in_flight"], 0) << memory << round;
      ++kills;
    }
  }
  EXPECT_GT(kills, 0);
}

TEST_F(Replay, KilledWhileItEvictsKeepsItsPromises) {
  const CliResult result =
      run_cairn(tiny({"--cold", "40MiB", "--requests", "3000", "--kill-at", "0.8"}));
  ASSERT_EQ(result.exit, 0) << result.out << result.err;
  expect_sound(result.object(), 3000);
  expect_recovered(result.object()["recovery"]);
  EXPECT_GT(result.object()["recovery"]["by_durability"]["written"]["evicted"], 0);
}

TEST_F(Replay, OneDurabilityCanBeFixed) {
  const CliResult result = run_cairn(tiny({"--durability", "written", "--kill-at", "0.5"}));
  ASSERT_EQ(result.exit, 0) << result.out << result.err;
  const auto levels = result.object()["recovery"]["by_durability"];
  EXPECT_EQ(levels["memory"]["acknowledged"], 0);
  EXPECT_EQ(levels["durable"]["acknowledged"], 0);
  EXPECT_GT(levels["written"]["acknowledged"], 0);
}

TEST_F(Replay, AStoreKeepsItsLimitUnlessAnotherIsGiven) {
  const std::string directory = temp_.file("limited");
  ASSERT_EQ(run_cairn({"put", "--dir", directory, "--cold", "64MiB", "k", "-"}, "value").exit, 0);
  // Eight times its limit of blocks that nobody needs.
  const CliResult done = run_cairn({"replay", "--dir", directory, "--model", "1b", "--hot", "64MiB",
                                    "--requests", "40", "--json", "-q"});
  ASSERT_EQ(done.exit, 0) << done.err;
  std::uintmax_t bytes = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(directory)) {
    if (file.is_regular_file()) bytes += file.file_size();
  }
  EXPECT_LE(bytes, 64 * kMiB);
}

TEST_F(Replay, InADirectoryOfOnesOwnTheStoreStays) {
  const std::string directory = temp_.file("mine");
  ASSERT_EQ(run_cairn(tiny({"--dir", directory, "--requests", "100"})).exit, 0);
  const CliResult again = run_cairn(tiny({"--dir", directory, "--requests", "100"}));
  ASSERT_EQ(again.exit, 0) << again.err;
  EXPECT_GT(again.object()["hits"]["cold"], 0) << "what the first left";
  EXPECT_EQ(run_cairn({"verify", "--dir", directory}).exit, 0);
}

TEST_F(Replay, ReadsATraceAndSkipsUnfilledBlocks) {
  const std::string trace = temp_.file("trace.jsonl");
  std::ofstream(trace)
      << R"({"timestamp":0,"input_length":1500,"output_length":1,"hash_ids":[1,2,3]})" << '\n'
      << R"({"timestamp":1,"input_length":1536,"output_length":1,"hash_ids":[1,2,4]})" << '\n';
  const CliResult result = run_cairn({"replay", "--json", "--model", "tiny", "--hot", "8MiB",
                                      "--cold", "64MiB", "--trace", trace});
  ASSERT_EQ(result.exit, 0) << result.err;
  const auto report = result.object();
  EXPECT_EQ(report["requests"], 2);
  EXPECT_EQ(report["blocks"], 5);  // the first request's last block is not full
  EXPECT_EQ(report["tokens"], 3036);
  EXPECT_EQ(report["hits"]["hot"], 2);
  EXPECT_DOUBLE_EQ(report["prefix_hit_ratio"]["blocks"], 0.4);
}

TEST_F(Replay, UsesAllThreeTiers) {
  const CliResult result = run_cairn(tiny({"--json", "--hot", "1MiB", "--warm", "1MiB", "--codec",
                                           "on", "--requests", "400", "--kill-at", "0.5"}));
  EXPECT_EQ(result.exit, 0) << result.out << result.err;
  const auto report = result.object();
  EXPECT_EQ(report["wrong_bytes"], 0);
  for (const char* tier : {"hot", "warm", "cold"}) EXPECT_GT(report["hits"][tier], 0) << tier;
  EXPECT_GT(report["tiers"]["warm"]["ratio"], 1.1);
  EXPECT_GT(report["moves"]["hot_to_warm"]["blocks"], 0);
  EXPECT_GT(report["moves"]["warm_to_hot"]["blocks"], 0);
}

TEST_F(Replay, NeedsNoWarmTier) {
  const CliResult result = run_cairn(tiny({"--json", "--warm", "0", "--requests", "50"}));
  EXPECT_EQ(result.exit, 0) << result.out << result.err;
  EXPECT_EQ(result.object()["tiers"]["warm"]["capacity_bytes"], 0);
}

TEST_F(Replay, ReadsATraceFromAPipe) {
  const std::string line =
      R"({"timestamp": 0, "input_length": 1500, "output_length": 3, "hash_ids": [1, 2, 3]})"
      "\n";
  const CliArguments command = {"replay", "--json", "--model", "tiny",    "--hot",
                                "8MiB",   "--cold", "64MiB",   "--trace", "-"};
  const CliResult result = run_cairn(command, line + line);
  EXPECT_EQ(result.exit, 0) << result.out << result.err;
  EXPECT_EQ(result.object()["requests"], 2);
  EXPECT_EQ(result.object()["blocks"], 4);
}

TEST_F(Replay, RefusesWhatCannotWork) {
  const auto exit_of = [](CliArguments more) { return run_cairn(tiny(std::move(more))).exit; };
  EXPECT_EQ(exit_of({"--model", "gpt"}), 2);
  EXPECT_EQ(exit_of({"--kill-at", "1"}), 2);
  EXPECT_EQ(exit_of({"--kill-at", "0"}), 2);
  EXPECT_EQ(exit_of({"--hot", "16K"}), 2);
  EXPECT_EQ(exit_of({"--block-tokens", "0"}), 2);
  EXPECT_EQ(exit_of({"--trace", temp_.file("none")}), 3);
  std::ofstream(temp_.file("bad")) << "not json\n";
  EXPECT_EQ(exit_of({"--trace", temp_.file("bad")}), 2);
  std::filesystem::remove(temp_.file("bad"));
  EXPECT_TRUE(nothing_left());
}

TEST_F(Replay, NamesThePlaceThatIsNotThere) {
  const Environment nowhere("TMPDIR", temp_.file("none"));
  const CliResult result = run_cairn(tiny({}));
  EXPECT_EQ(result.exit, 1) << result.out;
  EXPECT_THAT(result.object()["hint"].get<std::string>(), HasSubstr("TMPDIR"));
}

TEST_F(Replay, SaysHowLargeAStoreItsBlocksNeed) {
  const CliArguments large = {"replay", "--json", "--model", "70b", "--cold", "256MiB"};
  const CliResult fresh = run_cairn(large);
  EXPECT_EQ(fresh.exit, 1);
  EXPECT_EQ(fresh.object()["error"], "too_large");
  EXPECT_THAT(fresh.object()["hint"].get<std::string>(), HasSubstr("--cold 768MiB"));
  EXPECT_TRUE(nothing_left());

  const std::string directory = temp_.file("store");
  ASSERT_EQ(run_cairn(tiny({"--dir", directory, "--requests", "20"})).exit, 0);
  for (const bool killed : {false, true}) {
    CliArguments there = large;
    there.insert(there.end(), {"--dir", directory});
    if (killed) there.insert(there.end(), {"--kill-at", "0.5"});
    const CliResult result = run_cairn(there);
    EXPECT_EQ(result.exit, 1);
    EXPECT_THAT(result.object()["hint"].get<std::string>(), HasSubstr("--cold 768MiB"));
  }
}

TEST_F(Replay, ANamespaceOfSomebodyElseIsNamed) {
  const std::string directory = temp_.file("store");
  ASSERT_EQ(run_cairn({"put", "--dir", directory, "--cold", "64MiB", "--namespace",
                       "replay-tiny-512", "k", "-"},
                      "x")
                .exit,
            0);
  for (const bool killed : {false, true}) {
    CliArguments arguments = tiny({"--dir", directory});
    if (killed) arguments.insert(arguments.end(), {"--kill-at", "0.5"});
    const CliResult clash = run_cairn(arguments);
    EXPECT_EQ(clash.exit, 1) << clash.out;
    EXPECT_EQ(clash.object()["error"], "mismatch");
    EXPECT_THAT(clash.object()["message"].get<std::string>(), HasSubstr("no replay's"));
    EXPECT_THAT(clash.object()["hint"].get<std::string>(), HasSubstr("another --dir"));
  }
}

TEST_F(Replay, AKillThatCameTooLateSaysWhenItWouldNotHave) {
  // One request whose blocks are all there before it is asked again puts nothing at its end.
  {
    std::ofstream trace(temp_.file("trace"));
    for (int i = 0; i < 50; ++i) {
      trace << R"({"timestamp":)" << i
            << R"(,"input_length":1024,"output_length":1,"hash_ids":[1,2]})" << '\n';
    }
  }
  const CliResult late = run_cairn(tiny({"--trace", temp_.file("trace"), "--kill-at", "0.999"}));
  EXPECT_EQ(late.exit, 4) << late.err;
  EXPECT_THAT(late.object()["message"].get<std::string>(), HasSubstr("0.999"));
  EXPECT_THAT(late.object()["hint"].get<std::string>(), HasSubstr("replay more requests"));
  std::filesystem::remove(temp_.file("trace"));
  EXPECT_TRUE(nothing_left());
}

TEST_F(Replay, CtrlCAndAHangUpEndItWith130AndLeaveNothing) {
  for (const auto& [signal, killing] :
       {std::pair{SIGINT, false}, {SIGINT, true}, {SIGHUP, false}, {SIGHUP, true}}) {
    SCOPED_TRACE(signal);
    CliArguments arguments = tiny({"--requests", "40000"});
    if (killing) arguments.insert(arguments.end(), {"--kill-at", "0.99"});
    CliProcess replay(arguments);
    ASSERT_TRUE(eventually([&] { return !nothing_left() || replay.has_ended(); }));
    replay.send(signal);
    const CliResult result = replay.wait();
    EXPECT_EQ(result.exit, 130) << result.err;
    EXPECT_EQ(result.object()["schema"], "cairn.error/1");
    EXPECT_EQ(result.object()["error"], "interrupted");
    EXPECT_TRUE(nothing_left());
  }
}

TEST_F(Replay, TheTableIsForPeople) {
  CliArguments arguments = tiny({"--kill-at", "0.5"});
  arguments.erase(arguments.begin() + 1);  // --json
  const CliResult result = run_cairn(arguments);
  EXPECT_EQ(result.exit, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("served from RAM"));
  EXPECT_THAT(result.out, HasSubstr("wrong bytes"));
  EXPECT_THAT(result.out, HasSubstr("every promise kept"));
}

}  // namespace
}  // namespace cairn::test
