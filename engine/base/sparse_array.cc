// SPDX-License-Identifier: Apache-2.0
#include "engine/base/sparse_array.h"

#include <sys/mman.h>

#include <algorithm>

#include "engine/base/check.h"

namespace cairn {

ReservedPages::ReservedPages(std::size_t bytes, bool huge)
    : bytes_(std::max<std::size_t>(bytes, 1)) {
  data_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CAIRN_CHECK(data_ != MAP_FAILED);
  // Refused by kernels without huge pages: slower, not wrong.
  if (huge) ::madvise(data_, bytes_, MADV_HUGEPAGE);
}

ReservedPages::~ReservedPages() {
  ::munmap(data_, bytes_);
}

}  // namespace cairn
