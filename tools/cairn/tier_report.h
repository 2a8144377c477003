// SPDX-License-Identifier: Apache-2.0
// tier_report.h — what lies in the tiers and what moved between them, for machines and for people.
//
// Threading: pure functions. Blocking: never.
#pragma once

#include <string>

#include "engine/stats.h"
#include "tools/cairn/output.h"

namespace cairn::tools {

/// `payload_bytes` is what users put, `used_bytes` what it takes in the tier.
Json tier_object(const TierStats& tier);
/// Every way between two tiers, with the reasons for which blocks stayed.
Json moves_object(const EngineStats& stats);
/// "hot to warm 1,024 blocks, 512 MiB; …": the ways that were taken. Empty where nothing moved.
std::string moves_remark(const EngineStats& stats);

}  // namespace cairn::tools
