// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/segment_log.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"

namespace cairn::tiers {
namespace {

std::uint32_t number(const Segment& segment) {
  return static_cast<std::uint32_t>(segment.id);
}

}  // namespace

SegmentLog::SegmentLog(ColdCore& core, SegmentTable& table, IoQueue& queue, BufferPool& pool,
                       SegmentOpener& opener, SegmentSync& sync, Hooks hooks)
    : core_(core),
      table_(table),
      queue_(queue),
      pool_(pool),
      opener_(opener),
      sync_(sync),
      hooks_(std::move(hooks)) {
  writer(Stream::cleaner).stream = Stream::cleaner;
}

SegmentLog::~SegmentLog() {
  CAIRN_CHECK(queued() == 0);
}

void SegmentLog::append(Stream stream, std::span<Append* const> batch) {
  Writer& target = writer(stream);
  target.queue.insert(target.queue.end(), batch.begin(), batch.end());
  pump(target);
}

void SegmentLog::flush() {
  for (Writer& each : writers_) {
    pump(each);
    flush_gathered(each);
  }
}

void SegmentLog::retry() {
  for (Writer& each : writers_) pump(each);
}

bool SegmentLog::is_starved() const {
  for (const Writer& each : writers_) {
    if (!each.queue.empty() && each.open == nullptr && !each.opening) return true;
  }
  return false;
}

std::size_t SegmentLog::queued() const {
  std::size_t count = 0;
  for (const Writer& each : writers_) count += each.queue.size() + each.gathered.size();
  return count;
}

void SegmentLog::pump(Writer& w) {
  while (!w.queue.empty()) {
    if (core_.writes.is_off()) {
      fail_queue(w, core_.writes.status());
      return;
    }
    if (w.open == nullptr) {
      open_segment(w);
      if (w.open == nullptr) return;
      continue;
    }
    Append& front = *w.queue.front();
    if (front.is_large()) {
      pump_large(w);
    } else if (gather(w, front)) {
      w.queue.pop_front();
      if (w.gathered_bytes >= core_.options.gather_bytes) flush_gathered(w);
    } else {
      close_open(w);
    }
  }
  if (!w.gathered.empty()) arm_gather_timer(w);
}

/// One extent of consecutive large records, or the end of the segment.
void SegmentLog::pump_large(Writer& w) {
  std::vector<Append*> run;
  std::uint64_t bytes = 0, headers = 0;
  while (!w.queue.empty() && w.queue.front()->is_large()) {
    Append& next = *w.queue.front();
    const RecordLayout layout = lay_out_record(next.fields);
    if (!run.empty() && bytes + layout.total_bytes > kExtentBytesMax) break;
    if (!fits(w, bytes + layout.total_bytes, headers + layout.header_length)) break;
    bytes += layout.total_bytes;
    headers += layout.header_length;
    run.push_back(&next);
    w.queue.pop_front();
  }
  if (run.empty()) {
    close_open(w);
  } else {
    write_extent(*w.open, run);
  }
}

/// What is gathered goes behind everything placed so far, so its room is kept.
bool SegmentLog::fits(const Writer& w, std::uint64_t bytes, std::uint64_t headers) const {
  const Segment& segment = *w.open;
  const std::uint64_t end =
      segment.data_end + round_up(w.gathered_bytes, kPage) + round_up(bytes, kPage);
  return end + footer_bytes(segment.headers_planned + w.gathered_headers + headers) <=
         core_.segment_bytes;
}

bool SegmentLog::gather(Writer& w, Append& append) {
  const RecordLayout layout = lay_out_record(append.fields);
  if (w.gathered_bytes + layout.total_bytes > kExtentBytesMax) flush_gathered(w);
  // Its bytes may share the last page of the gathered ones; rounding each up is on the safe side.
  if (!fits(w, layout.total_bytes, layout.header_length)) return false;
  w.gathered.push_back(&append);
  w.gathered_bytes += layout.total_bytes;
  w.gathered_headers += layout.header_length;
  return true;
}

void SegmentLog::arm_gather_timer(Writer& w) {
  if (w.gather_armed) return;  // with the first of them
  w.gather_armed = true;
  const std::uint64_t round = w.gather_round;
  core_.io_loop.run_at(core_.clock.now() + core_.options.gather_time,
                       [this, &w, round, alive = core_.alive] {
                         if (!*alive || w.gather_round != round) return;
                         flush_gathered(w);
                       });
}

void SegmentLog::flush_gathered(Writer& w) {
  if (w.gathered.empty()) return;
  CAIRN_CHECK(w.open != nullptr);
  ++w.gather_round;
  w.gather_armed = false;
  w.gathered_bytes = w.gathered_headers = 0;
  std::vector<Append*> records;
  records.swap(w.gathered);
  write_extent(*w.open, records);
}

void SegmentLog::open_segment(Writer& w) {
  if (w.opening) return;
  if (w.stream == Stream::user) {
    if (Segment* const resumable = table_.take_resumable()) {
      resume_segment(w, *resumable);
      return;
    }
  }
  Segment* segment = table_.take(w.stream);
  if (segment == nullptr) {
    hand_over_urgent(w);
    if (!hooks_.starved(w.stream)) {
      fail_queue(w,
                 make_error(ErrorCode::busy, "no segment is free and cleaning would win nothing"));
    }
    return;
  }
  w.opening = true;
  // Sequences are given out before they are written, so a user's segment may hold records
  // older than its opening; append() lowers this as they come.
  std::uint64_t sequence = core_.next_sequence.load();
  if (w.stream == Stream::cleaner) sequence = std::min(sequence, cleaner_floor_);
  opener_.open(*segment, sequence, [this, &w, segment](const absl::Status& status) {
    w.opening = false;
    if (!status.ok()) {
      hand_over_urgent(w);
      fail_queue(w, status);
      return;
    }
    w.open = segment;
    hooks_.row(table_.row(*segment));
    pump(w);
  });
}

/// There is no segment for users. Removing must work when everything is full, and the cleaner
/// itself may be waiting for a removal before it can free one: so what removes goes where the
/// cleaner appends, which users never do.
void SegmentLog::hand_over_urgent(Writer& w) {
  if (w.stream != Stream::user) return;
  Writer& cleaners = writer(Stream::cleaner);
  std::deque<Append*> rest;
  bool any = false;
  for (Append* append : w.queue) {
    (append->is_urgent ? cleaners.queue : rest).push_back(append);
    any = any || append->is_urgent;
  }
  if (!any) return;
  w.queue = std::move(rest);
  pump(cleaners);
}

void SegmentLog::resume_segment(Writer& w, Segment& segment) {
  w.opening = true;
  opener_.resume(segment, [this, &w, &segment](const absl::Status& status) {
    w.opening = false;
    if (status.ok()) {
      w.open = &segment;
    } else {
      log_line(LogLevel::warning,
               concat("segment ", number(segment), " stays sealed: ", message_of(status)));
      hooks_.row(table_.row(segment));  // the index may say `open` already
    }
    pump(w);
  });
}

void SegmentLog::fail_queue(Writer& w, const absl::Status& status) {
  std::deque<Append*> failed;
  failed.swap(w.queue);
  for (Append* append : failed) finish(*append, status);
}

void SegmentLog::finish(Append& append, absl::Status status) {
  append.status = std::move(status);
  auto done = std::move(append.done);  // the append may be gone before done returns
  done(append);
}

void SegmentLog::close_open(Writer& w) {
  flush_gathered(w);
  Segment& segment = *w.open;
  w.open = nullptr;
  ++closing_;
  table_.close(segment);
  seal_if_quiet(segment);
}

void SegmentLog::seal_if_quiet(Segment& segment) {
  if (segment.phase != SegmentPhase::closing || segment.writes_in_flight > 0) return;
  if (segment.has_footer) return;  // being written
  segment.has_footer = true;
  // Repair and roll_forward() believe a footer without reading the payloads that it lists: it must
  // not be on the medium before they are.
  sync_.sync(segment, [this, &segment](const absl::Status& synced) {
    if (synced.ok() && !core_.writes.is_off()) {
      write_footer(segment);
    } else {
      footer_done(segment, false);
    }
  });
}

void SegmentLog::write_footer(Segment& segment) {
  std::sort(segment.headers.begin(), segment.headers.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string headers;
  for (const auto& [offset, bytes] : segment.headers) headers += bytes;
  const std::uint64_t bytes = footer_bytes(headers.size());
  auto transfer = std::make_unique<Transfer>();
  transfer->kind = IoKind::write;
  transfer->file = segment.file;
  transfer->offset = core_.segment_bytes - bytes;
  transfer->buffers.push_back(pool_.take(bytes));
  transfer->add(transfer->buffers[0].span());
  SegmentFooter footer;
  footer.store = core_.store;
  footer.segment = number(segment);
  footer.generation = segment.generation;
  footer.record_count = static_cast<std::uint32_t>(segment.headers.size());
  encode_footer(footer, as_bytes(headers), transfer->offset, transfer->buffers[0].span());
  ++segment.writes_in_flight;
  transfer->finished = [this, &segment](Transfer& done) {
    --segment.writes_in_flight;
    add(core_.counts.media_bytes_written, done.transferred);
    if (!done.is_whole()) add(core_.counts.write_errors);
    if (done.transferred > 0) segment.unsynced = !segment.poisoned;
    footer_done(segment, done.is_whole());
  };
  queue_.submit(std::move(transfer), Lane::foreground);
}

void SegmentLog::footer_done(Segment& segment, bool written) {
  segment.has_footer = written && !segment.poisoned;
  table_.sealed(segment);
  tell_row(segment);
  --closing_;
  if (closing_ == 0) {
    std::vector<std::function<void()>> waiting;
    waiting.swap(when_sealed_);
    for (auto& each : waiting) each();
  }
}

/// Not before the index names what lies in it, or knows that it never will: a log that is cut in
/// between would say of a segment which it has not heard the last of that there is nothing to learn
/// from it (roll_forward).
void SegmentLog::tell_row(Segment& segment) {
  segment.owes_row = segment.records_pending > 0;
  if (!segment.owes_row) hooks_.row(table_.row(segment));
}

void SegmentLog::settled(SegmentId id, std::uint64_t bytes) {
  table_.settled(id, bytes);
  if (Segment& segment = table_.get(id); segment.owes_row) tell_row(segment);
}

void SegmentLog::close_segments(std::function<void()> done) {
  for (Writer& each : writers_) {
    pump(each);
    if (each.open != nullptr) close_open(each);
  }
  if (closing_ == 0) {
    done();
  } else {
    when_sealed_.push_back(std::move(done));
  }
}

void SegmentLog::abandon(Segment& segment) {
  for (Writer& each : writers_) {
    if (each.open != &segment) continue;
    // What was gathered is not placed yet: it goes into the next segment.
    each.queue.insert(each.queue.begin(), each.gathered.begin(), each.gathered.end());
    each.gathered.clear();
    each.gathered_bytes = each.gathered_headers = 0;
    ++each.gather_round;
    each.gather_armed = false;
    each.open = nullptr;
    ++closing_;
    table_.close(segment);
    // Not from here: whoever found the fault is still using the segment.
    core_.io_loop.post([this, &segment, alive = core_.alive] {
      if (!*alive) return;
      seal_if_quiet(segment);
      for (Writer& writer : writers_) pump(writer);
    });
  }
}

}  // namespace cairn::tiers
