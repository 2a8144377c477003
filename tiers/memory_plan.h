// SPDX-License-Identifier: Apache-2.0
// memory_plan.h — one limit for all the memory of a store, shared out among its parts.
//
// What has a size of its own (the index's cache and memtables, threads, the allocator's rests) is
// taken off first; buffers, what is in flight and the catalog get a share that grows with the
// whole up to their defaults; hot gets what is left, half of which is warm's where it is wanted.
// Each part holds its own limit, so the sum holds the one.
//
// Threading:  pure functions.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/options.h"

namespace cairn::tiers {

struct MemoryPlan {
  std::uint64_t hot_bytes = 0;       // payload
  std::uint64_t warm_bytes = 0;      // images
  std::uint64_t metadata_bytes = 0;  // catalog, names
  std::uint64_t index_bytes = 0;     // RocksDB's cache and memtables
  std::uint64_t puts_bytes = 0;      // copies of small blocks on their way to the disk
  std::uint64_t loads_bytes = 0;     // the same of what is being read
  std::uint64_t buffers_bytes = 0;   // kept for the next transfer, and the cleaner's
  std::uint64_t other_bytes = 0;     // threads, queues, what the allocator does not give back
  std::uint64_t total() const {
    return hot_bytes + warm_bytes + metadata_bytes + index_bytes + puts_bytes + loads_bytes +
           buffers_bytes + other_bytes;
  }
};

/// The least that a store can live in.
constexpr std::uint64_t kMemoryBytesMin = 96 * kMiB;

/// `memory_bytes` shared out; `defaults` give what no part but hot is ever
/// larger than.
/// `invalid_argument` below kMemoryBytesMin.
absl::StatusOr<MemoryPlan> plan_memory(std::uint64_t memory_bytes, const EngineOptions& defaults);

}  // namespace cairn::tiers
