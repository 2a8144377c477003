// SPDX-License-Identifier: Apache-2.0
#include "bench/named/disk_fixture.h"

#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::make(const Settings& settings,
                                                                   std::uint64_t bytes_needed) {
  const char* temporary = std::getenv("TMPDIR");
  const std::string parent = !settings.directory.empty() ? settings.directory
                             : temporary != nullptr      ? temporary
                                                         : "/tmp";
  std::string path = parent + "/cairn-bench-XXXXXX";
  if (mkdtemp(path.data()) == nullptr)
    return from_errno(errno, concat("make a directory in ", parent));
  struct statvfs file_system {};
  if (statvfs(path.c_str(), &file_system) == 0) {
    const std::uint64_t free_bytes = file_system.f_bavail * file_system.f_frsize;
    if (free_bytes < bytes_needed) {
      rmdir(path.c_str());
      return make_error(
          ErrorCode::no_space,
          concat(parent, " has ", format_size(free_bytes), " free and this bench needs ",
                 format_size(bytes_needed), "; name another with --dir"));
    }
  }
  return std::unique_ptr<DataDirectory>(new DataDirectory(path));
}

DataDirectory::~DataDirectory() {
  std::error_code ignored;  // a leftover in a temporary directory harms nobody
  std::filesystem::remove_all(path_, ignored);
}

AlignedMemory::AlignedMemory(std::size_t bytes)
    : memory_(static_cast<std::byte*>(std::aligned_alloc(4096, round_up(bytes, 4096)))),
      size_(bytes) {
  CAIRN_CHECK(memory_ != nullptr);
  std::memset(memory_, 0x5a, bytes);
}
AlignedMemory::~AlignedMemory() {
  std::free(memory_);
}

std::string bench_key(std::uint64_t chain, std::uint64_t block) {
  std::string key;
  append_le(key, chain * 0x9e3779b97f4a7c15ULL + 1);
  append_le(key, block * 0xbf58476d1ce4e5b9ULL + 1);
  append_le(key, chain);
  append_le(key, block);
  return key;
}

namespace {
std::uint64_t stamp_word(std::uint64_t chain, std::uint64_t index, std::size_t offset) {
  return (chain * 1'000'003 + index + 1) * 0x9e3779b97f4a7c15ULL ^ offset;
}
}  // namespace

void stamp(MutableByteSpan block, std::uint64_t chain, std::uint64_t index) {
  for (std::size_t offset = 0; offset + 8 <= block.size(); offset += 4096) {
    store_le(block, offset, stamp_word(chain, index, offset));
  }
}

bool is_stamped(ByteSpan block, std::uint64_t chain, std::uint64_t index) {
  for (std::size_t offset = 0; offset + 8 <= block.size(); offset += 4096) {
    if (load_le<std::uint64_t>(block, offset) != stamp_word(chain, index, offset)) return false;
  }
  return true;
}

namespace {
std::vector<std::string> fio_arguments(const FioJob& job) {
  std::vector<std::string> arguments{"fio",
                                     "--name=yardstick",
                                     concat("--directory=", job.directory),
                                     concat("--rw=", job.rw),
                                     concat("--bs=", job.block_bytes),
                                     concat("--size=", job.file_bytes),
                                     concat("--iodepth=", job.depth),
                                     concat("--numjobs=", job.jobs),
                                     "--ioengine=io_uring",
                                     "--direct=1",
                                     "--group_reporting",
                                     "--output-format=json"};
  if (job.rw.find("write") != std::string::npos) {
    // New files each time, allocated and not yet written, as a store's segments are until they
    // are used again: writing over what was written before is half as fast again on ext4.
    arguments.insert(arguments.end(), {"--fallocate=native", "--unlink=1"});
  }
  return arguments;
}
}  // namespace

std::string fio_how(const FioJob& job) {
  std::string how;
  for (const std::string& argument : fio_arguments(job)) {
    if (argument.starts_with("--directory") || argument.starts_with("--output")) continue;
    if (!how.empty()) how += ' ';
    how += argument;
  }
  return how;
}

absl::StatusOr<double> run_fio(const FioJob& job) {
  const auto output = run_program(fio_arguments(job));
  if (!output.ok()) {
    return with_context(output.status(), "the yardstick fio is needed (apt-get install fio)");
  }
  // Notes may stand before the object.
  const auto json = nlohmann::json::parse(
      output->substr(std::min(output->find('{'), output->size())), nullptr, false);
  const char* side = job.rw.find("write") != std::string::npos ? "write" : "read";
  if (json.is_discarded() || !json.contains("jobs") || json["jobs"].empty()) {
    return make_error(ErrorCode::internal, "fio's output was not understood");
  }
  return json["jobs"][0][side]["bw_bytes"].get<double>() / 1e9;
}

std::string describe_device(const Store& store, const std::string& directory) {
  const tiers::DeviceInfo info = store.device_info();
  std::string text = concat(info.name, info.direct ? ", O_DIRECT" : ", buffered");
  struct statfs file_system {};
  if (statfs(directory.c_str(), &file_system) == 0) {
    const auto type = static_cast<std::uint64_t>(file_system.f_type);
    text += type == 0xef53       ? ", ext4"
            : type == 0x58465342 ? ", xfs"
            : type == 0x01021994 ? ", tmpfs"
                                 : ", other file system";
  }
  return text;
}

absl::StatusOr<double> stored_ratio(Store& store) {
  std::uint64_t plain = 0, stored = 0;
  std::string cursor;
  do {
    CAIRN_RETURN_IF_ERROR(store.cold().scan(cursor, 1024, [&](const StoredBlock& block) {
      plain += block.facts.plain_bytes;
      stored += block.stored_bytes;
    }));
  } while (!cursor.empty());
  return std::round(100.0 * static_cast<double>(plain) / static_cast<double>(stored)) / 100;
}

bool drop_page_cache() {
  sync();
  std::ofstream control("/proc/sys/vm/drop_caches");
  control << "3\n" << std::flush;
  return control.good();
}

}  // namespace cairn::bench
