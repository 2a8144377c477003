// SPDX-License-Identifier: Apache-2.0
#include "engine/warm_loader.h"

#include <utility>

#include "engine/base/status.h"
#include "engine/lower_read.h"

namespace cairn::detail {

using Outcome = MoveMeters::Outcome;

struct WarmLoader::Batch {
  struct Item {
    BlockId id;
    OwnedName name;
    BlockFacts facts;
    Source from;
    Location location;  // ours until listed
    std::uint32_t attempts = 0;
  };
  std::vector<Item> items;
  std::vector<std::size_t> reading;  // those that `reads` are of
  std::vector<ImageRead> reads;
  std::vector<std::size_t> writing;
  std::vector<TierWrite> writes;
  std::function<void(std::size_t)> done;
};

void WarmLoader::refuse(std::size_t blocks, Outcome why) {
  core_.meters.moves.stayed(MoveKind::cold_to_warm, why, blocks);
}

bool WarmLoader::has_room(std::uint64_t bytes) {
  const auto fits = [&] {
    const TierUsage usage = core_.warm->usage();
    return static_cast<double>(usage.used_bytes + bytes) <=
           static_cast<double>(usage.capacity_bytes) * core_.options.low_watermark;
  };
  return fits() || (mover_.drop_spares(bytes) && fits());
}

bool WarmLoader::start(NamespaceId ns, std::span<const Want> wants,
                       std::function<void(std::size_t)> done) {
  if (core_.warm == nullptr || core_.cold == nullptr || wants.empty()) return false;
  auto batch = std::make_shared<Batch>();
  batch->done = std::move(done);
  std::vector<std::uint32_t> sizes;
  std::uint64_t bytes = 0;
  for (const Want& want : wants) {
    batch->items.push_back(
        {.id = want.id,
         .name = {want.name.namespace_id, std::string(want.name.key), want.name.part},
         .facts = want.residency.facts,
         .from = {TierKind::cold, want.residency.cold}});
    sizes.push_back(want.residency.facts.plain_bytes);
    bytes += want.residency.facts.plain_bytes;
  }
  std::vector<Location> locations(sizes.size());
  if (!has_room(bytes) || !core_.warm->reserve(ns, sizes, locations).ok()) {
    refuse(sizes.size(), Outcome::no_room);
    return false;
  }
  const bool paid = budget_.take(bytes, core_.clock.now());
  if (!paid || !core_.operations.enter()) {
    core_.warm->free(locations);
    if (!paid) refuse(sizes.size(), Outcome::over_budget);
    return false;
  }
  for (std::size_t i = 0; i < locations.size(); ++i) {
    batch->items[i].location = locations[i];
    batch->reading.push_back(i);
  }
  read(batch);
  return true;
}

void WarmLoader::read(const std::shared_ptr<Batch>& batch) {
  batch->reads.clear();
  for (const std::size_t i : batch->reading) {
    Batch::Item& item = batch->items[i];
    ++item.attempts;
    batch->reads.push_back({.location = item.from.location,
                            .name = item.name.view(),
                            .sequence = item.facts.sequence});
  }
  core_.cold->read_images(batch->reads, [this, batch] { keep(batch); });
}

void WarmLoader::keep(const std::shared_ptr<Batch>& batch) {
  std::vector<std::size_t> again;
  for (std::size_t at = 0; at < batch->reads.size(); ++at) {
    const std::size_t i = batch->reading[at];
    Batch::Item& item = batch->items[i];
    ImageRead& read = batch->reads[at];
    if (read.status.ok()) {
      core_.meters.counters.add(Counter::cold_bytes_read, item.facts.plain_bytes);
      batch->writing.push_back(i);
      batch->writes.push_back({.name = item.name.view(),
                               .id = item.id,
                               .facts = item.facts,
                               .image = std::move(read.image),
                               .location = std::exchange(item.location, Location{})});
      continue;
    }
    if (has_code(read.status, ErrorCode::corruption)) {
      const Source next =
          look_again(core_, mover_, item.id, item.facts.sequence, item.from, item.attempts);
      if (next.tier == TierKind::cold) {
        item.from = next;
        again.push_back(i);
        continue;
      }
    }
    refuse(1, Outcome::failed);
  }
  batch->reading = std::move(again);
  if (!batch->reading.empty()) {
    read(batch);
    return;
  }
  if (batch->writes.empty()) {
    list(*batch);
    return;
  }
  core_.warm->write(batch->writes, Durability::memory, [this, batch] { list(*batch); });
}

void WarmLoader::list(Batch& batch) {
  std::size_t arrived = 0;
  for (std::size_t at = 0; at < batch.writes.size(); ++at) {
    const Batch::Item& item = batch.items[batch.writing[at]];
    TierWrite& write = batch.writes[at];
    write.image.reset();
    if (!write.status.ok()) {
      refuse(1, Outcome::failed);
      continue;
    }
    if (!core_.catalog.add_warm(item.id, item.facts.sequence, write.location)) {
      core_.warm->free({&write.location, 1});
      refuse(1, Outcome::gone);
      continue;
    }
    ++arrived;
    core_.meters.moves.moved(MoveKind::cold_to_warm, 1, item.facts.plain_bytes);
    core_.meters.counters.add(Counter::warm_promoted_in);
    core_.meters.counters.add(Counter::warm_bytes_written, item.facts.plain_bytes);
  }
  for (const Batch::Item& item : batch.items) {
    if (!item.location.is_null()) core_.warm->free({&item.location, 1});
  }
  batch.done(arrived);
  core_.operations.leave();
}

}  // namespace cairn::detail
