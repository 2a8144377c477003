// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/values.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/key.h"

namespace cairn::tools {
namespace {

constexpr std::string_view kHexPrefix = "hex:";

absl::Status bad_value(std::string_view text, std::string_view wanted) {
  return make_error(ErrorCode::invalid_argument, concat("'", text, "' is not ", wanted));
}

/// Length of the well-formed UTF-8 sequence at the start of `bytes`; 0 where there is none.
std::size_t utf8_length(std::string_view bytes) {
  const auto at = [bytes](std::size_t i) {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U;
  };
  const auto continues = [at](std::size_t i) { return (at(i) & 0xc0U) == 0x80U; };
  const unsigned lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (!continues(1) || !continues(2)) return 0;
    const unsigned point = ((lead & 0x0fU) << 12) | ((at(1) & 0x3fU) << 6) | (at(2) & 0x3fU);
    return point >= 0x800 && (point < 0xd800 || point > 0xdfff) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    const unsigned point =
        ((lead & 0x07U) << 18) | ((at(1) & 0x3fU) << 12) | ((at(2) & 0x3fU) << 6) | (at(3) & 0x3fU);
    return point >= 0x10000 && point <= 0x10ffff ? 4 : 0;
  }
  return 0;
}

std::optional<double> parse_number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

/// Levenshtein's distance, with a swap of neighbours as one step.
std::size_t distance(std::string_view a, std::string_view b) {
  const std::size_t width = b.size() + 1;
  std::vector<std::size_t> table((a.size() + 1) * width);
  const auto at = [&](std::size_t i, std::size_t j) -> std::size_t& {
    return table[i * width + j];
  };
  for (std::size_t i = 0; i <= a.size(); ++i) at(i, 0) = i;
  for (std::size_t j = 0; j <= b.size(); ++j) at(0, j) = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      at(i, j) = std::min({at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        at(i, j) = std::min(at(i, j), at(i - 2, j - 2) + 1);
      }
    }
  }
  return at(a.size(), b.size());
}

}  // namespace

bool is_printable(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t length = utf8_length(bytes);
    const auto lead = static_cast<unsigned char>(bytes[0]);
    if (length == 0 || lead < 0x20 || lead == 0x7f) return false;
    // U+0080 to U+009f: control characters that a terminal may obey.
    if (lead == 0xc2 && static_cast<unsigned char>(bytes[1]) < 0xa0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

absl::StatusOr<std::string> parse_key(std::string_view text) {
  std::string key(text);
  if (text.substr(0, kHexPrefix.size()) == kHexPrefix) {
    const auto bytes = from_hex(text.substr(kHexPrefix.size()));
    if (!bytes) return bad_value(text, "a key: behind hex: come pairs of hexadecimal digits");
    key = *bytes;
  }
  if (is_valid_key(key)) return key;
  return make_error(ErrorCode::invalid_argument,
                    concat("a key has 1 to ", kKeyLengthMax, " bytes, this one ", key.size()));
}

std::string format_key(std::string_view key) {
  const bool as_typed = is_printable(key) && key.substr(0, kHexPrefix.size()) != kHexPrefix;
  return as_typed ? std::string(key) : concat(kHexPrefix, to_hex(as_bytes(key)));
}

absl::StatusOr<std::uint64_t> parse_size_value(std::string_view text) {
  const auto size = parse_size(text);
  if (size) return *size;
  const std::size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  if (parse_number(text.substr(0, digits)) && parse_size(concat("1", text.substr(digits)))) {
    return make_error(ErrorCode::invalid_argument,
                      concat("'", text, "' is too large: a size is below 8388608 TiB"));
  }
  return bad_value(text,
                   "a size: a number and one of K M G T KiB MiB GiB TiB (powers of 1024) or "
                   "KB MB GB TB (of 1000)");
}

absl::StatusOr<std::uint64_t> parse_count(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  return bad_value(text, "a whole number");
}

absl::StatusOr<Duration> parse_duration(std::string_view text) {
  constexpr std::string_view kWanted = "a time: a number and one of ms s m h";
  const std::size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const auto value = parse_number(text.substr(0, digits));
  const std::string_view unit = text.substr(digits);
  const double scale = unit == "ms"                  ? 1e6
                       : unit == "s" || unit.empty() ? 1e9
                       : unit == "m"                 ? 60e9
                       : unit == "h"                 ? 3600e9
                                                     : 0;
  if (!value || scale == 0 || *value * scale > 9e18) return bad_value(text, kWanted);
  return Duration::nanos(static_cast<std::int64_t>(*value * scale));
}

absl::StatusOr<Durability> parse_durability(std::string_view text) {
  for (const Durability one : {Durability::memory, Durability::written, Durability::durable}) {
    if (text == durability_name(one)) return one;
  }
  return bad_value(text, "a durability: memory, written or durable");
}

absl::StatusOr<CodecUse> parse_codec_use(std::string_view text) {
  for (const CodecUse one : {CodecUse::off, CodecUse::on, CodecUse::automatic}) {
    if (text == codec_use_name(one)) return one;
  }
  return bad_value(text, "auto, on or off");
}

absl::StatusOr<TierKind> parse_tier(std::string_view text) {
  for (const TierKind one : {TierKind::hot, TierKind::warm, TierKind::cold}) {
    if (text == tier_kind_name(one)) return one;
  }
  return bad_value(text, "hot, warm or cold");
}

absl::StatusOr<double> parse_fraction(std::string_view text, FractionFrom from) {
  const auto value = parse_number(text);
  const bool enough = value && (*value > 0 || (*value == 0 && from == FractionFrom::zero));
  if (enough && *value < 1) return *value;
  return bad_value(text, from == FractionFrom::zero
                             ? "a fraction from 0 to less than 1"
                             : "a fraction between 0 and 1, neither of them");
}

std::optional<std::string_view> nearest(std::string_view word,
                                        std::span<const std::string_view> candidates) {
  std::optional<std::string_view> best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    // What was begun and not finished is the likeliest of all.
    const bool begun = word.size() >= 3 && candidate.substr(0, word.size()) == word;
    const std::size_t steps = begun ? 0 : distance(word, candidate);
    if (steps < best_distance) {
      best = candidate;
      best_distance = steps;
    }
  }
  return best;
}

std::string base64(ByteSpan bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t j = 0; j < 3; ++j) {
      group = (group << 8) | (j < count ? static_cast<std::uint32_t>(bytes[i + j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      out.push_back(j <= count ? kDigits[(group >> (18 - 6 * j)) & 63U] : '=');
    }
  }
  return out;
}

std::string format_count(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

std::string format_fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string format_seconds(double seconds) {
  if (seconds < 1) return concat(format_fixed(seconds, 3), " s");
  if (seconds < 100) return concat(format_fixed(seconds, 1), " s");
  const auto whole = std::llround(seconds);
  if (whole < 3600) return concat(whole / 60, " min ", whole % 60, " s");
  return concat(whole / 3600, " h ", whole / 60 % 60, " min");
}

std::string format_rate(double bytes_per_second) {
  return concat(format_size(static_cast<std::uint64_t>(std::max(0.0, bytes_per_second))), "/s");
}

std::string format_share(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "-";
  return concat(format_fixed(100.0 * static_cast<double>(part) / static_cast<double>(whole), 1),
                " %");
}

}  // namespace cairn::tools
