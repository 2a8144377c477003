// SPDX-License-Identifier: Apache-2.0
#include "engine/base/sparse_array.h"

#include <sys/mman.h>

#include <algorithm>
#include <memory>

#include "engine/base/check.h"

namespace cairn {

namespace {
constexpr std::size_t kHugePageBytes = 2U << 20U;
}

ReservedPages::ReservedPages(std::size_t bytes, bool huge)
    : bytes_(std::max<std::size_t>(bytes, 1) + (huge ? kHugePageBytes : 0)) {
  mapping_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CAIRN_CHECK(mapping_ != MAP_FAILED);
  data_ = mapping_;
  if (!huge) return;
  // Begins with a huge page of its own: two arrays in one would be paid for when either is used.
  std::size_t space = bytes_;
  CAIRN_CHECK(std::align(kHugePageBytes, bytes_ - kHugePageBytes, data_, space) != nullptr);
  // Refused by kernels without huge pages: slower, not wrong.
  ::madvise(data_, space, MADV_HUGEPAGE);
}

ReservedPages::~ReservedPages() {
  ::munmap(mapping_, bytes_);
}

}  // namespace cairn
