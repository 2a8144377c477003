// SPDX-License-Identifier: Apache-2.0
// codec_choice.h — whether new blocks are worth being made smaller.
//
// A shorter block is read sooner only where the threads that decode it are not what its reader
// waits for. Both sides are measured while they work, each as bytes over the time in which at
// least one of its requests was under way: what the disk gives, and what decoding gives. Where
// decoding is the slower one, new blocks are stored as they are, but for one in kProbeEvery:
// without any the decoders would never be measured again.
//
// Until both are known blocks are encoded. That is also what a clock that stands still leads to.
//
// Threading:  what measures is confined to the I/O loop, what asks is thread-safe.
// Blocking:   never.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/base/clock.h"
#include "engine/tier.h"

namespace cairn::tiers {

/// Bytes a second of requests that overlap.
class BusyMeter {
 public:
  void begin(TimePoint now);
  /// Of a request that began. True where the rate is news.
  bool end(TimePoint now, std::uint64_t bytes);
  /// 0 as long as there is too little to tell. Of the last windows of work, the latest the most.
  double bytes_per_second() const { return rate_; }

 private:
  static constexpr Duration kWindow = Duration::millis(50);  // of work, not of time

  std::uint32_t under_way_ = 0;
  TimePoint since_{};
  Duration busy_{};
  std::uint64_t bytes_ = 0;
  double rate_ = 0;
};

class CodecChoice {
 public:
  static constexpr std::uint32_t kProbeEvery = 64;

  explicit CodecChoice(CodecUse use) : use_(use) {}

  /// Of a new block. Of those that are held off, one in kProbeEvery is a probe.
  bool should_encode();
  void encoded(std::uint64_t plain_bytes, std::uint64_t stored_bytes);
  CodecReport report() const;

  // Confined. Bytes: what came from the disk, and what decoding made of it; 0 where it failed.
  void disk_began(TimePoint now) { disk_.begin(now); }
  void disk_ended(TimePoint now, std::uint64_t bytes);
  void decoding_began(TimePoint now) { decoding_.begin(now); }
  void decoding_ended(TimePoint now, std::uint64_t plain_bytes);

 private:
  void judge();

  const CodecUse use_;
  BusyMeter disk_, decoding_;
  std::atomic<bool> is_held_off_{false};
  std::atomic<std::uint32_t> held_off_{0};  // blocks, since that began
  // Relaxed: numbers for people.
  std::atomic<double> disk_rate_{0}, decode_rate_{0};
  std::atomic<std::uint64_t> plain_bytes_{0}, stored_bytes_{0};
};

}  // namespace cairn::tiers
