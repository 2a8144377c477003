// SPDX-License-Identifier: Apache-2.0
// rocksdb_index_files.h — RocksDB's files as the index lets RocksDB see them.
//
// Debian's librocksdb is built with assertions: an append to its log that fails with "no
// space" starts a recovery that appends to the same writer again and aborts the process.
// A plain, final I/O error instead ends in a database that refuses writes and serves
// reads. So every ENOSPC passes through here as one, is remembered, and the log is cut back
// to where it was, so that what was refused cannot come back. Beyond that the log's room is
// allocated when a log is begun, a log is synced before the next one begins (or a power cut
// could take the end of the one and leave the other: a hole), bytes are counted, and a
// read-only opening can change nothing, whatever RocksDB thinks of it.
//
// Threading: thread-safe, as rocksdb::FileSystem asks.
// Blocking:  disk.
// Lifetime:  shared with the Env and the files that RocksDB holds open.
#pragma once

#include <rocksdb/file_system.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace cairn::tiers {

/// What the files have seen; read by the index between its own operations.
struct IndexFileEvents {
  std::atomic<std::uint64_t> bytes_written{0};
  std::atomic<std::uint64_t> log_room_bytes{0};  // allocated behind the end of the newest log
  std::atomic<std::uint64_t> files_changed{0};   // made or removed
  std::atomic<bool> no_space{false};             // somebody met a full disk since last cleared
  std::atomic<rocksdb::FSWritableFile*> newest_log{nullptr};
  std::atomic<bool> log_sync_failed{false};  // never cleared: such a log is not to be trusted
};

struct IndexFilesOptions {
  bool read_only = false;
  std::uint64_t log_preallocation_bytes = 0;
};

std::shared_ptr<rocksdb::FileSystem> make_index_files(
    const std::shared_ptr<rocksdb::FileSystem>& base, const IndexFilesOptions& options,
    std::shared_ptr<IndexFileEvents> events);

}  // namespace cairn::tiers
