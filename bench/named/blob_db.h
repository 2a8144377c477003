// SPDX-License-Identifier: Apache-2.0
// blob_db.h — RocksDB with integrated BlobDB, as its documentation would have it for large
// values: the yardstick of cold puts and gets.
//
// Settings: blobs from 4 KiB on, no compression, direct reads and direct flushes, blob garbage
// collection off (nothing dies here), 256 MiB blob files, 64 MiB write buffers, WAL on and not
// synced: the same promise as `written`.
//
// Threading: thread-safe as RocksDB is. Blocking: disk.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/bytes.h"

namespace cairn::bench {

class BlobDb {
 public:
  static absl::StatusOr<std::unique_ptr<BlobDb>> open(const std::string& directory);
  virtual ~BlobDb() = default;
  virtual absl::Status put(std::string_view key, ByteSpan value) = 0;
  /// False: not there.
  virtual absl::StatusOr<bool> get(std::string_view key, std::string& value) = 0;
  virtual absl::Status flush() = 0;
  static std::string how();
};

}  // namespace cairn::bench
