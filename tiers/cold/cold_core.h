// SPDX-License-Identifier: Apache-2.0
// cold_core.h — what every part of the cold tier shares: who the store is, where its work
// runs, and what it has counted.
//
// It has no behaviour of its own beyond counting and remembering that writes are off.
//
// Threading:  the plain members are constant after open; the rest is atomic or has a lock.
// Blocking:   never.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/event_loop.h"
#include "engine/base/log.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/namespace.h"
#include "tiers/cold/codec_choice.h"
#include "tiers/cold/cold_tier.h"
#include "tiers/cold/index.h"
#include "tiers/io/device.h"
#include "tiers/record/format.h"

namespace cairn::tiers {

/// What the data path needs of a namespace.
struct NamespaceFacts {
  std::uint32_t epoch = 0;
  NamespaceKind kind = NamespaceKind::content_addressed;
  Dtype dtype = Dtype::opaque;
  std::uint32_t chunk_bytes = 0;
};

/// Namespaces as the data path sees them; the superblock is the truth.
class NamespaceTable {
 public:
  void set(NamespaceId id, const NamespaceFacts& facts) {
    MutexLock lock(mutex_);
    table_[id] = facts;
  }
  /// False where there is no such namespace.
  bool find(NamespaceId id, NamespaceFacts& out) const {
    MutexLock lock(mutex_);
    const auto found = table_.find(id);
    if (found == table_.end()) return false;
    out = found->second;
    return true;
  }

 private:
  mutable Mutex mutex_{LockRank::cold_tier};
  absl::flat_hash_map<NamespaceId, NamespaceFacts> table_ CAIRN_GUARDED_BY(mutex_);
};

/// Since the opening. Relaxed: each is a number for people, ordered with nothing.
struct ColdCounts {
  std::atomic<std::uint64_t> payload_bytes_written{0}, media_bytes_written{0};
  std::atomic<std::uint64_t> cleaned_segments{0}, cleaner_moved_bytes{0};
  std::atomic<std::uint64_t> corruptions{0}, read_errors{0}, write_errors{0}, sync_failures{0};
  std::atomic<std::uint64_t> short_transfers{0}, refused_by_write_budget{0};
  std::atomic<std::uint64_t> quarantined_segments{0}, poisoned_segments{0};
};

inline void add(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) {
  counter.fetch_add(by, std::memory_order_relaxed);
}

/// Whether writes are on. Off is for good, until the store is opened again.
class WriteSwitch {
 public:
  explicit WriteSwitch(std::uint32_t errors_max) : errors_max_(errors_max) {}

  /// Before anything runs. Called once, by whoever turns writes off, on any thread: everything
  /// that waits for a write to become possible is woken from there, or it waits for good.
  void on_off(std::function<void()> listener) { listener_ = std::move(listener); }

  void write_succeeded() { consecutive_errors_.store(0); }
  void write_failed(const absl::Status& status) {
    if (consecutive_errors_.fetch_add(1) + 1 < errors_max_) return;
    turn_off(std::string(message_of(status)) +
             "; writes are off after repeated errors: check the disk, then open the store again");
  }
  void turn_off(const std::string& reason) {
    {
      MutexLock lock(mutex_);
      if (off_.load()) return;
      reason_ = reason;
      off_.store(true);
    }
    log_line(LogLevel::error, "cold tier degraded: " + reason);
    if (listener_) listener_();
  }
  bool is_off() const { return off_.load(); }
  std::string reason() const {
    MutexLock lock(mutex_);
    return reason_;
  }
  absl::Status status() const {
    return is_off() ? make_error(ErrorCode::degraded, reason()) : absl::OkStatus();
  }

 private:
  const std::uint32_t errors_max_;
  std::function<void()> listener_;
  std::atomic<std::uint32_t> consecutive_errors_{0};
  std::atomic<bool> off_{false};
  mutable Mutex mutex_{LockRank::cold_tier};
  std::string reason_ CAIRN_GUARDED_BY(mutex_);
};

struct ColdCore {
  ColdCore(const ColdOptions& options_in, const ColdRuntime& runtime)
      : options(options_in),
        device(*runtime.device),
        io_loop(*runtime.io_loop),
        index_loop(*runtime.index_loop),
        clock(*options_in.clock),
        writes(options_in.write_errors_max),
        codec_choice(options_in.codec) {}

  // Constant after open.
  const ColdOptions options;
  Device& device;
  EventLoop& io_loop;
  EventLoop& index_loop;
  const Clock& clock;
  StoreUuid store{};
  std::uint64_t segment_bytes = 0;
  bool read_only = false;
  std::unique_ptr<Index> index;

  /// Timers cannot be cancelled: they look here first. Changed and read on the I/O loop only.
  const std::shared_ptr<bool> alive = std::make_shared<bool>(true);

  NamespaceTable namespaces;
  ColdCounts counts;
  WriteSwitch writes;
  CodecChoice codec_choice;
  /// The next sequence number to give out; raised to what the index has set aside.
  std::atomic<std::uint64_t> next_sequence{1};
};

}  // namespace cairn::tiers
