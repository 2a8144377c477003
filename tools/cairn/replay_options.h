// SPDX-License-Identifier: Apache-2.0
// replay_options.h — what a replay was told.
//
// Threading: a plain value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/base/bytes.h"
#include "engine/block.h"
#include "engine/tier.h"

namespace cairn::tools {

constexpr std::uint64_t kReplayColdBytes = 8 * kGiB;

struct ReplayOptions {
  std::optional<std::string> trace;  // none: requests are made up
  std::string directory;             // empty: a temporary one
  std::uint64_t hot_bytes = kGiB;
  std::uint64_t warm_bytes = kGiB;  // 0: no warm tier
  /// None: what a store that is there has for its limit, and of a new one kReplayColdBytes.
  std::optional<std::uint64_t> cold_limit;
  std::uint64_t cold_bytes = 0;  // what came of it
  CodecUse codec = CodecUse::automatic;
  std::string model = "8b";
  std::uint64_t block_tokens = 512;
  std::optional<Durability> durability;  // none: goes round by request
  std::optional<double> kill_at;         // share of the requests
  std::uint64_t generated_requests = 1000;
  std::uint64_t seed = 1;
  bool quiet = false;

  Durability durability_of(std::size_t request) const {
    return durability.value_or(static_cast<Durability>(request % 3));
  }
};

}  // namespace cairn::tools
