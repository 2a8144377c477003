// SPDX-License-Identifier: Apache-2.0
// catalog — what a block costs in RAM, all in: growth of the process's resident memory, also at
// the worst moment of a resize.
#include "engine/catalog.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "bench/measure.h"
#include "bench/named/named.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::bench {
namespace {

/// Resident bytes that are this process's own.
double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  std::uint64_t shared = 0;
  statm >> total >> resident >> shared;
  return static_cast<double>((resident - shared) *
                             static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
}

BlockId id_of(std::uint64_t i) {
  return {xxh3_128({reinterpret_cast<const std::byte*>(&i), sizeof(i)})};
}

struct Growth {
  double bytes_a_block = 0;        // at the end
  double worst_bytes_a_block = 0;  // at any of the points looked at
};

/// Chains of 64, as prompts make them, published in cold.
Growth grow(std::uint64_t from, std::uint64_t to) {
  Catalog catalog({.blocks_max = to + 1});
  Growth growth;
  double base = 0;
  for (std::uint64_t i = 0; i < to; ++i) {
    BlockFacts facts{.sequence = i + 1, .plain_bytes = 2U << 20U, .plain_sum = i};
    if (i % 64 != 0) facts.parent = id_of(i - 1);
    catalog.publish_cold(id_of(i), {NamespaceId{1}}, facts, Location{i + 1}, 2U << 20U, nullptr);
    if (i + 1 == from) base = resident_bytes();
    // Below an eighth the slabs' own grain would be measured.
    if (i + 1 >= to / 8 && (i + 1) % (to / 64) == 0) {
      const double each = (resident_bytes() - base) / static_cast<double>(i + 1 - from);
      growth.worst_bytes_a_block = std::max(growth.worst_bytes_a_block, each);
      growth.bytes_a_block = each;
    }
  }
  return growth;
}

}  // namespace

absl::StatusOr<Report> run_catalog(const Settings& settings) {
  Report report{.name = "catalog", .cases = {}};
  std::vector<std::uint64_t> sizes{1'000'000};
  if (!settings.quick) sizes.push_back(10'000'000);
  for (const std::uint64_t size : sizes) {
    const Growth growth = grow(10'000, size);
    for (const bool worst : {false, true}) {
      Case c{
          .name = concat(size / 1'000'000, " M blocks", worst ? ", worst point while growing" : ""),
          .unit = "bytes a block",
          .higher_is_better = false};
      c.figure = worst ? growth.worst_bytes_a_block : growth.bytes_a_block;
      c.yardstick = {"two cache lines", 128, "by definition"};
      c.ratio = c.figure / 128;
      c.goal = {Goal::On::figure, 128};
      c.rounds = 1;
      c.note =
          "growth of RSS without shared pages, from 10 k blocks on; chains of 64; looked at 56 "
          "times from an eighth of the size on";
      report.cases.push_back(std::move(c));
    }
  }
  return report;
}

}  // namespace cairn::bench
