// SPDX-License-Identifier: Apache-2.0
// size_class.h — how large slots and regions are. Pure.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>

#include "engine/base/bytes.h"

namespace cairn::tiers {

constexpr std::uint64_t kSlotAlignment = 4096;

/// The exact size where the namespace has one and the block is of it, else the next of eight
/// classes to a power of two: at most an eighth is lost.
constexpr std::uint64_t slot_bytes_for(std::uint32_t size, std::optional<std::uint32_t> fixed) {
  const std::uint64_t rounded = std::max(round_up(size, kSlotAlignment), kSlotAlignment);
  if ((fixed && *fixed == size) || rounded <= 8 * kSlotAlignment) return rounded;
  const std::uint64_t step = std::bit_floor(rounded - 1) / 8;
  return round_up(round_up(rounded, step), kSlotAlignment);
}

/// How many bytes a region of such slots should have.
///
/// Where a namespace has one size, a thirty-second of the tier; where sizes vary, each class has
/// regions of its own, so they are small: a 256th of the tier, which also bounds the number of
/// descriptors. Not less than 2 MiB, the huge page, unless the tier is so small that fewer than
/// 32 of these fit; and at least one slot. Of the numbers of slots up to half as many again it
/// is the one that leaves the least of the last 2 MiB unused.
constexpr std::uint64_t region_bytes_for(std::uint64_t slot_bytes, bool is_fixed,
                                         std::uint64_t capacity, std::uint64_t region_bytes_max) {
  constexpr std::uint64_t kHuge = 2 * kMiB;
  std::uint64_t target = capacity / 32;
  if (target >= kHuge) {
    const std::uint64_t wanted = is_fixed ? target : capacity / 256;
    target = std::clamp(wanted / kHuge * kHuge, kHuge, std::max(region_bytes_max, kHuge));
  }
  const std::uint64_t fewest = std::max<std::uint64_t>(target / slot_bytes, 1);
  if (target < kHuge) return fewest * slot_bytes;
  const auto waste = [slot_bytes](std::uint64_t slots) {
    return round_up(slots * slot_bytes, kHuge) - slots * slot_bytes;
  };
  std::uint64_t best = fewest;
  for (std::uint64_t slots = fewest; slots <= fewest + fewest / 2 && waste(best) > 0; ++slots) {
    if (waste(slots) < waste(best)) best = slots;
  }
  return best * slot_bytes;
}

}  // namespace cairn::tiers
