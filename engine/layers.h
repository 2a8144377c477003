// SPDX-License-Identifier: Apache-2.0
// layers.h — which bytes of a block are whose layer's.
//
// A payload's outermost dimension is its layers (namespace.h), so those of a run of layers lie
// side by side. Nothing here looks at a block: a payload of another length than its namespace's
// layout has no layers at all, and who asks for some is told `invalid_argument`.
//
//   lease->blocks()[i].bytes ─► layers_of(bytes, descriptor, {.first = 3, .count = 1})   to read
//   batch->buffer(i)         ─► the same                                                 to fill
//
// Threading: pure functions. Blocking: never.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/namespace.h"

namespace cairn {

/// Layers [first, first + count) of a block. {0, 0}, the default: the whole block, whatever it is.
struct LayerRange {
  std::uint32_t first = 0, count = 0;
  bool is_whole() const { return first == 0 && count == 0; }
  friend bool operator==(const LayerRange&, const LayerRange&) = default;
};

/// Bytes [offset, offset + bytes) of a payload.
struct ByteRange {
  std::uint32_t offset = 0, bytes = 0;
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

/// Bytes of one layer of a block, K and V; 0 where the layout is not known.
std::uint64_t layer_bytes(const BlockLayout& layout, Dtype dtype);

/// `invalid_argument` where the namespace has no layout, or not these layers.
absl::StatusOr<ByteRange> bytes_of_layers(const NamespaceDescriptor& descriptor, LayerRange layers);

/// Those of `block`, in place. Empty where there are none: no layout, another length than the
/// layout's, or a range outside it.
ByteSpan layers_of(ByteSpan block, const NamespaceDescriptor& descriptor, LayerRange layers);
MutableByteSpan layers_of(MutableByteSpan block, const NamespaceDescriptor& descriptor,
                          LayerRange layers);

}  // namespace cairn
