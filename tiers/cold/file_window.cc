// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/file_window.h"

#include <algorithm>
#include <cstdlib>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::tiers {
namespace {

/// No header begins with it, no sum matches it.
constexpr int kUnreadableByte = 0xdb;

struct BlockingOp {
  IoOp op;
  bool finished = false;
};

absl::Status do_blocking(Device& device, BlockingOp& blocking, std::string_view what) {
  blocking.op.context = &blocking;
  blocking.op.done = [](IoOp& op) { static_cast<BlockingOp*>(op.context)->finished = true; };
  while (!device.submit(blocking.op)) device.poll(Duration::millis(10));
  while (!blocking.finished) device.poll(Duration::millis(100));
  return blocking.op.error == 0 ? absl::OkStatus() : from_errno(blocking.op.error, what);
}

absl::Status read_blocking(Device& device, FileId file, std::uint64_t offset,
                           MutableByteSpan destination, std::uint64_t& transferred) {
  const iovec part{destination.data(), destination.size()};
  BlockingOp blocking;
  blocking.op.kind = IoKind::read;
  blocking.op.file = file;
  blocking.op.offset = offset;
  blocking.op.buffers = {&part, 1};
  absl::Status status = do_blocking(device, blocking, "read");
  transferred = blocking.op.transferred;
  return status;
}

}  // namespace

void FileWindow::FreeMemory::operator()(std::byte* memory) const {
  std::free(memory);
}

FileWindow::FileWindow(Device& device, FileId file, std::uint64_t size, std::uint64_t read_ahead,
                       Unreadable unreadable)
    : device_(device),
      file_(file),
      size_(size),
      read_ahead_(read_ahead),
      unreadable_is_(unreadable) {}

FileWindow::~FileWindow() {
  device_.close_file(file_);
}

absl::StatusOr<std::unique_ptr<FileWindow>> FileWindow::open(Device& device,
                                                             const std::string& path,
                                                             std::uint64_t read_ahead,
                                                             Unreadable unreadable) {
  CAIRN_ASSIGN_OR_RETURN(const FileInfo info, device.info(path));
  CAIRN_ASSIGN_OR_RETURN(const FileId file, device.open_file(path, OpenMode::read));
  return std::unique_ptr<FileWindow>(
      new FileWindow(device, file, info.bytes, read_ahead, unreadable));
}

absl::StatusOr<ByteSpan> FileWindow::at(std::uint64_t offset, std::uint64_t length) {
  if (offset >= size_) return ByteSpan();
  length = std::min(length, size_ - offset);
  if (offset < begin_ || offset + length > end_) {
    const std::uint64_t begin = offset / kPage * kPage;
    const std::uint64_t wanted = round_up(offset + length, kPage) - begin;
    CAIRN_RETURN_IF_ERROR(fill(begin, std::max(wanted, read_ahead_)));
    if (offset >= end_) return ByteSpan();
    length = std::min(length, end_ - offset);
  }
  return ByteSpan(memory_.get() + (offset - begin_), length);
}

absl::Status FileWindow::sync() {
  BlockingOp blocking;
  blocking.op.kind = IoKind::sync;
  blocking.op.file = file_;
  return do_blocking(device_, blocking, "sync");
}

absl::Status FileWindow::fill(std::uint64_t begin, std::uint64_t bytes) {
  begin_ = end_ = begin;
  if (bytes > capacity_) {
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kIoAlignment, bytes)));
    CAIRN_CHECK(memory_ != nullptr);
    capacity_ = bytes;
  }
  const std::uint64_t want = std::min(bytes, round_up(size_, kPage) - begin);
  const MutableByteSpan target(memory_.get(), want);
  absl::Status status = read_all(begin, target);
  if (has_code(status, ErrorCode::io) && unreadable_is_ == Unreadable::fill) {
    status = read_by_page(begin, target);
  }
  CAIRN_RETURN_IF_ERROR(status);
  end_ = std::min(begin + want, size_);
  return absl::OkStatus();
}

/// A short read is asked for again where it ended, as long as it brings pages.
absl::Status FileWindow::read_all(std::uint64_t begin, MutableByteSpan target) {
  std::uint64_t got = 0;
  while (got < target.size() && begin + got < size_) {
    std::uint64_t moved = 0;
    CAIRN_RETURN_IF_ERROR(read_blocking(device_, file_, begin + got, target.subspan(got), moved));
    if (begin + got + moved >= size_) break;
    if (moved < kPage) return make_error(ErrorCode::io, "read: the device gives nothing");
    got += moved / kPage * kPage;
  }
  return absl::OkStatus();
}

absl::Status FileWindow::read_by_page(std::uint64_t begin, MutableByteSpan target) {
  for (std::uint64_t at = 0; at < target.size(); at += kPage) {
    const MutableByteSpan page = target.subspan(at, kPage);
    const absl::Status status = read_all(begin + at, page);
    if (status.ok()) continue;
    if (!has_code(status, ErrorCode::io)) return status;
    unreadable_.insert(begin + at);
    if (unreadable_bytes() > kUnreadableBytesMax) {
      return with_context(
          status, concat("more than ", kUnreadableBytesMax / kKiB,
                         " KiB of a file cannot be read; if they never will be, move it away"));
    }
    std::fill(page.begin(), page.end(), std::byte{kUnreadableByte});
  }
  return absl::OkStatus();
}

bool FileWindow::has_unreadable(std::uint64_t offset, std::uint64_t length) const {
  const auto page = unreadable_.lower_bound(offset / kPage * kPage);
  return page != unreadable_.end() && *page < offset + length;
}

}  // namespace cairn::tiers
