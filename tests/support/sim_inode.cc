// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_inode.h"

#include <algorithm>
#include <unordered_map>

#include "tests/support/sim_disk.h"

namespace cairn::test {
namespace {

using Unsynced = SimInode::Unsynced;

bool is_write(const Unsynced& change) {
  return change.kind == Unsynced::Kind::write && !change.bytes.empty();
}

void apply(SimImage& image, const Unsynced& change) {
  switch (change.kind) {
    case Unsynced::Kind::write:
      return image.write(change.offset, as_bytes(change.bytes));
    case Unsynced::Kind::resize:
      return image.resize(change.offset);
    case Unsynced::Kind::allocate:
      return image.allocate(change.offset);
  }
}

struct Sectors {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};
Sectors sectors_of(const Unsynced& write) {
  return {write.offset / kSimSector, (write.offset + write.bytes.size() - 1) / kSimSector};
}

/// sector → index of the last change that reached the medium there.
using LastKept = std::unordered_map<std::uint64_t, std::size_t>;

void keep(const Unsynced& write, std::size_t index, LastKept& last_kept) {
  const Sectors range = sectors_of(write);
  for (std::uint64_t sector = range.first; sector <= range.last; ++sector) {
    last_kept[sector] = index;
  }
}

/// A prefix, a suffix or any subset of the sectors: drives do all three.
void tear(const Unsynced& write, std::size_t index, Rng& rng, LastKept& last_kept) {
  const Sectors range = sectors_of(write);
  const std::uint64_t manner = rng.below(3);
  const std::uint64_t split = range.first + rng.below(range.last - range.first + 1);
  for (std::uint64_t sector = range.first; sector <= range.last; ++sector) {
    const bool by_lot = rng.chance(0.5);
    if (manner == 0 ? sector < split : manner == 1 ? sector > split : by_lot) {
      last_kept[sector] = index;
    }
  }
}

void apply_kept_sectors(SimImage& image, const Unsynced& write, std::size_t index,
                        const LastKept& last_kept) {
  const std::uint64_t end = write.offset + write.bytes.size();
  const Sectors range = sectors_of(write);
  for (std::uint64_t sector = range.first; sector <= range.last; ++sector) {
    const auto kept = last_kept.find(sector);
    if (kept == last_kept.end() || kept->second < index) continue;
    const std::uint64_t begin = std::max(write.offset, sector * kSimSector);
    const std::uint64_t stop = std::min(end, (sector + 1) * kSimSector);
    image.write(begin, as_bytes(write.bytes).subspan(begin - write.offset, stop - begin));
  }
}

}  // namespace

void SimInode::change(Unsynced change) {
  apply(now_, change);
  unsynced_.push_back(std::move(change));
}

void SimInode::sync(std::uint64_t marker) {
  auto change = unsynced_.begin();
  for (; change != unsynced_.end() && change->order < marker; ++change) apply(synced_, *change);
  unsynced_.erase(unsynced_.begin(), change);
}

void SimInode::sync_badly(Rng& rng) {
  CutReport ignored;
  apply_by_chance(synced_, unsynced_, rng, ignored);
  unsynced_.clear();
}

SimImage SimInode::after_cut(Rng& rng, CutReport& report) const {
  SimImage image = synced_;
  apply_by_chance(image, unsynced_, rng, report);
  return image;
}

void apply_by_chance(SimImage& image, const std::vector<SimInode::Unsynced>& changes, Rng& rng,
                     CutReport& report) {
  LastKept last_kept;
  std::vector<bool> kept(changes.size(), true);
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const std::uint64_t fate = rng.below(3);
    if (fate == 0) {
      kept[i] = false;
      ++report.writes_dropped;
    } else if (fate == 1 && is_write(changes[i])) {
      ++report.writes_torn;
      tear(changes[i], i, rng, last_kept);
    } else {
      ++report.writes_kept;
      if (is_write(changes[i])) keep(changes[i], i, last_kept);
    }
  }
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if (is_write(changes[i])) {
      apply_kept_sectors(image, changes[i], i, last_kept);
    } else if (kept[i]) {
      apply(image, changes[i]);
    }
  }
}

}  // namespace cairn::test
