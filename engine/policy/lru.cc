// SPDX-License-Identifier: Apache-2.0
#include "engine/policy/lru.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace cairn {
namespace {

bool goes_before(const Candidate& a, const Candidate& b) {
  return a.worth < b.worth;
}

}  // namespace

std::unique_ptr<Policy> make_lru_policy(const PolicyContext& context) {
  return std::make_unique<LruPolicy>(context);
}

LruPolicy::LruPolicy(const PolicyContext& context)
    : stamps_(context.stamps), place_(context.handles, true) {}

void LruPolicy::on_insert(BlockHandle block, Standing standing) {
  CAIRN_DCHECK(place_[block] == 0);
  handles_touched_ = std::max<std::size_t>(handles_touched_, std::size_t{block} + 1);
  if (standing != Standing::held) file(block, queue_of(standing));
}

void LruPolicy::on_standing(BlockHandle block, Standing standing) {
  if (offers(block, standing)) return;
  take_out(block);
  if (standing != Standing::held) file(block, queue_of(standing));
}

void LruPolicy::on_remove(BlockHandle block) {
  take_out(block);
}

void LruPolicy::on_demote(BlockHandle block) {
  if (place_[block] == 0) return;  // held: it is filed by its stamp when it may go
  const std::uint32_t queue = buckets_[(place_[block] - 1) / kBucketBlocks].queue;
  take_out(block);
  file(block, queue);
}

bool LruPolicy::victims(Standing most, std::size_t count, std::vector<Candidate>& out) {
  const std::size_t before = out.size();
  if (most == Standing::spare) {
    collect_spares(count, out);
    return true;
  }
  for (std::uint32_t i = queue_of(Standing::backed); i <= queue_of(most); ++i) {
    if (queues_[i].empty()) continue;
    const std::size_t middle = out.size();
    if (!collect(queues_[i], count, out)) {
      out.resize(before);
      return false;
    }
    std::inplace_merge(out.begin() + static_cast<std::ptrdiff_t>(before),
                       out.begin() + static_cast<std::ptrdiff_t>(middle), out.end(), goes_before);
    out.resize(std::min(out.size(), before + count));
  }
  return true;
}

/// The `count` oldest of one queue, in order. Each bucket on the way is rid of what has been
/// used since, so that what is left is exactly the blocks of its range.
bool LruPolicy::collect(Queue& queue, std::size_t count, std::vector<Candidate>& out) {
  const std::size_t wanted = out.size() + count;
  std::size_t moved = 0;
  std::size_t slot = 0;
  while (slot < queue.size() && out.size() < wanted) {
    // What was moved is filed where it belongs, so coming again always gets further.
    if (moved > kMovesPerCall) return false;
    moved += move_stale_on(queue, slot);
    Bucket& bucket = buckets_[queue[slot].bucket];
    if (bucket.count == 0) {
      drop_bucket(queue, slot);
      continue;
    }
    // A stamp that has grown since sorts last, and is met again.
    scratch_.clear();
    for (std::uint32_t i = 0; i < bucket.count; ++i) {
      scratch_.push_back({bucket.blocks[i], stamps_[bucket.blocks[i]]});
    }
    const std::size_t take = std::min(wanted - out.size(), scratch_.size());
    std::partial_sort(scratch_.begin(), scratch_.begin() + static_cast<std::ptrdiff_t>(take),
                      scratch_.end(), goes_before);
    out.insert(out.end(), scratch_.begin(), scratch_.begin() + static_cast<std::ptrdiff_t>(take));
    ++slot;
  }
  return true;
}

/// From the last bucket back. What was used since it was filed lies too early, and is met late.
void LruPolicy::collect_spares(std::size_t count, std::vector<Candidate>& out) const {
  const Queue& queue = queues_[queue_of(Standing::spare)];
  const std::size_t wanted = out.size() + count;
  for (std::size_t slot = queue.size(); slot-- > 0 && out.size() < wanted;) {
    const Bucket& bucket = buckets_[queue[slot].bucket];
    const std::size_t begin = out.size();
    for (std::uint32_t i = 0; i < bucket.count; ++i) {
      out.push_back({bucket.blocks[i], ~stamps_[bucket.blocks[i]]});
    }
    std::sort(out.begin() + static_cast<std::ptrdiff_t>(begin), out.end(), goes_before);
  }
  out.resize(std::min(out.size(), wanted));
}

