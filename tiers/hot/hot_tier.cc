// SPDX-License-Identifier: Apache-2.0
#include "tiers/hot/hot_tier.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <set>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/hot/nt_copy.h"
#include "tiers/hot/region.h"
#include "tiers/hot/size_class.h"

namespace cairn::tiers {
namespace {

/// Location bits: region number 16 | serial 24 | slot 24. The serial is never 0, so no location
/// is null; it tells a slot from one of an earlier region with the same number.
struct Slot {
  std::uint32_t region = 0;
  std::uint32_t serial = 0;
  std::uint32_t index = 0;
};
constexpr std::uint32_t kSerialMask = (1U << 24) - 1;
constexpr std::uint32_t kSlotsMax = 1U << 24;
constexpr std::uint32_t kRegionsMax = 1U << 16;

Location pack(const Slot& slot) {
  return {std::uint64_t{slot.region} << 48 | std::uint64_t{slot.serial} << 24 | slot.index};
}
Slot unpack(Location location) {
  return {static_cast<std::uint32_t>(location.bits >> 48),
          static_cast<std::uint32_t>(location.bits >> 24) & kSerialMask,
          static_cast<std::uint32_t>(location.bits) & kSerialMask};
}

/// Region numbers to regions, readable without a lock: whoever holds a slot keeps its region in
/// place. Grows in pages, so that a small tier pays for one.
class RegionDirectory {
 public:
  ~RegionDirectory() {
    for (auto& page : pages_) delete page.load();
  }
  Region* find(std::uint32_t number) const {
    // Pairs with the release in set(): the page's entries are seen as set() left them.
    const Page* page = pages_[number / kPageRegions].load(std::memory_order_acquire);
    return page == nullptr ? nullptr
                           : (*page)[number % kPageRegions].load(std::memory_order_acquire);
  }
  void set(std::uint32_t number, Region* region) {
    auto& page = pages_[number / kPageRegions];
    if (page.load() == nullptr) page.store(new Page{}, std::memory_order_release);
    (*page.load())[number % kPageRegions].store(region, std::memory_order_release);
  }

 private:
  static constexpr std::uint32_t kPageRegions = 256;
  using Page = std::array<std::atomic<Region*>, kPageRegions>;
  std::array<std::atomic<Page*>, kRegionsMax / kPageRegions> pages_{};
};

absl::Status closed_error() {
  return make_error(ErrorCode::closed, "the hot tier is closed");
}

class HotTierImpl final : public HotTier {
 public:
  HotTierImpl(const HotOptions& options,
              std::function<std::optional<std::uint32_t>(NamespaceId)> fixed_size)
      : options_(options),
        fixed_size_(std::move(fixed_size)),
        capacity_(options.capacity_bytes),
        allowed_bytes_(options.capacity_bytes) {}
  ~HotTierImpl() override { close(); }

  absl::Status reserve(NamespaceId ns, std::span<const std::uint32_t> sizes,
                       std::span<Location> locations) override;
  void write(std::span<TierWrite> batch, Durability durability, Done done) override;
  void read(std::span<TierRead> batch, Done done) override;
  void free(std::span<const Location> locations) override;
  TierUsage usage() const override;
  void close() override;
  MutableByteSpan bytes(Location location) override;
  MutableByteSpan bytes(Location location, std::uint32_t plain_bytes) override;
  void set_capacity(std::uint64_t bytes) override;
  void set_limit(NamespaceId ns, std::uint64_t bytes) override;
  std::uint64_t used_bytes(NamespaceId ns) const override;
  bool is_limited(NamespaceId ns, std::span<const std::uint32_t> sizes) const override;
  std::vector<SharedRegion> share(NamespaceId ns) override;
  void check_invariants() const override;

 private:
  using ClassKey = std::pair<NamespaceId, std::uint64_t>;  // namespace, slot bytes
  struct SizeClass {
    /// Regions that have a free slot. The lowest number is filled first, so that the others run
    /// empty and can become regions of another class.
    std::set<std::uint32_t> with_room;
    std::uint32_t regions = 0;
  };
  struct Share {
    std::uint64_t used_bytes = 0;   // of its slots
    std::uint64_t limit_bytes = 0;  // 0: none of its own
    bool takes(std::uint64_t bytes) const {
      return limit_bytes == 0 || (bytes <= limit_bytes && used_bytes <= limit_bytes - bytes);
    }
  };
  struct Wish {
    ClassKey key;
    std::uint64_t region_bytes = 0;  // how large a region for it should be
  };
  /// Regions that left the table under the lock, to be unmapped without it.
  using Retired = std::vector<std::unique_ptr<Region>>;

