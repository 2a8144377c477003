// SPDX-License-Identifier: Apache-2.0
// What every Device promises, held by all of them.
//
// Goal: nothing above the interface can tell io_uring, POSIX threads (direct and buffered) and the
// simulated disk apart, except by speed.
// Method: one body, instantiated over each; io_uring is skipped, with the kernel's reason, where it
// is blocked. What only the real ones can show is in real_device_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/seed.h"
#include "tests/support/sim_device.h"
#include "tests/support/temp_dir.h"
#include "tiers/io/aligned_buffer.h"
#include "tiers/io/device.h"

namespace cairn::test {
namespace {

using namespace tiers;  // NOLINT: everything here is about it

enum class Which : std::uint8_t { uring, posix, buffered, simulated };

constexpr std::uint32_t kDepth = 16;

std::string which_name(Which which) {
  switch (which) {
    case Which::uring:
      return "io_uring";
    case Which::posix:
      return "posix";
    case Which::buffered:
      return "posix_buffered";
    case Which::simulated:
      return "simulated";
  }
  CAIRN_UNREACHABLE();
}

/// An op with its buffer, and how often it finished.
struct Transfer {
  AlignedBuffer buffer;
  iovec part{};
  IoOp op;
  int finished = 0;

  Transfer(IoKind kind, FileId file, std::uint64_t offset, std::size_t bytes)
      : buffer(std::max<std::size_t>(bytes, 1)) {
    part = {buffer.data(), bytes};
    op = {.kind = kind, .file = file, .offset = offset};
    if (kind != IoKind::sync) op.buffers = {&part, 1};
    op.context = this;
    op.done = [](IoOp& done) { ++static_cast<Transfer*>(done.context)->finished; };
  }
};

class DeviceContract : public ::testing::TestWithParam<Which> {
 protected:
  void SetUp() override {
    if (GetParam() == Which::simulated) {
      device_ =
          std::make_unique<SimDevice>(disk_, system_clock(), SimDeviceOptions{.depth = kDepth});
      root_ = "/store";
      ASSERT_TRUE(device_->make_directory(root_).ok());
      return;
    }
    DeviceOptions options{.depth = kDepth, .posix_threads = 4};
    options.choice = GetParam() == Which::uring ? DeviceChoice::io_uring : DeviceChoice::posix;
    options.direct = GetParam() != Which::buffered;
    root_ = directory_.path();
    auto opened = open_device(root_, options);
    if (!opened.ok() && GetParam() == Which::uring) {
      GTEST_SKIP() << "io_uring: " << message_of(opened.status());
    }
    ASSERT_TRUE(opened.ok()) << message_of(opened.status());
    device_ = std::move(*opened);
  }

  std::string path(std::string_view name) const { return concat(root_, "/", name); }
  FileId open(const std::string& name, OpenMode mode = OpenMode::create) {
    const auto file = device_->open_file(path(name), mode);
    EXPECT_TRUE(file.ok()) << message_of(file.status());
    return file.value_or(FileId::none);
  }
  void run(Transfer& transfer) {
    ASSERT_TRUE(device_->submit(transfer.op));
    while (transfer.finished == 0) device_->poll(Duration::seconds(10));
    ASSERT_EQ(transfer.finished, 1);
  }
  void write(FileId file, std::uint64_t offset, std::size_t bytes, int value) {
    Transfer transfer(IoKind::write, file, offset, bytes);
    std::memset(transfer.buffer.data(), value, bytes);
    run(transfer);
    ASSERT_EQ(transfer.op.error, 0);
    ASSERT_EQ(transfer.op.transferred, bytes);
  }

