// SPDX-License-Identifier: Apache-2.0
// rocksdb_index_room.h — whether a write of the index still has room: in its share, on the disk.
//
// It is asked before RocksDB is: a flush or a compaction that meets a full disk costs a reopening,
// a write that is refused here costs nothing. So what a flush takes is kept free, and what frees
// entries may go further than what adds some, or a full index could never shrink.
//
// It knows no index: that a refusal makes the index `full`, and what then becomes of it, is the
// index's own business.
//
// Threading:  usage_bytes() anywhere; check() by one writer at a time.
// Blocking:   disk: statfs, and now and then a listing and a stat of a handful of files.
// Lifetime:   borrows the options.
#pragma once

#include <rocksdb/db.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "tiers/cold/rocksdb_index.h"
#include "tiers/cold/rocksdb_index_files.h"

namespace cairn::tiers {

class IndexRoom {
 public:
  IndexRoom(const IndexOptions& options, std::shared_ptr<IndexFileEvents> events)
      : options_(options), events_(std::move(events)) {}
  IndexRoom(const IndexRoom&) = delete;
  IndexRoom& operator=(const IndexRoom&) = delete;

  /// `no_space` where `bytes` more may not fit. `writable` is the database while it takes writes,
  /// null otherwise: only what goes into a log and a memtable that are there can use what is kept.
  absl::Status check(std::uint64_t bytes, bool shrinking, rocksdb::DB* writable);

  /// As Index::usage_bytes.
  std::uint64_t usage_bytes();

 private:
  std::optional<std::uint64_t> free_bytes() const;
  std::uint64_t measure_usage() const;

  const IndexOptions& options_;
  const std::shared_ptr<IndexFileEvents> events_;
  std::atomic<std::uint64_t> usage_{0};
  std::atomic<std::uint64_t> usage_at_bytes_{0};
  std::atomic<std::uint64_t> usage_at_files_{~std::uint64_t{0}};
};

}  // namespace cairn::tiers
