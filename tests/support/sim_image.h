// SPDX-License-Identifier: Apache-2.0
// sim_image.h — the content of one simulated file, in pages that copies share.
//
// Pages are never changed, only replaced: copying an image, as every snapshot and power cut
// does, costs one pointer a page.
//
// Threading: thread-compatible. Blocking: never.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "engine/base/bytes.h"

namespace cairn::test {

constexpr std::uint64_t kSimPage = 4096;
constexpr std::uint64_t kSimSector = 512;

class SimImage {
 public:
  std::uint64_t length() const { return length_; }
  /// As st_blocks × 512: whole pages, holes not counted.
  std::uint64_t allocated_bytes() const { return allocated_pages_ * kSimPage; }
  /// How many pages writing this range would newly allocate.
  std::uint64_t pages_missing(std::uint64_t offset, std::uint64_t count) const;

  /// Makes the file longer where it must.
  void write(std::uint64_t offset, ByteSpan bytes);
  /// Returns how many bytes lie before the end; holes read as zeros.
  std::size_t read(std::uint64_t offset, MutableByteSpan target) const;
  /// Cuts, or appends a hole.
  void resize(std::uint64_t bytes);
  /// resize, and every page allocated.
  void allocate(std::uint64_t bytes);

  /// The page cannot be read until it is written again.
  void make_unreadable(std::uint64_t page) { unreadable_.insert(page); }
  bool can_read(std::uint64_t offset, std::uint64_t count) const;

  /// What the page held before it was last written; false if it held nothing.
  bool make_page_stale(std::uint64_t page);

 private:
  using Page = std::array<std::byte, kSimPage>;
  using PagePtr = std::shared_ptr<const Page>;
  static const PagePtr& zero_page();
  void set_page(std::size_t index, PagePtr page);

  std::vector<PagePtr> pages_;     // null: a hole
  std::vector<PagePtr> previous_;  // what set_page replaced
  std::set<std::uint64_t> unreadable_;
  std::uint64_t length_ = 0;
  std::uint64_t allocated_pages_ = 0;
};

}  // namespace cairn::test
