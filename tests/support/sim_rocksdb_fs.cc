// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_rocksdb_fs.h"

#include <rocksdb/system_clock.h>

#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/sim_rocksdb_files.h"

namespace cairn::test {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using tiers::OpenMode;

class SimDbLock final : public rocksdb::FileLock {
 public:
  explicit SimDbLock(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class NullLogger final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

class SimDirectory final : public rocksdb::FSDirectory {
 public:
  SimDirectory(std::shared_ptr<SimDisk> disk, std::string path)
      : disk_(std::move(disk)), path_(std::move(path)) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    if (disk_->faults().fires(Side::rocksdb, Fault::sync_error, path_)) return to_io(EIO, path_);
    return to_io(disk_->sync_directory(path_), path_);
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  std::shared_ptr<SimDisk> disk_;
  std::string path_;
};

class SimRocksdbFs final : public rocksdb::FileSystem {
 public:
  explicit SimRocksdbFs(std::shared_ptr<SimDisk> disk) : disk_(std::move(disk)) {}
  const char* Name() const override { return "SimRocksdbFs"; }

  IOStatus NewSequentialFile(const std::string& path, const FileOptions&,
                             std::unique_ptr<rocksdb::FSSequentialFile>* result,
                             IODebugContext*) override {
    SimFile file;
    if (const int error = disk_->open(path, OpenMode::read, &file)) return to_io(error, path);
    *result = new_sequential_file({disk_, file, normal_path(path)});
    return IOStatus::OK();
  }

  IOStatus NewRandomAccessFile(const std::string& path, const FileOptions&,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                               IODebugContext*) override {
    SimFile file;
    if (const int error = disk_->open(path, OpenMode::read, &file)) return to_io(error, path);
    *result = new_random_access_file({disk_, file, normal_path(path)});
    return IOStatus::OK();
  }

  IOStatus NewWritableFile(const std::string& path, const FileOptions&,
                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                           IODebugContext*) override {
    SimFile file;
    if (const int error = disk_->open_truncated(path, &file)) return to_io(error, path);
    *result = new_writable_file({disk_, file, normal_path(path)});
    return IOStatus::OK();
  }

  IOStatus ReopenWritableFile(const std::string& path, const FileOptions&,
                              std::unique_ptr<rocksdb::FSWritableFile>* result,
                              IODebugContext*) override {
    SimFile file;
    int error = disk_->open(path, OpenMode::read_write, &file);
    if (error == ENOENT) error = disk_->open(path, OpenMode::create, &file);
    if (error != 0) return to_io(error, path);
    *result = new_writable_file({disk_, file, normal_path(path)});
    return IOStatus::OK();
  }

  IOStatus NewRandomRWFile(const std::string& path, const FileOptions&,
                           std::unique_ptr<rocksdb::FSRandomRWFile>* result,
                           IODebugContext*) override {
    SimFile file;
    if (const int error = disk_->open(path, OpenMode::read_write, &file)) return to_io(error, path);
    *result = new_random_rw_file({disk_, file, normal_path(path)});
    return IOStatus::OK();
  }

  IOStatus NewDirectory(const std::string& path, const IOOptions&,
                        std::unique_ptr<rocksdb::FSDirectory>* result, IODebugContext*) override {
    if (!disk_->is_directory(path)) return to_io(ENOENT, path);
    *result = std::make_unique<SimDirectory>(disk_, path);
    return IOStatus::OK();
  }

  IOStatus FileExists(const std::string& path, const IOOptions&, IODebugContext*) override {
    if (disk_->is_directory(path)) return IOStatus::OK();
    tiers::FileInfo info;
    return to_io(disk_->info(path, &info), path);
  }

  IOStatus GetChildren(const std::string& path, const IOOptions&, std::vector<std::string>* names,
                       IODebugContext*) override {
    std::vector<tiers::DirectoryEntry> entries;
    if (const int error = disk_->list(path, &entries)) return to_io(error, path);
    names->clear();
    for (tiers::DirectoryEntry& entry : entries) names->push_back(std::move(entry.name));
    return IOStatus::OK();
  }

  IOStatus DeleteFile(const std::string& path, const IOOptions&, IODebugContext*) override {
    return to_io(disk_->remove(path), path);
  }

  IOStatus Truncate(const std::string& path, std::size_t bytes, const IOOptions&,
                    IODebugContext*) override {
    SimFile file;
    if (const int error = disk_->open(path, OpenMode::read_write, &file)) return to_io(error, path);
    const int error = disk_->resize(file, bytes);
    disk_->close(file);
    return to_io(error, path);
  }

  IOStatus CreateDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    return to_io(disk_->make_directory(path), path);
  }

  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions&, IODebugContext*) override {
    if (disk_->is_directory(path)) return IOStatus::OK();
    return to_io(disk_->make_directory(path), path);
  }

