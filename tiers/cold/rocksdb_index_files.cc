// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/rocksdb_index_files.h"

#include <utility>

#include "engine/base/process_limits.h"

namespace cairn::tiers {
namespace {

using rocksdb::DataVerificationInfo;
using rocksdb::FileOptions;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

bool is_log(const std::string& path) {
  return path.ends_with(".log");
}

/// No error leaves here as "no space" or "try again": RocksDB would act on either by itself.
IOStatus soften(IOStatus status, IndexFileEvents& events) {
  if (status.ok() || !status.IsIOError()) return status;
  if (status.IsNoSpace()) events.no_space.store(true);
  if (!status.IsNoSpace() && !status.GetRetryable()) return status;
  return IOStatus::IOError(status.ToString());
}

class IndexWritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
  using Base = rocksdb::FSWritableFileOwnerWrapper;

 public:
  IndexWritableFile(std::unique_ptr<FSWritableFile> target, bool log, std::uint64_t bytes,
                    std::uint64_t preallocation, std::shared_ptr<IndexFileEvents> events)
      : Base(std::move(target)),
        log_(log),
        preallocation_(preallocation),
        events_(std::move(events)),
        bytes_(bytes) {}

  /// RocksDB closes no log before it has begun the next, so whoever syncs the newest one finds it
  /// alive, unless the database itself is closing and begins none.
  ~IndexWritableFile() override {
    FSWritableFile* self = this;
    events_->newest_log.compare_exchange_strong(self, nullptr);
  }

  using Base::Append;
  using Base::PositionedAppend;

  // RocksDB writes on its own threads, which take their signal mask from whoever began them.
  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    const FileSizeSignalBlock block;
    return appended(Base::Append(data, options, debug), data.size(), options, debug);
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const DataVerificationInfo& verification, IODebugContext* debug) override {
    const FileSizeSignalBlock block;
    return appended(Base::Append(data, options, verification, debug), data.size(), options, debug);
  }
  IOStatus PositionedAppend(const Slice& data, std::uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    const FileSizeSignalBlock block;
    const IOStatus status = Base::PositionedAppend(data, offset, options, debug);
    if (status.ok()) events_->bytes_written.fetch_add(data.size());
    return soften(status, *events_);
  }
  IOStatus Truncate(std::uint64_t bytes, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = soften(Base::Truncate(bytes, options, debug), *events_);
    if (status.ok()) bytes_ = bytes;
    return status;
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    return soften(Base::Close(options, debug), *events_);
  }
  IOStatus Flush(const IOOptions& options, IODebugContext* debug) override {
    return soften(Base::Flush(options, debug), *events_);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
#if defined(CAIRN_PLANTED_INDEX_SYNC_SKIPPED)
    if (log_) return IOStatus::OK();
#endif
    return synced(Base::Sync(options, debug));
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return synced(Base::Fsync(options, debug));
  }
  IOStatus RangeSync(std::uint64_t offset, std::uint64_t bytes, const IOOptions& options,
                     IODebugContext* debug) override {
    return synced(Base::RangeSync(offset, bytes, options, debug));
  }
  /// A log is allocated whole before its first byte, so that writing it later cannot meet a full
  /// disk; when that fails the index sees that there is no room and asks the free space instead.
  void PrepareWrite(std::size_t offset, std::size_t length, const IOOptions& options,
                    IODebugContext* debug) override {
    const FileSizeSignalBlock block;
    if (!log_ || preallocation_ == 0) {
      Base::PrepareWrite(offset, length, options, debug);
      return;
    }
    if (std::exchange(prepared_, true)) return;
    if (Base::Allocate(0, preallocation_, options, debug).ok()) {
      allocated_ = preallocation_;
    }
    show_room();
  }

 private:
  IOStatus appended(const IOStatus& status, std::size_t bytes, const IOOptions& options,
                    IODebugContext* debug) {
    if (status.ok()) {
      bytes_ += bytes;
      events_->bytes_written.fetch_add(bytes);
      if (log_) show_room();
      return status;
    }
    // A part, or all, of what is reported as failed may be there. RocksDB appends nothing more to
    // this file; a log that could not be cut back ends in a torn record, or in one that was never
    // acknowledged, which a restart may find and may not.
    if (log_) Base::Truncate(bytes_, options, debug).PermitUncheckedError();
    return soften(status, *events_);
  }
  IOStatus synced(const IOStatus& status) {
    if (!status.ok() && log_ && !status.IsNotSupported()) events_->log_sync_failed.store(true);
    return soften(status, *events_);
  }
  void show_room() {
    events_->log_room_bytes.store(allocated_ > bytes_ ? allocated_ - bytes_ : 0);
  }

  const bool log_;
  const std::uint64_t preallocation_;
  const std::shared_ptr<IndexFileEvents> events_;
  std::uint64_t bytes_;
  std::uint64_t allocated_ = 0;
  bool prepared_ = false;
};

