// SPDX-License-Identifier: Apache-2.0
// The program as scripts see it: each command on blocks, its success and each way it can fail,
// by exit code and by what is on stdout. The store is a real one in a temporary directory.
#include <filesystem>

#include "tests/integration/cli_fixture.h"

namespace cairn::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// --- the program ------------------------------------------------------------------------------

TEST_F(Cli, AlonePrintsATourOfSixLines) {
  const CliResult tour = run_cairn({});
  EXPECT_EQ(tour.exit, 0);
  EXPECT_EQ(std::count(tour.out.begin(), tour.out.end(), '\n'), 6) << tour.out;
  EXPECT_THAT(tour.out, HasSubstr("cairn replay"));
  expect_object(run_cairn({"--json"}), "cairn.help/1");
  EXPECT_EQ(run_cairn({"--json"}).object()["text"], tour.out.substr(0, tour.out.size() - 1));
}

TEST_F(Cli, EveryCommandHasHelpWithExamples) {
  const std::vector<CliArguments> commands = {{"put"},
                                              {"get"},
                                              {"erase"},
                                              {"ls"},
                                              {"stats"},
                                              {"inspect"},
                                              {"verify"},
                                              {"repair"},
                                              {"compact"},
                                              {"doctor"},
                                              {"explain"},
                                              {"replay"},
                                              {"bench"},
                                              {"version"},
                                              {"inspect", "superblock"},
                                              {"inspect", "segment"},
                                              {"inspect", "entry"}};
  for (CliArguments command : commands) {
    const std::string name = command.back();
    command.push_back("--help");
    const CliResult help = run_cairn(command);
    EXPECT_EQ(help.exit, 0) << name;
    EXPECT_THAT(help.out, HasSubstr("Examples:")) << name;
    EXPECT_THAT(help.out, HasSubstr("  cairn " + command.front())) << name;
    EXPECT_THAT(help.out, HasSubstr("Usage: cairn " + command.front())) << name;
    EXPECT_THAT(help.out, HasSubstr("--json")) << name;
    EXPECT_THAT(help.err, IsEmpty()) << name;
    command.push_back("--json");
    expect_object(run_cairn(command), "cairn.help/1");
  }
  EXPECT_THAT(run_cairn({"--help"}).out, HasSubstr("replay"));
}

TEST_F(Cli, UnknownCommandsAndOptionsAreUsageErrorsWithASuggestion) {
  const CliResult command = run_cairn({"verfy"});
  EXPECT_EQ(command.exit, 2);
  EXPECT_THAT(command.err, HasSubstr("did you mean 'verify'?"));
  EXPECT_THAT(command.out, IsEmpty());
  const CliResult option = run({"stats", "--jsno"});
  EXPECT_EQ(option.exit, 2);
  EXPECT_THAT(option.err, HasSubstr("'--json'"));
  expect_error(run_cairn({"verfy", "--json"}), 2, "invalid_argument");
  expect_error(run_cairn({"get", "--json", "key"}), 2, "invalid_argument");  // no --dir
}

TEST_F(Cli, VersionSaysWhichFormatItOpens) {
  expect_object(run_cairn({"version", "--json"}), "cairn.version/1");
  EXPECT_EQ(run_cairn({"version", "--json"}).object()["format"], 1);
  EXPECT_EQ(run_cairn({"--version"}).out, run_cairn({"version"}).out);
}

// --- where there is no store ------------------------------------------------------------------

