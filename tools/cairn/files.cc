// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tools/cairn/exit_code.h"
#include "tools/cairn/signals.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

constexpr std::string_view kReadableHint = "name a file that can be read, or - for stdin";

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ > STDERR_FILENO) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::Status write_all(int fd, ByteSpan content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t count = write(fd, content.data(), content.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return from_errno(errno, concat("write ", path));
    content = content.subspan(static_cast<std::size_t>(count));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> read_all(const std::string& path, std::uint64_t bytes_max,
                                     std::string_view what) {
  const bool is_stdin = path == "-";
  const Descriptor file(is_stdin ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) {
    return with_hint(from_errno(errno, concat("'", path, "'")), kReadableHint);
  }
  std::string content;
  std::size_t filled = 0;
  while (true) {
    // One byte more than allowed tells the largest from the too large.
    constexpr std::size_t kStep = kMiB;
    const std::size_t wanted = std::min<std::uint64_t>(bytes_max + 1, filled + kStep);
    content.resize(wanted);
    const ssize_t count = read(file.get(), content.data() + filled, wanted - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int error = errno;
      const absl::Status failed = from_errno(error, concat("read ", is_stdin ? "stdin" : path));
      return error == EISDIR ? with_hint(failed, kReadableHint) : failed;
    }
    filled += static_cast<std::size_t>(count);
    if (filled > bytes_max) {
      return make_error(ErrorCode::too_large,
                        concat(is_stdin ? "stdin" : path, " has more than ", format_size(bytes_max),
                               ", the largest that ", what, " may be"));
    }
    if (count == 0) break;
  }
  content.resize(filled);
  return content;
}

absl::Status write_file_whole(const std::string& path, ByteSpan content) {
  // A pipe or a device cannot be replaced; it is written as it is.
  struct stat info {};
  const bool special = stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode);
  if (special) {
    const Descriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (file.get() < 0) return from_errno(errno, path);
    return write_all(file.get(), content, path);
  }
  std::string beside = path + ".XXXXXX";
  const Descriptor file(mkstemp(beside.data()));
  if (file.get() < 0) return from_errno(errno, concat("create a file beside ", path));
  RemoveUnlessKept half_written(beside);
  CAIRN_RETURN_IF_ERROR(write_all(file.get(), content, beside));
  if (fsync(file.get()) != 0) return from_errno(errno, concat("sync ", beside));
  if (rename(beside.c_str(), path.c_str()) != 0)
    return from_errno(errno, concat("rename to ", path));
  half_written.keep();
  return absl::OkStatus();
}

std::uint64_t allocated_bytes(const std::string& directory, std::string_view folder) {
  namespace fs = std::filesystem;
  std::uint64_t blocks = 0;
  std::error_code error;
  fs::recursive_directory_iterator at(fs::path(directory) / folder, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    struct stat info {};
    if (lstat(at->path().c_str(), &info) == 0) blocks += static_cast<std::uint64_t>(info.st_blocks);
  }
  constexpr std::uint64_t kStatBlock = 512;
  return blocks * kStatBlock;
}

bool is_text(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t line = bytes.find_first_of("\n\t\r");
    if (!is_printable(bytes.substr(0, line))) return false;
    if (line == std::string_view::npos) break;
    bytes.remove_prefix(line + 1);
  }
  return true;
}

absl::StatusOr<TemporaryDirectory> TemporaryDirectory::make() {
  const char* const parent = std::getenv("TMPDIR");
  std::string path =
      concat(parent != nullptr && *parent != '\0' ? parent : "/var/tmp", "/cairn-XXXXXX");
  if (mkdtemp(path.data()) == nullptr) return from_errno(errno, concat("mkdtemp ", path));
  return TemporaryDirectory(path);
}

TemporaryDirectory::~TemporaryDirectory() {
  if (path_.empty()) return;
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  // What cannot be removed is at least named by who looks into the directory above.
}

}  // namespace cairn::tools
