// SPDX-License-Identifier: Apache-2.0
// The superblock from any bytes at all, and from any bytes under a sound sum: what is accepted
// can be written again and read back.
#include "engine/base/check.h"
#include "tests/fuzz/sealed.h"
#include "tiers/cold/superblock.h"

using namespace cairn;  // a target is one function
using namespace cairn::tiers;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan bytes{reinterpret_cast<const std::byte*>(data), size};
  const auto check = [](ByteSpan input) {
    const auto parsed = parse_superblock(input);
    if (!parsed.ok()) return;
    const auto again = parse_superblock(as_bytes(encode_superblock(*parsed)));
    CAIRN_CHECK(again.ok() || parsed->format_minor != 0);
  };
  test::check_also_sealed(bytes, check);
  return 0;
}
