// SPDX-License-Identifier: Apache-2.0
// Goal: the CBOR writer is canonical at every width, for lone values and for arrays of tokens.
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "engine/hash/cbor.h"

namespace cairn::detail {
namespace {

template <typename Write>
std::string encoded(Write write) {
  std::vector<std::byte> buffer(4096);
  CborWriter cbor(buffer);
  write(cbor);
  return to_hex(ByteSpan(buffer).first(cbor.size()));
}

TEST(Cbor, IntegersTakeTheShortestForm) {
  const auto integer = [](std::int64_t value) {
    return encoded([=](CborWriter& cbor) { cbor.write_integer(value); });
  };
  // RFC 8949 appendix A, and the values on both sides of each width.
  EXPECT_EQ(integer(0), "00");
  EXPECT_EQ(integer(23), "17");
  EXPECT_EQ(integer(24), "1818");
  EXPECT_EQ(integer(255), "18ff");
  EXPECT_EQ(integer(256), "190100");
  EXPECT_EQ(integer(65535), "19ffff");
  EXPECT_EQ(integer(65536), "1a00010000");
  EXPECT_EQ(integer(4294967295), "1affffffff");
  EXPECT_EQ(integer(4294967296), "1b0000000100000000");
  EXPECT_EQ(integer(std::numeric_limits<std::int64_t>::max()), "1b7fffffffffffffff");
  EXPECT_EQ(integer(-1), "20");
  EXPECT_EQ(integer(-24), "37");
  EXPECT_EQ(integer(-25), "3818");
  EXPECT_EQ(integer(-256), "38ff");
  EXPECT_EQ(integer(-257), "390100");
  EXPECT_EQ(integer(std::numeric_limits<std::int64_t>::min()), "3b7fffffffffffffff");
  EXPECT_EQ(encoded([](CborWriter& cbor) { cbor.write_unsigned(~std::uint64_t{0}); }),
            "1bffffffffffffffff");
}

TEST(Cbor, LengthsTakeTheShortestForm) {
  EXPECT_EQ(encoded([](CborWriter& cbor) { cbor.write_text(""); }), "60");
  EXPECT_EQ(encoded([](CborWriter& cbor) { cbor.write_text("水"); }), "63e6b0b4");
  EXPECT_EQ(encoded([](CborWriter& cbor) { cbor.write_bytes(as_bytes("\x01\x02")); }), "420102");
  EXPECT_EQ(encoded([](CborWriter& cbor) { cbor.write_null(); }), "f6");
  for (const std::size_t length : {23U, 24U, 255U, 256U, 2000U}) {
    const std::string hex =
        encoded([=](CborWriter& cbor) { cbor.write_text(std::string(length, 'x')); });
    const std::string header = hex.substr(0, hex.size() - 2 * length);
    EXPECT_EQ(header, length < 24     ? "77"
                      : length == 24  ? "7818"
                      : length == 255 ? "78ff"
                      : length == 256 ? "790100"
                                      : "7907d0");
  }
}

TEST(Cbor, TokensEqualIntegersWrittenOneByOne) {
  const std::vector<std::uint32_t> edges{0,     1,          22,         23,         24,
                                         25,    255,        256,        65534,      65535,
                                         65536, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe};
  for (std::size_t count = 0; count <= 300; count += count < 30 ? 1 : 45) {
    std::vector<std::uint32_t> tokens;
    for (std::size_t i = 0; i < count; ++i) tokens.push_back(edges[(i * 7 + count) % edges.size()]);
    EXPECT_EQ(encoded([&](CborWriter& cbor) { cbor.write_tokens(tokens.data(), tokens.size()); }),
              encoded([&](CborWriter& cbor) {
                cbor.begin_array(tokens.size());
                for (const std::uint32_t token : tokens) cbor.write_unsigned(token);
              }));
  }
}

}  // namespace
}  // namespace cairn::detail
