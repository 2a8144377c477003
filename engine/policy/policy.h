// SPDX-License-Identifier: Apache-2.0
// policy.h — who should go first: observations in, decisions out.
//
// A policy orders the blocks of one tier. It is pure: no clock, no lock, no I/O, and it never
// moves anything. It is not asked what *may* go: the catalog knows leases, pins and children
// and offers a block only while it may go (a parent is held as long as a child needs it), so
// that "leaves first" holds under every policy.
//
// Blocks are small numbers (handles) that are used again after on_remove. A policy keeps what
// it knows of a block in arrays indexed by handle, at most 24 bytes a block beside the stamp
// that the catalog keeps for everyone (≤ 128 bytes a block all in).
//
// To add a policy: engine/policy/NAME.h/.cc with a class derived from Policy and a factory;
// tests/unit/engine/policy_NAME_test.cc, where it must agree step by step with an obvious
// twin; run the property test catalog_model_test with it through CatalogOptions::policy.
// A policy that needs more of an access than when it was last (ARC, LRU-2, a learned index)
// says so with wants_accesses(); one that refuses newcomers does it by offering them first.
//
// Threading:  confined to whoever holds the catalog's policy lock of that tier; stamps may
//             change at any time under it, everything else only by the calls below.
// Blocking:   never, and little by little: victims() does a bounded piece of work a call.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace cairn {

/// A block's place in the catalog; 0 is none.
using BlockHandle = std::uint32_t;

/// Whether a block of the tier may go now. Each is a greater loss than the one before.
enum class Standing : std::uint8_t {
  held,       // pinned, or a child in this tier needs it: not to be offered
  spare,      // a copy of what a hotter tier has: goes before all others
  backed,     // may go, another tier keeps a copy
  last_copy,  // may go, and the block with it
  anchored,   // the last copy of what a child in another tier needs: may be moved, not dropped
};
constexpr std::size_t kStandingsOffered = 4;

/// When blocks were last used, in a logical time that counts uses: greater is newer, no two
/// are equal. Within one request the root of a chain is the newest (tail first).
class Stamps {
 public:
  /// The stamp of handle h lies at `first` + h × `stride_bytes`.
  Stamps(const std::atomic<std::uint64_t>* first, std::size_t stride_bytes)
      : first_(reinterpret_cast<const char*>(first)), stride_bytes_(stride_bytes) {}
  std::uint64_t operator[](BlockHandle block) const {
    return at(block)->load(
        std::memory_order_relaxed);  // pairs with nothing: any recent value will do
  }
  void prefetch(BlockHandle block) const { __builtin_prefetch(at(block)); }

 private:
  const std::atomic<std::uint64_t>* at(BlockHandle block) const {
    return reinterpret_cast<const std::atomic<std::uint64_t>*>(first_ +
                                                               std::size_t{block} * stride_bytes_);
  }
  const char* first_;
  std::size_t stride_bytes_;
};

/// What a policy is made with.
struct PolicyContext {
  Stamps stamps;
  std::size_t handles = 0;  // every handle is less
};

struct Candidate {
  BlockHandle block = 0;
  std::uint64_t worth = 0;  // in the policy's own measure: the least goes first
};

class Policy {
 public:
  virtual ~Policy() = default;

  /// The block has come to the tier.
  virtual void on_insert(BlockHandle block, Standing standing) = 0;
  virtual void on_standing(BlockHandle block, Standing standing) = 0;
  /// The block has left the tier; its handle may come again as another block.
  virtual void on_remove(BlockHandle block) = 0;
  /// Its stamp has been set back: it is to be the first to go.
  virtual void on_demote(BlockHandle block) = 0;

  /// Whether on_access is to be called. Stamps are kept in any case.
  virtual bool wants_accesses() const { return false; }
  /// One request used these blocks, in chain order; some may have left the tier meanwhile.
  virtual void on_access(std::span<const BlockHandle> /*blocks*/) {}

  /// Appends up to `count` blocks of standings from backed to `most`, the least worth first; or
  /// spares, where `most` says so, about those first whose blocks will stay in the hotter tier
  /// longest. False when the bounded work of one call was used up before that many were found: the
  /// caller lets others run and asks again, with `out` as it was before.
  virtual bool victims(Standing most, std::size_t count, std::vector<Candidate>& out) = 0;
  /// The worth of a block of the tier, held or offered.
  virtual std::uint64_t worth(BlockHandle block) const = 0;

  /// Offered, under this standing. For check_invariants.
  virtual bool offers(BlockHandle block, Standing standing) const = 0;
  virtual std::size_t offered() const = 0;
  virtual std::size_t memory_bytes() const = 0;
  virtual void check_invariants() const = 0;
};

using PolicyFactory = std::function<std::unique_ptr<Policy>(const PolicyContext&)>;

}  // namespace cairn
