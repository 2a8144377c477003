// SPDX-License-Identifier: Apache-2.0
// sim_rocksdb_fs.h — RocksDB's files on a SimDisk, so that a power cut takes from the index what it
// takes from the segments.
//
// Give it to ColdOptions::index_file_system, or make an Env of it with
// rocksdb::NewCompositeEnv. Info logs go nowhere. Faults are those of Side::rocksdb.
//
// Threading:  thread-safe, as RocksDB asks; its files are thread-compatible.
// Blocking:   never.
// Failure:    IOStatus; a full disk is IOError with subcode kNoSpace and may leave a part behind.
// Lifetime:   shares the disk; files outlive the file system.
#pragma once

#include <rocksdb/file_system.h>

#include <memory>

#include "tests/support/sim_disk.h"

namespace cairn::test {

std::shared_ptr<rocksdb::FileSystem> make_sim_rocksdb_fs(std::shared_ptr<SimDisk> disk);

/// The same with a clock that does not sleep: after a failed flush or compaction (as on a dead
/// disk) RocksDB's background thread sleeps for a second, and closing waits for it.
std::unique_ptr<rocksdb::Env> make_sim_env(std::shared_ptr<SimDisk> disk);

}  // namespace cairn::test
