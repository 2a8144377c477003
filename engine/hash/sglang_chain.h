// SPDX-License-Identifier: Apache-2.0
// sglang_chain.h — SGLang's page hashes, plain and over EAGLE's bigrams.
//
// Source: SGLang, python/sglang/srt/mem_cache (get_hash_str and the bigram keys; Apache-2.0).
// SGLang writes these digests as 64 hexadecimal digits; here they are the 32 bytes.
//
// Threading: pure functions. Blocking: cpu.
#pragma once

#include <cstddef>

#include "engine/hash/chain.h"

namespace cairn::detail {

/// Writes the keys of the request's full pages `key_bytes` apart, digests only.
/// Precondition: HashChain::check passed.
void hash_sglang(const HashChainOptions& options, const HashRequest& request,
                 std::size_t key_bytes);

}  // namespace cairn::detail
