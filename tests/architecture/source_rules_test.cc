// SPDX-License-Identifier: Apache-2.0
// Style that a machine can judge: a licence line in each file, no file that grew past what can
// be read in one sitting, nothing left for later, nothing named after its own history.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>
#include <string>

#include "tests/architecture/source_tree.h"

namespace cairn::test {
namespace {

// Whole files that carry no licence line of their own, and why.
bool needs_licence_line(const SourceFile& file) {
  static const std::map<std::string, std::string> without = {
      {"LICENSE", "is the licence"},
  };
  if (without.contains(file.path)) return false;
  // Data has no comments: vectors, fixtures and corpora are read as they are.
  for (const char* extension : {".json", ".jsonl", ".csv"}) {
    if (file.has_extension(extension)) return false;
  }
  return !file.is_under("tests/golden/fixtures") && !file.is_under("tests/fuzz/corpus");
}

// Files that may be longer, and why. Empty is how it should stay.
const std::map<std::string, std::string>& longer_files() {
  static const std::map<std::string, std::string> files = {
      {"tests/integration/cli_test.cc", "one case for each command and its errors"},
  };
  return files;
}

constexpr std::size_t kLinesMax = 500;
constexpr std::size_t kColumnsMax = 100;

bool is_source(const SourceFile& file) {
  return file.is_cpp() || file.has_extension(".py") || file.has_extension(".sh") ||
         file.has_extension(".cmake") || file.path.find("CMakeLists.txt") != std::string::npos ||
         file.path == "Makefile";
}

// Columns as an editor shows them: UTF-8 continuation bytes do not count.
std::size_t columns_of(const std::string& line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char letter) {
    return (static_cast<unsigned char>(letter) & 0xc0U) != 0x80U;
  }));
}

TEST(SourceRules, EveryFileNamesItsLicence) {
  for (const SourceFile& file : source_tree()) {
    if (!needs_licence_line(file)) continue;
    const std::string head = file.text.substr(0, 200);
    EXPECT_NE(head.find("SPDX-License-Identifier: Apache-2.0"), std::string::npos) << file.path;
  }
}

TEST(SourceRules, NoFileIsLongerThanFiveHundredLines) {
  for (const SourceFile& file : source_tree()) {
    if (!is_source(file) || longer_files().contains(file.path)) continue;
    EXPECT_LE(lines_of(file.text).size(), kLinesMax)
        << file.path << " needs a second purpose taken out";
  }
}

TEST(SourceRules, NothingIsLeftForLater) {
  // Spelled in halves, so that this file passes its own test.
  const std::regex leftover(std::string("\\b(TO") + "DO|FIX" + "ME|XX" + "X|HA" + "CK)\\b");
  for (const SourceFile& file : source_tree()) {
    if (!is_source(file)) continue;
    int number = 0;
    for (const std::string& line : lines_of(file.text)) {
      ++number;
      EXPECT_FALSE(std::regex_search(line, leftover)) << file.path << ":" << number << ": " << line;
    }
  }
}

TEST(SourceRules, NoFileIsNamedAfterItsHistory) {
  const std::regex historical("(_old|_new|_tmp|_final|_bak)(\\.|$)");
  for (const SourceFile& file : source_tree()) {
    if (is_source(file)) {
      EXPECT_FALSE(std::regex_search(file.path, historical)) << file.path;
    }
  }
}

TEST(SourceRules, HeadersAreGuardedByPragmaOnce) {
  for (const SourceFile& file : source_tree()) {
    if (!file.has_extension(".h")) continue;
    EXPECT_NE(file.text.find("\n#pragma once\n"), std::string::npos) << file.path;
  }
}

TEST(SourceRules, EveryHeaderSaysWhatItIs) {
  for (const SourceFile& file : source_tree()) {
    if (!file.has_extension(".h")) continue;
    const std::string name = file.path.substr(file.path.rfind('/') + 1);
    EXPECT_NE(file.text.find("// " + name + " — "), std::string::npos)
        << file.path << " does not begin with '// " << name << " — what it is'";
  }
}

TEST(SourceRules, SourcesEndWithALineAndCarryNoTabsNorTrailingBlanks) {
  for (const SourceFile& file : source_tree()) {
    if (!file.is_cpp()) continue;
    EXPECT_TRUE(!file.text.empty() && file.text.back() == '\n') << file.path;
    int number = 0;
    for (const std::string& line : lines_of(file.text)) {
      ++number;
      EXPECT_EQ(line.find('\t'), std::string::npos) << file.path << ":" << number;
      EXPECT_FALSE(!line.empty() && line.back() == ' ') << file.path << ":" << number;
    }
  }
}

TEST(SourceRules, LinesFitIntoAHundredColumns) {
  for (const SourceFile& file : source_tree()) {
    if (!file.is_cpp()) continue;
    int number = 0;
    for (const std::string& line : lines_of(file.text)) {
      ++number;
      // A link cannot be broken.
      if (line.find("://") != std::string::npos) continue;
      EXPECT_LE(columns_of(line), kColumnsMax) << file.path << ":" << number;
    }
  }
}

TEST(SourceRules, LocksAreOurOwn) {
  // std::mutex has no rank and no annotations; absl::Mutex is invisible to ThreadSanitizer.
  const std::regex foreign(
      "std::(mutex|shared_mutex|recursive_mutex|lock_guard|scoped_lock)\\b|absl::Mutex\\b");
  for (const SourceFile& file : source_tree()) {
    if (!file.is_cpp() || file.path == "engine/base/mutex.h") continue;
    if (!file.is_under("engine") && !file.is_under("tiers")) continue;
    int number = 0;
    for (const std::string& line : lines_of(file.text)) {
      ++number;
      if (line.find("//") != std::string::npos) continue;
      EXPECT_FALSE(std::regex_search(line, foreign)) << file.path << ":" << number << ": " << line;
    }
  }
}

}  // namespace
}  // namespace cairn::test
