// SPDX-License-Identifier: Apache-2.0
// image.h — one block as warm holds it, and the way through its payload.
//
// Threading:  immutable once it can be found, but for the count of its holders.
// Lifetime:   whoever counts as a holder may use all of it; the tier takes it apart when the last
//             one has gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "tiers/warm/page_pool.h"

namespace cairn::tiers {

class Image {
 public:
  /// `runs` are payload_bytes / kPage whole pages, and one more where the rest has no share.
  Image(ByteSpan header, std::span<const PageRun> runs, const PageShare& share,
        std::uint32_t payload_bytes);

  ByteSpan header() const { return {memory_.get(), header_bytes_}; }
  std::span<const PageRun> runs() const {
    return {reinterpret_cast<const PageRun*>(memory_.get() + runs_at()), run_count_};
  }
  const PageShare& share() const { return share_; }
  std::uint32_t payload_bytes() const { return payload_bytes_; }
  /// The payload where it lies, in order.
  std::size_t part_count() const { return run_count_ + (share_.data == nullptr ? 0 : 1); }
  ByteSpan part(std::size_t i) const;

  /// What a block costs beside its pages, at most for these; allocations and slot included.
  static std::uint64_t side_bytes(std::uint32_t header_bytes, std::uint64_t runs);
  std::uint64_t side_bytes() const { return side_bytes(header_bytes_, run_count_); }
  /// Pages, the whole of its share, and what it costs beside.
  std::uint64_t stored_bytes() const;

  void hold() { holders_.fetch_add(1, std::memory_order_relaxed); }  // by one who holds, or locks
  /// True for the last one. Acquire and release pair, so that whoever is last sees the others gone.
  bool let_go() { return holders_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 private:
  std::size_t runs_at() const { return round_up(header_bytes_, alignof(PageRun)); }
  std::uint32_t payload_in_runs() const {
    return share_.data == nullptr ? payload_bytes_
                                  : static_cast<std::uint32_t>(payload_bytes_ / kPage * kPage);
  }

  std::atomic<std::uint32_t> holders_{1};
  const std::uint32_t payload_bytes_;
  const std::uint32_t header_bytes_;
  const std::uint32_t run_count_;
  const PageShare share_;
  const std::unique_ptr<std::byte[]> memory_;  // header, then runs
};

/// Goes through a payload from one place on.
class ImageCursor {
 public:
  ImageCursor(const Image& image, std::size_t offset);

  /// The next `bytes`: in place where they lie side by side, else put together in `scratch`, which
  /// holds as many.
  ByteSpan next(std::size_t bytes, MutableByteSpan scratch);
  /// The next out.size() bytes.
  void copy(MutableByteSpan out);

 private:
  const Image& image_;
  std::size_t part_ = 0;
  ByteSpan rest_;  // of that part
};

}  // namespace cairn::tiers
