// SPDX-License-Identifier: Apache-2.0
#include "tests/support/temp_dir.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "engine/base/check.h"
#include "engine/base/text.h"

namespace cairn::test {

namespace {

constexpr const char* kMemoryRoot = "/dev/shm";
constexpr std::uintmax_t kMemoryBytesMin = std::uintmax_t{1} << 30;  // a few stores of 48 MiB

bool has_room_in_memory() {
  std::error_code failed;
  const auto space = std::filesystem::space(kMemoryRoot, failed);
  return !failed && space.available >= kMemoryBytesMin && ::access(kMemoryRoot, W_OK) == 0;
}

}  // namespace

TempDir::TempDir(std::string_view name, Medium medium) {
  const char* root = std::getenv("TMPDIR");
  if (root == nullptr || *root == '\0') {
    root = medium == Medium::memory && has_room_in_memory() ? kMemoryRoot : "/tmp";
  }
  path_ = concat(std::string_view(root), "/", name, ".XXXXXX");
  CAIRN_CHECK(::mkdtemp(path_.data()) != nullptr);
}

TempDir::~TempDir() {
  if (!owned_) return;
  if (std::getenv("CAIRN_KEEP_TEMP") != nullptr) {
    std::printf("kept %s\n", path_.c_str());
    return;
  }
  std::error_code ignored;  // a test that made the directory unreadable has said so already
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace cairn::test