TEST_F(Cli, WithoutAStoreOnlyPutAndReplayMakeOne) {
  const std::vector<CliArguments> commands = {{"get", "k"},
                                              {"erase", "k"},
                                              {"ls"},
                                              {"stats"},
                                              {"inspect", "superblock"},
                                              {"inspect", "segment", "0"},
                                              {"inspect", "entry", "k"},
                                              {"verify"},
                                              {"verify", "--fix"},
                                              {"repair"},
                                              {"repair", "--dry-run"},
                                              {"compact"},
                                              {"doctor"}};
  for (const bool exists : {false, true}) {
    if (exists) std::filesystem::create_directory(dir());
    for (const CliArguments& command : commands) {
      SCOPED_TRACE(command.front());
      expect_error(run_json(command), 3, "not_found");
      EXPECT_EQ(std::filesystem::exists(dir()), exists);
      if (exists) {
        EXPECT_TRUE(std::filesystem::is_empty(dir()));
      }
    }
    const CliResult explain = run_json({"explain", "--scheme", "native", "--tokens", "-"}, "[1]");
    expect_error(explain, 3, "not_found");
  }
}

TEST_F(Cli, ADirectoryOfSomethingElseIsLeftAlone) {
  std::filesystem::create_directory(dir());
  write_file(dir() + "/letters.txt", "not a store");
  const auto before = fingerprint(temp_.path());
  for (const CliArguments& command :
       {CliArguments{"put", "k", "-"}, {"get", "k"}, {"repair"}, {"ls"}}) {
    const CliResult result = run_json(command, "x");
    EXPECT_NE(result.exit, 0) << command.front();
    EXPECT_TRUE(result.object().is_object());
  }
  for (const CliArguments& command : {CliArguments{"doctor"}, {"get", "k"}, {"repair"}}) {
    const CliResult none = run_json(command);
    expect_error(none, 3, "not_found");
    EXPECT_THAT(none.object()["hint"].get<std::string>(), Not(HasSubstr("ls")));
  }
  EXPECT_EQ(fingerprint(temp_.path()), before);
}

// --- put, get, erase --------------------------------------------------------------------------

TEST_F(Cli, BlocksOfEverySizeComeBackByteForByte) {
  make_store();
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096},
                                 std::size_t{1} << 20, (std::size_t{1} << 20) + 13}) {
    const std::string payload = random_bytes(size);
    const std::string key = "block-" + std::to_string(size);
    ASSERT_EQ(run({"put", key, "-"}, payload).exit, 0) << size;
    const CliResult got = run({"get", key});
    EXPECT_EQ(got.exit, 0) << got.err;
    EXPECT_TRUE(got.out == payload) << size;
  }
}

TEST_F(Cli, TheLargestBlockFitsAndOneByteMoreIsRefused) {
  const std::string payload = random_bytes(std::size_t{64} << 20);
  write_file(temp_.file("large"), payload);
  const CliResult put = run({"put", "large", temp_.file("large"), "--cold", "16GiB"});
  ASSERT_EQ(put.exit, 0) << put.err;
  ASSERT_EQ(run({"get", "large", "-f", temp_.file("back")}).exit, 0);
  EXPECT_TRUE(read_file(temp_.file("back")) == payload);

  write_file(temp_.file("larger"), payload + "x");
  expect_error(run_json({"put", "larger", temp_.file("larger")}), 1, "too_large");
}

TEST_F(Cli, ABlockLargerThanASegmentIsRefusedWithTheLimit) {
  make_store();  // 256 MiB: segments of 4 MiB
  const CliResult put = run_json({"put", "k", "-"}, random_bytes(std::size_t{5} << 20));
  expect_error(put, 1, "too_large");
  EXPECT_THAT(put.object()["hint"].get<std::string>(), HasSubstr("--cold 768MiB"));
}

TEST_F(Cli, ABlockThatANewStoreCannotHoldMakesNone) {
  const std::string payload = random_bytes(std::size_t{5} << 20);
  const CliResult put = run_json({"put", "k", "-", "--cold", "256MiB"}, payload);
  expect_error(put, 1, "too_large");
  EXPECT_THAT(put.object()["hint"].get<std::string>(), HasSubstr("--cold 768MiB"));
  EXPECT_FALSE(std::filesystem::exists(dir()));
  EXPECT_EQ(run({"put", "k", "-", "--cold", "768MiB"}, payload).exit, 0) << "as the hint says";
}

