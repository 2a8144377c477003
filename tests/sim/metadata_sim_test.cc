// SPDX-License-Identifier: Apache-2.0
// Changes of the superblock on a disk that refuses a part of them. Goal: what is acknowledged
// under the namespaces and epochs of a process is there for the next one, whichever copy of the
// superblock it finds.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "engine/base/status.h"
#include "tests/support/cold_calls.h"
#include "tests/support/sim_rocksdb_fs.h"

namespace cairn::test {
namespace {

constexpr const char* kPrimary = "/CAIRN.new";

TEST(MetadataSim, AClearThatReachedOneCopyIsAClear) {
  ColdWorld world({.seed = 5});
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  ASSERT_TRUE(put_block(world, ns, "before", 5'000, Durability::durable).status.ok());
  world.disk().faults().add({.fault = Fault::no_space, .odds = 1, .path_contains = kPrimary});
  EXPECT_TRUE(world.tier().clear_namespace(ns).ok());
  EXPECT_FALSE(look_up(world, ns, "before")->has_value());
  ASSERT_TRUE(put_block(world, ns, "after", 5'000, Durability::durable).status.ok());
  world.power_cut();
  ASSERT_TRUE(world.open().ok());
  EXPECT_FALSE(look_up(world, ns, "before")->has_value());
  EXPECT_TRUE(read_block(world, ns, "after").ok());
  world.close();
}

TEST(MetadataSim, ANamespaceThatReachedOneCopyIsOne) {
  ColdWorld world({.seed = 6});
  ASSERT_TRUE(world.open().ok());
  world.disk().faults().add({.fault = Fault::no_space, .odds = 1, .path_contains = kPrimary});
  const auto made = world.tier().open_namespace({.name = "third", .model = "m"});
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_TRUE(put_block(world, made->id, "k", 5'000, Durability::durable).status.ok());
  world.power_cut();
  ASSERT_TRUE(world.open().ok());
  const auto found = world.tier().open_namespace({.name = "third", .model = "m"});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->id, made->id);
  EXPECT_TRUE(read_block(world, found->id, "k").ok());
  world.close();
}

TEST(MetadataSim, AClearThatMayHaveHappenedEndsTheAcknowledgements) {
  for (const bool is_cut : {false, true}) {
    ColdWorld world({.seed = 7});
    ASSERT_TRUE(world.open().ok());
    const NamespaceId ns = world.addressed_namespace();
    // The copy takes its name, which may not be on the medium; the other is not written at all.
    world.disk().faults().add({.fault = Fault::sync_error,
                               .side = Side::device,
                               .nth = 2,
                               .times = 1,
                               .path_contains = "/state"});
    world.disk().faults().add({.fault = Fault::no_space, .odds = 1, .path_contains = kPrimary});
    EXPECT_FALSE(world.tier().clear_namespace(ns).ok());
    EXPECT_TRUE(world.tier().health().degraded);
    EXPECT_FALSE(put_block(world, ns, "after", 5'000, Durability::durable).status.ok());
    is_cut ? world.power_cut() : world.kill();
    ASSERT_TRUE(world.open().ok());
    EXPECT_TRUE(put_block(world, ns, "later", 5'000, Durability::durable).status.ok());
    EXPECT_TRUE(read_block(world, ns, "later").ok());
    world.close();
  }
}

TEST(MetadataSim, AClearThatDidNotHappenChangesNothing) {
  ColdWorld world({.seed = 8});
  ASSERT_TRUE(world.open().ok());
  const NamespaceId ns = world.addressed_namespace();
  ASSERT_TRUE(put_block(world, ns, "k", 5'000, Durability::durable).status.ok());
  world.disk().faults().add(
      {.fault = Fault::no_space, .odds = 1, .path_contains = "/CAIRN.copy.new"});
  EXPECT_FALSE(world.tier().clear_namespace(ns).ok());
  EXPECT_FALSE(world.tier().health().degraded);
  ASSERT_TRUE(put_block(world, ns, "after", 5'000, Durability::durable).status.ok());
  world.kill();
  ASSERT_TRUE(world.open().ok());
  EXPECT_TRUE(read_block(world, ns, "k").ok());
  EXPECT_TRUE(read_block(world, ns, "after").ok());
  world.close();
}

// With threads, for one of them waits for the other. Whoever changes the superblock while the store
// is closed has it to himself until he is done.
TEST(MetadataSim, ClosingWaitsForAChangeOfTheSuperblock) {
  for (const bool is_clear : {false, true}) {
    const auto disk = std::make_shared<SimDisk>();
    std::unique_ptr<DurableTier> tier;
    std::thread closer;
    std::atomic<bool> is_armed{false};
    bool was_given_back = false;
    disk->set_on_mutation([&](std::uint64_t, Mutation kind) {
      if (kind != Mutation::rename || !is_armed.exchange(false)) return;  // the superblock's
      closer = std::thread([&] { tier->close(); });
      for (int i = 0; i < 300 && !was_given_back; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        was_given_back = disk->lock("/store/LOCK", true);
      }
    });
    SimDevice device(disk, system_clock());
    EventLoop loop(system_clock(), &device);
    const auto thread = LoopThread::start("loop", loop);
    ASSERT_TRUE(thread.ok());
    tiers::ColdOptions options{.directory = "/store", .cold_bytes = 64 * kMiB};
    options.index_file_system = make_sim_rocksdb_fs(disk);
    auto opened = tiers::open_cold_tier(
        options, {.device = &device, .io_loop = &loop, .index_loop = &loop, .pump = nullptr});
    ASSERT_TRUE(opened.ok()) << opened.status();
    tier = *std::move(opened);
    const auto first = tier->open_namespace({.name = "first", .model = "m"});
    ASSERT_TRUE(first.ok());
    is_armed.store(true);
    const absl::Status changed =
        is_clear ? tier->clear_namespace(first->id)
                 : tier->open_namespace({.name = "second", .model = "m"}).status();
    EXPECT_TRUE(changed.ok()) << changed;
    ASSERT_TRUE(closer.joinable());
    closer.join();
    EXPECT_FALSE(was_given_back) << "the store was closed in the middle of it";
    tier.reset();
  }
}

}  // namespace
}  // namespace cairn::test
