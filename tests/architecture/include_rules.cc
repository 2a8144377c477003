// SPDX-License-Identifier: Apache-2.0
#include "tests/architecture/include_rules.h"

#include <algorithm>
#include <cctype>

#include "tests/architecture/source_tree.h"

namespace cairn::test {
namespace {

using Words = std::vector<std::string_view>;

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool starts_with_any(std::string_view text, const Words& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [text](std::string_view prefix) { return starts_with(text, prefix); });
}

// Arrows. The longest folder that contains a file gives its rule: what of ours it may include.
struct FolderRule {
  std::string_view folder;
  Words may_include;
};

const std::vector<FolderRule>& folder_rules() {
  static const std::vector<FolderRule> rules = {
      // The bottom: nothing of ours but itself.
      {"engine/base/", {"engine/base/"}},
      // Pure: keys to keys.
      {"engine/hash/", {"engine/hash/", "engine/base/", "engine/key.h"}},
      // Pure: observations to decisions. No clock, no lock, no loop, no log, no catalog.
      {"engine/policy/",
       {"engine/policy/", "engine/base/bytes.h", "engine/base/check.h", "engine/base/hash128.h",
        "engine/base/sparse_array.h", "engine/base/text.h", "engine/block.h", "engine/key.h"}},
      // Token ids to block ids. Asks nobody what became of the blocks.
      {"engine/tokens/", {"engine/tokens/", "engine/base/", "engine/key.h"}},
      {"engine/", {"engine/"}},
      // A device knows bytes and files, not blocks.
      {"tiers/io/", {"tiers/io/", "engine/base/"}},
      // A codec knows bytes and what numbers they are.
      {"tiers/codec/", {"tiers/codec/", "engine/base/", "engine/namespace.h"}},
      // A record is bytes: what it says, not where it lies. Warm holds what cold writes.
      {"tiers/record/", {"tiers/record/", "tiers/codec/", "engine/"}},
      // Tiers never call tiers; only tiers/open.* knows them all.
      {"tiers/hot/", {"tiers/hot/", "engine/"}},
      {"tiers/warm/", {"tiers/warm/", "tiers/record/", "tiers/codec/", "engine/"}},
      {"tiers/cold/", {"tiers/cold/", "tiers/record/", "tiers/codec/", "tiers/io/", "engine/"}},
      {"tiers/", {"tiers/", "engine/"}},
      // The box above: one program's folders, each on top of the library.
      {"tools/", {"tools/", "bench/", "tiers/", "engine/"}},
      {"bench/", {"bench/", "tools/", "tiers/", "engine/", "tests/support/"}},
      {"tests/support/", {"tests/support/", "bench/workload/", "tiers/", "engine/"}},
      {"tests/", {"tests/", "bench/", "tools/", "tiers/", "engine/"}},
      {"examples/", {"tiers/open.h", "engine/engine.h"}},
  };
  return rules;
}

// Third parties: whose headers, and which paths may include them.
struct ThirdParty {
  std::string_view name;
  Words headers;
  Words may_be_included_by;
};

const std::vector<ThirdParty>& third_parties() {
  static const std::vector<ThirdParty> rules = {
      {"Abseil", {"absl/"}, {"engine/", "tiers/", "tools/", "bench/", "tests/"}},
      {"xxHash",
       {"xxhash.h", "xxh3.h"},
       {"engine/base/hash128.", "engine/hash/", "tiers/", "bench/", "tests/support/"}},
      {"OpenSSL", {"openssl/"}, {"engine/hash/", "bench/", "tests/support/"}},
      // The simulated file system is RocksDB's own interface; its contract test speaks it too.
      {"RocksDB",
       {"rocksdb/"},
       {"tiers/cold/rocksdb_", "bench/", "tests/support/", "tests/contract/sim_disk_test.",
        "tests/crash/hung_index_test."}},
      {"zstd",
       {"zstd.h", "zstd_errors.h", "zdict.h"},
       {"tiers/codec/zstd_frame.", "bench/named/codec."}},
      {"liburing", {"liburing.h", "liburing/"}, {"tiers/io/ring.", "bench/", "tests/support/"}},
      {"CLI11", {"CLI/"}, {"tools/"}},
      {"nlohmann json", {"nlohmann/"}, {"tools/", "bench/", "tests/"}},
      {"GoogleTest", {"gtest/", "gmock/"}, {"tests/"}},
      {"Google Benchmark", {"benchmark/"}, {"bench/"}},
  };
  return rules;
}

// System headers that the engine, which knows no device and no socket, has no business with.
// Anonymous memory is neither: engine/base/ may map it.
const Words& headers_of_devices_and_sockets() {
  static const Words headers = {"sys/socket.h", "sys/un.h",   "sys/mman.h", "sys/uio.h",
                                "sys/epoll.h",  "netinet/",   "arpa/",      "netdb.h",
                                "fcntl.h",      "sys/stat.h", "linux/",     "sys/statvfs.h"};
  return headers;
}

// Of POSIX and Linux; an include that is neither here nor in C++ nor above is one that nobody
// has thought about yet.
bool is_system_header(std::string_view path) {
  static const Words folders = {"sys/", "linux/", "netinet/", "arpa/", "asm/"};
  static const Words names = {"unistd.h",  "fcntl.h",     "dirent.h",  "signal.h",   "sched.h",
                              "pthread.h", "immintrin.h", "cpuid.h",   "ftw.h",      "spawn.h",
                              "poll.h",    "x86intrin.h", "termios.h", "pwd.h",      "cxxabi.h",
                              "dlfcn.h",   "emmintrin.h", "malloc.h",  "execinfo.h", "time.h"};
  if (starts_with_any(path, folders)) return true;
  return std::find(names.begin(), names.end(), path) != names.end();
}

// <vector>, <cstdint>: one lower-case word. C's own <stdint.h> has a C++ name to use instead.
bool is_standard_header(std::string_view path) {
  return std::all_of(path.begin(), path.end(), [](unsigned char letter) {
    return std::islower(letter) != 0 || std::isdigit(letter) != 0 || letter == '_';
  });
}

const FolderRule* rule_of(std::string_view path) {
  const FolderRule* best = nullptr;
  for (const FolderRule& rule : folder_rules()) {
    if (!starts_with(path, rule.folder)) continue;
    if (best == nullptr || rule.folder.size() > best->folder.size()) best = &rule;
  }
  return best;
}

bool is_ours(std::string_view path) {
  return starts_with_any(path, {"engine/", "tiers/", "tools/", "bench/", "tests/", "examples/",
                                "server/", "clients/"});
}

std::string judge_ours(std::string_view path, const Include& include) {
  const FolderRule* rule = rule_of(path);
  if (rule == nullptr) return "lies in a folder without a rule";
  if (include.angled) return "includes our own header with <>";
  if (starts_with_any(include.path, rule->may_include)) return {};
  return "may not include it (rule of " + std::string(rule->folder) + ")";
}

std::string judge_foreign(std::string_view path, const Include& include) {
  for (const ThirdParty& party : third_parties()) {
    if (!starts_with_any(include.path, party.headers)) continue;
    if (starts_with_any(path, party.may_be_included_by)) return {};
    return "may not include " + std::string(party.name);
  }
  if (!include.angled) return "includes by a path that is not from the repository root";
  if (is_standard_header(include.path)) return {};
  if (!is_system_header(include.path))
    return "includes a header that include_rules.cc does not know";
  if (starts_with(path, "engine/base/") && include.path == "sys/mman.h") return {};
  if (starts_with(path, "engine/") &&
      starts_with_any(include.path, headers_of_devices_and_sockets())) {
    return "lies in engine/, which knows no device and no socket";
  }
  return {};
}

}  // namespace