TEST_F(Cli, TooLargeABlockMakesNoStore) {
  const std::string large((std::size_t{64} << 20) + 1, 'x');
  expect_error(run_json({"put", "k", "-"}, large), 1, "too_large");
  EXPECT_FALSE(std::filesystem::exists(dir()));
}

TEST_F(Cli, TooSmallALimitMakesNoStore) {
  expect_error(run_json({"put", "k", "-", "--cold", "1MiB"}, "x"), 2, "invalid_argument");
  EXPECT_FALSE(std::filesystem::exists(dir()));
}

TEST_F(Cli, DefaultIsMutableAndASecondPutReplaces) {
  make_store();
  const CliResult again = run_json({"put", "greeting", "-"}, "goodbye!");
  expect_object(again, "cairn.put/1");
  EXPECT_EQ(again.object()["outcome"], "replaced");
  EXPECT_EQ(run({"get", "greeting"}).out, "goodbye!");
}

TEST_F(Cli, OtherNamespacesAreContentAddressedUnlessMutable) {
  make_store();
  ASSERT_EQ(run({"put", "k", "-", "--namespace", "kv"}, "first").exit, 0);
  const CliResult again = run_json({"put", "k", "-", "--namespace", "kv"}, "other");
  EXPECT_EQ(again.object()["outcome"], "already_present");
  EXPECT_EQ(run({"get", "k", "--namespace", "kv"}).out, "first");
  expect_error(run_json({"put", "k", "-", "--namespace", "kv"}, "longer than that"), 1, "mismatch");
  EXPECT_EQ(run({"put", "k", "-", "--namespace", "kv", "--mutable"}, "x").exit, 2);

  ASSERT_EQ(run({"put", "k", "-", "--namespace", "notes", "--mutable"}, "a").exit, 0);
  ASSERT_EQ(run({"put", "k", "-", "--namespace", "notes"}, "bb").exit, 0);
  EXPECT_EQ(run({"get", "k", "--namespace", "notes"}).out, "bb");
  EXPECT_EQ(run({"get", "k"}).exit, 3);  // blocks never cross namespaces
}

TEST_F(Cli, ParentsNeedAContentAddressedNamespace) {
  expect_error(run_json({"put", "k", "-", "--parent", "p"}, "x"), 2, "invalid_argument");
  EXPECT_FALSE(std::filesystem::exists(dir())) << "refused before a store was made";
  make_store();
  expect_error(run_json({"put", "k", "-", "--parent", "p"}, "x"), 2, "invalid_argument");
  ASSERT_EQ(run({"put", "root", "-", "--namespace", "kv"}, "r").exit, 0);
  ASSERT_EQ(run({"put", "leaf", "-", "--namespace", "kv", "--parent", "root"}, "l").exit, 0);
  const auto root = run_json({"inspect", "entry", "root", "--namespace", "kv"}).object();
  const auto leaf = run_json({"inspect", "entry", "leaf", "--namespace", "kv"}).object();
  EXPECT_EQ(leaf["record"]["parent_id"], root["id"]);
}

TEST_F(Cli, KeysAreBytes) {
  make_store();
  ASSERT_EQ(run({"put", "hex:00ff0a", "-"}, "binary key").exit, 0);
  EXPECT_EQ(run({"get", "hex:00FF0A"}).out, "binary key");
  expect_error(run_json({"get", "hex:0"}), 2, "invalid_argument");
  expect_error(run_json({"get", ""}), 2, "invalid_argument");
  EXPECT_EQ(run({"put", std::string(1024, 'k'), "-"}, "x").exit, 0);
  expect_error(run_json({"put", std::string(1025, 'k'), "-"}, "x"), 2, "invalid_argument");
}

