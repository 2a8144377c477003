// SPDX-License-Identifier: Apache-2.0
// cleaner_job.h — what one cleaning job remembers between its steps. Private to cleaner.cc.
//
// Threading: handed between the I/O loop and the index loop, never used by both at once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tiers/cold/cleaner.h"

namespace cairn::tiers {

/// A record that the victim holds, as its footer or the index says.
struct Cleaner::Candidate {
  RecordKind kind = RecordKind::block;
  NamespaceId namespace_id{};
  std::string key;
  Part part = 0;
  std::uint32_t epoch = 0;
  std::uint64_t sequence = 0;
  std::uint64_t note_sequence = 0;
  WallMicros expiry = 0;
  bool pinned = false;
  std::uint64_t offset = 0;
  std::uint64_t record_bytes = 0;

  BlockName name() const { return {namespace_id, key, part}; }
};

/// One of a batch that lives, and where it goes.
struct Cleaner::Move final : IndexWork {
  const Candidate* candidate = nullptr;
  IndexEntry entry;     // what the index said when it was judged
  bool forget = false;  // a tombstone that buries nothing any more
  bool needs_append = false;
  bool is_corrupt = false;
  bool took = false;  // the index still named the old place
  ByteSpan record;    // in one of the job's buffers
  Append append;
  absl::Status status;
  std::function<void()> when_finished;

  bool is_block() const { return candidate->kind == RecordKind::block; }
  Verdict decide(const std::optional<IndexEntry>& existing, IndexEntry& out,
                 CounterDelta& delta) override;
  void finished(const absl::Status& result) override;
};

struct ReadRun {
  std::uint64_t offset = 0;  // whole pages
  std::uint64_t bytes = 0;
  std::size_t first = 0, count = 0;  // of the moves that are blocks, in order of offset
};

struct Cleaner::Job {
  Segment* victim = nullptr;
  std::uint32_t generation = 0;
  std::vector<Candidate> candidates;
  std::size_t next = 0;  // the first that no batch has had
  bool scanned_index = false;
  std::vector<const Candidate*> batch;
  std::deque<Move> moves;          // stable addresses: the log and the index hold them
  std::vector<Move*> block_moves;  // by offset
  std::vector<Buffer> buffers;
  std::size_t reads_left = 0, appends_left = 0, works_left = 0;
  absl::Status read_error;
  std::vector<CorruptBlock> corrupt;
  std::uint64_t moved_bytes = 0;
  bool waits_for_reads = false;

  void add_candidate(const RecordFields& fields);
  void add_candidate(const BlockName& name, const IndexEntry& entry);
  void sort_candidates();
  void start_batch();
  std::vector<BlockName> batch_names() const;
  /// `is_cleared`: of an epoch that has ended.
  void judge(std::size_t i, const IndexEntry& entry, std::uint64_t oldest_opening, bool is_cleared);
  std::vector<ReadRun> plan_reads();
  void keep(const ReadRun& run, Buffer buffer);
  /// Marks what fails as corrupt; returns how many.
  std::size_t verify_moves(const StoreUuid& store);
  void all_moves_corrupt();
  std::vector<Append*> make_appends();
  /// `done` runs once, on the index loop, when the last of them has finished.
  std::vector<IndexWork*> make_works(const std::function<void()>& done);
};

}  // namespace cairn::tiers
