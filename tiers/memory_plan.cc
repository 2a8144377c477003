// SPDX-License-Identifier: Apache-2.0
#include "tiers/memory_plan.h"

#include <algorithm>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/rocksdb_index.h"

namespace cairn::tiers {
namespace {

constexpr std::uint64_t kBuffersBytesMax = 40 * kMiB;
constexpr std::uint64_t kOtherBytes = 20 * kMiB;

}  // namespace

absl::StatusOr<MemoryPlan> plan_memory(std::uint64_t memory_bytes, const EngineOptions& defaults) {
  if (memory_bytes < kMemoryBytesMin) {
    return make_error(ErrorCode::invalid_argument,
                      concat("memory_bytes is ", format_size(memory_bytes), "; a store needs ",
                             format_size(kMemoryBytesMin), " or more"));
  }
  const IndexOptions index;
  MemoryPlan plan;
  // Two memtables, and what a flush and a compaction hold of the files that they read and write.
  plan.index_bytes = index.cache_bytes + 3 * index.write_buffer_bytes;
  plan.other_bytes = kOtherBytes;
  plan.buffers_bytes = std::min(kBuffersBytesMax, memory_bytes / 16);
  plan.puts_bytes = std::min(defaults.put_bytes_in_flight_max, memory_bytes / 16);
  plan.loads_bytes = std::min(defaults.load_bytes_in_flight_max, memory_bytes / 16);
  plan.metadata_bytes = std::min(defaults.metadata_bytes, memory_bytes / 8);
  plan.warm_bytes = std::min(defaults.warm_bytes, (memory_bytes - plan.total()) / 2);
  plan.hot_bytes = (memory_bytes - plan.total()) / (2 * kMiB) * (2 * kMiB);
  return plan;
}

}  // namespace cairn::tiers