std::vector<Include> includes_of(std::string_view text) {
  std::vector<Include> includes;
  int number = 0;
  for (const std::string& line : lines_of(text)) {
    ++number;
    std::size_t at = line.find_first_not_of(" \t");
    if (at == std::string::npos || line[at] != '#') continue;
    at = line.find_first_not_of(" \t", at + 1);
    if (at == std::string::npos || line.compare(at, 7, "include") != 0) continue;
    at = line.find_first_of("<\"", at + 7);
    if (at == std::string::npos) continue;
    const bool angled = line[at] == '<';
    const std::size_t end = line.find(angled ? '>' : '"', at + 1);
    if (end == std::string::npos) continue;
    includes.push_back({number, angled, line.substr(at + 1, end - at - 1)});
  }
  return includes;
}

std::vector<std::string> include_violations(std::string_view path, std::string_view text) {
  std::vector<std::string> violations;
  for (const Include& include : includes_of(text)) {
    const std::string complaint =
        is_ours(include.path) ? judge_ours(path, include) : judge_foreign(path, include);
    if (complaint.empty()) continue;
    violations.push_back(std::string(path) + ":" + std::to_string(include.line) + ": '" +
                         include.path + "': the file " + complaint);
  }
  return violations;
}

}  // namespace cairn::test
