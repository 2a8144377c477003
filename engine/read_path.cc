// SPDX-License-Identifier: Apache-2.0
#include "engine/read_path.h"

#include <algorithm>
#include <utility>

#include "engine/acquire.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::detail {

ReadPath::ReadPath(EngineCore& core, Recovery& recovery, Fetcher& fetcher, Mover& mover,
                   Expirer& expirer)
    : core_(core),
      recovery_(recovery),
      fetcher_(fetcher),
      mover_(mover),
      expirer_(expirer),
      leasable_bytes_(static_cast<std::uint64_t>(
          static_cast<double>(core.hot.usage().capacity_bytes) * core.options.leasable_fraction)) {}

// --- match -----------------------------------------------------------------------------------

Match ReadPath::match(NamespaceId id, std::span<const KeyRef> keys) const {
  Match match;
  core_.meters.counters.add(Counter::matches);
  const NamespaceState* const ns = core_.namespaces.find(id);
  if (ns == nullptr) return match;
  match.prefix_blocks = present_run(*ns, keys, &match.blocks);
  match.blocks.resize(match.prefix_blocks);
  for (const MatchedBlock& block : match.blocks) match.prefix_bytes += block.plain_bytes;
  match.incomplete = !recovery_.is_complete() && match.prefix_blocks < keys.size();
  return match;
}

std::size_t ReadPath::match_length(NamespaceId id, std::span<const KeyRef> keys,
                                   Search search) const {
  core_.meters.counters.add(Counter::matches);
  const NamespaceState* const ns = core_.namespaces.find(id);
  if (ns == nullptr) return 0;
  return search == Search::bisect ? bisect_run(*ns, keys) : present_run(*ns, keys, nullptr);
}

