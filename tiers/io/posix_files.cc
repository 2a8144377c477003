// SPDX-License-Identifier: Apache-2.0
#include "tiers/io/posix_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "engine/base/check.h"
#include "engine/base/process_limits.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::tiers {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;

template <typename Call>
auto retry_interrupted(Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

absl::Status failed(std::string_view verb, const std::string& path) {
  return from_errno(errno, concat(verb, " ", path));
}

/// A descriptor that is closed again.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags)
      : fd_(retry_interrupted(
            [&] { return ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, kFileMode); })) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  const int fd_;
};

int open_flags(OpenMode mode) {
  switch (mode) {
    case OpenMode::read:
      return O_RDONLY;
    case OpenMode::read_write:
      return O_RDWR;
    case OpenMode::create:
      return O_RDWR | O_CREAT | O_EXCL;
  }
  CAIRN_UNREACHABLE();
}

}  // namespace

PosixFiles::PosixFiles(std::string_view name, std::uint32_t depth, bool direct, std::string note)
    : name_(name), depth_(depth), note_(std::move(note)), direct_(direct) {}

absl::StatusOr<FileId> PosixFiles::open_file(const std::string& path, OpenMode mode) {
  const int flags = open_flags(mode) | O_CLOEXEC | O_NOFOLLOW;
  const auto open_with = [&](int more) {
    return retry_interrupted([&] { return ::open(path.c_str(), flags | more, kFileMode); });
  };
  if (direct_.load(std::memory_order_relaxed)) {
    const int fd = open_with(O_DIRECT);
    if (fd >= 0) return FileId{fd};
    if (errno != EINVAL) return failed("open", path);
    direct_.store(false, std::memory_order_relaxed);
    // With O_CREAT some file systems have made the file before they refuse the flag.
    if (mode == OpenMode::create) ::unlink(path.c_str());
  }
  const int fd = open_with(0);
  if (fd < 0) return failed("open", path);
  return FileId{fd};
}

void PosixFiles::close_file(FileId file) {
  ::close(static_cast<int>(file));
}

absl::Status PosixFiles::allocate(FileId file, std::uint64_t bytes) {
  const int fd = static_cast<int>(file);
  const auto size = static_cast<off_t>(bytes);
  struct stat before {};
  if (::fstat(fd, &before) != 0) return from_errno(errno, "stat");
  const FileSizeSignalBlock block;
  if (size > 0 && retry_interrupted([&] { return ::fallocate(fd, 0, 0, size); }) != 0 &&
      errno != EOPNOTSUPP) {
    const int error = errno;
    // What was allocated beyond the old end goes back; if that fails too, it is space lost, not
    // data.
    if (retry_interrupted([&] { return ::ftruncate(fd, before.st_size); }) != 0)
      return from_errno(errno, "truncate");
    return from_errno(error, concat("allocate ", bytes, " bytes"));
  }
  if (before.st_size != size && retry_interrupted([&] { return ::ftruncate(fd, size); }) != 0) {
    return from_errno(errno, concat("truncate to ", bytes, " bytes"));
  }
  return absl::OkStatus();
}

absl::Status PosixFiles::remove_file(const std::string& path) {
  return ::unlink(path.c_str()) == 0 ? absl::OkStatus() : failed("remove", path);
}

absl::Status PosixFiles::rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return failed("rename", concat(from, " to ", to));
}

absl::Status PosixFiles::make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), kDirectoryMode) == 0) return absl::OkStatus();
  const int error = errno;
  struct stat there {};
  if (error == EEXIST && ::stat(path.c_str(), &there) == 0 && S_ISDIR(there.st_mode)) {
    return absl::OkStatus();
  }
  return from_errno(error, concat("mkdir ", path));
}

absl::Status PosixFiles::sync_directory(const std::string& path) {
  // A store's directory may be reached through a link; only files must not be.
  const int fd =
      retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (fd < 0) return failed("open directory", path);
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  return result == 0 ? absl::OkStatus() : from_errno(error, concat("sync directory ", path));
}

