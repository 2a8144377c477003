// SPDX-License-Identifier: Apache-2.0
// page_pool.h — pages of 4 KiB in regions of anonymous memory, and shares of pages.
//
// A page is fresh memory's smallest coin; a share (512 B, 1 or 2 KiB) is for what is left of a
// payload behind its last whole page. Shares of one size lie in a page together, and the page is
// free again when the last of them is.
//
// Memory is counted by residence. A page is resident from the moment it may be handed out (huge
// pages make it so at the first touch of a neighbour); a free page can be made hollow: its memory
// is given back to the kernel and it is not handed out before grow() counts it again. So memory
// goes back page by page, however the pages in use lie. A region with a hollow page has no huge
// ones until it is resident again as a whole: those would bring the hollow ones back.
//
// All regions are of one size, what is too much of the last is hollow, and hollow pages are counted
// again before there is another region. So however often the limit moves, there are no more regions
// than the resident pages fill, and one.
//
// Low pages are handed out first, side by side where they are free so, and high ones made hollow
// or unmapped first.
//
// Threading:  thread-compatible; the tier's lock covers everything. Whoever holds a page or share
//             touches its bytes without.
// Blocking:   never; grow() and shrink() make system calls, bounded by what they are asked for.
// Cost:       less than 3 bytes for each page of a region, not counted in any limit.
//
// Invariants: a page is free, hollow, used whole, or shared, never two of these;
//             resident = free + used; a shared page counts as used.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/bytes.h"
#include "tiers/record/format.h"

namespace cairn::tiers {

/// Region number 16 | page in its region 16.
using PageNumber = std::uint32_t;

/// Pages side by side, in use.
struct PageRun {
  std::byte* data = nullptr;
  PageNumber first = 0;
  std::uint32_t pages = 0;
  std::uint64_t bytes() const { return pages * kPage; }
};

/// A part of a shared page; data is null where there is none.
struct PageShare {
  std::byte* data = nullptr;
  PageNumber page = 0;
  std::uint8_t size_class = 0;
  std::uint8_t index = 0;
};

/// As many as a PageNumber tells apart.
constexpr std::uint64_t kRegionsMax = 1U << 16;

constexpr std::uint64_t kShareBytesMin = 512;
constexpr std::uint64_t kShareBytesMax = kPage / 2;

/// A bit for each page of a region.
class PageBits {
 public:
  explicit PageBits(std::uint32_t pages) : words_((pages + 63) / 64), pages_(pages) {}
  bool test(std::uint32_t page) const { return (words_[page / 64] >> (page % 64) & 1) != 0; }
  void set(std::uint32_t page);
  void clear(std::uint32_t page);
  std::uint32_t count() const { return count_; }
  /// Of the lowest bit that is set at `from` or above; the number of pages where there is none.
  std::uint32_t lowest(std::uint32_t from = 0) const;
  /// There is one.
  std::uint32_t highest() const;
  /// How many from `page` on are set, at most `limit`.
  std::uint32_t length(std::uint32_t page, std::uint32_t limit) const;

 private:
  std::vector<std::uint64_t> words_;
  std::uint32_t pages_;
  std::uint32_t count_ = 0;
};

class PageRegion;

class PagePool {
 public:
  /// Regions that left the pool, to be unmapped where no lock is held.
  using Retired = std::vector<std::unique_ptr<PageRegion>>;

  PagePool(std::uint64_t region_bytes, bool huge_pages);
  ~PagePool();

  std::uint64_t resident() const { return resident_; }
  std::uint64_t used() const { return used_; }
  std::uint64_t free() const { return resident_ - used_; }

  /// At least `pages` more resident ones, at most `pages_max`; in all no more than kRegionsMax
  /// regions hold. `no_space` where the process may not have the memory; what was got stays.
  absl::Status grow(std::uint64_t pages, std::uint64_t pages_max);
  /// Gives the memory of up to `pages` free pages back, regions that are all free before others, of
  /// which up to `hollow_max` pages become hollow; returns of how many.
  std::uint64_t shrink(std::uint64_t pages, std::uint64_t hollow_max, Retired& retired);

  /// Appends `pages` pages to `out`, in as few runs as the lowest free ones make. There are as
  /// many.
  void take(std::uint32_t pages, std::vector<PageRun>& out);
  void give(const PageRun& run);

  /// A share of `bytes`, 1 … kShareBytesMax, of a page that is shared already; nothing where no
  /// such page has room.
  std::optional<PageShare> take_share(std::uint64_t bytes);
  /// Makes a page that is used whole one of shares; its first is for `bytes`, and the caller's.
  PageShare share_page(const PageRun& page, std::uint64_t bytes);
  void give(const PageShare& share);

  void check_invariants() const;

 private:
  static constexpr std::size_t kClasses = 3;

  absl::Status add_region(std::uint64_t resident);
  PageRegion& region_of(PageNumber page);
  void retire(std::uint32_t number, Retired& retired);

  const std::uint64_t region_pages_;
  const bool huge_pages_;
  std::uint64_t resident_ = 0, used_ = 0;
  std::vector<std::unique_ptr<PageRegion>> regions_;  // null where one was retired
  std::set<std::uint32_t> with_free_, with_hollow_;   // regions
  std::array<std::set<std::uint32_t>, kClasses> with_shares_;
};

}  // namespace cairn::tiers
