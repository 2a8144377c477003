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

TempDir::TempDir(std::string_view name) {
  const char* root = std::getenv("TMPDIR");
  if (root == nullptr || *root == '\0') root = "/tmp";
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
