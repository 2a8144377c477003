// SPDX-License-Identifier: Apache-2.0
// replay_worker.h — asks a store what a serving node would ask, request by request.
//
// For each request: match its prefix, read the run that is there (a lease when it fits, else a
// load; every byte verified), put the blocks that are missing. Puts of several requests are
// under way at once; a request that needs a block whose put has no answer yet waits for it, as
// a node would that still has the block in its own memory.
//
// Requests are done in order: all reads verified and all puts answered. What is committed to
// the journal is therefore always a prefix of the trace, and whoever comes after a kill goes on
// from there.
//
// Threading:  confined to one thread; answers to puts arrive on the engine's.
// Blocking:   disk.
// Failure:    refused puts are counted; an error that ends the replay comes back from run().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/mutex.h"
#include "tiers/open.h"
#include "tools/cairn/replay_journal.h"
#include "tools/cairn/replay_options.h"
#include "tools/cairn/replay_reader.h"

namespace cairn::tools {

class ReplayWorker {
 public:
  ReplayWorker(Store& store, const ReplayBlocks& blocks, const ReplayOptions& options,
               ReplayJournal& journal);
  /// Waits for every put that is under way.
  ~ReplayWorker();
  ReplayWorker(const ReplayWorker&) = delete;
  ReplayWorker& operator=(const ReplayWorker&) = delete;

  /// From request `first` to the end. `after_each` runs after each request.
  absl::Status run(std::size_t first, const std::function<void()>& after_each);

 private:
  struct Request {
    ReplayTotals totals;
    std::size_t batches_left = 0;
  };
  struct Batch {
    Request* request = nullptr;
    std::vector<BlockNumber> blocks;
    std::vector<PutBlock> puts;
    std::unique_ptr<PutBatch> room;
    Durability durability{};
    std::vector<PutResult> results;
  };

  absl::Status replay(std::size_t number);
  absl::StatusOr<std::size_t> read_prefix(std::size_t number, Request& request);
  absl::Status put_rest(std::size_t number, std::size_t from, Request& request);
  absl::Status reserve(Batch& batch);
  void send(std::unique_ptr<Batch> batch);
  void on_answer(Batch* batch, std::vector<PutResult> results);

  void wait_for_blocks(std::span<const BlockNumber> blocks);
  /// Takes in the answers that have come; with `wait`, at least one when any is due.
  void reap(bool wait);
  void account(Batch& batch);
  /// Commits the requests at the front that are done.
  void retire();
  std::uint64_t bytes_of(std::size_t blocks) const;

  Store& store_;
  const ReplayBlocks blocks_;
  const ReplayOptions& options_;
  ReplayJournal& journal_;
  ReplayReader reader_;
  AlignedBuffer stand_in_;  // gives PutBlock a payload's size; its bytes are not looked at
  const std::uint64_t lease_bytes_max_;
  const std::uint64_t flight_bytes_max_;
  const std::size_t batch_blocks_;

  std::deque<Request> requests_;  // not yet done, in order
  std::vector<std::unique_ptr<Batch>> flying_;
  std::vector<bool> in_flight_;  // by block number
  std::size_t blocks_in_flight_ = 0;
  absl::Status error_;    // the first that ends the replay
  bool starved_ = false;  // no room came for as long as one waits for it

  Mutex mutex_{LockRank::tool};
  CondVar answered_;
  std::vector<Batch*> finished_ CAIRN_GUARDED_BY(mutex_);
  std::size_t unanswered_ CAIRN_GUARDED_BY(mutex_) = 0;
  TimePoint busy_since_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t busy_ns_ CAIRN_GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::tools
