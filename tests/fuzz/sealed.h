// SPDX-License-Identifier: Apache-2.0
// sealed.h — a fuzzer does not find a sum, so it is given one.
//
// Threading: pure. Blocking: cpu.
#pragma once

#include <string>

#include "engine/base/bytes.h"
#include "engine/base/hash128.h"

namespace cairn::test {

/// Hands over the bytes as they are, and again closed by their XXH3-128.
template <typename Check>
void check_also_sealed(ByteSpan bytes, const Check& check) {
  check(bytes);
  std::string sealed(as_text(bytes));
  const Hash128 sum = xxh3_128(bytes);
  append_le(sealed, sum.low);
  append_le(sealed, sum.high);
  check(as_bytes(sealed));
}

}  // namespace cairn::test
