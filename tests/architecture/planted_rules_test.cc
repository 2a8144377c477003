// SPDX-License-Identifier: Apache-2.0
// A planted bug must be reachable in its own tree and in no other: every switch in the sources
// stands in the table of tests/planted/README.md and the other way round, and nothing that a
// user could get is configured with one.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <set>
#include <string>

#include "tests/architecture/source_tree.h"

namespace cairn::test {
namespace {

std::set<std::string> all_matches(const std::string& text, const std::regex& pattern) {
  std::set<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), pattern), end; match != end; ++match) {
    found.insert((*match)[1]);
  }
  return found;
}

std::string text_of(const std::string& path) {
  for (const SourceFile& file : source_tree()) {
    if (file.path == path) return file.text;
  }
  ADD_FAILURE() << path << " is not there";
  return {};
}

// The first column: | `key_not_compared` | …
std::set<std::string> bugs_in_table() {
  const std::regex row(R"((?:^|\n)\| `([a-z_]+)` \|)");
  return all_matches(text_of("tests/planted/README.md"), row);
}

std::set<std::string> bugs_in_sources() {
  const std::regex macro("CAIRN_PLANTED_([A-Z_]+)");
  std::set<std::string> bugs;
  for (const SourceFile& file : source_tree()) {
    if (!file.is_cpp() || (!file.is_under("engine") && !file.is_under("tiers"))) continue;
    for (std::string name : all_matches(file.text, macro)) {
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
      bugs.insert(name);
    }
  }
  return bugs;
}

TEST(PlantedRules, EveryBugOfTheTableIsInTheSourcesAndTheOtherWayRound) {
  EXPECT_EQ(bugs_in_table(), bugs_in_sources());
}

TEST(PlantedRules, ThereAreAtLeastTwelve) {
  EXPECT_GE(bugs_in_table().size(), 12U);
}

TEST(PlantedRules, NoPresetPlantsOne) {
  EXPECT_EQ(text_of("CMakePresets.json").find("PLANTED"), std::string::npos);
}

TEST(PlantedRules, TheOptionIsEmptyUnlessGivenAndOneFunctionKnowsIt) {
  EXPECT_NE(text_of("cmake/options.cmake").find("set(CAIRN_PLANTED_BUG \"\""), std::string::npos);
  for (const SourceFile& file : source_tree()) {
    const bool configures = file.has_extension(".cmake") || file.has_extension("CMakeLists.txt");
    if (!configures || file.path == "cmake/options.cmake" || file.path == "cmake/cairn_add.cmake")
      continue;
    EXPECT_EQ(file.text.find("CAIRN_PLANTED"), std::string::npos) << file.path;
  }
}

TEST(PlantedRules, ThisVeryBuildHasNoneUnlessItIsAPlantedTree) {
  // The tests of a release tree are built with the flags of its programs.
#if !defined(CAIRN_DCHECKS)
  const std::string cache =
      std::string(std::getenv("CAIRN_BINARY_DIR") != nullptr ? std::getenv("CAIRN_BINARY_DIR")
                                                             : source_root() + "/build/release");
  if (cache.find("/release") == std::string::npos) GTEST_SKIP() << "not the release tree";
  const std::string command =
      "grep -q '^CAIRN_PLANTED_BUG:STRING=$' '" + cache + "/CMakeCache.txt'";
  EXPECT_EQ(std::system(command.c_str()), 0) << cache;
#else
  GTEST_SKIP() << "not the release tree";
#endif
}

}  // namespace
}  // namespace cairn::test
