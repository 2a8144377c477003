// SPDX-License-Identifier: Apache-2.0
// layout.h — the names of a store's files and directories.
//
//   DIR/CAIRN              superblock; its copy is state/CAIRN.copy
//   DIR/LOCK               who has the store open
//   DIR/index/             RocksDB, nothing else
//   DIR/segments/NNNNNN.seg
//   DIR/state/             small state files
//   DIR/lost+found/        what repair set aside; nothing in it is ever read
//
// Directories are 0700: KV tells what users asked.
//
// Threading: pure functions, except make_store_directories. Blocking: disk where it says so.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "tiers/io/device.h"
#include "tiers/record/format.h"

namespace cairn::tiers {

std::string superblock_path(std::string_view directory);
std::string superblock_copy_path(std::string_view directory);
std::string lock_path(std::string_view directory);
std::string index_path(std::string_view directory);
std::string segments_path(std::string_view directory);
std::string state_path(std::string_view directory);
std::string lost_found_path(std::string_view directory);
std::string segment_path(std::string_view directory, SegmentId segment);
/// "000017.seg" → 17; empty for any other name.
std::optional<SegmentId> segment_of_name(std::string_view file_name);

/// All of the above, synced; those that are there stay. Blocks: disk.
absl::Status make_store_directories(Device& device, const std::string& directory);

/// What this process writes into LOCK, so that the next one can name it: "pid=17 host=name".
std::string lock_owner();

}  // namespace cairn::tiers
