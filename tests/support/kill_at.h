// SPDX-License-Identifier: Apache-2.0
// kill_at.h — SIGKILL at the n-th write, sync or rename, over the real device and the real
// file system of RocksDB together.
//
// Both wrappers share one counter. A test runs its scenario once to count, then once for each n
// in a child that dies there, at the hands of its own medium: `before` the n-th is done, or right
// `after` the real one was asked for it (a transfer is then still in flight).
//
// Counted are payload writes and syncs, whole small files, syncs of files and directories,
// renames and removals; for RocksDB appends, truncations, syncs, renames and removals. Creating
// a file is not: dying at the write that follows shows the same.
//
// Threading:  thread-safe, as what is wrapped.
// Lifetime:   the counter outlives both wrappers. It may lie in memory shared with the parent.
#pragma once

#include <rocksdb/file_system.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "tiers/io/device.h"

namespace cairn::test {

enum class KillMoment : std::uint8_t { before, after };

class KillCounter {
 public:
  /// 0: only count.
  explicit KillCounter(std::uint64_t kill_at = 0, KillMoment moment = KillMoment::before)
      : kill_at_(kill_at), moment_(moment) {}

  std::uint64_t count() const { return count_.load(); }

  /// Wraps one mutation: counts it, and dies on the side of it that was asked for.
  template <typename Mutation>
  auto around(Mutation mutate) {
    const bool here = count_.fetch_add(1) + 1 == kill_at_;
    if (here && moment_ == KillMoment::before) die();
    auto result = mutate();
    if (here) die();
    return result;
  }

 private:
  [[noreturn]] static void die();

  std::atomic<std::uint64_t> count_{0};
  const std::uint64_t kill_at_;
  const KillMoment moment_;
};

/// For StoreOptions::wrap_device.
std::unique_ptr<tiers::Device> make_kill_device(std::unique_ptr<tiers::Device> device,
                                                KillCounter& counter);
/// For ColdOptions::index_file_system; over the real file system.
std::shared_ptr<rocksdb::FileSystem> make_kill_file_system(KillCounter& counter);
std::shared_ptr<rocksdb::FileSystem> make_kill_file_system(
    std::shared_ptr<rocksdb::FileSystem> file_system, KillCounter& counter);

}  // namespace cairn::test
