// SPDX-License-Identifier: Apache-2.0
// region.h — one memfd full of slots of one size, for one namespace.
//
// Nothing but payloads lies in the shared memory. Which slots are free, how long a block is and
// who it belongs to are kept in private memory, so that a client that maps the region can
// neither learn nor change any of it.
//
// Threading:  thread-compatible; the tier's lock covers take() and give(). slot() and length()
//             may be called by whoever holds the slot.
// Blocking:   never; the memory is faulted in by whoever first writes it.
// Lifetime:   a client's mapping keeps the memory, not the slots, alive beyond the region.
//
// Invariants: a slot is free or taken, never both; free + taken = slots.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/key.h"

namespace cairn::tiers {

struct RegionShape {
  NamespaceId namespace_id{};
  std::uint64_t slot_bytes = 0;  // a multiple of 4 KiB
  std::uint32_t slots = 0;
  std::uint64_t bytes() const { return slot_bytes * slots; }
};

class Region {
 public:
  /// `serial` tells this region from others that had or will have its number.
  static absl::StatusOr<std::unique_ptr<Region>> make(const RegionShape& shape,
                                                      std::uint32_t serial, bool huge_pages);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  const RegionShape& shape() const { return shape_; }
  std::uint32_t serial() const { return serial_; }
  bool is_full() const { return free_.empty(); }
  bool is_empty() const { return free_.size() == shape_.slots; }
  std::uint32_t taken() const { return shape_.slots - static_cast<std::uint32_t>(free_.size()); }

  std::uint32_t take(std::uint32_t length);
  void give(std::uint32_t slot);

  MutableByteSpan slot(std::uint32_t index) const {
    return {memory_ + index * shape_.slot_bytes, lengths_[index]};
  }
  /// Of which somebody else has kept the length.
  MutableByteSpan slot(std::uint32_t index, std::uint32_t length) const {
    CAIRN_DCHECK(length == lengths_[index]);
    return {memory_ + index * shape_.slot_bytes, length};
  }
  MutableByteSpan memory() const { return {memory_, shape_.bytes()}; }

  /// Seals the memfd against writing, shrinking, growing and further seals, once. Our own mapping
  /// stays writable.
  absl::Status seal();
  bool is_sealed() const { return sealed_; }
  int fd() const { return fd_; }

  void check_invariants() const;

 private:
  Region(const RegionShape& shape, std::uint32_t serial);

  const RegionShape shape_;
  const std::uint32_t serial_;
  int fd_ = -1;
  std::byte* memory_ = nullptr;
  bool sealed_ = false;
  std::vector<std::uint32_t> free_;     // slots, the next one last
  std::vector<std::uint32_t> lengths_;  // of each slot's block; kFree where there is none
};

}  // namespace cairn::tiers
