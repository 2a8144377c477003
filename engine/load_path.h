// SPDX-License-Identifier: Apache-2.0
// load_path.h — load: blocks into memory of the caller's, in order, window by window.
//
// The leading run that is in hot is copied inside the call. The rest is driven on the mover's
// loop: up to four windows of eight blocks or 16 MiB are under way, so that a chain longer than
// hot streams at the speed of the disk without moving a single block out of hot.
//
// A block that only cold has takes one of three ways:
//   promoted   while hot has room below its low watermark, or somebody fetches it already:
//              into hot, then copied; nothing is evicted for a load
//   direct     without a deadline: from cold straight into the caller's buffer
//   bounced    with one: through memory of ours, because a read that hangs may write long after
//              the caller was told of the deadline
//
// Threading:  thread-safe.
// Blocking:   cpu: copies.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <span>

#include "engine/core.h"
#include "engine/fetcher.h"
#include "engine/read_path.h"
#include "engine/recovery.h"

namespace cairn::detail {

class LoadPath {
 public:
  LoadPath(EngineCore& core, Recovery& recovery, Fetcher& fetcher, Mover& mover, ReadPath& reads,
           Expirer& expirer)
      : core_(core),
        recovery_(recovery),
        fetcher_(fetcher),
        mover_(mover),
        reads_(reads),
        expirer_(expirer) {}

  void load(NamespaceId ns, std::span<LoadTarget> targets, const AcquireOptions& options,
            std::function<void(absl::Status)> done);

 private:
  class Load;
  absl::Status admit(const NamespaceState* ns, std::span<LoadTarget> targets) const;
  // Of the loop:
  /// Whether another window may be read. One always may: it is how large windows are, whatever the
  /// limit.
  bool has_room() const;
  void wake();

  EngineCore& core_;
  Recovery& recovery_;
  Fetcher& fetcher_;
  Mover& mover_;
  ReadPath& reads_;
  Expirer& expirer_;
  std::atomic<std::uint32_t> loads_under_way_{0};
  std::atomic<std::uint64_t> bytes_under_way_{0};  // direct and bounced
  std::deque<std::shared_ptr<Load>> waiting_;      // for room
};

}  // namespace cairn::detail
