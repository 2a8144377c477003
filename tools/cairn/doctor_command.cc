// SPDX-License-Identifier: Apache-2.0
// doctor: what this machine and this directory can do for a store, and what to change.
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "engine/base/text.h"
#include "tiers/cold/inspect.h"
#include "tiers/io/device.h"
#include "tools/cairn/commands.h"
#include "tools/cairn/diagnosis.h"
#include "tools/cairn/store_access.h"
#include "tools/cairn/values.h"

namespace cairn::tools {
namespace {

using Align = Table::Align;

constexpr std::uint64_t kFilesWanted = 4096;
constexpr std::uint64_t kAddressesWanted = 4 * kGiB;
constexpr std::uint64_t kLockedWanted = kMiB;
constexpr std::uint64_t kFreeWanted = 10 * kGiB;
constexpr std::uint64_t kFreeNeeded = kGiB;

Finding check_file_system(const std::string& directory) {
  struct statfs info {};
  if (statfs(directory.c_str(), &info) != 0) {
    return {"file system", Verdict::bad, "cannot be asked", "is the directory reachable?"};
  }
  return judge_file_system(static_cast<std::uint64_t>(info.f_type));
}

/// Tries, does not guess: the device opens what a store would open.
std::array<Finding, 2> check_device(const std::string& directory) {
  Finding ring{"io_uring", Verdict::ok, "works", ""};
  Finding direct{"O_DIRECT", Verdict::ok, "works", ""};
  const auto device = tiers::open_device(directory, {});
  if (!device.ok()) {
    const std::string why(message_of(device.status()));
    return {Finding{"io_uring", Verdict::bad, why, "see the message"},
            Finding{"O_DIRECT", Verdict::bad, why, "see the message"}};
  }
  const tiers::DeviceInfo info = (*device)->device_info();
  if (info.name != "io_uring") {
    ring = {"io_uring", Verdict::warn, concat("not usable, threads do the I/O: ", info.note),
            "allow io_uring_setup in the container's seccomp profile, and set the sysctl "
            "kernel.io_uring_disabled to 0"};
  }
  if (!info.direct) {
    direct = {"O_DIRECT", Verdict::warn, concat("not usable, I/O is buffered: ", info.note),
              "put the store on ext4 or xfs on a local disk"};
  }
  return {ring, direct};
}

Finding check_limit(std::string_view name, int resource, std::uint64_t wanted,
                    std::string_view fix) {
  struct rlimit limit {};
  if (getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) {
    return {std::string(name), Verdict::warn, "cannot be asked", ""};
  }
  const bool unlimited = limit.rlim_cur == RLIM_INFINITY;
  const std::string found = unlimited ? "unlimited" : format_count(limit.rlim_cur);
  if (unlimited || limit.rlim_cur >= wanted) return {std::string(name), Verdict::ok, found, ""};
  return {std::string(name), Verdict::warn, found, std::string(fix)};
}

Finding check_huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  std::string line;
  std::getline(file, line);
  return judge_huge_pages(line);
}

Finding check_free_space(const std::string& directory) {
  const auto bytes = free_disk_bytes(directory);
  if (!bytes.ok()) {
    return {"free space", Verdict::bad, std::string(message_of(bytes.status())), ""};
  }
  Finding finding{"free space", Verdict::ok, format_size(*bytes), ""};
  if (*bytes < kFreeWanted) finding.verdict = Verdict::warn;
  if (*bytes < kFreeNeeded) finding.verdict = Verdict::bad;
  if (finding.verdict != Verdict::ok) {
    finding.fix = "free some, or point --dir at a larger disk; a store is limited by --cold";
  }
  return finding;
}

/// The library that this process runs with, found through its own mappings.
Finding check_rocksdb_build() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const std::size_t path = line.find('/');
    if (path == std::string::npos || line.find("librocksdb") == std::string::npos) continue;
    std::ifstream library(line.substr(path), std::ios::binary);
    std::stringstream content;
    content << library.rdbuf();
    return judge_rocksdb_build(content.str().find("__assert_fail") != std::string::npos);
  }
  return {"RocksDB", Verdict::warn, "not found among the loaded libraries", ""};
}

bool is_lost(tiers::CopyState copy) {
  return copy == tiers::CopyState::missing || copy == tiers::CopyState::damaged;
}

/// "2 segments are missing (3, 7, …)"; empty where there are none.
std::string tell_segments(std::string_view what, const std::vector<tiers::SegmentId>& segments) {
  constexpr std::size_t kNamed = 8;
  if (segments.empty()) return {};
  std::string names;
  for (std::size_t i = 0; i < std::min(segments.size(), kNamed); ++i) {
    names += concat(i == 0 ? "" : ", ", static_cast<std::uint32_t>(segments[i]));
  }
  if (segments.size() > kNamed) names += ", …";
  return concat(segments.size(), segments.size() == 1 ? " segment is " : " segments are ", what,
                " (", names, ")");
}

