// SPDX-License-Identifier: Apache-2.0
#include "engine/fetcher.h"

#include <algorithm>
#include <utility>

#include "engine/base/hash128.h"
#include "engine/base/status.h"

namespace cairn::detail {
absl::Status Fetcher::start(NamespaceId ns, std::span<const FetchWant> wants,
                            const std::shared_ptr<FetchWaiter>& waiter, FetchRoom room) {
  std::vector<std::size_t> fresh;
  std::vector<std::uint32_t> sizes;
  {
    MutexLock lock(mutex_);
    for (std::size_t i = 0; i < wants.size(); ++i) {
      if (under_way_.contains(wants[i].id)) continue;
      fresh.push_back(i);
      sizes.push_back(wants[i].residency.facts.plain_bytes);
    }
    if (queued_blocks_ + fresh.size() > core_.options.load_queue_max) {
      return make_error(ErrorCode::busy, "too many blocks wait to be read");
    }
  }
  std::vector<Location> reserved(fresh.size());
  CAIRN_RETURN_IF_ERROR(reserve(ns, sizes, room, reserved));
  std::vector<Location> slots(wants.size());
  for (std::size_t i = 0; i < fresh.size(); ++i) slots[fresh[i]] = reserved[i];
  std::vector<Location> surplus;
  Batch batch = join_or_open(wants, slots, waiter, &surplus);
  if (!surplus.empty()) core_.hot.free(surplus);
  if (!batch.empty()) enqueue(std::move(batch));
  return absl::OkStatus();
}

absl::Status Fetcher::reserve(NamespaceId ns, std::span<const std::uint32_t> sizes, FetchRoom room,
                              std::span<Location> slots) {
  if (sizes.empty()) return absl::OkStatus();
  std::uint64_t total = 0;
  for (const std::uint32_t size : sizes) total += size;
  if (room == FetchRoom::free_only && !has_free_room(total)) {
    return make_error(ErrorCode::no_space, "hot has no room to spare");
  }
  for (;;) {
    absl::Status status = core_.hot.reserve(ns, sizes, slots);
    if (status.ok()) return status;
    if (!has_code(status, ErrorCode::no_space)) return status;
    const auto make = room == FetchRoom::evict ? Mover::HotRoom::welcome : Mover::HotRoom::backed;
    if (room == FetchRoom::free_only || !mover_.make_hot_room(ns, sizes, make)) {
      return make_error(ErrorCode::no_space, "hot is full of blocks that are in use");
    }
  }
}

bool Fetcher::has_free_room(std::uint64_t bytes) const {
  const TierUsage usage = core_.hot.usage();
  return static_cast<double>(usage.used_bytes + bytes) <=
         static_cast<double>(usage.capacity_bytes) * core_.options.low_watermark;
}

bool Fetcher::is_under_way(BlockId id) const {
  MutexLock lock(mutex_);
  return under_way_.contains(id);
}

Fetcher::Batch Fetcher::join_or_open(std::span<const FetchWant> wants,
                                     std::span<const Location> slots,
                                     const std::shared_ptr<FetchWaiter>& waiter,
                                     std::vector<Location>* surplus) {
  Batch batch;
  std::vector<const FetchWant*> missed;  // a fetch we meant to join has ended: told at once
  {
    MutexLock lock(mutex_);
    for (std::size_t i = 0; i < wants.size(); ++i) {
      const FetchWant& want = wants[i];
      const auto known = under_way_.find(want.id);
      if (known != under_way_.end()) {
        known->second->waiting.push_back({waiter, want.tag});
        if (!slots[i].is_null()) surplus->push_back(slots[i]);
        continue;
      }
      if (slots[i].is_null()) {
        missed.push_back(&want);
        continue;
      }
      auto fetch = std::make_shared<Fetch>(
          Fetch{.id = want.id,
                .name = {want.name.namespace_id, std::string(want.name.key), want.name.part},
                .facts = want.residency.facts,
                .from = source_of(want.residency),
                .slot = slots[i],
                .waiting = {{waiter, want.tag}}});
      under_way_[want.id] = fetch;
      batch.push_back(std::move(fetch));
    }
  }
  bytes_under_way_.fetch_add(bytes_of(batch));
  for (const FetchWant* const want : missed) {
    waiter->fetched(want->tag, absl::OkStatus(), source_of(want->residency).tier);
  }
  return batch;
}

void Fetcher::enqueue(Batch batch) {
  core_.operations.enter_again();  // left when the batch has been read or dropped
  {
    MutexLock lock(mutex_);
    queued_blocks_ += batch.size();
    queue_.push_back(std::move(batch));
  }
  start_queued();
}

void Fetcher::start_queued() {
  for (;;) {
    auto batch = std::make_shared<Batch>();
    Batch unwanted;
    {
      MutexLock lock(mutex_);
      if (queue_.empty()) return;
      const std::uint64_t bytes = bytes_of(queue_.front());
      // One batch larger than the limit goes alone.
      if (reading_bytes_ > 0 && reading_bytes_ + bytes > core_.options.load_bytes_in_flight_max) {
        return;
      }
      queued_blocks_ -= queue_.front().size();
      for (std::shared_ptr<Fetch>& fetch : queue_.front()) {
        const bool wanted = is_wanted(*fetch);
        if (!wanted) under_way_.erase(fetch->id);
        (wanted ? *batch : unwanted).push_back(std::move(fetch));
      }
      queue_.pop_front();
      reading_bytes_ += bytes_of(*batch);
    }
    for (const auto& fetch : unwanted) core_.free_hot(fetch->slot);
    bytes_under_way_.fetch_sub(bytes_of(unwanted));
    if (batch->empty()) {
      core_.operations.leave();
    } else {
      read(batch);
    }
  }
}

bool Fetcher::is_wanted(const Fetch& fetch) const {
  return std::any_of(fetch.waiting.begin(), fetch.waiting.end(),
                     [](const Waiting& waiting) { return waiting.waiter->is_waiting(); });
}

void Fetcher::read(const std::shared_ptr<Batch>& batch) {
  struct Reading {
    std::vector<TierRead> reads;
    std::vector<Source> sources;
  };
  auto reading = std::make_shared<Reading>();
  for (const auto& fetch : *batch) {
    ++fetch->attempts;
    reading->sources.push_back(fetch->from);
    reading->reads.push_back({.name = fetch->name.view(),
                              .sequence = fetch->facts.sequence,
                              .destination = core_.hot.bytes(fetch->slot),
                              .plain_sum = fetch->facts.plain_sum});
  }
  read_below(core_, reading->reads, reading->sources,
             [this, batch, reading] { arrived(*batch, reading->reads); });
}

void Fetcher::arrived(const Batch& batch, std::vector<TierRead>& reads) {
  auto again = std::make_shared<Batch>();
  const std::uint64_t bytes = bytes_of(batch);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (!settle(*batch[i], std::move(reads[i].status))) again->push_back(batch[i]);
  }
  {
    MutexLock lock(mutex_);
    reading_bytes_ -= bytes - bytes_of(*again);
  }
  if (!again->empty()) {
    read(again);  // stays one operation
  } else {
    start_queued();
    core_.operations.leave();
  }
}

