// SPDX-License-Identifier: Apache-2.0
#include "engine/recovery.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/base/log.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::detail {
namespace {

// 20,000 entries are some 10 ms of the mover's time.
constexpr std::size_t kSliceEntries = 20'000;
constexpr Duration kClearWait = Duration::millis(1);

}  // namespace

/// One step of the scan: what it is showing, and what it leaves to be removed.
struct Recovery::Slice {
  WallMicros wall = 0;
  std::vector<NamespaceState*> namespaces;  // entered: clear() waits for the slice
  std::vector<ColdRemoval> expired;
  struct CrowdedOut {
    StoredBlock stored;
    std::string key;
  };
  std::vector<CrowdedOut> crowded_out;  // for want of room; their gates are held

  /// Blocks are listed some at a time: listing one is half a dozen misses of the cache, which so
  /// are all under way at once.
  static constexpr std::size_t kWindow = 32;
  std::array<StoredBlock, kWindow> window;
  std::array<std::string, kWindow> keys;  // that the window's names borrow
  std::size_t shown = 0;

  void show(const StoredBlock& stored) {
    window[shown] = stored;
    keys[shown].assign(stored.name.key);
    window[shown].name.key = keys[shown];
    ++shown;
  }
  /// Null for one that was made after the slice began: it has nothing that recovery must find.
  NamespaceState* find(NamespaceId id) const {
    const auto found = std::find_if(namespaces.begin(), namespaces.end(),
                                    [id](const NamespaceState* ns) { return ns->id == id; });
    return found == namespaces.end() ? nullptr : *found;
  }
};

struct Recovery::Lookup {
  std::vector<Unknown> unknown;
  std::vector<StoredLookup> batch;
  bool gated = false;
  std::vector<BlockId> gates;  // that it has entered itself
  Asking asking;               // likewise
  std::function<void(absl::Status)> done;
};

Recovery::Recovery(EngineCore& core, Mover& mover) : core_(core), mover_(mover) {}

// --- the scan --------------------------------------------------------------------------------

void Recovery::start() {
  began_ = core_.clock.now();
  if (core_.cold == nullptr) {
    end(State::complete, absl::OkStatus());
    return;
  }
  core_.catalog.set_loading(true);
  core_.loop.post([this] { run_slice(); });
}

void Recovery::run_slice() {
  if (core_.closing.load() || !core_.operations.enter()) {
    end(State::failed, make_error(ErrorCode::closed, "the engine was closed while loading"));
    return;
  }
  Slice slice;
  slice.wall = core_.clock.wall();
  if (!enter_namespaces(slice)) {
    core_.operations.leave();
    core_.loop.run_after(kClearWait, [this] { run_slice(); });
    return;
  }
  const absl::Status status =
      core_.cold->scan(cursor_, kSliceEntries, [&](const StoredBlock& stored) {
        slice.show(stored);
        if (slice.shown == Slice::kWindow) list(slice);
      });
  list(slice);
  list_crowded_out(slice);
  drop(std::move(slice.expired));
  for (NamespaceState* const ns : slice.namespaces) ns->publishers.leave();
  core_.operations.leave();
#if defined(CAIRN_PLANTED_RECOVERY_STOPS_SILENTLY)
  if (!status.ok()) cursor_.clear();
#else
  if (!status.ok()) {
    end(State::failed, status);
    return;
  }
#endif
  if (cursor_.empty()) {
    end_scan();
    return;
  }
  core_.loop.post([this] { run_slice(); });
}

Recovery::Asking Recovery::ask() {
  if (is_complete()) return {*this, false, false};
  askers_.fetch_add(1);
  if (!scanned_.load()) return {*this, true, true};
  // The scan has nothing left to pass over. It may be complete by now: then nothing is unknown.
  end_asking();
  return {*this, !is_complete(), false};
}

void Recovery::end_asking() {
  if (askers_.fetch_sub(1) == 1 && scanned_.load()) {
    core_.loop.post([this] { end_scan(); });
  }
}

/// The scan is at its end. Comes again when the last who began to ask before has ended.
void Recovery::end_scan() {
  scanned_.store(true);
  if (is_over() || askers_.load() > 0) return;
  // What the scan passed over because somebody was looking it up is listed by that look.
  if (unread_.load()) {
    end(State::failed, make_error(ErrorCode::io, "a lookup in the index failed"));
  } else if (core_.is_partial.load()) {
    end(State::partial,
        make_error(ErrorCode::no_space,
                   concat("metadata_bytes (", core_.options.metadata_bytes, ") has no room for ",
                          no_room_for_, " blocks of the store")));
  } else {
    end(State::complete, absl::OkStatus());
  }
}

/// False, and nothing is entered, while one of them is being cleared: entries that were passed
/// over now would not be shown again if the clearing failed.
bool Recovery::enter_namespaces(Slice& slice) {
  for (NamespaceState* const ns : core_.namespaces.all()) {
    if (ns->publishers.enter()) {
      slice.namespaces.push_back(ns);
      continue;
    }
    for (NamespaceState* const entered : slice.namespaces) entered->publishers.leave();
    slice.namespaces.clear();
    return false;
  }
  return true;
}

