// SPDX-License-Identifier: Apache-2.0
// bytes.h — spans of bytes, little-endian fields, hexadecimal, sizes as people write them.
//
// Threading: immutable functions. Blocking: never.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace cairn {

static_assert(std::endian::native == std::endian::little, "Cairn's formats are little-endian");

using ByteSpan = std::span<const std::byte>;
using MutableByteSpan = std::span<std::byte>;

inline ByteSpan as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The caller has checked that `bytes` holds sizeof(T) from `offset`.
template <typename T>
T load_le(ByteSpan bytes, std::size_t offset = 0) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}
template <typename T>
void store_le(MutableByteSpan bytes, std::size_t offset, T value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}
template <typename T>
void append_le(std::string& out, T value) {
  static_assert(std::is_trivially_copyable_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}
template <typename T>
void append_be(std::string& out, T value) {
  static_assert(std::is_unsigned_v<T>);
  for (std::size_t i = sizeof(T); i-- > 0;)
    out.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
}

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;

std::string to_hex(ByteSpan bytes);
/// Empty on an odd length or a digit that is none.
std::optional<std::string> from_hex(std::string_view digits);

/// "64", "64K", "1.5GiB": K M G T KiB MiB GiB TiB are powers of 1024, KB MB GB TB of 1000.
/// Empty on anything else, on a negative and on more than 2^63 bytes.
std::optional<std::uint64_t> parse_size(std::string_view text);
/// For people: "1.5 GiB".
std::string format_size(std::uint64_t bytes);

}  // namespace cairn
