// SPDX-License-Identifier: Apache-2.0
// namespace.h — what must match for KV to be interchangeable.
//
// Blocks never cross namespaces. A namespace is made with a descriptor and refuses every
// later opening with another one, because bytes of another model, dtype, layout or hash
// scheme under the same key would be wrong bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/key.h"

namespace cairn {

enum class NamespaceKind : std::uint8_t {
  content_addressed = 0,  // a block is immutable; a second put keeps the first bytes
  mutable_ = 1,           // put replaces; versions, expiry, no parents
};

/// When blocks of a namespace are written to cold, and what a put that names no durability is
/// acknowledged at. engine.h says more.
enum class WritePolicy : std::uint8_t {
  through = 0,  // before the put is acknowledged: `written`
  back,         // later, when they leave memory: `memory`
  selective,    // when they are seen a second time: `memory`
};

enum class Dtype : std::uint8_t { opaque = 0, bf16, fp16, fp8_e4m3, fp8_e5m2, fp32 };

/// The payload's shape [layers][tensors][tokens][kv_heads][head_dim]; tensors is 2 (K and
/// V) or 1 (MLA). All zero where the payload is opaque.
struct BlockLayout {
  std::uint32_t layers = 0;
  std::uint32_t tensors = 0;
  std::uint32_t tokens = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;
  bool is_known() const { return layers != 0; }
  friend bool operator==(const BlockLayout&, const BlockLayout&) = default;
};

std::uint32_t dtype_bytes(Dtype dtype);  // opaque counts as 1
/// Bytes of one block of that shape; 0 where the layout is not known.
std::uint64_t layout_bytes(const BlockLayout& layout, Dtype dtype);
/// Bytes of one (layer, K or V) plane; 0 where the layout is not known.
std::uint64_t plane_bytes(const BlockLayout& layout, Dtype dtype);

/// Everything here is identity except the name, which finds it.
struct NamespaceDescriptor {
  std::string name;  // 1…255 bytes of printable UTF-8 without '/'
  NamespaceKind kind = NamespaceKind::content_addressed;
  std::string model;
  std::string revision;
  Dtype dtype = Dtype::opaque;
  BlockLayout layout;
  std::uint32_t tokens_per_block = 0;  // 0: unknown
  std::string hash_scheme;             // "vllm-sha256-cbor", "native", … or empty: opaque keys
  std::string tenant_salt;
  friend bool operator==(const NamespaceDescriptor&, const NamespaceDescriptor&) = default;
};

/// What a namespace has while the engine is open, whatever it had before: no part of its identity.
struct NamespaceOptions {
  /// Of memory, for an index of its blocks by token ids (Engine::match_tokens), a part of
  /// EngineOptions::metadata_bytes; about 100 bytes a block of 16 tokens. At the limit it forgets
  /// what was matched least recently. 0: none. Content-addressed namespaces with tokens_per_block
  /// alone.
  std::uint64_t token_index_bytes = 0;
  /// Blocks come in and go out with their token ids alone (token_ids.h): a put or acquire that
  /// leaves them out is `invalid_argument`, and so is load, which compares nothing.
  /// Content-addressed namespaces alone.
  bool verify_tokens = false;
  std::optional<WritePolicy> write_policy;  // unset: stays as it is, `through` at first
};

absl::Status validate(const NamespaceDescriptor& descriptor);
/// OK when equal; else `mismatch`, naming the first field that differs and both values
/// (never the salt's).
absl::Status check_same(const NamespaceDescriptor& stored, const NamespaceDescriptor& wanted);

/// A namespace as the store knows it. The epoch rises with every clear(): records of an
/// older epoch are dead.
struct NamespaceInfo {
  NamespaceId id{};
  std::uint32_t epoch = 0;
  NamespaceDescriptor descriptor;
};

std::string_view namespace_kind_name(NamespaceKind kind);
std::string_view write_policy_name(WritePolicy policy);
std::string_view dtype_name(Dtype dtype);

}  // namespace cairn
