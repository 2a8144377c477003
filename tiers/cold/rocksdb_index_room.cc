// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/rocksdb_index_room.h"

#include <sys/stat.h>

#include <string>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/rocksdb_index_open.h"

namespace cairn::tiers {
namespace {

/// A flush, its log's successor and a little metadata must still fit when a write is accepted.
std::uint64_t free_reserve_bytes(const IndexOptions& options) {
  return 2 * write_buffer_bytes(options) + 512 * kKiB;
}

}  // namespace

absl::Status IndexRoom::check(std::uint64_t bytes, bool shrinking, rocksdb::DB* writable) {
  const std::uint64_t buffer = write_buffer_bytes(options_);
  if (options_.capacity_bytes != 0) {
    // What frees entries may use what is kept for it: otherwise a full index could never shrink.
    const std::uint64_t kept = shrinking ? buffer : 4 * buffer;
    if (usage_bytes() + bytes + kept > options_.capacity_bytes) {
      return make_error(ErrorCode::no_space, "the index's share of the disk is full");
    }
  }
  const std::optional<std::uint64_t> free = free_bytes();
  const std::uint64_t reserve = free_reserve_bytes(options_) + bytes;
  if (!free || *free >= reserve) return absl::OkStatus();
  // Nearly full. The log's room is allocated already, so removals can go on as long as they
  // neither leave it nor fill the memtable, whose flush would need more.
  std::uint64_t memtable = buffer;
  if (shrinking && writable != nullptr) {
    writable->GetIntProperty(rocksdb::DB::Properties::kCurSizeActiveMemTable, &memtable);
    const bool fits = bytes + 64 * kKiB < events_->log_room_bytes.load();
    if (fits && memtable + bytes < buffer * 3 / 4) return absl::OkStatus();
  }
  return make_error(ErrorCode::no_space, "the disk is full");
}

/// Listing and stat of a handful of files; done again only when files came and went or a
/// quarter of a memtable was written.
std::uint64_t IndexRoom::usage_bytes() {
  const std::uint64_t files = events_->files_changed.load();
  const std::uint64_t written = events_->bytes_written.load();
  const std::uint64_t stale = written - usage_at_bytes_.load();
  if (files != usage_at_files_.load() || stale >= write_buffer_bytes(options_) / 4) {
    usage_at_files_.store(files);
    usage_at_bytes_.store(written);
    usage_.store(measure_usage());
  }
  return usage_.load();
}

std::optional<std::uint64_t> IndexRoom::free_bytes() const {
  std::uint64_t free = 0;
  const rocksdb::IOStatus status = index_base_files(options_)->GetFreeSpace(
      options_.directory, rocksdb::IOOptions(), &free, nullptr);
  if (!status.ok()) return std::nullopt;
  return free;
}

std::uint64_t IndexRoom::measure_usage() const {
  const std::shared_ptr<rocksdb::FileSystem> files = index_base_files(options_);
  std::vector<std::string> names;
  const rocksdb::IOOptions io;
  if (!files->GetChildren(options_.directory, io, &names, nullptr).ok()) return usage_.load();
  std::uint64_t total = kPage;  // the directory's own
  for (const std::string& name : names) {
    if (name == "." || name == "..") continue;
    const std::string path = concat(options_.directory, "/", name);
    struct stat info {};
    std::uint64_t bytes = 0;
    if (stat(path.c_str(), &info) == 0) {
      total += static_cast<std::uint64_t>(info.st_blocks) * 512;
    } else if (files->GetFileSize(path, io, &bytes, nullptr).ok()) {  // files of a simulation
      total += round_up(bytes, kPage);
    }
  }
  return total;
}

}  // namespace cairn::tiers
