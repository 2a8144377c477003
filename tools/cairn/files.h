// SPDX-License-Identifier: Apache-2.0
// files.h — files that users name: read whole, written whole or not at all.
//
// Threading: thread-safe. Blocking: disk, or whoever feeds stdin.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/bytes.h"

namespace cairn::tools {

/// "-" is stdin. Beyond `bytes_max` it stops and says `too_large`; `what` names the limit's owner
/// ("a block"). A file that is not there is `not_found`.
absl::StatusOr<std::string> read_all(const std::string& path, std::uint64_t bytes_max,
                                     std::string_view what);

/// Beside it, synced, renamed: the file has its old content or the new, whole. A new file is
/// readable by its owner alone, because KV tells what users asked. Links are followed and stay;
/// what is no regular file (a pipe, a device, /dev/stdout) is written as it is.
absl::Status write_file_whole(const std::string& path, ByteSpan content);

/// `not_found` is a block, or a store, that is not there; of anything else it becomes `io`, so that
/// no script takes it for a miss.
absl::Status not_a_miss(const absl::Status& status);

/// Text that may go to a terminal: printable UTF-8, newlines and tabs.
bool is_text(std::string_view bytes);

/// What the file system has allocated (st_blocks) below a directory, in the files of its folder
/// `folder`; with an empty one, everything. What goes away meanwhile counts nothing.
std::uint64_t allocated_bytes(const std::string& directory, std::string_view folder = {});

/// Made under $TMPDIR, else /var/tmp (which is a disk where /tmp may be RAM); removed with all
/// that is in it.
class TemporaryDirectory {
 public:
  static absl::StatusOr<TemporaryDirectory> make();
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory();

  const std::string& path() const { return path_; }
  /// A forked child leaves it to its parent.
  void release() { path_.clear(); }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace cairn::tools
