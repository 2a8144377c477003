// SPDX-License-Identifier: Apache-2.0
// sim_rocksdb_files.h — the four kinds of open file that SimRocksdbFs hands out. Used by it alone.
//
// Threading:  thread-compatible; the disk below is thread-safe.
// Blocking:   never.
// Lifetime:   each closes its SimFile.
#pragma once

#include <rocksdb/file_system.h>

#include <memory>
#include <string>

#include "tests/support/sim_disk.h"

namespace cairn::test {

struct SimOpenFile {
  std::shared_ptr<SimDisk> disk;
  SimFile file;
  std::string path;
};

/// The one place where the disk's errno becomes RocksDB's status.
rocksdb::IOStatus to_io(int error, const std::string& path);

std::unique_ptr<rocksdb::FSSequentialFile> new_sequential_file(SimOpenFile file);
std::unique_ptr<rocksdb::FSRandomAccessFile> new_random_access_file(SimOpenFile file);
std::unique_ptr<rocksdb::FSWritableFile> new_writable_file(SimOpenFile file);
std::unique_ptr<rocksdb::FSRandomRWFile> new_random_rw_file(SimOpenFile file);

}  // namespace cairn::test
