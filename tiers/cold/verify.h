// SPDX-License-Identifier: Apache-2.0
// verify.h — reads every block of an open store back and says what is wrong with it.
//
// Walks the index, reads each record whole and checks all that can be checked: that its place
// exists, its header, its name, every chunk. What fails is looked up again, because a block
// may have moved or gone meanwhile; only then it counts. Then it walks the segments for
// records that the index does not name: orphans, which are no fault (an evicted block leaves
// one until its segment is cleaned).
//
// Threading:  anywhere but on the tier's own loops. `device` is a device of its own, with no
//             other poller.
// Blocking:   disk; all of the store's bytes, at the rate asked for.
// Failure:    damage is in the report; an error means that verifying itself could not go on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tier.h"
#include "tiers/io/device.h"

namespace cairn::tiers {

struct VerifyProgress {
  std::uint64_t scanned = 0, total = 0, bytes = 0, bad = 0;
};

struct VerifyOptions {
  std::string directory;
  bool fix = false;                        // forget bad blocks (DurableTier::remove, corrupt)
  std::uint64_t bytes_per_second_max = 0;  // 0: as fast as it goes
  bool count_orphans = true;
  const Clock* clock = &system_clock();
  std::function<void(Duration)> wait;  // how to wait for the rate; null: sleep
  /// Runs the loops of a store that has no threads; null where threads run them.
  std::function<void()> pump;
  std::function<void(const VerifyProgress&)> progress;
};

struct BadBlock {
  NamespaceId namespace_id{};
  std::string key;
  Part part = 0;
  std::string why;
};

struct VerifyReport {
  std::uint64_t scanned = 0;  // entries of the index
  std::uint64_t ok = 0;
  std::uint64_t bad_header = 0;  // no sound record there
  std::uint64_t bad_payload = 0;
  std::uint64_t bad_key = 0;       // a sound record of another name
  std::uint64_t bad_location = 0;  // a sound record of another place, time or store
  std::uint64_t dangling = 0;      // the segment is missing or shorter
  std::uint64_t unreadable = 0;    // the device would not give it, asked twice
  std::uint64_t moved = 0;         // gone or elsewhere when looked at again: no fault
  std::uint64_t orphans = 0;       // records that no entry names: no fault
  std::uint64_t fixed = 0;
  std::uint64_t bytes = 0;
  std::vector<BadBlock> examples;  // the first 100
  std::uint64_t bad() const {
    return bad_header + bad_payload + bad_key + bad_location + dangling + unreadable;
  }
};

absl::StatusOr<VerifyReport> verify_store(DurableTier& tier, Device& device,
                                          const VerifyOptions& options);

}  // namespace cairn::tiers
