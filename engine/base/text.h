// SPDX-License-Identifier: Apache-2.0
// text.h — strings out of pieces, for messages.
//
// Exists because Debian's Abseil has a string_view of its own, so absl::StrCat does not take
// std::string_view, and std::format is not in this compiler.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <string>
#include <string_view>

namespace cairn {

inline void append_text(std::string& out, std::string_view piece) {
  out.append(piece);
}
inline void append_text(std::string& out, char piece) {
  out.push_back(piece);
}
template <typename T>
requires(std::integral<T> || std::floating_point<T>) void append_text(std::string& out, T value) {
  std::array<char, 32> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc()) out.append(digits.data(), end);
}

/// concat("read segment ", 17, ": ", why)
template <typename... Pieces>
std::string concat(const Pieces&... pieces) {
  std::string out;
  (append_text(out, pieces), ...);
  return out;
}

}  // namespace cairn
