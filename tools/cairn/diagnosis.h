// SPDX-License-Identifier: Apache-2.0
// diagnosis.h — what `cairn doctor` thinks of what it finds.
//
// Threading: pure functions. Blocking: never.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cairn::tools {

enum class Verdict : std::uint8_t {
  ok,
  warn,  // works, but slower or at a risk
  bad,   // will not work
};
std::string_view verdict_name(Verdict verdict);
/// ✓ ⚠ ✗
std::string_view verdict_mark(Verdict verdict);

struct Finding {
  std::string name;
  Verdict verdict = Verdict::ok;
  std::string found;
  std::string fix;  // empty where there is nothing to do
};

/// `magic` as statfs gives it.
Finding judge_file_system(std::uint64_t magic);
/// The line of …/transparent_hugepage/shmem_enabled: "always within_size [advise] never …".
Finding judge_huge_pages(std::string_view choices);
Finding judge_rocksdb_build(bool has_assertions);

}  // namespace cairn::tools
