// SPDX-License-Identifier: Apache-2.0
// rocksdb_index_open.h — one opened RocksDB, with everything that must live as long as it.
//
// Threading:  open anywhere; the database as RocksDB says: thread-safe.
// Blocking:   disk. Destruction waits for RocksDB's background work.
// Lifetime:   the members are destroyed in the order in which the database needs it.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/wal_filter.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tiers/cold/rocksdb_index.h"
#include "tiers/cold/rocksdb_index_files.h"

namespace cairn::tiers {

/// The one translation of rocksdb::Status.
absl::Status from_rocksdb(const rocksdb::Status& status, std::string_view what);

/// What repair is asked for, in the words every message uses.
absl::Status index_damaged(std::string_view directory, std::string_view why);

struct IndexDatabase {
  std::unique_ptr<rocksdb::Env> env;
  std::unique_ptr<rocksdb::WalFilter> log_filter;
  std::shared_ptr<rocksdb::Cache> cache;
  std::unique_ptr<rocksdb::DB> database;
  IndexRecovery recovery;
};

/// The files of `options`, or the real ones.
std::shared_ptr<rocksdb::FileSystem> index_base_files(const IndexOptions& options);

/// The memtable's size: a small share must hold two of them and their logs several times over.
std::uint64_t write_buffer_bytes(const IndexOptions& options);

enum class IndexAccess : std::uint8_t { create, write, read };

absl::StatusOr<IndexDatabase> open_index_database(const IndexOptions& options, IndexAccess access,
                                                  const std::shared_ptr<IndexFileEvents>& events);

/// A row of the index's own; empty: there is none.
absl::StatusOr<std::optional<std::string>> read_own_row(rocksdb::DB& database, char letter);

}  // namespace cairn::tiers
