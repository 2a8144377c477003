// SPDX-License-Identifier: Apache-2.0
// repair.h — makes the index again from the segments.
//
// Deletes nothing: the old index goes to lost+found/. The new one is built beside (in
// lost+found/index.rebuild), synced, and moved into place last; killed at any moment, repair
// can be run again and comes to the same result. Segments are only read.
//
// What it cannot do: without either copy of the superblock a store is not repaired, because
// which namespaces were cleared, and what their blocks mean, is written nowhere else; giving
// out what may have been erased would be worse than a miss.
//
// A segment with sectors that cannot be read gives back what lies around them, and is not written
// to again. A device that fails over more than FileWindow::kUnreadableBytesMax of a file ends the
// repair: an index of what it happened to give would call the rest free.
//
// Where the old index can be read it is held against the new one. What it named and no segment
// gives back is counted as gone; and what it says was erased or overwritten stays so, also where
// the segment that said it is lost.
//
// Threading:  anywhere; takes DIR/LOCK. The device must have no other poller while it runs.
// Blocking:   disk; reads every footer, and whole segments where there is none; the old index.
// Failure:    `not_found` (no store), `locked`, `format`, `corruption` (no superblock), `io`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "tiers/cold/rebuild.h"
#include "tiers/io/device.h"

namespace rocksdb {
class FileSystem;
}

namespace cairn::tiers {

struct RepairProgress {
  std::uint64_t segments_done = 0, segments_total = 0;
  std::uint64_t records = 0;
  std::uint64_t compared = 0;  // entries of the old index, once the segments are done
};

struct RepairOptions {
  std::string directory;
  bool dry_run = false;  // reports what would be done; changes no byte
  /// Reads every byte, instead of the footer's copies of the headers where a footer is sound.
  bool verify_payloads = false;
  std::shared_ptr<rocksdb::FileSystem> index_file_system;  // null: the real one
  std::function<void(const RepairProgress&)> progress;     // after each segment, and comparing
};

struct RepairReport {
  RebuildReport rebuilt;
  bool superblock_healed = false;  // a bad copy was written again from the good one (or would be)
  bool counters_kept = false;      // the old index could still be read for them
  /// Blocks that the old index named and that no segment gives back, those of damaged records among
  /// them. Without an old index nobody knows.
  std::uint64_t gone = 0;
  std::string old_index;  // where it went; empty where there was none
};

absl::StatusOr<RepairReport> repair_store(Device& device, const RepairOptions& options);

}  // namespace cairn::tiers
