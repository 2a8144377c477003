// SPDX-License-Identifier: Apache-2.0
// lower_read.h — where a block that is not in hot is read from: warm before cold.
//
// A copy may move or go between the moment the catalog named it and the moment it is read; then its
// tier says `corruption`, which here means "look again". Only a copy that is still listed where it
// failed is to blame: it is taken out, and the block is read from the next tier that has it.
//
// Threading:  thread-safe.
// Blocking:   never.
#pragma once

#include <cstdint>
#include <span>

#include "engine/core.h"
#include "engine/mover.h"

namespace cairn::detail {

/// One copy below hot. `tier` is none where there is none.
struct Source {
  TierKind tier = TierKind::none;
  Location location;
  friend bool operator==(const Source&, const Source&) = default;
};
Source source_of(const Residency& residency);

/// Reads a batch, each element from its own tier; done runs once, when all have ended. Both spans
/// stay as they are until then; `reads` gets the locations of `sources`.
void read_below(EngineCore& core, std::span<TierRead> reads, std::span<const Source> sources,
                Done done);

/// Of a version whose copy in `failed` did not pass its checks: what to read instead, or none.
/// `attempts` is how often it has been read by now.
Source look_again(EngineCore& core, Mover& mover, BlockId id, std::uint64_t sequence, Source failed,
                  std::uint32_t attempts);

}  // namespace cairn::detail
