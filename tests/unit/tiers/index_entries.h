// SPDX-License-Identifier: Apache-2.0
// index_entries.h — small entries for tests of the index, put and listed in a line.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "tiers/cold/index.h"

namespace cairn::tiers {

inline constexpr StoreUuid kStore{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

inline IndexEntry entry(std::uint64_t sequence) {
  IndexEntry out;
  out.id.hash = {sequence * 7 + 1, sequence * 13 + 5};
  out.location.bits = sequence + 1000;
  out.stored_bytes = 4096;
  out.epoch = 3;
  out.facts = {sequence, 4000, sequence * 31, 0, {}, false};
  out.heat = 2;
  return out;
}

inline NamespaceId ns(std::uint32_t id) {
  return static_cast<NamespaceId>(id);
}

inline absl::Status put(Index& index, std::string_view key, std::uint64_t sequence,
                        bool sync = false, std::uint32_t in = 1) {
  const IndexChange change{{ns(in), key, 0}, entry(sequence)};
  return index.write({&change, 1}, {}, {}, sync);
}

inline std::map<std::string, std::uint64_t> all(Index& index, std::size_t step = 7) {
  std::map<std::string, std::uint64_t> out;
  std::string cursor;
  do {
    const absl::Status status =
        index.scan(cursor, step, [&](const BlockName& name, const IndexEntry& e) {
          out[std::string(name.key)] = e.facts.sequence;
        });
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) break;
  } while (!cursor.empty());
  return out;
}

}  // namespace cairn::tiers
