// SPDX-License-Identifier: Apache-2.0
// Sizes and hexadecimal are what people type: every accepted spelling and every refusal.
#include "engine/base/bytes.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(Bytes, SizesWithBinaryAndDecimalUnits) {
  EXPECT_EQ(parse_size("0"), 0U);
  EXPECT_EQ(parse_size("64"), 64U);
  EXPECT_EQ(parse_size("64B"), 64U);
  EXPECT_EQ(parse_size("4K"), 4096U);
  EXPECT_EQ(parse_size("4KiB"), 4096U);
  EXPECT_EQ(parse_size("4KB"), 4000U);
  EXPECT_EQ(parse_size("1.5GiB"), 3 * kGiB / 2);
  EXPECT_EQ(parse_size("2TB"), 2'000'000'000'000U);
  EXPECT_EQ(parse_size("1T"), kGiB * 1024);
}

TEST(Bytes, SizesThatAreNoneAreRefused) {
  for (const char* text : {"", "K", "-1", "+1", "1.2.3", "1 K", "1k", "1kb", "0x10", "1e3", "1KiBs",
                           "inf", "nan", "99999999T", "."}) {
    EXPECT_FALSE(parse_size(text).has_value()) << text;
  }
}

TEST(Bytes, SizesForPeopleReadBack) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1536), "1.5 KiB");
  EXPECT_EQ(format_size(8 * kGiB), "8.0 GiB");
}

TEST(Bytes, HexadecimalRoundTripsEveryByte) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const std::string digits = to_hex(as_bytes(all));
  EXPECT_EQ(digits.size(), 512U);
  EXPECT_EQ(from_hex(digits), all);
  EXPECT_EQ(from_hex("0AfF"), std::string("\x0a\xff", 2));
  EXPECT_EQ(from_hex(""), "");
  EXPECT_FALSE(from_hex("abc").has_value());
  EXPECT_FALSE(from_hex("0g").has_value());
}

TEST(Bytes, BigEndianFieldsSortLikeNumbers) {
  std::string small;
  std::string large;
  append_be(small, std::uint32_t{255});
  append_be(large, std::uint32_t{256});
  EXPECT_LT(small, large);
  EXPECT_EQ(small, std::string("\0\0\0\xff", 4));
}

}  // namespace
}  // namespace cairn
