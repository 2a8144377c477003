// SPDX-License-Identifier: Apache-2.0
// arguments.h — the command line: which commands there are, and what each is told.
//
// A thin door over CLI11, which arguments.cc alone includes. It exists so that a command
// states its options in a line each, every value is checked by one parser, and an unknown
// word is answered with the one that was probably meant.
//
// Threading: confined to the main thread. Blocking: never.
// Failure:   parse(): `invalid_argument` with a hint.
// Lifetime:  what an option fills outlives the CommandLine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/block.h"
#include "tools/cairn/exit_code.h"
#include "tools/cairn/output.h"

namespace cairn::tools {

/// What a command does once its options are filled. A status that is not OK is printed by the
/// caller; a command that prints its own result returns the exit code.
using RunCommand = std::function<absl::StatusOr<ExitCode>(Output&)>;

struct CommandText {
  std::string_view name;
  std::string_view summary;   // one line
  std::string_view examples;  // lines as one would type them; printed under --help
};

class Command {
 public:
  enum class Need : std::uint8_t { optional, required };
  using Parse = std::function<absl::Status(const std::string&)>;

  /// Takes one value and hands it to `parse`; `shown_default` is what --help says of it.
  void option(std::string_view name, std::string_view type, std::string_view help, Parse parse,
              std::string_view shown_default = {}, Need need = Need::optional);
  void positional(std::string_view name, std::string_view help, Parse parse,
                  Need need = Need::required);
  void flag(std::string_view name, bool& value, std::string_view help);

  // The kinds of value that many commands take.
  void text(std::string_view name, std::string& value, std::string_view type, std::string_view help,
            Need need = Need::optional);
  void text(std::string_view name, std::optional<std::string>& value, std::string_view type,
            std::string_view help);
  enum class Zero : std::uint8_t { refused, allowed };
  void size(std::string_view name, std::uint64_t& value, std::string_view help,
            Zero zero = Zero::refused);
  void size(std::string_view name, std::optional<std::uint64_t>& value, std::string_view help);
  void count(std::string_view name, std::uint64_t& value, std::string_view help);
  void durability(std::string_view name, std::optional<Durability>& value, std::string_view help,
                  std::string_view shown_default);
  void key(std::string_view name, std::string& value, std::string_view help, Need need);
  void file(std::string_view name, std::string& value, std::string_view help, Need need);

  /// "superblock|segment|entry": a command of its own below this one.
  Command add(const CommandText& text, RunCommand run);

 private:
  friend class CommandLine;
  struct Node;
  explicit Command(Node* node) : node_(node) {}
  Node* node_;
};

class CommandLine {
 public:
  CommandLine();
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  Command add(const CommandText& text, RunCommand run);

  struct Parsed {
    RunCommand run;  // empty: print `message` and be done
    std::string message;
  };
  /// Also sets --json and --quiet of `output`, even when it fails: errors follow them.
  absl::StatusOr<Parsed> parse(int argc, const char* const* argv, Output& output);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::tools
