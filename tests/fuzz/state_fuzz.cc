// SPDX-License-Identifier: Apache-2.0
// State files from any bytes at all, and from any bytes under a sound sum.
#include "engine/base/check.h"
#include "tests/fuzz/sealed.h"
#include "tiers/cold/state_file.h"

using namespace cairn;  // a target is one function
using namespace cairn::tiers;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan bytes{reinterpret_cast<const std::byte*>(data), size};
  const StoreUuid store{1, 2, 3};
  const auto check = [&](ByteSpan input) {
    const auto content = parse_state(input, store, "hot-list");
    if (content.ok())
      CAIRN_CHECK(as_text(input) == encode_state(store, "hot-list", as_bytes(*content)));
  };
  test::check_also_sealed(bytes, check);
  return 0;
}
