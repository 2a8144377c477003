// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/cleaner.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tiers/cold/cleaner_job.h"

namespace cairn::tiers {
namespace {
constexpr Duration kRestAfterFailure = Duration::millis(100);
constexpr Duration kForgiveAfter = Duration::seconds(30);
}  // namespace

Cleaner::Cleaner(ColdCore& core, SegmentTable& table, IoQueue& queue, BufferPool& pool,
                 SegmentLog& log, SegmentOpener& opener, IndexQueue& index, Hooks hooks)
    : core_(core),
      table_(table),
      queue_(queue),
      pool_(pool),
      log_(log),
      opener_(opener),
      index_(index),
      hooks_(std::move(hooks)) {}

Cleaner::~Cleaner() = default;

void Cleaner::poke() {
  // A store opened for reading keeps its dead bytes: moving the living would write.
  if (core_.read_only) return;
  if (core_.writes.is_off()) {
    finish_compaction(core_.writes.status());
    return;
  }
  if (job_ != nullptr || stopping_ || resting_ || !table_.is_known()) return;
  const bool compacting = wants_compaction();
  if (!table_.needs_cleaning() && !compacting) {
    if (!compacted_.empty()) finish_compaction(absl::OkStatus());
    return;
  }
  Segment* victim = table_.poorest(compacting);
  if (victim == nullptr) {
    if (!compacted_.empty()) finish_compaction(absl::OkStatus());
    return;
  }
  begin(*victim);
}

bool Cleaner::has_hope() {
  poke();
  if (core_.read_only || core_.writes.is_off() || stopping_) return false;
  return job_ != nullptr || !table_.is_known() || table_.poorest(false) != nullptr;
}

void Cleaner::compact(double dead_fraction, std::function<void(absl::Status)> done) {
  compact_to_ = dead_fraction;
  compact_jobs_left_ = 2 * table_.files() + 1;
  compacted_.push_back(std::move(done));
  poke();
}

bool Cleaner::wants_compaction() const {
  if (compacted_.empty() || compact_jobs_left_ == 0) return false;
  std::uint64_t live = 0, dead = 0;
  table_.for_each([&](Segment& segment) {
    if (!segment.is_in_use()) return;
    live += segment.live();
    dead += segment.phase == SegmentPhase::sealed ? segment.dead() : 0;
  });
  return dead > 0 && static_cast<double>(dead) > compact_to_ * static_cast<double>(live + dead);
}

void Cleaner::finish_compaction(const absl::Status& status) {
  std::vector<std::function<void(absl::Status)>> waiting;
  waiting.swap(compacted_);
  for (auto& done : waiting) done(status);
}

void Cleaner::stop(std::function<void()> done) {
  stopping_ = true;
  finish_compaction(make_error(ErrorCode::closed, "the store is closing"));
  if (job_ == nullptr) {
    done();
  } else {
    stopped_.push_back(std::move(done));
  }
}

void Cleaner::begin(Segment& victim) {
  job_ = std::make_shared<Job>();
  job_->victim = &victim;
  job_->generation = victim.generation;
  table_.clean(victim);
  log_.set_cleaner_floor(core_.next_sequence.load());
  if (compact_jobs_left_ > 0) --compact_jobs_left_;
  if (victim.live() == 0 && victim.has_footer == false && victim.data_end <= kPage) {
    sync_index(job_);
  } else if (victim.has_footer) {
    read_footer(job_);
  } else {
    scan_index(job_, {});
  }
}

void Cleaner::read_footer(const JobPtr& job) {
  Segment& victim = *job->victim;
  if (const absl::Status opened = opener_.ensure_file(victim); !opened.ok()) {
    scan_index(job, {});
    return;
  }
  auto transfer = std::make_unique<Transfer>();
  transfer->file = victim.file;
  transfer->offset = core_.segment_bytes - kPage;
  transfer->buffers.push_back(pool_.take(kPage));
  transfer->add(transfer->buffers[0].span());
  transfer->finished = [this, job](Transfer& read) {
    const auto footer = read.is_whole() ? parse_footer(read.buffers[0].span(), core_.segment_bytes)
                                        : make_error(ErrorCode::io, "the footer cannot be read");
    const bool mine = footer.ok() && footer->store == core_.store &&
                      footer->generation == job->generation &&
                      footer->segment == static_cast<std::uint32_t>(job->victim->id);
    if (mine) {
      read_headers(job, *footer);
    } else {
      scan_index(job, {});
    }
  };
  queue_.submit(std::move(transfer), Lane::background);
}

void Cleaner::read_headers(const JobPtr& job, const SegmentFooter& footer) {
  auto transfer = std::make_unique<Transfer>();
  transfer->file = job->victim->file;
  transfer->offset = footer.headers_offset;
  transfer->buffers.push_back(pool_.take(footer_bytes(footer.headers_length)));
  transfer->add(transfer->buffers[0].span());
  transfer->finished = [this, job, footer](Transfer& read) {
    absl::Status status = make_error(ErrorCode::io, "the footer cannot be read");
    if (read.is_whole()) {
      const ByteSpan headers = ByteSpan(read.buffers[0].span()).first(footer.headers_length);
      status = check_footer(footer, headers);
      if (status.ok()) {
        status = for_each_header(headers,
                                 [&](const RecordFields& fields) { job->add_candidate(fields); });
      }
    }
    if (!status.ok()) {
      job->candidates.clear();
      scan_index(job, {});
      return;
    }
    next_batch(job);
  };
  queue_.submit(std::move(transfer), Lane::background);
}

/// Page by page, so that the index loop serves others in between.
void Cleaner::scan_index(const JobPtr& job, std::string cursor) {
  job->scanned_index = true;
  core_.index_loop.post([this, job, cursor = std::move(cursor)]() mutable {
    absl::Status status =
        core_.index->scan(cursor, 4096, [&](const BlockName& name, const IndexEntry& entry) {
          if (unpack_location(entry.location).segment == job->victim->id)
            job->add_candidate(name, entry);
        });
    core_.io_loop.post(
        [this, job, cursor = std::move(cursor), status = std::move(status)]() mutable {
          if (!status.ok()) {
            end(job, status);
          } else if (!cursor.empty()) {
            scan_index(job, std::move(cursor));
          } else {
            job->sort_candidates();
            next_batch(job);
          }
        });
  });
}

void Cleaner::next_batch(const JobPtr& job) {
  job->start_batch();
  if (job->batch.empty()) {
    drain(job);
    return;
  }
  core_.index_loop.post([this, job] {
    auto entries = core_.index->get_batch(job->batch_names());
    core_.io_loop.post(
        [this, job, entries = std::move(entries)]() mutable { judge(job, std::move(entries)); });
  });
}

void Cleaner::judge(const JobPtr& job,
                    std::vector<absl::StatusOr<std::optional<IndexEntry>>> entries) {
  const std::uint64_t oldest = table_.oldest_opening(job->victim);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].ok()) {
      end(job, entries[i].status());
      return;
    }
    if (!*entries[i]) continue;
    NamespaceFacts facts;
    const bool is_cleared = core_.namespaces.find(job->batch[i]->namespace_id, facts) &&
                            (*entries[i])->epoch < facts.epoch;
    job->judge(i, **entries[i], oldest, is_cleared);
  }
  read_batch(job);
}