/// The invariant: what is there below `low`, is; what is at or behind `high`, is not.
std::size_t ReadPath::bisect_run(const NamespaceState& ns, std::span<const KeyRef> keys) const {
  std::size_t low = 0, high = keys.size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (present_run(ns, keys.subspan(middle, 1), nullptr) == 1) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::size_t ReadPath::present_run(const NamespaceState& ns, std::span<const KeyRef> keys,
                                  std::vector<MatchedBlock>* blocks) const {
  thread_local std::vector<BlockId> ids;  // its capacity makes match_length free of allocations
  ids.clear();
  for (const KeyRef& key : keys) {
    if (!is_valid_key(key.key)) break;
    ids.push_back(core_.id_of(ns.id, key));
  }
  if (!ns.is_mutable()) {
    if (blocks != nullptr) blocks->resize(ids.size());
    return core_.catalog.match(
        ids, blocks != nullptr ? std::span<MatchedBlock>(*blocks) : std::span<MatchedBlock>());
  }
  // What has expired is a miss at once, and the catalog knows no clock.
  std::size_t run = 0;
  for (const BlockId id : ids) {
    const std::optional<Residency> residency = core_.catalog.find(id);
    if (!residency || !residency->present() || core_.is_expired(*residency)) break;
    if (blocks != nullptr) {
      blocks->push_back({residency->tier(), residency->facts.plain_bytes});
    }
    ++run;
  }
  return run;
}

// --- acquire ---------------------------------------------------------------------------------

void ReadPath::acquire(NamespaceId ns_id, std::span<const KeyRef> keys,
                       const AcquireOptions& options,
                       std::function<void(absl::StatusOr<Lease>)> done) {
  const Request request{core_.namespaces.find(ns_id), keys, options, core_.clock.now()};
  core_.meters.counters.add(Counter::acquires);
  if (core_.closing.load(std::memory_order_relaxed)) {  // close() waits for what got past
    done(make_error(ErrorCode::closed, "the engine is closing"));
    return;
  }
  if (request.ns == nullptr) {
    done(make_error(ErrorCode::invalid_argument, "there is no such namespace"));
    return;
  }
  std::shared_ptr<LeaseState> state = core_.leases.take();
  state->hold_limit = options.hold_limit.value_or(core_.options.lease_hold_limit);
  for (const KeyRef& key : keys) {
    if (!is_valid_key(key.key)) {
      core_.leases.put_back(std::move(state));
      done(make_error(ErrorCode::invalid_argument, "a key has 1 to 1024 bytes"));
      return;
    }
    state->ids.push_back(core_.id_of(ns_id, key));
  }
  state->residencies.resize(keys.size());  // lease_hot() fills each
  state->blocks.assign(keys.size(), LeasedBlock{});
  std::size_t leased = core_.catalog.lease_hot(state->ids, options.read, state->residencies);
  for (std::size_t i = 0; leased > 0 && i < keys.size(); ++i) {
    Residency& residency = state->residencies[i];
    if (residency.hot.is_null()) continue;
    if (verify(*request.ns, keys[i], state->ids[i], residency)) {
      state->blocks[i] = view(residency, TierKind::hot);
      continue;
    }
    core_.leases.unpin({&residency.handle, 1});
    residency.hot = {};
    --leased;
  }
  if (leased > 0 && core_.catalog.leased_bytes() > leasable_bytes_) {
    refuse(request, std::move(state),
           make_error(ErrorCode::busy, "leases hold all of hot that they may"), done);
    return;
  }
  if (leased == keys.size()) {
    deliver(request, std::move(state), done);
    return;
  }
  Acquire::run(*this, request, std::move(state), std::move(done));
}

bool ReadPath::verify(const NamespaceState& ns, const KeyRef& key, BlockId id,
                      const Residency& leased) {
  if (!core_.catalog.is_named(leased.handle, {ns.id, key.key, key.part})) return false;
  if (ns.is_mutable() && core_.is_expired(leased)) {
    expirer_.expire(id, leased.facts.sequence);
    return false;
  }
  if (!core_.options.paranoid) return true;
  if (xxh3_64(core_.hot.bytes(leased.hot)) == leased.facts.plain_sum) return true;
  // Memory went bad, or somebody wrote where nobody may: the copy goes, cold may still have it.
  mover_.discard_hot(id, leased.facts.sequence, leased.hot);
  return false;
}

LeasedBlock ReadPath::view(const Residency& leased, TierKind served_from) const {
  return {.bytes = core_.hot.bytes(leased.hot, leased.facts.plain_bytes),
          .found = true,
          .served_from = served_from,
          .sequence = leased.facts.sequence,
          .plain_sum = leased.facts.plain_sum};
}

bool ReadPath::lease_one(const NamespaceState& ns, const KeyRef& key, BlockId id, Residency* out) {
  if (core_.catalog.lease_hot({&id, 1}, Read::prefix, {out, 1}) == 0) return false;
  if (verify(ns, key, id, *out)) return true;
  core_.leases.unpin({&out->handle, 1});
  out->hot = {};
  return false;
}

void ReadPath::deliver(const Request& request, std::shared_ptr<LeaseState> state,
                       const std::function<void(absl::StatusOr<Lease>)>& done) {
  std::size_t run = state->residencies.size();
  if (request.options.read == Read::prefix) {
    run = 0;
    while (run < state->residencies.size() && !state->residencies[run].hot.is_null()) ++run;
  }
  state->handles.clear();
  thread_local std::vector<BlockHandle> beyond;
  beyond.clear();
  for (std::size_t i = 0; i < state->residencies.size(); ++i) {
    if (state->residencies[i].hot.is_null()) continue;
    (i < run ? state->handles : beyond).push_back(state->residencies[i].handle);
  }
  core_.leases.unpin(beyond);
  state->blocks.resize(run);
  if (on_delivered_) on_delivered_(std::span<const BlockId>(state->ids).first(run));
  note_seen(*request.ns, std::span<const BlockId>(state->ids).first(run));
  const TimePoint now = core_.clock.now();
  count_request(*request.ns, now - request.began, request.keys.size(), state->blocks);
  core_.leases.hold(*state, now);
  done(Lease(std::move(state)));
}

void ReadPath::refuse(const Request& request, std::shared_ptr<LeaseState> state,
                      absl::Status status, const std::function<void(absl::StatusOr<Lease>)>& done) {
  unpin_all(*state);
  core_.leases.put_back(std::move(state));
  core_.meters.counters.add_refusal(status);
  count_request(*request.ns, core_.clock.now() - request.began, request.keys.size(), {});
  done(std::move(status));
}

void ReadPath::unpin_all(LeaseState& state) {
  std::vector<BlockHandle> handles;
  for (const Residency& residency : state.residencies) {
    if (!residency.hot.is_null()) handles.push_back(residency.handle);
  }
  core_.leases.unpin(handles);
  state.residencies.clear();
}

void ReadPath::count_request(NamespaceState& ns, Duration took, std::size_t asked,
                             std::span<const LeasedBlock> served) {
  std::uint64_t hot = 0, warm = 0, found = 0, hot_bytes = 0, bytes = 0;
  for (const LeasedBlock& block : served) {
    if (!block.found) continue;
    ++found;
    bytes += block.bytes.size();
    if (block.served_from == TierKind::warm) ++warm;
    if (block.served_from != TierKind::hot) continue;
    ++hot;
    hot_bytes += block.bytes.size();
  }
  const std::uint64_t tokens = ns.descriptor.tokens_per_block;
  Counters& counters = core_.meters.counters;
  counters.add(Counter::blocks_asked, asked);
  counters.add(Counter::tokens_asked, asked * tokens);
  if (found > 0) {
    counters.add(Counter::blocks_served, found);
    counters.add(Counter::bytes_served, bytes);
    counters.add(Counter::tokens_served, found * tokens);
    counters.add(Counter::hot_hits, hot);
    counters.add(Counter::hot_bytes_read, hot_bytes);
  }
  if (warm > 0) counters.add(Counter::warm_hits, warm);
  if (found > hot + warm) counters.add(Counter::cold_hits, found - hot - warm);
  // Relaxed: statistics.
  ns.lookups.fetch_add(asked, std::memory_order_relaxed);
  ns.hits.fetch_add(found, std::memory_order_relaxed);
  core_.meters.window.add(asked, found, bytes);
  (found > 0 ? core_.meters.hit_latency : core_.meters.miss_latency).record(took);
}

}  // namespace cairn::detail