  IOStatus DeleteDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    return to_io(disk_->remove_directory(path), path);
  }

  IOStatus GetFileSize(const std::string& path, const IOOptions&, std::uint64_t* bytes,
                       IODebugContext*) override {
    tiers::FileInfo info;
    const int error = disk_->info(path, &info);
    *bytes = info.bytes;
    return to_io(error, path);
  }

  IOStatus GetFileModificationTime(const std::string& path, const IOOptions&,
                                   std::uint64_t* seconds, IODebugContext*) override {
    tiers::FileInfo info;
    *seconds = 0;
    return to_io(disk_->info(path, &info), path);
  }

  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions&,
                      IODebugContext*) override {
    if (disk_->faults().fires(Side::rocksdb, Fault::rename_error, to)) return to_io(EIO, from);
    return to_io(disk_->rename(from, to), from);
  }

  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions&,
                    IODebugContext*) override {
    return to_io(disk_->link(from, to), from);
  }

  IOStatus AreFilesSame(const std::string& first, const std::string& second, const IOOptions&,
                        bool* same, IODebugContext*) override {
    *same = normal_path(first) == normal_path(second);
    return IOStatus::OK();
  }

  IOStatus LockFile(const std::string& path, const IOOptions&, rocksdb::FileLock** lock,
                    IODebugContext*) override {
    SimFile file;
    *lock = nullptr;
    int error = disk_->open(path, OpenMode::read, &file);
    if (error == ENOENT) error = disk_->open(path, OpenMode::create, &file);
    if (error != 0) return to_io(error, path);
    disk_->close(file);
    if (!disk_->lock(path, true)) return IOStatus::IOError("lock is held", path);
    *lock = new SimDbLock(path);  // RocksDB hands it back to UnlockFile
    return IOStatus::OK();
  }

  IOStatus UnlockFile(rocksdb::FileLock* lock, const IOOptions&, IODebugContext*) override {
    const std::unique_ptr<SimDbLock> owned(static_cast<SimDbLock*>(lock));
    disk_->unlock(owned->path(), true);
    return IOStatus::OK();
  }

  IOStatus GetTestDirectory(const IOOptions&, std::string* path, IODebugContext*) override {
    *path = "/test";
    return IOStatus::OK();
  }

  IOStatus NewLogger(const std::string&, const IOOptions&, std::shared_ptr<rocksdb::Logger>* result,
                     IODebugContext*) override {
    *result = std::make_shared<NullLogger>();
    return IOStatus::OK();
  }

  IOStatus GetAbsolutePath(const std::string& path, const IOOptions&, std::string* absolute,
                           IODebugContext*) override {
    *absolute = normal_path(path);
    return IOStatus::OK();
  }

  IOStatus GetFreeSpace(const std::string&, const IOOptions&, std::uint64_t* bytes,
                        IODebugContext*) override {
    const std::uint64_t used = disk_->allocated_bytes();
    *bytes = used >= disk_->capacity_bytes() ? 0 : disk_->capacity_bytes() - used;
    return IOStatus::OK();
  }

  IOStatus IsDirectory(const std::string& path, const IOOptions&, bool* is_directory,
                       IODebugContext*) override {
    *is_directory = disk_->is_directory(path);
    tiers::FileInfo info;
    return *is_directory ? IOStatus::OK() : to_io(disk_->info(path, &info), path);
  }

 private:
  const std::shared_ptr<SimDisk> disk_;
};

class SleeplessClock final : public rocksdb::SystemClockWrapper {
 public:
  SleeplessClock() : SystemClockWrapper(rocksdb::SystemClock::Default()) {}
  const char* Name() const override { return "SleeplessClock"; }
  void SleepForMicroseconds(int) override { std::this_thread::yield(); }
};

class SimEnv final : public rocksdb::EnvWrapper {
 public:
  explicit SimEnv(const std::shared_ptr<rocksdb::FileSystem>& fs)
      : EnvWrapper(rocksdb::NewCompositeEnv(fs)) {
    file_system_ = fs;
    system_clock_ = std::make_shared<SleeplessClock>();
  }
};

}  // namespace

std::unique_ptr<rocksdb::Env> make_sim_env(std::shared_ptr<SimDisk> disk) {
  return std::make_unique<SimEnv>(make_sim_rocksdb_fs(std::move(disk)));
}

std::shared_ptr<rocksdb::FileSystem> make_sim_rocksdb_fs(std::shared_ptr<SimDisk> disk) {
  return std::make_shared<SimRocksdbFs>(std::move(disk));
}

}  // namespace cairn::test
