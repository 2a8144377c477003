// SPDX-License-Identifier: Apache-2.0
// A real file system that is really full under the index. Goal: the process lives (Debian's
// librocksdb aborts on a full disk under its log), reads go on, what was acknowledged is there,
// and writes come back when there is room. Method: a small tmpfs in a mount namespace of a child.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/temp_dir.h"
#include "tiers/cold/rocksdb_index.h"

namespace cairn::tiers {
namespace {

constexpr int kNotAllowed = 77;

using Model = std::map<std::string, std::uint64_t>;

IndexEntry entry(std::uint64_t sequence) {
  IndexEntry out;
  out.facts.sequence = sequence;
  return out;
}

absl::Status put(Index& index, const std::string& key, std::uint64_t sequence, bool sync) {
  const IndexChange change{{static_cast<NamespaceId>(1), key, 0}, entry(sequence)};
  return index.write({&change, 1}, {}, {}, sync);
}

Model all(Index& index) {
  Model out;
  std::string cursor;
  do {
    CAIRN_CHECK(index
                    .scan(cursor, 10000,
                          [&](const BlockName& name, const IndexEntry& e) {
                            out[std::string(name.key)] = e.facts.sequence;
                          })
                    .ok());
  } while (!cursor.empty());
  return out;
}

/// Takes every byte that is left.
void eat(const std::string& path) {
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  CAIRN_CHECK(file >= 0);
  const std::vector<char> bytes(64 * kKiB, 'x');
  std::size_t step = bytes.size();
  while (step > 0) {
    const ssize_t written = write(file, bytes.data(), step);
    if (written <= 0) step /= 2;
  }
  close(file);
}

void check_same(Index& index, const Model& model) {
  CAIRN_CHECK(all(index) == model);
}

std::unique_ptr<Index> open_index(const IndexOptions& options) {
  absl::StatusOr<std::unique_ptr<Index>> index = open_rocksdb_index(options);
  if (!index.ok()) std::fprintf(stderr, "%s\n", index.status().ToString().c_str());
  CAIRN_CHECK(index.ok());
  return std::move(*index);
}

/// Runs in the child; CHECKs instead of EXPECTs, for its exit status is all that is seen.
void live_on_a_full_disk(const std::string& mount) {
  IndexOptions options{.directory = mount + "/index", .write_buffer_bytes = kMiB};
  options.create = true;
  std::unique_ptr<Index> index = open_index(options);
  options.create = false;
  Model model;
  std::uint64_t next = 0;
  std::uint64_t refused = 0;
  for (int round = 0; round < 4; ++round) {
    // Somebody else takes the disk while the index is busy, at another moment each time.
    const std::uint64_t until = next + 3000 + static_cast<std::uint64_t>(round) * 7000;
    for (; next < until; ++next) {
      const std::string key = concat("key-", next);
      if (put(*index, key, next, next % 64 == 0).ok()) model[key] = next;
    }
    const std::string hog = mount + "/hog";
    eat(hog);
    for (std::uint64_t i = 0; i < 20000; ++i) {
      const std::string key = concat("full-", round, "-", i);
      const absl::Status status = put(*index, key, i, i % 64 == 0);
      if (status.ok()) model[key] = i;
      if (!status.ok()) {
        CAIRN_CHECK(has_code(status, ErrorCode::no_space));
        ++refused;
      }
    }
    CAIRN_CHECK(index->health().full);
    check_same(*index, model);
    if (round % 2 == 1) {
      index.reset();
      index = open_index(options);  // on the full disk
      check_same(*index, model);
    }
    CAIRN_CHECK(unlink(hog.c_str()) == 0);
    CAIRN_CHECK(put(*index, "back", next, true).ok());
    model["back"] = next;
    check_same(*index, model);
  }
  index.reset();
  index = open_index(options);
  check_same(*index, model);
  CAIRN_CHECK(refused > 0);
  std::printf("full disk: refused=%llu kept=%zu reopened=%llu\n",
              static_cast<unsigned long long>(refused), model.size(),
              static_cast<unsigned long long>(index->health().reopened));
  std::fflush(stdout);
}

TEST(IndexOnAFullDisk, LivesReadsOnAndResumes) {
  test::TempDir dir("full");
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    dir.release();
    const bool mounted = unshare(CLONE_NEWNS) == 0 &&
                         mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=24m") == 0;
    if (!mounted) _exit(kNotAllowed);
    live_on_a_full_disk(dir.path());
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "the process was killed by signal " << WTERMSIG(status);
  if (WEXITSTATUS(status) == kNotAllowed) GTEST_SKIP() << "mounting a tmpfs is not allowed here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace cairn::tiers
