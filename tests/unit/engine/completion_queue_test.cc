// SPDX-License-Identifier: Apache-2.0
// Completions through a descriptor: readable while something waits, each called once and in order.
#include "engine/completion_queue.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

bool is_readable(const CompletionQueue& queue, int wait_ms = 0) {
  pollfd waiting{.fd = queue.descriptor(), .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, wait_ms) == 1;
}

TEST(CompletionQueue, CarriesALeaseToWhoeverRunsIt) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  ASSERT_TRUE(world.engine().evict_unused(TierKind::hot, 0).ok());
  const auto queue = CompletionQueue::make();
  ASSERT_TRUE(queue.ok());
  std::optional<Lease> lease;
  const KeyRef key{"k"};
  world.engine().acquire(ns, {&key, 1}, {},
                         (*queue)->deliver<absl::StatusOr<Lease>>(
                             [&](absl::StatusOr<Lease> result) { lease = *std::move(result); }));
  EXPECT_FALSE(is_readable(**queue)) << "it is still being read";
  world.settle();
  EXPECT_FALSE(lease.has_value()) << "called by the engine, not by the loop";
  EXPECT_TRUE(is_readable(**queue));
  EXPECT_EQ((*queue)->run(), 1U);
  ASSERT_TRUE(lease.has_value());
  EXPECT_TRUE(is_payload("k", 0, lease->blocks()[0].bytes));
  EXPECT_FALSE(is_readable(**queue));
  EXPECT_EQ((*queue)->run(), 0U);
}

TEST(CompletionQueue, LeasesThatNobodyTookEndWithIt) {
  EngineWorld world;
  const NamespaceId ns = world.open_namespace("n");
  world.put(ns, "k", 1000);
  {
    const auto queue = CompletionQueue::make();
    ASSERT_TRUE(queue.ok());
    const KeyRef key{"k"};
    world.engine().acquire(ns, {&key, 1}, {},
                           (*queue)->deliver<absl::StatusOr<Lease>>([](absl::StatusOr<Lease>) {}));
    EXPECT_EQ(world.engine().stats().leases_open, 1U);
  }
  EXPECT_EQ(world.engine().stats().leases_open, 0U);
}

TEST(CompletionQueue, LosesNoneOfManyThreads) {
  constexpr int kThreads = 4, kEach = 5000;
  const auto queue = CompletionQueue::make();
  ASSERT_TRUE(queue.ok());
  std::vector<int> last(kThreads, -1);  // touched by run() alone
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        (*queue)->deliver<int>([&last, t](int result) {
          EXPECT_EQ(result, last[static_cast<std::size_t>(t)] + 1);
          last[static_cast<std::size_t>(t)] = result;
        })(i);
      }
    });
  }
  std::size_t ran = 0;
  while (ran < kThreads * kEach) {
    ASSERT_TRUE(is_readable(**queue, 10'000)) << ran;
    ran += (*queue)->run();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ran, static_cast<std::size_t>(kThreads) * kEach);
  EXPECT_FALSE(is_readable(**queue));
}

}  // namespace
}  // namespace cairn::test
