// SPDX-License-Identifier: Apache-2.0
// What a replay was promised, as the one who kills it sees it.
#include "tools/cairn/replay_journal.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/status.h"

namespace cairn::tools {
namespace {

std::unique_ptr<ReplayJournal> make_journal() {
  return ReplayJournal::make(8).value();
}

void put(ReplayJournal& journal, BlockNumber block, Durability durability, std::uint64_t sequence) {
  journal.begin_put(block);
  journal.acknowledge(block, durability, sequence);
  journal.end_put(block);
}

TEST(ReplayJournal, NothingIsPromisedBeforeTheAnswer) {
  const auto journal = make_journal();
  journal->begin_put(3);
  EXPECT_TRUE(journal->promise(3).pending);
  EXPECT_FALSE(journal->promise(3).acknowledged);
  EXPECT_EQ(journal->puts_in_flight(), 1U);
  journal->end_put(3);  // it failed
  EXPECT_FALSE(journal->promise(3).pending);
  EXPECT_FALSE(journal->promise(3).acknowledged);
  EXPECT_EQ(journal->puts_in_flight(), 0U);
}

TEST(ReplayJournal, TheStrongestPromiseStands) {
  const auto journal = make_journal();
  put(*journal, 1, Durability::durable, 10);
  put(*journal, 1, Durability::memory, 10);
  EXPECT_EQ(journal->promise(1).acknowledged, Durability::durable);
}

TEST(ReplayJournal, AnEvictionEndsThePromiseOfItsVersion) {
  const auto journal = make_journal();
  put(*journal, 1, Durability::durable, 10);
  journal->report_evicted(1, 10, true);
  EXPECT_TRUE(journal->promise(1).evicted);
  EXPECT_EQ(journal->evicted_blocks(), 1U);
}

TEST(ReplayJournal, ALatePutIsNotEvictedWithTheVersionBefore) {
  const auto journal = make_journal();
  put(*journal, 1, Durability::durable, 10);
  journal->begin_put(1);
  journal->report_evicted(1, 10, true);  // of the version before, reported late
  journal->acknowledge(1, Durability::written, 11);
  journal->end_put(1);
  EXPECT_FALSE(journal->promise(1).evicted);
}

TEST(ReplayJournal, APutAfterTheEvictionPromisesAnew) {
  const auto journal = make_journal();
  put(*journal, 1, Durability::durable, 10);
  journal->report_evicted(1, 10, true);
  put(*journal, 1, Durability::memory, 11);
  EXPECT_EQ(journal->promise(1).acknowledged, Durability::memory);
  EXPECT_FALSE(journal->promise(1).evicted);
}

TEST(ReplayJournal, AnEvictionBeforeAPutDoesNotExcuseALossAfterIt) {
  const auto journal = make_journal();
  put(*journal, 1, Durability::durable, 10);
  journal->report_evicted(1, 10, false);
  put(*journal, 1, Durability::durable, 10);  // the hot copy was still there, the same version
  EXPECT_FALSE(journal->promise(1).evicted);
}

TEST(ReplayJournal, BlocksOutsideTheTraceAreOnlyCounted) {
  const auto journal = make_journal();
  journal->report_evicted(std::nullopt, 5, true);
  journal->report_evicted(std::nullopt, 5, false);
  EXPECT_EQ(journal->evicted_blocks(), 1U);
}

TEST(ReplayJournal, WhatTheChildWroteOutlivesIt) {
  const auto journal = make_journal();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    put(*journal, 2, Durability::written, 7);
    journal->begin_put(4);
    ReplayTotals totals;
    totals.requests = 3;
    totals.blocks = 12;
    journal->commit(totals);
    journal->count_verified(100, false);
    journal->set_failure(make_error(ErrorCode::degraded, "the disk is gone"));
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(journal->promise(2).acknowledged, Durability::written);
  EXPECT_TRUE(journal->promise(4).pending);
  EXPECT_EQ(journal->requests_done(), 3U);
  EXPECT_EQ(journal->totals().blocks, 12U);
  EXPECT_EQ(journal->wrong_bytes(), 100U);
  EXPECT_TRUE(has_code(journal->failure(), ErrorCode::degraded));
  journal->forget_pending();
  EXPECT_FALSE(journal->promise(4).pending);
  EXPECT_EQ(journal->puts_in_flight(), 0U);
}

TEST(ReplayJournal, TotalsAndMovedBytesAddUpOverLives) {
  const auto journal = make_journal();
  ReplayTotals one;
  one.requests = 1;
  one.hot_hits = 2;
  one.put_bytes = 5;
  journal->commit(one);
  journal->commit(one);
  EXPECT_EQ(journal->totals().requests, 2U);
  EXPECT_EQ(journal->totals().hits(), 4U);
  EXPECT_EQ(journal->totals().put_bytes, 10U);
  journal->begin_life();
  journal->set_moved(100, 200);
  journal->begin_life();
  journal->set_moved(1, 2);
  EXPECT_EQ(journal->device_read_bytes(), 101U);
  EXPECT_EQ(journal->device_written_bytes(), 202U);
}

}  // namespace
}  // namespace cairn::tools
