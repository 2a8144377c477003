// SPDX-License-Identifier: Apache-2.0
// fault_injector.h — which operation of the simulated media goes wrong, and how often one did.
//
// Rules say what may fail, where and how often; the devices ask before each operation. Every
// firing is counted, because a test whose injector never fired has tested nothing:
// EXPECT_GT(disk->faults().fired(Fault::sync_error), 0).
//
// Threading: thread-safe. Blocking: never.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/mutex.h"
#include "tests/support/seed.h"

namespace cairn::test {

enum class Fault : std::uint8_t {
  read_error,         // EIO
  write_error,        // EIO; some sectors may have been written
  sync_error,         // EIO; what was dirty is from now on clean in the cache, maybe not on disk
  short_read,         // fewer bytes than asked, no error
  short_write,        // likewise; on RocksDB's side the rest then fails
  misdirected_write,  // acknowledged, but at another page of the same file
  lost_write,         // acknowledged, never there
  flipped_read,       // one bit of what was read; the medium is unharmed
  hang,               // not finished until SimDevice::release_hung(); device side only
  rename_error,       // EIO, not renamed
  no_space,           // ENOSPC, whatever the capacity
};
constexpr std::size_t kFaultKinds = 11;

/// Which of the two that share a disk.
enum class Side : std::uint8_t { device, rocksdb, any };

struct FaultRule {
  Fault fault = Fault::read_error;
  Side side = Side::any;
  double odds = 0;        // of each opportunity
  std::uint64_t nth = 0;  // the n-th opportunity from now, 1 the next; 0: odds decide
  std::uint64_t times = std::numeric_limits<std::uint64_t>::max();  // then the rule is spent
  std::string path_contains;                                        // empty: every file
};

class FaultInjector {
 public:
  explicit FaultInjector(std::uint64_t seed) : rng_(seed) {}

  void add(FaultRule rule);
  /// All rules go; the counts stay.
  void clear();

  /// Asked by the media before each operation; counts when it says yes.
  bool fires(Side side, Fault fault, std::string_view path);
  /// 0 … bound-1, for how short, which bit, how far off.
  std::uint64_t draw(std::uint64_t bound);

  std::uint64_t fired(Fault fault) const;
  std::uint64_t fired() const;
  /// "sync_error=3 short_write=12", for the summary of a run.
  std::string summary() const;

 private:
  struct ActiveRule {
    FaultRule rule;
    std::uint64_t opportunities = 0;
  };

  mutable Mutex mutex_{LockRank::metrics};
  Rng rng_ CAIRN_GUARDED_BY(mutex_);
  std::vector<ActiveRule> rules_ CAIRN_GUARDED_BY(mutex_);
  std::array<std::uint64_t, kFaultKinds> fired_ CAIRN_GUARDED_BY(mutex_){};
};

std::string_view fault_name(Fault fault);

}  // namespace cairn::test
