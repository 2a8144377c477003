// SPDX-License-Identifier: Apache-2.0
// warm_world.h — a warm tier with its codec's threads, and blocks to put into it.
//
// A block's bytes are a pure function of its seed and length: numbers as KV has them, so that they
// shrink, or random ones, which do not, or some of each.
//
// Threading: as the tier; a WarmBlock is its holder's.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/completion.h"
#include "tests/support/seed.h"
#include "tiers/warm/warm_tier.h"

namespace cairn::test {

/// 16-bit floating-point numbers of about one size, but for stretches of noise where `noise` says.
inline std::string numbers(std::uint64_t seed, std::size_t bytes, double noise = 0) {
  Rng rng(seed);
  std::string out(bytes, '\0');
  bool is_noise = false;
  for (std::size_t i = 0; i < bytes; i += 8) {
    if (i % 4096 == 0) is_noise = rng.chance(noise);
    std::uint64_t word = rng.next();
    // Exponents 0x78 … 0x7f: four numbers, the sign and the lowest exponent bits left random.
    if (!is_noise) word = (word & 0x83ff83ff83ff83ffU) | 0x3c003c003c003c00U;
    std::memcpy(out.data() + i, &word, std::min<std::size_t>(8, bytes - i));
  }
  return out;
}

struct WarmBlock {
  std::string key;
  std::uint64_t sequence = 0;
  std::string bytes;
  Location location;
  std::uint32_t stored_bytes = 0;
};

inline WarmBlock make_block(std::uint64_t seed, std::size_t bytes, double noise = 0) {
  return {.key = concat("key-", seed),
          .sequence = seed + 1,
          .bytes = numbers(seed, bytes, noise),
          .location = {},
          .stored_bytes = 0};
}

/// Small regions, so that a small tier has several.
inline tiers::WarmOptions warm_options(std::uint64_t capacity, bool codec = true) {
  return {
      .capacity_bytes = capacity, .region_bytes = 256 * kKiB, .huge_pages = false, .codec = codec};
}

class WarmWorld {
 public:
  static constexpr NamespaceId kNamespace{1};

  explicit WarmWorld(const tiers::WarmOptions& options, std::size_t threads = 0,
                     const tiers::WarmCoding& coding = {.dtype = Dtype::bf16,
                                                        .chunk_bytes = 16 * 1024})
      : codec_(*tiers::CodecPool::start(threads)) {
    auto opened = tiers::open_warm_tier(
        options,
        {.codec = codec_.get(), .clock = &system_clock(), .coding = [coding](NamespaceId ns) {
           return ns == kNamespace ? std::optional(coding) : std::nullopt;
         }});
    CAIRN_CHECK(opened.ok());
    tier_ = std::move(*opened);
  }
  tiers::WarmTier& tier() { return *tier_; }
  tiers::CodecPool& codec() { return *codec_; }
  void destroy_tier() { tier_.reset(); }

  absl::Status reserve(WarmBlock& block) {
    const auto size = static_cast<std::uint32_t>(block.bytes.size());
    return tier_->reserve(kNamespace, {&size, 1}, {&block.location, 1});
  }
  static TierWrite write_of(const WarmBlock& block) {
    TierWrite write;
    write.name = {kNamespace, block.key, 0};
    write.facts = {.sequence = block.sequence,
                   .plain_bytes = static_cast<std::uint32_t>(block.bytes.size()),
                   .plain_sum = xxh3_64(as_bytes(block.bytes))};
    write.payload = as_bytes(block.bytes);
    write.location = block.location;
    return write;
  }
  static TierRead read_of(const WarmBlock& block, std::string& into) {
    into.assign(block.bytes.size(), '\0');
    TierRead read;
    read.location = block.location;
    read.name = {kNamespace, block.key, 0};
    read.sequence = block.sequence;
    read.destination = {reinterpret_cast<std::byte*>(into.data()), into.size()};
    return read;
  }

  absl::Status put(WarmBlock& block) {
    if (const absl::Status reserved = reserve(block); !reserved.ok()) return reserved;
    TierWrite write = write_of(block);
    wait_for([&](Done done) { tier_->write({&write, 1}, Durability::memory, std::move(done)); });
    block.location = write.location;
    block.stored_bytes = write.stored_bytes;
    return write.status;
  }
  /// OK only with the right bytes: others are `internal`.
  absl::Status read(const WarmBlock& block) {
    std::string into;
    TierRead read = read_of(block, into);
    wait_for([&](Done done) { tier_->read({&read, 1}, std::move(done)); });
    if (read.status.ok() && into != block.bytes) {
      return make_error(ErrorCode::internal, "other bytes than were written");
    }
    return read.status;
  }
  void free(WarmBlock& block) {
    tier_->free({&block.location, 1});
    block.location = {};
  }
  /// Keeps the block as another's image says, where room was reserved for it.
  absl::Status keep(WarmBlock& block, StoredImagePtr image) {
    TierWrite write = write_of(block);
    write.payload = {};
    write.image = std::move(image);
    wait_for([&](Done done) { tier_->write({&write, 1}, Durability::memory, std::move(done)); });
    block.location = write.location;
    block.stored_bytes = write.stored_bytes;
    return write.status;
  }

  template <typename Start>
  static void wait_for(const Start& start) {
    detail::Completion completion;
    start([&completion] { completion.notify(); });
    completion.wait([] { return false; });
  }

 private:
  std::unique_ptr<tiers::CodecPool> codec_;
  std::unique_ptr<tiers::WarmTier> tier_;
};

}  // namespace cairn::test
