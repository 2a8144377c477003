// SPDX-License-Identifier: Apache-2.0
// memory_hot_tier.h — an addressable tier of single allocations: hot's twin, for tests of what
// stands above.
//
// Its capacity is exact to the byte and every slot is an allocation of its own, so that a read
// behind the end, or after the slot was freed, is seen by AddressSanitizer.
//
// Threading:  thread-safe.
// Blocking:   never.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "engine/base/check.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/tier.h"

namespace cairn::test {

class MemoryHotTier final : public AddressableTier {
 public:
  explicit MemoryHotTier(std::uint64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  absl::Status reserve(NamespaceId ns, std::span<const std::uint32_t> plain_sizes,
                       std::span<Location> locations) override {
    MutexLock lock(mutex_);
    if (closed_) return make_error(ErrorCode::closed, "the tier is closed");
    std::uint64_t total = 0;
    for (const std::uint32_t size : plain_sizes) {
      if (size > capacity_bytes_) return make_error(ErrorCode::too_large, "larger than the tier");
      total += size;
    }
    if (used_bytes_ + total > capacity_bytes_) {
      return make_error(ErrorCode::no_space, "the hot tier is full");
    }
    Share& share = shares_[ns];
    if (share.limit_bytes != 0 && share.used_bytes + total > share.limit_bytes) {
      return make_error(total > share.limit_bytes ? ErrorCode::too_large : ErrorCode::no_space,
                        "the namespace has all of hot that it may have");
    }
    used_bytes_ += total;
    share.used_bytes += total;
    for (std::size_t i = 0; i < plain_sizes.size(); ++i) {
      locations[i] = Location{next_++};
      slots_[locations[i].bits] = {std::make_unique<std::byte[]>(plain_sizes[i]), plain_sizes[i],
                                   ns};
    }
    return absl::OkStatus();
  }
  void write(std::span<TierWrite> batch, Durability durability, Done done) override {
    for (TierWrite& write : batch) {
      write.status = durability == Durability::memory
                         ? absl::OkStatus()
                         : make_error(ErrorCode::invalid_argument, "RAM keeps nothing");
      if (write.status.ok() && !write.payload.empty()) {
        std::memcpy(bytes(write.location).data(), write.payload.data(), write.payload.size());
      }
    }
    done();
  }
  void read(std::span<TierRead> batch, Done done) override {
    for (TierRead& read : batch) {
      const ByteSpan from = bytes(read.location);
      CAIRN_CHECK(from.size() == read.payload_bytes());
      read.status = check_part(read);
      if (!read.status.ok() || read.destination.empty()) continue;
      std::memcpy(read.destination.data(), from.data() + read.offset, read.destination.size());
    }
    done();
  }
  void free(std::span<const Location> locations) override {
    MutexLock lock(mutex_);
    for (const Location location : locations) {
      const auto slot = slots_.find(location.bits);
      CAIRN_CHECK(slot != slots_.end());  // freed twice, or never reserved
      used_bytes_ -= slot->second.size;
      shares_[slot->second.ns].used_bytes -= slot->second.size;
      slots_.erase(slot);
    }
  }
  TierUsage usage() const override {
    MutexLock lock(mutex_);
    return {.capacity_bytes = capacity_bytes_, .used_bytes = used_bytes_, .blocks = slots_.size()};
  }
  void close() override {
    MutexLock lock(mutex_);
    closed_ = true;
  }
  MutableByteSpan bytes(Location location) override {
    MutexLock lock(mutex_);
    const auto slot = slots_.find(location.bits);
    CAIRN_CHECK(slot != slots_.end());
    return {slot->second.bytes.get(), slot->second.size};
  }
  MutableByteSpan bytes(Location location, std::uint32_t plain_bytes) override {
    const MutableByteSpan slot = bytes(location);
    CAIRN_CHECK(slot.size() == plain_bytes);
    return slot;
  }
  void set_capacity(std::uint64_t bytes) override {
    MutexLock lock(mutex_);
    capacity_bytes_ = bytes;
  }
  void set_limit(NamespaceId ns, std::uint64_t bytes) override {
    MutexLock lock(mutex_);
    shares_[ns].limit_bytes = bytes;
  }
  std::uint64_t used_bytes(NamespaceId ns) const override {
    MutexLock lock(mutex_);
    const auto share = shares_.find(ns);
    return share == shares_.end() ? 0 : share->second.used_bytes;
  }
  bool is_limited(NamespaceId ns, std::span<const std::uint32_t> sizes) const override {
    std::uint64_t total = 0;
    for (const std::uint32_t size : sizes) total += size;
    MutexLock lock(mutex_);
    const auto share = shares_.find(ns);
    return share != shares_.end() && share->second.limit_bytes != 0 &&
           share->second.used_bytes + total > share->second.limit_bytes;
  }

 private:
  struct Slot {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
    NamespaceId ns{};
  };
  struct Share {
    std::uint64_t used_bytes = 0, limit_bytes = 0;
  };
  mutable Mutex mutex_{LockRank::hot_tier};
  std::uint64_t capacity_bytes_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t used_bytes_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::uint64_t next_ CAIRN_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<std::uint64_t, Slot> slots_ CAIRN_GUARDED_BY(mutex_);
  absl::flat_hash_map<NamespaceId, Share> shares_ CAIRN_GUARDED_BY(mutex_);
  bool closed_ CAIRN_GUARDED_BY(mutex_) = false;
};

}  // namespace cairn::test