void Recovery::list(Slice& slice) {
  std::array<BlockId, 2 * Slice::kWindow> ids;
  for (std::size_t i = 0; i < slice.shown; ++i) {
    ids[2 * i] = slice.window[i].id;
    ids[2 * i + 1] = slice.window[i].facts.parent;
  }
  core_.catalog.look_ahead({ids.data(), 2 * slice.shown});
  for (std::size_t i = 0; i < slice.shown; ++i) list(slice.window[i], slice);
  slice.shown = 0;
}

void Recovery::list(const StoredBlock& stored, Slice& slice) {
  NamespaceState* const ns = slice.find(stored.name.namespace_id);
  if (ns == nullptr || !core_.gates.try_enter(stored.id)) return;
  const bool expired = stored.facts.expiry != 0 && stored.facts.expiry <= slice.wall;
  if (expired && !core_.read_only) {
    slice.expired.push_back(
        {.id = stored.id,
         .name = {stored.name.namespace_id, std::string(stored.name.key), stored.name.part},
         .sequence = stored.facts.sequence,
         .location = stored.location,
         .was = Residency{.cold = stored.location,
                          .facts = stored.facts,
                          .namespace_id = stored.name.namespace_id,
                          .cold_bytes = stored.stored_bytes}});
    return;  // its gate is left when it is removed
  }
  if (!expired && !publish(stored, *ns)) {
    if (!core_.is_partial.load() && core_.unpaid_metadata.load() > 0) {
      slice.crowded_out.push_back({stored, std::string(stored.name.key)});
      return;
    }
    core_.is_partial.store(true);
    ++no_room_for_;
  }
  core_.gates.leave(stored.id);
}

/// Not inside the scan: making room removes from the index what is being scanned.
void Recovery::list_crowded_out(Slice& slice) {
  for (Slice::CrowdedOut& one : slice.crowded_out) {
    one.stored.name.key = one.key;
    const std::uint64_t cost = Catalog::cost_bytes(one.key.size());
    NamespaceState* const ns = slice.find(one.stored.name.namespace_id);
    bool listed = publish(one.stored, *ns);
    while (!listed && !core_.is_partial.load() && core_.pay_metadata(cost) &&
           mover_.free_catalog_room(cost)) {
      listed = publish(one.stored, *ns);
    }
    if (!listed) {
      core_.is_partial.store(true);
      ++no_room_for_;
    }
    core_.gates.leave(one.stored.id);
  }
}

/// For a lookup: what was asked for is worth more than the oldest of what is listed.
bool Recovery::publish_in_room_made(const StoredBlock& stored, NamespaceState& ns) {
  if (publish(stored, ns)) return true;
  const std::uint64_t cost = Catalog::cost_bytes(stored.name.key.size());
  if (!is_over() && !core_.pay_metadata(cost)) core_.is_partial.store(true);
  return mover_.free_catalog_room(cost) && publish(stored, ns);
}

bool Recovery::publish(const StoredBlock& stored, NamespaceState& ns) {
  bool has_room = true;
  const bool removed = stored.facts.sequence < ns.cleared_below.load() ||
                       core_.notes.is_removed(stored.id, stored.facts.sequence);
  const std::optional<Residency> listed = core_.catalog.find(stored.id);
  const bool is_new = !listed || !listed->present();
  if (!removed && (is_new || listed->facts.sequence < stored.facts.sequence)) {
    const std::uint64_t cost = Catalog::cost_bytes(stored.name.key.size());
    has_room = !is_new || core_.metadata_bytes() + cost <= core_.options.metadata_bytes;
    Residency replaced;
    if (has_room) {
      has_room = core_.publish_cold(stored.id, stored.name, stored.facts, stored.location,
                                    stored.stored_bytes, &replaced);
    }
    if (has_room) {
      core_.meters.counters.add(Counter::recovered_blocks);
      core_.free_replaced(replaced);
      // Nobody's gate keeps the tier from giving a block up meanwhile; it notes before it drops.
      if (core_.notes.is_removed(stored.id, stored.facts.sequence)) {
        const std::optional<Location> moved = core_.notes.moved_to(stored.id, stored.location);
        core_.catalog.drop_copy(stored.id, TierKind::cold, moved.value_or(stored.location));
      }
      if (stored.facts.expiry != 0 && on_expiring_) on_expiring_(stored.id, stored.facts.expiry);
      if (stored.facts.pinned && on_pinned_) on_pinned_(stored.id);
    }
  }
  return has_room;
}

void Recovery::drop(std::vector<ColdRemoval> removals) {
  if (removals.empty() || !core_.operations.enter()) {
    for (const ColdRemoval& removal : removals) core_.gates.leave(removal.id);
    return;
  }
  for (const ColdRemoval& removal : removals)
    core_.notes.note_removed(removal.id, removal.sequence);
  mover_.remove_cold(std::move(removals), RemovalReason::expired, Durability::written,
                     [this](const std::vector<ColdRemoval>& removed) {
                       for (const ColdRemoval& removal : removed) {
                         // It is listed again, and expires like any other.
                         if (!removal.status.ok() && on_expiring_) {
                           on_expiring_(removal.id, removal.was->facts.expiry);
                         }
                         core_.gates.leave(removal.id);
                       }
                       core_.operations.leave();
                     });
}

