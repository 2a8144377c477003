// SPDX-License-Identifier: Apache-2.0
// Pages decay silently: a file is renamed, a target goes, a link breaks. So every link of every
// page is followed, every file that ARCHITECTURE.md names is looked for, and every command that
// README.md shows is one that exists.
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <set>
#include <string>

#include "tests/architecture/source_tree.h"

namespace cairn::test {
namespace {

const SourceFile* find_file(const std::string& path) {
  for (const SourceFile& file : source_tree()) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

std::vector<std::smatch> matches(const std::string& text, const std::regex& pattern) {
  return {std::sregex_iterator(text.begin(), text.end(), pattern), std::sregex_iterator()};
}

std::string resolve(const SourceFile& page, const std::string& target) {
  return (std::filesystem::path(page.folder()) / target).lexically_normal().generic_string();
}

// As GitHub makes them: lower case, blanks to hyphens, punctuation gone.
std::string anchor_of(const std::string& heading) {
  std::string anchor;
  for (const char letter : heading) {
    const auto byte = static_cast<unsigned char>(letter);
    if (std::isalnum(byte) != 0 || letter == '_' || letter == '-' || byte >= 0x80U) {
      anchor += static_cast<char>(std::tolower(byte));
    } else if (letter == ' ') {
      anchor += '-';
    }
  }
  return anchor;
}

std::set<std::string> anchors_of(const SourceFile& page) {
  std::set<std::string> anchors;
  for (const std::string& line : lines_of(page.text)) {
    if (line.empty() || line[0] != '#') continue;
    const std::size_t begin = line.find_first_not_of("# ");
    if (begin != std::string::npos) anchors.insert(anchor_of(line.substr(begin)));
  }
  return anchors;
}

// Looks for "catalog.h", "tiers/cold/" or "ring.*" anywhere in the tree.
bool names_something(const std::string& name) {
  if (name.find('*') != std::string::npos) {
    const std::string stem = name.substr(0, name.find('*'));
    for (const SourceFile& file : source_tree()) {
      if (file.path.find(stem) != std::string::npos) return true;
    }
    return false;
  }
  if (source_exists(name)) return true;
  for (const SourceFile& file : source_tree()) {
    if (file.path == name || file.has_extension("/" + name)) return true;
  }
  return false;
}

TEST(DocsRules, EveryLinkOfEveryPageLeadsSomewhere) {
  const std::regex link(R"(\]\(([^)\s]+)\))");
  for (const SourceFile& page : source_tree()) {
    if (!page.has_extension(".md")) continue;
    for (const std::smatch& match : matches(page.text, link)) {
      std::string target = match[1];
      if (target.find("://") != std::string::npos || target.starts_with("mailto:")) continue;
      const std::size_t hash = target.find('#');
      const std::string anchor = hash == std::string::npos ? "" : target.substr(hash + 1);
      target = hash == 0 ? page.path : resolve(page, target.substr(0, hash));
      ASSERT_TRUE(source_exists(target)) << page.path << " links to " << match[1];
      if (anchor.empty()) continue;
      const SourceFile* linked = find_file(target);
      ASSERT_NE(linked, nullptr) << page.path << " links into untracked " << target;
      EXPECT_TRUE(anchors_of(*linked).contains(anchor)) << page.path << " links to " << match[1];
    }
  }
}

TEST(DocsRules, EveryFileThatArchitectureNamesExists) {
  const SourceFile* page = find_file("ARCHITECTURE.md");
  ASSERT_NE(page, nullptr);
  const std::regex quoted(R"(`([A-Za-z0-9_./*-]+(?:\.(?:h|cc|cmake|sh|py|md|txt|json|\*)|/))`)");
  // Files of a store, not of the source.
  const std::set<std::string> of_a_store = {"index/", "segments/", "state/", "lost+found/"};
  std::size_t named = 0;
  for (const std::smatch& match : matches(page->text, quoted)) {
    const std::string name = match[1];
    if (of_a_store.contains(name)) continue;
    ++named;
    EXPECT_TRUE(names_something(name)) << "ARCHITECTURE.md names " << name;
  }
  EXPECT_GT(named, 20U);
}

TEST(DocsRules, EveryFolderOfTheTreeIsInTheCodemap) {
  const SourceFile* page = find_file("ARCHITECTURE.md");
  ASSERT_NE(page, nullptr);
  std::set<std::string> folders;
  for (const SourceFile& file : source_tree()) {
    if (file.is_under("engine") || file.is_under("tiers")) folders.insert(file.folder() + "/");
  }
  for (const std::string& folder : folders) {
    EXPECT_NE(page->text.find("`" + folder + "`"), std::string::npos) << "codemap lacks " << folder;
  }
}

TEST(DocsRules, EveryLockRankIsInArchitectureAndTheOtherWayRound) {
  const SourceFile* page = find_file("ARCHITECTURE.md");
  const SourceFile* ranks = find_file("engine/base/lock_rank.h");
  ASSERT_NE(page, nullptr);
  ASSERT_NE(ranks, nullptr);
  const std::regex enumerator(R"(\n  ([a-z_]+)\s*=\s*[0-9]+,)");
  std::set<std::string> declared;
  for (const std::smatch& match : matches(ranks->text, enumerator)) declared.insert(match[1]);
  const std::regex row(R"(\n\| `([a-z_]+)` \|)");
  const std::string table = page->text.substr(page->text.find("\n| rank | guards |"));
  std::set<std::string> described;
  const std::string rows = table.substr(0, table.find("\n\n"));
  for (const std::smatch& match : matches(rows, row)) described.insert(match[1]);
  EXPECT_GT(declared.size(), 5U);
  EXPECT_EQ(declared, described);
}

TEST(DocsRules, EveryMakeTargetThatAPageShowsExists) {
  const SourceFile* makefile = find_file("Makefile");
  ASSERT_NE(makefile, nullptr);
  const std::regex target(R"((?:^|[`$ ])make ([a-z][a-z-]*))", std::regex::multiline);
  const std::regex code(R"(`[^`\n]*`|^ {4}.*$)", std::regex::multiline);
  for (const char* name :
       {"README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/testing.md", "docs/status.md",
        "tests/README.md", "tests/planted/README.md", "bench/README.md"}) {
    const SourceFile* page = find_file(name);
    ASSERT_NE(page, nullptr) << name;
    for (const std::smatch& span : matches(page->text, code)) {
      const std::string text = span.str();
      for (const std::smatch& match : matches(text, target)) {
        EXPECT_NE(makefile->text.find("\n" + match[1].str() + ":"), std::string::npos)
            << name << " shows make " << match[1];
      }
    }
  }
}

TEST(DocsRules, EveryPresetThatAPageShowsExists) {
  const SourceFile* presets = find_file("CMakePresets.json");
  ASSERT_NE(presets, nullptr);
  const std::regex preset("--preset[ =]([a-z]+)");
  for (const SourceFile& page : source_tree()) {
    if (!page.has_extension(".md")) continue;
    for (const std::smatch& match : matches(page.text, preset)) {
      EXPECT_NE(presets->text.find("\"name\": \"" + match[1].str() + "\""), std::string::npos)
          << page.path << " shows --preset " << match[1];
    }
  }
}

TEST(DocsRules, EveryProgramThatReadmeShowsIsBuilt) {
  const SourceFile* readme = find_file("README.md");
  ASSERT_NE(readme, nullptr);
  const std::regex program("build/release/bin/([a-z_]+)");
  for (const std::smatch& match : matches(readme->text, program)) {
    bool built = false;
    for (const SourceFile& file : source_tree()) {
      if (file.has_extension("CMakeLists.txt") &&
          file.text.find("NAME " + match[1].str()) != std::string::npos) {
        built = true;
      }
    }
    EXPECT_TRUE(built) << "README.md shows " << match[0];
  }
}

}  // namespace
}  // namespace cairn::test
