// SPDX-License-Identifier: Apache-2.0
#include "tiers/warm/warm_builder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/check.h"

namespace cairn::tiers {
namespace {

// Taken in one hold of the lock: 128 KiB, so that a block takes it some ten times and no more is
// given back than that.
constexpr std::uint32_t kTakePages = 32;

/// A place like any other: a header has one, and here it means nothing.
constexpr std::uint64_t kNoPlace = kPage;

std::uint32_t pages_of(std::span<const PageRun> runs) {
  std::uint32_t pages = 0;
  for (const PageRun& run : runs) pages += run.pages;
  return pages;
}

/// The pages behind the first `pages`, cut off.
std::vector<PageRun> cut_behind(std::vector<PageRun>& runs, std::uint64_t pages) {
  std::vector<PageRun> cut;
  std::uint64_t before = 0;
  std::size_t kept = 0;
  for (PageRun& run : runs) {
    const auto keep =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(run.pages, pages - before));
    before += keep;
    if (keep < run.pages) {
      cut.push_back({run.data + keep * kPage, run.first + keep, run.pages - keep});
    }
    run.pages = keep;
    if (keep > 0) ++kept;
  }
  runs.resize(kept);
  return cut;
}

}  // namespace

WarmTierImpl::Builder::Builder(WarmTierImpl& tier, Location location, std::vector<PageRun> landed)
    : tier_(tier), location_(location), runs_(std::move(landed)), taken_(pages_of(runs_) * kPage) {}

WarmTierImpl::Builder::~Builder() {
  if (is_published_) return;
  if (image_ == nullptr) {
    tier_.drop(index_of(location_), runs_);
    return;
  }
  {
    MutexLock lock(tier_.mutex_);
    tier_.take_apart(image_.release());
  }
  tier_.drop(index_of(location_), {});
}

MutableByteSpan WarmTierImpl::Builder::room() {
  if (used_ == taken_) taken_ += tier_.take_pages(index_of(location_), kTakePages, runs_) * kPage;
  while (used_ == run_begin_ + runs_[run_].bytes()) run_begin_ += runs_[run_++].bytes();
  const std::uint64_t offset = used_ - run_begin_;
  return {runs_[run_].data + offset, runs_[run_].bytes() - offset};
}

void WarmTierImpl::Builder::append(ByteSpan stored) {
  while (!stored.empty()) {
    const MutableByteSpan target = room();
    const std::size_t bytes = std::min(target.size(), stored.size());
    std::memcpy(target.data(), stored.data(), bytes);
    stored = stored.subspan(bytes);
    used_ += bytes;
  }
}

Image& WarmTierImpl::Builder::finish(const RecordFields& given, CodecWorker& worker) {
  RecordFields fields = given;
  fields.store = {};
  fields.segment = {};
  fields.generation = 0;
  fields.epoch = 0;
  fields.offset = kNoPlace;
  const RecordLayout layout = lay_out_record(fields);
  fields.header_length = layout.header_length;
  fields.payload_offset = layout.payload_offset;
  const MutableByteSpan header = worker.scratch(layout.payload_offset);
  encode_record_header(fields, header);

  // The rest goes into a share where there is one, or becomes the first share of its page.
  const std::uint64_t rest = used_ % kPage;
  const bool is_shared = rest > 0 && rest <= kShareBytesMax;
  const std::uint64_t whole = is_shared ? used_ / kPage : (used_ + kPage - 1) / kPage;
  std::vector<PageRun> behind = cut_behind(runs_, whole);
  PageShare share;
  PageRun last;
  if (is_shared) {
    last = {behind.front().data, behind.front().first, 1};
    MutexLock lock(tier_.mutex_);
    if (const auto found = tier_.pool_.take_share(rest)) {
      share = *found;
    } else {
      share = tier_.pool_.share_page(last, rest);
      behind.front() = {last.data + kPage, last.first + 1, behind.front().pages - 1};
    }
  }
  if (share.data != last.data) std::memcpy(share.data, last.data, rest);
  image_ = std::make_unique<Image>(ByteSpan(header).first(layout.header_length), runs_, share,
                                   static_cast<std::uint32_t>(used_));
  runs_.clear();
  MutexLock lock(tier_.mutex_);
  for (const PageRun& run : behind) {
    if (run.pages > 0) tier_.pool_.give(run);
  }
  Slot& slot = tier_.slots_[index_of(location_)];
  tier_.reserved_pages_ -= std::exchange(slot.pages_left, 0);
  CAIRN_CHECK(image_->side_bytes() <= slot.side_reserved);
  tier_.side_bytes_ -= slot.side_reserved - image_->side_bytes();
  slot.side_reserved = 0;
  return *image_;
}

std::uint64_t WarmTierImpl::Builder::publish() {
  const std::uint64_t stored_bytes = image_->stored_bytes();
  bool is_too_much = false;
  {
    MutexLock lock(tier_.mutex_);
    Slot& slot = tier_.slots_[index_of(location_)];
    slot.image = image_.release();
    slot.state = State::stored;
    is_published_ = true;
    is_too_much = tier_.excess_pages() > 0;
  }
  // What the block did not need may be what a capacity that was lowered meanwhile waits for.
  if (is_too_much) tier_.shrink();
  return stored_bytes;
}

}  // namespace cairn::tiers
