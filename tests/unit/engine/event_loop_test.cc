// SPDX-License-Identifier: Apache-2.0
// The loop is what makes simulations repeatable: order of tasks, timers on a clock that only
// the test moves, nothing lost on stop, wake-ups that cannot be missed.
#include "engine/base/event_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "tests/support/manual_clock.h"

namespace cairn {
namespace {

using test::ManualClock;

TEST(EventLoop, TasksRunInTheOrderTheyWerePosted) {
  ManualClock clock;
  EventLoop loop(clock);
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) loop.post([&order, i] { order.push_back(i); });
  EXPECT_EQ(loop.run_once({}), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(EventLoop, ATaskPostedByATaskRunsInTheNextRound) {
  ManualClock clock;
  EventLoop loop(clock);
  int ran = 0;
  loop.post([&] { loop.post([&] { ++ran; }); });
  loop.run_once({});
  EXPECT_EQ(ran, 0);
  loop.run_once({});
  EXPECT_EQ(ran, 1);
}

TEST(EventLoop, TimersWaitForTheirTimeAndKeepItsOrder) {
  ManualClock clock;
  EventLoop loop(clock);
  std::vector<int> order;
  const TimePoint start = clock.now();
  loop.run_at(start + Duration::millis(20), [&] { order.push_back(2); });
  loop.run_at(start + Duration::millis(10), [&] { order.push_back(1); });
  EXPECT_EQ(loop.run_once({}), 0U);
  EXPECT_EQ(loop.next_timer(), start + Duration::millis(10));
  clock.advance(Duration::millis(10));
  EXPECT_EQ(loop.run_once({}), 1U);
  clock.advance(Duration::millis(15));
  EXPECT_EQ(loop.run_once({}), 1U);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_EQ(loop.next_timer(), TimePoint::never());
}

TEST(EventLoop, WhatATaskHeldIsGoneBeforeTheNextOneRuns) {
  ManualClock clock;
  EventLoop loop(clock);
  auto held = std::make_shared<int>(1);
  std::weak_ptr<int> watch = held;
  loop.post([held = std::move(held)] { static_cast<void>(held); });
  bool expired = false;
  loop.post([&] { expired = watch.expired(); });
  loop.run_once({});
  EXPECT_TRUE(expired);
}

TEST(EventLoop, EverythingPostedBeforeStopRuns) {
  EventLoop loop(system_clock());
  std::atomic<int> ran = 0;
  {
    const auto thread = LoopThread::start("test-loop", loop);
    ASSERT_TRUE(thread.ok());
    std::vector<std::thread> posters;
    for (int t = 0; t < 4; ++t) {
      posters.emplace_back([&] {
        for (int i = 0; i < 1000; ++i) loop.post([&] { ran.fetch_add(1); });
      });
    }
    for (std::thread& poster : posters) poster.join();
  }
  EXPECT_EQ(ran.load(), 4000);
}

}  // namespace
}  // namespace cairn
