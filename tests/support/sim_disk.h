// SPDX-License-Identifier: Apache-2.0
// sim_disk.h — a disk in memory that can lose power.
//
// One SimDisk lies under a SimDevice (payloads, superblock, state) and a SimRocksdbFs (the
// index), so that a cut takes from both what it would take from both. It is more hostile than
// any one file system, and never more than POSIX allows:
//
//   - Each file has the content that reads see and the content that is surely on the medium,
//     and in between the ordered list of unsynced writes. A power cut drops, keeps or tears each
//     of them for itself, at 512-byte boundaries; so a later one may be there and an earlier not.
//   - Names (create, rename, remove, make_directory) are volatile until their directory is
//     synced. A sync of the file itself does not keep its name (ext4 would; POSIX does not say
//     so), unless `file_sync_keeps_name` is set. A cut keeps a random prefix of the unsynced
//     ones, in their order. A file in a directory that did not survive is gone.
//   - A failed sync leaves a random part of the dirty bytes on the medium and calls the rest
//     clean: no later sync brings them there (as Linux does).
//   - Writes that were launched and not yet acknowledged at a cut or kill are dropped, kept or
//   torn.
//
// power_cut and kill_process return the disk that the next process finds. The old one is dead:
// every operation on it fails with EIO, so what still runs on it can acknowledge nothing.
//
// Threading:  thread-safe.
// Blocking:   never.
// Failure:    operations return errno, 0 for success.
// Lifetime:   open files keep their content alive, as open descriptors do.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/mutex.h"
#include "tests/support/fault_injector.h"
#include "tests/support/seed.h"
#include "tests/support/sim_image.h"
#include "tiers/io/device.h"

namespace cairn::test {

/// What changes the medium; each is numbered, from 1, over both sides.
enum class Mutation : std::uint8_t {
  write,
  sync,
  sync_directory,
  rename,
  remove,
  create,
  resize,
  make_directory,
};

struct SimDiskOptions {
  std::uint64_t capacity_bytes = std::uint64_t{1} << 50;
  std::uint64_t seed = 1;
  bool file_sync_keeps_name = false;
};

/// What the last power_cut or kill_process did; cuts that tore nothing prove nothing.
struct CutReport {
  std::uint64_t writes_kept = 0;
  std::uint64_t writes_dropped = 0;
  std::uint64_t writes_torn = 0;
  std::uint64_t names_kept = 0;
  std::uint64_t names_dropped = 0;
};

class SimInode;  // sim_inode.h
using SimFile = std::shared_ptr<SimInode>;

class SimDisk {
 public:
  explicit SimDisk(SimDiskOptions options = {});
  ~SimDisk();

  FaultInjector& faults() { return faults_; }

  // --- time of death ---------------------------------------------------------------------
  /// Runs before each mutation with its number, without a lock; may call freeze().
  void set_on_mutation(std::function<void(std::uint64_t number, Mutation kind)> hook);
  std::uint64_t mutations() const;
  /// The n-th mutation is in flight when the disk dies: it fails, its effect is volatile.
  void freeze_at(std::uint64_t mutation);
  /// From now on every operation fails; the state stays for power_cut or kill_process.
  void freeze();
  bool frozen() const;

  /// The medium as the next boot finds it. Freezes this disk.
  std::shared_ptr<SimDisk> power_cut(Rng& rng, CutReport* report = nullptr);
  /// As after SIGKILL: all that the kernel had accepted, synced or not. Freezes this disk.
  std::shared_ptr<SimDisk> kill_process(Rng& rng, CutReport* report = nullptr);
  /// A copy that lives on beside this one, with the same unsynced state, no faults and no hook.
  std::shared_ptr<SimDisk> snapshot() const;

  // --- names -----------------------------------------------------------------------------
  int open(const std::string& path, tiers::OpenMode mode, SimFile* file);
  /// As O_CREAT|O_TRUNC.
  int open_truncated(const std::string& path, SimFile* file);
  void close(const SimFile& file);
  int remove(const std::string& path);
  int rename(const std::string& from, const std::string& to);  // files and directories
  int link(const std::string& from, const std::string& to);
  int make_directory(const std::string& path);  // EEXIST if it is there
  int remove_directory(const std::string& path);
  int sync_directory(const std::string& path);
  int list(const std::string& path, std::vector<tiers::DirectoryEntry>* entries) const;
  int info(const std::string& path, tiers::FileInfo* info) const;
  bool is_directory(const std::string& path) const;

