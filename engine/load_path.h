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
// Some layers of a block are never promoted: they are copied from hot, joined where somebody
// fetches the whole block, else read by themselves. load_layers (layer_load.h) goes through a run
// layer by layer, and waits for nobody's fetch: it would be late with the first.
//
// Threading:  thread-safe.
// Blocking:   cpu: copies.
#pragma once

#include <atomic>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <span>

#include "engine/core.h"
#include "engine/fetcher.h"
#include "engine/read_path.h"
#include "engine/recovery.h"

namespace cairn::detail {

/// Who reads window by window, and waits where all loads together may read no more.
class Windowed {
 public:
  virtual ~Windowed() = default;
  virtual void advance() = 0;

 protected:
  friend class LoadPath;
  bool waits_for_room_ = false;
};

/// Memory of ours that a read goes to where the target's may be gone before it ends.
struct FreeBytes {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using Bounce = std::unique_ptr<std::byte, FreeBytes>;
Bounce make_bounce(std::uint64_t bytes);

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
  void load_layers(NamespaceId ns, std::span<LoadTarget> targets, const LayerOptions& options,
                   std::function<void(const LoadedLayers&)> on_layers,
                   std::function<void(absl::Status)> done);

 private:
  static constexpr std::uint64_t kWindowBytes = 16 * kMiB;
  static constexpr std::size_t kWindows = 4;  // of one load
  class Load;
  class LayerLoad;
  /// Counts an operation that is under way from here on.
  absl::Status begin(const NamespaceState* ns, std::span<LoadTarget> targets);
  static absl::Status admit(const NamespaceState& ns, std::span<LoadTarget> targets);
  /// Where `layers` of a block of that length lie. An error where it has none, or they do not fit
  /// into the buffer.
  static absl::StatusOr<ByteRange> part_of(const NamespaceState& ns, const LoadTarget& target,
                                           LayerRange layers, std::uint32_t plain_bytes);
  /// Asks cold for what the catalog does not list from `first` on, while it is not complete; then
  /// goes on, on the loop.
  void resolve(const NamespaceState& ns, std::span<const LoadTarget> targets,
               std::span<const BlockId> ids, std::size_t first, std::function<void()> then);
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
  std::deque<std::shared_ptr<Windowed>> waiting_;  // for room
};

}  // namespace cairn::detail
