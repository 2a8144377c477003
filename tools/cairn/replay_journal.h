// SPDX-License-Identifier: Apache-2.0
// replay_journal.h — what a replay was promised and what it counted, in memory that outlives it.
//
// A mapping shared between the process that replays and the one that may kill it: the first
// marks a put as pending before it starts and as acknowledged when the store says so, and an
// eviction when the store reports it; the second judges what is left. With nobody killed the
// two are one process.
//
// A block is evicted when the version that was last acknowledged was reported as evicted since
// that put began. A report comes before the removal, an acknowledgement after the store's, so
// a kill between any two instructions is judged right.
//
// Threading:  marks: one writer of puts a block at a time, any number of reporters and readers.
//             Totals: one writer. Readers of other processes: anything, any time.
// Blocking:   never.
// Lifetime:   made before fork(); what the child wrote stays after its death.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/status.h"
#include "engine/block.h"
#include "tools/cairn/replay_plan.h"

namespace cairn::tools {

/// Of requests that are done: all their reads verified and all their puts answered.
struct ReplayTotals {
  std::uint64_t requests = 0;
  std::uint64_t blocks = 0;                                  // full blocks asked for
  std::uint64_t tokens = 0;                                  // of the prompts
  std::uint64_t hot_hits = 0, warm_hits = 0, cold_hits = 0;  // blocks
  std::uint64_t hot_bytes = 0, warm_bytes = 0, cold_bytes = 0;
  std::uint64_t put_blocks = 0, put_bytes = 0;  // acknowledged
  std::uint64_t refused_blocks = 0;             // not acknowledged
  std::uint64_t late_blocks = 0;                // there, and not delivered by the deadline
  std::uint64_t unreadable_blocks = 0;          // there, and bad: a miss
  std::uint64_t get_ns = 0, put_ns = 0;         // time in reads; time with puts under way

  ReplayTotals& operator+=(const ReplayTotals& other);
  std::uint64_t hits() const { return hot_hits + warm_hits + cold_hits; }
};

/// What the judge finds of one block.
struct BlockPromise {
  std::optional<Durability> acknowledged;  // empty: never, or forgotten with its eviction
  bool evicted = false;                    // and not put again since
  bool pending = false;                    // a put had no answer yet
};

class ReplayJournal {
 public:
  static absl::StatusOr<std::unique_ptr<ReplayJournal>> make(std::size_t blocks);
  ~ReplayJournal();
  ReplayJournal(const ReplayJournal&) = delete;
  ReplayJournal& operator=(const ReplayJournal&) = delete;

  // --- puts -------------------------------------------------------------------------------
  void begin_put(BlockNumber block);
  void acknowledge(BlockNumber block, Durability durability, std::uint64_t sequence);
  void end_put(BlockNumber block);
  /// Of a block that the trace does not know: empty.
  void report_evicted(std::optional<BlockNumber> block, std::uint64_t sequence, bool last_copy);
  BlockPromise promise(BlockNumber block) const;
  /// Blocks whose puts have no answer yet.
  std::uint64_t puts_in_flight() const { return shared_->in_flight.load(); }
  /// After the writer died: no put is pending any more.
  void forget_pending();

  // --- counters ---------------------------------------------------------------------------
  /// Adds all of it or, when the process dies meanwhile, nothing.
  void commit(const ReplayTotals& totals);
  ReplayTotals totals() const;
  /// Of totals(), cheaper.
  std::uint64_t requests_done() const { return shared_->requests_done.load(); }

  void count_verified(std::uint64_t bytes, bool right);
  std::uint64_t verified_bytes() const { return shared_->verified_bytes.load(); }
  std::uint64_t wrong_bytes() const { return shared_->wrong_bytes.load(); }
  std::uint64_t evicted_blocks() const { return shared_->evicted_blocks.load(); }
  /// What the device moved in this life of the store; begin_life() adds the one before.
  void begin_life();
  void set_moved(std::uint64_t read_bytes, std::uint64_t written_bytes);
  std::uint64_t device_read_bytes() const;
  std::uint64_t device_written_bytes() const;

  // --- last words -------------------------------------------------------------------------
  void set_failure(const absl::Status& status);
  absl::Status failure() const;

 private:
  struct Mark {
    std::atomic<std::uint64_t> acknowledged_sequence;  // 0: never
    std::atomic<std::uint64_t> evicted_sequence;       // 0: not since the last put began
    std::atomic<std::uint8_t> durability;
    std::atomic<std::uint8_t> pending;
  };
  struct Moved {
    std::atomic<std::uint64_t> read, written;
  };
  struct Shared {
    std::atomic<std::uint64_t> in_flight, requests_done, verified_bytes, wrong_bytes,
        evicted_blocks;
    Moved lives_before, this_life;
    std::atomic<std::uint32_t> current;  // which of the two totals is whole
    std::array<ReplayTotals, 2> totals;
    std::atomic<std::uint8_t> failed;
    ErrorCode failure_code;
    std::array<char, 1024> failure;
  };
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free,
                "shared between processes: an atomic must not need a lock of one of them");

  ReplayJournal(void* memory, std::size_t bytes, std::size_t blocks);
  Mark& mark(BlockNumber block) const;

  void* const memory_;
  const std::size_t bytes_;
  const std::size_t blocks_;
  Shared* shared_;
  Mark* marks_;
};

}  // namespace cairn::tools
