// SPDX-License-Identifier: Apache-2.0
#include "tiers/namespace_facts.h"

#include "tiers/record/record.h"

namespace cairn::tiers {

std::optional<NamespaceFacts::Facts> NamespaceFacts::of(NamespaceId id) {
  {
    MutexLock lock(mutex_);
    const auto known = known_.find(id);
    if (known != known_.end()) return known->second;
  }
  for (const NamespaceInfo& info : cold_.namespaces()) {
    if (info.id != id) continue;
    Facts facts;
    facts.coding = {info.descriptor.dtype, chunk_bytes_for(info.descriptor)};
    const std::uint64_t bytes = layout_bytes(info.descriptor.layout, info.descriptor.dtype);
    if (bytes > 0 && bytes <= kBlockBytesMax) facts.fixed_size = static_cast<std::uint32_t>(bytes);
    MutexLock lock(mutex_);
    known_[id] = facts;
    return facts;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> NamespaceFacts::fixed_size(NamespaceId id) {
  const std::optional<Facts> facts = of(id);
  return facts ? facts->fixed_size : std::nullopt;
}

std::optional<WarmCoding> NamespaceFacts::coding(NamespaceId id) {
  const std::optional<Facts> facts = of(id);
  return facts ? std::optional(facts->coding) : std::nullopt;
}

}  // namespace cairn::tiers
