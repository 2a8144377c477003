// SPDX-License-Identifier: Apache-2.0
// failing_uring_sync.h — the next sync that goes to io_uring ends in EAGAIN.
//
// Exists because no file at hand has a sync that ends so. In front of liburing's two calls that
// hand requests to the kernel, it turns the sync into a read of an eventfd that has nothing to
// give; the answer is the kernel's own. Syncs after it are let through.
//
// Threading: armed and destroyed while no ring is at work; the sync may come from any thread.
#pragma once

#include <cstdint>

namespace cairn::test {

class FailingUringSync {
 public:
  FailingUringSync();
  ~FailingUringSync();
  FailingUringSync(const FailingUringSync&) = delete;
  FailingUringSync& operator=(const FailingUringSync&) = delete;

  /// All of them, the one that was made to fail included.
  std::uint64_t syncs_seen() const;
};

}  // namespace cairn::test
