// SPDX-License-Identifier: Apache-2.0
// namespace_facts.h — what the tiers in memory need to know of a namespace: facts of its
// descriptor, which never change.
//
// Threading:  thread-safe. Asked before a tier takes a lock of its own.
// Blocking:   never.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "engine/base/mutex.h"
#include "engine/tier.h"
#include "tiers/warm/warm_tier.h"

namespace cairn::tiers {

class NamespaceFacts {
 public:
  explicit NamespaceFacts(const DurableTier& cold) : cold_(cold) {}

  /// The one payload size of a namespace whose layout is known.
  std::optional<std::uint32_t> fixed_size(NamespaceId id);
  /// Nothing where there is no such namespace.
  std::optional<WarmCoding> coding(NamespaceId id);

 private:
  struct Facts {
    std::optional<std::uint32_t> fixed_size;
    WarmCoding coding;
  };
  std::optional<Facts> of(NamespaceId id);

  const DurableTier& cold_;
  Mutex mutex_{LockRank::engine_lifecycle};
  absl::flat_hash_map<NamespaceId, Facts> known_ CAIRN_GUARDED_BY(mutex_);
};

}  // namespace cairn::tiers
