// SPDX-License-Identifier: Apache-2.0
#include "engine/core.h"

#include <algorithm>
#include <random>

#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::detail {
namespace {

std::uint64_t random_secret() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

/// The catalog's own limit is the hard one; long keys are held against metadata_bytes by eviction.
CatalogOptions catalog_options(const EngineOptions& options) {
  return {.blocks_max =
              std::max<std::uint64_t>(options.metadata_bytes / Catalog::kBytesPerBlock, 16)};
}

}  // namespace

EngineCore::EngineCore(const EngineOptions& engine_options, const EngineParts& engine_parts)
    : options(engine_options),
      parts(engine_parts),
      hot(*engine_parts.hot),
      warm(engine_parts.warm),
      cold(engine_parts.cold),
      clock(*engine_parts.clock),
      read_only(cold != nullptr && cold->is_read_only()),
      secret(cold != nullptr ? cold->block_id_secret() : random_secret()),
      block_bytes_max(cold != nullptr ? std::min(cold->block_bytes_max(), kBlockBytesMax)
                                      : kBlockBytesMax),
      loop(*engine_parts.mover_loop),
      catalog(catalog_options(engine_options)),
      gates(loop),
      namespaces(cold),
      leases(catalog, hot, loop, meters) {
  gates.set_before_leave([this](BlockId id) { notes.gate_left(id); });
}

std::uint64_t EngineCore::next_sequence() {
  // Relaxed: only distinctness is asked for; a name's versions are ordered by its gate.
  return cold != nullptr ? cold->next_sequence()
                         : memory_sequence_.fetch_add(1, std::memory_order_relaxed);
}

bool EngineCore::pay_metadata(std::uint64_t bytes) {
  std::uint64_t unpaid = unpaid_metadata.load();
  while (unpaid > 0) {
    if (unpaid_metadata.compare_exchange_weak(unpaid, unpaid - std::min(bytes, unpaid)))
      return true;
  }
  return false;
}

bool EngineCore::publish_cold(BlockId id, const BlockName& name, const BlockFacts& facts,
                              Location location, std::uint32_t cold_bytes, Residency* replaced) {
  const Location now = notes.moved_to(id, location).value_or(location);
  if (!catalog.publish_cold(id, name, facts, now, cold_bytes, replaced)) return false;
  // Looked at twice, as by relocated(): one of the two sees what the other has done.
  const std::optional<Location> moved = notes.moved_to(id, location);
  if (moved && *moved != now) catalog.relocate_cold(id, now, *moved);
  return true;
}

absl::Status EngineCore::reserve_cold(NamespaceState& ns, std::uint64_t growth,
                                      std::span<const std::uint32_t> sizes,
                                      std::span<Location> locations) {
  ns.cold_pending.fetch_add(growth);
  absl::Status status;
  if (is_cold_limited(ns, 0)) {
    const std::uint64_t limit = ns.cold_limit.load();
    const bool never = sizes.size() == 1 && sizes[0] > limit;
    status = make_error(never ? ErrorCode::too_large : ErrorCode::no_space,
                        concat("the namespace may hold ", limit, " bytes of cold"));
  } else {
    status = cold->reserve(ns.id, sizes, locations);
  }
  if (status.ok()) {
    cold_changes_begun.fetch_add(1);
  } else {
    ns.cold_pending.fetch_sub(growth);
  }
  return status;
}

void EngineCore::settle_cold(NamespaceState& ns, std::uint64_t growth) {
  ns.cold_pending.fetch_sub(growth);
  cold_changes_ended.fetch_add(1);
}

bool EngineCore::is_cold_limited(const NamespaceState& ns, std::uint64_t growth) const {
  const std::uint64_t limit = ns.cold_limit.load();
  if (limit == 0) return false;
  // What is pending is counted first: what becomes listed in between is counted twice, never not.
  const std::uint64_t pending = ns.cold_pending.load();
  return catalog.usage(ns.id).cold_bytes + pending + growth > limit;
}

bool EngineCore::has_policy(NamespaceId id, WritePolicy policy) const {
  const NamespaceState* const ns = namespaces.find(id);
  // Relaxed: a switch says nothing about blocks that are on their way out in that moment.
  return ns != nullptr && ns->write_policy.load(std::memory_order_relaxed) == policy;
}

bool EngineCore::is_owed(const Residency& residency) const {
  return cold != nullptr && residency.is_dirty() &&
         has_policy(residency.namespace_id, WritePolicy::back);
}

bool EngineCore::is_selective(const Residency& residency) const {
  return cold != nullptr && has_policy(residency.namespace_id, WritePolicy::selective);
}

void EngineCore::free_replaced(const Residency& replaced) {
  free_in_memory(replaced);
  if (!replaced.cold.is_null() && cold != nullptr) cold->free({&replaced.cold, 1});
}

void EngineCore::free_in_memory(const Residency& removed) {
  if (!removed.hot.is_null()) free_hot(removed.hot);
  if (!removed.warm.is_null()) warm->free({&removed.warm, 1});
}

void EngineCore::free_hot(Location location) {
  hot.free({&location, 1});
}

}  // namespace cairn::detail