TEST_F(Cli, WrittenAndDurableAreKeptByAClosedStoreAndMemoryIsNot) {
  make_store();
  for (const char* durability : {"written", "durable"}) {
    ASSERT_EQ(run({"put", durability, "-", "--durability", durability}, durability).exit, 0);
    EXPECT_EQ(run({"get", durability}).out, durability);
  }
  const CliResult memory = run({"put", "m", "-", "--durability", "memory"}, "m");
  EXPECT_EQ(memory.exit, 0);
  EXPECT_THAT(memory.err, HasSubstr("the block is not kept"));
  EXPECT_THAT(run({"put", "d", "-"}, "d").err, IsEmpty());
  EXPECT_EQ(run({"get", "m"}).exit, 3) << "memory ends with its process";
  EXPECT_EQ(run({"put", "k", "-", "--durability", "forever"}, "x").exit, 2);
}

TEST_F(Cli, AMissIsThreeAndAnErrorObject) {
  make_store();
  const CliResult miss = run({"get", "nothing"});
  EXPECT_EQ(miss.exit, 3);
  EXPECT_THAT(miss.out, IsEmpty());
  expect_error(run_json({"get", "nothing"}), 3, "not_found");
  expect_error(run_json({"get", "nothing", "--namespace", "none"}), 3, "not_found");
  expect_error(run_json({"erase", "nothing"}), 3, "not_found");
}

TEST_F(Cli, GetAsJsonCarriesTheBytes) {
  make_store();
  const CliResult got = run_json({"get", "greeting"});
  expect_object(got, "cairn.get/1");
  EXPECT_EQ(got.object()["value_base64"], "aGVsbG8=");
  EXPECT_EQ(got.object()["bytes"], 5);
}

TEST_F(Cli, GetIntoAFileReplacesItWhole) {
  make_store();
  const std::string file = temp_.file("out");
  write_file(file, "what was there before, and longer");
  ASSERT_EQ(run({"get", "greeting", "-f", file}).exit, 0);
  EXPECT_EQ(read_file(file), "hello");
  EXPECT_EQ(run({"get", "nothing", "-f", file}).exit, 3);
  EXPECT_EQ(read_file(file), "hello");
  for (const auto& entry : std::filesystem::directory_iterator(temp_.path())) {
    EXPECT_THAT(entry.path().filename().string(), testing::AnyOf("out", "store"));
  }
}

TEST_F(Cli, AFileThatCannotBeWrittenIsNoMiss) {
  make_store();
  for (const std::string& file : {temp_.file("no/such/place"), temp_.path()}) {
    SCOPED_TRACE(file);
    const CliResult got = run_json({"get", "greeting", "-f", file});
    expect_error(got, 1, "io");
    EXPECT_THAT(got.object()["hint"].get<std::string>(), HasSubstr("name a file"));
  }
  EXPECT_THAT(run({"get", "greeting", "-f", temp_.path()}).err, HasSubstr("is a directory"));
}

TEST_F(Cli, GetWritesThroughLinksAndIntoWhatIsNoFile) {
  namespace fs = std::filesystem;
  make_store();
  fs::create_directory(temp_.file("elsewhere"));
  for (const char* target : {"there", "not-yet"}) {
    SCOPED_TRACE(target);
    const std::string file = temp_.file("elsewhere/") + target;
    if (std::string_view(target) == "there") write_file(file, "old");
    fs::create_symlink(std::string("elsewhere/") + target, temp_.file("link"));
    fs::create_symlink(temp_.file("link"), temp_.file("link-to-link"));
    ASSERT_EQ(run({"get", "greeting", "-f", temp_.file("link-to-link")}).exit, 0);
    EXPECT_EQ(read_file(file), "hello");
    EXPECT_TRUE(fs::is_symlink(temp_.file("link")));
    EXPECT_TRUE(fs::is_symlink(temp_.file("link-to-link")));
    fs::remove(temp_.file("link"));
    fs::remove(temp_.file("link-to-link"));
  }
  // The link's own name is of ours, so that a failure harms no /dev/stdout.
  fs::create_symlink("/proc/self/fd/1", temp_.file("stdout"));
  EXPECT_EQ(run({"get", "greeting", "-f", temp_.file("stdout")}).out, "hello");
  EXPECT_TRUE(fs::is_symlink(temp_.file("stdout")));
  fs::create_symlink("loop", temp_.file("loop"));
  EXPECT_EQ(run({"get", "greeting", "-f", temp_.file("loop")}).exit, 1);
}

