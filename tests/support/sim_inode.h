// SPDX-License-Identifier: Apache-2.0
// sim_inode.h — one file of the simulated disk: what reads see, what is surely there, and the
// unsynced writes in between. Used by sim_disk alone.
//
// Threading: guarded by its disk's lock. Blocking: never.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/seed.h"
#include "tests/support/sim_image.h"

namespace cairn::test {

struct CutReport;

class SimInode {
 public:
  struct Unsynced {
    enum class Kind : std::uint8_t { write, resize, allocate };
    Kind kind = Kind::write;
    std::uint64_t order = 0;   // over the whole disk
    std::uint64_t offset = 0;  // of a write; the new length of the others
    std::string bytes;
  };

  const SimImage& now() const { return now_; }

  void change(Unsynced change);
  /// All changes before `marker` are on the medium from now on.
  void sync(std::uint64_t marker);
  /// Each change is on the medium, torn, or never will be; the cache takes all for clean.
  void sync_badly(Rng& rng);
  /// What is left of the file when the power goes.
  SimImage after_cut(Rng& rng, CutReport& report) const;

  /// Both images, as far as the medium has the range.
  SimImage& now_for_damage() { return now_; }
  SimImage& synced_for_damage() { return synced_; }

 private:
  SimImage now_;
  SimImage synced_;
  std::vector<Unsynced> unsynced_;  // by order
};

/// Drops, keeps or tears each change on its way to `image`. A sector is atomic and is written with
/// all that the cache holds: where a later write of a sector arrives, earlier ones of it have too.
void apply_by_chance(SimImage& image, const std::vector<SimInode::Unsynced>& changes, Rng& rng,
                     CutReport& report);

}  // namespace cairn::test
