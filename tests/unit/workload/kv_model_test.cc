// SPDX-License-Identifier: Apache-2.0
// Goal: payloads look like KV and give away every block that is not the right one.
// Method: exact sizes; moments and exponent entropy against what the model's description
// implies; every kind of mix-up a store could make is tried on real payloads.
#include "bench/workload/kv_model.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <map>

#include "bench/workload/small_float.h"
#include "engine/base/status.h"
#include "tests/support/seed.h"

namespace cairn::workload {
namespace {

constexpr std::size_t kPageBytes = 4096;

std::vector<std::byte> payload(const KvModel& model, const PayloadName& name) {
  std::vector<std::byte> bytes(model.block_bytes());
  model.fill(name, bytes);
  return bytes;
}

TEST(KvModel, BlocksHaveTheSizesOfTheirModels) {
  EXPECT_EQ(KvModel::make("1b")->block_bytes(), 512 * kKiB);
  EXPECT_EQ(KvModel::make("8b")->block_bytes(), 2 * kMiB);
  EXPECT_EQ(layout_bytes(find_model_shape("70b")->layout, Dtype::bf16), 5 * kMiB);
  EXPECT_EQ(layout_bytes(find_model_shape("mla")->layout, Dtype::bf16), 61U * 576 * 64 * 2);
  EXPECT_EQ(KvModel::make("tiny")->block_bytes(), 8 * kKiB);
  EXPECT_EQ(KvModel::make("tiny", Dtype::fp8_e4m3)->block_bytes(), 4 * kKiB);
  EXPECT_EQ(KvModel::make("tiny", Dtype::fp32)->block_bytes(), 16 * kKiB);
  EXPECT_TRUE(has_code(KvModel::make("9b").status(), ErrorCode::invalid_argument));
  EXPECT_TRUE(has_code(KvModel::make("tiny", Dtype::opaque).status(), ErrorCode::invalid_argument));
}

TEST(KvModel, DescriptorsAreValidAndTellDtypesApart) {
  const KvModel model = KvModel::make("tiny").value();
  EXPECT_TRUE(validate(model.descriptor("a", 512)).ok());
  const KvModel other = KvModel::make("tiny", Dtype::fp16).value();
  EXPECT_FALSE(check_same(model.descriptor("a", 512), other.descriptor("a", 512)).ok());
}

TEST(KvModel, PayloadIsAFunctionOfItsNameAlone) {
  const KvModel model = KvModel::make("tiny").value();
  const KvModel again = KvModel::make("tiny").value();
  const auto bytes = payload(model, {"ns", "key", 3});
  EXPECT_EQ(bytes, payload(again, {"ns", "key", 3}));
  EXPECT_TRUE(again.verify({"ns", "key", 3}, bytes));
  EXPECT_NE(bytes, payload(model, {"ns", "key", 4}));
  EXPECT_NE(bytes, payload(model, {"ns", "kez", 3}));
  EXPECT_NE(bytes, payload(model, {"nt", "key", 3}));
  // Unaligned memory gives and takes the same.
  std::vector<std::byte> shifted(bytes.size() + 1);
  model.fill({"ns", "key", 3}, MutableByteSpan(shifted).subspan(1));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), shifted.begin() + 1));
  EXPECT_TRUE(model.verify({"ns", "key", 3}, ByteSpan(shifted).subspan(1)));
}

class EveryDtype : public testing::TestWithParam<Dtype> {};
INSTANTIATE_TEST_SUITE_P(KvModel, EveryDtype,
                         testing::Values(Dtype::bf16, Dtype::fp16, Dtype::fp8_e4m3, Dtype::fp8_e5m2,
                                         Dtype::fp32));

TEST_P(EveryDtype, AnyPageOfAnyOtherBlockIsNoticed) {
  const KvModel model = KvModel::make("tiny", GetParam()).value();
  const auto right = payload(model, {"ns", "0", 0});
  // More blocks than the pool has, so that some share their base with the first.
  for (int i = 1; i < 200; ++i) {
    const auto foreign = payload(model, {"ns", std::to_string(i), 0});
    const auto stale = payload(model, {"ns", "0", static_cast<std::uint64_t>(i)});
    for (const auto& other : {foreign, stale}) {
      EXPECT_FALSE(model.verify({"ns", "0", 0}, other));
      for (std::size_t page = 0; page < right.size(); page += kPageBytes) {
        auto mixed = right;
        std::copy_n(other.begin() + static_cast<std::ptrdiff_t>(page), kPageBytes,
                    mixed.begin() + static_cast<std::ptrdiff_t>(page));
        EXPECT_FALSE(model.verify({"ns", "0", 0}, mixed)) << i << " page " << page;
      }
    }
  }
}

