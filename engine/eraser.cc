// SPDX-License-Identifier: Apache-2.0
#include "engine/eraser.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/base/status.h"

namespace cairn::detail {
namespace {

constexpr std::uint64_t kKeysUnderWayMax = 1U << 18;

}  // namespace

struct Eraser::Erase {
  struct Item {
    BlockId id;
    BlockName name;
    std::size_t index = 0;  // in the request
    bool was_there = false;
  };
  NamespaceState* ns = nullptr;
  std::vector<Item> items;  // one for each name; a name that is asked for twice goes once
  std::vector<BlockId> gates;
  std::size_t asked = 0;
  Recovery::Asking asking;
  Callback done;
};

absl::Status Eraser::admit(NamespaceId id, std::span<const KeyRef> keys) {
  if (core_.namespaces.find(id) == nullptr) {
    return make_error(ErrorCode::invalid_argument, "there is no such namespace");
  }
  if (core_.read_only) {
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  }
  for (const KeyRef& key : keys) {
    if (!is_valid_key(key.key)) {
      return make_error(ErrorCode::invalid_argument, "a key has 1 to 1024 bytes");
    }
  }
  if (keys_under_way_.fetch_add(keys.size()) + keys.size() > kKeysUnderWayMax) {
    keys_under_way_.fetch_sub(keys.size());
    return make_error(ErrorCode::busy, "too many blocks are being erased");
  }
  absl::Status status;
  if (!core_.operations.enter()) {
    status = make_error(ErrorCode::closed, "the engine is closing");
  } else if (!core_.namespaces.find(id)->publishers.enter()) {
    core_.operations.leave();
    status = make_error(ErrorCode::busy, "the namespace is being cleared");
  }
  if (!status.ok()) keys_under_way_.fetch_sub(keys.size());
  return status;
}

void Eraser::erase(NamespaceId id, std::span<const KeyRef> keys, Callback done) {
  core_.meters.counters.add(Counter::erases);
  if (absl::Status status = admit(id, keys); !status.ok()) {
    core_.meters.counters.add_refusal(status);
    done(std::move(status));
    return;
  }
  auto erase = std::make_shared<Erase>();
  erase->ns = core_.namespaces.find(id);
  erase->asked = keys.size();
  erase->done = std::move(done);
  absl::flat_hash_map<BlockId, std::size_t> known;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const BlockId block = core_.id_of(id, keys[i]);
    if (!known.try_emplace(block, i).second) continue;
    erase->items.push_back({.id = block, .name = {id, keys[i].key, keys[i].part}, .index = i});
    erase->gates.push_back(block);
  }
  std::sort(erase->gates.begin(), erase->gates.end());
  erase->asking = recovery_.ask();
  core_.gates.enter_all(erase->gates, [this, erase] { resolve(erase); });
}

void Eraser::resolve(const std::shared_ptr<Erase>& erase) {
  std::vector<Unknown> unknown;
  if (erase->asking.must()) {
    for (const Erase::Item& item : erase->items) {
      if (!core_.catalog.find(item.id)) unknown.push_back({item.id, item.name});
    }
  }
  if (unknown.empty()) {
    unlist(erase);
    return;
  }
  recovery_.resolve(std::move(unknown), true, [this, erase](const absl::Status& status) {
    if (status.ok()) {
      unlist(erase);
    } else {
      finish(*erase, status);
    }
  });
}