  Wish wish_for(std::uint32_t size, NamespaceId ns, std::optional<std::uint32_t> fixed_size) const
      CAIRN_REQUIRES(mutex_);
  absl::StatusOr<Location> take(const Wish& wish, std::uint32_t size, Retired& retired)
      CAIRN_REQUIRES(mutex_);
  absl::Status add_region(const Wish& wish, Retired& retired) CAIRN_REQUIRES(mutex_);
  void give(Location location) CAIRN_REQUIRES(mutex_);
  void retire_empty(std::uint64_t until_free, Retired& retired) CAIRN_REQUIRES(mutex_);
  void retire(std::uint32_t number, Retired& retired) CAIRN_REQUIRES(mutex_);
  Region& region_of(const Slot& slot) const;

  const HotOptions options_;
  const std::function<std::optional<std::uint32_t>(NamespaceId)> fixed_size_;
  RegionDirectory directory_;
  std::atomic<bool> closed_{false};

  mutable Mutex mutex_{LockRank::hot_tier};
  std::uint64_t capacity_ CAIRN_GUARDED_BY(mutex_);
  std::uint64_t region_bytes_ CAIRN_GUARDED_BY(mutex_) = 0;  // of all regions
  std::uint64_t allowed_bytes_ CAIRN_GUARDED_BY(mutex_);     // capacity, or more after a shrink
  std::uint64_t used_bytes_ CAIRN_GUARDED_BY(mutex_) = 0;    // of taken slots
  std::uint64_t blocks_ CAIRN_GUARDED_BY(mutex_) = 0;
  std::uint32_t next_serial_ CAIRN_GUARDED_BY(mutex_) = 1;
  std::vector<std::unique_ptr<Region>> regions_ CAIRN_GUARDED_BY(mutex_);
  std::vector<std::uint32_t> free_numbers_ CAIRN_GUARDED_BY(mutex_);
  std::map<ClassKey, SizeClass> classes_ CAIRN_GUARDED_BY(mutex_);
  std::map<NamespaceId, Share> shares_ CAIRN_GUARDED_BY(mutex_);
};

absl::Status HotTierImpl::reserve(NamespaceId ns, std::span<const std::uint32_t> sizes,
                                  std::span<Location> locations) {
  CAIRN_CHECK(sizes.size() == locations.size());
  if (closed_.load()) return closed_error();
  const std::optional<std::uint32_t> fixed_size = fixed_size_(ns);
  Retired retired;
  absl::Status status;
  {
    MutexLock lock(mutex_);
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      auto location = take(wish_for(sizes[i], ns, fixed_size), sizes[i], retired);
      if (!location.ok()) {
        status = location.status();
        for (std::size_t undo = 0; undo < i; ++undo) {
          give(locations[undo]);
          locations[undo] = {};
        }
        break;
      }
      locations[i] = *location;
    }
  }
  return status;
}

HotTierImpl::Wish HotTierImpl::wish_for(std::uint32_t size, NamespaceId ns,
                                        std::optional<std::uint32_t> fixed_size) const {
  const std::uint64_t slot_bytes = slot_bytes_for(size, fixed_size);
  const bool is_fixed = fixed_size == size;
  return {{ns, slot_bytes},
          region_bytes_for(slot_bytes, is_fixed, capacity_, options_.region_bytes)};
}

absl::StatusOr<Location> HotTierImpl::take(const Wish& wish, std::uint32_t size, Retired& retired) {
  Share& share = shares_[wish.key.first];
  if (!share.takes(wish.key.second)) {
    return make_error(
        wish.key.second > share.limit_bytes ? ErrorCode::too_large : ErrorCode::no_space,
        concat("the namespace may hold ", format_size(share.limit_bytes), " of hot"));
  }
  const auto known = classes_.find(wish.key);
  if (known == classes_.end() || known->second.with_room.empty()) {
    CAIRN_RETURN_IF_ERROR(add_region(wish, retired));
  }
  SizeClass& size_class = classes_[wish.key];
  const std::uint32_t number = *size_class.with_room.begin();
  Region& region = *regions_[number];
  const std::uint32_t slot = region.take(size);
  if (region.is_full()) size_class.with_room.erase(number);
  used_bytes_ += wish.key.second;
  share.used_bytes += wish.key.second;
  ++blocks_;
  return pack({number, region.serial(), slot});
}

absl::Status HotTierImpl::add_region(const Wish& wish, Retired& retired) {
  const auto [ns, slot_bytes] = wish.key;
  if (slot_bytes > capacity_) {
    return make_error(ErrorCode::too_large,
                      concat("a slot of ", format_size(slot_bytes),
                             " is larger than the hot tier (", format_size(capacity_), ")"));
  }
  std::uint64_t limit = capacity_;
#if defined(CAIRN_PLANTED_LIMIT_EXCEEDED)
  limit += wish.region_bytes;
#endif
  if (region_bytes_ + wish.region_bytes > limit) retire_empty(wish.region_bytes, retired);
  const std::uint64_t room = limit > region_bytes_ ? limit - region_bytes_ : 0;
  const std::uint64_t bytes = std::min(wish.region_bytes, room);
  const std::uint64_t slots = std::min<std::uint64_t>(bytes / slot_bytes, kSlotsMax);
  if (slots == 0) return make_error(ErrorCode::no_space, "the hot tier is full");
  if (free_numbers_.empty() && regions_.size() == kRegionsMax) {
    return make_error(ErrorCode::no_space, "the hot tier has as many regions as it can number");
  }
  const RegionShape shape{ns, slot_bytes, static_cast<std::uint32_t>(slots)};
  auto region = Region::make(shape, next_serial_, options_.huge_pages);
  // Out of descriptors or of mappings: evicting lets go of regions, and so helps.
  if (!region.ok()) return make_error(ErrorCode::no_space, message_of(region.status()));
  next_serial_ = next_serial_ == kSerialMask ? 1 : next_serial_ + 1;
  auto number = static_cast<std::uint32_t>(regions_.size());
  if (free_numbers_.empty()) {
    regions_.emplace_back();
  } else {
    number = free_numbers_.back();
    free_numbers_.pop_back();
  }
  directory_.set(number, region->get());
  regions_[number] = std::move(*region);
  region_bytes_ += shape.bytes();
  SizeClass& size_class = classes_[wish.key];
  size_class.with_room.insert(number);
  ++size_class.regions;
  return absl::OkStatus();
}

void HotTierImpl::give(Location location) {
  const Slot slot = unpack(location);
  Region& region = region_of(slot);
  const bool was_full = region.is_full();
  region.give(slot.index);
  SizeClass& size_class = classes_[{region.shape().namespace_id, region.shape().slot_bytes}];
  if (was_full) size_class.with_room.insert(slot.region);
  used_bytes_ -= region.shape().slot_bytes;
  shares_[region.shape().namespace_id].used_bytes -= region.shape().slot_bytes;
  --blocks_;
}

/// Empty regions are kept until somebody else needs their room: making one anew costs a page
/// fault for every page.
void HotTierImpl::retire_empty(std::uint64_t until_free, Retired& retired) {
  for (std::uint32_t number = 0; number < regions_.size(); ++number) {
    if (capacity_ >= region_bytes_ && capacity_ - region_bytes_ >= until_free) return;
    if (regions_[number] != nullptr && regions_[number]->is_empty()) retire(number, retired);
  }
}

void HotTierImpl::retire(std::uint32_t number, Retired& retired) {
  const RegionShape& shape = regions_[number]->shape();
  const ClassKey key{shape.namespace_id, shape.slot_bytes};
  SizeClass& size_class = classes_[key];
  size_class.with_room.erase(number);
  if (--size_class.regions == 0) classes_.erase(key);
  region_bytes_ -= shape.bytes();
  allowed_bytes_ = std::max(capacity_, std::min(allowed_bytes_, region_bytes_));
  directory_.set(number, nullptr);
  free_numbers_.push_back(number);
  retired.push_back(std::move(regions_[number]));
}

void HotTierImpl::set_limit(NamespaceId ns, std::uint64_t bytes) {
  MutexLock lock(mutex_);
  shares_[ns].limit_bytes = bytes;
}

std::uint64_t HotTierImpl::used_bytes(NamespaceId ns) const {
  MutexLock lock(mutex_);
  const auto share = shares_.find(ns);
  return share == shares_.end() ? 0 : share->second.used_bytes;
}

bool HotTierImpl::is_limited(NamespaceId ns, std::span<const std::uint32_t> sizes) const {
  const std::optional<std::uint32_t> fixed_size = fixed_size_(ns);
  std::uint64_t bytes = 0;
  for (const std::uint32_t size : sizes) bytes += slot_bytes_for(size, fixed_size);
  MutexLock lock(mutex_);
  const auto share = shares_.find(ns);
  return share != shares_.end() && !share->second.takes(bytes);
}

Region& HotTierImpl::region_of(const Slot& slot) const {
  Region* const region = directory_.find(slot.region);
  CAIRN_CHECK(region != nullptr && region->serial() == slot.serial);
  return *region;
}

MutableByteSpan HotTierImpl::bytes(Location location) {
  const Slot slot = unpack(location);
  return region_of(slot).slot(slot.index);
}

MutableByteSpan HotTierImpl::bytes(Location location, std::uint32_t plain_bytes) {
  const Slot slot = unpack(location);
  return region_of(slot).slot(slot.index, plain_bytes);
}

void HotTierImpl::write(std::span<TierWrite> batch, Durability durability, Done done) {
  for (TierWrite& write : batch) {
    if (closed_.load()) {
      write.status = closed_error();
    } else if (durability != Durability::memory) {
      write.status = make_error(ErrorCode::invalid_argument, "hot memory promises `memory` alone");
    } else if (const MutableByteSpan slot = bytes(write.location);
               slot.size() != write.payload.size()) {
      write.status = make_error(ErrorCode::invalid_argument, "reserved for another length");
    } else {
      copy_bytes(slot, write.payload);
      continue;
    }
    free({&write.location, 1});
    write.location = {};
  }
  done();
}

void HotTierImpl::read(std::span<TierRead> batch, Done done) {
  for (TierRead& read : batch) {
    if (closed_.load()) {
      read.status = closed_error();
      continue;
    }
    read.status = check_part(read);
    if (!read.status.ok()) continue;
    const MutableByteSpan slot = bytes(read.location);
    if (slot.size() != read.payload_bytes()) {
      read.status = make_error(ErrorCode::corruption, "the slot holds another length");
      continue;
    }
    if (read.destination.empty()) continue;
    copy_bytes(read.destination, slot.subspan(read.offset, read.destination.size()));
    if (!read.is_part() && xxh3_64(read.destination) != read.plain_sum) {
      read.status = make_error(ErrorCode::corruption, "the slot's bytes do not match their sum");
    }
  }
  done();
}

void HotTierImpl::free(std::span<const Location> locations) {
  Retired retired;
  {
    MutexLock lock(mutex_);
    for (const Location location : locations) give(location);
    if (region_bytes_ > capacity_) retire_empty(0, retired);
  }
}

TierUsage HotTierImpl::usage() const {
  MutexLock lock(mutex_);
  return {.capacity_bytes = capacity_,
          .used_bytes = used_bytes_,
          .dead_bytes = region_bytes_ - used_bytes_,
          .blocks = blocks_};
}

/// Bytes under a lease stay where they are until it is released, also after this.
void HotTierImpl::close() {
  closed_.store(true);
  Retired retired;
  {
    MutexLock lock(mutex_);
    retire_empty(UINT64_MAX, retired);
  }
}

void HotTierImpl::set_capacity(std::uint64_t bytes) {
  Retired retired;
  {
    MutexLock lock(mutex_);
    capacity_ = bytes;
    allowed_bytes_ = std::max(capacity_, region_bytes_);
    if (region_bytes_ > capacity_) retire_empty(0, retired);
  }
}

std::vector<SharedRegion> HotTierImpl::share(NamespaceId ns) {
  MutexLock lock(mutex_);
  std::vector<SharedRegion> shared;
  for (const auto& region : regions_) {
    if (region == nullptr || region->shape().namespace_id != ns) continue;
    // A region that cannot be sealed is not shared: its blocks are read through calls instead.
    if (region->seal().ok()) shared.push_back({region->fd(), region->shape().bytes(), ns});
  }
  return shared;
}

void HotTierImpl::check_invariants() const {
  MutexLock lock(mutex_);
  std::uint64_t total = 0;
  std::uint64_t used = 0;
  for (const auto& region : regions_) {
    if (region == nullptr) continue;
    region->check_invariants();
    total += region->shape().bytes();
    used += region->taken() * region->shape().slot_bytes;
  }
  CAIRN_CHECK(total == region_bytes_ && used == used_bytes_);
  CAIRN_CHECK(region_bytes_ <= allowed_bytes_);
}

}  // namespace

absl::StatusOr<std::unique_ptr<HotTier>> open_hot_tier(
    const HotOptions& options,
    std::function<std::optional<std::uint32_t>(NamespaceId)> fixed_size) {
  if (options.capacity_bytes < kSlotAlignment) {
    return make_error(ErrorCode::invalid_argument, "the hot tier needs at least 4 KiB");
  }
  if (options.region_bytes == 0 || options.region_bytes % (2 * kMiB) != 0) {
    return make_error(ErrorCode::invalid_argument, "hot regions are multiples of 2 MiB");
  }
  return std::make_unique<HotTierImpl>(options, std::move(fixed_size));
}

}  // namespace cairn::tiers
