// SPDX-License-Identifier: Apache-2.0
#include "tiers/hot/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "engine/base/check.h"
#include "engine/base/process_limits.h"
#include "engine/base/status.h"

#if !defined(F_SEAL_FUTURE_WRITE)
#define F_SEAL_FUTURE_WRITE 0x0010  // Linux 5.1; absent from older headers
#endif

namespace cairn::tiers {
namespace {
constexpr std::uint32_t kFree = UINT32_MAX;
constexpr std::uint64_t kHugePage = 2 * kMiB;
}  // namespace

absl::StatusOr<std::unique_ptr<Region>> Region::make(const RegionShape& shape, std::uint32_t serial,
                                                     bool huge_pages) {
  std::unique_ptr<Region> region(new Region(shape, serial));
  region->fd_ = memfd_create("cairn-hot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (region->fd_ < 0) return from_errno(errno, "memfd_create for a hot region");
  const FileSizeSignalBlock block;  // RLIMIT_FSIZE counts a memfd as a file
  if (ftruncate(region->fd_, static_cast<off_t>(shape.bytes())) != 0) {
    return from_errno(errno, "size a hot region");
  }
  void* memory = mmap(nullptr, shape.bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, region->fd_, 0);
  if (memory == MAP_FAILED) return from_errno(errno, "map a hot region");
  region->memory_ = static_cast<std::byte*>(memory);
  if (huge_pages && shape.bytes() % kHugePage == 0) {
    static_cast<void>(madvise(memory, shape.bytes(), MADV_HUGEPAGE));  // a wish, not a need
  }
  return region;
}

Region::Region(const RegionShape& shape, std::uint32_t serial)
    : shape_(shape), serial_(serial), lengths_(shape.slots, kFree) {
  free_.reserve(shape.slots);
  for (std::uint32_t slot = shape.slots; slot-- > 0;) free_.push_back(slot);
}

Region::~Region() {
  if (memory_ != nullptr) munmap(memory_, shape_.bytes());
  if (fd_ >= 0) close(fd_);
}

std::uint32_t Region::take(std::uint32_t length) {
  CAIRN_CHECK(!free_.empty() && length <= shape_.slot_bytes);
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  CAIRN_CHECK(lengths_[slot] == kFree);
  lengths_[slot] = length;
  return slot;
}

void Region::give(std::uint32_t slot) {
  CAIRN_CHECK(slot < shape_.slots && lengths_[slot] != kFree);
  lengths_[slot] = kFree;
  free_.push_back(slot);
}

absl::Status Region::seal() {
  if (sealed_) return absl::OkStatus();
  if (fcntl(fd_, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) !=
      0) {
    return from_errno(errno, "seal a hot region");
  }
  sealed_ = true;
  return absl::OkStatus();
}

void Region::check_invariants() const {
  std::uint32_t free_slots = 0;
  for (const std::uint32_t length : lengths_) free_slots += length == kFree ? 1 : 0;
  CAIRN_CHECK(free_slots == free_.size());
  for (const std::uint32_t slot : free_) CAIRN_CHECK(lengths_[slot] == kFree);
}

}  // namespace cairn::tiers