void Recovery::abandon() {
  if (is_over()) return;
  {
    MutexLock lock(failure_mutex_);
    failure_ = make_error(ErrorCode::closed, "the engine was closed while loading");
  }
  core_.is_partial.store(true);
  state_.store(State::failed);
  over_.notify();
}

void Recovery::end(State state, const absl::Status& status) {
  took_ns_.store((core_.clock.now() - began_).ns);
  {
    MutexLock lock(failure_mutex_);
    failure_ = status;
  }
  if (state == State::failed && !has_code(status, ErrorCode::closed)) {
    log_line(LogLevel::error,
             concat("the index could not be read to its end; blocks are looked up one by one, and "
                    "`cairn repair` makes it anew: ",
                    message_of(status)));
  }
  if (state == State::partial) {
    log_line(LogLevel::warning,
             concat(message_of(status),
                    "; they stay where they are, are looked up one by one, which is slower, and "
                    "are never evicted: raise metadata_bytes"));
  }
  // With blocks missing a parent that is not listed may be there all the same, and its children
  // need not go before all others.
  if (state != State::partial) core_.catalog.set_loading(false);
  if (state == State::failed) core_.is_partial.store(true);
  state_.store(state);
  if (unread_.load()) core_.is_partial.store(true);
  // A lookup is inside the gates of what it asks for: without a scan nobody else shows what was.
  core_.notes.stop([this](BlockId id) { return core_.gates.is_closed(id); });
  over_.notify();
  if (ended_) ended_();
}

absl::Status Recovery::wait(Deadline deadline) {
  if (!over_.wait_until([this] { return core_.pump(); }, core_.clock, deadline)) {
    return make_error(ErrorCode::deadline, "the catalog is still being loaded");
  }
  MutexLock lock(failure_mutex_);
  return failure_;
}

// --- what is unknown -------------------------------------------------------------------------

void Recovery::resolve(std::vector<Unknown> unknown, bool gated,
                       std::function<void(absl::Status)> done) {
  auto lookup = std::make_shared<Lookup>();
  lookup->unknown = std::move(unknown);
  lookup->gated = gated;
  lookup->done = std::move(done);
  // It may outlive who asked, whose deadline does not wait for it, and it may evict.
  core_.operations.enter_again();
  if (gated) {
    look_up(lookup);
    return;
  }
  lookup->asking = ask();
  for (const Unknown& wanted : lookup->unknown) lookup->gates.push_back(wanted.id);
  std::sort(lookup->gates.begin(), lookup->gates.end());
  lookup->gates.erase(std::unique(lookup->gates.begin(), lookup->gates.end()), lookup->gates.end());
  // Looked for inside the gates: what is erased between a look and its listing would be back.
  core_.gates.enter_all(lookup->gates, [this, lookup] { look_up(lookup); });
}

void Recovery::look_up(const std::shared_ptr<Lookup>& lookup) {
  for (const Unknown& wanted : lookup->unknown) lookup->batch.push_back({.name = wanted.name});
  core_.cold->lookup(lookup->batch, [this, lookup] {
    absl::Status status;
    for (std::size_t i = 0; i < lookup->batch.size(); ++i) {
      const StoredLookup& one = lookup->batch[i];
      if (!one.status.ok()) {
        status = one.status;
        unread_.store(true);
        // The scan may have come to its end without having seen that.
        if (is_over()) core_.is_partial.store(true);
      }
      if (!one.status.ok() || !one.found || one.found->id != lookup->unknown[i].id) continue;
      NamespaceState* const ns = core_.namespaces.find(one.found->name.namespace_id);
      // Whoever holds the gates is inside already; others come too late for a clearing.
      const bool entered = ns != nullptr && !lookup->gated && ns->publishers.enter();
      if (ns != nullptr && (entered || lookup->gated) && !publish_in_room_made(*one.found, *ns)) {
        status = make_error(ErrorCode::no_space, "metadata_bytes is full of blocks in use");
        core_.is_partial.store(true);  // there, and not listed
      }
      if (entered) ns->publishers.leave();
    }
    core_.gates.leave_all(lookup->gates);
    lookup->asking.end();
    lookup->done(std::move(status));
    core_.operations.leave();
  });
}

bool Recovery::relocated(BlockId id, Location from, Location to) {
  if (core_.catalog.relocate_cold(id, from, to)) return true;
  // Not listed there. It may be in a moment: by the scan, which can still show `from`, or by
  // whoever holds the gate and has not published yet what the index already names.
  if (is_complete() && !core_.gates.is_closed(id)) {
    return core_.catalog.relocate_cold(id, from, to);  // it was published in between, or is gone
  }
  core_.notes.note_moved(id, from, to);
  core_.catalog.relocate_cold(id, from, to);
  // A lookup that begins from now on finds it where it is.
  if (is_over() && !core_.gates.is_closed(id)) core_.notes.forget_moves(id);
  return true;
}

}  // namespace cairn::detail
