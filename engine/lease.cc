// SPDX-License-Identifier: Apache-2.0
#include "engine/lease.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace cairn {

Lease::Lease() = default;
Lease::Lease(std::shared_ptr<LeaseState> state) : state_(std::move(state)) {}
Lease::Lease(Lease&& other) noexcept = default;
Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    release();
    state_ = std::move(other.state_);
  }
  return *this;
}
Lease::~Lease() {
  release();
}

std::span<const LeasedBlock> Lease::blocks() const {
  // Acquire pairs with the sweep's release: who sees `held` may still read the blocks.
  if (!state_ || state_->standing_.load(std::memory_order_acquire) != LeaseState::Standing::held) {
    return {};
  }
  return state_->blocks;
}

absl::Status Lease::renew() {
  if (!state_) return make_error(ErrorCode::deadline, "the lease has been released");
  return state_->registry_->renew(*state_);
}

void Lease::release() {
  if (!state_) return;
  detail::LeaseRegistry* registry = state_->registry_;
  registry->release(std::move(state_));
  state_.reset();
}

namespace detail {
namespace {

std::size_t shard_of_thread(std::size_t shards) {
  static std::atomic<std::size_t> next_thread{0};
  thread_local const std::size_t mine = next_thread.fetch_add(1, std::memory_order_relaxed);
  return mine % shards;
}

}  // namespace

LeaseRegistry::LeaseRegistry(Catalog& catalog, AddressableTier& hot, LoopScope& loop,
                             EngineMeters& meters)
    : catalog_(catalog), hot_(hot), loop_(loop), meters_(meters) {}

LeaseRegistry::~LeaseRegistry() = default;

std::shared_ptr<LeaseState> LeaseRegistry::take() {
  const std::size_t index = shard_of_thread(kShards);
  Shard& shard = shards_[index];
  {
    MutexLock lock(shard.mutex);
    if (!shard.pool.empty()) {
      std::shared_ptr<LeaseState> state = std::move(shard.pool.back());
      shard.pool.pop_back();
      return state;
    }
  }
  auto state = std::make_shared<LeaseState>();
  state->registry_ = this;
  state->shard_ = index;
  return state;
}

void LeaseRegistry::put_back(std::shared_ptr<LeaseState> state) {
  CAIRN_DCHECK(state->handles.empty());
  state->blocks.clear();
  state->ids.clear();
  Shard& shard = shards_[state->shard_];
  MutexLock lock(shard.mutex);
  if (shard.pool.size() < kPooledMax) shard.pool.push_back(std::move(state));
}

void LeaseRegistry::hold(LeaseState& state, TimePoint now) {
  const TimePoint expires = now + state.hold_limit;
  {
    Shard& shard = shards_[state.shard_];
    MutexLock lock(shard.mutex);
    state.expires_ = expires;
    // Release pairs with the acquire in blocks(): the blocks were filled before.
    state.standing_.store(LeaseState::Standing::held, std::memory_order_release);
    link(shard, state);
  }
  watch(expires);
}

absl::Status LeaseRegistry::renew(LeaseState& state) {
  const TimePoint expires = loop_.clock().now() + state.hold_limit;
  {
    Shard& shard = shards_[state.shard_];
    MutexLock lock(shard.mutex);
    // Relaxed: the lock orders it.
    if (state.standing_.load(std::memory_order_relaxed) != LeaseState::Standing::held) {
      return make_error(ErrorCode::deadline, "the lease was held too long and has been revoked");
    }
    state.expires_ = expires;
  }
  watch(expires);
  return absl::OkStatus();
}

void LeaseRegistry::release(std::shared_ptr<LeaseState> state) {
  bool holds_pins = false;
  {
    Shard& shard = shards_[state->shard_];
    MutexLock lock(shard.mutex);
    // Relaxed: the lock orders it.
    if (state->standing_.load(std::memory_order_relaxed) == LeaseState::Standing::held) {
      unlink(shard, *state);
      holds_pins = true;
    }
    state->standing_.store(LeaseState::Standing::free, std::memory_order_relaxed);
  }
  if (holds_pins) unpin(state->handles);
  state->handles.clear();
  put_back(std::move(state));
}

void LeaseRegistry::unpin(std::span<const BlockHandle> handles) {
  if (handles.empty()) return;
  thread_local std::vector<Location> freeable;
  freeable.clear();
  catalog_.release(handles, &freeable);
  if (!freeable.empty()) hot_.free(freeable);
}

void LeaseRegistry::watch(TimePoint expires) {
  // Relaxed: whoever lowers the time posts the timer; a lost race posts one too many.
  std::int64_t due = sweep_ns_.load(std::memory_order_relaxed);
  do {
    if (due <= expires.ns) return;
  } while (!sweep_ns_.compare_exchange_weak(due, expires.ns, std::memory_order_relaxed));
  loop_.run_at(expires, [this] { sweep(); });
}

void LeaseRegistry::sweep() {
  const TimePoint now = loop_.clock().now();
  sweep_ns_.store(TimePoint::never().ns, std::memory_order_relaxed);
  TimePoint next = TimePoint::never();
  std::vector<BlockHandle> overstayed;
  std::uint64_t count = 0;
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    for (LeaseState* state = shard.first; state != nullptr;) {
      LeaseState* const following = state->next_;
      if (state->expires_ <= now) {
        unlink(shard, *state);
        // Release pairs with the acquire in blocks(); the handles are its owner's, so they are
        // read here, and cleared by release(), under this lock's order.
        state->standing_.store(LeaseState::Standing::revoked, std::memory_order_release);
        overstayed.insert(overstayed.end(), state->handles.begin(), state->handles.end());
        ++count;
      } else {
        next = std::min(next, state->expires_);
      }
      state = following;
    }
  }
  unpin(overstayed);
  meters_.counters.add(Counter::leases_overstayed, count);
  if (next != TimePoint::never()) watch(next);
}

void LeaseRegistry::link(Shard& shard, LeaseState& state) {
  state.previous_ = nullptr;
  state.next_ = shard.first;
  if (shard.first != nullptr) shard.first->previous_ = &state;
  shard.first = &state;
  ++shard.held;
}

void LeaseRegistry::unlink(Shard& shard, LeaseState& state) {
  (state.previous_ != nullptr ? state.previous_->next_ : shard.first) = state.next_;
  if (state.next_ != nullptr) state.next_->previous_ = state.previous_;
  state.previous_ = state.next_ = nullptr;
  --shard.held;
}

std::uint64_t LeaseRegistry::open_leases() const {
  std::uint64_t count = 0;
  for (const Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    count += shard.held;
  }
  return count;
}

}  // namespace detail
}  // namespace cairn
