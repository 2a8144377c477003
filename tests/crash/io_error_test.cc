// SPDX-License-Identifier: Apache-2.0
// A medium that fails while the store runs: EIO, short transfers, failed syncs, a full disk in
// data and in the index, lost and misdirected writes. The store answers with an error or a miss; it
// never crashes, never gives wrong bytes, and reads go on. Each test makes sure that its injector
// fired. Requests that never end: hung_device_test.cc.
#include <gtest/gtest.h>

#include <cstdio>

#include "engine/base/status.h"
#include "tests/crash/io_error_fixture.h"

namespace cairn::test {
namespace {

class RandomFaults : public IoError, public ::testing::WithParamInterface<std::uint64_t> {};

TEST_P(RandomFaults, NeverGiveWrongBytes) {
  print_seed(GetParam());
  Rng rng(GetParam());
  start(GetParam());
  const Fault kinds[] = {Fault::read_error,  Fault::write_error, Fault::short_read,
                         Fault::short_write, Fault::lost_write,  Fault::misdirected_write,
                         Fault::flipped_read};
  for (const Fault fault : kinds) {
    store_->disk().faults().add({.fault = fault, .side = Side::device, .odds = 1.0 / 24});
  }
  mixed_work(rng, 300);
  EXPECT_GT(store_->disk().faults().fired(), 10U) << store_->disk().faults().summary();
  restart();
  // Acknowledged writes that the medium lost or misplaced may be missing, never wrong.
  for (std::size_t i = 0; i < kKeys; ++i) get(i);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomFaults, ::testing::ValuesIn(seeds({21, 22, 23}, scaled(12))));

TEST_F(IoError, AShortWriteIsAFailureAndNothingOfItIsRead) {
  start(1);
  ASSERT_TRUE(put(1, Durability::written).ok()) << "the segment is open: the next write is data";
  store_->disk().faults().add(
      {.fault = Fault::short_write, .side = Side::device, .nth = 1, .times = 1});
  const absl::Status status = put(3, Durability::written);
  EXPECT_EQ(store_->disk().faults().fired(Fault::short_write), 1U);
  EXPECT_FALSE(status.ok());
  store_->disk().faults().clear();
  Rng rng(1);
  kill(rng);
  EXPECT_FALSE(get(3));
  EXPECT_TRUE(put(3, Durability::written).ok()) << "the store goes on";
}

TEST_F(IoError, AFailedSyncIsNeverTakenForOne) {
  start(2);
  ASSERT_TRUE(put(1, Durability::durable).ok());
  store_->disk().faults().add({.fault = Fault::sync_error,
                               .side = Side::device,
                               .nth = 1,
                               .times = 1,
                               .path_contains = ".seg"});
  const absl::Status status = put(2, Durability::durable);
  EXPECT_EQ(store_->disk().faults().fired(Fault::sync_error), 1U);
  EXPECT_FALSE(status.ok()) << "the medium did not take it";
  store_->disk().faults().clear();
  // The kernel now calls the lost pages clean: a second sync of them would succeed and mean
  // nothing.
  const absl::Status again = put(2, Durability::durable);
  EXPECT_GE(store_->engine().stats().health.sync_failures, 1U);
  Rng rng(5);
  power_cut(rng);
  EXPECT_TRUE(get(1));
  if (again.ok()) {
    EXPECT_TRUE(get(2)) << "acknowledged as durable after the failure";
  }
}

TEST_F(IoError, ASegmentWhoseSyncFailedIsEmptiedAndTheStoreIsWellAgain) {
  start(3);
  for (std::size_t i = 0; i < 5; ++i) ASSERT_TRUE(put(i, Durability::durable).ok());
  store_->disk().faults().add({.fault = Fault::sync_error,
                               .side = Side::device,
                               .nth = 1,
                               .times = 1,
                               .path_contains = ".seg"});
  EXPECT_FALSE(put(7, Durability::durable).ok());
  EXPECT_EQ(store_->disk().faults().fired(Fault::sync_error), 1U);
  store_->disk().faults().clear();
  // There is room enough: only the mark says that the segment is to be cleaned.
  store_->pump_until([] { return false; }, Duration::seconds(30));
  EXPECT_EQ(store_->engine().stats().health.poisoned_segments, 1U);
  EXPECT_TRUE(store_->engine().flush().ok());
  for (std::size_t i = 0; i < 5; ++i) EXPECT_TRUE(put(i, Durability::durable).ok());
  ASSERT_TRUE(store_->close().ok());
  ASSERT_TRUE(store_->open().ok());
  EXPECT_TRUE(store_->cold().opened_clean());
  open_namespace();
  for (std::size_t i = 0; i < 5; ++i) EXPECT_TRUE(get(i)) << i;
}

TEST_F(IoError, RepeatedWriteErrorsDegradeTheStoreAndRamGoesOn) {
  start(4);
  ASSERT_TRUE(put(5, Durability::written).ok());
  store_->disk().faults().add(
      {.fault = Fault::write_error, .side = Side::device, .odds = 1, .path_contains = ".seg"});
  absl::Status last;
  for (std::size_t n = 0; n < 40; ++n) last = put(10 + n % 20, Durability::written);
  EXPECT_TRUE(has_code(last, ErrorCode::degraded)) << message_of(last);
  EXPECT_TRUE(store_->engine().stats().health.degraded);
  EXPECT_FALSE(store_->engine().stats().health.reason.empty());
  EXPECT_TRUE(put(6, Durability::memory).ok()) << "RAM goes on";
  EXPECT_TRUE(get(6));
  EXPECT_TRUE(get(5)) << "reads go on";
}

TEST_F(IoError, AFullDiskRefusesWritesAndKeepsReading) {
  start(6);
  for (std::size_t i = 0; i < 20; ++i) ASSERT_TRUE(put(i, Durability::durable).ok());
  // Somebody else fills the disk.
  store_->disk().set_capacity(store_->disk().allocated_bytes());
  Rng rng(6);
  std::size_t refused = 0;
  absl::Status last;
  // Not of the first twenty: a put that fails may cost the old version, and reads are to go on.
  for (std::size_t n = 0; n < 400; ++n) {
    const absl::Status status = put(20 + rng.below(kKeys - 20), Durability::durable);
    if (!status.ok()) {
      ++refused;
      last = status;
    }
  }
  std::printf("cairn-count: enospc=%zu\n", refused);
  EXPECT_GT(refused, 0U) << "the disk was not full";
  EXPECT_TRUE(has_code(last, ErrorCode::no_space) || has_code(last, ErrorCode::degraded) ||
              has_code(last, ErrorCode::busy) || has_code(last, ErrorCode::io))
      << message_of(last);
  store_->engine().evict_unused(TierKind::hot, 0).status().IgnoreError();  // from cold, then
  EXPECT_GE(expect_promised(), 20U);
  for (std::size_t i = 0; i < 20; ++i) EXPECT_TRUE(get(i)) << i << ": reads go on";
  // And gives the room back.
  store_->disk().set_capacity(std::uint64_t{1} << 50);
  absl::Status status;
  ASSERT_TRUE(store_->pump_until(
      [&] {
        status = put(1, Durability::durable);
        return status.ok();
      },
      Duration::seconds(60)))
      << message_of(status);
  EXPECT_TRUE(get(1));
  restart();
  EXPECT_GE(expect_promised(), 20U);
}

TEST_F(IoError, ErrorsOfTheIndexAreNeverSilent) {
  start(7);
  for (std::size_t i = 0; i < 10; ++i) ASSERT_TRUE(put(i, Durability::durable).ok());
  store_->disk().faults().add({.fault = Fault::write_error, .side = Side::rocksdb, .odds = 1});
  bool refused = false;
  for (std::size_t n = 0; n < 10; ++n) refused = !put(20 + n, Durability::written).ok() || refused;
  EXPECT_GT(store_->disk().faults().fired(Fault::write_error), 0U);
  EXPECT_TRUE(refused);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_TRUE(get(i)) << i;
  store_->disk().faults().clear();
  Rng rng(7);
  kill(rng);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_TRUE(get(i)) << i;
  // Puts that were acknowledged among those that failed are no less promised.
  expect_promised();
}

}  // namespace
}  // namespace cairn::test
