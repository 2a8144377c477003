// SPDX-License-Identifier: Apache-2.0
// block.h — what is known of a block besides its bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/clock.h"
#include "engine/key.h"

namespace cairn {

/// What an acknowledgement promises (design: "Durability has three words everywhere").
enum class Durability : std::uint8_t {
  memory = 0,   // in hot; a kill loses it
  written = 1,  // handed to the kernel; kill -9 loses nothing, a power cut ≤ sync_interval
  durable = 2,  // data synced, then the index's log synced; nothing is lost
};
std::string_view durability_name(Durability durability);

/// Where a tier keeps a block: opaque to everyone but that tier. 0 is nowhere.
struct Location {
  std::uint64_t bits = 0;
  bool is_null() const { return bits == 0; }
  friend constexpr auto operator<=>(Location, Location) = default;
};

/// Facts that every durable tier stores beside the payload and gives back after a restart.
struct BlockFacts {
  std::uint64_t sequence = 0;     // the store's global order of writes; a mutable block's version
  std::uint32_t plain_bytes = 0;  // length of the payload as put
  std::uint64_t plain_sum = 0;    // XXH3-64 of the payload as put
  WallMicros expiry = 0;          // 0: never
  BlockId parent;                 // null: none known
  bool pinned = false;            // a durable pin
  friend bool operator==(const BlockFacts&, const BlockFacts&) = default;
};

}  // namespace cairn
