// SPDX-License-Identifier: Apache-2.0
// Goal: whatever comes after whatever, warm holds what a map would hold, in no more memory than it
// may take. Method: random writes of 0 B to some MiB, reads, frees while reads are under way,
// images lent and carried over, resizing; after every step the model and the invariants are asked.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <vector>

#include "engine/base/status.h"
#include "tests/support/warm_world.h"

namespace cairn::test {
namespace {

/// A read that may still be under way; its block may be gone by then.
struct Reading {
  WarmBlock block;
  std::string into;
  TierRead read;
  detail::Completion completion;
};

class WarmModel {
 public:
  explicit WarmModel(std::uint64_t seed)
      : rng_(seed),
        world_({.capacity_bytes = kCapacityMax,
                .region_bytes = rng_.between(1, 200) * tiers::kPage,
                .huge_pages = rng_.chance(0.5),
                .codec = rng_.chance(0.7)},
               rng_.below(3),
               {.dtype = kDtypes[rng_.below(std::size(kDtypes))],
                .chunk_bytes = static_cast<std::uint32_t>(rng_.between(1000, 70'000))}) {}
  ~WarmModel() {
    while (!readings_.empty()) finish_reading();
    while (!images_.empty()) return_image();
  }

  void step() {
    switch (rng_.below(12)) {
      case 0:
      case 1:
      case 2:
        return put();
      case 3:
      case 4:
        return begin_reading();
      case 5:
      case 6:
        return readings_.empty() ? put() : finish_reading();
      case 7:
      case 8:
        return free_one();
      case 9:
        return images_.size() < 4 ? lend() : return_image();
      case 10:
        return carry_over();
      default:
        if (rng_.chance(0.2)) {
          capacity_ = rng_.between(256 * kKiB, kCapacityMax);
          world_.tier().set_capacity(capacity_);
        }
    }
  }

  void check() {
    world_.tier().check_invariants();
    const TierUsage usage = world_.tier().usage();
    ASSERT_EQ(usage.capacity_bytes, capacity_);
    ASSERT_EQ(usage.blocks, blocks_.size());
    std::uint64_t stored = 0;
    for (const auto& [bits, block] : blocks_) stored += block.stored_bytes;
    ASSERT_GE(usage.used_bytes, stored);
    // What others hold on to, and at most a page for each size of shares that is not full.
    if (readings_.empty() && images_.empty()) {
      ASSERT_LE(usage.used_bytes, stored + blocks_.size() * tiers::kPage);
    }
  }
  void check_all() {
    for (const auto& [bits, block] : blocks_) {
      const absl::Status status = world_.read(block);
      ASSERT_TRUE(status.ok()) << block.key << " " << status;
    }
  }
  void empty() {
    while (!readings_.empty()) finish_reading();
    while (!images_.empty()) return_image();
    while (!blocks_.empty()) free_one();
    EXPECT_EQ(world_.tier().usage().used_bytes, 0U);
  }

 private:
  static constexpr std::uint64_t kCapacityMax = 8 * kMiB;
  static constexpr Dtype kDtypes[] = {Dtype::opaque,   Dtype::bf16,     Dtype::fp16,
                                      Dtype::fp8_e4m3, Dtype::fp8_e5m2, Dtype::fp32};

  WarmBlock any_block() {
    std::uint64_t bytes = rng_.below(6000);
    if (rng_.chance(0.3)) bytes = rng_.below(300'000);
    if (rng_.chance(0.05)) bytes = rng_.below(3'000'000);
    if (rng_.chance(0.1)) bytes = bytes / tiers::kPage * tiers::kPage;
    if (rng_.chance(0.02)) bytes = 0;
    return make_block(++blocks_ever_, bytes, rng_.fraction());
  }
  WarmBlock& any_stored() {
    auto found = blocks_.begin();
    std::advance(found, static_cast<std::ptrdiff_t>(rng_.below(blocks_.size())));
    return found->second;
  }
  void keep(WarmBlock block) {
    ASSERT_FALSE(blocks_.contains(block.location.bits));
    blocks_[block.location.bits] = std::move(block);
  }

  void put() {
    WarmBlock block = any_block();
    const absl::Status status = world_.put(block);
    if (status.ok()) return keep(std::move(block));
    ASSERT_TRUE(has_code(status, ErrorCode::no_space) || has_code(status, ErrorCode::too_large))
        << status;
    ASSERT_TRUE(block.location.is_null());
    if (!blocks_.empty() && rng_.chance(0.8)) free_one();
  }
  void begin_reading() {
    if (blocks_.empty()) return;
    auto reading = std::make_unique<Reading>();
    reading->block = any_stored();
    reading->read = WarmWorld::read_of(reading->block, reading->into);
    Reading* const started = reading.get();
    readings_.push_back(std::move(reading));
    world_.tier().read({&started->read, 1}, [started] { started->completion.notify(); });
  }
  void finish_reading() {
    const std::unique_ptr<Reading> reading = std::move(readings_.front());
    readings_.pop_front();
    reading->completion.wait([] { return false; });
    ASSERT_TRUE(reading->read.status.ok()) << reading->read.status;
    ASSERT_EQ(reading->into, reading->block.bytes) << reading->block.key;
  }
  void free_one() {
    if (blocks_.empty()) return;
    WarmBlock& block = any_stored();
    const Location location = block.location;
    world_.free(block);
    blocks_.erase(location.bits);
    ASSERT_TRUE(has_code(world_.tier().image(location).status(), ErrorCode::corruption));
  }
  void lend() {
    if (blocks_.empty()) return;
    const WarmBlock& block = any_stored();
    auto image = world_.tier().image(block.location);
    ASSERT_TRUE(image.ok());
    images_.emplace_back(std::move(*image), block);
  }
  void return_image() {
    const auto [image, block] = std::move(images_.front());
    images_.pop_front();
    ASSERT_EQ(image->fields.key, block.key);
    std::string payload;
    for (const ByteSpan part : image->payload) payload += as_text(part);
    ASSERT_TRUE(tiers::check_payload(image->fields, as_bytes(payload)).ok());
  }
  /// A block under another location, from its image and without the codec.
  void carry_over() {
    if (blocks_.empty()) return;
    WarmBlock block = any_stored();
    const auto image = world_.tier().image(block.location);
    ASSERT_TRUE(image.ok());
    if (!world_.reserve(block).ok()) return;
    StoredImagePtr carried = *image;
    if (rng_.chance(0.5)) {
      std::string payload;
      for (const ByteSpan part : carried->payload) payload += as_text(part);
      auto parts = world_.tier().landing(block.location, carried->fields.payload_length);
      ASSERT_TRUE(parts.ok());
      if (rng_.chance(0.1)) return world_.free(block);
      // Else the pages it has are filled by copying.
      if (rng_.chance(0.8)) carried = landed(*carried, payload, *parts);
    }
    const absl::Status status = world_.keep(block, carried);
    ASSERT_TRUE(status.ok()) << status;
    keep(std::move(block));
  }

  /// The payload put where a device would, and the image that says so.
  static StoredImagePtr landed(const StoredImage& image, const std::string& payload,
                               std::span<const MutableByteSpan> parts) {
    auto moved = std::make_shared<StoredImage>(image);
    moved->payload.clear();
    std::size_t at = 0;
    for (const MutableByteSpan part : parts) {
      const std::size_t bytes = std::min(part.size(), payload.size() - at);
      std::memcpy(part.data(), payload.data() + at, bytes);
      moved->payload.push_back(ByteSpan(part).first(bytes));
      at += bytes;
    }
    return moved;
  }

  Rng rng_;
  WarmWorld world_;
  std::uint64_t capacity_ = kCapacityMax;
  std::uint64_t blocks_ever_ = 0;
  std::map<std::uint64_t, WarmBlock> blocks_;  // by location
  std::deque<std::unique_ptr<Reading>> readings_;
  std::deque<std::pair<StoredImagePtr, WarmBlock>> images_;
};

TEST(WarmModel, HoldsWhatTheModelHolds) {
  for (const std::uint64_t seed : seeds({1, 2, 3, 4, 5, 6}, 4)) {
    print_seed(seed);
    WarmModel model(seed);
    for (std::size_t step = 0; step < scaled(1500); ++step) {
      model.step();
      if (::testing::Test::HasFatalFailure()) return;
      ASSERT_NO_FATAL_FAILURE(model.check());
      if (step % 250 == 0) {
        ASSERT_NO_FATAL_FAILURE(model.check_all());
      }
    }
    ASSERT_NO_FATAL_FAILURE(model.check_all());
    model.empty();
    ASSERT_NO_FATAL_FAILURE(model.check());
  }
}

}  // namespace
}  // namespace cairn::test
