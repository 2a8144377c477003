// SPDX-License-Identifier: Apache-2.0
// The way out: finish, seal, sync, and say that it was done properly.
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tiers/cold/cold_tier_impl.h"
#include "tiers/cold/state_file.h"

namespace cairn::tiers {

std::string encode_clean_mark(const CleanMark& mark) {
  std::string out;
  append_le(out, mark.blocks);
  append_le(out, mark.entry_bytes);
  for (const auto& [segment, data_end] : mark.data_ends) {
    append_le(out, static_cast<std::uint64_t>(segment));
    append_le(out, data_end);
  }
  return out;
}

std::optional<CleanMark> parse_clean_mark(std::string_view bytes) {
  if (bytes.size() < 16 || bytes.size() % 16 != 0) return std::nullopt;
  CleanMark mark;
  mark.blocks = load_le<std::uint64_t>(as_bytes(bytes), 0);
  mark.entry_bytes = load_le<std::uint64_t>(as_bytes(bytes), 8);
  for (std::size_t at = 16; at < bytes.size(); at += 16) {
    const auto segment = load_le<std::uint64_t>(as_bytes(bytes), at);
    if (segment >= kSegmentsMax) return std::nullopt;
    mark.data_ends.emplace_back(SegmentId{static_cast<std::uint32_t>(segment)},
                                load_le<std::uint64_t>(as_bytes(bytes), at + 8));
  }
  return mark;
}

void ColdTier::wait_for(const std::function<bool()>& ready) {
  if (pump_) {
    while (!ready()) pump_();
    return;
  }
  MutexLock lock(mutex_);
  // What has no lock of its own tells progressed(); the time limit only bounds a word that was
  // missed between the look and the wait.
  while (!ready()) changed_.wait_for(mutex_, std::chrono::milliseconds(20));
}

/// Something that close() may be waiting for has changed.
void ColdTier::progressed() {
  MutexLock lock(mutex_);
  changed_.notify_all();
}

/// Runs a step on a loop and waits until it says that it is done.
void ColdTier::run_and_wait(EventLoop& loop, std::function<void(std::function<void()>)> step) {
  auto finished = std::make_shared<std::atomic<bool>>(false);
  loop.post([this, step = std::move(step), finished] {
    step([this, finished] {
      // Under the lock: who waits may destroy the tier as soon as it sees this.
      MutexLock lock(mutex_);
      finished->store(true);
      changed_.notify_all();
    });
  });
  wait_for([finished] { return finished->load(); });
}

void ColdTier::close() {
  {
    MutexLock lock(mutex_);
    if (closed_) return;
    closed_ = true;
    closing_ = true;
  }
  shutting_down_.store(true);
  // What waits for company, or for a segment that the cleaner has yet to free, ends now.
  run_and_wait(core_.io_loop, [this](std::function<void()> done) {
    log_.flush();
    cleaner_.stop(std::move(done));
  });
  run_and_wait(core_.io_loop, [this](const std::function<void()>& done) {
    log_.retry();
    log_.flush();
    done();
  });
  wait_for([this, pumped = static_cast<bool>(pump_)]() CAIRN_NO_THREAD_SAFETY_ANALYSIS {
    if (!pumped) return operations_ == 0;
    MutexLock lock(mutex_);
    return operations_ == 0;
  });
  wait_for([this] { return !counting_.load() && purges_.load() == 0; });
  absl::Status status;
  if (!core_.read_only && !core_.writes.is_off()) {
    run_and_wait(core_.io_loop,
                 [this](std::function<void()> done) { log_.close_segments(std::move(done)); });
    run_and_wait(core_.io_loop, [this, &status](const std::function<void()>& done) {
      sync_everything([&status, done](absl::Status result) {
        status = std::move(result);
        done();
      });
    });
    if (status.ok()) status = leave_clean_mark();
    if (!status.ok())
      log_line(LogLevel::warning, concat("the store was not closed clean: ", message_of(status)));
  }
  // A hung request keeps its buffers and its segment: wait for the device.
  run_and_wait(core_.io_loop, [this](const std::function<void()>& done) {
    *core_.alive = false;  // timers find nobody
    done();
  });
  wait_for([this] { return device_is_quiet_.load() || check_quiet(); });
  wait_for([this] { return !looking_.load(); });
  run_and_wait(core_.index_loop, [](const std::function<void()>& done) { done(); });
  run_and_wait(core_.io_loop, [this](const std::function<void()>& done) {
    opener_.close_files();
    done();
  });
  lock_.reset();
}

/// Takes a look at the requests in flight, every millisecond; true once there are none. By a
/// timer and not by a task, so that time can pass in between where it is simulated.
bool ColdTier::check_quiet() {
  if (!looking_.exchange(true)) {
    core_.io_loop.run_at(core_.clock.now() + Duration::millis(1), [this] {
      const bool quiet =
          reader_.requests_in_flight() == 0 && queue_.in_flight() == 0 && log_.queued() == 0;
      device_is_quiet_.store(quiet);
      looking_.store(false);
      progressed();
    });
  }
  return false;
}

absl::Status ColdTier::leave_clean_mark() {
  if (purge_unfinished_.load() || core_.writes.is_off()) {
    return make_error(ErrorCode::busy, "the next opening has to count again");
  }
  CleanMark mark;
  std::vector<SegmentRow> rows;
  CounterDelta delta;
  bool is_known = false;
  run_and_wait(core_.io_loop, [&](const std::function<void()>& done) {
    rows = table_.rows();
    delta = uncounted_media();
    is_known = table_.is_known();
    table_.for_each(
        [&](Segment& segment) { mark.data_ends.emplace_back(segment.id, segment.data_end); });
    done();
  });
  if (!is_known) return make_error(ErrorCode::busy, "live bytes were still being counted");
  mark.blocks = space_.blocks();
  mark.entry_bytes = space_.entry_bytes();
  absl::Status told;
  run_and_wait(core_.index_loop, [&](const std::function<void()>& done) {
    delta += index_queue_.abandon_rows();
    told = core_.index->write({}, rows, delta, true);
    done();
  });
  CAIRN_RETURN_IF_ERROR(told);
  const std::string bytes = encode_clean_mark(mark);
  return save_state_file(core_.device, core_.options.directory, core_.store, kCleanMarkName,
                         as_bytes(bytes));
}

}  // namespace cairn::tiers
