// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/output.h"

#include <algorithm>
#include <cstdio>

#include "engine/base/text.h"

namespace cairn::tools {

Json make_object(std::string_view command) {
  Json object;
  object["schema"] = concat("cairn.", command, "/1");
  return object;
}

std::string to_line(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json error_object(const absl::Status& status) {
  Json object = make_object("error");
  const bool interrupted = is_interrupted_error(status);
  object["error"] = interrupted ? "interrupted" : std::string(error_code_name(error_code(status)));
  object["message"] = std::string(message_of(status));
  object["hint"] = interrupted ? "" : hint_of(status);
  return object;
}

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char letter) {
    return (static_cast<unsigned char>(letter) & 0xc0U) != 0x80U;
  }));
}

std::string Table::text() const {
  std::vector<std::size_t> widths(columns_.size(), 0);
  for (const auto& row : rows_) {
    // A row of one cell is a line of text between the columns and does not widen them.
    if (row.size() == 1) continue;
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i]));
    }
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line = "  ";
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::size_t width = display_width(row[i]);
      const std::string padding(widths[i] > width ? widths[i] - width : 0, ' ');
      if (columns_[i] == Align::right && row.size() > 1) line += padding;
      line += row[i];
      if (columns_[i] == Align::left) line += padding;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line;
    out += '\n';
  }
  return out;
}

void Output::object(const Json& object) {
  if (!json_) return;
  write(to_line(object));
  write("\n");
}

void Output::text(std::string_view text) {
  if (json_) return;
  write(text);
  if (text.empty() || text.back() != '\n') write("\n");
}

void Output::bytes(ByteSpan bytes) {
  write(as_text(bytes));
}

void Output::note(std::string_view line) {
  if (quiet_) return;
  std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
}

void Output::failure(const absl::Status& status) {
  if (json_) {
    object(error_object(status));
    return;
  }
  const std::string message(message_of(status));
  std::fprintf(stderr, "cairn: %s\n", message.c_str());
  if (is_interrupted_error(status)) return;
  const std::string hint = hint_of(status);
  if (!hint.empty()) std::fprintf(stderr, "  hint: %s\n", hint.c_str());
}

absl::Status Output::finish() {
  if (std::fflush(stdout) != 0) sound_ = false;
  if (sound_) return absl::OkStatus();
  return with_hint(make_error(ErrorCode::io, "stdout did not take everything"),
                   "is the pipe closed, or the disk full?");
}

void Output::write(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) sound_ = false;
}

}  // namespace cairn::tools
