// SPDX-License-Identifier: Apache-2.0
#include "tests/architecture/source_tree.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace cairn::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> tracked_by_git(const std::string& root) {
  const std::string command = "git -C '" + root + "' ls-files -z 2>/dev/null";
  std::vector<std::string> paths;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return paths;
  std::string output;
  std::array<char, 65536> chunk{};
  for (std::size_t got = 0; (got = std::fread(chunk.data(), 1, chunk.size(), pipe)) > 0;) {
    output.append(chunk.data(), got);
  }
  if (::pclose(pipe) != 0) return {};
  std::istringstream names(output);
  for (std::string name; std::getline(names, name, '\0');) paths.push_back(name);
  return paths;
}

std::vector<std::string> everything_under(const std::string& root) {
  std::vector<std::string> paths;
  for (auto entry = fs::recursive_directory_iterator(root); entry != fs::end(entry); ++entry) {
    const std::string name = entry->path().filename().string();
    if (entry->is_directory() && (name == "build" || name == ".git" || name == ".cache")) {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file()) {
      paths.push_back(fs::relative(entry->path(), root).generic_string());
    }
  }
  return paths;
}

std::string content(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// A fixture of bytes is no source: what git itself takes for binary is one with a NUL early on.
bool is_text(std::string_view bytes) {
  return bytes.substr(0, 8000).find('\0') == std::string_view::npos;
}

std::vector<SourceFile> read_tree() {
  const std::string root = source_root();
  std::vector<std::string> paths = tracked_by_git(root);
  if (paths.empty()) paths = everything_under(root);
  std::sort(paths.begin(), paths.end());
  std::vector<SourceFile> files;
  for (const std::string& path : paths) {
    const std::string full = root + "/" + path;
    if (!fs::is_regular_file(full)) continue;  // removed and not yet committed, or a submodule
    std::string text = content(full);
    if (is_text(text)) files.push_back({path, std::move(text)});
  }
  return files;
}

}  // namespace

bool SourceFile::is_under(std::string_view folder) const {
  return path.size() > folder.size() && path.compare(0, folder.size(), folder) == 0 &&
         path[folder.size()] == '/';
}

bool SourceFile::has_extension(std::string_view extension) const {
  return path.size() > extension.size() &&
         path.compare(path.size() - extension.size(), extension.size(), extension) == 0;
}

std::string SourceFile::folder() const {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

std::string source_root() {
  if (const char* given = std::getenv("CAIRN_SOURCE_DIR"); given != nullptr) return given;
  return fs::path(__FILE__).parent_path().parent_path().parent_path().string();
}

const std::vector<SourceFile>& source_tree() {
  static const std::vector<SourceFile> files = read_tree();
  return files;
}

bool source_exists(const std::string& path) {
  return fs::exists(source_root() + "/" + path);
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

}  // namespace cairn::test