  // --- content ---------------------------------------------------------------------------
  int read(const SimFile& file, std::uint64_t offset, MutableByteSpan target,
           std::size_t* got) const;
  /// On a full disk writes what fits: a short count, or ENOSPC when nothing does.
  int write(const SimFile& file, std::uint64_t offset, ByteSpan bytes, std::size_t* written);
  int resize(const SimFile& file, std::uint64_t bytes);
  int allocate(const SimFile& file, std::uint64_t bytes);
  /// What has been written up to now, for a sync that ends later.
  std::uint64_t write_marker() const;
  /// Covers the writes before `marker` and no others: those may be later than the request.
  int sync(const SimFile& file, std::uint64_t marker);
  /// sync that fails, as described above.
  int sync_badly(const SimFile& file);
  std::uint64_t length(const SimFile& file) const;

  /// A write between request and acknowledgement; withdraw() it before it is written for good.
  std::uint64_t launch(const SimFile& file, std::uint64_t offset, ByteSpan bytes);
  void withdraw(std::uint64_t launched);

  // --- locks: die with the process -------------------------------------------------------
  bool lock(const std::string& path, bool exclusive);
  void unlock(const std::string& path, bool exclusive);

  std::uint64_t capacity_bytes() const;
  void set_capacity(std::uint64_t bytes);
  std::uint64_t allocated_bytes() const;

  // --- the test as vandal: changes the medium and the cache, no mutation is counted --------
  std::vector<std::string> files() const;
  std::string content(const std::string& path) const;
  void overwrite(const std::string& path, std::uint64_t offset, ByteSpan bytes);
  void flip_bit(const std::string& path, std::uint64_t byte, unsigned bit);
  void zero_page(const std::string& path, std::uint64_t page);
  void swap_pages(const std::string& path_a, std::uint64_t page_a, const std::string& path_b,
                  std::uint64_t page_b);
  /// EIO for whoever reads any of it, until it is written again.
  void make_unreadable(const std::string& path, std::uint64_t page);
  /// The version before the last; false if there was none.
  bool make_page_stale(const std::string& path, std::uint64_t page);
  void truncate(const std::string& path, std::uint64_t bytes);
  void take_away(const std::string& path);

 private:
  struct NameChange;
  struct Names;
  struct Launched {
    SimFile file;
    std::uint64_t offset = 0;
    std::string bytes;
  };
  enum class Verdict : std::uint8_t { go_on, in_flight, dead };

  Verdict begin(Mutation kind);
  int change_name(NameChange change);
  int open_or_create(const std::string& path, tiers::OpenMode mode, bool truncate, SimFile* file);
  bool parent_exists(const std::string& path) const CAIRN_REQUIRES(mutex_);
  std::uint64_t free_pages() const CAIRN_REQUIRES(mutex_);
  std::uint64_t allocated_locked() const CAIRN_REQUIRES(mutex_);
  SimFile find(const std::string& path) const;
  std::shared_ptr<SimDisk> copy() const CAIRN_REQUIRES(mutex_);
  void land_some_launched(Rng& rng, CutReport& report) CAIRN_REQUIRES(mutex_);
  void damage(const std::string& path, const std::function<void(SimImage&)>& how);

  FaultInjector faults_;
  std::function<void(std::uint64_t, Mutation)> hook_;  // set before the disk is used
  mutable Mutex mutex_{LockRank::metrics};
  SimDiskOptions options_ CAIRN_GUARDED_BY(mutex_);
  Rng rng_ CAIRN_GUARDED_BY(mutex_);
  bool frozen_ CAIRN_GUARDED_BY(mutex_) = false;
  std::uint64_t mutations_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::uint64_t freeze_at_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::uint64_t writes_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<Names> now_ CAIRN_GUARDED_BY(mutex_);
  std::unique_ptr<Names> durable_ CAIRN_GUARDED_BY(mutex_);
  std::vector<NameChange> unsynced_names_ CAIRN_GUARDED_BY(mutex_);
  std::multiset<SimFile> open_files_ CAIRN_GUARDED_BY(mutex_);
  std::map<std::uint64_t, Launched> launched_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t next_launched_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int> locks_ CAIRN_GUARDED_BY(mutex_);  // -1: exclusive, else holders
};

/// "/a//b/" as "/a/b"; a relative path is taken from the root.
std::string normal_path(const std::string& path);
std::string parent_path(const std::string& path);

}  // namespace cairn::test