bool Fetcher::settle(Fetch& fetch, absl::Status status) {
  const BlockFacts& facts = fetch.facts;
  const TierKind from = fetch.from.tier;
  if (status.ok() && core_.options.paranoid) status = check_sum(fetch);
  if (status.ok()) {
    const bool warm = from == TierKind::warm;
    core_.meters.counters.add(warm ? Counter::warm_bytes_read : Counter::cold_bytes_read,
                              facts.plain_bytes);
    if (core_.catalog.add_hot(fetch.id, facts.sequence, fetch.slot)) {
      core_.meters.counters.add(Counter::hot_promoted_in);
      core_.meters.moves.moved(warm ? MoveKind::warm_to_hot : MoveKind::cold_to_hot, 1,
                               facts.plain_bytes);
      core_.meters.counters.add(Counter::hot_bytes_written, facts.plain_bytes);
      fetch.slot = {};
    } else {
      status = make_error(ErrorCode::not_found, "the block was removed while it was read");
    }
  } else if (has_code(status, ErrorCode::corruption)) {
    const Source next =
        look_again(core_, mover_, fetch.id, facts.sequence, fetch.from, fetch.attempts);
    if (next.tier != TierKind::none) {
      fetch.from = next;
      return false;
    }
  }
  if (!fetch.slot.is_null()) core_.free_hot(fetch.slot);
  std::vector<Waiting> waiting;
  {
    MutexLock lock(mutex_);
    waiting.swap(fetch.waiting);
    under_way_.erase(fetch.id);
  }
  bytes_under_way_.fetch_sub(facts.plain_bytes);
  for (const Waiting& one : waiting) one.waiter->fetched(one.tag, status, from);
  return true;
}

absl::Status Fetcher::check_sum(const Fetch& fetch) const {
  if (xxh3_64(core_.hot.bytes(fetch.slot)) == fetch.facts.plain_sum) return absl::OkStatus();
  return make_error(ErrorCode::corruption, "the payload's sum differs");
}

std::uint64_t Fetcher::bytes_of(const Batch& batch) {
  std::uint64_t total = 0;
  for (const auto& fetch : batch) total += fetch->facts.plain_bytes;
  return total;
}

}  // namespace cairn::detail
