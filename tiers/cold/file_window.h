// SPDX-License-Identifier: Apache-2.0
// file_window.h — reads ranges of one file with read-ahead, and where it is asked to, goes on where
// a sector cannot be read.
//
// For tools, repair and opening, not for the data path. What the medium will not give is asked for
// once more page by page; the pages that still fail are filled with a byte that matches no header
// and no sum, and are remembered.
//
// Threading:  the device must have no other poller while it runs.
// Blocking:   disk.
// Failure:    `io` where more than kUnreadableBytesMax of the file cannot be read, or any of it
//             that counts as an error.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "tiers/io/device.h"
#include "tiers/record/format.h"

namespace cairn::tiers {

/// What a sector that cannot be read is: an error, or a page of bytes that match nothing.
enum class Unreadable : std::uint8_t { error, fill };

class FileWindow {
 public:
  static constexpr std::uint64_t kReadAhead = 2 * kMiB;
  /// Beyond this it is the device that fails, not a sector, and a store should not be judged by
  /// what is left.
  static constexpr std::uint64_t kUnreadableBytesMax = 256 * kKiB;
  static absl::StatusOr<std::unique_ptr<FileWindow>> open(Device& device, const std::string& path,
                                                          std::uint64_t read_ahead = kReadAhead,
                                                          Unreadable unreadable = Unreadable::fill);
  ~FileWindow();
  FileWindow(const FileWindow&) = delete;
  FileWindow& operator=(const FileWindow&) = delete;

  std::uint64_t size() const { return size_; }
  /// Found so far.
  std::uint64_t unreadable_bytes() const { return unreadable_.size() * kPage; }
  bool has_unreadable(std::uint64_t offset, std::uint64_t length) const;
  /// At most `length` bytes from `offset`, fewer at the end of the file; valid until the next call.
  absl::StatusOr<ByteSpan> at(std::uint64_t offset, std::uint64_t length);
  /// What was written to the file before, by whomever, is on the medium when this returns OK.
  absl::Status sync();

 private:
  struct FreeMemory {
    void operator()(std::byte* memory) const;
  };

  FileWindow(Device& device, FileId file, std::uint64_t size, std::uint64_t read_ahead,
             Unreadable unreadable);
  absl::Status fill(std::uint64_t begin, std::uint64_t bytes);
  absl::Status read_all(std::uint64_t begin, MutableByteSpan target);
  absl::Status read_by_page(std::uint64_t begin, MutableByteSpan target);

  Device& device_;
  const FileId file_;
  const std::uint64_t size_;
  const std::uint64_t read_ahead_;
  const Unreadable unreadable_is_;
  std::unique_ptr<std::byte, FreeMemory> memory_;
  std::uint64_t capacity_ = 0;
  std::uint64_t begin_ = 0;  // of what memory_ holds
  std::uint64_t end_ = 0;
  std::set<std::uint64_t> unreadable_;  // offsets of pages
};

}  // namespace cairn::tiers
