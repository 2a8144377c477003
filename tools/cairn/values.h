// SPDX-License-Identifier: Apache-2.0
// values.h — what people type, and what they read: keys, sizes, times, numbers.
//
// Every parser says in its message what it would have taken.
//
// Threading: pure functions. Blocking: never. Failure: `invalid_argument`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/base/clock.h"
#include "engine/block.h"
#include "engine/engine.h"
#include "engine/tier.h"

namespace cairn::tools {

/// Bytes as typed, or "hex:" and digits. A key that itself begins with "hex:" is given in hex.
absl::StatusOr<std::string> parse_key(std::string_view text);
/// What parse_key takes back: as it is when printable UTF-8, else in hex.
std::string format_key(std::string_view key);
/// Whether the bytes may be shown on a terminal and put into JSON as they are.
bool is_printable(std::string_view bytes);

absl::StatusOr<std::uint64_t> parse_size_value(std::string_view text);
absl::StatusOr<std::uint64_t> parse_count(std::string_view text);
/// "250ms", "30s", "5m", "2h"; a bare number is seconds.
absl::StatusOr<Duration> parse_duration(std::string_view text);
absl::StatusOr<Durability> parse_durability(std::string_view text);
absl::StatusOr<CodecUse> parse_codec_use(std::string_view text);
absl::StatusOr<TierKind> parse_tier(std::string_view text);
enum class FractionFrom : std::uint8_t { above_zero, zero };
/// Less than 1.
absl::StatusOr<double> parse_fraction(std::string_view text,
                                      FractionFrom from = FractionFrom::above_zero);

/// The candidate that was probably meant, if any is near enough.
std::optional<std::string_view> nearest(std::string_view word,
                                        std::span<const std::string_view> candidates);

std::string base64(ByteSpan bytes);

/// "12,031".
std::string format_count(std::uint64_t count);
/// "0.031 s", "4.2 s", "3 min 20 s".
std::string format_seconds(double seconds);
/// "1.5 GiB/s".
std::string format_rate(double bytes_per_second);
/// "33.1 %"; "-" where the whole is 0.
std::string format_share(std::uint64_t part, std::uint64_t whole);
/// With so many digits behind the point.
std::string format_fixed(double value, int digits);

}  // namespace cairn::tools
