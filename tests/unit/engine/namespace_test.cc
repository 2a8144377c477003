// SPDX-License-Identifier: Apache-2.0
// Names and descriptors: what makes two blocks the same, and what refuses to pretend.
#include "engine/namespace.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/base/status.h"
#include "engine/key.h"

namespace cairn {
namespace {

NamespaceDescriptor llama() {
  return {.name = "llama",
          .model = "llama-3-8b",
          .revision = "r1",
          .dtype = Dtype::bf16,
          .layout = {32, 2, 16, 8, 128},
          .tokens_per_block = 16,
          .hash_scheme = "vllm-sha256-cbor"};
}

TEST(Namespace, LayoutGivesTheBytesOfABlock) {
  EXPECT_EQ(layout_bytes({32, 2, 16, 8, 128}, Dtype::bf16), 2 * kMiB);
  EXPECT_EQ(plane_bytes({32, 2, 16, 8, 128}, Dtype::bf16), 32 * kKiB);
  EXPECT_EQ(layout_bytes({}, Dtype::bf16), 0U);
}

TEST(Namespace, EveryFieldOfIdentityIsCompared) {
  const NamespaceDescriptor stored = llama();
  EXPECT_TRUE(check_same(stored, llama()).ok());
  const auto refuses = [&](auto change, std::string_view field) {
    NamespaceDescriptor wanted = llama();
    change(wanted);
    const absl::Status status = check_same(stored, wanted);
    ASSERT_TRUE(has_code(status, ErrorCode::mismatch)) << field;
    EXPECT_NE(message_of(status).find(field), std::string_view::npos) << message_of(status);
  };
  refuses([](auto& d) { d.model = "other"; }, "model");
  refuses([](auto& d) { d.revision = "r2"; }, "revision");
  refuses([](auto& d) { d.dtype = Dtype::fp16; }, "dtype");
  refuses([](auto& d) { d.layout.layers = 31; }, "layout");
  refuses([](auto& d) { d.hash_scheme = "native"; }, "hash scheme");
  refuses([](auto& d) { d.tokens_per_block = 32; }, "tokens per block");
  refuses([](auto& d) { d.kind = NamespaceKind::mutable_; }, "kind");
  refuses([](auto& d) { d.tenant_salt = "secret"; }, "tenant salt");
}

TEST(Namespace, ASaltIsNeverPrinted) {
  NamespaceDescriptor a = llama();
  NamespaceDescriptor b = llama();
  a.tenant_salt = "hunter2";
  b.tenant_salt = "swordfish";
  const absl::Status status = check_same(a, b);
  EXPECT_EQ(message_of(status).find("hunter2"), std::string_view::npos);
  EXPECT_EQ(message_of(status).find("swordfish"), std::string_view::npos);
}

TEST(Namespace, DescriptorsThatCannotBeAreRefused) {
  const auto refused = [](auto change) {
    NamespaceDescriptor d = llama();
    change(d);
    return has_code(validate(d), ErrorCode::invalid_argument);
  };
  EXPECT_TRUE(validate(llama()).ok());
  EXPECT_TRUE(refused([](auto& d) { d.name = ""; }));
  EXPECT_TRUE(refused([](auto& d) { d.name = "a/b"; }));
  EXPECT_TRUE(refused([](auto& d) { d.name = std::string(256, 'n'); }));
  EXPECT_TRUE(refused([](auto& d) { d.name = std::string("a\nb"); }));
  EXPECT_TRUE(refused([](auto& d) { d.layout.tokens = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.layout.layers = 70000; }));
  EXPECT_TRUE(refused([](auto& d) { d.layout = {65535, 2, 65535, 65535, 65535}; }));
}

TEST(BlockId, DependsOnEveryPartOfTheNameAndOnTheSecret) {
  std::set<BlockId> ids;
  for (const std::uint32_t ns : {0U, 1U}) {
    for (const char* key : {"a", "b", "ab"}) {
      for (const Part part : {Part{0}, Part{1}, Part{256}}) {
        for (const std::uint64_t secret : {0ULL, 1ULL}) {
          ids.insert(block_id({NamespaceId{ns}, key, part}, secret));
        }
      }
    }
  }
  EXPECT_EQ(ids.size(), 2U * 3 * 3 * 2);
}

TEST(BlockId, TakesKeysOfEveryAllowedLength) {
  std::set<BlockId> ids;
  for (std::size_t length = 1; length <= kKeyLengthMax; ++length) {
    ids.insert(block_id({NamespaceId{1}, std::string(length, 'k'), 0}, 7));
  }
  EXPECT_EQ(ids.size(), kKeyLengthMax);
  EXPECT_FALSE(is_valid_key(""));
  EXPECT_FALSE(is_valid_key(std::string(kKeyLengthMax + 1, 'k')));
}

}  // namespace
}  // namespace cairn
