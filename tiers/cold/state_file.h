// SPDX-License-Identifier: Apache-2.0
// state_file.h — small named files beside the data: the hot list, statistics, the clean mark.
//
// Replaced whole, synced, closed by an XXH3-128, and bound to their store and name, so that a
// file copied from elsewhere is refused. Losing one is never losing data: what a reader
// cannot trust it does without.
//
// Threading: encode and parse are pure; save and load are thread-safe for different names.
// Blocking:  save and load: disk.
// Failure:   load: `not_found`, `corruption`, `format`.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "tiers/io/device.h"
#include "tiers/record/format.h"

namespace cairn::tiers {

constexpr std::size_t kStateNameMax = 64;

/// Left by a clean close, taken away by the next opening and by whatever makes it untrue.
inline constexpr std::string_view kCleanMarkName = "clean";

/// Letters, digits, '-', '_' and '.', not beginning with '.', 1…64 bytes; not the superblock
/// copy's.
bool is_valid_state_name(std::string_view name);

std::string encode_state(const StoreUuid& store, std::string_view name, ByteSpan content);
absl::StatusOr<std::string> parse_state(ByteSpan bytes, const StoreUuid& store,
                                        std::string_view name);

absl::Status save_state_file(Device& device, std::string_view directory, const StoreUuid& store,
                             std::string_view name, ByteSpan content);
absl::StatusOr<std::string> load_state_file(Device& device, std::string_view directory,
                                            const StoreUuid& store, std::string_view name);
/// Removes it, and syncs the directory. OK if it was not there.
absl::Status remove_state_file(Device& device, std::string_view directory, std::string_view name);

}  // namespace cairn::tiers
