// SPDX-License-Identifier: Apache-2.0
// Blocks as they are stored, where a disk has its part in it: payloads in more pieces than one
// write takes, writes of which some fail, damage, moves, and the loss of the index.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/text.h"
#include "tests/support/cold_calls.h"
#include "tests/support/cold_repair.h"
#include "tests/support/stored_images.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"

namespace cairn::test {
namespace {

constexpr ImageShape kPages{.coded = false, .piece_pages = 1};

struct ImageFlight {
  std::string key, payload;
  std::shared_ptr<StoredImage> image;
  TierWrite write;
  bool done = false;
};

std::unique_ptr<ImageFlight> start_image(ColdWorld& world, std::string key, std::size_t bytes,
                                         ImageShape shape, Durability durability) {
  auto flight = std::make_unique<ImageFlight>();
  const auto size = static_cast<std::uint32_t>(bytes);
  const NamespaceId ns = world.addressed_namespace();
  flight->key = std::move(key);
  TierWrite& write = flight->write;
  write.status = world.tier().reserve(ns, {&size, 1}, {&write.location, 1});
  if (!write.status.ok()) {
    flight->done = true;
    return flight;
  }
  const std::uint64_t sequence = world.tier().next_sequence();
  flight->payload = make_payload(flight->key, sequence, bytes);
  write.name = {ns, flight->key, 0};
  write.id = block_id(write.name, world.tier().block_id_secret());
  write.facts = {
      .sequence = sequence, .plain_bytes = size, .plain_sum = xxh3_64(as_bytes(flight->payload))};
  flight->image = make_image(write.name, write.facts, as_bytes(flight->payload),
                             tiers::kOpaqueChunkBytes, shape);
  write.image = flight->image;
  world.tier().write({&write, 1}, durability, [f = flight.get()] { f->done = true; });
  return flight;
}

BlockPut put_image(ColdWorld& world, std::string key, std::size_t bytes, ImageShape shape) {
  const auto flight = start_image(world, std::move(key), bytes, shape, Durability::durable);
  world.pump_until([&] { return flight->done; });
  return {flight->write.status, flight->write.id, flight->write.location,
          flight->write.facts.sequence};
}

ImageRead lend(ColdWorld& world, std::string_view key, const BlockPut& put) {
  ImageRead read{.location = put.location,
                 .name = {world.addressed_namespace(), key, 0},
                 .sequence = put.sequence,
                 .image = {},
                 .status = {}};
  bool done = false;
  world.tier().read_images({&read, 1}, [&] { done = true; });
  world.pump_until([&] { return done; });
  return read;
}

bool is_right(const ImageRead& read) {
  if (!read.status.ok()) return false;
  const auto plain = plain_bytes_of(*read.image);
  return plain.ok() && is_payload(read.name.key, read.sequence, as_bytes(*plain));
}

/// Blocks may have more pages than one write has parts.
ColdWorldOptions large_segments() {
  ColdWorldOptions options{.seed = 5};
  options.cold.cold_bytes = 2 * kGiB;
  return options;
}
constexpr std::size_t kManyPages = (tiers::kIoPartsMax + 300) * tiers::kPage + 77;

TEST(ImageSim, APayloadInMorePiecesThanAWriteTakesIsWrittenWhole) {
  ColdWorld world(large_segments());
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  const std::uint64_t before = world.device().device_counters().writes;
  const BlockPut put = put_image(world, "many", kManyPages, kPages);
  ASSERT_TRUE(put.status.ok()) << put.status;
  EXPECT_GE(world.device().device_counters().writes, before + 2);
  EXPECT_TRUE(read_block(world, ns, "many").ok());
  EXPECT_TRUE(is_right(lend(world, "many", put)));
  // Neighbours in one extent, whose pages are counted together.
  std::vector<std::unique_ptr<ImageFlight>> flights;
  for (int i = 0; i < 6; ++i) {
    flights.push_back(start_image(world, concat("n", i), 1'200'000, kPages, Durability::written));
  }
  world.pump_until([&] {
    return std::all_of(flights.begin(), flights.end(), [](const auto& f) { return f->done; });
  });
  for (const auto& flight : flights) {
    EXPECT_TRUE(flight->write.status.ok());
    EXPECT_TRUE(read_block(world, ns, flight->key).ok()) << flight->key;
  }
  world.power_cut();
  ASSERT_TRUE(world.open().ok());
  EXPECT_TRUE(read_block(world, ns, "many").ok());
  world.close();
}

TEST(ImageSim, OneFailedWriteOfAnExtentFailsAllOfIt) {
  for (const Fault fault : {Fault::write_error, Fault::short_write}) {
    for (const std::uint64_t nth : {1U, 2U}) {
      ColdWorld world(large_segments());
      ASSERT_TRUE(world.open().ok());
      const NamespaceId ns = world.addressed_namespace();
      ASSERT_TRUE(put_image(world, "first", 5'000, kPages).status.ok());  // opens the segment
      world.disk().faults().add({.fault = fault,
                                 .side = Side::device,
                                 .nth = nth,
                                 .times = 1,
                                 .path_contains = "/segments/"});
      const std::uint64_t used = world.tier().usage().used_bytes;
      const BlockPut put = put_image(world, "many", kManyPages, kPages);
      EXPECT_TRUE(has_code(put.status, ErrorCode::io)) << put.status;
      EXPECT_EQ(world.disk().faults().fired(fault), 1U);
      EXPECT_EQ(world.tier().usage().used_bytes, used);
      EXPECT_EQ(world.tier().health().write_errors, 1U);
      EXPECT_TRUE(has_code(read_block(world, ns, "many"), ErrorCode::not_found));
      world.disk().faults().clear();
      EXPECT_TRUE(put_image(world, "many", kManyPages, kPages).status.ok());
      EXPECT_TRUE(read_block(world, ns, "many").ok());
      world.close();
      ASSERT_TRUE(world.open().ok());
      EXPECT_TRUE(read_block(world, ns, "many").ok());
      world.close();
    }
  }
}

TEST(ImageSim, CutsInTheMiddleOfAnExtentLeaveTheBlockWholeOrNot) {
  for (const std::uint64_t seed : seeds({1, 2, 3, 4, 5, 6}, 2)) {
    ColdWorldOptions options = large_segments();
    options.seed = seed;
    ColdWorld world(options);
    ASSERT_TRUE(world.open().ok());
    const NamespaceId ns = world.addressed_namespace();
    ASSERT_TRUE(put_image(world, "kept", 300'000, kPages).status.ok());
    world.disk().freeze_at(world.disk().mutations() + 1 + world.rng().below(6));
    const auto flight = start_image(world, "torn", kManyPages, kPages, Durability::written);
    world.pump_until([&] { return flight->done || world.disk().frozen(); });
    if (world.rng().chance(0.5)) {
      world.power_cut();
    } else {
      world.kill();
    }
    ASSERT_TRUE(world.open().ok());
    EXPECT_TRUE(read_block(world, ns, "kept").ok());
    const absl::Status torn = read_block(world, ns, "torn");
    EXPECT_TRUE(torn.ok() || has_code(torn, ErrorCode::not_found) ||
                has_code(torn, ErrorCode::corruption))
        << torn;
    world.close();
  }
}

TEST(ImageSim, RepairFindsWhatWasWrittenAsImages) {
  ColdWorld world({.seed = 7});
  ASSERT_TRUE(world.open().ok());
  std::vector<std::string> keys;
  for (const std::size_t bytes : {0U, 1U, 4'097U, 100'000U, 300'001U, 1'000'000U}) {
    for (const bool coded : {false, true}) {
      keys.push_back(concat("r", bytes, coded ? "c" : "p"));
      const ImageShape shape{.coded = coded, .piece_pages = 2};
      ASSERT_TRUE(put_image(world, keys.back(), bytes, shape).status.ok());
    }
  }
  world.close();
  lose_index(world.disk());
  repair(world);
  ASSERT_TRUE(world.open().ok());
  for (const std::string& key : keys) {
    EXPECT_TRUE(read_block(world, world.addressed_namespace(), key).ok()) << key;
  }
  world.close();
}

TEST(ImageSim, WhatHasMovedIsLentFromWhereItIsNow) {
  ColdWorld world({.seed = 8});
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  std::vector<BlockPut> puts;
  for (int i = 0; i < 24; ++i) {
    puts.push_back(put_image(world, concat("m", i), i % 2 == 0 ? 20'000 : 400'000,
                             {.coded = i % 3 == 0, .piece_pages = 5}));
    ASSERT_TRUE(puts.back().status.ok());
  }
  for (std::size_t i = 0; i < puts.size(); i += 3) {
    ASSERT_TRUE(
        remove_block(world, ns, concat("m", i), RemovalReason::erased, Durability::written).ok());
  }
  bool done = false;
  world.tier().compact(0.01, [&](const absl::Status&) { done = true; });
  world.pump_until([&] { return done; });
  std::size_t moved = 0, gone = 0;
  for (std::size_t i = 0; i < puts.size(); ++i) {
    const std::string key = concat("m", i);
    const ImageRead read = lend(world, key, puts[i]);
    if (i % 3 == 0) {  // as long as its segment was not cleaned, the record is still there
      EXPECT_TRUE(is_right(read) || has_code(read.status, ErrorCode::corruption)) << key;
      if (!read.status.ok()) ++gone;
      continue;
    }
    EXPECT_TRUE(is_right(read)) << key << read.status;
    const auto found = look_up(world, ns, key);
    ASSERT_TRUE(found.ok() && found->has_value());
    if ((*found)->location != puts[i].location) ++moved;
  }
  EXPECT_GT(moved, 0U);
  EXPECT_GT(gone, 0U);
  EXPECT_EQ(world.tier().health().corruptions, 0U) << "nobody's bytes were bad";
  world.close();
}

TEST(ImageSim, DamageOnTheDiskIsNeverLent) {
  for (const std::size_t bytes : {3'000U, 300'000U}) {
    ColdWorld world({.seed = 9});
    ASSERT_TRUE(world.open().ok());
    const BlockPut put = put_image(world, "k", bytes, kPages);
    ASSERT_TRUE(put.status.ok());
    const ImageRead before = lend(world, "k", put);
    ASSERT_TRUE(is_right(before));
    const tiers::Place place = tiers::unpack_location(put.location);
    world.disk().flip_bit(tiers::segment_path("/store", place.segment),
                          place.offset + before.image->fields.payload_offset + bytes / 2, 3);
    EXPECT_TRUE(has_code(lend(world, "k", put).status, ErrorCode::corruption));
    EXPECT_EQ(world.tier().health().corruptions, 1U);
    EXPECT_TRUE(is_right(before)) << "what is lent is not the disk's any more";
    world.close();
  }
}

TEST(ImageSim, WhoKeepsImagesIsInNobodysWay) {
  ColdWorldOptions options{.seed = 10};
  options.cold.buffer_bytes = kMiB;
  ColdWorld world(options);
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  std::vector<ImageRead> kept;
  std::vector<std::string> keys;
  for (int i = 0; i < 40; ++i) {
    keys.push_back(concat("k", i));
    const BlockPut put =
        put_block(world, ns, keys.back(), i % 2 == 0 ? 300'000 : 2'000, Durability::written);
    ASSERT_TRUE(put.status.ok());
    kept.push_back(lend(world, keys.back(), put));
    EXPECT_TRUE(read_block(world, ns, keys.back()).ok());
  }
  world.close();
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const auto plain = plain_bytes_of(*kept[i].image);
    ASSERT_TRUE(plain.ok());
    EXPECT_TRUE(is_payload(keys[i], kept[i].sequence, as_bytes(*plain)));
  }
}

}  // namespace
}  // namespace cairn::test
