// SPDX-License-Identifier: Apache-2.0
// Saved token trees from any bytes at all, and from any bytes under a sound sum; what parses is
// written back byte for byte, and makes a sound tree.
#include "engine/base/check.h"
#include "engine/tokens/token_tree.h"
#include "engine/tokens/token_tree_saved.h"
#include "tests/fuzz/sealed.h"

using namespace cairn;  // a target is one function

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan bytes{reinterpret_cast<const std::byte*>(data), size};
  const auto check = [&](ByteSpan input) {
    const auto saved = parse_token_tree(input);
    if (!saved.ok()) return;
    CAIRN_CHECK(as_text(input) == encode_token_tree(*saved));
    TokenTree tree({.block_tokens = saved->block_tokens});
    CAIRN_CHECK(tree.restore(*saved).ok());
    CAIRN_CHECK(tree.is_sound());
    CAIRN_CHECK(tree.size().blocks <= saved->blocks.size());
  };
  test::check_also_sealed(bytes, check);
  return 0;
}
