// SPDX-License-Identifier: Apache-2.0
// sim_device.h — tiers::Device over a SimDisk: late, out of order, and faulty on request.
//
// Completions are delivered in poll(), each after a delay and in an order drawn from the seed.
// Two ways to run it. With a ManualClock the world is one thread and poll(max_wait) moves the
// clock to the next completion (at most by max_wait) instead of waiting, so an EventLoop over
// it makes a deterministic simulation. With any other clock poll really waits, as the real
// devices do, and threads may be used.
//
// Threading:  as Device.
// Blocking:   poll, with a real clock alone.
// Failure:    as Device; faults come from SimDisk::faults(). A transfer past the end of a full disk
//             is short; one of which nothing fits is ENOSPC. Misaligned ops finish with EINVAL.
// Lifetime:   shares the disk. The destructor finishes what is outstanding; hung ops end ECANCELED.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/base/thread_checker.h"
#include "tests/support/manual_clock.h"
#include "tests/support/sim_disk.h"
#include "tiers/io/device.h"

namespace cairn::test {

struct SimDeviceOptions {
  std::uint32_t depth = 64;
  std::uint64_t seed = 1;
  Duration delay_max = Duration::millis(2);
};

class SimDevice final : public tiers::Device {
 public:
  SimDevice(std::shared_ptr<SimDisk> disk, ManualClock& clock, SimDeviceOptions options = {});
  SimDevice(std::shared_ptr<SimDisk> disk, const Clock& waiting_clock,
            SimDeviceOptions options = {});
  ~SimDevice() override;

  SimDisk& disk() { return *disk_; }
  /// Ops that the `hang` fault holds go on from here.
  void release_hung();
  std::size_t hung() const;

  absl::StatusOr<tiers::FileId> open_file(const std::string& path, tiers::OpenMode mode) override;
  void close_file(tiers::FileId file) override;
  absl::Status allocate(tiers::FileId file, std::uint64_t bytes) override;
  absl::Status remove_file(const std::string& path) override;
  absl::Status rename_file(const std::string& from, const std::string& to) override;
  absl::Status make_directory(const std::string& path) override;
  absl::Status sync_directory(const std::string& path) override;
  absl::StatusOr<std::vector<tiers::DirectoryEntry>> list(const std::string& path) override;
  absl::StatusOr<tiers::FileInfo> info(const std::string& path) override;
  absl::StatusOr<std::uint64_t> free_bytes(const std::string& path) override;
  absl::StatusOr<std::string> read_small(const std::string& path) override;
  absl::Status write_small(const std::string& path, ByteSpan content) override;
  absl::Status sync_file(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<tiers::FileLock>> lock_file(const std::string& path,
                                                             std::string_view owner) override;

  bool submit(tiers::IoOp& op) override;
  std::size_t poll(Duration max_wait) override;
  void wake() override;

  tiers::DeviceInfo device_info() const override;
  tiers::DeviceCounters device_counters() const override;

 private:
  struct OpenFile {
    SimFile file;
    std::string path;
    tiers::OpenMode mode = tiers::OpenMode::read;
  };
  struct Pending {
    tiers::IoOp* op = nullptr;
    TimePoint due;
    bool hung = false;
    std::uint64_t launched = 0;  // of a write
    std::uint64_t marker = 0;    // of a sync
  };

  SimDevice(std::shared_ptr<SimDisk> disk, const Clock& clock, ManualClock* manual,
            SimDeviceOptions options);
  OpenFile* find(tiers::FileId file);
  std::size_t deliver_due();
  void finish(Pending& pending);
  void perform(Pending& pending, const OpenFile& file);
  void read(tiers::IoOp& op, const OpenFile& file);
  void write(tiers::IoOp& op, const OpenFile& file);
  void sync(tiers::IoOp& op, const OpenFile& file, std::uint64_t marker);
  bool wait_or_advance(Duration max_wait);
  bool fires(Fault fault, const std::string& path);

  const std::shared_ptr<SimDisk> disk_;
  const Clock& clock_;
  ManualClock* const manual_;
  const SimDeviceOptions options_;
  ThreadChecker poller_;
  Rng rng_;                       // confined to the polling thread
  std::vector<Pending> pending_;  // confined to the polling thread
  std::atomic<std::size_t> hung_{0};
  std::atomic<bool> release_hung_{false};

  mutable Mutex mutex_{LockRank::device};
  CondVar woken_;
  bool wake_ CAIRN_GUARDED_BY(mutex_) = false;
  std::map<int, OpenFile> files_ CAIRN_GUARDED_BY(mutex_);
  int next_file_ CAIRN_GUARDED_BY(mutex_) = 3;
  tiers::DeviceCounters counters_ CAIRN_GUARDED_BY(mutex_);
};

}  // namespace cairn::test
