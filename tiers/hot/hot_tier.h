// SPDX-License-Identifier: Apache-2.0
// hot_tier.h — plain blocks in RAM, in regions that can be shared.
//
// A region is one memfd of its own and holds slots of one size of one namespace and nothing
// else: keys, headers and free lists live in private memory, so that a client that maps a
// region sees payloads it may read and not a byte more. Empty regions are closed and made
// anew, which is how memory moves between namespaces and sizes.
//
// A slot is the block's exact size rounded up to 4 KiB where the namespace has one size, else
// a size class, eight to a power of two. Slots are 4 KiB-aligned, so that the cold tier reads
// and writes them with O_DIRECT without a copy.
//
// Threading:  thread-safe.
// Blocking:   never (a new region costs page faults on first use, not here).
// Failure:    `no_space` when the limit is reached, `too_large` when no region could hold it.
//
// Invariants: a slot is free or given out, never both; used + free slots of a region are its
//             slots; the bytes of all regions never pass the capacity.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tier.h"

namespace cairn::tiers {

struct HotOptions {
  std::uint64_t capacity_bytes = kGiB;
  /// A multiple of 2 MiB; regions of a small tier or a large slot are sized to fit.
  std::uint64_t region_bytes = 256 * kMiB;
  bool huge_pages = true;  // asked for, not insisted on
};

/// How the engine's memory may leave the process: all that a server sees of it.
struct SharedRegion {
  /// Sealed (write, shrink, grow, seal) before it is given to anyone; owned by the tier.
  int fd = -1;
  std::uint64_t bytes = 0;
  NamespaceId namespace_id{};
};

class HotTier : public AddressableTier {
 public:
  /// The regions of one namespace. A region that was ever shared goes to no other namespace.
  virtual std::vector<SharedRegion> share(NamespaceId namespace_id) = 0;
  virtual void check_invariants() const = 0;
};

/// `fixed_size(ns)` is the one payload size of a namespace, or empty where sizes vary.
absl::StatusOr<std::unique_ptr<HotTier>> open_hot_tier(
    const HotOptions& options, std::function<std::optional<std::uint32_t>(NamespaceId)> fixed_size);

}  // namespace cairn::tiers
