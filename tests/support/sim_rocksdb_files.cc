// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_rocksdb_files.h"

#include <cerrno>
#include <cstring>

namespace cairn::test {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

bool fires(const SimOpenFile& open, Fault fault) {
  return open.disk->faults().fires(Side::rocksdb, fault, open.path);
}

IOStatus read_at(const SimOpenFile& open, std::uint64_t offset, std::size_t count, Slice* result,
                 char* scratch) {
  *result = Slice(scratch, 0);
  if (fires(open, Fault::read_error)) return to_io(EIO, open.path);
  if (count > 0 && fires(open, Fault::short_read)) count = open.disk->faults().draw(count);
  std::size_t got = 0;
  const int error =
      open.disk->read(open.file, offset, {reinterpret_cast<std::byte*>(scratch), count}, &got);
  if (error != 0) return to_io(error, open.path);
  if (got > 0 && fires(open, Fault::flipped_read)) {
    char& victim = scratch[open.disk->faults().draw(got)];
    victim = static_cast<char>(victim ^ (1 << open.disk->faults().draw(8)));
  }
  *result = Slice(scratch, got);
  return IOStatus::OK();
}

/// RocksDB's own POSIX file loops over short writes, so here they end as an error too.
IOStatus write_at(const SimOpenFile& open, std::uint64_t offset, const Slice& data) {
  ByteSpan bytes = as_bytes({data.data(), data.size()});
  FaultInjector& faults = open.disk->faults();
  int failure = 0;
  if (fires(open, Fault::no_space)) failure = ENOSPC;
  if (failure == 0 && (fires(open, Fault::write_error) || fires(open, Fault::short_write))) {
    failure = EIO;
  }
  if (failure != 0) bytes = bytes.first(faults.draw(bytes.size() + 1));
  if (failure == 0 && fires(open, Fault::lost_write)) {
    return to_io(open.disk->frozen() ? EIO : 0, open.path);
  }
  std::size_t written = 0;
  int error = open.disk->write(open.file, offset, bytes, &written);
  if (error == 0 && written < bytes.size()) error = ENOSPC;
  return to_io(error != 0 ? error : failure, open.path);
}

IOStatus sync_all(const SimOpenFile& open) {
  if (fires(open, Fault::sync_error)) return to_io(open.disk->sync_badly(open.file), open.path);
  return to_io(open.disk->sync(open.file, open.disk->write_marker()), open.path);
}

class SequentialFile final : public rocksdb::FSSequentialFile {
 public:
  explicit SequentialFile(SimOpenFile open) : open_(std::move(open)) {}
  ~SequentialFile() override { open_.disk->close(open_.file); }

  IOStatus Read(std::size_t count, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) override {
    const IOStatus status = read_at(open_, position_, count, result, scratch);
    position_ += result->size();
    return status;
  }
  IOStatus Skip(std::uint64_t count) override {
    position_ += count;
    return IOStatus::OK();
  }

 private:
  SimOpenFile open_;
  std::uint64_t position_ = 0;
};

class RandomAccessFile final : public rocksdb::FSRandomAccessFile {
 public:
  explicit RandomAccessFile(SimOpenFile open) : open_(std::move(open)) {}
  ~RandomAccessFile() override { open_.disk->close(open_.file); }

  IOStatus Read(std::uint64_t offset, std::size_t count, const IOOptions&, Slice* result,
                char* scratch, IODebugContext*) const override {
    return read_at(open_, offset, count, result, scratch);
  }

 private:
  SimOpenFile open_;
};

class WritableFile final : public rocksdb::FSWritableFile {
 public:
  explicit WritableFile(SimOpenFile open)
      : open_(std::move(open)), position_(open_.disk->length(open_.file)) {}
  ~WritableFile() override { open_.disk->close(open_.file); }

  using rocksdb::FSWritableFile::Append;
  using rocksdb::FSWritableFile::PositionedAppend;
  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    const IOStatus status = write_at(open_, position_, data);
    if (status.ok()) position_ += data.size();
    return status;
  }
  IOStatus PositionedAppend(const Slice& data, std::uint64_t offset, const IOOptions&,
                            IODebugContext*) override {
    const IOStatus status = write_at(open_, offset, data);
    if (status.ok()) position_ = offset + data.size();
    return status;
  }
  IOStatus Truncate(std::uint64_t bytes, const IOOptions&, IODebugContext*) override {
    position_ = bytes;
    if (open_.disk->length(open_.file) == bytes) return IOStatus::OK();
    return to_io(open_.disk->resize(open_.file, bytes), open_.path);
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return sync_all(open_); }
  bool IsSyncThreadSafe() const override { return true; }
  std::uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return position_; }

 private:
  SimOpenFile open_;
  std::uint64_t position_;
};

class RandomRwFile final : public rocksdb::FSRandomRWFile {
 public:
  explicit RandomRwFile(SimOpenFile open) : open_(std::move(open)) {}
  ~RandomRwFile() override { open_.disk->close(open_.file); }

  IOStatus Write(std::uint64_t offset, const Slice& data, const IOOptions&,
                 IODebugContext*) override {
    return write_at(open_, offset, data);
  }
  IOStatus Read(std::uint64_t offset, std::size_t count, const IOOptions&, Slice* result,
                char* scratch, IODebugContext*) const override {
    return read_at(open_, offset, count, result, scratch);
  }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return sync_all(open_); }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  SimOpenFile open_;
};

}  // namespace

rocksdb::IOStatus to_io(int error, const std::string& path) {
  switch (error) {
    case 0:
      return IOStatus::OK();
    case ENOENT:
      return IOStatus::NotFound(path);
    case ENOSPC:
      return IOStatus::NoSpace(path);
    default:
      return IOStatus::IOError(path, std::strerror(error));
  }
}

std::unique_ptr<rocksdb::FSSequentialFile> new_sequential_file(SimOpenFile file) {
  return std::make_unique<SequentialFile>(std::move(file));
}
std::unique_ptr<rocksdb::FSRandomAccessFile> new_random_access_file(SimOpenFile file) {
  return std::make_unique<RandomAccessFile>(std::move(file));
}
std::unique_ptr<rocksdb::FSWritableFile> new_writable_file(SimOpenFile file) {
  return std::make_unique<WritableFile>(std::move(file));
}
std::unique_ptr<rocksdb::FSRandomRWFile> new_random_rw_file(SimOpenFile file) {
  return std::make_unique<RandomRwFile>(std::move(file));
}

}  // namespace cairn::test
