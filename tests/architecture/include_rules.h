// SPDX-License-Identifier: Apache-2.0
// include_rules.h — who may include whom, as a table, and what a file does against it.
//
// The linker already refuses a stray call into RocksDB or liburing from the engine, because
// third parties are PRIVATE dependencies. Debian's headers lie on the default path, though,
// so a stray #include compiles; hence this.
//
// Threading: pure functions. Blocking: never.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cairn::test {

struct Include {
  int line = 0;
  bool angled = false;  // <…> or "…"
  std::string path;
};

/// The #include lines of a source, in order.
std::vector<Include> includes_of(std::string_view text);

/// What `path`, with this text, includes and may not: one sentence each, with the line.
std::vector<std::string> include_violations(std::string_view path, std::string_view text);

}  // namespace cairn::test
