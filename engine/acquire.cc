// SPDX-License-Identifier: Apache-2.0
#include "engine/acquire.h"

#include <utility>

#include "engine/base/status.h"

namespace cairn::detail {
namespace {

constexpr int kMovesMax = 16;  // others may take the room that was made

}  // namespace

void ReadPath::Acquire::run(ReadPath& path, const Request& request,
                            std::shared_ptr<LeaseState> state, Callback done) {
  auto acquire = std::make_shared<Acquire>(path, request, std::move(state), std::move(done));
  Plan plan = acquire->plan(false);
  const bool in_time = request.options.deadline > path.core_.clock.now();
  if ((plan.wants.empty() && plan.unknown.empty()) || !in_time) {
    if (!in_time && !(plan.wants.empty() && plan.unknown.empty())) {
      path.core_.meters.counters.add(Counter::deadline_missed);
    }
    path.deliver(request, std::move(acquire->state_), acquire->done_);
    return;
  }
  if (!plan.unknown.empty() && !path.may_ask()) {
    path.refuse(request, std::move(acquire->state_),
                make_error(ErrorCode::busy, "too many runs are being looked up in the index"),
                acquire->done_);
    return;
  }
  if (!path.core_.operations.enter()) {
    path.refuse(request, std::move(acquire->state_),
                make_error(ErrorCode::closed, "the engine is closing"), acquire->done_);
    return;
  }
  acquire->begin(std::move(plan));
}

/// Which blocks behind those pinned are worth waiting for. Pins what has come to hot meanwhile.
ReadPath::Acquire::Plan ReadPath::Acquire::plan(bool resolved) {
  EngineCore& core = path_.core_;
  Plan plan;
  const bool prefix = request_.options.read == Read::prefix;
  const bool complete = resolved || path_.recovery_.is_complete();
  for (std::size_t i = 0; i < state_->ids.size(); ++i) {
    Residency& mine = state_->residencies[i];
    if (!mine.hot.is_null()) continue;
    const BlockId id = state_->ids[i];
    const BlockName name = name_of(i);
    const std::optional<Residency> listed = core.catalog.find(id);
    if (!listed || !listed->present()) {
      if (!complete) {
        plan.unknown.push_back({id, name});
        continue;
      }
      if (prefix) break;
      continue;
    }
    if (core.is_expired(*listed)) {
      path_.expirer_.expire(id, listed->facts.sequence);
      if (prefix) break;
      continue;
    }
    if (!listed->hot.is_null() && path_.lease_one(*request_.ns, {name.key, name.part}, id, &mine)) {
      state_->blocks[i] = path_.view(mine, TierKind::hot);
      continue;
    }
    if (source_of(*listed).tier == TierKind::none || !core.catalog.is_named(id, name)) {
      if (prefix) break;
      continue;
    }
    plan.want_bytes += listed->facts.plain_bytes;
    plan.wants.push_back({.id = id, .name = name, .residency = *listed, .tag = i});
  }
  return plan;
}

BlockName ReadPath::Acquire::name_of(std::size_t index) const {
  if (!names_.empty()) return names_[index].view();
  return {request_.ns->id, request_.keys[index].key, request_.keys[index].part};
}

void ReadPath::Acquire::copy_names() {
  std::vector<OwnedName> names;
  names.reserve(request_.keys.size());
  for (const KeyRef& key : request_.keys) {
    names.push_back({request_.ns->id, std::string(key.key), key.part});
  }
  names_ = std::move(names);
}

void ReadPath::Acquire::begin(Plan plan) {
  copy_names();
  if (plan.unknown.empty()) {
    for (FetchWant& want : plan.wants) want.name = name_of(want.tag);
    fetch(std::move(plan));
  } else {
    std::size_t next = 0;
    for (std::size_t i = 0; i < state_->ids.size() && next < plan.unknown.size(); ++i) {
      if (plan.unknown[next].id == state_->ids[i]) plan.unknown[next++].name = name_of(i);
    }
    // The rest of the plan is made again, on the loop, where the deadline strikes too.
    path_.asking_.fetch_add(1);
    path_.recovery_.resolve(std::move(plan.unknown), false,
                            [self = shared_from_this()](const absl::Status&) {
                              self->path_.asking_.fetch_sub(1);
                              self->path_.core_.loop.post([self] {
                                if (self->is_waiting()) self->fetch(self->plan(true));
                              });
                            });
  }
  arm_deadline();
}

void ReadPath::Acquire::fetch(Plan plan) {
  EngineCore& core = path_.core_;
  if (plan.wants.empty()) {
    finish(absl::OkStatus());
    return;
  }
  const std::uint64_t admitted = path_.admitted_bytes_.fetch_add(plan.want_bytes);
  admitted_bytes_ = plan.want_bytes;
  if (core.catalog.leased_bytes() + admitted + plan.want_bytes > path_.leasable_bytes_) {
    finish(make_error(ErrorCode::busy, "the run does not fit into what leases may hold of hot"));
    return;
  }
  {
    MutexLock lock(mutex_);
    pending_ = plan.wants.size();
  }
  const absl::Status started =
      path_.fetcher_.start(request_.ns->id, plan.wants, shared_from_this(), room_);
  if (started.ok()) return;
  if (!has_code(started, ErrorCode::no_space)) {
    finish(started);
    return;
  }
  // What may not be dropped can perhaps be moved down: then it is tried again.
  path_.admitted_bytes_.fetch_sub(std::exchange(admitted_bytes_, 0));
  path_.mover_.move_for_hot_room([self = shared_from_this()](bool moved) {
    if (!self->is_waiting()) return;
    const bool last_try = !moved || ++self->moves_waited_for_ == kMovesMax;
    if (last_try && self->room_ == FetchRoom::evict) {
      self->finish(make_error(ErrorCode::busy, "hot is full of blocks that are in use"));
      return;
    }
    if (last_try) self->room_ = FetchRoom::evict;
    self->fetch(self->plan(true));
  });
}

void ReadPath::Acquire::fetched(std::size_t tag, const absl::Status& status, TierKind from) {
  if (!is_waiting()) return;
  Residency leased;
  const BlockName name = names_[tag].view();
  const BlockId id = path_.core_.id_of(name.namespace_id, {name.key, name.part});
  const bool found =
      status.ok() && path_.lease_one(*request_.ns, {name.key, name.part}, id, &leased);
  bool is_over = false, is_last = false;
  {
    MutexLock lock(mutex_);
    is_over = over_.load();
    if (!is_over) {
      if (found) {
        state_->residencies[tag] = leased;
        state_->blocks[tag] = path_.view(leased, from);
      }
      is_last = --pending_ == 0;
    }
  }
  if (is_over && found) path_.core_.leases.unpin({&leased.handle, 1});
  if (is_last) finish(absl::OkStatus());
}

void ReadPath::Acquire::arm_deadline() {
  if (request_.options.deadline == TimePoint::never() || !is_waiting()) return;
  path_.core_.loop.run_at(request_.options.deadline, [weak = weak_from_this()] {
    const std::shared_ptr<Acquire> self = weak.lock();
    if (!self || !self->is_waiting()) return;
    self->path_.core_.meters.counters.add(Counter::deadline_missed);
    self->finish(absl::OkStatus());
  });
}

void ReadPath::Acquire::finish(const absl::Status& status) {
  std::shared_ptr<LeaseState> state;
  {
    MutexLock lock(mutex_);
    if (over_.exchange(true)) return;
    state = std::move(state_);
  }
  path_.admitted_bytes_.fetch_sub(admitted_bytes_);
  EngineCore& core = path_.core_;
  if (status.ok()) {
    path_.deliver(request_, std::move(state), done_);
  } else {
    path_.refuse(request_, std::move(state), status, done_);
  }
  done_ = nullptr;
  core.operations.leave();
}

}  // namespace cairn::detail
