// SPDX-License-Identifier: Apache-2.0
// cleaner.h — wins dead space back: moves the living out of the poorest segment.
//
//   list records ─► ask the index which live ─► read, verify ─► append to the cleaner's own
//   segment, synced ─► index: swap locations that are still the old ones ─► tell the engine ─►
//   … ─► sync the index ─► no reads in flight ─► free (a new generation on the medium)
//
// The data is synced before the index names it at its new place, because the block may have
// been `durable` at its old one; and the index is synced before the old place can be used
// again. Before that all data is synced as well: a block that took a tombstone's place must be on
// the medium before the tombstone's own segment can be overwritten. A record that fails its check
// is never moved: it is removed as corrupt.
//
// Tombstones. One may be forgotten once no segment can hold a record that it buries. Records
// are older than the tombstone's stamp (the sequence when it was written), so it is carried
// along while any other segment in use was opened before that stamp. For that, a segment's
// opened_at_sequence is a lower bound: nothing in it can be buried by a tombstone with a
// smaller stamp. Users' segments lower it to the oldest record they get; the cleaner's take
// the sequence at which its job began, since all it moves was alive then.
//
// Notes go along while they still say what the index says.
//
// A segment without a sound footer is listed by scanning the index for its entries instead;
// notes in it are lost, which only a rebuild of the index could notice.
//
// Threading:  confined to the I/O loop.
// Blocking:   never.
// Failure:    a job that fails leaves its segment as it was, and is tried again later.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/tier.h"
#include "tiers/cold/cold_core.h"
#include "tiers/cold/index_queue.h"
#include "tiers/cold/io_queue.h"
#include "tiers/cold/segment_log.h"
#include "tiers/cold/segment_opener.h"
#include "tiers/cold/segment_table.h"

namespace cairn::tiers {

class Cleaner {
 public:
  struct CorruptBlock {
    NamespaceId namespace_id{};
    std::string key;
    Part part = 0;
    std::uint64_t sequence = 0;
    BlockId id;
    Location location;
  };
  struct Hooks {
    std::function<void(BlockId, Location from, Location to)> relocated;
    /// Everything the device has taken, of every segment.
    std::function<void(SyncDone)> sync_data;
    std::function<void(std::vector<CorruptBlock>, std::function<void()> done)> drop_corrupt;
  };
  Cleaner(ColdCore& core, SegmentTable& table, IoQueue& queue, BufferPool& pool, SegmentLog& log,
          SegmentOpener& opener, IndexQueue& index, Hooks hooks);
  ~Cleaner();

  /// Starts a job if one is needed and none runs.
  void poke();
  /// Whether waiting for a free segment makes sense.
  bool has_hope();
  void compact(double dead_fraction, std::function<void(absl::Status)> done);
  /// A segment's last read has ended.
  void quiet(Segment& segment);
  /// Starts nothing more; `done` runs once the job under way has ended.
  void stop(std::function<void()> done);
  bool is_running() const { return job_ != nullptr; }

 private:
  struct Candidate;
  struct Move;
  struct Job;
  using JobPtr = std::shared_ptr<Job>;

  void begin(Segment& victim);
  void read_footer(const JobPtr& job);
  void read_headers(const JobPtr& job, const SegmentFooter& footer);
  void scan_index(const JobPtr& job, std::string cursor);
  void next_batch(const JobPtr& job);
  void judge(const JobPtr& job, std::vector<absl::StatusOr<std::optional<IndexEntry>>> entries);
  void read_batch(const JobPtr& job);
  void verify(const JobPtr& job);
  void append_batch(const JobPtr& job);
  void appended(const JobPtr& job);
  void committed(const JobPtr& job);
  void drain(const JobPtr& job);
  void sync_index(const JobPtr& job);
  void sync_index_after_data(const JobPtr& job);
  void wait_for_reads(const JobPtr& job);
  void free_victim(const JobPtr& job);
  void end(const JobPtr& job, const absl::Status& status);
  void finish_compaction(const absl::Status& status);
  bool wants_compaction() const;

  ColdCore& core_;
  SegmentTable& table_;
  IoQueue& queue_;
  BufferPool& pool_;
  SegmentLog& log_;
  SegmentOpener& opener_;
  IndexQueue& index_;
  Hooks hooks_;
  JobPtr job_;
  bool stopping_ = false;
  bool resting_ = false;  // after a failure, until a timer
  double compact_to_ = -1;
  std::uint32_t compact_jobs_left_ = 0;
  std::vector<std::function<void(absl::Status)>> compacted_;
  std::vector<std::function<void()>> stopped_;
};

}  // namespace cairn::tiers
