// SPDX-License-Identifier: Apache-2.0
// What a test may do to a MemoryTier.
#include <utility>

#include "tests/support/memory_tier.h"

namespace cairn::test {

void MemoryTier::fail_writes(ErrorCode code, std::size_t count) {
  MutexLock lock(mutex_);
  write_error_ = code;
  write_failures_ = count;
}

void MemoryTier::fail_reads(ErrorCode code, std::size_t count) {
  MutexLock lock(mutex_);
  read_error_ = code;
  read_failures_ = count;
}

void MemoryTier::fail_removals(ErrorCode code, std::size_t count) {
  MutexLock lock(mutex_);
  removal_error_ = code;
  removal_failures_ = count;
}

void MemoryTier::fail_annotations(ErrorCode code, std::size_t spared, std::size_t count) {
  MutexLock lock(mutex_);
  annotation_error_ = code;
  annotations_spared_ = spared;
  annotation_failures_ = count;
}

void MemoryTier::set_degraded(bool degraded) {
  MutexLock lock(mutex_);
  degraded_ = degraded;
}

bool MemoryTier::corrupt(const BlockName& name, std::size_t offset) {
  MutexLock lock(mutex_);
  const auto found = medium_->entries_.find(encode_name(name));
  if (found == medium_->entries_.end() || found->second.tombstone ||
      offset >= found->second.bytes->text.size()) {
    return false;
  }
  char& byte = found->second.bytes->text[offset];
  byte = static_cast<char>(byte ^ 0x40);
  return true;
}

std::uint64_t MemoryTier::bytes_read() const {
  MutexLock lock(mutex_);
  return bytes_read_;
}

bool MemoryTier::relocate(const BlockName& name) {
  Relocated relocated;
  BlockId id;
  Location from, to;
  {
    MutexLock lock(mutex_);
    const std::string encoded = encode_name(name);
    const auto found = medium_->entries_.find(encoded);
    if (found == medium_->entries_.end() || found->second.tombstone) return false;
    MemoryMedium::Stored moved = found->second;
    from = moved.location;
    to = moved.location = Location{medium_->next_location_++};
    id = moved.id;
    residents_[to.bits] = {encoded, moved.facts, moved.bytes, cost_of(moved.facts.plain_bytes)};
    medium_->change(encoded, std::move(moved));
    relocated = relocated_;
  }
  const bool kept = relocated && relocated(id, from, to);
  MutexLock lock(mutex_);
  residents_.erase(from.bits);
  return kept;
}

bool MemoryTier::give_up(const BlockName& name) {
  Removed removed;
  MemoryMedium::Stored was;
  {
    MutexLock lock(mutex_);
    const auto found = medium_->entries_.find(encode_name(name));
    if (found == medium_->entries_.end() || found->second.tombstone) return false;
    was = found->second;
    Removal removal{.name = name,
                    .sequence = was.facts.sequence,
                    .reason = RemovalReason::corrupt,
                    .status = {}};
    if (!remove_one(removal).ok()) return false;
    removed = removed_;
  }
  if (removed) removed(was.id, was.facts.sequence, was.location);
  MutexLock lock(mutex_);
  residents_.erase(was.location.bits);
  return true;
}

void MemoryTier::freeze_scans() {
  MutexLock lock(mutex_);
  frozen_ = medium_->entries_;
}

void MemoryTier::fail_scan(ErrorCode code) {
  MutexLock lock(mutex_);
  scan_error_ = code;
}

void MemoryTier::hold() {
  MutexLock lock(mutex_);
  holding_ = true;
}

void MemoryTier::release() {
  std::deque<Done> ready;
  {
    MutexLock lock(mutex_);
    holding_ = false;
    ready.swap(held_);
  }
  for (Done& done : ready) finish(std::move(done));
}

std::size_t MemoryTier::held() const {
  MutexLock lock(mutex_);
  return held_.size();
}

std::size_t MemoryTier::stored_blocks() const {
  return usage().blocks;
}

}  // namespace cairn::test
