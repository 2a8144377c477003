// SPDX-License-Identifier: Apache-2.0
// replay_reader.h — reads blocks of a replay and holds every byte against what it must be.
//
// Two ways, as a serving node has them: a lease on hot memory, and a load into memory of its
// own, window by window. Nothing is kept to compare with: the payload is generated again from
// the key.
//
// Threading: confined. Blocking: disk.
// Failure:   a block that is not there, comes too late or is bad is a value; only what ends a
//            replay (a store that is closing, a medium that failed) is a status.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/workload/kv_model.h"
#include "engine/engine.h"
#include "tools/cairn/replay_journal.h"
#include "tools/cairn/replay_plan.h"

namespace cairn::tools {

/// Where the blocks of a replay are, and what they are.
struct ReplayBlocks {
  const ReplayPlan& plan;
  const workload::KvModel& model;
  std::string namespace_name;
  NamespaceId namespace_id{};

  workload::PayloadName payload_name(BlockNumber block) const {
    return {namespace_name, plan.key(block), 0};
  }
};

/// Page-aligned, so that a device may read straight into it.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(std::size_t bytes);
  MutableByteSpan span(std::size_t offset, std::size_t bytes) const {
    return {memory_.get() + offset, bytes};
  }
  std::size_t size() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::size_t bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

enum class ReadOutcome : std::uint8_t { right, wrong, missing, late, unreadable };

class ReplayReader {
 public:
  ReplayReader(Engine& engine, ReplayBlocks blocks, ReplayJournal& journal,
               std::uint64_t window_bytes);

  /// The leading run of `run` that is there, through a lease. `busy` when it cannot be leased.
  absl::StatusOr<std::size_t> lease_prefix(std::span<const BlockNumber> run, ReplayTotals& totals);
  /// The same through load.
  absl::StatusOr<std::size_t> load_prefix(std::span<const BlockNumber> run, ReplayTotals& totals);
  /// Each for itself; `visit` gets them in order.
  absl::Status load_each(std::span<const BlockNumber> blocks,
                         const std::function<void(BlockNumber, ReadOutcome)>& visit);

 private:
  absl::Status load_window(std::span<const BlockNumber> window, Read read);
  ReadOutcome judge(BlockNumber block, const LoadTarget& target);
  bool verify(BlockNumber block, ByteSpan bytes);
  static void tally(TierKind tier, std::uint64_t bytes, ReplayTotals& totals);
  std::size_t window_blocks() const;

  Engine& engine_;
  const ReplayBlocks blocks_;
  ReplayJournal& journal_;
  AlignedBuffer buffer_;
  std::vector<KeyRef> keys_;
  std::vector<LoadTarget> targets_;
};

}  // namespace cairn::tools
