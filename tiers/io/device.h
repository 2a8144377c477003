// SPDX-License-Identifier: Apache-2.0
// device.h — files on one medium: the seam at which every fault is injected.
//
// All access to payloads, superblock and state files goes through a Device (RocksDB's
// goes through its own FileSystem). There are three: io_uring, POSIX threads for where
// io_uring or O_DIRECT are blocked, and the simulated one of the tests. Nothing above
// this line knows which.
//
// The data path is asynchronous and belongs to one thread; the few file operations block.
//
// Threading:  submit and poll are confined to the thread that polls (ThreadChecker); wake
//             and the file operations are thread-safe.
// Blocking:   submit never; poll up to its wait; file operations: disk.
// Failure:    a transfer reports errno and the bytes it moved. A short count is reported,
//             never hidden and never completed by a second request: whether half a block
//             is worth anything is not the device's to say. EINTR and EAGAIN are retried here.
//             A failed sync is reported once and is never retried by anyone.
// Lifetime:   the caller keeps an IoOp, its iovecs and buffers alive until its done ran;
//             done runs exactly once for every accepted op, also while the device closes.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/base/event_loop.h"

namespace cairn::tiers {

/// O_DIRECT's unit for offsets, lengths and memory, everywhere we have met it.
constexpr std::size_t kIoAlignment = 4096;
/// Linux's limit for the parts of one transfer.
constexpr std::size_t kIoPartsMax = 1024;

enum class FileId : std::int32_t { none = -1 };

enum class OpenMode : std::uint8_t {
  read,        // must exist; never changes a byte
  read_write,  // must exist
  create,      // must not exist
};

enum class IoKind : std::uint8_t { read, write, sync };

struct IoOp {
  IoKind kind = IoKind::read;
  FileId file = FileId::none;
  std::uint64_t offset = 0;
  /// At most kIoPartsMax; offset, lengths and addresses are multiples of kIoAlignment. Else EINVAL.
  std::span<const iovec> buffers;
  /// Runs on the polling thread. `context` is the submitter's.
  void (*done)(IoOp& op) = nullptr;
  void* context = nullptr;
  // out:
  int error = 0;                  // errno, 0 when the kernel accepted it
  std::uint64_t transferred = 0;  // bytes; may be fewer than asked with error == 0

  std::uint64_t requested() const {
    std::uint64_t total = 0;
    for (const iovec& part : buffers) total += part.iov_len;
    return total;
  }
};

struct FileInfo {
  std::uint64_t bytes = 0;            // length
  std::uint64_t allocated_bytes = 0;  // st_blocks × 512
};

struct DirectoryEntry {
  std::string name;
  bool is_directory = false;
};

struct DeviceInfo {
  std::string_view name;  // "io_uring", "posix", "simulated"
  bool direct = false;    // O_DIRECT is in use
  std::uint32_t depth = 0;
  std::string note;  // why a fallback was taken
};

struct DeviceCounters {
  std::uint64_t reads = 0, writes = 0, syncs = 0, errors = 0, short_transfers = 0;
  std::uint64_t bytes_read = 0, bytes_written = 0;
  std::uint32_t in_flight = 0;
};

/// Held while the object lives; the kernel lets go when the process dies.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Device : public Poller {
 public:
  // --- files: thread-safe, may block ------------------------------------------------------
  /// `data` files are opened for transfers by submit (O_DIRECT where there is any).
  virtual absl::StatusOr<FileId> open_file(const std::string& path, OpenMode mode) = 0;
  virtual void close_file(FileId file) = 0;
  /// Gives the file exactly these bytes, allocated, so that writing them later cannot meet a
  /// full disk (as far as the file system allows). `no_space` leaves it as it was.
  virtual absl::Status allocate(FileId file, std::uint64_t bytes) = 0;
  virtual absl::Status remove_file(const std::string& path) = 0;
  virtual absl::Status rename_file(const std::string& from, const std::string& to) = 0;
  virtual absl::Status make_directory(const std::string& path) = 0;  // OK if it is there; mode 0700
  virtual absl::Status sync_directory(const std::string& path) = 0;
  virtual absl::StatusOr<std::vector<DirectoryEntry>> list(const std::string& path) = 0;  // sorted
  virtual absl::StatusOr<FileInfo> info(const std::string& path) = 0;  // `not_found`
  virtual absl::StatusOr<std::uint64_t> free_bytes(const std::string& path) = 0;
  /// Small files, whole. write_small replaces the content in place and does NOT sync;
  /// replace_file() below is the safe way.
  virtual absl::StatusOr<std::string> read_small(const std::string& path) = 0;
  virtual absl::Status write_small(const std::string& path, ByteSpan content) = 0;
  virtual absl::Status sync_file(const std::string& path) = 0;
  /// `locked` where another process has it; its content then says who. With `owner` empty the
  /// lock is shared and the file is not written (read-only opening); else exclusive.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> lock_file(const std::string& path,
                                                              std::string_view owner) = 0;

  // --- transfers: confined ----------------------------------------------------------------
  /// False when depth is reached; the op is then untouched.
  virtual bool submit(IoOp& op) = 0;

  virtual DeviceInfo device_info() const = 0;
  virtual DeviceCounters device_counters() const = 0;
};

/// Write beside, sync, rename over, sync the directory: the file has its old content or its
/// new one, whole, whatever happens in between. Blocks: disk.
absl::Status replace_file(Device& device, const std::string& path, ByteSpan content);

enum class DeviceChoice : std::uint8_t { automatic, io_uring, posix };

struct DeviceOptions {
  DeviceChoice choice = DeviceChoice::automatic;
  std::uint32_t depth = 64;
  std::uint32_t posix_threads = 8;
  bool direct = true;  // false: buffered, for file systems without O_DIRECT
};

/// io_uring with O_DIRECT where the kernel and the file system of `directory` allow them
/// (each is tried, not guessed), else POSIX threads; device_info() says which and why. The
/// directory need not exist; its nearest existing parent is tried.
absl::StatusOr<std::unique_ptr<Device>> open_device(const std::string& directory,
                                                    const DeviceOptions& options);

}  // namespace cairn::tiers
