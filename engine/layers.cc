// SPDX-License-Identifier: Apache-2.0
#include "engine/layers.h"

#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn {
namespace {

template <typename Span>
Span part_of(Span block, const NamespaceDescriptor& descriptor, LayerRange layers) {
  const absl::StatusOr<ByteRange> range = bytes_of_layers(descriptor, layers);
  const bool fits = range.ok() && block.size() == layout_bytes(descriptor.layout, descriptor.dtype);
  return fits ? block.subspan(range->offset, range->bytes) : Span();
}

}  // namespace

std::uint64_t layer_bytes(const BlockLayout& layout, Dtype dtype) {
  return plane_bytes(layout, dtype) * layout.tensors;
}

absl::StatusOr<ByteRange> bytes_of_layers(const NamespaceDescriptor& descriptor,
                                          LayerRange layers) {
  const BlockLayout& layout = descriptor.layout;
  if (!layout.is_known()) {
    return make_error(ErrorCode::invalid_argument,
                      concat("namespace '", descriptor.name, "' has no layout, and so no layers"));
  }
  if (layers.is_whole()) layers.count = layout.layers;
  if (layers.count == 0 || layers.first >= layout.layers ||
      layers.count > layout.layers - layers.first) {
    return make_error(
        ErrorCode::invalid_argument,
        concat("layers ", layers.first, " + ", layers.count, " of a block of ", layout.layers));
  }
  // validate() holds a block, and so each of these, below 2^26 bytes.
  const std::uint64_t one = layer_bytes(layout, descriptor.dtype);
  return ByteRange{static_cast<std::uint32_t>(one * layers.first),
                   static_cast<std::uint32_t>(one * layers.count)};
}

ByteSpan layers_of(ByteSpan block, const NamespaceDescriptor& descriptor, LayerRange layers) {
  return part_of(block, descriptor, layers);
}

MutableByteSpan layers_of(MutableByteSpan block, const NamespaceDescriptor& descriptor,
                          LayerRange layers) {
  return part_of(block, descriptor, layers);
}

}  // namespace cairn
