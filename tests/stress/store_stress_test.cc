// SPDX-License-Identifier: Apache-2.0
// The whole store on real files, with its own threads: writers, readers, erasers, eviction and
// cleaning at once. Goal: no data race between the loops (ThreadSanitizer reads along), every
// byte right, and the same after a restart.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "engine/base/status.h"
#include "tests/support/disk_usage.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/temp_dir.h"
#include "tiers/open.h"

namespace cairn::test {
namespace {

constexpr std::uint64_t kKeys = 160;
constexpr std::uint64_t kColdBytes = 48 * kMiB;
constexpr std::size_t kSizes[] = {1, 5000, 70'000, 300'001};

std::string key_name(std::uint64_t key) {
  return "key" + std::to_string(key);
}
std::size_t bytes_of(std::uint64_t key) {
  return kSizes[key % std::size(kSizes)];
}

class StoreStress : public ::testing::Test {
 protected:
  void open() {
    StoreOptions options;
    options.directory = directory_.path();
    options.engine.hot_bytes = 6 * kMiB;
    options.engine.warm_bytes = 4 * kMiB;
    options.engine.metadata_bytes = 8 * kMiB;
    options.cold.cold_bytes = kColdBytes;
    auto store = open_store(options);
    ASSERT_TRUE(store.ok()) << message_of(store.status());
    store_ = *std::move(store);
    const auto ns = engine().open_namespace({.name = "content"});
    ASSERT_TRUE(ns.ok());
    ns_ = *ns;
  }
  void close() {
    EXPECT_TRUE(engine().close().ok());
    EXPECT_EQ(engine().stats().leases_open, 0U);
    EXPECT_EQ(engine().stats().corrupt_blocks, 0U);
    store_.reset();
  }
  Engine& engine() { return store_->engine(); }

  void write(Rng rng) {
    for (std::size_t i = 0; i < rounds_; ++i) {
      const std::uint64_t key = rng.below(kKeys);
      const std::string name = key_name(key);
      const std::string payload = make_payload(name, 0, bytes_of(key));
      const PutBlock block{.key = name, .payload = as_bytes(payload)};
      const auto durability = static_cast<Durability>(rng.below(3));
      if (engine().put_sync(ns_, {&block, 1}, {.durability = durability})[0].status.ok()) ++put_;
    }
  }

  void judge(std::uint64_t key, ByteSpan bytes) {
    ++verified_;
    if (bytes.size() != bytes_of(key) || !is_payload(key_name(key), 0, bytes)) ++wrong_;
  }

  void read(Rng rng) {
    std::vector<std::byte> buffer(kMiB);
    for (std::size_t i = 0; i < rounds_; ++i) {
      const std::uint64_t key = rng.below(kKeys);
      const std::string name = key_name(key);
      if (rng.chance(0.5)) {
        const KeyRef ref{name};
        const auto lease = engine().acquire_sync(ns_, {&ref, 1});
        if (lease.ok() && !lease->blocks().empty() && lease->blocks()[0].found)
          judge(key, lease->blocks()[0].bytes);
      } else {
        LoadTarget target{.key = {name}, .buffer = buffer};
        if (engine().load_sync(ns_, {&target, 1}).ok() && target.found)
          judge(key, ByteSpan(buffer).first(target.bytes));
      }
    }
  }

  void disturb(Rng rng) {
    for (std::size_t i = 0; i < rounds_; ++i) {
      const std::string name = key_name(rng.below(kKeys));
      const KeyRef ref{name};
      if (i % 16 == 0) look_at_disk();
      switch (rng.below(5)) {
        case 0:
          engine().erase_sync(ns_, {&ref, 1}).status().IgnoreError();
          break;
        case 1:
          engine().evict_unused(TierKind::hot, 2 * kMiB).status().IgnoreError();
          break;
        case 2:
          engine().announce(ns_, {&ref, 1}, TimePoint::never());
          break;
        case 3:
          engine().flush().IgnoreError();
          break;
        default:
          engine().stats();
          break;
      }
    }
  }

  /// While segments and index come, grow and go.
  void look_at_disk() {
    const std::uint64_t bytes = cold_bytes_on_disk(directory_.path());
    std::uint64_t most = most_on_disk_.load();
    while (most < bytes && !most_on_disk_.compare_exchange_weak(most, bytes)) {
    }
  }

  TempDir directory_;
  std::unique_ptr<Store> store_;
  NamespaceId ns_{};
  const std::size_t rounds_ = scaled(5000);
  std::atomic<std::uint64_t> put_{0}, verified_{0}, wrong_{0};
  std::atomic<std::uint64_t> most_on_disk_{0};
};

TEST_F(StoreStress, EveryByteIsRightAlsoAfterARestart) {
  Rng rng(announce_seed());
  open();
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([this, r = rng.fork()] { write(r); });
    threads.emplace_back([this, r = rng.fork()] { read(r); });
    threads.emplace_back([this, r = rng.fork()] { disturb(r); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(put_.load(), 0U);
  EXPECT_GT(verified_.load(), 0U);
  EXPECT_GT(most_on_disk_.load(), 0U);
  EXPECT_LE(most_on_disk_.load(), kColdBytes);
  close();
  open();
  read(rng.fork());
  EXPECT_EQ(wrong_.load(), 0U);
  close();
}

// Tiny blocks fill the index's share long before the segments. Old ones make room for new ones
// then, for as long as it goes on: the index's files must never grow to where they can no longer
// be merged.
TEST(StoreOfTinyBlocks, AFullIndexShareEvictsForEver) {
  constexpr std::size_t kBatch = 500;
  const TempDir directory;
  StoreOptions options;
  options.directory = directory.path();
  options.engine.hot_bytes = 8 * kMiB;
  options.engine.metadata_bytes = 128 * kMiB;
  options.cold.cold_bytes = 256 * kMiB;
  const auto store = open_store(options);
  ASSERT_TRUE(store.ok()) << message_of(store.status());
  Engine& engine = (*store)->engine();
  const auto ns = engine.open_namespace({.name = "content"});
  ASSERT_TRUE(ns.ok());
  const std::size_t batches = std::max<std::size_t>(500, scaled(500));
  for (std::size_t batch = 0; batch < batches; ++batch) {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < kBatch; ++i) {
      keys.push_back(make_payload("key", batch * kBatch + i, 32));
    }
    std::vector<PutBlock> blocks;
    for (const std::string& key : keys) blocks.push_back({.key = key, .payload = as_bytes(key)});
    for (const PutResult& result : engine.put_sync(*ns, blocks)) {
      ASSERT_TRUE(result.status.ok()) << message_of(result.status) << " after " << batch * kBatch;
    }
    ASSERT_LE(cold_bytes_on_disk(directory.path()), options.cold.cold_bytes);
  }
  const std::uint64_t kept = (*store)->cold().usage().blocks;
  EXPECT_GT(kept, 50'000U);
  EXPECT_LT(kept, batches * kBatch);
  EXPECT_TRUE(engine.close().ok());
}

}  // namespace
}  // namespace cairn::test
