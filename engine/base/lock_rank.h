// SPDX-License-Identifier: Apache-2.0
// lock_rank.h — every lock of the process in the one order in which they may be taken.
//
// A thread may take a lock only if its rank is lower than that of every lock it holds;
// two locks of one rank are never held together. Checked builds abort on an inversion
// (mutex.cc). Highest first, with the reason for the place.
#pragma once

#include <cstdint>

namespace cairn {

enum class LockRank : std::uint16_t {
  tool = 900,              // tools and tests: may call anything below
  engine_lifecycle = 800,  // open, close: serialises the rare calls that touch everything
  engine_operations =
      700,              // in-flight puts, loads and leases; taken before the catalog is consulted
  mover = 650,          // the mover's queues; it asks the catalog while holding it
  catalog_shard = 600,  // one shard of the catalog; never two at once
  catalog_links = 500,  // parent and child lists, across shards; below the shards
  token_tree = 450,     // one namespace's tree of token ids: calls nothing
  hot_tier = 400,       // regions and slots
  warm_tier = 375,         // slots and pages
  cold_tier = 350,      // what other threads may read of the cold tier's state
  index = 300,          // RocksDB adapter
  device = 200,         // queues of the device's worker threads
  event_loop = 150,     // a loop's inbox: anyone may post while holding anything above
  metrics = 100,        // histograms
  log = 50,             // a line may be logged anywhere
};

}  // namespace cairn
