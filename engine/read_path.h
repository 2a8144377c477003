// SPDX-License-Identifier: Apache-2.0
// read_path.h — match and acquire: what is there, and pins on it.
//
// acquire, when everything is hot: one pass over the catalog that pins the run, one over the
// names, and the lease is delivered inside the call, without an allocation. Otherwise:
//
//   pin what is hot ──► ask cold for what is unknown ──► admit whole or not at all ──► fetch
//      └► delivered when the last block has come, failed, or the deadline strikes
//
// What is not there by the deadline is a miss, and a prefix is cut at its first miss. Whatever
// is still being read then goes on without the lease and ends in hot.
//
// Threading:  thread-safe.
// Blocking:   never.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>

#include "engine/core.h"
#include "engine/expirer.h"
#include "engine/fetcher.h"
#include "engine/recovery.h"

namespace cairn::detail {

class ReadPath {
 public:
  ReadPath(EngineCore& core, Recovery& recovery, Fetcher& fetcher, Mover& mover, Expirer& expirer);

  Match match(NamespaceId ns, std::span<const KeyRef> keys) const;
  std::size_t match_length(NamespaceId ns, std::span<const KeyRef> keys, Search search) const;
  void acquire(NamespaceId ns, std::span<const KeyRef> keys, const AcquireOptions& options,
               std::function<void(absl::StatusOr<Lease>)> done);

  /// Told of every block that a lease has delivered: what was announced has come to its end.
  void set_on_delivered(std::function<void(std::span<const BlockId>)> delivered) {
    on_delivered_ = std::move(delivered);
  }
  /// Told of what leases and loads have delivered of namespaces that write selectively.
  void set_on_seen(std::function<void(NamespaceState&, std::span<const BlockId>)> seen) {
    on_seen_ = std::move(seen);
  }
  void note_seen(NamespaceState& ns, std::span<const BlockId> ids) {
    // Relaxed: one load is all that a lookup pays for the policy.
    if (ns.write_policy.load(std::memory_order_relaxed) != WritePolicy::selective) return;
    if (on_seen_) on_seen_(ns, ids);
  }
  /// Pins one block if it is in hot, under this name and alive. Fills `out`.
  bool lease_one(const NamespaceState& ns, const KeyRef& key, BlockId id, Residency* out);
  std::uint64_t leasable_bytes() const { return leasable_bytes_; }
  void count_request(NamespaceState& ns, Duration took, std::size_t asked,
                     std::span<const LeasedBlock> served);

 private:
  class Acquire;
  struct Request {
    NamespaceState* ns = nullptr;
    std::span<const KeyRef> keys;
    AcquireOptions options;
    TimePoint began;
  };
  std::size_t bisect_run(const NamespaceState& ns, std::span<const KeyRef> keys) const;
  std::size_t present_run(const NamespaceState& ns, std::span<const KeyRef> keys,
                          std::vector<MatchedBlock>* blocks) const;
  bool verify(const NamespaceState& ns, const KeyRef& key, BlockId id, const Residency& leased);
  LeasedBlock view(const Residency& leased, TierKind served_from) const;
  void deliver(const Request& request, std::shared_ptr<LeaseState> state,
               const std::function<void(absl::StatusOr<Lease>)>& done);
  void refuse(const Request& request, std::shared_ptr<LeaseState> state, absl::Status status,
              const std::function<void(absl::StatusOr<Lease>)>& done);
  void unpin_all(LeaseState& state);
  /// About: several may come through at once.
  bool may_ask() const { return asking_.load() < core_.options.load_queue_max; }

  EngineCore& core_;
  Recovery& recovery_;
  Fetcher& fetcher_;
  Mover& mover_;
  Expirer& expirer_;
  const std::uint64_t leasable_bytes_;
  /// Payload that admitted requests are waiting for and have not pinned yet.
  std::atomic<std::uint64_t> admitted_bytes_{0};
  /// Acquires whose keys the index is being asked for. Each holds copies of them, and gates.
  std::atomic<std::uint32_t> asking_{0};
  std::function<void(std::span<const BlockId>)> on_delivered_;
  std::function<void(NamespaceState&, std::span<const BlockId>)> on_seen_;
};

}  // namespace cairn::detail
