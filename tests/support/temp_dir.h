// SPDX-License-Identifier: Apache-2.0
// temp_dir.h — a directory that goes away with the test.
//
// Threading: thread-compatible. Blocking: disk.
#pragma once

#include <string>
#include <string_view>

namespace cairn::test {

/// Made with mkdtemp under $TMPDIR, or /tmp; removed with everything in it, unless
/// CAIRN_KEEP_TEMP is set, which prints its path instead.
class TempDir {
 public:
  enum class Medium {
    disk,
    /// /dev/shm, where there is room: several times faster. For tests that kill processes: what
    /// the kernel has accepted survives those on any medium. $TMPDIR goes first.
    memory,
  };
  explicit TempDir(std::string_view name = "cairn", Medium medium = Medium::disk);
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  /// "DIR/name"
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  /// A forked child that shares the object leaves the directory to its parent.
  void release() { owned_ = false; }

 private:
  std::string path_;
  bool owned_ = true;
};

}  // namespace cairn::test
