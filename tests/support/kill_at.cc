// SPDX-License-Identifier: Apache-2.0
#include "tests/support/kill_at.h"

#include <signal.h>
#include <unistd.h>

#include "tests/support/device_wrapper.h"

namespace cairn::test {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class KillDevice final : public DeviceWrapper {
 public:
  KillDevice(std::unique_ptr<tiers::Device> device, KillCounter& counter)
      : DeviceWrapper(std::move(device)), counter_(counter) {}

  bool submit(tiers::IoOp& op) override {
    if (op.kind == tiers::IoKind::read) return target().submit(op);
    return counter_.around([&] { return target().submit(op); });
  }
  absl::Status remove_file(const std::string& path) override {
    return counter_.around([&] { return target().remove_file(path); });
  }
  absl::Status rename_file(const std::string& from, const std::string& to) override {
    return counter_.around([&] { return target().rename_file(from, to); });
  }
  absl::Status sync_directory(const std::string& path) override {
    return counter_.around([&] { return target().sync_directory(path); });
  }
  absl::Status write_small(const std::string& path, ByteSpan content) override {
    return counter_.around([&] { return target().write_small(path, content); });
  }
  absl::Status sync_file(const std::string& path) override {
    return counter_.around([&] { return target().sync_file(path); });
  }

 private:
  KillCounter& counter_;
};

class KillWritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  KillWritableFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, KillCounter& counter)
      : FSWritableFileOwnerWrapper(std::move(file)), counter_(counter) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* dbg) override {
    return counter_.around([&] { return target()->Append(data, options, dbg); });
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& info, IODebugContext* dbg) override {
    return counter_.around([&] { return target()->Append(data, options, info, dbg); });
  }
  IOStatus PositionedAppend(const Slice& data, std::uint64_t offset, const IOOptions& options,
                            IODebugContext* dbg) override {
    return counter_.around([&] { return target()->PositionedAppend(data, offset, options, dbg); });
  }
  IOStatus PositionedAppend(const Slice& data, std::uint64_t offset, const IOOptions& options,
                            const rocksdb::DataVerificationInfo& info,
                            IODebugContext* dbg) override {
    return counter_.around(
        [&] { return target()->PositionedAppend(data, offset, options, info, dbg); });
  }
  IOStatus Truncate(std::uint64_t bytes, const IOOptions& options, IODebugContext* dbg) override {
    return counter_.around([&] { return target()->Truncate(bytes, options, dbg); });
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* dbg) override {
    return counter_.around([&] { return target()->Sync(options, dbg); });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override {
    return counter_.around([&] { return target()->Fsync(options, dbg); });
  }

 private:
  KillCounter& counter_;
};

class KillDirectory final : public rocksdb::FSDirectory {
 public:
  KillDirectory(std::unique_ptr<rocksdb::FSDirectory> directory, KillCounter& counter)
      : target_(std::move(directory)), counter_(counter) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* dbg) override {
    return counter_.around([&] { return target_->Fsync(options, dbg); });
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* dbg,
                               const rocksdb::DirFsyncOptions& directory_options) override {
    return counter_.around(
        [&] { return target_->FsyncWithDirOptions(options, dbg, directory_options); });
  }
  IOStatus Close(const IOOptions& options, IODebugContext* dbg) override {
    return target_->Close(options, dbg);
  }
  std::size_t GetUniqueId(char* id, std::size_t bytes_max) const override {
    return target_->GetUniqueId(id, bytes_max);
  }

 private:
  const std::unique_ptr<rocksdb::FSDirectory> target_;
  KillCounter& counter_;
};

class KillFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  KillFileSystem(std::shared_ptr<rocksdb::FileSystem> target, KillCounter& counter)
      : FileSystemWrapper(std::move(target)), counter_(counter) {}
  const char* Name() const override { return "KillFileSystem"; }

  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                           IODebugContext* dbg) override {
    return wrap(target()->NewWritableFile(path, options, result, dbg), result);
  }
  IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* result,
                              IODebugContext* dbg) override {
    return wrap(target()->ReopenWritableFile(path, options, result, dbg), result);
  }
  IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path,
                             const rocksdb::FileOptions& options,
                             std::unique_ptr<rocksdb::FSWritableFile>* result,
                             IODebugContext* dbg) override {
    return wrap(target()->ReuseWritableFile(path, old_path, options, result, dbg), result);
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions& options,
                        std::unique_ptr<rocksdb::FSDirectory>* result,
                        IODebugContext* dbg) override {
    const IOStatus status = target()->NewDirectory(path, options, result, dbg);
    if (status.ok()) *result = std::make_unique<KillDirectory>(std::move(*result), counter_);
    return status;
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* dbg) override {
    return counter_.around([&] { return target()->RenameFile(from, to, options, dbg); });
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& options,
                      IODebugContext* dbg) override {
    return counter_.around([&] { return target()->DeleteFile(path, options, dbg); });
  }

 private:
  IOStatus wrap(IOStatus status, std::unique_ptr<rocksdb::FSWritableFile>* result) {
    if (status.ok()) *result = std::make_unique<KillWritableFile>(std::move(*result), counter_);
    return status;
  }

  KillCounter& counter_;
};

}  // namespace

void KillCounter::die() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();  // the signal is on its way
}

std::unique_ptr<tiers::Device> make_kill_device(std::unique_ptr<tiers::Device> device,
                                                KillCounter& counter) {
  return std::make_unique<KillDevice>(std::move(device), counter);
}

std::shared_ptr<rocksdb::FileSystem> make_kill_file_system(
    std::shared_ptr<rocksdb::FileSystem> file_system, KillCounter& counter) {
  return std::make_shared<KillFileSystem>(std::move(file_system), counter);
}

std::shared_ptr<rocksdb::FileSystem> make_kill_file_system(KillCounter& counter) {
  return make_kill_file_system(rocksdb::FileSystem::Default(), counter);
}

}  // namespace cairn::test