/// Returns how many blocks it moved.
std::size_t LruPolicy::move_stale_on(Queue& queue, std::size_t slot) {
  const std::uint32_t index = queue[slot].bucket;
  Bucket& bucket = buckets_[index];
  for (std::uint32_t i = 0; i < bucket.count; ++i) stamps_.prefetch(bucket.blocks[i]);
  if (slot + 1 == queue.size()) return 0;  // the last range has no end
  const std::uint64_t end = queue[slot + 1].first_stamp;
  std::vector<BlockHandle> stale;
  for (std::uint32_t i = 0; i < bucket.count;) {
    const BlockHandle block = bucket.blocks[i];
    if (stamps_[block] < end) {
      ++i;
      continue;
    }
    stale.push_back(block);
    remove_at(index, i);
  }
  // Filing changes later slots alone, never this one or those before it.
  for (const BlockHandle block : stale) file(block, bucket.queue);
  return stale.size();
}

/// `place` counts from the bucket's beginning or from that of all buckets.
void LruPolicy::remove_at(std::uint32_t bucket_index, std::uint32_t place) {
  const std::uint32_t position = place % kBucketBlocks;
  Bucket& bucket = buckets_[bucket_index];
  const BlockHandle last = bucket.blocks[--bucket.count];
  place_[last] = static_cast<std::uint32_t>(bucket_index * kBucketBlocks + position + 1);
  place_[bucket.blocks[position]] = 0;  // after the line above: it may be the last itself
  if (position < bucket.count) {
    bucket.blocks[position] = last;
  }
  --offered_;
}

std::size_t LruPolicy::slot_for(const Queue& queue, std::uint64_t stamp) const {
  const auto after =
      std::upper_bound(queue.begin(), queue.end(), stamp,
                       [](std::uint64_t s, const Slot& slot) { return s < slot.first_stamp; });
  return after == queue.begin() ? 0 : static_cast<std::size_t>(after - queue.begin()) - 1;
}

std::size_t LruPolicy::slot_of_bucket(const Bucket& bucket, std::uint32_t index) const {
  const Queue& queue = queues_[bucket.queue];
  const std::size_t slot = slot_for(queue, bucket.first_stamp);
  CAIRN_CHECK(queue[slot].bucket == index);
  return slot;
}

void LruPolicy::file(BlockHandle block, std::uint32_t queue_index) {
  Queue& queue = queues_[queue_index];
  const std::uint64_t stamp = stamps_[block];
  if (queue.empty()) queue.push_back({stamp, new_bucket(queue_index, stamp)});
  std::size_t slot = slot_for(queue, stamp);
  while (buckets_[queue[slot].bucket].count == kBucketBlocks) {
    make_room(queue, slot, stamp);
    slot = slot_for(queue, stamp);
  }
  append(queue[slot].bucket, block);
}

/// A full bucket: what was used since is moved on, if that is most of it. Else a stamp newer
/// than all of its range opens a bucket of its own behind it, so that what comes in order fills
/// its buckets; any other cuts the bucket in the middle.
void LruPolicy::make_room(Queue& queue, std::size_t slot, std::uint64_t stamp) {
  const std::uint32_t index = queue[slot].bucket;
  Bucket& old = buckets_[index];
  for (std::uint32_t i = 0; i < old.count; ++i) stamps_.prefetch(old.blocks[i]);
  std::vector<Candidate> inside, outside;
  for (std::uint32_t i = 0; i < old.count; ++i) {
    const Candidate candidate{old.blocks[i], stamps_[old.blocks[i]]};
    (slot_for(queue, candidate.worth) == slot ? inside : outside).push_back(candidate);
  }
  if (outside.size() >= inside.size()) {
    for (const Candidate& candidate : outside) remove_at(index, place_[candidate.block] - 1);
    for (const Candidate& candidate : outside) file(candidate.block, old.queue);
    return;
  }
  std::sort(inside.begin(), inside.end(), goes_before);
  const bool comes_last = stamp > inside.back().worth;
  const std::uint64_t split = comes_last ? stamp : inside[inside.size() / 2].worth;
  if (slot == 0) {
    // The first bucket takes all that is older than its first stamp, too.
    old.first_stamp = std::min({queue[0].first_stamp, inside.front().worth, stamp});
    queue[0].first_stamp = old.first_stamp;
  }
  const std::uint32_t fresh = new_bucket(old.queue, split);
  queue.insert(queue.begin() + static_cast<std::ptrdiff_t>(slot) + 1, Slot{split, fresh});
  for (const Candidate& candidate : inside) {
    if (candidate.worth < split) continue;
    remove_at(index, place_[candidate.block] - 1);
    append(fresh, candidate.block);
  }
}

