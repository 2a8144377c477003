// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/replay_worker.h"

#include <time.h>

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tools/cairn/exit_code.h"
#include "tools/cairn/signals.h"

namespace cairn::tools {
namespace {

constexpr std::uint64_t kLoadWindowBytes = 64 * kMiB;
constexpr std::uint64_t kBatchBytes = 8 * kMiB;
constexpr std::uint64_t kFlightBytesMax = 128 * kMiB;
constexpr std::size_t kRequestsInFlightMax = 16;
// Every fourth request reads into memory of its own, so that both ways are used.
constexpr std::size_t kLoadEvery = 4;
// A store that has no room for so long will not have any.
constexpr Duration kRoomPatience = Duration::seconds(30);
constexpr Duration kRoomPause = Duration::millis(1);

void pause_for(Duration duration) {
  const timespec time{duration.ns / 1'000'000'000, duration.ns % 1'000'000'000};
  nanosleep(&time, nullptr);
}

bool is_no_room(const absl::Status& status) {
  return has_code(status, ErrorCode::busy) || has_code(status, ErrorCode::no_space);
}

/// The store may decline a put, and says so; that ends nothing.
bool is_refusal(const absl::Status& status) {
  return is_no_room(status) || has_code(status, ErrorCode::refused) ||
         has_code(status, ErrorCode::deadline);
}

}  // namespace

ReplayWorker::ReplayWorker(Store& store, const ReplayBlocks& blocks, const ReplayOptions& options,
                           ReplayJournal& journal)
    : store_(store),
      blocks_(blocks),
      options_(options),
      journal_(journal),
      reader_(store.engine(), blocks, journal, std::min(kLoadWindowBytes, options.hot_bytes / 4)),
      stand_in_(blocks.model.block_bytes()),
      lease_bytes_max_(options.hot_bytes / 4),
      flight_bytes_max_(std::min(kFlightBytesMax, options.hot_bytes / 4)),
      batch_blocks_(std::max<std::uint64_t>(
          1, std::min(kBatchBytes, flight_bytes_max_ / 2) / blocks.model.block_bytes())),
      in_flight_(blocks.plan.blocks(), false) {}

ReplayWorker::~ReplayWorker() {
  while (!flying_.empty()) reap(true);
}

absl::Status ReplayWorker::run(std::size_t first, const std::function<void()>& after_each) {
  for (std::size_t number = first; number < blocks_.plan.requests(); ++number) {
    if (interrupted()) return interrupted_error();
    if (absl::Status status = replay(number); !status.ok()) return status;
    after_each();
  }
  while (!flying_.empty()) reap(true);
  retire();
  after_each();
  return error_;
}

absl::Status ReplayWorker::replay(std::size_t number) {
  const auto run = blocks_.plan.blocks_of(number);
  wait_for_blocks(run);
  Request& request = requests_.emplace_back();
  request.totals.requests = 1;
  request.totals.blocks = run.size();
  request.totals.tokens = blocks_.plan.tokens_of(number);
  // Holds the request open while its batches are being sent.
  request.batches_left = 1;
  CAIRN_ASSIGN_OR_RETURN(const std::size_t found, read_prefix(number, request));
  CAIRN_RETURN_IF_ERROR(put_rest(number, found, request));
  --request.batches_left;
  reap(false);
  while (requests_.size() > kRequestsInFlightMax) reap(true);
  return error_;
}

absl::StatusOr<std::size_t> ReplayWorker::read_prefix(std::size_t number, Request& request) {
  const auto run = blocks_.plan.blocks_of(number);
  std::vector<KeyRef> keys;
  keys.reserve(run.size());
  for (const BlockNumber block : run) keys.push_back({blocks_.plan.key(block)});
  Engine& engine = store_.engine();
  // While the catalog is loading a match may fall short; asking for all of it asks the index.
  const std::size_t there =
      engine.is_recovered() ? engine.match_length(blocks_.namespace_id, keys) : run.size();
  if (there == 0) return 0;
  if (bytes_of(there) <= lease_bytes_max_ && number % kLoadEvery != kLoadEvery - 1) {
    auto found = reader_.lease_prefix(run.first(there), request.totals);
    if (!is_no_room(found.status())) return found;
  }
  return reader_.load_prefix(run.first(there), request.totals);
}

absl::Status ReplayWorker::put_rest(std::size_t number, std::size_t from, Request& request) {
  const auto run = blocks_.plan.blocks_of(number);
  for (std::size_t next = from; next < run.size();) {
    auto batch = std::make_unique<Batch>();
    batch->request = &request;
    batch->durability = options_.durability_of(number);
    const std::size_t end = std::min(run.size(), next + batch_blocks_);
    for (; next < end; ++next) {
      batch->blocks.push_back(run[next]);
      batch->puts.push_back(
          {.key = blocks_.plan.key(run[next]),
           .payload = stand_in_.span(0, blocks_.model.block_bytes()),
           .parent = next == 0 ? std::string_view() : blocks_.plan.key(run[next - 1])});
    }
    const absl::Status room = reserve(*batch);
    // Waiting as long for every put to come would take days to say the same.
    if (starved_) {
      return with_context(room,
                          concat("no room for a put in ", kRoomPatience.ns / 1'000'000'000, " s"));
    }
    if (is_refusal(room)) {
      request.totals.refused_blocks += batch->blocks.size();
      continue;
    }
    CAIRN_RETURN_IF_ERROR(room);
    for (std::size_t i = 0; i < batch->blocks.size(); ++i) {
      blocks_.model.fill(blocks_.payload_name(batch->blocks[i]), batch->room->buffer(i));
    }
    send(std::move(batch));
  }
  return absl::OkStatus();
}

absl::Status ReplayWorker::reserve(Batch& batch) {
  while (!flying_.empty() &&
         bytes_of(blocks_in_flight_ + batch.blocks.size()) > flight_bytes_max_) {
    reap(true);
  }
  const Deadline deadline = system_clock().now() + kRoomPatience;
  while (true) {
    auto room = store_.engine().reserve(blocks_.namespace_id, batch.puts,
                                        {.durability = batch.durability, .links = Links::given});
    if (room.ok()) {
      batch.room = *std::move(room);
      return absl::OkStatus();
    }
    const bool patient =
        is_no_room(room.status()) && system_clock().now() < deadline && !interrupted();
    if (!patient) {
      starved_ = is_no_room(room.status()) && !interrupted();
      return room.status();
    }
    if (flying_.empty()) {
      pause_for(kRoomPause);
    } else {
      reap(true);
    }
  }
}

void ReplayWorker::send(std::unique_ptr<Batch> batch) {
  Batch* const sent = batch.get();
  flying_.push_back(std::move(batch));
  ++sent->request->batches_left;
  blocks_in_flight_ += sent->blocks.size();
  for (const BlockNumber block : sent->blocks) {
    in_flight_[block] = true;
    journal_.begin_put(block);
  }
  {
    MutexLock lock(mutex_);
    if (unanswered_++ == 0) busy_since_ = system_clock().now();
  }
  sent->room->commit(
      [this, sent](std::vector<PutResult> results) { on_answer(sent, std::move(results)); });
}

void ReplayWorker::on_answer(Batch* batch, std::vector<PutResult> results) {
  CAIRN_CHECK(results.size() == batch->blocks.size());
  // First of all into the journal: from here on the store is held to it.
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i].outcome != PutOutcome::failed) {
      journal_.acknowledge(batch->blocks[i], batch->durability, results[i].sequence);
    }
    journal_.end_put(batch->blocks[i]);
  }
  batch->results = std::move(results);
  MutexLock lock(mutex_);
  finished_.push_back(batch);
  if (--unanswered_ == 0) {
    busy_ns_ += static_cast<std::uint64_t>((system_clock().now() - busy_since_).ns);
  }
  answered_.notify_one();
}

