// SPDX-License-Identifier: Apache-2.0
// rocksdb_index.h — the index in RocksDB. Its .cc files alone include RocksDB's headers.
//
// RocksDB sees the disk through a thin FileSystem of ours (index_file_system.h) that counts
// bytes, keeps a reserve of free space, turns a full disk under the log into an error that
// RocksDB survives (Debian's build aborts on the original), and refuses to change anything
// in a read-only opening.
//
// Threading:  open anywhere; the Index as index.h says. Two background threads of RocksDB's.
// Blocking:   disk. Bounded: the log that an opening replays is at most 16 MiB.
// Failure:    `corruption`, with the hint to run `cairn repair`, where files are missing or
//             damaged (a torn end of the log is not: see Index::recovery); `locked`; `io`. On a
//             full disk it opens all the same, for reading, and writes when there is room.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "tiers/cold/index.h"
#include "tiers/record/format.h"

namespace rocksdb {
class FileSystem;
}

namespace cairn::tiers {

struct IndexOptions {
  std::string directory;   // DIR/index
  StoreUuid store{};       // an index of another store is `corruption`: it names other segments
  bool create = false;     // make a new one where there is none; else `not_found`
  bool read_only = false;  // changes no byte
  /// The share of the disk set aside; RocksDB refuses to grow beyond it. 0: no limit.
  std::uint64_t capacity_bytes = 0;
  /// Block cache, beside the memtables (twice write_buffer_bytes at most).
  std::uint64_t cache_bytes = 8 * kMiB;
  std::uint64_t write_buffer_bytes = 8 * kMiB;
  std::uint64_t log_bytes_max = 16 * kMiB;
  /// Null: the real file system.
  std::shared_ptr<rocksdb::FileSystem> file_system;
};

absl::StatusOr<std::unique_ptr<Index>> open_rocksdb_index(const IndexOptions& options);

/// One that lives in memory, begun anew: for asking "what if".
absl::StatusOr<std::unique_ptr<Index>> open_memory_index(const StoreUuid& store);

/// Moves a closed index's directory; the target must not exist. For repair.
absl::Status move_index(const IndexOptions& options, const std::string& to);
/// Moves whatever lies in the index's directory to `to`; an empty directory is removed instead.
/// True when there was something to move.
absl::StatusOr<bool> set_index_aside(const IndexOptions& options, const std::string& to);

}  // namespace cairn::tiers
