// SPDX-License-Identifier: Apache-2.0
// u64_chains.h — the chains whose keys are numbers of 64 bits: Dynamo's (which Mooncake's conductor
// shares), FlexKV's and llm-d's. A key here is that number, big-endian, so that its hexadecimal
// form reads as the number does.
//
// 64 bits are few: among 2^32 blocks a collision is an even chance. They are here to meet what
// others have computed, never to tell tenants apart.
//
// Threading: pure functions. Blocking: cpu.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/hash/chain.h"

namespace cairn::detail {

/// "" is Dynamo's own, 1337. Nothing for what is no number of 64 bits.
std::optional<std::uint64_t> parse_dynamo_seed(std::string_view text);

/// Each writes the keys of the request's full blocks `key_bytes` apart, digests only.
/// Precondition: HashChain::check passed.
void hash_dynamo(const HashChainOptions& options, const HashRequest& request,
                 std::size_t key_bytes);
void hash_flexkv(const HashChainOptions& options, const HashRequest& request,
                 std::size_t key_bytes);
void hash_llm_d(const HashChainOptions& options, const HashRequest& request, std::size_t key_bytes);

}  // namespace cairn::detail