void ReplayWorker::wait_for_blocks(std::span<const BlockNumber> blocks) {
  const auto is_in_flight = [this](BlockNumber block) { return in_flight_[block]; };
  while (std::any_of(blocks.begin(), blocks.end(), is_in_flight)) reap(true);
}

void ReplayWorker::reap(bool wait) {
  std::vector<Batch*> finished;
  {
    MutexLock lock(mutex_);
    while (wait && finished_.empty() && !flying_.empty()) answered_.wait(mutex_);
    finished.swap(finished_);
  }
  for (Batch* batch : finished) {
    account(*batch);
    std::erase_if(flying_, [batch](const auto& flying) { return flying.get() == batch; });
  }
  retire();
}

void ReplayWorker::account(Batch& batch) {
  blocks_in_flight_ -= batch.blocks.size();
  for (std::size_t i = 0; i < batch.blocks.size(); ++i) {
    in_flight_[batch.blocks[i]] = false;
    const PutResult& result = batch.results[i];
    ReplayTotals& totals = batch.request->totals;
    if (result.outcome != PutOutcome::failed) {
      ++totals.put_blocks;
      totals.put_bytes += blocks_.model.block_bytes();
    } else if (is_refusal(result.status)) {
      ++totals.refused_blocks;
    } else if (error_.ok()) {
      error_ = result.status;
    }
  }
  --batch.request->batches_left;
}

void ReplayWorker::retire() {
  while (!requests_.empty() && requests_.front().batches_left == 0) {
    {
      MutexLock lock(mutex_);
      if (unanswered_ != 0) {
        const TimePoint now = system_clock().now();
        busy_ns_ += static_cast<std::uint64_t>((now - busy_since_).ns);
        busy_since_ = now;
      }
      requests_.front().totals.put_ns += busy_ns_;
      busy_ns_ = 0;
    }
    journal_.commit(requests_.front().totals);
    requests_.pop_front();
    const tiers::DeviceCounters moved = store_.device_counters();
    journal_.set_moved(moved.bytes_read, moved.bytes_written);
  }
}

std::uint64_t ReplayWorker::bytes_of(std::size_t blocks) const {
  return blocks * blocks_.model.block_bytes();
}

}  // namespace cairn::tools