class IndexFiles final : public rocksdb::FileSystemWrapper {
  using Base = rocksdb::FileSystemWrapper;

 public:
  IndexFiles(const std::shared_ptr<rocksdb::FileSystem>& base, const IndexFilesOptions& options,
             std::shared_ptr<IndexFileEvents> events)
      : Base(base), options_(options), events_(std::move(events)) {}

  const char* Name() const override { return "CairnIndexFiles"; }

  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* result,
                           IODebugContext* debug) override {
    if (options_.read_only) return refused(path);
    if (is_log(path)) {
      FSWritableFile* before = events_->newest_log.exchange(nullptr);
      if (before != nullptr) {
        IOStatus synced = before->Sync(options.io_options, debug);
        if (!synced.ok()) return synced;
      }
    }
    return wrapped(Base::NewWritableFile(path, options, result, debug), path, 0, result);
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* result,
                              IODebugContext* debug) override {
    if (options_.read_only) return refused(path);
    std::uint64_t bytes = 0;
    Base::GetFileSize(path, options.io_options, &bytes, debug).PermitUncheckedError();
    return wrapped(Base::ReopenWritableFile(path, options, result, debug), path, bytes, result);
  }
  IOStatus ReuseWritableFile(const std::string& path, const std::string& from,
                             const FileOptions& options, std::unique_ptr<FSWritableFile>* result,
                             IODebugContext* debug) override {
    if (options_.read_only) return refused(path);
    return wrapped(Base::ReuseWritableFile(path, from, options, result, debug), path, 0, result);
  }
  IOStatus NewRandomRWFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSRandomRWFile>* result,
                           IODebugContext* debug) override {
    if (options_.read_only) return refused(path);
    return soften(Base::NewRandomRWFile(path, options, result, debug), *events_);
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& options,
                      IODebugContext* debug) override {
    if (options_.read_only) return refused(path);
    events_->files_changed.fetch_add(1);
    return soften(Base::DeleteFile(path, options, debug), *events_);
  }
  IOStatus Truncate(const std::string& path, std::size_t bytes, const IOOptions& options,
                    IODebugContext* debug) override {
    if (options_.read_only) return refused(path);
    return soften(Base::Truncate(path, bytes, options, debug), *events_);
  }
  IOStatus CreateDir(const std::string& path, const IOOptions& options,
                     IODebugContext* debug) override {
    if (options_.read_only) return refused(path);
    return soften(Base::CreateDir(path, options, debug), *events_);
  }
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions& options,
                              IODebugContext* debug) override {
    if (options_.read_only) return Base::FileExists(path, options, debug);
    return soften(Base::CreateDirIfMissing(path, options, debug), *events_);
  }
  IOStatus DeleteDir(const std::string& path, const IOOptions& options,
                     IODebugContext* debug) override {
    if (options_.read_only) return refused(path);
    return soften(Base::DeleteDir(path, options, debug), *events_);
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* debug) override {
    if (options_.read_only) return refused(from);
    return soften(Base::RenameFile(from, to, options, debug), *events_);
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* debug) override {
    if (options_.read_only) return refused(from);
    return soften(Base::LinkFile(from, to, options, debug), *events_);
  }
  IOStatus LockFile(const std::string& path, const IOOptions& options, rocksdb::FileLock** lock,
                    IODebugContext* debug) override {
    if (options_.read_only) return refused(path);
    return soften(Base::LockFile(path, options, lock, debug), *events_);
  }
  IOStatus NewLogger(const std::string& path, const IOOptions& options,
                     std::shared_ptr<rocksdb::Logger>* result, IODebugContext* debug) override {
    if (options_.read_only) return refused(path);
    return soften(Base::NewLogger(path, options, result, debug), *events_);
  }

 private:
  static IOStatus refused(const std::string& path) {
    return IOStatus::IOError("opened for reading only", path);
  }
  IOStatus wrapped(const IOStatus& status, const std::string& path, std::uint64_t bytes,
                   std::unique_ptr<FSWritableFile>* result) {
    if (!status.ok()) return soften(status, *events_);
    events_->files_changed.fetch_add(1);
    const bool log = is_log(path);
    // The newest log's room is unknown until its first append.
    if (log) events_->log_room_bytes.store(0);
    *result = std::make_unique<IndexWritableFile>(std::move(*result), log, bytes,
                                                  options_.log_preallocation_bytes, events_);
    if (log) events_->newest_log.store(result->get());
    return status;
  }

  const IndexFilesOptions options_;
  const std::shared_ptr<IndexFileEvents> events_;
};

}  // namespace

std::shared_ptr<rocksdb::FileSystem> make_index_files(
    const std::shared_ptr<rocksdb::FileSystem>& base, const IndexFilesOptions& options,
    std::shared_ptr<IndexFileEvents> events) {
  return std::make_shared<IndexFiles>(base, options, std::move(events));
}

}  // namespace cairn::tiers