absl::StatusOr<std::vector<DirectoryEntry>> PosixFiles::list(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return failed("list", path);
  std::vector<DirectoryEntry> entries;
  int error = 0;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory);
    if (entry == nullptr) {
      error = errno;
      break;
    }
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    bool is_directory = entry->d_type == DT_DIR;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat there {};
      is_directory =
          ::lstat(concat(path, "/", name).c_str(), &there) == 0 && S_ISDIR(there.st_mode);
    }
    entries.push_back({name, is_directory});
  }
  ::closedir(directory);
  if (error != 0) return from_errno(error, concat("list ", path));
  std::sort(entries.begin(), entries.end(),
            [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
  return entries;
}

absl::StatusOr<FileInfo> PosixFiles::info(const std::string& path) {
  struct stat there {};
  if (::lstat(path.c_str(), &there) != 0) return failed("stat", path);
  return FileInfo{static_cast<std::uint64_t>(there.st_size),
                  static_cast<std::uint64_t>(there.st_blocks) * 512};
}

absl::StatusOr<std::uint64_t> PosixFiles::free_bytes(const std::string& path) {
  struct statvfs there {};
  if (retry_interrupted([&] { return ::statvfs(path.c_str(), &there); }) != 0) {
    return failed("statvfs", path);
  }
  return static_cast<std::uint64_t>(there.f_bavail) * there.f_frsize;
}

absl::StatusOr<std::string> PosixFiles::read_small(const std::string& path) {
  const Descriptor file(path, O_RDONLY);
  if (!file.ok()) return failed("open", path);
  std::string content;
  std::array<char, 16384> piece;
  for (;;) {
    const ssize_t got =
        retry_interrupted([&] { return ::read(file.get(), piece.data(), piece.size()); });
    if (got < 0) return failed("read", path);
    if (got == 0) return content;
    content.append(piece.data(), static_cast<std::size_t>(got));
  }
}

absl::Status PosixFiles::write_small(const std::string& path, ByteSpan content) {
  const Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file.ok()) return failed("open", path);
  const FileSizeSignalBlock block;
  while (!content.empty()) {
    const ssize_t written =
        retry_interrupted([&] { return ::write(file.get(), content.data(), content.size()); });
    if (written < 0) return failed("write", path);
    content = content.subspan(static_cast<std::size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status PosixFiles::sync_file(const std::string& path) {
  const Descriptor file(path, O_RDONLY);
  if (!file.ok()) return failed("open", path);
  return ::fsync(file.get()) == 0 ? absl::OkStatus() : failed("sync", path);
}

DeviceInfo PosixFiles::device_info() const {
  return {name_, direct_.load(std::memory_order_relaxed), depth_, note_};
}

DeviceCounters PosixFiles::device_counters() const {
  const auto value = [](const auto& counter) { return counter.load(std::memory_order_relaxed); };
  return {.reads = value(reads_),
          .writes = value(writes_),
          .syncs = value(syncs_),
          .errors = value(errors_),
          .short_transfers = value(short_transfers_),
          .bytes_read = value(bytes_read_),
          .bytes_written = value(bytes_written_),
          .in_flight = value(in_flight_)};
}

void PosixFiles::count_finished(const IoOp& op) {
  const auto add = [](std::atomic<std::uint64_t>& counter, std::uint64_t by) {
    counter.fetch_add(by, std::memory_order_relaxed);
  };
  switch (op.kind) {
    case IoKind::read:
      add(reads_, 1);
      add(bytes_read_, op.transferred);
      break;
    case IoKind::write:
      add(writes_, 1);
      add(bytes_written_, op.transferred);
      break;
    case IoKind::sync:
      add(syncs_, 1);
      break;
  }
  if (op.error != 0) {
    add(errors_, 1);
  } else if (op.kind != IoKind::sync && op.transferred < op.requested()) {
    add(short_transfers_, 1);
  }
  in_flight_.fetch_sub(1, std::memory_order_relaxed);
}

void PosixFiles::reset_counters() {
  for (auto* counter :
       {&reads_, &writes_, &syncs_, &errors_, &short_transfers_, &bytes_read_, &bytes_written_}) {
    counter->store(0, std::memory_order_relaxed);
  }
}

bool is_aligned(const IoOp& op) {
  static_assert(kIoPartsMax == IOV_MAX);
  if (op.offset % kIoAlignment != 0) return false;
  return std::all_of(op.buffers.begin(), op.buffers.end(), [](const iovec& part) {
    return part.iov_len % kIoAlignment == 0 &&
           reinterpret_cast<std::uintptr_t>(part.iov_base) % kIoAlignment == 0;
  });
}

}  // namespace cairn::tiers
