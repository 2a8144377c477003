// SPDX-License-Identifier: Apache-2.0
// Goal: every way of copying gives the bytes that memcpy gives and touches none beside them.
// Method: all small lengths at all offsets that matter, some large ones, between guard bytes.
#include "tiers/hot/nt_copy.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/seed.h"

namespace cairn::tiers {
namespace {

constexpr std::size_t kGuard = 128;

void expect_equal_to_memcpy(CopyKind kind, std::size_t length, std::size_t target_offset,
                            std::size_t source_offset) {
  test::Rng rng(length * 131 + target_offset * 17 + source_offset);
  std::vector<std::byte> source(length + 2 * kGuard), target(length + 2 * kGuard);
  rng.fill(source);
  rng.fill(target);
  std::vector<std::byte> expected = target;
  std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(source_offset), length,
              expected.begin() + static_cast<std::ptrdiff_t>(target_offset));
  copy_bytes_as(kind, {target.data() + target_offset, length},
                {source.data() + source_offset, length});
  ASSERT_EQ(target, expected) << "length " << length << " to " << target_offset << " from "
                              << source_offset;
}

class NtCopy : public testing::TestWithParam<CopyKind> {};

TEST_P(NtCopy, EqualsMemcpyAtEveryLengthAndOffset) {
  for (std::size_t length = 0; length < 600; length += length < 300 ? 1 : 37) {
    for (const std::size_t offset : {0U, 1U, 31U, 32U, 63U, 64U}) {
      expect_equal_to_memcpy(GetParam(), length, offset, 0);
      expect_equal_to_memcpy(GetParam(), length, 0, offset);
    }
  }
}

TEST_P(NtCopy, EqualsMemcpyForLargeBlocks) {
  for (const std::size_t length :
       {kNtCopyMin - 1, kNtCopyMin, kNtCopyMin + 1, std::size_t{1} << 21}) {
    expect_equal_to_memcpy(GetParam(), length, 3, 5);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, NtCopy,
                         testing::Values(CopyKind::plain, CopyKind::avx2, CopyKind::avx512));

TEST(NtCopy, ChoosesByLengthAndProcessor) {
  std::vector<std::byte> source(kNtCopyMin * 2, std::byte{7}), target(kNtCopyMin * 2);
  copy_bytes(target, source);
  EXPECT_EQ(target, source);
}

}  // namespace
}  // namespace cairn::tiers