void LruPolicy::append(std::uint32_t bucket_index, BlockHandle block) {
  Bucket& bucket = buckets_[bucket_index];
  CAIRN_CHECK(bucket.count < kBucketBlocks);
  bucket.blocks[bucket.count] = block;
  place_[block] = static_cast<std::uint32_t>(bucket_index * kBucketBlocks + bucket.count + 1);
  ++bucket.count;
  ++offered_;
}

void LruPolicy::take_out(BlockHandle block) {
  if (place_[block] == 0) return;
  const std::uint32_t index = (place_[block] - 1) / kBucketBlocks;
  remove_at(index, place_[block] - 1);
  if (buckets_[index].count < kMergeBelow) shrink(index);
}

/// Joins a bucket that has become small with the one behind or before it.
void LruPolicy::shrink(std::uint32_t bucket_index) {
  Bucket& bucket = buckets_[bucket_index];
  Queue& queue = queues_[bucket.queue];
  std::size_t slot = slot_of_bucket(bucket, bucket_index);
  if (bucket.count == 0) {
    drop_bucket(queue, slot);
    return;
  }
  if (slot + 1 == queue.size() ||
      bucket.count + buckets_[queue[slot + 1].bucket].count > kMergeAtMost) {
    if (slot == 0 || bucket.count + buckets_[queue[slot - 1].bucket].count > kMergeAtMost) return;
    --slot;
  }
  Bucket& later = buckets_[queue[slot + 1].bucket];
  offered_ -= later.count;
  for (std::uint32_t i = 0; i < later.count; ++i) append(queue[slot].bucket, later.blocks[i]);
  later.count = 0;
  drop_bucket(queue, slot + 1);
}

std::uint32_t LruPolicy::new_bucket(std::uint32_t queue, std::uint64_t first_stamp) {
  std::uint32_t index;
  if (free_buckets_.empty()) {
    index = static_cast<std::uint32_t>(buckets_.size());
    buckets_.emplace_back();
  } else {
    index = free_buckets_.back();
    free_buckets_.pop_back();
  }
  Bucket& bucket = buckets_[index];
  bucket.first_stamp = first_stamp;
  bucket.count = 0;
  bucket.queue = queue;
  return index;
}

void LruPolicy::drop_bucket(Queue& queue, std::size_t slot) {
  free_buckets_.push_back(queue[slot].bucket);
  queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(slot));
}

bool LruPolicy::offers(BlockHandle block, Standing standing) const {
  if (place_[block] == 0) return standing == Standing::held;
  return standing != Standing::held &&
         buckets_[(place_[block] - 1) / kBucketBlocks].queue == queue_of(standing);
}

std::size_t LruPolicy::memory_bytes() const {
  std::size_t slots = 0;
  for (const Queue& queue : queues_) slots += queue.size();
  return handles_touched_ * sizeof(std::uint32_t) + buckets_.size() * sizeof(Bucket) +
         free_buckets_.capacity() * sizeof(std::uint32_t) + slots * sizeof(Slot) +
         scratch_.capacity() * sizeof(Candidate);
}

std::size_t LruPolicy::filed_too_late() const {
  std::size_t found = 0;
  for (const Queue& queue : queues_) {
    for (std::size_t slot = 1; slot < queue.size(); ++slot) {
      const Bucket& bucket = buckets_[queue[slot].bucket];
      for (std::uint32_t i = 0; i < bucket.count; ++i) {
        found += stamps_[bucket.blocks[i]] < bucket.first_stamp;
      }
    }
  }
  return found;
}

void LruPolicy::check_invariants() const {
  std::size_t found = 0;
  for (std::uint32_t q = 0; q < queues_.size(); ++q) {
    const Queue& queue = queues_[q];
    for (std::size_t slot = 0; slot < queue.size(); ++slot) {
      const Bucket& bucket = buckets_[queue[slot].bucket];
      CAIRN_CHECK(bucket.count > 0 && bucket.count <= kBucketBlocks);  // L2
      CAIRN_CHECK(bucket.queue == q && bucket.first_stamp == queue[slot].first_stamp);
      CAIRN_CHECK(slot == 0 || queue[slot - 1].first_stamp < queue[slot].first_stamp);
      for (std::uint32_t i = 0; i < bucket.count; ++i) {
        CAIRN_CHECK(place_[bucket.blocks[i]] == queue[slot].bucket * kBucketBlocks + i + 1);  // L1
      }
      found += bucket.count;
    }
  }
  CAIRN_CHECK(found == offered_);
}

}  // namespace cairn
