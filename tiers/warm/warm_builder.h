// SPDX-License-Identifier: Apache-2.0
// warm_builder.h — fills the pages of one slot, from the first byte of a payload to its image.
//
// Threading:  confined to who fills the slot; takes the tier's lock for pages, never while copying.
// Lifetime:   what is not published is dropped, slot and all.
#pragma once

#include <cstdint>
#include <vector>

#include "tiers/warm/warm_tier_impl.h"

namespace cairn::tiers {

class WarmTierImpl::Builder {
 public:
  /// `landed`: the pages in which the payload lies already, if it does.
  Builder(WarmTierImpl& tier, Location location, std::vector<PageRun> landed);
  ~Builder();
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  void append(ByteSpan stored);
  /// Of bytes that landed.
  void set_length(std::uint32_t payload_bytes) { used_ = payload_bytes; }
  std::uint64_t capacity() const { return taken_; }
  std::uint32_t length() const { return static_cast<std::uint32_t>(used_); }

  /// The image, for its header; nobody can find it yet. What is too much goes back.
  Image& finish(const RecordFields& fields, CodecWorker& worker);
  /// From here on it can be found. Returns what it takes.
  std::uint64_t publish();

 private:
  /// Where `used_` is, and how many bytes from there on lie in one piece.
  MutableByteSpan room();

  WarmTierImpl& tier_;
  const Location location_;
  std::vector<PageRun> runs_;
  std::uint64_t taken_ = 0;  // bytes of all runs
  std::uint64_t used_ = 0;
  std::size_t run_ = 0;           // the one to write to
  std::uint64_t run_begin_ = 0;   // of its first byte in the payload
  std::unique_ptr<Image> image_;  // finished, not yet published
  bool is_published_ = false;
};

}  // namespace cairn::tiers
