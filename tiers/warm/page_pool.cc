// SPDX-License-Identifier: Apache-2.0
#include "tiers/warm/page_pool.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "tiers/warm/page_region.h"

namespace cairn::tiers {
namespace {

std::uint8_t class_of(std::uint64_t bytes) {
  CAIRN_CHECK(bytes > 0 && bytes <= kShareBytesMax);
  return bytes <= kShareBytesMin ? 0 : bytes <= 2 * kShareBytesMin ? 1 : 2;
}
std::uint64_t share_bytes(std::uint8_t size_class) {
  return kShareBytesMin << size_class;
}
/// A bit for each share of a page.
std::uint8_t all_shares(std::uint8_t size_class) {
  return static_cast<std::uint8_t>((1U << (kPage / share_bytes(size_class))) - 1);
}

PageNumber number_of(std::uint32_t region, std::uint32_t page) {
  return region << 16 | page;
}
std::uint32_t region_number(PageNumber page) {
  return page >> 16;
}
std::uint32_t page_in_region(PageNumber page) {
  return page & 0xffff;
}

}  // namespace

void PageBits::set(std::uint32_t page) {
  CAIRN_CHECK(!test(page));
  words_[page / 64] |= std::uint64_t{1} << (page % 64);
  ++count_;
}

void PageBits::clear(std::uint32_t page) {
  CAIRN_CHECK(test(page));
  words_[page / 64] &= ~(std::uint64_t{1} << (page % 64));
  --count_;
}

std::uint32_t PageBits::lowest(std::uint32_t from) const {
  for (std::size_t word = from / 64; word < words_.size(); ++word) {
    std::uint64_t bits = words_[word];
    if (word == from / 64) bits &= ~std::uint64_t{0} << (from % 64);
    if (bits != 0) {
      return static_cast<std::uint32_t>(word * 64) +
             static_cast<std::uint32_t>(std::countr_zero(bits));
    }
  }
  return pages_;
}

std::uint32_t PageBits::highest() const {
  CAIRN_CHECK(count_ > 0);
  std::size_t word = words_.size() - 1;
  while (words_[word] == 0) --word;
  return static_cast<std::uint32_t>(word * 64 + 63) -
         static_cast<std::uint32_t>(std::countl_zero(words_[word]));
}

std::uint32_t PageBits::length(std::uint32_t page, std::uint32_t limit) const {
  std::uint32_t end = page;
  while (end < pages_ && end - page < limit && test(end)) ++end;
  return end - page;
}

PagePool::PagePool(std::uint64_t region_bytes, bool huge_pages)
    : region_pages_(region_bytes / kPage), huge_pages_(huge_pages) {
  CAIRN_CHECK(region_pages_ > 0 && region_pages_ <= PageRegion::kPagesMax);
}

PagePool::~PagePool() {
  CAIRN_CHECK(used_ == 0);
}

absl::Status PagePool::grow(std::uint64_t pages, std::uint64_t pages_max) {
  CAIRN_CHECK(pages <= pages_max);
  const std::uint64_t enough = resident_ + pages;
  const std::uint64_t limit = resident_ + pages_max;
  while (resident_ < enough && !with_hollow_.empty()) {
    const std::uint32_t number = *with_hollow_.begin();
    PageRegion& region = *regions_[number];
    resident_ += region.fill(
        static_cast<std::uint32_t>(std::min<std::uint64_t>(enough - resident_, UINT32_MAX)));
    with_free_.insert(number);
    if (region.hollow.count() == 0) with_hollow_.erase(number);
  }
  while (resident_ < enough) {
    CAIRN_RETURN_IF_ERROR(add_region(std::min(region_pages_, limit - resident_)));
  }
  return absl::OkStatus();
}

absl::Status PagePool::add_region(std::uint64_t resident) {
  std::size_t number = 0;
  while (number < regions_.size() && regions_[number] != nullptr) ++number;
  CAIRN_CHECK(number < kRegionsMax);
  auto region = PageRegion::make(static_cast<std::uint32_t>(region_pages_),
                                 static_cast<std::uint32_t>(resident), huge_pages_);
  // Out of mappings or of address space: evicting lets go of regions, and so helps.
  if (!region.ok()) return make_error(ErrorCode::no_space, message_of(region.status()));
  if (number == regions_.size()) regions_.emplace_back();
  regions_[number] = std::move(*region);
  with_free_.insert(static_cast<std::uint32_t>(number));
  if (resident < region_pages_) with_hollow_.insert(static_cast<std::uint32_t>(number));
  resident_ += resident;
  return absl::OkStatus();
}

std::uint64_t PagePool::shrink(std::uint64_t pages, std::uint64_t hollow_max, Retired& retired) {
  std::uint64_t given = 0;
  for (auto number = static_cast<std::uint32_t>(regions_.size());
       number-- > 0 && pages - given >= region_pages_;) {
    const PageRegion* const region = regions_[number].get();
    if (region == nullptr || region->used() > 0) continue;
    given += region->resident();
    retire(number, retired);
  }
  pages = given + std::min(pages - given, hollow_max);
  while (given < pages && !with_free_.empty()) {
    const std::uint32_t number = *with_free_.rbegin();
    PageRegion& region = *regions_[number];
    const std::uint32_t emptied = region.empty(
        static_cast<std::uint32_t>(std::min<std::uint64_t>(pages - given, UINT32_MAX)));
    if (emptied == 0) break;
    given += emptied;
    resident_ -= emptied;
    with_hollow_.insert(number);
    if (region.free.count() == 0) with_free_.erase(number);
    if (region.resident() == 0) retire(number, retired);
  }
  return given;
}

void PagePool::retire(std::uint32_t number, Retired& retired) {
  resident_ -= regions_[number]->resident();
  with_free_.erase(number);
  with_hollow_.erase(number);
  retired.push_back(std::move(regions_[number]));
}

PageRegion& PagePool::region_of(PageNumber page) {
  const std::uint32_t number = region_number(page);
  CAIRN_CHECK(number < regions_.size() && regions_[number] != nullptr);
  return *regions_[number];
}

void PagePool::take(std::uint32_t pages, std::vector<PageRun>& out) {
  CAIRN_CHECK(pages <= free());
  used_ += pages;
  while (pages > 0) {
    const std::uint32_t number = *with_free_.begin();
    PageRegion& region = *regions_[number];
    std::uint32_t page = 0;
    while (pages > 0 && region.free.count() > 0) {
      page = region.free.lowest(page);
      const std::uint32_t length = region.free.length(page, pages);
      for (std::uint32_t i = 0; i < length; ++i) region.free.clear(page + i);
      const PageRun run{region.at(page), number_of(number, page), length};
      // A run does not leave its region, whatever lies behind that.
      const bool follows =
          page > 0 && !out.empty() && out.back().first + out.back().pages == run.first;
      if (follows) {
        out.back().pages += length;
      } else {
        out.push_back(run);
      }
      page += length;
      pages -= length;
    }
    if (region.free.count() == 0) with_free_.erase(number);
  }
}

void PagePool::give(const PageRun& run) {
  PageRegion& region = region_of(run.first);
  for (std::uint32_t i = 0; i < run.pages; ++i) {
    const std::uint32_t page = page_in_region(run.first) + i;
    CAIRN_CHECK(!region.hollow.test(page) && region.sharing[page].size_class_and_one == 0);
    region.free.set(page);
  }
  with_free_.insert(region_number(run.first));
  used_ -= run.pages;
}

std::optional<PageShare> PagePool::take_share(std::uint64_t bytes) {
  const std::uint8_t size_class = class_of(bytes);
  if (with_shares_[size_class].empty()) return std::nullopt;
  const std::uint32_t number = *with_shares_[size_class].begin();
  PageRegion& region = *regions_[number];
  PageBits& with_room = region.with_shares[size_class];
  const std::uint32_t page = with_room.lowest();
  PageRegion::Sharing& sharing = region.sharing[page];
  const auto index = static_cast<std::uint8_t>(std::countr_zero(sharing.free_shares));
  sharing.free_shares = static_cast<std::uint8_t>(sharing.free_shares & (sharing.free_shares - 1));
  if (sharing.free_shares == 0) {
    with_room.clear(page);
    if (with_room.count() == 0) with_shares_[size_class].erase(number);
  }
  return PageShare{region.at(page) + index * share_bytes(size_class), number_of(number, page),
                   size_class, index};
}

PageShare PagePool::share_page(const PageRun& page, std::uint64_t bytes) {
  CAIRN_CHECK(page.pages == 1);
  const std::uint8_t size_class = class_of(bytes);
  PageRegion& region = region_of(page.first);
  const std::uint32_t index = page_in_region(page.first);
  CAIRN_CHECK(!region.free.test(index) && region.sharing[index].size_class_and_one == 0);
  region.sharing[index] = {static_cast<std::uint8_t>(size_class + 1),
                           static_cast<std::uint8_t>(all_shares(size_class) & ~1U)};
  region.with_shares[size_class].set(index);
  with_shares_[size_class].insert(region_number(page.first));
  return {page.data, page.first, size_class, 0};
}

void PagePool::give(const PageShare& share) {
  PageRegion& region = region_of(share.page);
  const std::uint32_t page = page_in_region(share.page);
  PageRegion::Sharing& sharing = region.sharing[page];
  const auto bit = static_cast<std::uint8_t>(1U << share.index);
  CAIRN_CHECK(sharing.size_class_and_one == share.size_class + 1 &&
              (sharing.free_shares & bit) == 0);
  PageBits& with_room = region.with_shares[share.size_class];
  if (sharing.free_shares == 0) with_room.set(page);
  sharing.free_shares = static_cast<std::uint8_t>(sharing.free_shares | bit);
  if (sharing.free_shares == all_shares(share.size_class)) {
    sharing = {};
    with_room.clear(page);
    region.free.set(page);
    with_free_.insert(region_number(share.page));
    --used_;
  }
  if (with_room.count() == 0) {
    with_shares_[share.size_class].erase(region_number(share.page));
  } else {
    with_shares_[share.size_class].insert(region_number(share.page));
  }
}

void PagePool::check_invariants() const {
  std::uint64_t resident = 0, used = 0;
  for (std::uint32_t number = 0; number < regions_.size(); ++number) {
    const PageRegion* const region = regions_[number].get();
    CAIRN_CHECK(with_free_.contains(number) == (region != nullptr && region->free.count() > 0));
    CAIRN_CHECK(with_hollow_.contains(number) == (region != nullptr && region->hollow.count() > 0));
    for (std::size_t i = 0; i < kClasses; ++i) {
      CAIRN_CHECK(with_shares_[i].contains(number) ==
                  (region != nullptr && region->with_shares[i].count() > 0));
    }
    if (region == nullptr) continue;
    region->check_invariants();
    resident += region->resident();
    used += region->used();
  }
  CAIRN_CHECK(resident == resident_ && used == used_);
}

}  // namespace cairn::tiers