TEST_P(EveryDtype, DamageIsNoticed) {
  const std::uint64_t seed = test::announce_seed();
  test::Rng rng(seed);
  const KvModel model = KvModel::make("tiny", GetParam()).value();
  const PayloadName name{"ns", "key", 0};
  const auto right = payload(model, name);
  for (std::size_t i = test::scaled(500); i > 0; --i) {
    auto wrong = right;
    wrong[rng.below(wrong.size())] ^= static_cast<std::byte>(1U << rng.below(8));
    EXPECT_FALSE(model.verify(name, wrong));
  }
  for (std::size_t sector = 0; sector < right.size(); sector += 512) {
    auto zeroed = right;
    std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(sector), 512, std::byte{0});
    EXPECT_FALSE(model.verify(name, zeroed));
    auto shifted = right;
    std::copy(right.begin() + static_cast<std::ptrdiff_t>(sector), right.end() - 64,
              shifted.begin() + static_cast<std::ptrdiff_t>(sector) + 64);
    EXPECT_FALSE(model.verify(name, shifted));
  }
  EXPECT_FALSE(model.verify(name, ByteSpan(right).first(right.size() - 1)));
  EXPECT_FALSE(model.verify(name, {}));
}

TEST(KvModel, PagesOfOneBlockDifferFromEachOther) {
  const KvModel model = KvModel::make("1b").value();
  const PayloadName name{"ns", "key", 0};
  auto bytes = payload(model, name);
  std::swap_ranges(bytes.begin(), bytes.begin() + kPageBytes, bytes.begin() + kPageBytes);
  EXPECT_FALSE(model.verify(name, bytes));
}

double entropy_bits(const std::map<int, double>& counts) {
  double total = 0;
  for (const auto& [value, count] : counts) total += count;
  double bits = 0;
  for (const auto& [value, count] : counts) bits -= count / total * std::log2(count / total);
  return bits;
}

TEST(KvModel, KeysAndValuesHaveTheStatisticsOfTheModel) {
  const KvModel model = KvModel::make("1b").value();
  const auto& layout = model.shape().layout;
  const std::size_t plane = std::size_t{layout.tokens} * layout.kv_heads * layout.head_dim;
  std::array<double, 2> squares{};
  std::map<int, double> exponents;
  std::map<int, double> mantissas;
  const auto bytes = payload(model, {"ns", "any", 0});
  for (std::size_t i = 0; i < bytes.size() / 2; ++i) {
    const auto code = load_le<std::uint16_t>(bytes, 2 * i);
    const float value = std::bit_cast<float>(std::uint32_t{code} << 16);
    squares[i / plane % 2] += static_cast<double>(value) * static_cast<double>(value);
    ++exponents[code >> 7 & 0xff];
    ++mantissas[(code & 0x7f) | (code >> 15 << 7)];
  }
  const double values = static_cast<double>(bytes.size()) / 4;  // of keys, and as many of values
  // E[x²] = E[σ²] + E[μ²], with E[σ²] = s²·exp(2·0.4²) and, for keys, μ² of 0.64·(15 + 36)/16.
  EXPECT_NEAR(squares[0] / values, 1.5 * 1.5 * std::exp(0.32) + 0.64 * 51 / 16, 0.4);
  EXPECT_NEAR(squares[1] / values, 0.5 * 0.5 * std::exp(0.32) + 0.0004, 0.03);
  // A split codec is bounded by 16 ÷ (exponent entropy + 8): 1.459 is published for this model.
  EXPECT_NEAR(16 / (entropy_bits(exponents) + 8), 1.459, 0.03);
  EXPECT_GT(entropy_bits(mantissas), 7.95);
}

TEST(SmallFloat, RoundsToNearestEven) {
  EXPECT_EQ(round_to_bf16(1.0F), 0x3f80);
  EXPECT_EQ(round_to_bf16(-2.0F), 0xc000);
  EXPECT_EQ(round_to_bf16(1.00390625F), 0x3f80);  // halfway: to even
  EXPECT_EQ(round_to_bf16(1.01171875F), 0x3f82);
  EXPECT_EQ(round_to(kFp16, 1.0), 0x3c00U);
  EXPECT_EQ(round_to(kFp16, -0.5), 0xb800U);
  EXPECT_EQ(round_to(kFp16, 65504), 0x7bffU);
  EXPECT_EQ(round_to(kFp16, 1e9), 0x7bffU);
  EXPECT_EQ(round_to(kFp16, 0x1p-24), 0x0001U);      // the smallest subnormal
  EXPECT_EQ(round_to(kFp16, 0x1.ff8p-15), 0x03ffU);  // the largest subnormal
  EXPECT_EQ(round_to(kFp16, 0x1.ffcp-15), 0x0400U);  // halfway to the smallest normal
  EXPECT_EQ(round_to(kFp16, 1.99999), 0x4000U);      // carries into the exponent
  EXPECT_EQ(round_to(kFp8E4m3, 1.0), 0x38U);
  EXPECT_EQ(round_to(kFp8E4m3, 448), 0x7eU);
  EXPECT_EQ(round_to(kFp8E4m3, -1000), 0xfeU);
  EXPECT_EQ(round_to(kFp8E4m3, 0x1p-9), 0x01U);
  EXPECT_EQ(round_to(kFp8E5m2, 1.0), 0x3cU);
  EXPECT_EQ(round_to(kFp8E5m2, 57344), 0x7bU);
  EXPECT_EQ(round_to(kFp8E5m2, 0), 0U);
}

}  // namespace
}  // namespace cairn::workload
