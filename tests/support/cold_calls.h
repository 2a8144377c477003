// SPDX-License-Identifier: Apache-2.0
// cold_calls.h — one operation at a time on the tier of a ColdWorld, pumped until it is done.
//
// For tests that know exactly what they want to happen; the world's own random steps and its
// model know nothing of these.
//
// Threading: confined. Blocking: as ColdWorld::pump_until.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "tests/support/cold_world.h"
#include "tests/support/payload.h"

namespace cairn::test {

/// A block that a put has acknowledged, with what it takes to read it.
struct BlockPut {
  absl::Status status;
  BlockId id;
  Location location;
  std::uint64_t sequence = 0;
};

/// A put under way; pump until `done`.
struct PutFlight {
  std::string key, payload;
  TierWrite write;
  bool done = false;
};

inline absl::Status start_put(ColdWorld& world, NamespaceId ns, std::string key, std::size_t bytes,
                              Durability durability, PutFlight& flight) {
  const auto size = static_cast<std::uint32_t>(bytes);
  flight.key = std::move(key);
  TierWrite& write = flight.write;
  CAIRN_RETURN_IF_ERROR(world.tier().reserve(ns, {&size, 1}, {&write.location, 1}));
  const std::uint64_t sequence = world.tier().next_sequence();
  flight.payload = make_payload(flight.key, sequence, bytes);
  write.name = {ns, flight.key, 0};
  write.id = block_id(write.name, world.tier().block_id_secret());
  write.payload = as_bytes(flight.payload);
  write.facts = {
      .sequence = sequence, .plain_bytes = size, .plain_sum = xxh3_64(as_bytes(flight.payload))};
  world.tier().write({&write, 1}, durability, [&flight] { flight.done = true; });
  return absl::OkStatus();
}

inline BlockPut put_block(ColdWorld& world, NamespaceId ns, std::string key, std::size_t bytes,
                          Durability durability) {
  PutFlight flight;
  BlockPut out;
  out.status = start_put(world, ns, std::move(key), bytes, durability, flight);
  if (!out.status.ok()) return out;
  world.pump_until([&] { return flight.done; });
  out = {flight.write.status, flight.write.id, flight.write.location, flight.write.facts.sequence};
  return out;
}

/// A removal under way; pump until `done`.
struct RemovalFlight {
  std::string key;
  Removal removal;
  bool done = false;
};

inline void start_removal(ColdWorld& world, NamespaceId ns, std::string key, RemovalReason reason,
                          Durability durability, RemovalFlight& flight) {
  flight.key = std::move(key);
  flight.removal.name = {ns, flight.key, 0};
  flight.removal.sequence = UINT64_MAX;
  flight.removal.reason = reason;
  world.tier().remove({&flight.removal, 1}, durability, [&flight] { flight.done = true; });
}

inline absl::Status remove_block(ColdWorld& world, NamespaceId ns, std::string key,
                                 RemovalReason reason, Durability durability) {
  RemovalFlight flight;
  start_removal(world, ns, std::move(key), reason, durability, flight);
  world.pump_until([&] { return flight.done; });
  return flight.removal.status;
}

/// What the index names, if anything.
inline absl::StatusOr<std::optional<StoredBlock>> look_up(ColdWorld& world, NamespaceId ns,
                                                          std::string_view key) {
  StoredLookup lookup;
  lookup.name = {ns, key, 0};
  bool done = false;
  world.tier().lookup({&lookup, 1}, [&] { done = true; });
  world.pump_until([&] { return done; });
  CAIRN_RETURN_IF_ERROR(lookup.status);
  return lookup.found;
}

/// Looks the block up, reads it, and holds it against what put_block() wrote.
inline absl::Status read_block(ColdWorld& world, NamespaceId ns, std::string_view key) {
  CAIRN_ASSIGN_OR_RETURN(const std::optional<StoredBlock> found, look_up(world, ns, key));
  if (!found) return make_error(ErrorCode::not_found, "the index names no such block");
  std::string into(found->facts.plain_bytes, '\0');
  TierRead read;
  read.location = found->location;
  read.name = {ns, key, 0};
  read.sequence = found->facts.sequence;
  read.plain_sum = found->facts.plain_sum;
  read.destination = {reinterpret_cast<std::byte*>(into.data()), into.size()};
  bool done = false;
  world.tier().read({&read, 1}, [&] { done = true; });
  world.pump_until([&] { return done; });
  CAIRN_RETURN_IF_ERROR(read.status);
  if (!is_payload(key, found->facts.sequence, as_bytes(into)))
    return make_error(ErrorCode::corruption, "other bytes than were put");
  return absl::OkStatus();
}

inline void let_pass(ColdWorld& world, Duration time) {
  const TimePoint later = world.clock().now() + time;
  world.pump_until([&] { return world.clock().now() >= later; });
}

}  // namespace cairn::test
