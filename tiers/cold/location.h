// SPDX-License-Identifier: Apache-2.0
// location.h — where a record lies, in the 64 bits that the catalog holds.
//
//   device 4 | segment 17 | offset ÷ 64, 22 | record bytes ÷ 64 rounded up, 21
//
// The size is in it so that a read needs nothing but the location. No record begins at
// offset 0 (the segment's header does), so no packed location is null.
//
// Threading: pure functions. Blocking: never.
#pragma once

#include <cstdint>

#include "engine/base/check.h"
#include "engine/block.h"
#include "tiers/record/format.h"

namespace cairn::tiers {

struct Place {
  std::uint8_t device = 0;
  SegmentId segment{};
  std::uint64_t offset = 0;        // a multiple of 64, never 0
  std::uint64_t record_bytes = 0;  // header, padding, payload; a multiple of 64
  friend bool operator==(const Place&, const Place&) = default;
};

inline bool is_packable(const Place& place) {
  return place.device < 16 && static_cast<std::uint32_t>(place.segment) < kSegmentsMax &&
         place.offset % kSmallAlignment == 0 && place.offset != 0 &&
         place.offset / kSmallAlignment < (1ULL << 22) &&
         round_up(place.record_bytes, kSmallAlignment) / kSmallAlignment < (1ULL << 21);
}

inline Location pack_location(const Place& place) {
  CAIRN_CHECK(is_packable(place));
  const std::uint64_t segment = static_cast<std::uint32_t>(place.segment);
  return {(std::uint64_t{place.device} << 60) | (segment << 43) |
          ((place.offset / kSmallAlignment) << 21) |
          (round_up(place.record_bytes, kSmallAlignment) / kSmallAlignment)};
}

inline Place unpack_location(Location location) {
  return {static_cast<std::uint8_t>(location.bits >> 60),
          static_cast<SegmentId>(static_cast<std::uint32_t>((location.bits >> 43) & 0x1ffff)),
          ((location.bits >> 21) & 0x3fffff) * kSmallAlignment,
          (location.bits & 0x1fffff) * kSmallAlignment};
}

}  // namespace cairn::tiers
