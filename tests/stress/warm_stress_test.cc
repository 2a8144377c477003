// SPDX-License-Identifier: Apache-2.0
// Goal: threads that write, read, free, lend, carry over and resize at once see right bytes or a
// miss, and leave nothing behind. Method: one shared list of what is stored, freed from under the
// readers on purpose; made for TSan and ASan.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/base/status.h"
#include "tests/support/warm_world.h"

namespace cairn::test {
namespace {

class Stored {
 public:
  void add(WarmBlock block) {
    const std::lock_guard lock(mutex_);
    blocks_.push_back(std::move(block));
  }
  /// Still listed: it may be freed before it is looked at.
  std::optional<WarmBlock> any(Rng& rng) {
    const std::lock_guard lock(mutex_);
    if (blocks_.empty()) return std::nullopt;
    return rng.pick(blocks_);
  }
  std::optional<WarmBlock> take(Rng& rng) {
    const std::lock_guard lock(mutex_);
    if (blocks_.empty()) return std::nullopt;
    std::swap(rng.pick(blocks_), blocks_.back());
    WarmBlock block = std::move(blocks_.back());
    blocks_.pop_back();
    return block;
  }

 private:
  std::mutex mutex_;
  std::vector<WarmBlock> blocks_;
};

struct Totals {
  std::atomic<std::size_t> written{0}, read{0}, missed{0}, lent{0}, carried{0};
};

void stress(std::size_t codec_threads, std::uint64_t seed) {
  constexpr std::uint64_t kCapacity = 6 * kMiB;
  WarmWorld world({.capacity_bytes = kCapacity, .region_bytes = 300 * kKiB, .huge_pages = false},
                  codec_threads);
  Stored stored;
  Totals totals;
  std::atomic<std::uint64_t> blocks_ever{0};
  std::atomic<bool> stopped{false};

  const auto write = [&](Rng rng) {
    for (std::size_t i = scaled(400); i-- > 0;) {
      const std::uint64_t bytes = rng.chance(0.2) ? rng.below(800'000) : rng.below(9000);
      WarmBlock block = make_block(++blocks_ever, bytes, rng.fraction());
      absl::Status status = world.put(block);
      while (has_code(status, ErrorCode::no_space)) {
        if (auto victim = stored.take(rng)) world.free(*victim);
        std::this_thread::yield();
        status = world.put(block);
      }
      ASSERT_TRUE(status.ok()) << status;
      ++totals.written;
      stored.add(std::move(block));
    }
  };
  const auto read = [&](Rng rng) {
    while (!stopped) {
      const auto block = stored.any(rng);
      if (!block) continue;
      const absl::Status status = world.read(*block);
      ASSERT_TRUE(status.ok() || has_code(status, ErrorCode::corruption)) << status;
      ++(status.ok() ? totals.read : totals.missed);
    }
  };
  const auto lend = [&](Rng rng) {
    while (!stopped) {
      auto block = stored.any(rng);
      if (!block) continue;
      const auto lent = world.tier().image(block->location);
      if (!lent.ok()) continue;
      const StoredImagePtr image = *lent;
      ++totals.lent;
      if (rng.chance(0.5) || !world.reserve(*block).ok()) {
        std::string payload;
        for (const ByteSpan part : image->payload) payload += as_text(part);
        ASSERT_TRUE(tiers::check_payload(image->fields, as_bytes(payload)).ok());
        continue;
      }
      const absl::Status status = world.keep(*block, image);
      ASSERT_TRUE(status.ok()) << status;
      ++totals.carried;
      stored.add(std::move(*block));
    }
  };
  const auto resize = [&](Rng rng) {
    while (!stopped) {
      world.tier().set_capacity(rng.between(2 * kMiB, kCapacity));
      world.tier().check_invariants();
      const TierUsage usage = world.tier().usage();
      ASSERT_LE(usage.used_bytes + usage.dead_bytes, kCapacity);
      if (auto victim = stored.take(rng)) world.free(*victim);
      std::this_thread::yield();
    }
  };

  Rng rng(seed);
  std::vector<std::thread> writers, others;
  for (int i = 0; i < 2; ++i) writers.emplace_back(write, rng.fork());
  for (int i = 0; i < 2; ++i) others.emplace_back(read, rng.fork());
  others.emplace_back(lend, rng.fork());
  others.emplace_back(resize, rng.fork());
  for (std::thread& thread : writers) thread.join();
  stopped = true;
  for (std::thread& thread : others) thread.join();

  std::printf("written %zu, read %zu, missed %zu, lent %zu, carried %zu\n", totals.written.load(),
              totals.read.load(), totals.missed.load(), totals.lent.load(), totals.carried.load());
  EXPECT_GT(totals.read.load(), 0U);
  while (auto block = stored.take(rng)) {
    EXPECT_TRUE(world.read(*block).ok());
    world.free(*block);
  }
  world.tier().close();
  EXPECT_EQ(world.tier().usage().used_bytes, 0U);
  EXPECT_EQ(world.tier().usage().blocks, 0U);
  world.tier().check_invariants();
}

TEST(WarmStress, ManyThreadsSeeRightBytesOrAMiss) {
  stress(2, announce_seed());
}

TEST(WarmStress, AlsoWhereTheyQueueForOneThread) {
  stress(1, announce_seed());
}

}  // namespace
}  // namespace cairn::test
