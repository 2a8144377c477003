// SPDX-License-Identifier: Apache-2.0
// posix_files.h — the file operations that both real devices share.
//
// Everything of Device but the transfers: names, sizes, locks, small files. A FileId is the
// descriptor itself. Names are never followed through a last symbolic link, descriptors are
// closed on exec, and what is created belongs to its owner alone.
//
// Threading:  thread-safe.
// Blocking:   disk.
// Failure:    errno becomes a Status in from_errno; EINTR is retried, except by close, where the
//             descriptor is gone already.
// Lifetime:   a file is closed only when no transfer on it is in flight.
#pragma once

#include <atomic>
#include <string>

#include "tiers/io/device.h"

namespace cairn::tiers {

class PosixFiles : public Device {
 public:
  absl::StatusOr<FileId> open_file(const std::string& path, OpenMode mode) override;
  void close_file(FileId file) override;
  absl::Status allocate(FileId file, std::uint64_t bytes) override;
  absl::Status remove_file(const std::string& path) override;
  absl::Status rename_file(const std::string& from, const std::string& to) override;
  absl::Status make_directory(const std::string& path) override;
  absl::Status sync_directory(const std::string& path) override;
  absl::StatusOr<std::vector<DirectoryEntry>> list(const std::string& path) override;
  absl::StatusOr<FileInfo> info(const std::string& path) override;
  absl::StatusOr<std::uint64_t> free_bytes(const std::string& path) override;
  absl::StatusOr<std::string> read_small(const std::string& path) override;
  absl::Status write_small(const std::string& path, ByteSpan content) override;
  absl::Status sync_file(const std::string& path) override;
  /// The content written is `owner`, led by `pid=… host=…` unless it names a pid itself. With an
  /// empty owner a missing file is `not_found`: nothing is created for a reader.
  absl::StatusOr<std::unique_ptr<FileLock>> lock_file(const std::string& path,
                                                      std::string_view owner) override;

  DeviceInfo device_info() const override;
  DeviceCounters device_counters() const override;

 protected:
  PosixFiles(std::string_view name, std::uint32_t depth, bool direct, std::string note);

  /// Every op passes here once, when its result is final, before its done runs.
  void count_finished(const IoOp& op);
  /// Forgets what the probe did.
  void reset_counters();
  void count_accepted() { in_flight_.fetch_add(1, std::memory_order_relaxed); }

 private:
  const std::string_view name_;
  const std::uint32_t depth_;
  const std::string note_;
  /// Falls to false when a file refuses O_DIRECT. Relaxed: it orders nothing.
  std::atomic<bool> direct_;

  // Relaxed throughout: statistics that order nothing.
  std::atomic<std::uint64_t> reads_{0}, writes_{0}, syncs_{0}, errors_{0}, short_transfers_{0};
  std::atomic<std::uint64_t> bytes_read_{0}, bytes_written_{0};
  std::atomic<std::uint32_t> in_flight_{0};
};

/// Offset, lengths and addresses are multiples of kIoAlignment. Checked by every device, also
/// where the medium would not mind, so that what works on one works on all.
bool is_aligned(const IoOp& op);

}  // namespace cairn::tiers
