// SPDX-License-Identifier: Apache-2.0
// The commands that look at a store and after it: damage, locks, other formats, and that reading
// changes no byte.
#include <csignal>
#include <cstring>
#include <filesystem>

#include "engine/base/hash128.h"
#include "tests/integration/cli_fixture.h"
#include "tests/support/disk_usage.h"

namespace cairn::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// --- stats, inspect, verify, repair, compact, doctor ------------------------------------------

TEST_F(Cli, StatsCountWhatIsThere) {
  make_store();
  const CliResult stats = run_json({"stats"});
  expect_object(stats, "cairn.stats/1");
  EXPECT_EQ(stats.object()["blocks"], 1);
  EXPECT_EQ(stats.object()["last_close"], "clean");
  EXPECT_EQ(stats.object()["namespaces"][0]["name"], "default");
  EXPECT_THAT(run({"stats"}).out, HasSubstr("state"));
  EXPECT_EQ(stats.object()["counters"]["payload_bytes_written"], 5) << "by an earlier process";
  const std::uint64_t media = stats.object()["counters"]["media_bytes_written"];
  EXPECT_GT(media, 4096U);
  ASSERT_EQ(run({"put", "more", "-"}, "more").exit, 0);
  const auto counters = run_json({"stats"}).object()["counters"];
  EXPECT_EQ(counters["payload_bytes_written"], 9);
  EXPECT_GT(counters["media_bytes_written"], media + 4);
}

TEST_F(Cli, InspectDecodesSuperblockSegmentAndEntry) {
  make_store();
  const CliResult superblock = run_json({"inspect", "superblock"});
  expect_object(superblock, "cairn.inspect/1");
  EXPECT_EQ(superblock.object()["format"]["major"], 1);
  EXPECT_EQ(superblock.object()["block_id_secret"], "set");

  const CliResult entry = run_json({"inspect", "entry", "greeting"});
  expect_object(entry, "cairn.inspect/1");
  EXPECT_EQ(entry.object()["sound"], true);
  const int segment = entry.object()["place"]["segment"];
  const CliResult records = run_json({"inspect", "segment", std::to_string(segment)});
  expect_object(records, "cairn.inspect/1");
  EXPECT_EQ(records.object()["records"][0]["key"], "greeting");
  EXPECT_EQ(records.object()["records"][0]["live"], true);
  EXPECT_THAT(run({"inspect", "superblock"}).out, HasSubstr("segment_bytes"));

  expect_error(run_json({"inspect", "entry", "nothing"}), 3, "not_found");
  expect_error(run_json({"inspect", "segment", "99999"}), 3, "not_found");
  expect_error(run_json({"inspect", "segment", "x"}), 2, "invalid_argument");
  EXPECT_EQ(run({"inspect"}).exit, 2);
}

TEST_F(Cli, InspectTakesTheDirectoryBeforeTheWordBehindIt) {
  make_store();
  for (const CliArguments& what :
       {CliArguments{"superblock"}, {"segment", "0"}, {"entry", "greeting"}}) {
    CliArguments before = {"inspect", "--json", "--dir", dir()};
    before.insert(before.end(), what.begin(), what.end());
    expect_object(run_cairn(before), "cairn.inspect/1");
    before.erase(before.begin() + 2, before.begin() + 4);
    const CliResult none = run_cairn(before);
    expect_error(none, 2, "invalid_argument");
    EXPECT_EQ(none.object()["message"], "--dir is required");
  }
}

