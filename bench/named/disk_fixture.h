// SPDX-License-Identifier: Apache-2.0
// disk_fixture.h — what the cold benches share: a directory, chains of blocks that can be
// verified, and fio.
//
// Threading: confined. Blocking: disk.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/measure.h"
#include "bench/registry.h"
#include "tiers/open.h"

namespace cairn::bench {

/// A directory for data, removed with all it holds when it was ours to make.
class DataDirectory {
 public:
  static absl::StatusOr<std::unique_ptr<DataDirectory>> make(const Settings& settings,
                                                             std::uint64_t bytes_needed);
  ~DataDirectory();
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  explicit DataDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// Page-aligned memory that the disk can write to directly.
class AlignedMemory {
 public:
  explicit AlignedMemory(std::size_t bytes);
  ~AlignedMemory();
  AlignedMemory(const AlignedMemory&) = delete;
  AlignedMemory& operator=(const AlignedMemory&) = delete;
  MutableByteSpan bytes() { return {memory_, size_}; }
  MutableByteSpan block(std::size_t index, std::size_t block_bytes) {
    return bytes().subspan(index * block_bytes, block_bytes);
  }

 private:
  std::byte* memory_;
  std::size_t size_;
};

std::string bench_key(std::uint64_t chain, std::uint64_t block);
/// Stamps a block of a prepared pool with its key, at both ends and in every page.
void stamp(MutableByteSpan block, std::uint64_t chain, std::uint64_t index);
bool is_stamped(ByteSpan block, std::uint64_t chain, std::uint64_t index);

struct FioJob {
  std::string directory;
  std::string rw = "read";  // read, write, randread
  std::uint64_t block_bytes = 0;
  std::uint64_t file_bytes = 0;
  int depth = 8;
  int jobs = 1;
};
std::string fio_how(const FioJob& job);
/// GB/s. An error that says how to install fio where there is none.
absl::StatusOr<double> run_fio(const FioJob& job);

/// "io_uring, O_DIRECT, ext4 on /dev/vda", for notes.
std::string describe_device(const Store& store, const std::string& directory);

/// Plain bytes of all that is stored, by what they take on disk; two digits behind the point.
absl::StatusOr<double> stored_ratio(Store& store);

/// Asks the kernel to forget what it has cached; false where that is not allowed.
bool drop_page_cache();

}  // namespace cairn::bench
