// SPDX-License-Identifier: Apache-2.0
// The simulated device is as bad as it says, and the killing wrappers kill where they say.
//
// Goal: an injector that cannot fire, or fires as something else, would make every fault test a
// test of nothing. Method: one op, one fault, one look at the medium; children that die at a chosen
// mutation.
#include "tests/support/sim_device.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "engine/base/text.h"
#include "tests/support/kill_at.h"
#include "tests/support/temp_dir.h"
#include "tiers/io/aligned_buffer.h"

namespace cairn::test {
namespace {

using tiers::AlignedBuffer;
using tiers::FileId;
using tiers::IoKind;
using tiers::IoOp;
using tiers::OpenMode;

class SimDeviceFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    file_ = device_.open_file("/f", OpenMode::create).value();
    ASSERT_TRUE(device_.sync_directory("/").ok());
    ASSERT_EQ(run(IoKind::write, 0, 'a').transferred, 8192U);
    ASSERT_EQ(run(IoKind::write, 8192, 'a').transferred, 8192U);
    ASSERT_EQ(run(IoKind::sync, 0, 0).error, 0);
  }
  void TearDown() override { EXPECT_EQ(disk_->faults().fired(), 1U) << disk_->faults().summary(); }

  void once(Fault fault) { disk_->faults().add({.fault = fault, .side = Side::device, .nth = 1}); }
  IoOp run(IoKind kind, std::uint64_t offset, int value) {
    std::memset(buffer_.data(), value, buffer_.size());
    IoOp op{.kind = kind, .file = file_, .offset = offset};
    if (kind != IoKind::sync) op.buffers = {&part_, 1};
    bool done = false;
    op.context = &done;
    op.done = [](IoOp& finished) { *static_cast<bool*>(finished.context) = true; };
    EXPECT_TRUE(device_.submit(op));
    for (int i = 0; i < 10 && !done; ++i) device_.poll(Duration::seconds(1));
    EXPECT_TRUE(done);
    return op;
  }
  std::string page(std::size_t index) const {
    return disk_->content("/f").substr(index * 4096, 4096);
  }

  std::shared_ptr<SimDisk> disk_ = std::make_shared<SimDisk>();
  ManualClock clock_;
  SimDevice device_{disk_, clock_};
  AlignedBuffer buffer_{8192};
  iovec part_{buffer_.data(), 8192};
  FileId file_ = FileId::none;
};

TEST_F(SimDeviceFaults, AReadError) {
  once(Fault::read_error);
  EXPECT_EQ(run(IoKind::read, 0, 0).error, EIO);
}

TEST_F(SimDeviceFaults, AShortRead) {
  once(Fault::short_read);
  const IoOp op = run(IoKind::read, 0, 0);
  EXPECT_EQ(op.error, 0);
  EXPECT_LT(op.transferred, 8192U);
}

TEST_F(SimDeviceFaults, AFlippedBitOnReadLeavesTheMediumAlone) {
  once(Fault::flipped_read);
  EXPECT_EQ(run(IoKind::read, 0, 0).transferred, 8192U);
  EXPECT_NE(as_text(buffer_.span()), std::string(8192, 'a'));
  EXPECT_EQ(run(IoKind::read, 0, 0).transferred, 8192U);
  EXPECT_EQ(as_text(buffer_.span()), std::string(8192, 'a'));
}

TEST_F(SimDeviceFaults, AWriteError) {
  once(Fault::write_error);
  const IoOp op = run(IoKind::write, 0, 'b');
  EXPECT_EQ(op.error, EIO);
  EXPECT_EQ(op.transferred, 0U);
}

TEST_F(SimDeviceFaults, AShortWrite) {
  once(Fault::short_write);
  const IoOp op = run(IoKind::write, 0, 'b');
  EXPECT_EQ(op.error, 0);
  EXPECT_LT(op.transferred, 8192U);
  const std::string content = disk_->content("/f");
  EXPECT_EQ(std::count(content.begin(), content.end(), 'b'),
            static_cast<std::ptrdiff_t>(op.transferred));
}

TEST_F(SimDeviceFaults, AMisdirectedWrite) {
  once(Fault::misdirected_write);
  EXPECT_EQ(run(IoKind::write, 0, 'b').transferred, 8192U);
  EXPECT_EQ(page(0), std::string(4096, 'a'));
  EXPECT_NE(disk_->content("/f").find('b'), std::string::npos);
}

TEST_F(SimDeviceFaults, ALostWrite) {
  once(Fault::lost_write);
  EXPECT_EQ(run(IoKind::write, 0, 'b').transferred, 8192U);
  EXPECT_EQ(page(0), std::string(4096, 'a'));
}

TEST_F(SimDeviceFaults, AFailedSync) {
  once(Fault::sync_error);
  EXPECT_EQ(run(IoKind::sync, 0, 0).error, EIO);
}

TEST_F(SimDeviceFaults, AFullDiskThatIsNotFull) {
  once(Fault::no_space);
  EXPECT_EQ(run(IoKind::write, 0, 'b').error, ENOSPC);
}

TEST_F(SimDeviceFaults, ARenameThatFails) {
  once(Fault::rename_error);
  EXPECT_FALSE(device_.rename_file("/f", "/g").ok());
  EXPECT_EQ(disk_->files().size(), 1U);
}

