// SPDX-License-Identifier: Apache-2.0
// sparse_array.h — a large array whose pages cost nothing until they are touched.
//
// Exists so that tables can grow without moving: address space for the most that may ever be
// needed is reserved at once, memory comes page by page as elements are used. Elements begin
// as zero bytes and are never destroyed, so T must be at home with both.
//
// Threading:  thread-compatible; elements may be used by threads of their own.
// Blocking:   never (the first touch of a page costs its fault: ~0.1 ms with huge pages).
// Failure:    address space that cannot be had is a failed CAIRN_CHECK.
#pragma once

#include <cstddef>
#include <type_traits>

namespace cairn {

/// Address space from the kernel, given back on destruction.
class ReservedPages {
 public:
  /// `huge`: asks for huge pages; for arrays that are used densely and at random.
  ReservedPages(std::size_t bytes, bool huge);
  ~ReservedPages();
  ReservedPages(const ReservedPages&) = delete;
  ReservedPages& operator=(const ReservedPages&) = delete;
  void* data() const { return data_; }

 private:
  std::size_t bytes_ = 0;
  void* mapping_ = nullptr;
  void* data_ = nullptr;
};

template <typename T>
class SparseArray {
 public:
  static_assert(std::is_trivially_destructible_v<T>);
  SparseArray(std::size_t elements, bool huge)
      : pages_(elements * sizeof(T), huge),
        data_(static_cast<T*>(pages_.data())),
        size_(elements) {}
  T& operator[](std::size_t index) { return data_[index]; }
  const T& operator[](std::size_t index) const { return data_[index]; }
  std::size_t size() const { return size_; }

 private:
  ReservedPages pages_;
  T* data_;
  std::size_t size_;
};

}  // namespace cairn
