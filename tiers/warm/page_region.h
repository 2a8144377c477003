// SPDX-License-Identifier: Apache-2.0
// page_region.h — one stretch of anonymous memory and what each of its pages is.
//
// Threading:  thread-compatible; as the pool that owns it.
// Blocking:   never; the memory is faulted in by whoever first writes it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "tiers/warm/page_pool.h"

namespace cairn::tiers {

class PageRegion {
 public:
  static constexpr std::uint32_t kPagesMax = 1U << 16;

  /// `pages`: 1 … kPagesMax; at first the lowest `resident` are free, at least one, and the others
  /// hollow.
  static absl::StatusOr<std::unique_ptr<PageRegion>> make(std::uint32_t pages,
                                                          std::uint32_t resident, bool huge_pages);
  ~PageRegion();
  PageRegion(const PageRegion&) = delete;
  PageRegion& operator=(const PageRegion&) = delete;

  std::byte* at(std::uint32_t page) const { return memory_ + page * kPage; }
  std::uint32_t pages() const { return pages_; }
  std::uint32_t resident() const { return pages_ - hollow.count(); }
  std::uint32_t used() const { return resident() - free.count(); }

  /// Free pages become hollow, `limit` at most, from the highest on; returns how many.
  std::uint32_t empty(std::uint32_t limit);
  /// Hollow pages become free, `limit` at most, from the lowest on; returns how many.
  std::uint32_t fill(std::uint32_t limit);

  void check_invariants() const;

  /// What a page is that is neither free nor hollow: whole, or its class + 1 and the shares of it
  /// that are free.
  struct Sharing {
    std::uint8_t size_class_and_one = 0;
    std::uint8_t free_shares = 0;
  };

  PageBits free, hollow;
  std::array<PageBits, 3> with_shares;  // by class: shared pages with room
  std::vector<Sharing> sharing;

 private:
  PageRegion(std::uint32_t pages, std::uint32_t resident, bool huge_pages);

  /// A huge page is resident as a whole, and the kernel makes them of small ones on its own: not
  /// where a page is hollow.
  void refuse_huge_pages() const;
  void want_huge_pages() const;

  const std::uint32_t pages_;
  const bool huge_pages_;
  std::byte* memory_ = nullptr;
};

}  // namespace cairn::tiers
