// SPDX-License-Identifier: Apache-2.0
// What the cold tier does without being asked: syncing, counting, purging, reacting to faults.
#include <memory>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tiers/cold/cold_tier_impl.h"

namespace cairn::tiers {
namespace {

constexpr std::size_t kEntriesAtOnce = 2048;

using Answer = std::function<void(absl::Status)>;

/// Copied on its way, and yet to be let go of by who calls it: what it owns is gone before close()
/// returns.
std::shared_ptr<Answer> shared(Answer done) {
  return std::make_shared<Answer>(std::move(done));
}

}  // namespace

/// Power cuts lose at most what was written since the last of these.
void ColdTier::schedule_sync() {
#if !defined(CAIRN_PLANTED_PERIODIC_SYNC_SKIPPED)
  const TimePoint due = core_.clock.now() + core_.options.sync_interval;
  core_.io_loop.run_at(due, [this, alive = core_.alive] {
    if (!*alive || shutting_down_.load()) return;
    schedule_sync();
    if (table_.has_marked()) cleaner_.poke();  // marked while in use: it can be cleaned by now
    if (!touched_ || core_.writes.is_off() || !begin_operation()) return;
    touched_ = false;
    index_queue_.post_counters(uncounted_media());
    sync_everything([this](const absl::Status&) { end_operation(); });
  });
#endif
}

/// I/O loop: what the medium has taken since the index was told the last time.
CounterDelta ColdTier::uncounted_media() {
  const std::uint64_t media = core_.counts.media_bytes_written.load(std::memory_order_relaxed) +
                              core_.index->bytes_written();
  CounterDelta delta;
  delta.media_bytes_written = media - std::exchange(media_bytes_counted_, media);
  return delta;
}

/// I/O loop: data first, then the index that names it. `done` runs on the index loop.
void ColdTier::sync_everything(std::function<void(absl::Status)> done) {
  sync_.sync_all([this, done = std::move(done)](const absl::Status& data) {
    index_queue_.post_sync(
        [data, done](const absl::Status& index) { done(data.ok() ? index : data); });
  });
}

void ColdTier::sync(std::function<void(absl::Status)> done) {
  if (core_.read_only) {
    done(absl::OkStatus());
    return;
  }
  if (!begin_operation()) {
    done(make_error(ErrorCode::closed, "the store is closing"));
    return;
  }
  core_.io_loop.post([this, owned = shared(std::move(done))] {
    sync_everything([this, owned](absl::Status status) {
      std::exchange(*owned, nullptr)(std::move(status));
      end_operation();
    });
  });
}

void ColdTier::compact(double dead_fraction, std::function<void(absl::Status)> done) {
  if (const absl::Status refused = refusal(); !refused.ok()) {
    done(refused);
    return;
  }
  if (!begin_operation()) {
    done(make_error(ErrorCode::closed, "the store is closing"));
    return;
  }
  core_.io_loop.post([this, dead_fraction, owned = shared(std::move(done))] {
    cleaner_.compact(dead_fraction, [this, owned](absl::Status status) {
      std::exchange(*owned, nullptr)(std::move(status));
      end_operation();
    });
  });
}

/// Index loop: after a dirty opening, what lives where is counted while others are served.
void ColdTier::count_entries() {
  if (shutting_down_.load()) {
    counting_.store(false);
    progressed();
    return;
  }
  const auto finished = index_queue_.count_some(kEntriesAtOnce);
  if (finished.ok() && !*finished) {
    core_.index_loop.post([this] { count_entries(); });
    return;
  }
  core_.io_loop.post([this, status = finished.status()] {
    counting_.store(false);
    progressed();
    if (!status.ok()) {
      // Without the sums nothing may be cleaned; what is there can be read.
      core_.writes.turn_off(
          concat("the index cannot be read: ", message_of(status), "; run `cairn repair`"));
      return;
    }
    table_.set_known();
    log_.retry();
    cleaner_.poke();
  });
}

/// Index loop: what a clear has ended makes room, bit by bit.
void ColdTier::purge(NamespaceId id, std::string cursor) {
  NamespaceFacts facts;
  if (shutting_down_.load() || core_.writes.is_off() || !core_.namespaces.find(id, facts)) {
    purges_.fetch_sub(1);
    progressed();
    purge_unfinished_.store(true);
    return;
  }
  const auto finished = index_queue_.purge_some(id, facts.epoch, cursor, kEntriesAtOnce);
  if (!finished.ok()) {
    // Dead entries cost room, nothing else; the next dirty opening counts them out.
    log_line(LogLevel::warning,
             concat("purging a cleared namespace: ", message_of(finished.status())));
    purge_unfinished_.store(true);
    purges_.fetch_sub(1);
    progressed();
    return;
  }
  if (*finished) {
    purges_.fetch_sub(1);
    progressed();
    return;
  }
  core_.index_loop.post([this, id, cursor = std::move(cursor)] { purge(id, cursor); });
}

void ColdTier::extend_sequences() {
  // Whoever comes while the numbers last goes on; at the ceiling everyone waits for the index.
  const bool is_urgent = core_.next_sequence.load() + 1 >= sequence_ceiling_.load();
  if (extending_.exchange(true) && !is_urgent) return;
  const auto extend = [this] {
    const auto first = core_.index->reserve_sequences(kSequencesAhead);
    if (first.ok()) {
      sequence_ceiling_.store(*first + kSequencesAhead);
    } else {
      core_.writes.turn_off(concat("no sequence numbers: ", message_of(first.status())));
    }
    extending_.store(false);
  };
  if (is_urgent) {
    extend();
  } else if (begin_operation()) {
    core_.index_loop.post([this, extend] {
      extend();
      end_operation();
    });
  } else {
    extending_.store(false);
  }
}

/// I/O loop: the index names a block there, and it is not there.
void ColdTier::on_corrupted(Segment& segment) {
  // A report may come late, when the segment has been emptied; and where the index names something
  // in one that it calls free, it is the index that is wrong.
  if (!segment.is_in_use()) return;
  if (segment.is_suspect) return;  // a power cut took it
  ++segment.corruptions;
  if (segment.quarantined || segment.corruptions < core_.options.segment_corruptions_max) return;
  segment.quarantined = true;
  add(core_.counts.quarantined_segments);
  log_line(LogLevel::error,
           concat("segment ", static_cast<std::uint32_t>(segment.id), " is quarantined after ",
                  segment.corruptions, " corrupt blocks; check the disk"));
  table_.touch(segment);
  log_.abandon(segment);
  if (!core_.read_only) index_queue_.post_row(table_.row(segment));
  cleaner_.poke();
}

/// I/O loop: a sync of it failed.
void ColdTier::on_poisoned(Segment& segment) {
  log_.abandon(segment);
  index_queue_.post_row(table_.row(segment));
  cleaner_.poke();
}

}  // namespace cairn::tiers