  TempDir directory_{"cairn-device"};
  std::shared_ptr<SimDisk> disk_ = std::make_shared<SimDisk>();
  std::string root_;
  std::unique_ptr<Device> device_;
};

INSTANTIATE_TEST_SUITE_P(All, DeviceContract,
                         ::testing::Values(Which::uring, Which::posix, Which::buffered,
                                           Which::simulated),
                         [](const auto& each) { return which_name(each.param); });

TEST_P(DeviceContract, ReadsBackWhatWasWritten) {
  const FileId file = open("f");
  Rng rng(announce_seed());
  std::string expected(512 * 1024, '\0');
  rng.fill({reinterpret_cast<std::byte*>(expected.data()), expected.size()});
  Transfer out(IoKind::write, file, 8192, expected.size());
  std::memcpy(out.buffer.data(), expected.data(), expected.size());
  run(out);
  EXPECT_EQ(out.op.error, 0);
  EXPECT_EQ(out.op.transferred, expected.size());
  Transfer in(IoKind::read, file, 8192, expected.size());
  run(in);
  EXPECT_EQ(in.op.transferred, expected.size());
  EXPECT_EQ(as_text(in.buffer.span().first(expected.size())), expected);
  device_->close_file(file);
}

TEST_P(DeviceContract, ScattersAndGathersOverSeveralBuffers) {
  const FileId file = open("f");
  AlignedBuffer first(4096), second(8192);
  std::memset(first.data(), 'a', first.size());
  std::memset(second.data(), 'b', second.size());
  Transfer out(IoKind::write, file, 0, 0);
  const std::array<iovec, 2> parts{{{second.data(), 8192}, {first.data(), 4096}}};
  out.op.buffers = parts;
  run(out);
  EXPECT_EQ(out.op.transferred, 12288U);
  Transfer in(IoKind::read, file, 4096, 8192);
  run(in);
  EXPECT_EQ(as_text(in.buffer.span()), std::string(4096, 'b') + std::string(4096, 'a'));
  device_->close_file(file);
}

TEST_P(DeviceContract, MisalignedTransfersAreRefused) {
  const FileId file = open("f");
  write(file, 0, 8192, 'x');
  Transfer offset(IoKind::read, file, 512, 4096);
  run(offset);
  EXPECT_EQ(offset.op.error, EINVAL);
  Transfer length(IoKind::write, file, 0, 1000);
  run(length);
  EXPECT_EQ(length.op.error, EINVAL);
  Transfer address(IoKind::read, file, 0, 8192);
  address.part = {address.buffer.data() + 64, 4096};
  run(address);
  EXPECT_EQ(address.op.error, EINVAL);
  EXPECT_EQ(address.op.transferred, 0U);
  device_->close_file(file);
}

TEST_P(DeviceContract, TakesAsManyPartsAsItSaysAndRefusesMore) {
  const FileId file = open("f");
  Transfer out(IoKind::write, file, 0, (kIoPartsMax + 1) * kIoAlignment);
  std::vector<iovec> pages;
  for (std::size_t i = 0; i <= kIoPartsMax; ++i) {
    std::byte* const page = out.buffer.data() + i * kIoAlignment;
    std::fill_n(page, kIoAlignment, static_cast<std::byte>(i));
    pages.push_back({page, kIoAlignment});
  }
  std::reverse(pages.begin(), pages.end());
  out.op.buffers = std::span(pages).first(kIoPartsMax);
  run(out);
  EXPECT_EQ(out.op.error, 0);
  EXPECT_EQ(out.op.transferred, kIoPartsMax * kIoAlignment);
  Transfer in(IoKind::read, file, 0, kIoPartsMax * kIoAlignment);
  run(in);
  for (std::size_t i = 0; i < kIoPartsMax; ++i) {
    ASSERT_EQ(in.buffer.data()[i * kIoAlignment], static_cast<std::byte>(kIoPartsMax - i)) << i;
  }
  Transfer more(IoKind::write, file, 0, 0);
  more.op.buffers = pages;
  run(more);
  EXPECT_EQ(more.op.error, EINVAL);
  EXPECT_EQ(more.op.transferred, 0U);
  device_->close_file(file);
}

TEST_P(DeviceContract, AReadPastTheEndIsShortAndNotAnError) {
  const FileId file = open("f");
  write(file, 0, 8192, 'x');
  Transfer across(IoKind::read, file, 4096, 16384);
  run(across);
  EXPECT_EQ(across.op.error, 0);
  EXPECT_EQ(across.op.transferred, 4096U);
  Transfer beyond(IoKind::read, file, 65536, 4096);
  run(beyond);
  EXPECT_EQ(beyond.op.error, 0);
  EXPECT_EQ(beyond.op.transferred, 0U);
  EXPECT_EQ(device_->device_counters().short_transfers, 2U);
  device_->close_file(file);
}

TEST_P(DeviceContract, TransfersOfAFileThatIsNotOpenFail) {
  Transfer read(IoKind::read, FileId::none, 0, 4096);
  run(read);
  EXPECT_EQ(read.op.error, EBADF);
  const FileId file = open("f");
  device_->close_file(file);
  const FileId reader = open("f", OpenMode::read);
  Transfer write(IoKind::write, reader, 0, 4096);
  run(write);
  EXPECT_EQ(write.op.error, EBADF);
  device_->close_file(reader);
}

TEST_P(DeviceContract, SyncFinishesAndIsCounted) {
  const FileId file = open("f");
  write(file, 0, 4096, 'x');
  Transfer sync(IoKind::sync, file, 0, 0);
  run(sync);
  EXPECT_EQ(sync.op.error, 0);
  const DeviceCounters counters = device_->device_counters();
  EXPECT_EQ(counters.syncs, 1U);
  EXPECT_EQ(counters.writes, 1U);
  EXPECT_EQ(counters.bytes_written, 4096U);
  EXPECT_EQ(counters.in_flight, 0U);
  EXPECT_EQ(counters.errors, 0U);
  device_->close_file(file);
}

TEST_P(DeviceContract, AllocateGivesExactlyThisLengthInRealBlocks) {
  const FileId file = open("f");
  ASSERT_TRUE(device_->allocate(file, kMiB).ok());
  auto info = device_->info(path("f"));
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->bytes, kMiB);
  EXPECT_GE(info->allocated_bytes, kMiB);
  EXPECT_LE(info->allocated_bytes, kMiB + 65536);  // the file system's own
  Transfer read(IoKind::read, file, kMiB - 4096, 4096);
  run(read);
  EXPECT_EQ(as_text(read.buffer.span()), std::string(4096, '\0'));
  ASSERT_TRUE(device_->allocate(file, 64 * kKiB).ok());
  info = device_->info(path("f"));
  EXPECT_EQ(info->bytes, 64 * kKiB);
  EXPECT_LE(info->allocated_bytes, 128 * kKiB);
  device_->close_file(file);
}

TEST_P(DeviceContract, OpenModesSayWhatMustBeThere) {
  EXPECT_TRUE(
      has_code(device_->open_file(path("f"), OpenMode::read).status(), ErrorCode::not_found));
  EXPECT_TRUE(
      has_code(device_->open_file(path("f"), OpenMode::read_write).status(), ErrorCode::not_found));
  device_->close_file(open("f"));
  EXPECT_FALSE(device_->open_file(path("f"), OpenMode::create).ok());
  EXPECT_TRUE(has_code(device_->info(path("g")).status(), ErrorCode::not_found));
}

TEST_P(DeviceContract, NamesAreMadeListedRenamedAndRemoved) {
  ASSERT_TRUE(device_->make_directory(path("d")).ok());
  ASSERT_TRUE(device_->make_directory(path("d")).ok());  // it is there: fine
  for (const char* name : {"d/c", "d/a", "d/b"}) {
    ASSERT_TRUE(device_->write_small(path(name), as_bytes(name)).ok());
  }
  ASSERT_TRUE(device_->make_directory(path("d/s")).ok());
  auto entries = device_->list(path("d"));
  ASSERT_TRUE(entries.ok());
  ASSERT_EQ(entries->size(), 4U);
  EXPECT_EQ((*entries)[0].name, "a");
  EXPECT_EQ((*entries)[2].name, "c");
  EXPECT_TRUE((*entries)[3].is_directory);
  ASSERT_TRUE(device_->rename_file(path("d/a"), path("d/b")).ok());
  EXPECT_EQ(device_->read_small(path("d/b")).value(), "d/a");
  ASSERT_TRUE(device_->remove_file(path("d/c")).ok());
  ASSERT_TRUE(device_->sync_directory(path("d")).ok());
  EXPECT_EQ(device_->list(path("d"))->size(), 2U);
  EXPECT_TRUE(has_code(device_->remove_file(path("d/c")), ErrorCode::not_found));
  EXPECT_TRUE(has_code(device_->rename_file(path("d/c"), path("d/x")), ErrorCode::not_found));
  EXPECT_TRUE(has_code(device_->list(path("x")).status(), ErrorCode::not_found));
  EXPECT_GT(device_->free_bytes(root_).value(), 0U);
}

TEST_P(DeviceContract, SmallFilesAreReplacedWhole) {
  const std::string longer(100'000, 'l');
  ASSERT_TRUE(replace_file(*device_, path("s"), as_bytes(longer)).ok());
  EXPECT_EQ(device_->read_small(path("s")).value(), longer);
  ASSERT_TRUE(replace_file(*device_, path("s"), as_bytes("short")).ok());
  EXPECT_EQ(device_->read_small(path("s")).value(), "short");
  EXPECT_EQ(device_->list(root_)->size(), 1U);  // nothing is left beside it
  ASSERT_TRUE(device_->write_small(path("s"), {}).ok());
  EXPECT_EQ(device_->read_small(path("s")).value(), "");
  EXPECT_TRUE(has_code(device_->read_small(path("t")).status(), ErrorCode::not_found));
}

TEST_P(DeviceContract, SubmitSaysNoAtDepthAndLeavesTheOpAlone) {
  const FileId file = open("f");
  ASSERT_TRUE(device_->allocate(file, kMiB).ok());
  std::vector<std::unique_ptr<Transfer>> transfers;
  for (std::uint32_t i = 0; i < kDepth; ++i) {
    transfers.push_back(std::make_unique<Transfer>(IoKind::write, file, i * 4096, 4096));
    ASSERT_TRUE(device_->submit(transfers.back()->op));
  }
  Transfer extra(IoKind::read, file, 0, 4096);
  extra.op.error = 77;
  EXPECT_FALSE(device_->submit(extra.op));
  EXPECT_EQ(extra.op.error, 77);
  EXPECT_EQ(device_->device_counters().in_flight, kDepth);
  std::size_t ran = 0;
  while (ran < kDepth) ran += device_->poll(Duration::seconds(10));
  EXPECT_EQ(extra.finished, 0);
  run(extra);  // there is room again
  for (const auto& transfer : transfers) EXPECT_EQ(transfer->finished, 1);
  device_->close_file(file);
}

TEST_P(DeviceContract, EveryOpFinishesExactlyOnceAlsoWhileTheDeviceCloses) {
  const FileId file = open("f");
  ASSERT_TRUE(device_->allocate(file, 4 * kMiB).ok());
  std::vector<std::unique_ptr<Transfer>> transfers;
  for (std::uint32_t i = 0; i < kDepth; ++i) {
    const IoKind kind = i % 5 == 4 ? IoKind::sync : i % 2 == 0 ? IoKind::write : IoKind::read;
    transfers.push_back(std::make_unique<Transfer>(kind, file, i * 65536, 65536));
    ASSERT_TRUE(device_->submit(transfers.back()->op));
  }
  Transfer misaligned(IoKind::read, file, 1, 4096);
  device_->poll(Duration::seconds(10));
  ASSERT_TRUE(device_->submit(misaligned.op));
  device_.reset();
  for (const auto& transfer : transfers) {
    EXPECT_EQ(transfer->finished, 1);
    EXPECT_EQ(transfer->op.error, 0);
  }
  EXPECT_EQ(misaligned.finished, 1);
}

TEST_P(DeviceContract, ADoneMaySubmitTheNextOp) {
  struct Chain {
    Device* device = nullptr;
    AlignedBuffer buffer{4096};
    iovec part{buffer.data(), 4096};
    IoOp op;
    int left = 20;
  } chain;
  const FileId file = open("f");
  chain.device = device_.get();
  chain.op = {.kind = IoKind::write, .file = file, .buffers = {&chain.part, 1}};
  chain.op.context = &chain;
  chain.op.done = [](IoOp& op) {
    Chain& self = *static_cast<Chain*>(op.context);
    EXPECT_EQ(op.transferred, 4096U);
    op.offset += 4096;
    if (--self.left > 0) {
      EXPECT_TRUE(self.device->submit(op));
    }
  };
  ASSERT_TRUE(device_->submit(chain.op));
  while (chain.left > 0) device_->poll(Duration::seconds(10));
  EXPECT_EQ(device_->info(path("f"))->bytes, 20U * 4096);
  device_->close_file(file);
}

TEST_P(DeviceContract, WakeEndsAWaitFromAnotherThread) {
  // Were the wake lost, poll would return after its hour, and the test's time limit says so.
  for (int i = 0; i < 20; ++i) {
    std::thread waker([this] { device_->wake(); });
    EXPECT_EQ(device_->poll(Duration::seconds(3600)), 0U);
    waker.join();
  }
}

TEST_P(DeviceContract, AWakeBeforeTheWaitIsNotLost) {
  device_->wake();
  device_->wake();
  EXPECT_EQ(device_->poll(Duration::seconds(3600)), 0U);
  EXPECT_EQ(device_->poll(Duration::millis(1)), 0U);
}

TEST_P(DeviceContract, APollThatDoesNotWaitLeavesTheWakeToOneThatDoes) {
  device_->wake();
  EXPECT_EQ(device_->poll(Duration{}), 0U);
  EXPECT_EQ(device_->poll(Duration{}), 0U);
  EXPECT_EQ(device_->poll(Duration::seconds(3600)), 0U);
}

TEST_P(DeviceContract, FileOperationsMayComeFromOtherThreadsDuringTransfers) {
  const FileId file = open("f");
  std::thread other([this] {
    for (int i = 0; i < 20; ++i) {
      const std::string name = path(concat("t", i));
      ASSERT_TRUE(replace_file(*device_, name, as_bytes("x")).ok());
      ASSERT_TRUE(device_->remove_file(name).ok());
      device_->wake();
      static_cast<void>(device_->device_counters());
    }
  });
  for (std::uint64_t i = 0; i < 50; ++i) write(file, i * 4096, 4096, 'x');
  other.join();
  device_->close_file(file);
}

TEST_P(DeviceContract, OneWriterOrManyReadersHaveTheLock) {
  EXPECT_TRUE(has_code(device_->lock_file(path("LOCK"), "").status(), ErrorCode::not_found));
  EXPECT_EQ(device_->list(root_)->size(), 0U);  // a reader creates nothing
  {
    const auto writer = device_->lock_file(path("LOCK"), "the test");
    ASSERT_TRUE(writer.ok()) << message_of(writer.status());
    EXPECT_NE(device_->read_small(path("LOCK")).value().find("pid="), std::string::npos);
    const auto second = device_->lock_file(path("LOCK"), "the test");
    ASSERT_TRUE(has_code(second.status(), ErrorCode::locked));
    EXPECT_NE(message_of(second.status()).find("pid="), std::string_view::npos);
    EXPECT_TRUE(has_code(device_->lock_file(path("LOCK"), "").status(), ErrorCode::locked));
  }
  const std::string before = device_->read_small(path("LOCK")).value();
  const auto reader = device_->lock_file(path("LOCK"), "");
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(device_->lock_file(path("LOCK"), "").ok());
  EXPECT_TRUE(has_code(device_->lock_file(path("LOCK"), "me").status(), ErrorCode::locked));
  EXPECT_EQ(device_->read_small(path("LOCK")).value(), before);  // not a byte
}

// --- what only the simulated one can show ------------------------------------------------------

TEST(ReplaceFile, ShowsTheOldOrTheNewContentAfterAPowerCutAtAnyMutation) {
  const std::string old_content(5000, 'o');
  const std::string new_content(9000, 'n');
  bool finished = false;
  for (std::uint64_t n = 1; !finished; ++n) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      ManualClock clock;
      auto disk = std::make_shared<SimDisk>(SimDiskOptions{.seed = seed});
      SimDevice device(disk, clock);
      ASSERT_TRUE(replace_file(device, "/f", as_bytes(old_content)).ok());
      disk->freeze_at(disk->mutations() + n);
      const bool acknowledged = replace_file(device, "/f", as_bytes(new_content)).ok();
      finished = acknowledged;
      Rng rng(seed);
      const std::string content = disk->power_cut(rng)->content("/f");
      ASSERT_TRUE(content == new_content || (!acknowledged && content == old_content))
          << "mutation " << n << " seed " << seed;
    }
  }
}

}  // namespace
}  // namespace cairn::test