TEST_F(Cli, GetIntoDashIsStdout) {
  make_store();
  EXPECT_EQ(run({"get", "greeting", "-f", "-"}).out, "hello");
  EXPECT_FALSE(std::filesystem::exists("-"));
  const CliResult empty = run({"get", "greeting", "-f", ""});
  EXPECT_EQ(empty.exit, 2);
  EXPECT_THAT(empty.err, HasSubstr("the name of the file is empty; - is stdout"));
}

TEST_F(Cli, ErasedIsGone) {
  make_store();
  expect_object(run_json({"erase", "greeting"}), "cairn.erase/1");
  EXPECT_EQ(run({"get", "greeting"}).exit, 3);
  EXPECT_EQ(run({"erase", "greeting"}).exit, 3);
}

TEST_F(Cli, AFileThatIsNotThereIsNotFound) {
  const CliResult put = run_json({"put", "k", temp_.file("none")});
  expect_error(put, 3, "not_found");
  EXPECT_THAT(put.object()["hint"].get<std::string>(), HasSubstr("name a file"));
  EXPECT_FALSE(std::filesystem::exists(dir()));
}

// --- ls ---------------------------------------------------------------------------------------

TEST_F(Cli, ListsInOrderOneObjectALine) {
  make_store();
  for (const char* key : {"b/2", "a", "b/1", "c", "hex:00"}) {
    ASSERT_EQ(run({"put", key, "-"}, "x").exit, 0);
  }
  ASSERT_EQ(run({"put", "b/9", "-", "--namespace", "other"}, "x").exit, 0);

  const auto keys = [](const CliResult& listed) {
    std::vector<std::string> all;
    for (const auto& object : listed.objects()) {
      EXPECT_EQ(object.begin().key(), "schema");
      EXPECT_EQ(object["schema"], "cairn.ls/1");
      all.push_back(object["key"]);
    }
    return all;
  };
  EXPECT_THAT(keys(run_json({"ls"})),
              testing::ElementsAre("hex:00", "a", "b/1", "b/2", "c", "greeting"));
  EXPECT_THAT(keys(run_json({"ls", "b/"})), testing::ElementsAre("b/1", "b/2"));
  EXPECT_THAT(keys(run_json({"ls", "hex:00"})), testing::ElementsAre("hex:00"));
  EXPECT_THAT(keys(run_json({"ls", "--namespace", "other"})), testing::ElementsAre("b/9"));
  EXPECT_EQ(keys(run_json({"ls", "--all-namespaces"})).size(), 7U);
  EXPECT_THAT(keys(run_json({"ls", "zzz"})), IsEmpty());
  EXPECT_EQ(keys(run_json({"ls", "--tier", "cold"})).size(), 6U);
  EXPECT_THAT(keys(run_json({"ls", "--tier", "warm"})), IsEmpty());
  EXPECT_THAT(run({"ls", "--tier", "hot"}).err, HasSubstr("all blocks are cold"));
  expect_error(run_json({"ls", "--tier", "tepid"}), 2, "invalid_argument");
  expect_error(run_json({"ls", "--all-namespaces", "--namespace", "other"}), 2, "invalid_argument");
  expect_error(run_json({"ls", "--namespace", "none"}), 3, "not_found");

  const auto detailed = run_json({"ls", "a", "--long"}).objects().at(0);
  EXPECT_EQ(detailed["bytes"], 1);
  EXPECT_TRUE(detailed.contains("sequence"));
  EXPECT_THAT(run({"ls"}).out, HasSubstr("greeting\n"));
}

}  // namespace
}  // namespace cairn::test
