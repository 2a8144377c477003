// SPDX-License-Identifier: Apache-2.0
// What only a real device can show: locks between processes, modes, O_DIRECT, the fallback.
//
// Goal: the promises of Device that a simulated disk cannot keep or break.
// Method: real files in a temporary directory; a forked child holds the lock. Each fork comes
// before the device's threads.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/failing_uring_sync.h"
#include "tests/support/temp_dir.h"
#include "tiers/io/device.h"

namespace cairn::test {
namespace {

using tiers::Device;
using tiers::DeviceChoice;
using tiers::IoKind;
using tiers::IoOp;
using tiers::open_device;
using tiers::OpenMode;

/// A child that holds the lock until its pipe is closed.
class LockHolder {
 public:
  LockHolder(const std::string& path, const std::string& owner) {
    std::array<int, 2> ready{};
    std::array<int, 2> release{};
    CAIRN_CHECK(::pipe(ready.data()) == 0 && ::pipe(release.data()) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(release[1]);
      auto device = open_device(path, {.choice = DeviceChoice::posix, .posix_threads = 1});
      auto lock = (*device)->lock_file(path, owner);
      char byte = lock.ok() ? 'y' : 'n';
      CAIRN_CHECK(::write(ready[1], &byte, 1) == 1);
      CAIRN_CHECK(::read(release[0], &byte, 1) == 0);
      ::_exit(0);
    }
    ::close(release[0]);
    ::close(ready[1]);
    release_ = release[1];
    char byte = 0;
    CAIRN_CHECK(::read(ready[0], &byte, 1) == 1 && byte == 'y');
    ::close(ready[0]);
  }
  ~LockHolder() {
    if (pid_ > 0) end(0);
  }
  pid_t pid() const { return pid_; }
  void end(int signal) {
    if (signal != 0) ::kill(pid_, signal);
    ::close(release_);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  int release_ = -1;
};

TEST(FileLock, AnotherProcessIsNamedByItsPidAndItsDeathLetsGo) {
  const TempDir directory;
  const std::string path = directory.file("LOCK");
  LockHolder holder(path, "cairn test");
  auto device = open_device(directory.path(), {.choice = DeviceChoice::posix});
  ASSERT_TRUE(device.ok());
  const auto refused = (*device)->lock_file(path, "me");
  ASSERT_TRUE(has_code(refused.status(), ErrorCode::locked));
  const std::string pid = concat("pid=", holder.pid());
  EXPECT_NE(message_of(refused.status()).find(pid), std::string_view::npos)
      << message_of(refused.status());
  EXPECT_NE((*device)->read_small(path)->find("host="), std::string::npos);
  holder.end(SIGKILL);
  EXPECT_TRUE((*device)->lock_file(path, "me").ok());
}

TEST(FileLock, AReaderWroteNothingAndIsNamedAllTheSame) {
  const TempDir directory;
  const std::string path = directory.file("LOCK");
  LockHolder(path, "a writer").end(0);
  LockHolder holder(path, "");
  auto device = open_device(directory.path(), {.choice = DeviceChoice::posix});
  const std::string before = *(*device)->read_small(path);
  const auto refused = (*device)->lock_file(path, "me");
  ASSERT_TRUE(has_code(refused.status(), ErrorCode::locked));
  if (::access("/proc/locks", R_OK) != 0) GTEST_SKIP() << "no /proc/locks";
  EXPECT_NE(message_of(refused.status()).find(concat("pid=", holder.pid())), std::string_view::npos)
      << message_of(refused.status());
  EXPECT_EQ(*(*device)->read_small(path), before);
}

TEST(PosixFiles, WhatIsCreatedIsTheOwnersAloneAndLinksAreNotFollowed) {
  const TempDir directory;
  auto device = open_device(directory.path(), {.choice = DeviceChoice::posix});
  ASSERT_TRUE(device.ok());
  ASSERT_TRUE((*device)->write_small(directory.file("f"), as_bytes("x")).ok());
  ASSERT_TRUE((*device)->make_directory(directory.file("d")).ok());
  struct stat there {};
  ASSERT_EQ(::stat(directory.file("f").c_str(), &there), 0);
  EXPECT_EQ(there.st_mode & 0777U, 0600U);
  ASSERT_EQ(::stat(directory.file("d").c_str(), &there), 0);
  EXPECT_EQ(there.st_mode & 0777U, 0700U);
  ASSERT_EQ(::symlink("f", directory.file("link").c_str()), 0);
  EXPECT_FALSE((*device)->open_file(directory.file("link"), OpenMode::read_write).ok());
  EXPECT_FALSE((*device)->write_small(directory.file("link"), as_bytes("y")).ok());
  EXPECT_FALSE((*device)->lock_file(directory.file("link"), "me").ok());
  EXPECT_EQ(*(*device)->read_small(directory.file("f")), "x");
}

TEST(OpenDevice, UsesODirectOnExt4AndTellsWhenItCannot) {
  const TempDir directory;
  struct statfs there {};
  ASSERT_EQ(::statfs(directory.path().c_str(), &there), 0);
  constexpr long kExt4Magic = 0xEF53;
  if (there.f_type != kExt4Magic) GTEST_SKIP() << "the temporary directory is not on ext4";
  for (const DeviceChoice choice : {DeviceChoice::automatic, DeviceChoice::posix}) {
    auto device = open_device(directory.file("not/yet/there"), {.choice = choice});
    ASSERT_TRUE(device.ok());
    EXPECT_TRUE((*device)->device_info().direct) << (*device)->device_info().note;
    const auto file = (*device)->open_file(directory.file(concat("f", static_cast<int>(choice))),
                                           OpenMode::create);
    ASSERT_TRUE(file.ok());
    EXPECT_NE(::fcntl(static_cast<int>(*file), F_GETFL) & O_DIRECT, 0);
    EXPECT_NE(::fcntl(static_cast<int>(*file), F_GETFD) & FD_CLOEXEC, 0);
    (*device)->close_file(*file);
  }
  auto buffered = open_device(directory.path(), {.direct = false});
  ASSERT_TRUE(buffered.ok());
  EXPECT_FALSE((*buffered)->device_info().direct);
  EXPECT_FALSE((*buffered)->device_info().note.empty());
}

TEST(OpenDevice, TryingLeavesNoTrace) {
  const TempDir directory;
  struct stat before {};
  ASSERT_EQ(::stat(directory.path().c_str(), &before), 0);
  auto device = open_device(directory.path(), {});
  ASSERT_TRUE(device.ok());
  EXPECT_TRUE((*device)->list(directory.path())->empty());
  struct stat after {};
  ASSERT_EQ(::stat(directory.path().c_str(), &after), 0);
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

// A second sync succeeds over pages that the first has given up.
TEST(UringDevice, ASyncThatEndedInEagainIsReportedAndNotRepeated) {
  const TempDir directory;
  auto device = open_device(directory.path(), {.choice = DeviceChoice::io_uring});
  if (!device.ok()) GTEST_SKIP() << "io_uring: " << message_of(device.status());
  const auto file = (*device)->open_file(directory.file("f"), OpenMode::create);
  ASSERT_TRUE(file.ok());
  const FailingUringSync failing;
  bool is_done = false;
  IoOp op{.kind = IoKind::sync,
          .file = *file,
          .done = [](IoOp& done) { *static_cast<bool*>(done.context) = true; },
          .context = &is_done};
  ASSERT_TRUE((*device)->submit(op));
  while (!is_done) (*device)->poll(Duration::seconds(10));
  EXPECT_EQ(op.error, EAGAIN);
  EXPECT_EQ(failing.syncs_seen(), 1U);
  std::printf("cairn-count: sync_error=1\ncairn-count: faults=1\n");
  (*device)->close_file(*file);
}

}  // namespace
}  // namespace cairn::test