/// What an opening does not mind, or does not meet: a superblock has a copy, and a segment is
/// looked at when something is read from it.
Finding judge_files(const tiers::InspectedFiles& files, const std::string& directory) {
  std::vector<std::string> found;
  std::string fix;
  const auto tell_copy = [&](std::string_view name, tiers::CopyState copy) {
    if (is_lost(copy)) found.push_back(concat(name, " is ", tiers::copy_state_name(copy)));
  };
  tell_copy("CAIRN", files.superblock);
  tell_copy("state/CAIRN.copy", files.superblock_copy);
  if (!found.empty()) {
    fix = concat("`cairn repair --dir ", directory, "` writes it again from the other copy");
  }
  const std::array<std::string, 2> told = {tell_segments("missing", files.missing),
                                           tell_segments("cut short", files.cut)};
  for (const std::string& one : told) {
    if (one.empty()) continue;
    fix = concat("`cairn verify --dir ", directory, "` says which blocks are lost; `cairn repair",
                 " --dir ", directory, "` goes on with the others");
    found.push_back(one);
  }
  if (found.empty()) return {"store", Verdict::ok, "", ""};
  std::string all;
  for (const std::string& one : found) all += concat(all.empty() ? "" : "; ", one);
  return {"store", Verdict::bad, all, fix};
}

/// `not_found` where there is none.
absl::StatusOr<Finding> check_store(const std::string& directory) {
  const auto store = open_for_reading(directory);
  if (has_code(store.status(), ErrorCode::not_found)) {
    return with_hint(store.status(),
                     "without --dir, doctor looks at the machine and at this directory");
  }
  if (!store.ok()) {
    const bool locked = has_code(store.status(), ErrorCode::locked);
    return Finding{"store", locked ? Verdict::warn : Verdict::bad,
                   std::string(message_of(store.status())), hint_of(store.status())};
  }
  const DurableHealth health = (*store)->cold().health();
  if (health.degraded)
    return Finding{"store", Verdict::bad, concat("degraded: ", health.reason), ""};
  CAIRN_ASSIGN_OR_RETURN(const auto device, tiers::open_device(directory, {}));
  const auto files = tiers::inspect_files(*device, directory);
  if (!files.ok()) {
    return Finding{"store", Verdict::bad, std::string(message_of(files.status())), ""};
  }
  Finding damage = judge_files(*files, directory);
  if (damage.verdict != Verdict::ok) return damage;
  const bool clean = (*store)->cold().opened_clean();
  return Finding{"store", Verdict::ok, clean ? "sound, closed cleanly" : "sound, was stopped", ""};
}

std::string existing_parent(const std::string& directory) {
  std::string path = directory;
  while (access(path.c_str(), F_OK) != 0 && path.size() > 1) {
    const std::size_t slash = path.find_last_of('/');
    path = slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(1, slash));
  }
  return path;
}

absl::StatusOr<ExitCode> run_doctor(const std::string& directory, Output& output) {
  std::optional<Finding> store;
  if (!directory.empty()) {
    CAIRN_ASSIGN_OR_RETURN(store, check_store(directory));
  }
  const std::string place = existing_parent(directory.empty() ? "." : directory);
  std::vector<Finding> findings;
  findings.push_back(check_file_system(place));
  for (Finding& finding : check_device(place)) findings.push_back(std::move(finding));
  findings.push_back(check_limit("open files", RLIMIT_NOFILE, kFilesWanted,
                                 "ulimit -n 65536, or LimitNOFILE=65536 in the unit"));
  findings.push_back(check_limit("file size", RLIMIT_FSIZE, kGiB,
                                 "ulimit -f unlimited: segments, and hot's regions, are files"));
  findings.push_back(check_limit("address space", RLIMIT_AS, kAddressesWanted,
                                 "ulimit -v unlimited: what is reserved costs no memory"));
  findings.push_back(check_limit("locked memory", RLIMIT_MEMLOCK, kLockedWanted,
                                 "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit; "
                                 "kernels before 5.12 count the rings of io_uring against it"));
  findings.push_back(check_huge_pages());
  findings.push_back(check_free_space(place));
  findings.push_back(check_rocksdb_build());
  if (store) findings.push_back(*std::move(store));

  Json object = make_object("doctor");
  object["directory"] = directory.empty() ? "." : directory;
  object["checks"] = Json::array();
  Table table({Align::left, Align::left, Align::left});
  for (const Finding& finding : findings) {
    object["checks"].push_back({{"name", finding.name},
                                {"verdict", std::string(verdict_name(finding.verdict))},
                                {"found", finding.found},
                                {"fix", finding.fix}});
    table.add({std::string(verdict_mark(finding.verdict)), finding.name, finding.found});
    if (!finding.fix.empty()) table.add({"", "", concat("→ ", finding.fix)});
  }
  output.object(object);
  output.text(table.text());
  const bool bad = std::any_of(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.verdict == Verdict::bad;
  });
  return bad ? ExitCode::degraded : ExitCode::ok;
}

}  // namespace

void add_doctor_command(CommandLine& line) {
  const auto directory = std::make_shared<std::string>();
  Command command =
      line.add({"doctor", "What this machine can do for a store, and what to change",
                "  cairn doctor                      # the machine and the directory one is in\n"
                "  cairn doctor --dir /var/lib/cairn --json\n"
                "✓ good  ⚠ works, but slower or at a risk  ✗ will not work (exit 7)"},
               [directory](Output& output) { return run_doctor(*directory, output); });
  command.text("--dir", *directory, "DIR", "Also look at this store");
}

}  // namespace cairn::tools
