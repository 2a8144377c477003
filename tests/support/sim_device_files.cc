// SPDX-License-Identifier: Apache-2.0
// The file operations of SimDevice.
#include <cerrno>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/sim_device.h"

namespace cairn::test {

using tiers::FileId;
using tiers::OpenMode;

namespace {

absl::Status status_of(int error, std::string_view verb, const std::string& path) {
  return error == 0 ? absl::OkStatus() : from_errno(error, concat(verb, " ", path));
}

class SimFileLock final : public tiers::FileLock {
 public:
  SimFileLock(std::shared_ptr<SimDisk> disk, std::string path, bool exclusive)
      : disk_(std::move(disk)), path_(std::move(path)), exclusive_(exclusive) {}
  ~SimFileLock() override { disk_->unlock(path_, exclusive_); }

 private:
  std::shared_ptr<SimDisk> disk_;
  std::string path_;
  bool exclusive_;
};

}  // namespace

absl::StatusOr<FileId> SimDevice::open_file(const std::string& path, OpenMode mode) {
  SimFile file;
  CAIRN_RETURN_IF_ERROR(status_of(disk_->open(path, mode, &file), "open", path));
  MutexLock lock(mutex_);
  files_[next_file_] = {std::move(file), normal_path(path), mode};
  return FileId{next_file_++};
}

void SimDevice::close_file(FileId file) {
  SimFile closed;
  {
    MutexLock lock(mutex_);
    const auto found = files_.find(static_cast<int>(file));
    CAIRN_CHECK(found != files_.end());
    closed = std::move(found->second.file);
    files_.erase(found);
  }
  disk_->close(closed);
}

absl::Status SimDevice::allocate(FileId id, std::uint64_t bytes) {
  const OpenFile* file = find(id);
  if (file == nullptr) return from_errno(EBADF, "allocate");
  if (fires(Fault::no_space, file->path)) return status_of(ENOSPC, "allocate", file->path);
  return status_of(disk_->allocate(file->file, bytes), "allocate", file->path);
}

absl::Status SimDevice::remove_file(const std::string& path) {
  return status_of(disk_->remove(path), "remove", path);
}

absl::Status SimDevice::rename_file(const std::string& from, const std::string& to) {
  if (fires(Fault::rename_error, to)) return status_of(EIO, "rename", from);
  return status_of(disk_->rename(from, to), "rename", from);
}

absl::Status SimDevice::make_directory(const std::string& path) {
  const int error = disk_->make_directory(path);
  if (error == EEXIST && disk_->is_directory(path)) return absl::OkStatus();
  return status_of(error, "mkdir", path);
}

absl::Status SimDevice::sync_directory(const std::string& path) {
  if (fires(Fault::sync_error, path)) return status_of(EIO, "sync directory", path);
  return status_of(disk_->sync_directory(path), "sync directory", path);
}

absl::StatusOr<std::vector<tiers::DirectoryEntry>> SimDevice::list(const std::string& path) {
  std::vector<tiers::DirectoryEntry> entries;
  CAIRN_RETURN_IF_ERROR(status_of(disk_->list(path, &entries), "list", path));
  return entries;
}

absl::StatusOr<tiers::FileInfo> SimDevice::info(const std::string& path) {
  tiers::FileInfo info;
  if (disk_->is_directory(path)) return info;
  CAIRN_RETURN_IF_ERROR(status_of(disk_->info(path, &info), "stat", path));
  return info;
}

absl::StatusOr<std::uint64_t> SimDevice::free_bytes(const std::string& path) {
  static_cast<void>(path);  // one disk
  if (disk_->frozen()) return status_of(EIO, "statfs", path);
  const std::uint64_t used = disk_->allocated_bytes();
  const std::uint64_t capacity = disk_->capacity_bytes();
  return used >= capacity ? 0 : capacity - used;
}

absl::StatusOr<std::string> SimDevice::read_small(const std::string& path) {
  SimFile file;
  CAIRN_RETURN_IF_ERROR(status_of(disk_->open(path, OpenMode::read, &file), "open", path));
  std::string content(disk_->length(file), '\0');
  std::size_t got = 0;
  int error =
      disk_->read(file, 0, {reinterpret_cast<std::byte*>(content.data()), content.size()}, &got);
  disk_->close(file);
  if (fires(Fault::read_error, path)) error = EIO;
  if (!content.empty() && fires(Fault::flipped_read, path)) {
    const std::uint64_t victim = disk_->faults().draw(content.size());
    content[victim] = static_cast<char>(content[victim] ^ (1 << disk_->faults().draw(8)));
  }
  CAIRN_RETURN_IF_ERROR(status_of(error, "read", path));
  return content;
}

absl::Status SimDevice::write_small(const std::string& path, ByteSpan content) {
  SimFile file;
  CAIRN_RETURN_IF_ERROR(status_of(disk_->open_truncated(path, &file), "open", path));
  std::size_t written = 0;
  int error = fires(Fault::write_error, path) ? EIO : fires(Fault::no_space, path) ? ENOSPC : 0;
  if (error == 0) error = disk_->write(file, 0, content, &written);
  if (error == 0 && written < content.size()) error = ENOSPC;
  disk_->close(file);
  return status_of(error, "write", path);
}

absl::Status SimDevice::sync_file(const std::string& path) {
  SimFile file;
  CAIRN_RETURN_IF_ERROR(status_of(disk_->open(path, OpenMode::read, &file), "open", path));
  const int error = fires(Fault::sync_error, path) ? disk_->sync_badly(file)
                                                   : disk_->sync(file, disk_->write_marker());
  disk_->close(file);
  return status_of(error, "sync", path);
}

absl::StatusOr<std::unique_ptr<tiers::FileLock>> SimDevice::lock_file(const std::string& path,
                                                                      std::string_view owner) {
  const bool exclusive = !owner.empty();
  SimFile file;
  int error = disk_->open(path, OpenMode::read, &file);
  if (error == ENOENT && exclusive) error = disk_->open(path, OpenMode::create, &file);
  CAIRN_RETURN_IF_ERROR(status_of(error, "open", path));
  disk_->close(file);
  if (!disk_->lock(path, exclusive)) {
    const absl::StatusOr<std::string> holder = read_small(path);
    return make_error(ErrorCode::locked,
                      concat(path, " is held by ", holder.ok() ? *holder : std::string("?")));
  }
  auto lock = std::make_unique<SimFileLock>(disk_, path, exclusive);
  if (exclusive) {
    const bool named = owner.find("pid=") != std::string_view::npos;
    const std::string content = named ? std::string(owner) : concat("pid=1 host=simulated ", owner);
    CAIRN_RETURN_IF_ERROR(write_small(path, as_bytes(content)));
  }
  return lock;
}

}  // namespace cairn::test
