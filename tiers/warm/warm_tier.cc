// SPDX-License-Identifier: Apache-2.0
// reserve, free, usage, close, set_capacity, and the bookkeeping below them.
#include "tiers/warm/warm_tier.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/warm/page_region.h"
#include "tiers/warm/warm_tier_impl.h"

namespace cairn::tiers {
namespace {

// Made hollow in one hold of the lock: 2 MiB.
constexpr std::uint64_t kHollowPagesMax = 512;

std::uint64_t pages_for(std::uint64_t bytes) {
  return (bytes + kPage - 1) / kPage;
}

/// More pages have no numbers.
std::uint64_t capacity_max(const WarmOptions& options) {
  return kRegionsMax * options.region_bytes;
}

}  // namespace

WarmTierImpl::WarmTierImpl(const WarmOptions& options, WarmContext context)
    : options_(options),
      context_(std::move(context)),
      capacity_(options.capacity_bytes),
      allowed_bytes_(options.capacity_bytes),
      pool_(options.region_bytes, options.huge_pages) {}

WarmTierImpl::~WarmTierImpl() {
  close();
  CAIRN_CHECK(lent_.load() == 0);
  MutexLock lock(mutex_);
  for (SlotIndex index = 0; index < slots_.size(); ++index) {
    Slot& slot = slots_[index];
    CAIRN_CHECK(slot.state != State::filling);
    if (slot.landed != nullptr) {
      for (const PageRun& run : *slot.landed) pool_.give(run);
    }
    if (slot.image != nullptr) take_apart(slot.image);
  }
}

absl::Status WarmTierImpl::closed_error() {
  return make_error(ErrorCode::closed, "the warm tier is closed");
}

// --- room -------------------------------------------------------------------------------------

WarmTierImpl::Room WarmTierImpl::room_for(std::uint32_t plain_bytes, std::uint32_t chunk_bytes) {
  const std::uint64_t pages = pages_for(plain_bytes);
  const std::uint32_t header =
      record_header_bytes(kKeyLengthMax, chunk_count_for(plain_bytes, chunk_bytes));
  return {pages, Image::side_bytes(header, pages)};
}

/// Pages in use, and those that are promised.
std::uint64_t WarmTierImpl::spoken_for() const {
  return pool_.used() + reserved_pages_;
}

/// Resident pages above what the capacity leaves for them.
std::uint64_t WarmTierImpl::excess_pages() const {
  const std::uint64_t room = capacity_ > side_bytes_ ? (capacity_ - side_bytes_) / kPage : 0;
  return pool_.resident() > room ? pool_.resident() - room : 0;
}

/// So many pages in all, of which the capacity has room for each.
absl::Status WarmTierImpl::make_resident(std::uint64_t pages) {
  if (pages <= pool_.resident()) return absl::OkStatus();
  const std::uint64_t room = (capacity_ - side_bytes_) / kPage;
  return pool_.grow(pages - pool_.resident(), room - pool_.resident());
}

void WarmTierImpl::shrink() {
  for (;;) {
    PagePool::Retired retired;  // unmapped without the lock
    MutexLock lock(mutex_);
    const std::uint64_t idle = pool_.resident() - spoken_for();
    const std::uint64_t given =
        pool_.shrink(std::min(excess_pages(), idle), kHollowPagesMax, retired);
    allowed_bytes_ =
        std::max(capacity_, std::min(allowed_bytes_, pool_.resident() * kPage + side_bytes_));
    if (given == 0) return;
  }
}

absl::Status WarmTierImpl::reserve(NamespaceId ns, std::span<const std::uint32_t> plain_sizes,
                                   std::span<Location> locations) {
  CAIRN_CHECK(plain_sizes.size() == locations.size());
  const std::optional<WarmCoding> coding = context_.coding(ns);
  if (!coding) return make_error(ErrorCode::invalid_argument, "there is no such namespace");
  Room total;
  std::uint64_t largest = 0;
  for (const std::uint32_t size : plain_sizes) {
    if (size > kBlockBytesMax || chunk_count_for(size, coding->chunk_bytes) > kChunksMax) {
      return make_error(ErrorCode::too_large,
                        concat("a block of ", size, " bytes, more than a record can hold"));
    }
    const Room room = room_for(size, coding->chunk_bytes);
    total.pages += room.pages;
    total.side_bytes += room.side_bytes;
    largest = std::max<std::uint64_t>(largest, room.pages * kPage + room.side_bytes);
  }
  PagePool::Retired retired;  // unmapped without the lock
  MutexLock lock(mutex_);
  if (closing_) return closed_error();
  if (largest > capacity_) {
    return make_error(ErrorCode::too_large,
                      concat("a block that may take ", format_size(largest),
                             "; the warm tier holds ", format_size(capacity_)));
  }
  const std::uint64_t pages = spoken_for() + total.pages;
  if (pages * kPage + side_bytes_ + total.side_bytes > capacity_) {
    return make_error(ErrorCode::no_space, "the warm tier is full");
  }
  // From here on it fits: what lies beside, and then the pages.
  side_bytes_ += total.side_bytes;
  if (const absl::Status resident = make_resident(pages); !resident.ok()) {
    side_bytes_ -= total.side_bytes;
    return resident;
  }
  // What lies beside takes the place of pages.
  if (const std::uint64_t excess = excess_pages();
      excess > 0 && pool_.shrink(excess, UINT64_MAX, retired) < excess) {
    allowed_bytes_ = std::max(allowed_bytes_, pool_.resident() * kPage + side_bytes_);
  }
  reserved_pages_ += total.pages;
  for (std::size_t i = 0; i < plain_sizes.size(); ++i) {
    locations[i] =
        location_of(take_slot(plain_sizes[i], room_for(plain_sizes[i], coding->chunk_bytes)));
  }
  return absl::OkStatus();
}

// --- slots ------------------------------------------------------------------------------------

WarmTierImpl::SlotIndex WarmTierImpl::index_of(Location location) {
  return static_cast<SlotIndex>(location.bits >> 32);
}

Location WarmTierImpl::location_of(SlotIndex index) const {
  return {std::uint64_t{index} << 32 | slots_[index].serial};
}

WarmTierImpl::Slot* WarmTierImpl::find(Location location) {
  const SlotIndex index = index_of(location);
  if (index >= slots_.size() || location_of(index) != location) return nullptr;
  Slot& slot = slots_[index];
  return slot.state == State::free ? nullptr : &slot;
}

WarmTierImpl::SlotIndex WarmTierImpl::take_slot(std::uint32_t plain_bytes, const Room& room) {
  if (free_slots_.empty()) {
    CAIRN_CHECK(slots_.size() < UINT32_MAX);
    free_slots_.push_back(static_cast<SlotIndex>(slots_.size()));
    slots_.emplace_back();
  }
  const SlotIndex index = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_[index];
  CAIRN_CHECK(slot.state == State::free);
  slot.state = State::reserved;
  slot.plain_bytes = plain_bytes;
  slot.pages_left = static_cast<std::uint32_t>(room.pages);
  slot.side_reserved = room.side_bytes;
  ++blocks_;
  return index;
}

void WarmTierImpl::give_slot(SlotIndex index) {
  Slot& slot = slots_[index];
  reserved_pages_ -= slot.pages_left;
  side_bytes_ -= slot.side_reserved;
  const std::uint32_t serial = slot.serial + 1;
  slot = Slot();
  slot.serial = serial == 0 ? 1 : serial;
  free_slots_.push_back(index);
  --blocks_;
}

WarmTierImpl::Slot* WarmTierImpl::begin_filling(Location location, std::vector<PageRun>& landed) {
  Slot* const slot = find(location);
  if (slot == nullptr || (slot->state != State::reserved && slot->state != State::landing)) {
    return nullptr;
  }
  slot->state = State::filling;
  if (slot->landed != nullptr) landed = std::move(*slot->landed);
  slot->landed.reset();
  return slot;
}

std::uint32_t WarmTierImpl::take_pages(SlotIndex index, std::uint32_t pages_max,
                                       std::vector<PageRun>& runs) {
  MutexLock lock(mutex_);
  Slot& slot = slots_[index];
  const std::uint32_t pages = std::min(pages_max, slot.pages_left);
  CAIRN_CHECK(pages > 0);
  slot.pages_left -= pages;
  reserved_pages_ -= pages;
  pool_.take(pages, runs);
  return pages;
}

/// The slot is filled no more.
void WarmTierImpl::drop(SlotIndex index, std::span<const PageRun> runs) {
  {
    MutexLock lock(mutex_);
    CAIRN_CHECK(slots_[index].state == State::filling);
    for (const PageRun& run : runs) pool_.give(run);
    give_slot(index);
  }
  shrink();
}

void WarmTierImpl::free(std::span<const Location> locations) {
  {
    MutexLock lock(mutex_);
    for (const Location location : locations) {
      Slot* const slot = find(location);
      CAIRN_CHECK(slot != nullptr && slot->state != State::filling);
      if (slot->landed != nullptr) {
        for (const PageRun& run : *slot->landed) pool_.give(run);
      }
      Image* const image = slot->image;
      give_slot(index_of(location));
      if (image != nullptr && image->let_go()) take_apart(image);
    }
  }
  shrink();
}

// --- images -----------------------------------------------------------------------------------

/// Null where nothing is stored.
Image* WarmTierImpl::hold(Location location) {
  Slot* const slot = find(location);
  if (slot == nullptr || slot->state != State::stored) return nullptr;
  slot->image->hold();
  return slot->image;
}

void WarmTierImpl::let_go(Image* image) {
  if (!image->let_go()) return;
  {
    MutexLock lock(mutex_);
    take_apart(image);
  }
  shrink();
}

void WarmTierImpl::take_apart(Image* image) {
  for (const PageRun& run : image->runs()) pool_.give(run);
  if (image->share().data != nullptr) pool_.give(image->share());
  side_bytes_ -= image->side_bytes();
  delete image;
}

// --- the whole --------------------------------------------------------------------------------

bool WarmTierImpl::begin_operation() {
  MutexLock lock(mutex_);
  if (closing_) return false;
  ++operations_;
  return true;
}

void WarmTierImpl::end_operation() {
  MutexLock lock(mutex_);
  if (--operations_ == 0) quiet_.notify_all();
}

void WarmTierImpl::finish_operation(Done done) {
  std::exchange(done, nullptr)();
  end_operation();
}

WarmTierImpl::Worker::Worker(WarmTierImpl& tier, CodecWorker& of_pool, std::thread::id submitter)
    : tier_(tier), of_pool_(of_pool) {
  if (std::this_thread::get_id() != submitter) return;
  {
    MutexLock lock(tier_.mutex_);
    if (!tier_.idle_workers_.empty()) {
      own_ = std::move(tier_.idle_workers_.back());
      tier_.idle_workers_.pop_back();
    }
  }
  if (own_ == nullptr) own_ = std::make_unique<CodecWorker>();
}

WarmTierImpl::Worker::~Worker() {
  if (own_ == nullptr) return;
  MutexLock lock(tier_.mutex_);
  tier_.idle_workers_.push_back(std::move(own_));
}

TierUsage WarmTierImpl::usage() const {
  MutexLock lock(mutex_);
  return {.capacity_bytes = capacity_,
          .used_bytes = spoken_for() * kPage + side_bytes_,
          .dead_bytes = (pool_.resident() - spoken_for()) * kPage,
          .blocks = blocks_};
}

void WarmTierImpl::set_capacity(std::uint64_t bytes) {
  {
    MutexLock lock(mutex_);
    capacity_ = std::min(bytes, capacity_max(options_));
    allowed_bytes_ = std::max(capacity_, pool_.resident() * kPage + side_bytes_);
  }
  shrink();
}

void WarmTierImpl::close() {
  MutexLock lock(mutex_);
  closing_ = true;
  while (operations_ > 0) quiet_.wait(mutex_);
}

void WarmTierImpl::check_invariants() const {
  MutexLock lock(mutex_);
  pool_.check_invariants();
  CAIRN_CHECK(spoken_for() <= pool_.resident());
  CAIRN_CHECK(pool_.resident() * kPage + side_bytes_ <= allowed_bytes_);
  std::uint64_t reserved = 0, blocks = 0;
  for (const Slot& slot : slots_) {
    reserved += slot.pages_left;
    blocks += slot.state == State::free ? 0 : 1;
    CAIRN_CHECK((slot.state == State::stored) == (slot.image != nullptr));
    CAIRN_CHECK((slot.state == State::landing) == (slot.landed != nullptr));
  }
  CAIRN_CHECK(reserved == reserved_pages_ && blocks == blocks_);
  CAIRN_CHECK(free_slots_.size() + blocks_ == slots_.size());
}

absl::StatusOr<std::unique_ptr<WarmTier>> open_warm_tier(const WarmOptions& options,
                                                         WarmContext context) {
  if (context.codec == nullptr || context.clock == nullptr || !context.coding) {
    return make_error(ErrorCode::invalid_argument, "the warm tier needs a codec and a clock");
  }
  if (options.capacity_bytes < kPage) {
    return make_error(ErrorCode::invalid_argument, "the warm tier needs at least 4 KiB");
  }
  if (options.region_bytes == 0 || options.region_bytes % kPage != 0 ||
      options.region_bytes / kPage > PageRegion::kPagesMax) {
    return make_error(ErrorCode::invalid_argument,
                      "warm regions are whole pages of 4 KiB, at most 256 MiB");
  }
  if (options.capacity_bytes > capacity_max(options)) {
    return make_error(ErrorCode::invalid_argument,
                      concat("warm regions of ", format_size(options.region_bytes), " hold ",
                             format_size(capacity_max(options)), " at most"));
  }
  return std::make_unique<WarmTierImpl>(options, std::move(context));
}

}  // namespace cairn::tiers