void Cleaner::read_batch(const JobPtr& job) {
  Segment& victim = *job->victim;
  std::vector<ReadRun> runs = job->plan_reads();
  if (runs.empty()) {
    append_batch(job);
    return;
  }
  if (const absl::Status opened = opener_.ensure_file(victim); !opened.ok()) {
    // The file is gone and its blocks with it.
    if (has_code(opened, ErrorCode::corruption)) {
      job->all_moves_corrupt();
      append_batch(job);
    } else {
      end(job, opened);
    }
    return;
  }
  job->reads_left = runs.size();
  job->read_error = absl::OkStatus();
  for (const ReadRun& run : runs) {
    auto transfer = std::make_unique<Transfer>();
    transfer->file = victim.file;
    transfer->offset = run.offset;
    transfer->buffers.push_back(pool_.take(run.bytes));
    transfer->add(transfer->buffers[0].span());
    transfer->finished = [this, job, run](Transfer& read) {
      if (!read.is_whole()) {
        add(core_.counts.read_errors);
        if (read.error == 0) add(core_.counts.short_transfers);
        job->read_error = from_errno(read.error != 0 ? read.error : EIO, "read while cleaning");
      } else {
        job->keep(run, std::move(read.buffers[0]));
      }
      if (--job->reads_left > 0) return;
      if (!job->read_error.ok()) {
        end(job, job->read_error);
      } else {
        verify(job);
      }
    };
    queue_.submit(std::move(transfer), Lane::background);
  }
}

void Cleaner::verify(const JobPtr& job) {
  const std::size_t bad = job->verify_moves(core_.store);
  if (bad > 0) add(core_.counts.corruptions, bad);
  append_batch(job);
}

void Cleaner::append_batch(const JobPtr& job) {
  std::vector<Append*> batch = job->make_appends();
  job->appends_left = batch.size();
  if (batch.empty()) {
    appended(job);
    return;
  }
  for (Append* append : batch) {
    append->sync_wanted = true;
    append->done = [this, job](Append&) {
      if (--job->appends_left == 0) appended(job);
    };
  }
  log_.append(Stream::cleaner, batch);
  log_.flush();
}

void Cleaner::appended(const JobPtr& job) {
  absl::Status status;
  for (Move& move : job->moves) {
    if (move.needs_append && !move.append.status.ok()) status = move.append.status;
  }
  if (!status.ok()) {
    for (Move& move : job->moves) {  // copies that nobody will name
      if (move.needs_append && move.append.status.ok()) {
        log_.settled(move.append.place.segment, move.append.place.record_bytes);
      }
    }
    end(job, status);
    return;
  }
  std::vector<IndexWork*> works =
      job->make_works([this, job] { core_.io_loop.post([this, job] { committed(job); }); });
  if (works.empty()) {
    committed(job);
    return;
  }
  index_.post(works);
}

