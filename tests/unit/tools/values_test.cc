// SPDX-License-Identifier: Apache-2.0
// What people type and what they read: every form that is taken, every form that is refused,
// and that what is printed can be typed again.
#include "tools/cairn/values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "engine/base/status.h"
#include "engine/key.h"

namespace cairn::tools {
namespace {

TEST(Values, AKeyIsTakenAsTyped) {
  EXPECT_EQ(*parse_key("prefix/17"), "prefix/17");
  EXPECT_EQ(*parse_key("schlüssel"), "schlüssel");
  EXPECT_EQ(*parse_key("hex"), "hex");
}

TEST(Values, HexGivesBytesThatCannotBeTyped) {
  EXPECT_EQ(*parse_key("hex:00ff"), std::string("\x00\xff", 2));
  EXPECT_EQ(*parse_key("hex:00Ff"), std::string("\x00\xff", 2));
  EXPECT_FALSE(parse_key("hex:0").ok());
  EXPECT_FALSE(parse_key("hex:0g").ok());
  EXPECT_FALSE(parse_key("hex:").ok());
}

TEST(Values, AKeyHasOneTo1024Bytes) {
  EXPECT_FALSE(parse_key("").ok());
  EXPECT_TRUE(parse_key(std::string(kKeyLengthMax, 'k')).ok());
  const auto status = parse_key(std::string(kKeyLengthMax + 1, 'k')).status();
  EXPECT_TRUE(has_code(status, ErrorCode::invalid_argument));
  EXPECT_THAT(std::string(message_of(status)), testing::HasSubstr("1024"));
}

TEST(Values, APrintedKeyCanBeTypedAgain) {
  const std::vector<std::string> keys = {"plain",
                                         std::string("\x00\x01", 2),
                                         "hex:00",
                                         "schlüssel",
                                         "\xff\xfe",
                                         "line\nbreak",
                                         "\x1b[31m",
                                         "\xc2\x9b"
                                         "31m"};
  for (const std::string& key : keys) {
    const std::string printed = format_key(key);
    EXPECT_TRUE(is_printable(printed)) << printed;
    EXPECT_EQ(*parse_key(printed), key) << printed;
  }
  EXPECT_EQ(format_key("plain"), "plain");
  EXPECT_EQ(format_key("hex:00"), "hex:6865783a3030");
}

TEST(Values, OnlyWellFormedUtf8IsPrintable) {
  EXPECT_TRUE(is_printable(""));
  EXPECT_TRUE(is_printable("✓ €"));
  EXPECT_TRUE(is_printable("\xf0\x9f\xaa\xa8"));
  EXPECT_FALSE(is_printable("\xc0\x80"));          // overlong
  EXPECT_FALSE(is_printable("\xed\xa0\x80"));      // a surrogate
  EXPECT_FALSE(is_printable("\xf4\x90\x80\x80"));  // beyond U+10FFFF
  EXPECT_FALSE(is_printable("cut \xe2\x9c"));
  EXPECT_FALSE(is_printable("\x7f"));
}

TEST(Values, SizesAreAsDocumented) {
  EXPECT_EQ(*parse_size_value("8GiB"), 8 * kGiB);
  EXPECT_EQ(*parse_size_value("1K"), 1024U);
  EXPECT_EQ(*parse_size_value("1KB"), 1000U);
  EXPECT_EQ(*parse_size_value("1.5M"), 1536 * kKiB);
  for (const char* bad : {"", "x", "-1", "1Q", "1 2", "G"}) {
    EXPECT_FALSE(parse_size_value(bad).ok()) << bad;
  }
  const auto large = parse_size_value("20000000T").status();
  EXPECT_THAT(std::string(message_of(large)), testing::HasSubstr("too large"));
  EXPECT_THAT(std::string(message_of(parse_size_value("1Q").status())),
              testing::HasSubstr("is not a size"));
}

TEST(Values, CountsTimesFractionsAndDurabilitiesAreChecked) {
  EXPECT_EQ(*parse_count("12"), 12U);
  for (const char* bad : {"", "-1", "1.5", "12x", "99999999999999999999"}) {
    EXPECT_FALSE(parse_count(bad).ok()) << bad;
  }
  EXPECT_EQ(*parse_duration("250ms"), Duration::millis(250));
  EXPECT_EQ(*parse_duration("30"), Duration::seconds(30));
  EXPECT_EQ(*parse_duration("2h"), Duration::seconds(7200));
  for (const char* bad : {"", "ms", "1d", "-1s", "1e300h"}) {
    EXPECT_FALSE(parse_duration(bad).ok()) << bad;
  }
  EXPECT_DOUBLE_EQ(*parse_fraction("0.5"), 0.5);
  for (const char* bad : {"0", "1", "-0.1", "nan", "inf", "half"}) {
    EXPECT_FALSE(parse_fraction(bad).ok()) << bad;
  }
  EXPECT_DOUBLE_EQ(*parse_fraction("0", FractionFrom::zero), 0);
  for (const char* bad : {"-0.1", "1", "nan"}) {
    EXPECT_FALSE(parse_fraction(bad, FractionFrom::zero).ok()) << bad;
  }
  EXPECT_EQ(*parse_durability("written"), Durability::written);
  EXPECT_FALSE(parse_durability("forever").ok());
}

TEST(Values, TheNearestWordIsOffered) {
  const std::array<std::string_view, 5> commands = {"put", "get", "verify", "inspect", "stats"};
  EXPECT_EQ(nearest("verfy", commands), "verify");
  EXPECT_EQ(nearest("ptu", commands), "put");
  EXPECT_EQ(nearest("insp", commands), "inspect");
  EXPECT_EQ(nearest("banana", commands), std::nullopt);
}

TEST(Values, Base64IsAsTheRfcHasIt) {
  const std::array<std::pair<std::string_view, std::string_view>, 7> vectors = {
      {{"", ""},
       {"f", "Zg=="},
       {"fo", "Zm8="},
       {"foo", "Zm9v"},
       {"foob", "Zm9vYg=="},
       {"fooba", "Zm9vYmE="},
       {"foobar", "Zm9vYmFy"}}};
  for (const auto& [plain, coded] : vectors) EXPECT_EQ(base64(as_bytes(plain)), coded);
}

TEST(Values, NumbersAreForPeople) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(12031), "12,031");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_seconds(0.0312), "0.031 s");
  EXPECT_EQ(format_seconds(4.25), "4.2 s");
  EXPECT_EQ(format_seconds(200), "3 min 20 s");
  EXPECT_EQ(format_seconds(7260), "2 h 1 min");
  EXPECT_EQ(format_share(1, 3), "33.3 %");
  EXPECT_EQ(format_share(0, 0), "-");
  EXPECT_EQ(format_rate(1.5 * static_cast<double>(kGiB)), "1.5 GiB/s");
}

}  // namespace
}  // namespace cairn::tools
