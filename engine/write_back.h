// SPDX-License-Identifier: Apache-2.0
// write_back.h — takes to cold what was acknowledged in memory.
//
//   second sight   put again, or delivered ─► queue ─► a batch at a time ─► cold
//   write-out      flush, close, a switch to `through` ─► what is dirty, in chain order ─► cold
//
// The third way, out of memory for want of room, is the mover's. Nothing is kept here of a block
// that waits but its id: whether it is still to be written is decided when its gate is held, so
// what was erased, overwritten or written meanwhile needs nobody to tell us. A batch is a put of
// blocks that memory has (WritePath::write_back), so limits, eviction and cleaning of cold are
// those of any put. The queue is bounded: a block that finds it full is counted, and waits to be
// seen once more. A write-out costs a walk of the catalog and 32 bytes for each dirty block.
//
// Why a switch to `through` leaves nothing behind: a put that read the old policy publishes first
// and then looks at the policy again, and the walk comes after the switch; one of the two sees what
// the other has done.
//
// Threading:  thread-safe; batches are made on the mover's loop.
// Blocking:   never.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/base/mutex.h"
#include "engine/core.h"
#include "engine/write_path.h"

namespace cairn::detail {

struct DirtyUsage {
  std::uint64_t blocks = 0, bytes = 0;
};

class WriteBack {
 public:
  using Done = std::function<void(absl::Status)>;

  WriteBack(EngineCore& core, WritePath& writes) : core_(core), writes_(writes) {}

  /// The caller is inside core.operations.
  void set_policy(NamespaceState& ns, WritePolicy policy);
  /// A reader got these, or they were put and were there. Nothing where the policy is another.
  void seen(NamespaceState& ns, std::span<const BlockId> ids);
  /// A put was acknowledged in memory; `again` was there before.
  void kept(NamespaceState& ns, std::span<const BlockId> again, bool by_policy);
  /// Writes what is dirty of namespaces that write back, and what was seen again. `done` gets the
  /// first reason why something is dirty still. The caller is inside core.operations until then.
  void write_out(Done done);
  /// Of each namespace that has any. Costs a walk of the catalog where there is any.
  absl::flat_hash_map<NamespaceId, DirtyUsage> dirty() const;

 private:
  enum class Reason : std::uint8_t { second_sight, write_out };
  /// Blocks of one namespace, in the order in which they are to be written.
  struct Section {
    NamespaceState* ns = nullptr;
    Reason reason = Reason::write_out;
    std::vector<BlockId> ids;
    std::size_t next = 0;
    std::uint64_t left = 0;  // could not be written
  };
  enum class Whose : std::uint8_t { queued, switched, all };
  /// One at a time, so that who comes behind another finds what that one was asked for written.
  struct Pass {
    Whose whose = Whose::all;
    std::size_t queued = 0;                   // of the queue, how many are still to be taken
    std::vector<NamespaceState*> namespaces;  // whose dirty blocks are still to be looked for
    Section section;
    absl::Status first_error;
    std::uint64_t left = 0;
    Done done;
  };
  struct Seen {
    NamespaceState* ns = nullptr;
    BlockId id;
  };

  bool may_write() const { return core_.cold != nullptr && !core_.read_only; }
  void in_background(Whose whose, std::atomic<bool>& posted);
  void enter(std::shared_ptr<Pass> pass);
  void begin(Pass& pass);
  void step(const std::shared_ptr<Pass>& pass);
  bool next_section(Pass& pass);
  void end_section(Pass& pass);
  void finish(const Pass& pass);
  std::vector<OwnedName> next_batch(Section& section) const;
  void take_results(Pass& pass, const std::vector<OwnedName>& names,
                    const std::vector<PutResult>& results);
  std::vector<BlockId> dirty_in_chain_order(NamespaceId ns) const;
  bool take_queued(Pass& pass);

  EngineCore& core_;
  WritePath& writes_;
  // A pass is on its way that has not looked yet.
  std::atomic<bool> switched_posted_{false}, queue_posted_{false};
  mutable Mutex mutex_{LockRank::mover};
  std::deque<Seen> queue_ CAIRN_GUARDED_BY(mutex_);
  absl::flat_hash_set<BlockId> queued_ CAIRN_GUARDED_BY(mutex_);
  // Of the loop:
  std::deque<std::shared_ptr<Pass>> passes_;  // the first is under way
};

}  // namespace cairn::detail