void Eraser::unlist(const std::shared_ptr<Erase>& erase) {
  erase->asking.end();
  std::vector<ColdRemoval> removals;
  // What was evicted, or was left unnamed by a dirty stop, has a record and nothing that buries it:
  // where the index has to learn from the segments, it would be back.
  const DurableCounters ever = core_.cold != nullptr ? core_.cold->counters() : DurableCounters{};
  const bool has_unnamed = ever.evicted_ever > 0 || ever.dirty_openings > 0;
  for (Erase::Item& item : erase->items) {
    const std::optional<Residency> listed = core_.catalog.find(item.id);
    if (!listed || !core_.catalog.is_named(item.id, item.name)) {
      if (has_unnamed) {
        removals.push_back(
            {.id = item.id,
             .name = {item.name.namespace_id, std::string(item.name.key), item.name.part},
             .sequence = core_.next_sequence()});
      }
      continue;
    }
    item.was_there = !core_.is_expired(*listed);
    const std::uint64_t sequence = listed->facts.sequence;
    core_.notes.note_removed(item.id, sequence);
    // A version in hot alone may stand over one that was evicted before it came.
    const bool was_in_cold =
        !listed->cold.is_null() || core_.catalog.has_left_cold(item.id) || has_unnamed;
    const std::optional<Residency> removed = core_.catalog.remove(item.id, sequence);
    if (removed) core_.free_in_memory(*removed);
    if (!was_in_cold || core_.cold == nullptr) continue;
    removals.push_back(
        {.id = item.id,
         .name = {item.name.namespace_id, std::string(item.name.key), item.name.part},
         .sequence = sequence,
         .location = removed ? removed->cold : Location{},
         .was = removed && !removed->cold.is_null() ? removed : std::nullopt});
  }
  if (removals.empty()) {
    keep_away(erase);
    return;
  }
  const bool all_removed = removals.size() == erase->items.size();
  mover_.remove_cold(std::move(removals), RemovalReason::erased, Durability::durable,
                     [this, erase, all_removed](const std::vector<ColdRemoval>& removed) {
                       absl::Status status;
                       for (const ColdRemoval& one : removed) {
                         if (!one.status.ok()) status = one.status;
                       }
                       status.ok() && !all_removed ? keep_away(erase) : finish(*erase, status);
                     });
}

/// What is not in cold may have been evicted from there, and the index may not have synced that:
/// after a power cut it would be back, and nobody would remember that it was erased meanwhile.
void Eraser::keep_away(const std::shared_ptr<Erase>& erase) {
  const std::uint64_t begun = core_.removals_begun.load();
  if (core_.cold == nullptr || core_.removals_synced.load() >= begun) {
    finish(*erase, absl::OkStatus());
    return;
  }
  core_.cold->sync([this, erase, begun](const absl::Status& status) {
    std::uint64_t synced = core_.removals_synced.load();
    while (status.ok() && synced < begun &&
           !core_.removals_synced.compare_exchange_weak(synced, begun)) {
    }
    finish(*erase, status);
  });
}

void Eraser::finish(Erase& erase, const absl::Status& status) {
  erase.asking.end();
  for (const BlockId id : erase.gates) core_.gates.leave(id);
  erase.ns->publishers.leave();
  keys_under_way_.fetch_sub(erase.asked);
  const Callback done = std::move(erase.done);
  if (status.ok()) {
    std::vector<bool> was_there(erase.asked, false);
    for (const Erase::Item& item : erase.items) was_there[item.index] = item.was_there;
    done(std::move(was_there));
  } else {
    done(status);
  }
  core_.operations.leave();
}

absl::Status Eraser::clear(NamespaceId id) {
  NamespaceState* const ns = core_.namespaces.find(id);
  if (ns == nullptr) return make_error(ErrorCode::invalid_argument, "there is no such namespace");
  if (core_.read_only) {
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  }
  if (!core_.operations.enter()) return make_error(ErrorCode::closed, "the engine is closing");
  absl::Status status;
  if (!ns->publishers.shut()) {
    status = make_error(ErrorCode::busy, "the namespace is being cleared already");
  } else {
    ns->publishers.wait_empty(core_.parts.pump);
    const std::uint64_t below = core_.next_sequence();
    if (core_.cold != nullptr) status = core_.cold->clear_namespace(id);
    if (status.ok()) {
      ns->cleared_below.store(below);
      ns->epoch.fetch_add(1);
      sweep(*ns);
      tokens_.clear(*ns);
    } else {
      // What came to be listed meanwhile was passed over, and is there after all.
      core_.is_partial.store(true);
    }
    ns->publishers.open();
  }
  core_.operations.leave();
  return status;
}

void Eraser::sweep(NamespaceState& ns) {
  std::vector<BlockId> ids;
  core_.catalog.for_each(ns.id, [&](BlockId id, const Residency&) { ids.push_back(id); });
  for (const BlockId id : ids) {
    // Cold has dropped its copies with the epoch: only slots are left to be freed.
    const std::optional<Residency> removed =
        core_.catalog.remove(id, std::numeric_limits<std::uint64_t>::max());
    if (removed) core_.free_in_memory(*removed);
  }
}

}  // namespace cairn::detail
