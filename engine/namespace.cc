// SPDX-License-Identifier: Apache-2.0
#include "engine/namespace.h"

#include <array>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn {

std::uint32_t dtype_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::opaque:
      return 1;
    case Dtype::bf16:
      return 2;
    case Dtype::fp16:
      return 2;
    case Dtype::fp8_e4m3:
      return 1;
    case Dtype::fp8_e5m2:
      return 1;
    case Dtype::fp32:
      return 4;
  }
  CAIRN_UNREACHABLE();
}

std::uint64_t plane_bytes(const BlockLayout& layout, Dtype dtype) {
  if (!layout.is_known()) return 0;
  return std::uint64_t{layout.tokens} * layout.kv_heads * layout.head_dim * dtype_bytes(dtype);
}

std::uint64_t layout_bytes(const BlockLayout& layout, Dtype dtype) {
  return plane_bytes(layout, dtype) * layout.layers * layout.tensors;
}

absl::Status validate(const NamespaceDescriptor& d) {
  const auto invalid = [](std::string_view why) {
    return make_error(ErrorCode::invalid_argument, why);
  };
  if (d.name.empty() || d.name.size() > 255)
    return invalid("a namespace's name has 1 to 255 bytes");
  for (const char c : d.name) {
    if (c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return invalid("a namespace's name has no '/' and no control characters");
    }
  }
  for (const std::string* text : {&d.model, &d.revision, &d.hash_scheme, &d.tenant_salt}) {
    if (text->size() > 4096)
      return invalid("a namespace's descriptor fields have at most 4096 bytes");
  }
  // Each below 2^16, so that no product overflows.
  const std::array<std::uint32_t, 5> shape{d.layout.layers, d.layout.tensors, d.layout.tokens,
                                           d.layout.kv_heads, d.layout.head_dim};
  for (const std::uint32_t n : shape) {
    if (n >= 65536 || (n == 0) != (shape[0] == 0)) {
      return invalid("a layout's five numbers are all 0 (opaque) or all between 1 and 65535");
    }
  }
  if (layout_bytes(d.layout, d.dtype) > kBlockBytesMax)
    return invalid("a block has at most 64 MiB");
  return absl::OkStatus();
}

absl::Status check_same(const NamespaceDescriptor& stored, const NamespaceDescriptor& wanted) {
  const auto differs = [&](std::string_view field, auto have, auto want) {
    return make_error(ErrorCode::mismatch, concat("namespace '", stored.name, "' was made with ",
                                                  field, " ", have, ", not ", want));
  };
  if (stored.kind != wanted.kind) {
    return differs("kind", namespace_kind_name(stored.kind), namespace_kind_name(wanted.kind));
  }
  if (stored.model != wanted.model) return differs("model", stored.model, wanted.model);
  if (stored.revision != wanted.revision)
    return differs("revision", stored.revision, wanted.revision);
  if (stored.dtype != wanted.dtype)
    return differs("dtype", dtype_name(stored.dtype), dtype_name(wanted.dtype));
  if (stored.layout != wanted.layout) {
    const auto text = [](const BlockLayout& l) {
      return concat("[", l.layers, ",", l.tensors, ",", l.tokens, ",", l.kv_heads, ",", l.head_dim,
                    "]");
    };
    return differs("layout", text(stored.layout), text(wanted.layout));
  }
  if (stored.tokens_per_block != wanted.tokens_per_block) {
    return differs("tokens per block", stored.tokens_per_block, wanted.tokens_per_block);
  }
  if (stored.hash_scheme != wanted.hash_scheme)
    return differs("hash scheme", stored.hash_scheme, wanted.hash_scheme);
  if (stored.tenant_salt != wanted.tenant_salt) return differs("tenant salt", "(one)", "(another)");
  return absl::OkStatus();
}

std::string_view namespace_kind_name(NamespaceKind kind) {
  switch (kind) {
    case NamespaceKind::content_addressed:
      return "content-addressed";
    case NamespaceKind::mutable_:
      return "mutable";
  }
  CAIRN_UNREACHABLE();
}

std::string_view write_policy_name(WritePolicy policy) {
  switch (policy) {
    case WritePolicy::through:
      return "through";
    case WritePolicy::back:
      return "back";
    case WritePolicy::selective:
      return "selective";
  }
  CAIRN_UNREACHABLE();
}

std::string_view dtype_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::opaque:
      return "opaque";
    case Dtype::bf16:
      return "bf16";
    case Dtype::fp16:
      return "fp16";
    case Dtype::fp8_e4m3:
      return "fp8_e4m3";
    case Dtype::fp8_e5m2:
      return "fp8_e5m2";
    case Dtype::fp32:
      return "fp32";
  }
  CAIRN_UNREACHABLE();
}

}  // namespace cairn
