// SPDX-License-Identifier: Apache-2.0
// lru.h — the block whose last use is longest ago goes first, exactly.
//
// Spares go the other way round, and only about so: the newest block is the last to come back.
//
// A use only changes the block's stamp: nothing is relinked, because relinking costs cache
// misses on the path of every hit. The order is put right when victims are asked for instead.
// Offered blocks lie in buckets of at most 256, each for a range of stamps; a block that was
// used after it was filed lies in too early a bucket and is moved on when it is met there.
// Since stamps only grow (on_demote files anew), every block whose stamp falls into the first
// bucket's range is in that bucket, and sorting it gives the exact oldest.
//
// Costs: 4 bytes a handle and 4 to 8 a block offered; a use nothing; filing a binary search
// over the buckets; a victim a few tens of nanoseconds, and each block that was used since it
// was filed is moved once, however often it was used.
//
// Threading and blocking as in policy.h.
//
// Invariants (check_invariants):
//   L1  a block lies in exactly the place that place_ names, or nowhere
//   L2  buckets of a queue are in the order of their first stamps, none is empty
// and, as long as no two threads use one block in the same instant (of two uses the earlier may
// then be the one that is kept, which costs exactness and nothing else): filed_too_late() == 0.
#pragma once

#include <array>
#include <deque>

#include "engine/base/sparse_array.h"
#include "engine/policy/policy.h"

namespace cairn {

class LruPolicy final : public Policy {
 public:
  explicit LruPolicy(const PolicyContext& context);

  void on_insert(BlockHandle block, Standing standing) override;
  void on_standing(BlockHandle block, Standing standing) override;
  void on_remove(BlockHandle block) override;
  void on_demote(BlockHandle block) override;
  bool victims(Standing most, std::size_t count, std::vector<Candidate>& out) override;
  std::uint64_t worth(BlockHandle block) const override { return stamps_[block]; }
  bool offers(BlockHandle block, Standing standing) const override;
  std::size_t offered() const override { return offered_; }
  std::size_t memory_bytes() const override;
  void check_invariants() const override;
  /// Blocks in a later bucket than their stamp belongs to.
  std::size_t filed_too_late() const;

 private:
  static constexpr std::uint32_t kBucketBlocks = 256;
  static constexpr std::uint32_t kMergeBelow = 64;
  static constexpr std::uint32_t kMergeAtMost = 192;
  static constexpr std::size_t kMovesPerCall = 4096;

  struct Bucket {
    std::array<BlockHandle, kBucketBlocks> blocks;
    std::uint64_t first_stamp = 0;
    std::uint32_t count = 0;
    std::uint32_t queue = 0;
  };
  /// A queue's buckets in order; the first also takes what is older than its first stamp.
  struct Slot {
    std::uint64_t first_stamp = 0;
    std::uint32_t bucket = 0;
  };
  using Queue = std::deque<Slot>;

  static std::uint32_t queue_of(Standing standing) {
    return static_cast<std::uint32_t>(standing) - 1;
  }
  std::size_t slot_for(const Queue& queue, std::uint64_t stamp) const;
  std::size_t slot_of_bucket(const Bucket& bucket, std::uint32_t index) const;

  void file(BlockHandle block, std::uint32_t queue_index);
  void append(std::uint32_t bucket_index, BlockHandle block);
  void remove_at(std::uint32_t bucket_index, std::uint32_t place);
  void take_out(BlockHandle block);
  void shrink(std::uint32_t bucket_index);
  std::uint32_t new_bucket(std::uint32_t queue, std::uint64_t first_stamp);
  void drop_bucket(Queue& queue, std::size_t slot);
  void make_room(Queue& queue, std::size_t slot, std::uint64_t stamp);
  std::size_t move_stale_on(Queue& queue, std::size_t slot);
  bool collect(Queue& queue, std::size_t count, std::vector<Candidate>& out);
  void collect_spares(std::size_t count, std::vector<Candidate>& out) const;

  const Stamps stamps_;
  SparseArray<std::uint32_t> place_;  // bucket × 256 + position + 1; 0: nowhere
  std::deque<Bucket> buckets_;        // never move; freed ones are used again
  std::vector<std::uint32_t> free_buckets_;
  std::array<Queue, kStandingsOffered> queues_;  // spare, backed, last copy, anchored
  std::size_t offered_ = 0;
  std::size_t handles_touched_ = 0;
  std::vector<Candidate> scratch_;
};

std::unique_ptr<Policy> make_lru_policy(const PolicyContext& context);

}  // namespace cairn
