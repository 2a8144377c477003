// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/diagnosis.h"

#include <array>

#include "engine/base/check.h"
#include "engine/base/text.h"

namespace cairn::tools {
namespace {

// The numbers are the kernel's (linux/magic.h and the file systems' own headers).
struct FileSystem {
  std::uint64_t magic;
  std::string_view name;
  Verdict verdict;
  std::string_view fix;
};
constexpr std::string_view kLocalDisk = "put the store on ext4 or xfs on a local disk";
constexpr std::array<FileSystem, 9> kFileSystems{{
    {0xef53, "ext4", Verdict::ok, ""},
    {0x58465342, "xfs", Verdict::ok, ""},
    {0x9123683e, "btrfs", Verdict::warn,
     "chattr +C on the empty directory, else every write is copied"},
    {0x2fc12fc1, "zfs", Verdict::warn, kLocalDisk},
    {0xf2f52010, "f2fs", Verdict::ok, ""},
    {0x01021994, "tmpfs", Verdict::warn, "tmpfs is RAM: a restart of the machine empties it"},
    {0x794c7630, "overlayfs", Verdict::warn, "mount a volume for the store"},
    {0x6969, "nfs", Verdict::bad, kLocalDisk},
    {0x65735546, "fuse", Verdict::warn, kLocalDisk},
}};

}  // namespace

std::string_view verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::warn:
      return "warn";
    case Verdict::bad:
      return "bad";
  }
  CAIRN_UNREACHABLE();
}

std::string_view verdict_mark(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "✓";
    case Verdict::warn:
      return "⚠";
    case Verdict::bad:
      return "✗";
  }
  CAIRN_UNREACHABLE();
}

Finding judge_file_system(std::uint64_t magic) {
  for (const FileSystem& known : kFileSystems) {
    if (known.magic != magic) continue;
    return {"file system", known.verdict, std::string(known.name), std::string(known.fix)};
  }
  return {"file system", Verdict::warn, concat("unknown, number ", magic), std::string(kLocalDisk)};
}

Finding judge_huge_pages(std::string_view choices) {
  constexpr std::string_view kFix =
      "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled";
  const std::size_t open = choices.find('[');
  const std::size_t close = choices.find(']', open == std::string_view::npos ? 0 : open);
  if (open == std::string_view::npos || close == std::string_view::npos) {
    return {"huge pages", Verdict::warn, "the kernel has none for shared memory", ""};
  }
  const std::string chosen(choices.substr(open + 1, close - open - 1));
  const bool off = chosen == "never" || chosen == "deny";
  if (off) return {"huge pages", Verdict::warn, chosen, std::string(kFix)};
  return {"huge pages", Verdict::ok, chosen, ""};
}

Finding judge_rocksdb_build(bool has_assertions) {
  if (!has_assertions) return {"RocksDB", Verdict::ok, "built without assertions", ""};
  return {"RocksDB", Verdict::ok,
          "built with assertions (Debian's); Cairn keeps a full disk away from its log", ""};
}

}  // namespace cairn::tools
