// SPDX-License-Identifier: Apache-2.0
#include "tiers/warm/page_region.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace cairn::tiers {
namespace {

constexpr std::uint64_t kHugePage = 2 * kMiB;

/// Aligned to huge pages where it is made of such.
std::byte* map(std::uint64_t bytes, bool huge_pages) {
  const bool aligned = huge_pages && bytes % kHugePage == 0;
  const std::uint64_t mapped = aligned ? bytes + kHugePage : bytes;
  void* const memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  std::byte* begin = static_cast<std::byte*>(memory);
  if (!aligned) return begin;
  const std::uint64_t before = round_up(reinterpret_cast<std::uintptr_t>(begin), kHugePage) -
                               reinterpret_cast<std::uintptr_t>(begin);
  if (before > 0) munmap(begin, before);
  begin += before;
  if (before < kHugePage) munmap(begin + bytes, kHugePage - before);
  static_cast<void>(madvise(begin, bytes, MADV_HUGEPAGE));  // a wish, not a need
  return begin;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PageRegion>> PageRegion::make(std::uint32_t pages, bool huge_pages) {
  CAIRN_CHECK(pages > 0 && pages <= kPagesMax);
  std::unique_ptr<PageRegion> region(new PageRegion(pages));
  region->memory_ = map(pages * kPage, huge_pages);
  if (region->memory_ == nullptr) return from_errno(errno, "map a warm region");
  return region;
}

PageRegion::PageRegion(std::uint32_t pages)
    : free(pages),
      hollow(pages),
      with_shares{PageBits(pages), PageBits(pages), PageBits(pages)},
      sharing(pages),
      pages_(pages) {
  for (std::uint32_t page = 0; page < pages; ++page) free.set(page);
}

PageRegion::~PageRegion() {
  if (memory_ != nullptr) munmap(memory_, pages_ * kPage);
}

std::uint32_t PageRegion::empty(std::uint32_t limit) {
  std::uint32_t emptied = 0;
  while (emptied < limit && free.count() > 0) {
    const std::uint32_t end = free.highest() + 1;
    std::uint32_t begin = end - 1;
    while (begin > 0 && end - begin < limit - emptied && free.test(begin - 1)) --begin;
    // Refused only where the memory is locked, and then it stays counted.
    if (madvise(at(begin), (end - begin) * kPage, MADV_DONTNEED) != 0) break;
    for (std::uint32_t page = begin; page < end; ++page) {
      free.clear(page);
      hollow.set(page);
    }
    emptied += end - begin;
  }
  return emptied;
}

std::uint32_t PageRegion::fill(std::uint32_t limit) {
  const std::uint32_t filled = std::min(limit, hollow.count());
  std::uint32_t page = 0;
  for (std::uint32_t i = 0; i < filled; ++i) {
    page = hollow.lowest(page);
    hollow.clear(page);
    free.set(page);
  }
  return filled;
}

void PageRegion::check_invariants() const {
  for (std::uint32_t page = 0; page < pages_; ++page) {
    const Sharing& state = sharing[page];
    CAIRN_CHECK(!(free.test(page) && hollow.test(page)));
    if (free.test(page) || hollow.test(page)) CAIRN_CHECK(state.size_class_and_one == 0);
    for (std::uint8_t size_class = 0; size_class < with_shares.size(); ++size_class) {
      const bool has_room = state.size_class_and_one == size_class + 1 && state.free_shares != 0;
      CAIRN_CHECK(with_shares[size_class].test(page) == has_room);
    }
  }
}

}  // namespace cairn::tiers
