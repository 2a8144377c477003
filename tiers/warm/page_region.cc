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
  // Where the process may have no more mappings these fail, and addresses stay that nobody touches.
  if (before > 0) static_cast<void>(munmap(begin, before));
  begin += before;
  if (before < kHugePage) static_cast<void>(munmap(begin + bytes, kHugePage - before));
  return begin;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PageRegion>> PageRegion::make(std::uint32_t pages,
                                                             std::uint32_t resident,
                                                             bool huge_pages) {
  CAIRN_CHECK(pages <= kPagesMax && resident > 0 && resident <= pages);
  std::unique_ptr<PageRegion> region(new PageRegion(pages, resident, huge_pages));
  region->memory_ = map(pages * kPage, huge_pages);
  if (region->memory_ == nullptr) return from_errno(errno, "map a warm region");
  if (resident < pages) {
    region->refuse_huge_pages();
  } else {
    region->want_huge_pages();
  }
  return region;
}

PageRegion::PageRegion(std::uint32_t pages, std::uint32_t resident, bool huge_pages)
    : free(pages),
      hollow(pages),
      with_shares{PageBits(pages), PageBits(pages), PageBits(pages)},
      sharing(pages),
      pages_(pages),
      huge_pages_(huge_pages) {
  for (std::uint32_t page = 0; page < resident; ++page) free.set(page);
  for (std::uint32_t page = resident; page < pages; ++page) hollow.set(page);
}

PageRegion::~PageRegion() {
  if (memory_ == nullptr || munmap(memory_, pages_ * kPage) == 0) return;
  // Neighbours are one mapping to the kernel, and to cut it may be one mapping too many. The
  // addresses stay, the memory goes.
  static_cast<void>(madvise(memory_, pages_ * kPage, MADV_DONTNEED));
}

void PageRegion::refuse_huge_pages() const {
  // Fails where the kernel has none.
  static_cast<void>(madvise(memory_, pages_ * kPage, MADV_NOHUGEPAGE));
}

void PageRegion::want_huge_pages() const {
  if (!huge_pages_) return;
  static_cast<void>(madvise(memory_, pages_ * kPage, MADV_HUGEPAGE));  // a wish, not a need
}

std::uint32_t PageRegion::empty(std::uint32_t limit) {
  std::uint32_t emptied = 0;
  if (limit > 0 && free.count() > 0 && hollow.count() == 0) refuse_huge_pages();
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
  if (hollow.count() == 0) want_huge_pages();
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
  if (filled > 0 && hollow.count() == 0) want_huge_pages();
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
