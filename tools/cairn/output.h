// SPDX-License-Identifier: Apache-2.0
// output.h — everything a command says: one JSON object or text for people on stdout, the
// rest on stderr.
//
// Threading: confined to the main thread. Blocking: as stdout and stderr do.
// Failure:   a stdout that takes no more (a closed pipe, a full disk) is remembered, and
//            finish() turns it into an error, because a script would take half for all.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/bytes.h"
#include "tools/cairn/exit_code.h"

namespace cairn::tools {

/// Keeps the order of its fields.
using Json = nlohmann::ordered_json;

/// {"schema":"cairn.<command>/1"}
Json make_object(std::string_view command);
/// Bytes that are not UTF-8 come out as U+FFFD; no newline inside.
std::string to_line(const Json& object);
/// {"schema":"cairn.error/1","error":…,"message":…,"hint":…}
Json error_object(const absl::Status& status);

/// Text in columns; the first is on the left, numbers are on the right.
class Table {
 public:
  enum class Align : std::uint8_t { left, right };

  explicit Table(std::vector<Align> columns) : columns_(std::move(columns)) {}
  /// As many cells as columns, or fewer.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void add_blank() { rows_.emplace_back(); }
  /// Each row on a line, indented by two blanks, without blanks at the end.
  std::string text() const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// How many columns of a terminal the UTF-8 text takes (each character one).
std::size_t display_width(std::string_view text);

class Output {
 public:
  void set_json(bool json) { json_ = json; }
  void set_quiet(bool quiet) { quiet_ = quiet; }
  bool json() const { return json_; }
  bool quiet() const { return quiet_; }

  /// On stdout, with --json only.
  void object(const Json& object);
  /// On stdout, without --json only; a newline is added where there is none.
  void text(std::string_view text);
  /// On stdout, whatever was asked: the bytes of a block.
  void bytes(ByteSpan bytes);
  /// On stderr, unless --quiet.
  void note(std::string_view line);
  /// The error as an object on stdout or as a line on stderr.
  void failure(const absl::Status& status);
  /// Whether stdout has taken everything so far.
  bool is_sound() const { return sound_; }
  absl::Status finish();

 private:
  void write(std::string_view text);

  bool json_ = false;
  bool quiet_ = false;
  bool sound_ = true;
};

}  // namespace cairn::tools
