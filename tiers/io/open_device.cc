// SPDX-License-Identifier: Apache-2.0
// open_device: which device a directory can have, found out by trying.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "engine/base/process_limits.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/io/aligned_buffer.h"
#include "tiers/io/posix_device.h"
#include "tiers/io/uring_device.h"

namespace cairn::tiers {
namespace {

constexpr std::byte kProbe{0x5a};

std::string nearest_existing(std::string path) {
  struct stat there {};
  while (!path.empty() && ::stat(path.c_str(), &there) != 0) {
    const std::size_t slash = path.find_last_of('/', path.size() - 1);
    if (slash == std::string::npos) return ".";
    path.resize(slash);
  }
  return path.empty() ? "/" : path;
}

/// A file without a name: trying must leave no trace, not even in a store opened for reading.
class ProbeFile {
 public:
  ProbeFile(const std::string& directory, int flags)
      : fd_(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600)),
        error_(fd_ < 0 ? errno : 0) {}
  ~ProbeFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  ProbeFile(const ProbeFile&) = delete;
  ProbeFile& operator=(const ProbeFile&) = delete;
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  int error() const { return error_; }

 private:
  const int fd_;
  const int error_;
};

/// Empty if one page goes through O_DIRECT and back, or if nothing can be tried here (a read-only
/// file system): each file is then asked when it is opened. Else why not.
std::string why_not_direct(const std::string& directory) {
  const ProbeFile file(directory, O_DIRECT);
  if (!file.ok()) {
    return file.error() == EINVAL ? concat("O_DIRECT: ", std::strerror(EINVAL)) : std::string();
  }
  const AlignedBuffer page(kIoAlignment);
  std::memset(page.data(), static_cast<int>(kProbe), page.size());
  if (::pwrite(file.get(), page.data(), page.size(), 0) < 0 && errno == EINVAL) {
    return concat("O_DIRECT write: ", std::strerror(EINVAL));
  }
  return {};
}

/// Runs one op to its end; errno.
int run(Device& device, IoOp op) {
  bool done = false;
  op.context = &done;
  op.done = [](IoOp& finished) { *static_cast<bool*>(finished.context) = true; };
  if (!device.submit(op)) return EBUSY;
  while (!done) device.poll(Duration::seconds(1));
  if (op.error == 0 && op.kind != IoKind::sync && op.transferred != op.requested()) return EIO;
  return op.error;
}

/// Some sandboxes allow the ring and then none of its operations.
absl::Status try_transfers(Device& device, const std::string& directory, bool direct) {
  const ProbeFile file(directory, direct ? O_DIRECT : 0);
  if (!file.ok()) return absl::OkStatus();  // nothing can be written here, so nothing can be tried
  const AlignedBuffer page(kIoAlignment);
  std::memset(page.data(), static_cast<int>(kProbe), page.size());
  const std::array<iovec, 1> part{{{page.data(), page.size()}}};
  const FileId id{file.get()};
  int error = run(device, {.kind = IoKind::write, .file = id, .buffers = part});
  if (error == ENOSPC || error == EDQUOT)
    return absl::OkStatus();  // a full disk says nothing about us
  if (error != 0) return from_errno(error, "io_uring write");
  error = run(device, {.kind = IoKind::sync, .file = id});
  if (error != 0) return from_errno(error, "io_uring sync");
  std::memset(page.data(), 0, page.size());
  error = run(device, {.kind = IoKind::read, .file = id, .buffers = part});
  if (error != 0) return from_errno(error, "io_uring read");
  if (page.data()[kIoAlignment - 1] != kProbe) {
    return make_error(ErrorCode::io, "io_uring read: not what was written");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Device>> try_uring(const std::string& directory,
                                                  const DeviceOptions& options, bool direct,
                                                  const std::string& note) {
  CAIRN_ASSIGN_OR_RETURN(std::unique_ptr<UringDevice> device,
                         UringDevice::open(options.depth, direct, note));
  CAIRN_RETURN_IF_ERROR(try_transfers(*device, directory, direct));
  device->begin();
  return device;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> open_device(const std::string& directory,
                                                    const DeviceOptions& options) {
  if (options.depth == 0) return make_error(ErrorCode::invalid_argument, "device depth is 0");
  const FileSizeSignalBlock block;  // trying writes, on the caller's thread
  const std::string existing = nearest_existing(directory);
  std::string note = options.direct ? why_not_direct(existing) : "O_DIRECT: not wanted";
  const bool direct = note.empty();
  if (options.choice != DeviceChoice::posix) {
    auto device = try_uring(existing, options, direct, note);
    if (device.ok() || options.choice == DeviceChoice::io_uring) return device;
    note = concat(note, note.empty() ? "" : "; ", message_of(device.status()));
  }
  return PosixDevice::open(options.depth, options.posix_threads, direct, note);
}

}  // namespace cairn::tiers