TEST_F(SimDeviceFaults, AHangUntilReleased) {
  once(Fault::hang);
  bool done = false;
  IoOp op{.kind = IoKind::read, .file = file_, .buffers = {&part_, 1}, .context = &done};
  op.done = [](IoOp& finished) { *static_cast<bool*>(finished.context) = true; };
  ASSERT_TRUE(device_.submit(op));
  EXPECT_EQ(device_.hung(), 1U);
  const TimePoint begin = clock_.now();
  for (int i = 0; i < 10; ++i) device_.poll(Duration::seconds(10));
  EXPECT_FALSE(done);
  EXPECT_EQ(clock_.now() - begin, Duration::seconds(100));
  device_.release_hung();
  device_.poll(Duration::seconds(10));
  device_.poll(Duration::seconds(10));
  EXPECT_TRUE(done);
  EXPECT_EQ(op.transferred, 8192U);
}

TEST(SimDevice, AWriteInFlightAtThePowerCutIsDroppedKeptOrTorn) {
  Rng rng(announce_seed());
  int dropped = 0;
  int kept = 0;
  int torn = 0;
  for (std::uint64_t i = 0; i < 100; ++i) {
    auto disk = std::make_shared<SimDisk>();
    ManualClock clock;
    AlignedBuffer buffer(8192);  // outlives the device, which ends what is in flight
    SimDevice device(disk, clock);
    const FileId file = device.open_file("/f", OpenMode::create).value();
    ASSERT_TRUE(device.sync_directory("/").ok());
    std::memset(buffer.data(), 'x', buffer.size());
    iovec part{buffer.data(), buffer.size()};
    IoOp op{.kind = IoKind::write, .file = file, .buffers = {&part, 1}};
    op.done = [](IoOp&) {};
    ASSERT_TRUE(device.submit(op));
    const auto next = i % 2 == 0 ? disk->power_cut(rng) : disk->kill_process(rng);
    const std::string content = next->content("/f");
    const auto count = std::count(content.begin(), content.end(), 'x');
    EXPECT_EQ(count % 512, 0);
    ++(count == 0 ? dropped : count == 8192 ? kept : torn);
  }
  EXPECT_GT(dropped, 0);
  EXPECT_GT(kept, 0);
  EXPECT_GT(torn, 0);
}

TEST(SimDevice, TheSameSeedDeliversInTheSameOrder) {
  const auto order_of = [](std::uint64_t seed) {
    auto disk = std::make_shared<SimDisk>();
    ManualClock clock;
    SimDevice device(disk, clock, {.seed = seed});
    const FileId file = device.open_file("/f", OpenMode::create).value();
    static std::string order;
    order.clear();
    std::vector<IoOp> ops(10, IoOp{.kind = IoKind::sync, .file = file});
    for (std::size_t i = 0; i < ops.size(); ++i) {
      ops[i].offset = i;
      ops[i].done = [](IoOp& op) { append_text(order, op.offset); };
      EXPECT_TRUE(device.submit(ops[i]));
    }
    while (order.size() < ops.size()) device.poll(Duration::seconds(1));
    return order;
  };
  EXPECT_EQ(order_of(5), order_of(5));
  EXPECT_NE(order_of(5), "0123456789");
  EXPECT_NE(order_of(5), order_of(6));
}

// --- kill_at -----------------------------------------------------------------------------------

/// Replaces a file and appends to one of RocksDB's, over both wrappers.
void mutate_both(const std::string& directory, KillCounter& counter) {
  auto real = tiers::open_device(directory, {.choice = tiers::DeviceChoice::posix});
  const auto device = make_kill_device(std::move(*real), counter);
  const auto fs = make_kill_file_system(rocksdb::FileSystem::Default(), counter);
  EXPECT_TRUE(tiers::replace_file(*device, directory + "/a", as_bytes("content")).ok());
  std::unique_ptr<rocksdb::FSWritableFile> file;
  EXPECT_TRUE(fs->NewWritableFile(directory + "/b", {}, &file, nullptr).ok());
  EXPECT_TRUE(file->Append("x", {}, nullptr).ok());
  EXPECT_TRUE(file->Sync({}, nullptr).ok());
  EXPECT_TRUE(file->Close({}, nullptr).ok());
  EXPECT_TRUE(fs->RenameFile(directory + "/b", directory + "/c", {}, nullptr).ok());
}

TEST(KillAt, CountsOverBothMediaAndDiesAtEachMutation) {
  constexpr std::uint64_t kMutations = 7;  // write, sync, rename, sync · append, sync, rename
  {
    const TempDir directory;
    KillCounter counter;
    mutate_both(directory.path(), counter);
    ASSERT_EQ(counter.count(), kMutations);
  }
  void* const shared = ::mmap(nullptr, sizeof(KillCounter), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  for (const KillMoment moment : {KillMoment::before, KillMoment::after}) {
    for (std::uint64_t n = 1; n <= kMutations; ++n) {
      const TempDir directory;
      auto* counter = new (shared) KillCounter(n, moment);
      const pid_t child = ::fork();
      if (child == 0) {
        mutate_both(directory.path(), *counter);
        ::_exit(0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "mutation " << n;
      EXPECT_EQ(counter->count(), n);
      const bool renamed = ::access(directory.file("a").c_str(), F_OK) == 0;
      EXPECT_EQ(renamed, n > 3 || (n == 3 && moment == KillMoment::after));
    }
  }
  ::munmap(shared, sizeof(KillCounter));
}

}  // namespace
}  // namespace cairn::test