TEST_F(Cli, ASoundStoreVerifiesAndRepairsToItself) {
  make_store();
  ASSERT_EQ(run({"put", "second", "-"}, random_bytes(300'000)).exit, 0);
  const CliResult verify = run_json({"verify"});
  expect_object(verify, "cairn.verify/1");
  EXPECT_EQ(verify.object()["ok"], 2);
  expect_object(run_json({"verify", "--fix"}), "cairn.verify/1");
  const CliResult planned = run_json({"repair", "--dry-run"});
  expect_object(planned, "cairn.repair/1");
  EXPECT_EQ(planned.object()["kept"], 2);
  expect_object(run_json({"repair"}), "cairn.repair/1");
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
  expect_object(run_json({"compact"}), "cairn.compact/1");
  expect_object(run_json({"compact", "--dead", "0"}), "cairn.compact/1");
  const CliResult all = run_json({"compact", "--dead", "1"});
  expect_error(all, 2, "invalid_argument");
  EXPECT_THAT(all.object()["message"].get<std::string>(), HasSubstr("from 0 to less than 1"));
  EXPECT_EQ(run({"get", "second"}).out, random_bytes(300'000));
}

TEST_F(Cli, WithoutItsIndexAStoreIsRepaired) {
  make_store();
  ASSERT_EQ(run({"erase", "greeting"}).exit, 0);
  ASSERT_EQ(run({"put", "kept", "-"}, "still here").exit, 0);
  std::filesystem::remove_all(dir() + "/index");
  const CliResult got = run_json({"get", "kept"});
  expect_error(got, 6, "corruption");
  EXPECT_THAT(got.object()["hint"].get<std::string>(), HasSubstr("repair"));
  ASSERT_EQ(run({"repair"}).exit, 0);
  EXPECT_EQ(run({"get", "kept"}).out, "still here");
  EXPECT_EQ(run({"get", "greeting"}).exit, 3) << "erased stays erased";
}

TEST_F(Cli, BadBytesAreSixAndNeverData) {
  make_store();
  const std::string payload = random_bytes(300'000);
  ASSERT_EQ(run({"put", "k", "-"}, payload).exit, 0);
  const auto entry = run_json({"inspect", "entry", "k"}).object();
  damage(entry, entry["record"]["payload_offset"].get<std::uint64_t>() + 1000);
  const CliResult got = run({"get", "k"});
  EXPECT_EQ(got.exit, 6) << got.err;
  EXPECT_THAT(got.out, IsEmpty());
  EXPECT_THAT(got.err, HasSubstr("block k in namespace default"));
  expect_error(run_json({"get", "k"}), 6, "corruption");
  expect_object(run_json({"inspect", "entry", "k"}), "cairn.inspect/1", 6);
  expect_object(run_json({"verify"}), "cairn.verify/1", 6);
  EXPECT_EQ(run_json({"verify"}).object()["bad"]["payload"], 1);
  const CliResult fixed = run_json({"verify", "--fix"});
  expect_object(fixed, "cairn.verify/1", 6);
  EXPECT_EQ(fixed.object()["fixed"], 1);
  EXPECT_EQ(run({"get", "k"}).exit, 3) << "forgotten";
  expect_object(run_json({"verify"}), "cairn.verify/1");
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
}

// What was overwritten does not come back because its successor is damaged, and the cleaner takes
// along what says so.
TEST_F(Cli, ARepairOfADamagedVersionDoesNotBringBackTheOneBefore) {
  make_store();
  const CliArguments put = {"put", "k", "-", "--namespace", "m", "--mutable"};
  ASSERT_EQ(run(put, random_bytes(20'000)).exit, 0);
  const std::string payload = random_bytes(30'000);
  ASSERT_EQ(run(put, payload).exit, 0);
  const auto entry = run_json({"inspect", "entry", "k", "--namespace", "m"}).object();
  damage(entry, entry["record"]["payload_offset"].get<std::uint64_t>() + 1000);
  for (const CliArguments& repair : {CliArguments{"repair", "--verify-payloads", "--dry-run"},
                                     CliArguments{"repair", "--verify-payloads"}}) {
    const CliResult repaired = run_json(repair);
    expect_object(repaired, "cairn.repair/1", 10);
    EXPECT_EQ(repaired.object()["lost"]["payload"], 1);
    EXPECT_EQ(repaired.object()["dropped"]["overtaken"], 1);
  }
  EXPECT_EQ(run({"get", "k", "--namespace", "m"}).exit, 3);
  ASSERT_EQ(run({"compact", "--dead", "0.01"}).exit, 0);
  std::filesystem::remove_all(dir() + "/index");
  ASSERT_EQ(run({"repair"}).exit, 0);
  EXPECT_EQ(run({"get", "k", "--namespace", "m"}).exit, 3);
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
}

TEST_F(Cli, ADamagedHeaderIsTenWhereEveryByteIsRead) {
  make_store();
  ASSERT_EQ(run({"put", "k", "-"}, random_bytes(20'000)).exit, 0);
  damage(run_json({"inspect", "entry", "k"}).object(), 40);
  expect_error(run_json({"get", "k"}), 6, "corruption");
  const CliResult repaired = run_json({"repair", "--verify-payloads"});
  expect_object(repaired, "cairn.repair/1", 10);
  EXPECT_EQ(repaired.object()["lost"]["header"], 1);
  EXPECT_EQ(run({"get", "k"}).exit, 3);
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
}

TEST_F(Cli, ASegmentThatIsCutOrMissingIsTenAndRepairSaysWhatIsGone) {
  for (const bool is_missing : {false, true}) {
    std::filesystem::remove_all(dir());
    make_store();
    const std::string path =
        segment_file(run_json({"inspect", "entry", "greeting"}).object()["place"]["segment"]);
    is_missing ? std::filesystem::remove(path) : (std::filesystem::resize_file(path, 100), true);
    for (const CliArguments& repair : {CliArguments{"repair", "--dry-run"}, {"repair"}}) {
      const CliResult repaired = run_json(repair);
      expect_object(repaired, "cairn.repair/1", 10);
      EXPECT_EQ(repaired.object()["lost"]["gone"], 1);
      EXPECT_EQ(repaired.object()["segments"]["damaged"], 1);
    }
    EXPECT_EQ(run({"get", "greeting"}).exit, 3);
    EXPECT_EQ(run_json({"repair"}).exit, 0) << "told once";
  }
}

TEST_F(Cli, DoctorSeesWhatAStoreLacks) {
  const auto store = [this](int exit) {
    const CliResult doctor = run_json({"doctor"});
    expect_object(doctor, "cairn.doctor/1", exit);
    return doctor.object()["checks"].back();
  };
  make_store();
  EXPECT_EQ(store(0)["verdict"], "ok");
  for (const char* name : {"/CAIRN", "/state/CAIRN.copy"}) {
    const std::string bytes = read_file(dir() + name);
    std::filesystem::remove(dir() + name);
    EXPECT_EQ(store(7)["found"], std::string(name + 1) + " is missing");
    write_file(dir() + name, bytes.substr(0, 100));
    EXPECT_EQ(store(7)["found"], std::string(name + 1) + " is damaged");
    ASSERT_EQ(run({"repair"}).exit, 0) << "as doctor says";
    EXPECT_EQ(store(0)["verdict"], "ok");
  }
  const int segment = run_json({"inspect", "entry", "greeting"}).object()["place"]["segment"];
  std::filesystem::resize_file(segment_file(segment), 100'000);
  EXPECT_EQ(store(7)["found"], "1 segment is cut short (" + std::to_string(segment) + ")");
  std::filesystem::remove(segment_file(segment));
  const auto missing = store(7);
  EXPECT_EQ(missing["verdict"], "bad");
  EXPECT_EQ(missing["found"], "1 segment is missing (" + std::to_string(segment) + ")");
  EXPECT_THAT(missing["fix"].get<std::string>(), HasSubstr("repair"));
  EXPECT_EQ(run({"repair"}).exit, 10);
  EXPECT_EQ(store(0)["verdict"], "ok");
}

TEST_F(Cli, BytesThatWereCutOffAreSix) {
  make_store();
  const std::string payload = random_bytes(300'000);
  ASSERT_EQ(run({"put", "k", "-"}, payload).exit, 0);
  const std::string segment = dir() + "/segments/000000.seg";
  for (const std::uintmax_t bytes : {100'000U, 4096U, 0U}) {
    SCOPED_TRACE(bytes);
    std::filesystem::resize_file(segment, bytes);
    const CliResult got = run_json({"get", "k"});
    expect_error(got, 6, "corruption");
    EXPECT_THAT(got.object()["message"].get<std::string>(), HasSubstr("the file ends before it"));
    expect_object(run_json({"verify"}), "cairn.verify/1", 6);
  }
}

TEST_F(Cli, WithoutItsSegmentsAStoreIsDamagedAndNotMissing) {
  make_store();
  std::filesystem::rename(dir() + "/segments", temp_.file("aside"));
  const auto before = fingerprint(dir());
  for (const CliArguments& command : {CliArguments{"get", "greeting"},
                                      {"ls"},
                                      {"stats"},
                                      {"verify"},
                                      {"repair", "--dry-run"},
                                      {"inspect", "segment", "0"},
                                      {"inspect", "entry", "greeting"},
                                      {"put", "k", "-"},
                                      {"erase", "greeting"}}) {
    SCOPED_TRACE(command.front());
    const CliResult gone = run_json(command, "x");
    expect_error(gone, 6, "corruption");
    EXPECT_THAT(gone.object()["hint"].get<std::string>(), HasSubstr("repair"));
  }
  const CliResult doctor = run_json({"doctor"});
  expect_object(doctor, "cairn.doctor/1", 7);
  EXPECT_EQ(doctor.object()["checks"].back()["verdict"], "bad");
  EXPECT_EQ(fingerprint(dir()).size(), before.size());
  std::filesystem::rename(temp_.file("aside"), dir() + "/segments");
  EXPECT_EQ(run({"get", "greeting"}).out, "hello") << "brought back, nothing is lost";
  std::filesystem::remove_all(dir() + "/segments");
  EXPECT_THAT(run({"repair"}).exit, testing::AnyOf(0, 10));
  EXPECT_EQ(run({"get", "greeting"}).exit, 3);
  EXPECT_EQ(run({"put", "greeting", "-"}, "again").exit, 0);
}

TEST_F(Cli, DoctorLooksAtMachineAndStore) {
  const CliResult machine = run_cairn({"doctor", "--json"});
  EXPECT_THAT(machine.exit, testing::AnyOf(0, 7));
  EXPECT_EQ(machine.object()["schema"], "cairn.doctor/1");
  make_store();
  const CliResult store = run_json({"doctor"});
  expect_object(store, "cairn.doctor/1");
  const auto checks = store.object()["checks"];
  EXPECT_EQ(checks.back()["name"], "store");
  for (const auto& check : checks) {
    EXPECT_THAT(check["verdict"].get<std::string>(), testing::AnyOf("ok", "warn", "bad"));
  }
  EXPECT_THAT(run({"doctor"}).out, HasSubstr("✓"));
}

class CliReaders : public Cli {
 protected:
  /// Every command that reads, and that none of them leaves a byte or a time of change behind.
  void expect_nothing_changes() const {
    const auto before = fingerprint(dir());
    const std::vector<CliArguments> readers = {{"get", "greeting"},
                                               {"get", "none"},
                                               {"ls"},
                                               {"ls", "--all-namespaces", "--long"},
                                               {"stats"},
                                               {"inspect", "superblock"},
                                               {"inspect", "segment", "0"},
                                               {"inspect", "entry", "greeting"},
                                               {"verify"},
                                               {"repair", "--dry-run"},
                                               {"doctor"}};
    for (const CliArguments& reader : readers) {
      const CliResult result = run(reader);
      EXPECT_THAT(result.exit, testing::AnyOf(0, 3)) << reader.front() << result.err;
      EXPECT_EQ(fingerprint(dir()), before) << reader.front();
    }
    EXPECT_EQ(run({"get", "greeting"}).out, "hello");
    const CliResult explain =
        run({"explain", "--scheme", "native", "--tokens", "-", "--namespace", "kv"}, "[1,2]");
    EXPECT_EQ(explain.exit, 0) << explain.err;
    EXPECT_EQ(fingerprint(dir()), before) << "explain";
  }
};

TEST_F(CliReaders, ChangeNoByte) {
  make_store();
  for (const char* key : {"a", "b", "c"}) {
    ASSERT_EQ(run({"put", key, "-", "--namespace", "kv"}, random_bytes(100'000)).exit, 0);
  }
  ASSERT_EQ(run({"erase", "b", "--namespace", "kv"}).exit, 0);
  expect_nothing_changes();
}

// What a killed process leaves has to be recovered each time, in memory.
TEST_F(CliReaders, ChangeNoByteOfAStoreThatWasKilled) {
  make_store();
  ASSERT_EQ(run({"put", "a", "-", "--namespace", "kv"}, random_bytes(100'000)).exit, 0);
  CliProcess replay({"replay", "--dir", dir(), "--model", "tiny", "--hot", "64MiB", "--cold",
                     "256MiB", "--requests", "40000"});
  // Seen from outside: a command that asks would hold the store while the replay opens it.
  const auto written = [&] { return bytes_on_disk(dir()) > (32 << 20); };
  ASSERT_TRUE(eventually([&] { return written() || replay.has_ended(); }));
  ASSERT_FALSE(replay.has_ended()) << replay.wait().err;
  replay.send(SIGKILL);
  ASSERT_EQ(replay.wait().exit, 128 + SIGKILL);
  expect_nothing_changes();
  EXPECT_NE(run_json({"stats"}).object()["last_close"], "clean");
}

// --- others hold it, or wrote it --------------------------------------------------------------

TEST_F(Cli, ALockedStoreNamesItsHolder) {
  CliProcess replay({"replay", "--dir", dir(), "--model", "tiny", "--hot", "64MiB", "--cold",
                     "256MiB", "--requests", "40000"});
  ASSERT_TRUE(eventually([&] { return bytes_on_disk(dir()) > (1 << 20) || replay.has_ended(); }));
  ASSERT_FALSE(replay.has_ended()) << replay.wait().err;
  for (const CliArguments& command :
       {CliArguments{"get", "k"}, {"put", "k", "-"}, {"ls"}, {"repair"}, {"verify"}}) {
    const CliResult locked = run_json(command, "x");
    expect_error(locked, 8, "locked");
    EXPECT_THAT(locked.object()["message"].get<std::string>(),
                HasSubstr(std::to_string(replay.pid())))
        << command.front();
  }
  replay.send(SIGINT);
  EXPECT_EQ(replay.wait().exit, 130);
  EXPECT_EQ(run({"stats"}).exit, 0);
}

TEST_F(Cli, AStoreOfAnotherFormatIsLeftAlone) {
  make_store();
  // The version stands behind the magic; the closing sum is that of the bytes before it.
  for (const char* name : {"/CAIRN", "/state/CAIRN.copy"}) {
    std::string bytes = read_file(dir() + name);
    bytes[4] = static_cast<char>(bytes[4] + 1);
    const Hash128 sum = xxh3_128(as_bytes(bytes).first(bytes.size() - 16));
    std::memcpy(bytes.data() + bytes.size() - 16, &sum.low, 8);
    std::memcpy(bytes.data() + bytes.size() - 8, &sum.high, 8);
    write_file(dir() + name, bytes);
  }
  const auto before = fingerprint(dir());
  for (const CliArguments& command :
       {CliArguments{"get", "k"}, {"put", "k", "-"}, {"ls"}, {"repair"}, {"verify", "--fix"}}) {
    expect_error(run_json(command, "x"), 9, "format");
    EXPECT_EQ(fingerprint(dir()), before) << command.front();
  }
}

// --- explain, bench ---------------------------------------------------------------------------

TEST_F(Cli, ExplainComputesKeysAndFindsThem) {
  const CliArguments explain = {"explain",        "--scheme", "vllm-sha256-cbor", "--seed", "0",
                                "--block-tokens", "2",        "--tokens",         "-"};
  CliArguments json = explain;
  json.push_back("--json");
  const CliResult keys = run_cairn(json, "[1, 2, 3, 4, 5]");
  expect_object(keys, "cairn.explain/1");
  ASSERT_EQ(keys.object()["keys"].size(), 2U);
  const std::string first = keys.object()["keys"][0];
  EXPECT_EQ(run_cairn(explain, "1 2 3 4 5").out,
            first + "\n" + keys.object()["keys"][1].get<std::string>() + "\n");
  make_store();
  ASSERT_EQ(run({"put", "hex:" + first, "-", "--namespace", "kv"}, "x").exit, 0);
  json.insert(json.end(), {"--dir", dir(), "--namespace", "kv"});
  const auto found = run_cairn(json, "[1,2,3,4,5]").object();
  EXPECT_EQ(found["prefix_blocks"], 1);
  EXPECT_EQ(found["residency"][0], "cold");
  EXPECT_EQ(found["residency"][1], "none");
}

TEST_F(Cli, ExplainRefusesWhatTheSchemeCannotSay) {
  const auto explain = [](CliArguments more, const std::string& tokens) {
    more.insert(more.begin(), {"explain", "--json", "--tokens", "-", "--block-tokens", "2"});
    return run_cairn(more, tokens);
  };
  expect_error(explain({"--scheme", "sglang", "--lora", "a"}, "[1,2]"), 2, "invalid_argument");
  expect_error(explain({"--scheme", "sglang-bigram", "--salt", "a"}, "[1,2]"), 2,
               "invalid_argument");
  for (const char* scheme : {"sglang", "sglang-bigram", "flexkv"}) {
    expect_error(explain({"--scheme", scheme, "--seed", "7"}, "[1,2]"), 2, "invalid_argument");
  }
  expect_error(explain({"--scheme", "md5"}, "[1,2]"), 2, "invalid_argument");
  expect_error(explain({"--scheme", "native"}, "[1,x]"), 2, "invalid_argument");
  expect_error(explain({"--scheme", "native", "--group", "x"}, "[1]"), 2, "invalid_argument");
}

TEST_F(Cli, BenchListsItsNames) {
  const CliResult list = run_cairn({"bench", "--list", "--json"});
  expect_object(list, "cairn.bench/1");
  std::vector<std::string> names;
  const auto object = list.object();
  for (const auto& one : object["benches"]) names.push_back(one["name"]);
  EXPECT_THAT(names, testing::ElementsAre("lookup", "hash", "acquire", "cold-load", "cold-put",
                                          "cold-get", "warm", "stream", "churn", "write-amp",
                                          "restart", "codec", "catalog"));
  expect_error(run_cairn({"bench", "lokup", "--json"}), 2, "invalid_argument");
  EXPECT_EQ(run_cairn({"bench"}).exit, 2);
}

TEST_F(Cli, BenchesThatRunForATimeAreToldHowLong) {
  for (const char* const length : {"0", "-1", "x"}) {
    expect_error(run_cairn({"bench", "churn", "--seconds", length, "--json"}), 2,
                 "invalid_argument");
  }
  expect_error(run_cairn({"bench", "churn", "--seconds", "9", "--minutes", "1", "--json"}), 2,
               "invalid_argument");
  // Another would not look at it.
  expect_error(run_cairn({"bench", "lookup", "--seconds", "9", "--json"}), 2, "invalid_argument");
}

TEST_F(Cli, BenchSaysWhatItDidNotFind) {
  write_file(temp_.file("file"), "a file");
  for (const std::string& place : {temp_.file("none"), temp_.file("file")}) {
    const CliResult bench = run_cairn({"bench", "cold-load", "--quick", "--dir", place, "--json"});
    expect_error(bench, 1, "io");
    EXPECT_THAT(bench.object()["hint"].get<std::string>(), HasSubstr("--dir names"));
  }
  const Environment path("PATH", "/nonexistent");
  const CliResult bench =
      run_cairn({"bench", "cold-load", "--quick", "--dir", temp_.path(), "--json"});
  expect_error(bench, 1, "io");
  EXPECT_THAT(bench.object()["message"].get<std::string>(), HasSubstr("apt-get install fio"));
  EXPECT_THAT(bench.object()["hint"].get<std::string>(), HasSubstr("PATH"));
}

}  // namespace
}  // namespace cairn::test
