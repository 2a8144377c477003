// SPDX-License-Identifier: Apache-2.0
// key.h — how a block is named, and the 128 bits by which the catalog knows it.
//
// A key is opaque: whoever owns the chain chose it (vLLM's hash ‖ group, SGLang's hex, a
// Redis key). Cairn never looks inside. Namespace, key and part together are the name;
// the BlockId is only a fast stand-in for it, which is why the full key is compared
// wherever a block is delivered.
//
// Threading: immutable values. Blocking: never.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/hash128.h"

namespace cairn {

constexpr std::size_t kKeyLengthMax = 1024;
constexpr std::uint64_t kBlockBytesMax = 64 * kMiB;

/// 32 bits, given by the store when a namespace is made, never reused.
enum class NamespaceId : std::uint32_t {};

/// One shard of a block: rank, KV group, K or V half. 0 where there is one.
using Part = std::uint16_t;

/// The full name. Borrows the key: the caller keeps it alive as each call says.
struct BlockName {
  NamespaceId namespace_id{};
  std::string_view key;
  Part part = 0;
  friend bool operator==(const BlockName&, const BlockName&) = default;
};

/// A name that owns its key.
struct OwnedName {
  NamespaceId namespace_id{};
  std::string key;
  Part part = 0;
  BlockName view() const { return {namespace_id, key, part}; }
};

/// XXH3-128 of (namespace, key, part), seeded with the store's secret, so that nobody who
/// does not know the secret can make two names collide.
struct BlockId {
  Hash128 hash;
  bool is_null() const { return hash == Hash128{}; }
  friend constexpr auto operator<=>(const BlockId&, const BlockId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const BlockId& id) {
    return H::combine(std::move(h), id.hash);
  }
};

inline bool is_valid_key(std::string_view key) {
  return !key.empty() && key.size() <= kKeyLengthMax;
}

/// Costs one XXH3-128 over key + 6 bytes; no allocation.
BlockId block_id(const BlockName& name, std::uint64_t secret);

}  // namespace cairn
