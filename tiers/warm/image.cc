// SPDX-License-Identifier: Apache-2.0
#include "tiers/warm/image.h"

#include <algorithm>
#include <cstring>

namespace cairn::tiers {
namespace {

// A slot of the tier's table, the Image, and what malloc keeps beside each of two allocations.
constexpr std::uint64_t kFixedBytes = 64 + sizeof(Image) + 2 * 16;

constexpr std::size_t kCacheLine = 64;

}  // namespace

Image::Image(ByteSpan header, std::span<const PageRun> runs, const PageShare& share,
             std::uint32_t payload_bytes)
    : payload_bytes_(payload_bytes),
      header_bytes_(static_cast<std::uint32_t>(header.size())),
      run_count_(static_cast<std::uint32_t>(runs.size())),
      share_(share),
      memory_(new std::byte[runs_at() + runs.size_bytes()]) {
  std::memcpy(memory_.get(), header.data(), header.size());
  std::uninitialized_copy(runs.begin(), runs.end(),
                          reinterpret_cast<PageRun*>(memory_.get() + runs_at()));
  std::uint64_t pages = 0;
  for (const PageRun& run : runs) pages += run.pages;
  CAIRN_CHECK(pages == (payload_in_runs() + kPage - 1) / kPage);
}

ByteSpan Image::part(std::size_t i) const {
  if (i == run_count_) return {share_.data, payload_bytes_ - payload_in_runs()};
  const PageRun& run = runs()[i];
  // The last run ends where the payload does.
  if (i + 1 < run_count_) return {run.data, run.bytes()};
  const std::uint64_t pages = (payload_in_runs() + kPage - 1) / kPage;
  const std::uint64_t before = (pages - run.pages) * kPage;
  return {run.data, payload_in_runs() - before};
}

std::uint64_t Image::side_bytes(std::uint32_t header_bytes, std::uint64_t runs) {
  return kFixedBytes + round_up(header_bytes + runs * sizeof(PageRun), 16);
}

std::uint64_t Image::stored_bytes() const {
  std::uint64_t bytes = side_bytes();
  for (const PageRun& run : runs()) bytes += run.bytes();
  if (share_.data != nullptr) bytes += kShareBytesMin << share_.size_class;
  return bytes;
}

ImageCursor::ImageCursor(const Image& image, std::size_t offset) : image_(image) {
  if (image.part_count() > 0) rest_ = image.part(0);
  while (offset > 0 && offset >= rest_.size()) {
    offset -= rest_.size();
    ++part_;
    CAIRN_CHECK(part_ < image.part_count() || offset == 0);
    rest_ = part_ < image.part_count() ? image.part(part_) : ByteSpan();
  }
  rest_ = rest_.subspan(offset);
}

ByteSpan ImageCursor::next(std::size_t bytes, MutableByteSpan scratch) {
  if (bytes <= rest_.size()) {
    const ByteSpan here = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return here;
  }
  copy(scratch.first(bytes));
  return scratch.first(bytes);
}

void ImageCursor::copy(MutableByteSpan out) {
  while (!out.empty()) {
    if (rest_.empty()) {
      CAIRN_CHECK(part_ + 1 < image_.part_count());
      rest_ = image_.part(++part_);
    }
    const std::size_t bytes = std::min(out.size(), rest_.size());
    // Processors do not see beyond a page. Not in a function of its own: g++ 12 drops calls of one
    // that does nothing but prefetch.
    if (bytes == rest_.size() && part_ + 1 < image_.part_count()) {
      const ByteSpan next = image_.part(part_ + 1);
      const std::size_t end = std::min<std::size_t>(next.size(), kPage);
      for (std::size_t at = 0; at < end; at += kCacheLine) __builtin_prefetch(next.data() + at);
    }
    std::memcpy(out.data(), rest_.data(), bytes);
    out = out.subspan(bytes);
    rest_ = rest_.subspan(bytes);
  }
}

}  // namespace cairn::tiers
