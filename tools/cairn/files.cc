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

/// Where a name leads in the end.
struct OutputPlace {
  std::string path;
  bool special = false;  // written as it is: it cannot be replaced by a file beside it
};

bool is_kernels(const struct stat& info) {
  struct stat proc {};
  return stat("/proc", &proc) == 0 && info.st_dev == proc.st_dev;
}

/// Follows links, also to where nothing is yet: what is replaced is the file, never a link to it.
absl::StatusOr<OutputPlace> place_of(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    if (S_ISDIR(info.st_mode)) return make_error(ErrorCode::io, concat(path, " is a directory"));
    return OutputPlace{path, true};
  }
  constexpr int kLinksMax = 40;  // the kernel's own
  std::filesystem::path at = path;
  for (int links = 0; links < kLinksMax; ++links) {
    if (lstat(at.c_str(), &info) != 0 || !S_ISLNK(info.st_mode)) return OutputPlace{at.string()};
    // Those in /proc/self/fd stand for an open file, whose name may be another's by now.
    if (is_kernels(info)) return OutputPlace{path, true};
    std::error_code error;
    const std::filesystem::path target = std::filesystem::read_symlink(at, error);
    if (error) return from_errno(error.value(), path);
    at = at.parent_path() / target;
  }
  return from_errno(ELOOP, path);
}

absl::Status write_in_place(const std::string& path, ByteSpan content) {
  // Behind what is there: a shell's `>> log` that comes in as /dev/stdout keeps its lines.
  const Descriptor file(open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (file.get() < 0) return from_errno(errno, path);
  return write_all(file.get(), content, path);
}

absl::Status replace_whole(const std::string& path, ByteSpan content) {
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

absl::Status explain_output_error(const absl::Status& status, const std::string& path) {
  if (has_code(status, ErrorCode::no_space)) {
    return with_hint(status, concat("free some space where ", path,
                                    " is to be, or raise the limit on the size of a file "
                                    "(`ulimit -f`)"));
  }
  return with_hint(not_a_miss(status),
                   "name a file, new or not, in a directory that exists and may be written to");
}

}  // namespace

absl::Status not_a_miss(const absl::Status& status) {
  if (!has_code(status, ErrorCode::not_found)) return status;
  return make_error(ErrorCode::io, message_of(status));
}

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
  auto place = place_of(path);
  if (!place.ok()) return explain_output_error(place.status(), path);
  return explain_output_error(
      place->special ? write_in_place(path, content) : replace_whole(place->path, content), path);
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
  if (mkdtemp(path.data()) == nullptr) {
    return with_hint(not_a_miss(from_errno(errno, concat("make a directory ", path))),
                     "set TMPDIR to a directory that exists and may be written to");
  }
  return TemporaryDirectory(path);
}

TemporaryDirectory::~TemporaryDirectory() {
  if (path_.empty()) return;
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  // What cannot be removed is at least named by who looks into the directory above.
}

}  // namespace cairn::tools
