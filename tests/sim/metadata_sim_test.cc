// SPDX-License-Identifier: Apache-2.0
// Changes of the superblock on a disk that refuses a part of them. Goal: what is acknowledged
// under the namespaces and epochs of a process is there for the next one, whichever copy of the
// superblock it finds.
#include <gtest/gtest.h>

#include <string>

#include "engine/base/status.h"
#include "tests/support/cold_calls.h"

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

}  // namespace
}  // namespace cairn::test
