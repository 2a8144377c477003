// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/tier_report.h"

#include <algorithm>

#include "engine/base/text.h"
#include "tools/cairn/values.h"

namespace cairn::tools {

Json tier_object(const TierStats& tier) {
  // Of an empty tier, or of one that only holds blocks of no bytes, there is no ratio.
  const bool has_ratio = tier.payload_bytes != 0 && tier.usage.used_bytes != 0;
  const double ratio = has_ratio ? static_cast<double>(tier.payload_bytes) /
                                       static_cast<double>(tier.usage.used_bytes)
                                 : 0;
  return {{"capacity_bytes", tier.usage.capacity_bytes},
          {"used_bytes", tier.usage.used_bytes},
          {"payload_bytes", tier.payload_bytes},
          {"ratio", has_ratio ? Json(ratio) : Json()},
          {"dead_bytes", tier.usage.dead_bytes},
          {"blocks", tier.usage.blocks},
          {"hits", tier.hits},
          {"bytes_read", tier.bytes_read},
          {"bytes_written", tier.bytes_written},
          {"evictions", tier.evictions},
          {"evicted_bytes", tier.evicted_bytes}};
}

Json moves_object(const EngineStats& stats) {
  Json object;
  for (std::size_t i = 0; i < kMoveKinds; ++i) {
    const MoveStats& move = stats.moves[i];
    object[std::string(move_kind_name(static_cast<MoveKind>(i)))] = {
        {"blocks", move.blocks},
        {"bytes", move.bytes},
        {"stayed",
         {{"no_room", move.no_room},
          {"over_budget", move.over_budget},
          {"in_use", move.in_use},
          {"gone", move.gone},
          {"failed", move.failed}}}};
  }
  object["free_demotions"] = stats.free_demotions;
  object["spares_dropped"] = stats.spares_dropped;
  return object;
}

std::string moves_remark(const EngineStats& stats) {
  std::string text;
  for (std::size_t i = 0; i < kMoveKinds; ++i) {
    const MoveStats& move = stats.moves[i];
    if (move.blocks == 0) continue;
    std::string name(move_kind_name(static_cast<MoveKind>(i)));
    std::replace(name.begin(), name.end(), '_', ' ');
    if (!text.empty()) text += "; ";
    text += concat(name, " ", format_count(move.blocks), " blocks, ", format_size(move.bytes));
  }
  return text;
}

}  // namespace cairn::tools
