// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_image.h"

#include <algorithm>

namespace cairn::test {

std::uint64_t SimImage::pages_missing(std::uint64_t offset, std::uint64_t count) const {
  if (count == 0) return 0;
  std::uint64_t missing = 0;
  for (std::uint64_t page = offset / kSimPage; page <= (offset + count - 1) / kSimPage; ++page) {
    if (page >= pages_.size() || pages_[page] == nullptr) ++missing;
  }
  return missing;
}

void SimImage::write(std::uint64_t offset, ByteSpan bytes) {
  if (offset + bytes.size() > length_) resize(offset + bytes.size());
  while (!bytes.empty()) {
    const std::uint64_t index = offset / kSimPage;
    const std::uint64_t begin = offset % kSimPage;
    const std::size_t count = std::min<std::size_t>(bytes.size(), kSimPage - begin);
    auto page = count == kSimPage || pages_[index] == nullptr
                    ? std::make_shared<Page>()
                    : std::make_shared<Page>(*pages_[index]);
    std::memcpy(page->data() + begin, bytes.data(), count);
    set_page(index, std::move(page));
    offset += count;
    bytes = bytes.subspan(count);
  }
}

std::size_t SimImage::read(std::uint64_t offset, MutableByteSpan target) const {
  if (offset >= length_) return 0;
  const std::size_t total = std::min<std::uint64_t>(target.size(), length_ - offset);
  for (std::size_t done = 0; done < total;) {
    const std::uint64_t begin = (offset + done) % kSimPage;
    const std::size_t count = std::min<std::size_t>(total - done, kSimPage - begin);
    const PagePtr& page = pages_[(offset + done) / kSimPage];
    if (page == nullptr) {
      std::memset(target.data() + done, 0, count);
    } else {
      std::memcpy(target.data() + done, page->data() + begin, count);
    }
    done += count;
  }
  return total;
}

void SimImage::resize(std::uint64_t bytes) {
  const std::size_t count = round_up(bytes, kSimPage) / kSimPage;
  for (std::size_t i = count; i < pages_.size(); ++i) {
    if (pages_[i] != nullptr) --allocated_pages_;
  }
  pages_.resize(count);
  previous_.resize(count);
  if (bytes < length_ && bytes % kSimPage != 0 && pages_.back() != nullptr) {
    auto page = std::make_shared<Page>(*pages_.back());
    std::fill(page->begin() + static_cast<std::ptrdiff_t>(bytes % kSimPage), page->end(),
              std::byte{0});
    pages_.back() = std::move(page);
  }
  length_ = bytes;
}

void SimImage::allocate(std::uint64_t bytes) {
  resize(bytes);
  for (std::size_t i = 0; i < pages_.size(); ++i) {
    if (pages_[i] == nullptr) set_page(i, zero_page());
  }
}

bool SimImage::make_page_stale(std::uint64_t page) {
  if (page >= pages_.size() || previous_[page] == nullptr) return false;
  std::swap(pages_[page], previous_[page]);
  return true;
}

const SimImage::PagePtr& SimImage::zero_page() {
  static const PagePtr page = std::make_shared<Page>();
  return page;
}

bool SimImage::can_read(std::uint64_t offset, std::uint64_t count) const {
  const auto page = unreadable_.lower_bound(offset / kSimPage);
  return page == unreadable_.end() || *page * kSimPage >= offset + count;
}

void SimImage::set_page(std::size_t index, PagePtr page) {
  unreadable_.erase(index);
  if (pages_[index] == nullptr) ++allocated_pages_;
  previous_[index] = std::move(pages_[index]);
  pages_[index] = std::move(page);
}

}  // namespace cairn::test
