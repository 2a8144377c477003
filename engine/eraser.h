// SPDX-License-Identifier: Apache-2.0
// eraser.h — erase and clear: what goes at somebody's word and must never come back.
//
// erase: gate → unlist (new readers see a miss at once; leases keep what they hold) → tombstone
// in cold, durable → ack. The tombstone is durable whatever the block was promised, because a
// `written` block may have become durable by the background sync, and an erased block must not
// come back after a power cut.
//
// clear: shut the namespace to publishers, wait until they have left, raise the epoch in the
// superblock, unlist everything, open it again.
//
// Threading:  thread-safe.
// Blocking:   erase never; clear: disk.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/core.h"
#include "engine/mover.h"
#include "engine/recovery.h"
#include "engine/token_index.h"

namespace cairn::detail {

class Eraser {
 public:
  using Callback = std::function<void(absl::StatusOr<std::vector<bool>>)>;

  Eraser(EngineCore& core, Recovery& recovery, Mover& mover, TokenIndex& tokens)
      : core_(core), recovery_(recovery), mover_(mover), tokens_(tokens) {}

  void erase(NamespaceId ns, std::span<const KeyRef> keys, Callback done);
  absl::Status clear(NamespaceId ns);

 private:
  struct Erase;
  absl::Status admit(NamespaceId ns, std::span<const KeyRef> keys);
  void resolve(const std::shared_ptr<Erase>& erase);
  void unlist(const std::shared_ptr<Erase>& erase);
  void keep_away(const std::shared_ptr<Erase>& erase);
  void finish(Erase& erase, const absl::Status& status);
  void sweep(NamespaceState& ns);

  EngineCore& core_;
  Recovery& recovery_;
  Mover& mover_;
  TokenIndex& tokens_;
  std::atomic<std::uint64_t> keys_under_way_{0};
};

}  // namespace cairn::detail
