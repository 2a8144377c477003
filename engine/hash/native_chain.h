// SPDX-License-Identifier: Apache-2.0
// native_chain.h — Cairn's own chain: two XXH3-128 a block, fast enough to hash while matching.
//
// The local hash of a block depends on its tokens alone, so the processor works on several
// blocks at once; only the short hash that ties a block to its parent is serial.
//
// Threading: pure functions. Blocking: cpu.
#pragma once

#include <cstddef>

#include "engine/hash/chain.h"

namespace cairn::detail {

/// Writes the keys of the request's full blocks `key_bytes` apart, digests only.
/// Precondition: HashChain::check passed.
void hash_native(const HashChainOptions& options, const HashRequest& request,
                 std::size_t key_bytes);

}  // namespace cairn::detail
