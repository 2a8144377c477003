// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/segment_table.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/text.h"
#include "tiers/record/record.h"

namespace cairn::tiers {

namespace {
constexpr std::uint32_t kCleaningFailuresMax = 3;
constexpr std::uint64_t kResumeRoom = 16;  // one sixteenth of a segment is worth a footer
std::uint32_t number(SegmentId id) {
  return static_cast<std::uint32_t>(id);
}
/// Where the index names something in a segment that it calls free, one of the two is wrong, and
/// nobody is given the segment until those entries are gone.
bool is_free_file(const Segment& segment) {
  return segment.phase == SegmentPhase::free && segment.has_file && segment.live_bytes == 0 &&
         !segment.quarantined && !segment.poisoned;
}
}  // namespace

SegmentTable::SegmentTable(std::uint64_t segment_bytes, std::uint32_t limit, Space& space)
    : segment_bytes_(segment_bytes), limit_(limit), space_(space) {}

Segment& SegmentTable::make(SegmentId id) {
  const std::uint32_t at = number(id);
  CAIRN_CHECK(at < kSegmentsMax);
  if (segments_.size() <= at) {
    segments_.resize(at + 1);
    shares_.resize(at + 1);
  }
  if (segments_[at] == nullptr) {
    segments_[at] = std::make_unique<Segment>();
    segments_[at]->id = id;
  }
  return *segments_[at];
}

void SegmentTable::restore(const SegmentRow& row, bool has_file, std::uint64_t data_end) {
  Segment& segment = make(row.segment);
  segment.has_file = has_file;
  count_file(segment, has_file);
  segment.generation = row.generation;
  segment.opened_at_sequence = row.opened_at_sequence;
  segment.live_bytes = static_cast<std::int64_t>(row.live_bytes);
  segment.data_end = data_end;
  segment.has_footer = row.state == SegmentState::sealed;
  segment.is_suspect = row.state == SegmentState::open || row.state == SegmentState::unsealed;
  if (segment.is_suspect) segment.opened_at_sequence = 0;  // what it holds is not known
  segment.quarantined = row.state == SegmentState::quarantined;
  segment.poisoned = row.state == SegmentState::poisoned;
  segment.phase = row.state == SegmentState::free ? SegmentPhase::free : SegmentPhase::sealed;
  if (segment.phase == SegmentPhase::free) {
    segment.live_bytes = 0;
    segment.data_end = 0;
    if (is_free_file(segment)) ++free_files_;
  }
  touch(segment);
}

void SegmentTable::restore_file(SegmentId id) {
  if (find(id) != nullptr) return;
  Segment& segment = make(id);
  segment.has_file = true;
  count_file(segment, true);
  ++free_files_;
  touch(segment);
}

void SegmentTable::offer_to_resume(SegmentId id) {
  Segment& segment = get(id);
  // A number out of a file, and everything that is appended begins there.
  if (segment.data_end % kPage != 0 || segment.data_end > segment_bytes_) return;
  const std::uint64_t room = segment_bytes_ - std::min(segment_bytes_, segment.data_end + kPage);
  segment.is_resumable = segment.phase == SegmentPhase::sealed && segment.has_file &&
                         segment.has_footer && !segment.quarantined && !segment.poisoned &&
                         segment.data_end >= kPage && room * kResumeRoom >= segment_bytes_;
  touch(segment);
}

Segment* SegmentTable::find(SegmentId id) {
  const std::uint32_t at = number(id);
  return at < segments_.size() ? segments_[at].get() : nullptr;
}

Segment& SegmentTable::get(SegmentId id) {
  Segment* segment = find(id);
  CAIRN_CHECK(segment != nullptr);
  return *segment;
}

std::uint32_t SegmentTable::free_segments() const {
  const std::uint32_t creatable = files_ < limit_ && !files_blocked_ ? limit_ - files_ : 0;
  // A lowered limit is met by giving free files up, not by filling them again.
  const std::uint32_t excess = files_ > limit_ ? files_ - limit_ : 0;
  return creatable + (free_files_ > excess ? free_files_ - excess : 0);
}

Segment* SegmentTable::take(Stream stream) {
  thread_.check();
  const std::uint32_t free = free_segments();
  std::uint32_t keep = 0;
  if (stream == Stream::user) {
    // While live bytes are being counted nothing can be cleaned, so one of the reserved
    // segments may bridge the time.
    keep = (known_ ? kReservedSegments : 1U);
    keep -= std::min(keep, cleaner_is_open_ ? 1U : 0U);
  }
  if (free <= keep) return nullptr;
  Segment* chosen = nullptr;
  if (free_files_ > 0) {
    for (auto& segment : segments_) {
      if (segment == nullptr || !is_free_file(*segment)) continue;
      // Used in turns, so that wear is spread and what was freed last keeps its bytes longest.
      const auto order = [](const Segment& s) {
        return std::pair(s.opening_failures, s.generation);
      };
      if (chosen == nullptr || order(*segment) < order(*chosen)) chosen = segment.get();
    }
  }
  if (chosen == nullptr) {
    if (files_ >= limit_ || files_blocked_) return nullptr;
    std::uint32_t at = 0;
    while (at < segments_.size() && segments_[at] != nullptr &&
           (segments_[at]->phase != SegmentPhase::free || segments_[at]->has_file ||
            segments_[at]->live_bytes != 0)) {
      ++at;
    }
    if (at >= kSegmentsMax) return nullptr;
    chosen = &make(SegmentId{at});
    count_file(*chosen, true);
  } else {
    --free_files_;
  }
  CAIRN_CHECK(chosen->live_bytes == 0);
  CAIRN_CHECK(chosen->reads_in_flight == 0 && chosen->writes_in_flight == 0);
  chosen->stream = stream;
  if (stream == Stream::cleaner) cleaner_is_open_ = true;
  set_phase(*chosen, SegmentPhase::opening);
  return chosen;
}

void SegmentTable::opened(Segment& segment) {
  CAIRN_CHECK(segment.phase == SegmentPhase::opening);
  segment.has_file = true;
  segment.has_footer = false;
  segment.is_suspect = false;
  segment.corruptions = segment.cleaning_failures = segment.opening_failures = 0;
  segment.data_end = kPage;
  segment.headers_planned = 0;
  segment.headers.clear();
  set_phase(segment, SegmentPhase::open);
}

Segment* SegmentTable::take_resumable() {
  thread_.check();
  for (auto& segment : segments_) {
    if (segment == nullptr || !segment->is_resumable || segment->is_resuming) continue;
    if (segment->phase != SegmentPhase::sealed || segment->quarantined || segment->poisoned)
      continue;
    segment->is_resuming = true;
    return segment.get();
  }
  return nullptr;
}

void SegmentTable::resumed(Segment& segment) {
  CAIRN_CHECK(segment.phase == SegmentPhase::sealed && segment.is_resuming);
  CAIRN_CHECK(!segment.quarantined && !segment.poisoned);
  segment.is_resumable = segment.is_resuming = false;
  segment.has_footer = false;
  segment.stream = Stream::user;
  set_phase(segment, SegmentPhase::open);
}

void SegmentTable::not_resumed(Segment& segment) {
  segment.is_resumable = segment.is_resuming = false;
  touch(segment);
}

void SegmentTable::failed(Segment& segment) {
  CAIRN_CHECK(segment.phase == SegmentPhase::opening);
  if (segment.stream == Stream::cleaner) cleaner_is_open_ = false;
  ++segment.opening_failures;
  segment.phase = SegmentPhase::free;
  if (!segment.has_file) {
    segment.poisoned = false;
    count_file(segment, false);
  }
  if (is_free_file(segment)) ++free_files_;
  touch(segment);
}

void SegmentTable::close(Segment& segment) {
  CAIRN_CHECK(segment.phase == SegmentPhase::open);
  if (segment.stream == Stream::cleaner) cleaner_is_open_ = false;
  set_phase(segment, SegmentPhase::closing);
}

void SegmentTable::sealed(Segment& segment) {
  CAIRN_CHECK(segment.phase == SegmentPhase::closing && segment.writes_in_flight == 0);
  segment.headers.clear();
  segment.headers.shrink_to_fit();
  set_phase(segment, SegmentPhase::sealed);
}

void SegmentTable::clean(Segment& segment) {
  CAIRN_CHECK(segment.phase == SegmentPhase::sealed && !segment.is_resuming);
  segment.is_resumable = false;
  set_phase(segment, SegmentPhase::cleaning);
}

void SegmentTable::give_up_cleaning(Segment& segment) {
  CAIRN_CHECK(segment.phase == SegmentPhase::cleaning || segment.phase == SegmentPhase::freeing);
  set_phase(segment, SegmentPhase::sealed);
}

void SegmentTable::empty(Segment& segment) {
  CAIRN_CHECK(segment.phase == SegmentPhase::cleaning && segment.live_bytes == 0);
  CAIRN_CHECK(segment.reads_in_flight == 0 && segment.writes_in_flight == 0);
  set_phase(segment, SegmentPhase::freeing);
}

void SegmentTable::freed(Segment& segment, bool has_file) {
  CAIRN_CHECK(segment.phase == SegmentPhase::freeing && segment.reads_in_flight == 0);
  segment.has_file = has_file;
  if (!has_file) {
    count_file(segment, false);
    segment.file = FileId::none;
    segment.poisoned = segment.quarantined = false;
  }
  segment.data_end = 0;
  segment.unsynced = false;
  segment.phase = SegmentPhase::free;
  if (is_free_file(segment)) ++free_files_;
  touch(segment);
}

void SegmentTable::out_of_files() {
  files_blocked_ = true;
  publish();
}

void SegmentTable::retry_files() {
  files_blocked_ = false;
  publish();
}

void SegmentTable::pending(Segment& segment, std::uint64_t bytes) {
  ++segment.records_pending;
  segment.pending_bytes += bytes;
}

void SegmentTable::settled(SegmentId id, std::uint64_t bytes) {
  Segment& segment = get(id);
  CAIRN_CHECK(segment.records_pending > 0 && segment.pending_bytes >= bytes);
  --segment.records_pending;
  segment.pending_bytes -= bytes;
  touch(segment);
}

void SegmentTable::add_live(SegmentId id, std::int64_t bytes) {
  Segment* segment = find(id);
  if (segment == nullptr) return;  // an entry of a segment that is lost: it frees nothing
  const bool was_free = is_free_file(*segment);
  if (segment->phase == SegmentPhase::free && segment->live_bytes == 0 && bytes != 0) {
    log_line(LogLevel::warning, concat("the index names something in segment ", number(id),
                                       ", which it calls free: it is left alone"));
  }
  segment->live_bytes += bytes;
  recount_free(was_free, *segment);
  touch(*segment);
}

void SegmentTable::recount_free(bool was_free, const Segment& segment) {
  const bool is_free = is_free_file(segment);
  if (is_free && !was_free) ++free_files_;
  if (!is_free && was_free) --free_files_;
}

void SegmentTable::count_file(Segment& segment, bool is_counted) {
  if (is_counted && !segment.is_counted) ++files_;
  if (!is_counted && segment.is_counted) --files_;
  segment.is_counted = is_counted;
}

void SegmentTable::set_unknown() {
  known_ = false;
  for (auto& segment : segments_) {
    if (segment == nullptr) continue;
    const bool was_free = is_free_file(*segment);
    segment->live_bytes = 0;
    recount_free(was_free, *segment);
    touch(*segment);
  }
  publish();
}

void SegmentTable::set_known() {
  known_ = true;
  publish();
}

bool SegmentTable::is_worth_cleaning(const Segment& segment) const {
  if (segment.phase != SegmentPhase::sealed || segment.cleaning_failures >= kCleaningFailuresMax)
    return false;
  if (segment.poisoned) return true;
  if (segment.quarantined) return segment.live() > 0;
  return segment.live() == 0 || segment.dead() * 16 >= segment_bytes_;
}

Segment* SegmentTable::poorest(bool any) {
  thread_.check();
  Segment* best = nullptr;
  const auto value = [&](const Segment& segment) {
    if (segment.poisoned || segment.quarantined) return 2 * segment_bytes_;
    return segment.live() == 0 ? segment_bytes_ : segment.dead();
  };
  for (auto& segment : segments_) {
    if (segment == nullptr || segment->phase != SegmentPhase::sealed) continue;
    if (segment->writes_in_flight > 0 || segment->records_pending > 0 || segment->sync_in_flight)
      continue;
    if (segment->cleaning_failures >= kCleaningFailuresMax || segment->is_resuming) continue;
    const bool worth = is_worth_cleaning(*segment) || (any && segment->dead() > 0);
    if (!worth) continue;
    if (best == nullptr || value(*segment) > value(*best)) best = segment.get();
  }
  return best;
}

bool SegmentTable::needs_cleaning() const {
  if (!known_) return false;
  const std::uint32_t held = cleaner_is_open_ ? 1 : 0;
  return marked_ > 0 || free_segments() + held <= kReservedSegments || files_ > limit_;
}

SegmentRow SegmentTable::row(const Segment& segment) const {
  SegmentRow row;
  row.segment = segment.id;
  row.generation = segment.generation;
  row.opened_at_sequence = segment.opened_at_sequence;
  row.live_bytes = segment.live();
  if (segment.is_out_of_use()) {
    row.state = SegmentState::quarantined;  // also when it has been emptied
  } else if (!segment.is_in_use()) {
    row.state = SegmentState::free;
  } else if (segment.poisoned) {
    row.state = SegmentState::poisoned;
  } else if (segment.has_footer) {
    row.state = SegmentState::sealed;
  } else {
    const bool is_open =
        segment.phase == SegmentPhase::open || segment.phase == SegmentPhase::closing;
    row.state = is_open ? SegmentState::open : SegmentState::unsealed;
  }
  return row;
}

std::vector<SegmentRow> SegmentTable::rows() const {
  std::vector<SegmentRow> rows;
  for (const auto& segment : segments_) {
    if (segment != nullptr) rows.push_back(row(*segment));
  }
  return rows;
}

void SegmentTable::for_each(const std::function<void(Segment&)>& visit) {
  for (auto& segment : segments_) {
    if (segment != nullptr) visit(*segment);
  }
}

std::uint64_t SegmentTable::oldest_opening(const Segment* except) const {
  std::uint64_t oldest = UINT64_MAX;
  for (const auto& segment : segments_) {
    // One that is being freed keeps its old bytes until its new header is on the medium.
    if (segment == nullptr || segment.get() == except || !segment->is_in_use()) continue;
    oldest = std::min(oldest, segment->opened_at_sequence);
  }
  return oldest;
}

std::uint64_t SegmentTable::occupied(const Segment& segment) const {
  if (segment.is_out_of_use()) return 0;  // the capacity is without it
  if (segment.is_resumable) return segment.data_end - std::min(segment.data_end, segment.dead());
  switch (segment.phase) {
    case SegmentPhase::free:
    case SegmentPhase::opening:
      return 0;
    case SegmentPhase::open:
      return segment.data_end - std::min(segment.data_end, segment.dead());
    case SegmentPhase::closing:
    case SegmentPhase::sealed:
    case SegmentPhase::cleaning:
    case SegmentPhase::freeing:
      return segment.live() + segment.pending_bytes == 0
                 ? 0
                 : segment_bytes_ - std::min(segment_bytes_, segment.dead());
  }
  CAIRN_UNREACHABLE();
}

SegmentTable::Share SegmentTable::share_of(const Segment& segment) const {
  Share share;
  share.occupied = occupied(segment);
  share.out_of_use = segment.is_out_of_use() ? 1 : 0;
  if (segment.is_in_use()) share.dead = segment.dead();
  const bool is_users = segment.phase == SegmentPhase::open && segment.stream == Stream::user;
  if ((is_users || segment.is_resumable) && !segment.poisoned && !segment.quarantined) {
    // The next header's copy may take the footer another page.
    const std::uint64_t taken = segment.data_end + footer_bytes(segment.headers_planned) + kPage;
    share.tail = segment_bytes_ > taken ? segment_bytes_ - taken : 0;
  }
  share.worth_cleaning = is_worth_cleaning(segment);
  share.marked = share.worth_cleaning && (segment.poisoned || segment.quarantined);
  return share;
}

void SegmentTable::touch(Segment& segment) {
  Share& old = shares_[number(segment.id)];
  const Share share = share_of(segment);
  total_.occupied += share.occupied - old.occupied;
  total_.dead += share.dead - old.dead;
  total_.out_of_use += share.out_of_use - old.out_of_use;
  if (share.tail > 0 && old.tail == 0) tails_.push_back(segment.id);
  if (share.tail == 0 && old.tail > 0) std::erase(tails_, segment.id);
  if (share.worth_cleaning != old.worth_cleaning) {
    worth_cleaning_ = share.worth_cleaning ? worth_cleaning_ + 1 : worth_cleaning_ - 1;
  }
  if (share.marked != old.marked) marked_ = share.marked ? marked_ + 1 : marked_ - 1;
  old = share;
  publish();
}

void SegmentTable::set_phase(Segment& segment, SegmentPhase phase) {
  thread_.check();
  segment.phase = phase;
  touch(segment);
}

void SegmentTable::publish() {
  SpaceView view;
  const std::uint32_t unusable = kReservedSegments + total_.out_of_use;
  view.capacity = limit_ > unusable ? (limit_ - unusable) * segment_bytes_ : 0;
  view.occupied = total_.occupied;
  view.dead = total_.dead;
  const std::uint32_t held = cleaner_is_open_ ? 1 : 0;
  const std::uint32_t keep = known_ ? kReservedSegments : 1;
  const std::uint32_t free = free_segments() + held;
  view.segment_bytes = segment_bytes_;
  view.free = free > keep ? free - keep : 0;
  for (std::size_t i = 0; i < std::min(tails_.size(), view.tails.size()); ++i) {
    view.tails[i] = shares_[number(tails_[i])].tail;
  }
  view.is_known = known_;
  view.is_cleanable = worth_cleaning_ > 0;
  space_.publish(view);
}

void SegmentTable::check_invariants() const {
  std::uint32_t files = 0, free_files = 0;
  Share sum;
  for (const auto& segment : segments_) {
    if (segment == nullptr) continue;
    const bool being_made = segment->phase == SegmentPhase::opening && !segment->has_file;
    files += segment->has_file || being_made ? 1U : 0U;
    if (segment->phase == SegmentPhase::free) {
      free_files += is_free_file(*segment) ? 1U : 0U;
      CAIRN_CHECK(segment->reads_in_flight == 0 && segment->writes_in_flight == 0);
    }
    sum.occupied += occupied(*segment);
  }
  CAIRN_CHECK(files == files_ && free_files == free_files_);
  CAIRN_CHECK(sum.occupied == total_.occupied);
}

}  // namespace cairn::tiers
