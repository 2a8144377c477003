// SPDX-License-Identifier: Apache-2.0
// source_tree.h — the tracked files of the project, as the architecture tests read them.
//
// What git tracks, so that build trees and somebody's half-written file are nobody's
// business; where there is no git (an unpacked archive), everything but build trees.
//
// Threading: thread-compatible. Blocking: disk.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cairn::test {

struct SourceFile {
  std::string path;  // from the repository root, with '/'
  std::string text;

  bool is_under(std::string_view folder) const;          // "engine", "tests/support"
  bool has_extension(std::string_view extension) const;  // ".h"
  bool is_cpp() const { return has_extension(".h") || has_extension(".cc"); }
  std::string folder() const;  // without the file name; empty at the root
};

/// $CAIRN_SOURCE_DIR, or where this file was compiled from.
std::string source_root();
/// Every tracked text file, sorted by path.
const std::vector<SourceFile>& source_tree();
bool source_exists(const std::string& path);  // file or folder, from the root

std::vector<std::string> lines_of(std::string_view text);

}  // namespace cairn::test
