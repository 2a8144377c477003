// SPDX-License-Identifier: Apache-2.0
// disk_usage.h — what a store's directory really takes, as `du` would say it.
//
// Threading: anywhere, also while the store runs: a file that goes meanwhile counts as gone.
// Blocking:  disk.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>

namespace cairn::test {

/// st_blocks of every file under the directory, in bytes; 0 where there is none.
inline std::uint64_t bytes_on_disk(const std::string& directory) {
  std::uint64_t bytes = 0;
  std::error_code failed;
  std::filesystem::recursive_directory_iterator at(directory, failed);
  const std::filesystem::recursive_directory_iterator end;
  for (; !failed && at != end; at.increment(failed)) {
    struct stat info {};
    if (::lstat(at->path().c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      bytes += static_cast<std::uint64_t>(info.st_blocks) * 512;
    }
  }
  return bytes;
}

/// What ColdOptions::cold_bytes limits: the segments and the index.
inline std::uint64_t cold_bytes_on_disk(const std::string& store_directory) {
  return bytes_on_disk(store_directory + "/segments") + bytes_on_disk(store_directory + "/index");
}

}  // namespace cairn::test
