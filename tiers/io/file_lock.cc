// SPDX-License-Identifier: Apache-2.0
// PosixFiles::lock_file: one writer or many readers, by flock, which dies with its process.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>

#include "engine/base/process_limits.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/io/posix_files.h"

namespace cairn::tiers {
namespace {

class Flock final : public FileLock {
 public:
  explicit Flock(int fd) : fd_(fd) {}
  ~Flock() override { ::close(fd_); }  // closing lets go

 private:
  const int fd_;
};

std::string identity() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  return concat("pid=", ::getpid(), " host=", std::string_view(host.data()));
}

/// The kernel knows who holds the lock, also when that is a reader, who writes nothing. Lines
/// are "1: FLOCK  ADVISORY  WRITE 708 fd:01:131 0 EOF"; empty where /proc does not tell.
std::string holder_from_kernel(int fd) {
  struct stat there {};
  if (::fstat(fd, &there) != 0) return {};
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream fields(line);
    std::string number, kind, manner, access, pid, file;
    if (!(fields >> number >> kind)) continue;
    if (kind == "->") continue;  // one who waits
    if (!(fields >> manner >> access >> pid >> file) || kind != "FLOCK") continue;
    const std::size_t colon = file.rfind(':');
    if (colon == std::string::npos || file.substr(colon + 1) != std::to_string(there.st_ino)) {
      continue;
    }
    unsigned major_number = 0;
    unsigned minor_number = 0;
    if (std::sscanf(file.c_str(), "%x:%x:", &major_number, &minor_number) != 2) continue;
    if (major(there.st_dev) == major_number && minor(there.st_dev) == minor_number) {
      return concat("pid=", pid);
    }
  }
  return {};
}

absl::Status held(int fd, const std::string& path) {
  std::array<char, 512> content{};
  const ssize_t got = ::pread(fd, content.data(), content.size(), 0);
  std::string_view written(content.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!written.empty() && written.back() == '\n') written.remove_suffix(1);
  const std::string kernel = holder_from_kernel(fd);
  // What is written is from the last writer; it is the holder if the kernel does not disagree.
  const bool agree = kernel.empty() || concat(written, " ").starts_with(concat(kernel, " "));
  std::string holder = agree ? std::string(written) : kernel;
  if (holder.empty()) holder = "another process";
  return make_error(ErrorCode::locked, concat(path, " is held by ", holder));
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileLock>> PosixFiles::lock_file(const std::string& path,
                                                                std::string_view owner) {
  const bool exclusive = !owner.empty();
  const int flags = (exclusive ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW;
  const int fd = ::open(path.c_str(), flags, 0600);
  if (fd < 0) return from_errno(errno, concat("open ", path));
  auto lock = std::make_unique<Flock>(fd);
  int result = 0;
  do {
    result = ::flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result != 0) {
    return errno == EWOULDBLOCK ? held(fd, path) : from_errno(errno, concat("lock ", path));
  }
  if (!exclusive) return lock;
  std::string content(owner);
  if (owner.find("pid=") == std::string_view::npos) content = concat(identity(), " ", owner);
  content.push_back('\n');
  const FileSizeSignalBlock block;
  if (::ftruncate(fd, 0) != 0 ||
      ::pwrite(fd, content.data(), content.size(), 0) != static_cast<ssize_t>(content.size())) {
    return from_errno(errno, concat("write ", path));
  }
  return lock;
}

}  // namespace cairn::tiers
