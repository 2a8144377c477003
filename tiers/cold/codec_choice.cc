// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/codec_choice.h"

#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/text.h"

namespace cairn::tiers {
namespace {

// Off below, on again above, so that two speeds that are about the same do not take turns.
constexpr double kTooSlow = 0.8;
constexpr double kOldWeight = 0.75;

}  // namespace

void BusyMeter::begin(TimePoint now) {
  if (under_way_++ == 0) since_ = now;
}

bool BusyMeter::end(TimePoint now, std::uint64_t bytes) {
  CAIRN_CHECK(under_way_ > 0);
  busy_.ns += (now - since_).ns;
  since_ = now;
  bytes_ += bytes;
  --under_way_;
  if (busy_ < kWindow) return false;
  const double rate = static_cast<double>(bytes_) / busy_.as_seconds();
  rate_ = rate_ == 0 ? rate : kOldWeight * rate_ + (1 - kOldWeight) * rate;
  busy_ = {};
  bytes_ = 0;
  return true;
}

bool CodecChoice::should_encode() {
  if (use_ != CodecUse::automatic) return use_ == CodecUse::on;
  if (!is_held_off_.load(std::memory_order_relaxed)) return true;
  return held_off_.fetch_add(1, std::memory_order_relaxed) % kProbeEvery == kProbeEvery - 1;
}

void CodecChoice::disk_ended(TimePoint now, std::uint64_t bytes) {
  if (disk_.end(now, bytes)) judge();
}

void CodecChoice::decoding_ended(TimePoint now, std::uint64_t plain_bytes) {
  if (decoding_.end(now, plain_bytes)) judge();
}

void CodecChoice::judge() {
  const double disk = disk_.bytes_per_second();
  const double decoding = decoding_.bytes_per_second();
  disk_rate_.store(disk, std::memory_order_relaxed);
  decode_rate_.store(decoding, std::memory_order_relaxed);
  if (use_ != CodecUse::automatic || disk == 0 || decoding == 0) return;
  const bool was = is_held_off_.load(std::memory_order_relaxed);
  const bool now = was ? decoding < disk : decoding < kTooSlow * disk;
  if (was == now) return;
  held_off_.store(0, std::memory_order_relaxed);
  is_held_off_.store(now, std::memory_order_relaxed);
  log_line(LogLevel::info,
           concat("new blocks are ", now ? "stored as they are" : "made smaller again",
                  ": the disk gives ", static_cast<std::uint64_t>(disk / 1e6),
                  " MB/s, decoding gives ", static_cast<std::uint64_t>(decoding / 1e6), " MB/s"));
}

void CodecChoice::encoded(std::uint64_t plain_bytes, std::uint64_t stored_bytes) {
  plain_bytes_.fetch_add(plain_bytes, std::memory_order_relaxed);
  stored_bytes_.fetch_add(stored_bytes, std::memory_order_relaxed);
}

CodecReport CodecChoice::report() const {
  return {.use = use_,
          .is_held_off = is_held_off_.load(std::memory_order_relaxed),
          .disk_bytes_per_second = disk_rate_.load(std::memory_order_relaxed),
          .decode_bytes_per_second = decode_rate_.load(std::memory_order_relaxed),
          .plain_bytes = plain_bytes_.load(std::memory_order_relaxed),
          .stored_bytes = stored_bytes_.load(std::memory_order_relaxed)};
}

}  // namespace cairn::tiers