void Cleaner::committed(const JobPtr& job) {
  absl::Status status;
  for (Move& move : job->moves) {
    if (move.needs_append) log_.settled(move.append.place.segment, move.append.place.record_bytes);
    if (!move.status.ok()) status = move.status;
    if (!move.status.ok() || !move.took || !move.is_block() || move.forget) continue;
    add(core_.counts.cleaner_moved_bytes, move.append.place.record_bytes);
    job->moved_bytes += move.append.place.record_bytes;
    hooks_.relocated(move.entry.id, move.entry.location, move.append.location());
  }
  job->moves.clear();
  job->buffers.clear();
  if (!status.ok()) {
    end(job, status);
  } else {
    next_batch(job);
  }
}

/// Everything listed has been dealt with: corrupt blocks go, and nothing may be left.
void Cleaner::drain(const JobPtr& job) {
  if (!job->corrupt.empty()) {
    std::vector<CorruptBlock> corrupt;
    corrupt.swap(job->corrupt);
    hooks_.drop_corrupt(std::move(corrupt), [this, job] { drain(job); });
    return;
  }
  if (job->victim->live_bytes == 0) {
    sync_index(job);
  } else if (!job->scanned_index) {
    scan_index(job, {});  // the footer did not know them all
  } else {
    end(job,
        make_error(ErrorCode::busy, concat("segment ", static_cast<std::uint32_t>(job->victim->id),
                                           " still holds live bytes after cleaning")));
  }
}

void Cleaner::sync_index(const JobPtr& job) {
  hooks_.sync_data([this, job](const absl::Status&) {
    // A poisoned segment is told where it is found; its blocks are on their way out.
    sync_index_after_data(job);
  });
}

void Cleaner::sync_index_after_data(const JobPtr& job) {
  index_.post_sync([this, job](absl::Status status) {
    core_.io_loop.post([this, job, status = std::move(status)] {
      if (status.ok()) {
        wait_for_reads(job);
      } else {
        end(job, status);
      }
    });
  });
}

void Cleaner::wait_for_reads(const JobPtr& job) {
  Segment& victim = *job->victim;
  if (victim.reads_in_flight > 0 || victim.sync_in_flight) {
    job->waits_for_reads = true;
    core_.io_loop.run_at(core_.clock.now() + Duration::millis(10),
                         [this, job, alive = core_.alive] {
                           if (*alive && job_ == job && job->waits_for_reads) wait_for_reads(job);
                         });
    if (stopping_) end(job, make_error(ErrorCode::closed, "the store is closing"));
    return;
  }
  job->waits_for_reads = false;
  if (victim.live_bytes != 0) {  // counted from numbers that may have been damaged
    end(job, make_error(ErrorCode::busy, concat("segment ", static_cast<std::uint32_t>(victim.id),
                                                " was named again while it was emptied")));
    return;
  }
  free_victim(job);
}

void Cleaner::quiet(Segment& segment) {
  if (job_ == nullptr || job_->victim != &segment || !job_->waits_for_reads) return;
  wait_for_reads(JobPtr(job_));
}

void Cleaner::free_victim(const JobPtr& job) {
  table_.empty(*job->victim);
  opener_.free(*job->victim, [this, job](const absl::Status& status) {
    index_.post_row(table_.row(*job->victim));
    if (status.ok()) {
      add(core_.counts.cleaned_segments);
      CounterDelta delta;
      delta.cleaned_segments = 1;
      delta.cleaner_moved_bytes = job->moved_bytes;
      index_.post_counters(delta);
      table_.retry_files();
    }
    end(job, status);
  });
}

void Cleaner::end(const JobPtr& job, const absl::Status& status) {
  CAIRN_CHECK(job_ == job);
  Segment& victim = *job->victim;
  job->waits_for_reads = false;
  if (victim.phase == SegmentPhase::cleaning) table_.give_up_cleaning(victim);
  job_.reset();
  log_.set_cleaner_floor(UINT64_MAX);
  if (!status.ok()) {
    ++victim.cleaning_failures;
    table_.touch(victim);
    // What it was may have been no fault of the segment: a disk that somebody else had filled.
    // Those who wait for room are not kept waiting for that.
    core_.io_loop.run_at(core_.clock.now() + kForgiveAfter, [this, &victim, alive = core_.alive] {
      if (!*alive) return;
      victim.cleaning_failures = 0;
      table_.touch(victim);
      poke();
    });
    resting_ = true;
    core_.io_loop.run_at(core_.clock.now() + kRestAfterFailure, [this, alive = core_.alive] {
      if (!*alive) return;
      resting_ = false;
      poke();
      log_.retry();
    });
  }
  if (stopping_) {
    std::vector<std::function<void()>> waiting;
    waiting.swap(stopped_);
    for (auto& done : waiting) done();
    return;
  }
  log_.retry();
  poke();
}

}  // namespace cairn::tiers
