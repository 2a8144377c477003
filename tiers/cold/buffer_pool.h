// SPDX-License-Identifier: Apache-2.0
// buffer_pool.h — page-aligned memory for transfers, kept for the next one.
//
// Exists because fresh memory costs a page fault every 4 KiB, which at NVMe speed is more
// than the copy it is for.
//
// Threading:  confined to the I/O loop, buffers too.
// Blocking:   never.
// Lifetime:   buffers die before their pool.
#pragma once

#include <array>
#include <bit>
#include <cstdlib>
#include <utility>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "tiers/io/device.h"

namespace cairn::tiers {

class BufferPool;

class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer();

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  MutableByteSpan span() const { return {data_, bytes_}; }
  bool is_empty() const { return data_ == nullptr; }

 private:
  friend class BufferPool;
  BufferPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;  // as asked for, rounded to pages
};

class BufferPool {
 public:
  explicit BufferPool(std::uint64_t cached_bytes_max) : cached_bytes_max_(cached_bytes_max) {}
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool() {
    for (auto& list : free_) {
      for (std::byte* data : list) std::free(data);
    }
  }

  /// `bytes` rounded up to whole pages; the content is whatever it was.
  Buffer take(std::uint64_t bytes) {
    CAIRN_CHECK(bytes > 0);
    Buffer out;
    out.pool_ = this;
    out.bytes_ = round_up(bytes, kIoAlignment);
    const std::size_t size_class = class_of(out.bytes_);
    auto& list = free_[size_class];
    if (!list.empty()) {
      out.data_ = list.back();
      list.pop_back();
      cached_bytes_ -= std::uint64_t{1} << size_class;
    } else {
      out.data_ =
          static_cast<std::byte*>(std::aligned_alloc(kIoAlignment, std::size_t{1} << size_class));
      CAIRN_CHECK(out.data_ != nullptr);
    }
    return out;
  }

 private:
  friend class Buffer;
  static std::size_t class_of(std::uint64_t bytes) {
    return static_cast<std::size_t>(std::bit_width(bytes - 1));
  }
  void give_back(std::byte* data, std::uint64_t bytes) {
    const std::size_t size_class = class_of(bytes);
    if (cached_bytes_ + (std::uint64_t{1} << size_class) > cached_bytes_max_) {
      std::free(data);
      return;
    }
    cached_bytes_ += std::uint64_t{1} << size_class;
    free_[size_class].push_back(data);
  }

  const std::uint64_t cached_bytes_max_;
  std::uint64_t cached_bytes_ = 0;
  std::array<std::vector<std::byte*>, 40> free_;  // by log2 of the size
};

inline Buffer::~Buffer() {
  if (data_ != nullptr) pool_->give_back(data_, bytes_);
}

}  // namespace cairn::tiers
