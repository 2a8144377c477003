// SPDX-License-Identifier: Apache-2.0
#include "engine/announcer.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"

namespace cairn::detail {
namespace {

/// What one announcement may ask cold about while the catalog is being loaded.
constexpr std::size_t kUnknownMax = 4096;

}  // namespace

/// Waits for the fetches of one announcement.
class Announcer::Announcement final : public FetchWaiter {
 public:
  Announcement(Announcer& announcer, std::vector<BlockId> ids, TimePoint until)
      : announcer_(announcer), ids_(std::move(ids)), until_(until) {}

  void fetched(std::size_t tag, const absl::Status& status, TierKind) override {
    if (status.ok()) {
      announcer_.pin_arrived(ids_[tag]);
    } else {
      announcer_.let_go(ids_[tag]);
    }
  }
  bool is_waiting() const override { return announcer_.core_.clock.now() < until_; }

 private:
  Announcer& announcer_;
  const std::vector<BlockId> ids_;
  const TimePoint until_;
};

Announcer::Announcer(EngineCore& core, Recovery& recovery, Fetcher& fetcher, ReadPath& reads)
    : core_(core),
      recovery_(recovery),
      fetcher_(fetcher),
      reads_(reads),
      limit_bytes_(static_cast<std::uint64_t>(static_cast<double>(core.hot.usage().capacity_bytes) *
                                              core.options.announceable_fraction)) {}

std::size_t Announcer::announce(NamespaceId id, std::span<const KeyRef> keys, Deadline deadline) {
  core_.meters.counters.add(Counter::announces);
  NamespaceState* const ns = core_.namespaces.find(id);
  const TimePoint now = core_.clock.now();
  const TimePoint until = std::min(deadline, now + core_.options.announce_limit);
  if (ns == nullptr || core_.closing.load() || until <= now || !core_.operations.enter()) return 0;
  std::size_t accepted = 0;
  std::vector<BlockId> to_fetch, arrived;
  auto names = std::make_shared<std::vector<OwnedName>>();
  names->reserve(std::min(keys.size(), kUnknownMax));
  std::vector<Unknown> unknown;
  for (const KeyRef& key : keys) {
    if (!is_valid_key(key.key)) break;
    const BlockId block = core_.id_of(id, key);
    const std::optional<Residency> listed = core_.catalog.find(block);
    if (!listed) {
      // Its size is not known yet; it is held to the limit when cold has answered.
      if (recovery_.is_complete() || unknown.size() == kUnknownMax) break;
      names->push_back({id, std::string(key.key), key.part});
      unknown.push_back({block, names->back().view()});
      ++accepted;
      continue;
    }
    if (core_.is_expired(*listed)) break;
    if (!accept(*ns, key, block, listed->facts.plain_bytes, until)) break;
    (listed->hot.is_null() ? to_fetch : arrived).push_back(block);
    ++accepted;
  }
  for (const BlockId block : arrived) pin_arrived(block);
  fetch(*ns, to_fetch, until);
  if (!unknown.empty()) {
    std::vector<BlockId> asked;
    asked.reserve(unknown.size());
    for (const Unknown& one : unknown) asked.push_back(one.id);
    recovery_.resolve(std::move(unknown), false, [=, this](const absl::Status&) {
      std::vector<BlockId> found;
      for (std::size_t i = 0; i < asked.size(); ++i) {
        const std::optional<Residency> listed = core_.catalog.find(asked[i]);
        const OwnedName& name = (*names)[i];
        if (!listed || core_.is_expired(*listed) ||
            !accept(*ns, {name.key, name.part}, asked[i], listed->facts.plain_bytes, until)) {
          break;
        }
        found.push_back(asked[i]);
      }
      fetch(*ns, found, until);
      // The deadline may have gone by while the index was asked.
      core_.loop.run_at(until, [this] { sweep(); });
    });
  }
  if (accepted > 0) core_.loop.run_at(until, [this] { sweep(); });
  core_.operations.leave();
  return accepted;
}

bool Announcer::accept(NamespaceState& ns, const KeyRef& key, BlockId id, std::uint64_t bytes,
                       TimePoint until) {
  MutexLock lock(mutex_);
  const auto known = held_.find(id);
  if (known != held_.end()) {
    known->second.until = std::max(known->second.until, until);
    return true;
  }
  // Relaxed: written under the lock.
  if (held_bytes_.load(std::memory_order_relaxed) + bytes > limit_bytes_) return false;
  held_[id] = {
      .bytes = bytes, .until = until, .ns = &ns, .name = {ns.id, std::string(key.key), key.part}};
  held_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  held_count_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void Announcer::fetch(NamespaceState& ns, const std::vector<BlockId>& ids, TimePoint until) {
  std::vector<BlockId> wanted;
  std::vector<OwnedName> names;
  std::vector<Residency> residencies;
  for (const BlockId id : ids) {
    const std::optional<Residency> listed = core_.catalog.find(id);
    std::optional<OwnedName> name = core_.catalog.name_of(id);
    if (!listed || !name || !listed->hot.is_null()) {
      pin_arrived(id);
      continue;
    }
    wanted.push_back(id);
    names.push_back(*std::move(name));
    residencies.push_back(*listed);
  }
  if (wanted.empty()) return;
  std::vector<FetchWant> wants;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    wants.push_back(
        {.id = wanted[i], .name = names[i].view(), .residency = residencies[i], .tag = i});
  }
  const auto waiter = std::make_shared<Announcement>(*this, wanted, until);
  if (!fetcher_.start(ns.id, wants, waiter, FetchRoom::evict_backed).ok()) {
    for (const BlockId id : wanted) let_go(id);
  }
}

void Announcer::pin_arrived(BlockId id) {
  Held held;
  {
    MutexLock lock(mutex_);
    const auto known = held_.find(id);
    if (known == held_.end() || known->second.pinned) return;
    held = known->second;
  }
  Residency leased;
  if (!reads_.lease_one(*held.ns, {held.name.key, held.name.part}, id, &leased)) {
    let_go(id);
    return;
  }
  bool kept = false;
  {
    MutexLock lock(mutex_);
    const auto known = held_.find(id);
    kept = known != held_.end() && !known->second.pinned;
    if (kept) {
      known->second.pinned = true;
      known->second.handle = leased.handle;
    }
  }
  if (!kept) core_.leases.unpin({&leased.handle, 1});
}

void Announcer::let_go(BlockId id) {
  Held held;
  {
    MutexLock lock(mutex_);
    const auto known = held_.find(id);
    if (known == held_.end()) return;
    held = std::move(known->second);
    held_.erase(known);
    held_bytes_.fetch_sub(held.bytes, std::memory_order_relaxed);
    held_count_.fetch_sub(1, std::memory_order_relaxed);
  }
  if (held.pinned) core_.leases.unpin({&held.handle, 1});
}

void Announcer::delivered(std::span<const BlockId> ids) {
  // Relaxed: seen late, an announcement is let go by its deadline instead.
  if (held_count_.load(std::memory_order_relaxed) == 0) return;
  for (const BlockId id : ids) let_go(id);
}

void Announcer::sweep() {
  const TimePoint now = core_.clock.now();
  std::vector<BlockId> over;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, held] : held_) {
      if (held.until <= now) over.push_back(id);
    }
  }
  for (const BlockId id : over) let_go(id);
}

}  // namespace cairn::detail
