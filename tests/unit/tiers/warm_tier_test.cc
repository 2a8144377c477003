// SPDX-License-Identifier: Apache-2.0
// Goal: warm gives back what was written or nothing, and never lets go of a page that somebody
// looks at. Method: every size and kind of number; bits flipped where the tier keeps them; the
// codec's one thread held still.
#include "tiers/warm/warm_tier.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

#include "engine/base/status.h"
#include "tests/support/manual_clock.h"
#include "tests/support/warm_world.h"
#include "tiers/record/payload_codec.h"

namespace cairn::tiers {
namespace {

using test::make_block;
using test::Rng;
using test::WarmBlock;
using test::WarmWorld;

constexpr NamespaceId kNs = WarmWorld::kNamespace;

/// Keeps a pool's only thread until it goes out of scope.
class Stall {
 public:
  explicit Stall(CodecPool& pool) {
    pool.submit([gate = gate_.get_future().share()](CodecWorker&) { gate.wait(); });
  }
  ~Stall() { end(); }
  void end() {
    if (!std::exchange(ended_, true)) gate_.set_value();
  }

 private:
  std::promise<void> gate_;
  bool ended_ = false;
};

void flip_a_bit(ByteSpan bytes, Rng& rng) {
  // The tier's own memory, lent for reading.
  auto& byte = const_cast<std::byte&>(bytes[rng.below(bytes.size())]);
  byte ^= static_cast<std::byte>(1U << rng.below(8));
}

TEST(WarmTier, GivesBackEverySizeOfEveryKindOfNumber) {
  for (const Dtype dtype :
       {Dtype::opaque, Dtype::bf16, Dtype::fp16, Dtype::fp8_e4m3, Dtype::fp32}) {
    for (const std::size_t threads : {0U, 2U}) {
      WarmWorld world(test::warm_options(16 * kMiB), threads,
                      {.dtype = dtype, .chunk_bytes = 16'000});
      std::vector<WarmBlock> blocks;
      for (const std::size_t size :
           {0UL,      1UL,      511UL,    512UL,     513UL,       1023UL,     1024UL,
            2048UL,   2049UL,   4095UL,   4096UL,    4097UL,      6144UL,     6145UL,
            15'999UL, 16'000UL, 16'001UL, 200'000UL, 1'048'576UL, 2'000'003UL}) {
        for (const double noise : {0.0, 0.5, 1.0}) {
          blocks.push_back(make_block(blocks.size(), size, noise));
          ASSERT_TRUE(world.put(blocks.back()).ok()) << size;
        }
      }
      world.tier().check_invariants();
      for (const WarmBlock& block : blocks) {
        EXPECT_TRUE(world.read(block).ok()) << block.bytes.size() << world.read(block);
      }
    }
  }
}

TEST(WarmTier, HoldsTheRecordThatColdWouldWrite) {
  for (const bool codec : {true, false}) {
    WarmWorld world(test::warm_options(16 * kMiB, codec));
    for (const double noise : {0.0, 0.4, 1.0}) {
      WarmBlock block = make_block(7, 300'123, noise);
      ASSERT_TRUE(world.put(block).ok());
      std::vector<ChunkEntry> table(chunk_count_for(300'123, 16 * 1024));
      std::vector<std::byte> stored(300'123);
      if (codec) {
        ChunkEncoder encoder(16 * 1024);
        stored.resize(encode_chunks(encoder, Dtype::bf16, as_bytes(block.bytes), 16 * 1024,
                                    {0, static_cast<std::uint32_t>(table.size())}, table, stored));
      } else {
        sum_chunks(as_bytes(block.bytes), 16 * 1024, table);
        std::memcpy(stored.data(), block.bytes.data(), stored.size());
      }
      const auto lent = world.tier().image(block.location);
      ASSERT_TRUE(lent.ok());
      const StoredImagePtr image = *lent;
      std::vector<std::byte> payload;
      for (const ByteSpan part : image->payload) {
        EXPECT_EQ(payload.size() % kPage, 0U) << "only the last part may end within a page";
        if (part.size() >= kPage) {
          EXPECT_EQ(reinterpret_cast<std::uintptr_t>(part.data()) % kPage, 0U);
        }
        payload.insert(payload.end(), part.begin(), part.end());
      }
      EXPECT_EQ(payload, stored);
      EXPECT_EQ(as_text(image->fields.chunk_table),
                as_text(std::as_bytes(std::span<const ChunkEntry>(table))));
      EXPECT_EQ(image->fields.codec, stored.size() < 300'123 ? Codec::planes : Codec::none);
      EXPECT_EQ(image->fields.key, block.key);
      EXPECT_EQ(image->fields.facts(), WarmWorld::write_of(block).facts);
    }
  }
}

// --- refusals

TEST(WarmTier, RefusedWritesGiveTheirRoomBack) {
  WarmWorld world(test::warm_options(4 * kMiB));
  WarmBlock block = make_block(1, 10'000);
  const auto refused = [&](const auto& spoil) {
    ASSERT_TRUE(world.reserve(block).ok());
    TierWrite write = WarmWorld::write_of(block);
    Durability durability = Durability::memory;
    spoil(write, durability);
    int done = 0;
    world.tier().write({&write, 1}, durability, [&done] { ++done; });
    EXPECT_EQ(done, 1);
    EXPECT_TRUE(has_code(write.status, ErrorCode::invalid_argument)) << write.status;
    EXPECT_TRUE(write.location.is_null());
    EXPECT_EQ(world.tier().usage().used_bytes, 0U);
    EXPECT_EQ(world.tier().usage().blocks, 0U);
  };
  refused([](TierWrite&, Durability& durability) { durability = Durability::written; });
  refused([](TierWrite& write, Durability&) { write.name.key = {}; });
  refused([](TierWrite& write, Durability&) { write.name.namespace_id = NamespaceId{5}; });
  refused([](TierWrite& write, Durability&) { write.payload = write.payload.first(9'999); });
  refused([](TierWrite& write, Durability&) {
    write.payload = write.payload.first(9'999);
    write.facts.plain_bytes = 9'999;
  });
}

TEST(WarmTier, AStrayWriteTouchesNothing) {
  WarmWorld world(test::warm_options(4 * kMiB));
  WarmBlock block = make_block(1, 10'000);
  ASSERT_TRUE(world.put(block).ok());
  const std::uint64_t used = world.tier().usage().used_bytes;
  for (const std::uint64_t bits : {std::uint64_t{0}, block.location.bits, UINT64_MAX}) {
    TierWrite write = WarmWorld::write_of(block);
    write.location = {bits};
    world.tier().write({&write, 1}, Durability::memory, [] {});
    EXPECT_TRUE(has_code(write.status, ErrorCode::invalid_argument));
    EXPECT_TRUE(write.location.is_null());
  }
  EXPECT_EQ(world.tier().usage().used_bytes, used);
  EXPECT_TRUE(world.read(block).ok());
}

TEST(WarmTier, ASecondWriteLeavesTheFirstAlone) {
  WarmWorld world(test::warm_options(4 * kMiB), 1);
  WarmBlock block = make_block(1, 10'000);
  ASSERT_TRUE(world.reserve(block).ok());
  TierWrite first = WarmWorld::write_of(block), second = first, nameless = first;
  nameless.name.key = {};
  WarmWorld::wait_for([&](Done done) {
    const Stall stall(world.codec());
    world.tier().write({&first, 1}, Durability::memory, std::move(done));
    world.tier().write({&second, 1}, Durability::memory, [] {});
    world.tier().write({&nameless, 1}, Durability::memory, [] {});
  });
  ASSERT_TRUE(first.status.ok()) << first.status;
  EXPECT_TRUE(world.read(block).ok());
  for (const TierWrite& write : {second, nameless}) {
    EXPECT_TRUE(has_code(write.status, ErrorCode::invalid_argument)) << write.status;
    EXPECT_TRUE(write.location.is_null());
  }
  EXPECT_EQ(world.tier().usage().blocks, 1U);
  // Twice in one batch.
  WarmBlock other = make_block(2, 10'000);
  ASSERT_TRUE(world.reserve(other).ok());
  TierWrite both[] = {WarmWorld::write_of(other), WarmWorld::write_of(other)};
  WarmWorld::wait_for(
      [&](Done done) { world.tier().write(both, Durability::memory, std::move(done)); });
  EXPECT_TRUE(both[0].status.ok()) << both[0].status;
  EXPECT_TRUE(has_code(both[1].status, ErrorCode::invalid_argument)) << both[1].status;
  EXPECT_TRUE(world.read(other).ok());
  world.tier().check_invariants();
}

TEST(WarmTier, ABatchIsJudgedElementByElement) {
  for (const std::size_t threads : {0U, 2U}) {
    WarmWorld world(test::warm_options(32 * kMiB), threads);
    std::vector<WarmBlock> blocks;
    for (std::uint64_t i = 0; i < 40; ++i) {
      blocks.push_back(make_block(i, i % 4 == 0 ? 700'000 : 100 * i));
      ASSERT_TRUE(world.reserve(blocks.back()).ok());
    }
    std::vector<TierWrite> writes;
    for (const WarmBlock& block : blocks) writes.push_back(WarmWorld::write_of(block));
    writes[5].name.key = {};
    WarmWorld::wait_for(
        [&](Done done) { world.tier().write(writes, Durability::memory, std::move(done)); });
    for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(writes[i].status.ok(), i != 5);
    std::vector<std::string> into(40);
    std::vector<TierRead> reads;
    for (std::size_t i = 0; i < 40; ++i) reads.push_back(WarmWorld::read_of(blocks[i], into[i]));
    reads[5].location = {};
    ++reads[8].sequence;
    reads[9].deadline = {};
    WarmWorld::wait_for([&](Done done) { world.tier().read(reads, std::move(done)); });
    for (std::size_t i = 0; i < 40; ++i) {
      if (i == 5 || i == 8) {
        EXPECT_TRUE(has_code(reads[i].status, ErrorCode::corruption)) << i;
      } else if (i == 9) {
        EXPECT_TRUE(has_code(reads[i].status, ErrorCode::deadline)) << i;
      } else {
        ASSERT_TRUE(reads[i].status.ok()) << i << reads[i].status;
        EXPECT_EQ(into[i], blocks[i].bytes) << i;
      }
    }
  }
}

TEST(WarmTier, IdentityIsVerifiedOnEveryRead) {
  WarmWorld world(test::warm_options(4 * kMiB));
  WarmBlock block = make_block(1, 50'000);
  ASSERT_TRUE(world.put(block).ok());
  const auto read_as = [&](const auto& change) {
    std::string into;
    TierRead read = WarmWorld::read_of(block, into);
    change(read);
    world.tier().read({&read, 1}, [] {});
    return read.status;
  };
  EXPECT_TRUE(read_as([](TierRead&) {}).ok());
  const auto is_corruption = [&](const auto& change) {
    return has_code(read_as(change), ErrorCode::corruption);
  };
  EXPECT_TRUE(is_corruption([](TierRead& read) { read.name.key = "key-2"; }));
  EXPECT_TRUE(is_corruption([](TierRead& read) { read.name.part = 1; }));
  EXPECT_TRUE(is_corruption([](TierRead& read) { read.name.namespace_id = NamespaceId{2}; }));
  EXPECT_TRUE(is_corruption([](TierRead& read) { ++read.sequence; }));
  EXPECT_TRUE(
      is_corruption([](TierRead& read) { read.destination = read.destination.first(49'999); }));
  world.free(block);
  EXPECT_TRUE(has_code(world.read(block), ErrorCode::corruption));
}

TEST(WarmTier, AnyFlippedBitIsCorruption) {
  Rng rng(test::announce_seed());
  for (const bool codec : {true, false}) {
    WarmWorld world(test::warm_options(4 * kMiB, codec));
    for (std::size_t round = test::scaled(150); round-- > 0;) {
      WarmBlock block = make_block(round, rng.between(1, 60'000), 0.3);
      ASSERT_TRUE(world.put(block).ok());
      {
        const auto lent = world.tier().image(block.location);
        ASSERT_TRUE(lent.ok());
        const StoredImagePtr image = *lent;
        switch (rng.below(3)) {
          case 0:
            flip_a_bit(as_bytes(image->fields.key), rng);
            break;
          case 1:
            flip_a_bit(image->fields.chunk_table, rng);
            break;
          default:
            flip_a_bit(rng.pick(image->payload), rng);
        }
      }
      ASSERT_TRUE(has_code(world.read(block), ErrorCode::corruption)) << world.read(block);
      world.free(block);
    }
    EXPECT_EQ(world.tier().usage().used_bytes, 0U);
  }
}

// --- while somebody looks

TEST(WarmTier, WhatIsFreedWhileItIsReadStaysUntilItWasRead) {
  WarmWorld world(test::warm_options(4 * kMiB), 1);
  WarmBlock block = make_block(1, 500'000);
  ASSERT_TRUE(world.put(block).ok());
  std::string into;
  TierRead read = WarmWorld::read_of(block, into);
  detail::Completion completion;
  Stall stall(world.codec());
  world.tier().read({&read, 1}, [&completion] { completion.notify(); });
  world.free(block);
  EXPECT_GE(world.tier().usage().used_bytes, 300'000U);
  EXPECT_EQ(world.tier().usage().blocks, 0U);
  // Others want the room, and fill it.
  WarmBlock other = make_block(2, 2'000'000);
  ASSERT_TRUE(world.reserve(other).ok());
  const auto pages = world.tier().landing(other.location, 2'000'000);
  ASSERT_TRUE(pages.ok());
  for (const MutableByteSpan part : *pages) std::memset(part.data(), 0xee, part.size());
  stall.end();
  completion.wait([] { return false; });
  EXPECT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(into, make_block(1, 500'000).bytes);
  world.free(other);
  EXPECT_EQ(world.tier().usage().used_bytes, 0U);
  world.tier().check_invariants();
}

TEST(WarmTier, ALateReadTouchesNothing) {
  test::ManualClock clock;
  const auto codec = *CodecPool::start(1);
  auto tier = *open_warm_tier(test::warm_options(4 * kMiB),
                              {.codec = codec.get(), .clock = &clock, .coding = [](NamespaceId) {
                                 return std::optional(WarmCoding{});
                               }});
  WarmBlock block = make_block(1, 500'000);
  const std::uint32_t size = 500'000;
  ASSERT_TRUE(tier->reserve(kNs, {&size, 1}, {&block.location, 1}).ok());
  TierWrite write = WarmWorld::write_of(block);
  WarmWorld::wait_for([&](Done done) {
    tier->write({&write, 1}, Durability::memory, std::move(done));
  });
  std::string into;
  TierRead read = WarmWorld::read_of(block, into);
  read.deadline = clock.now() + Duration::seconds(1);
  WarmWorld::wait_for([&](Done done) {
    const Stall stall(*codec);
    tier->read({&read, 1}, std::move(done));
    clock.advance(Duration::seconds(2));
  });
  EXPECT_TRUE(has_code(read.status, ErrorCode::deadline)) << read.status;
  EXPECT_EQ(into, std::string(500'000, '\0'));
}

/// Takes its time to go.
class Slow {
 public:
  explicit Slow(std::atomic<int>& gone) : gone_(gone) {}
  ~Slow() {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ++gone_;
  }

 private:
  std::atomic<int>& gone_;
};

TEST(WarmTier, WhatADoneOwnsIsGoneWhenCloseReturns) {
  for (const bool is_write : {true, false}) {
    for (const bool is_sound : {true, false}) {
      WarmWorld world(test::warm_options(4 * kMiB), 1);
      WarmBlock block = make_block(1, 300'000), second = make_block(2, 300'000);
      ASSERT_TRUE(world.put(block).ok());
      ASSERT_TRUE(world.reserve(second).ok());
      TierWrite write = WarmWorld::write_of(second);
      std::string into;
      TierRead read = WarmWorld::read_of(block, into);
      if (!is_sound) {
        world.free(second);
        read.location = {};
      }
      std::atomic<int> gone{0}, done{0};
      Done owner = [slow = std::make_unique<Slow>(gone), &done] { ++done; };
      std::thread caller([&] {
        is_write ? world.tier().write({&write, 1}, Durability::memory, std::move(owner))
                 : world.tier().read({&read, 1}, std::move(owner));
      });
      while (done == 0) std::this_thread::yield();
      world.tier().close();
      EXPECT_EQ(gone.load(), 1) << is_write << is_sound;
      caller.join();
    }
  }
}

TEST(WarmTier, ManyThreadsShareACodecWithoutThreads) {
  WarmWorld world(test::warm_options(32 * kMiB), 0);
  std::vector<std::thread> threads;
  for (std::uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&world, thread] {
      for (std::uint64_t i = 0; i < test::scaled(30); ++i) {
        WarmBlock block = make_block(100 * thread + i, 200'000 + 1000 * i, 0.3);
        ASSERT_TRUE(world.put(block).ok());
        ASSERT_TRUE(world.read(block).ok()) << world.read(block);
        world.free(block);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  world.tier().check_invariants();
}

TEST(WarmTier, WhatABlockDidNotNeedGoesAtOnceWhereTheCapacityWasLowered) {
  WarmWorld world(test::warm_options(4 * kMiB), 1);
  WarmBlock block = make_block(1, 2'000'000);  // takes less than 1.6 MB
  ASSERT_TRUE(world.reserve(block).ok());
  TierWrite write = WarmWorld::write_of(block);
  WarmWorld::wait_for([&](Done done) {
    const Stall stall(world.codec());
    world.tier().write({&write, 1}, Durability::memory, std::move(done));
    world.tier().set_capacity(1'700'000);
  });
  ASSERT_TRUE(write.status.ok()) << write.status;
  const TierUsage usage = world.tier().usage();
  EXPECT_LE(usage.used_bytes + usage.dead_bytes, 1'700'000U);
  world.tier().check_invariants();
}

TEST(WarmTier, CloseWaitsForWhatIsUnderWay) {
  WarmWorld world(test::warm_options(4 * kMiB), 1);
  WarmBlock block = make_block(1, 300'000), second = make_block(2, 300'000);
  ASSERT_TRUE(world.put(block).ok());
  ASSERT_TRUE(world.reserve(second).ok());
  TierWrite write = WarmWorld::write_of(second);
  std::string into;
  TierRead read = WarmWorld::read_of(block, into);
  std::atomic<int> done{0};
  Stall stall(world.codec());
  world.tier().read({&read, 1}, [&done] { ++done; });
  world.tier().write({&write, 1}, Durability::memory, [&done] { ++done; });
  std::thread closer([&] {
    world.tier().close();
    EXPECT_EQ(done.load(), 2);
  });
  stall.end();
  closer.join();
  EXPECT_TRUE(read.status.ok());
  EXPECT_TRUE(write.status.ok());
  EXPECT_TRUE(has_code(world.read(block), ErrorCode::closed));
  EXPECT_TRUE(has_code(world.tier().image(block.location).status(), ErrorCode::closed));
  WarmBlock late = make_block(3, 100);
  EXPECT_TRUE(has_code(world.reserve(late), ErrorCode::closed));
  world.free(block);
}

TEST(WarmTierDeathTest, AStaleLocationIsNotFreedTwice) {
  WarmWorld world(test::warm_options(kMiB));
  WarmBlock block = make_block(1, 100);
  ASSERT_TRUE(world.put(block).ok());
  const Location stale = block.location;
  world.free(block);
  WarmBlock other = make_block(2, 100);
  ASSERT_TRUE(world.put(other).ok());
  EXPECT_NE(other.location, stale);
  EXPECT_DEATH(world.tier().free({&stale, 1}), "check failed");
}

TEST(WarmTier, ImpossibleOptionsAreRefused) {
  const auto codec = *CodecPool::start(0);
  const auto opened = [&codec](const WarmOptions& wanted) {
    return open_warm_tier(wanted,
                          {.codec = codec.get(),
                           .clock = &system_clock(),
                           .coding = [](NamespaceId) { return std::optional(WarmCoding{}); }})
        .status();
  };
  EXPECT_TRUE(opened({.capacity_bytes = 4096}).ok());
  EXPECT_TRUE(has_code(opened({.capacity_bytes = 4095}), ErrorCode::invalid_argument));
  EXPECT_TRUE(opened({.capacity_bytes = 65536 * kMiB, .region_bytes = kMiB}).ok());
  EXPECT_TRUE(has_code(opened({.capacity_bytes = 65536 * kMiB + 1, .region_bytes = kMiB}),
                       ErrorCode::invalid_argument));
  for (const std::uint64_t bytes : {0UL, 4097UL, 257 * kMiB}) {
    EXPECT_TRUE(has_code(opened({.region_bytes = bytes}), ErrorCode::invalid_argument)) << bytes;
  }
}

}  // namespace
}  // namespace cairn::tiers
