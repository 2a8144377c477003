// SPDX-License-Identifier: Apache-2.0
// vllm_chain.h — vLLM's block hashes over canonical CBOR.
//
// Source: vLLM, vllm/v1/core/kv_cache_utils.py and vllm/utils/hashing.py (Apache-2.0): the
// algorithms `sha256_cbor` and `xxhash_cbor` of --prefix-caching-hash-algo. Those over pickle
// are left out: what they hash depends on which Python objects happen to be shared.
//
// Threading: pure functions. Blocking: cpu.
#pragma once

#include <cstddef>

#include "engine/hash/chain.h"

namespace cairn::detail {

/// Writes the keys of the request's full blocks `key_bytes` apart, digests only.
/// Precondition: HashChain::check passed.
void hash_vllm(const HashChainOptions& options, const HashRequest& request, std::size_t key_bytes);

}  // namespace cairn::detail
