// SPDX-License-Identifier: Apache-2.0
// A device that does not answer: reads, writes and syncs that hang. What has a deadline keeps it,
// what has none waits for the device and for nothing else, what does not need that device goes on,
// and nothing counts as acknowledged before its answer. The clock is moved by hand, so minutes of
// silence take no time.
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "engine/base/status.h"
#include "tests/crash/io_error_fixture.h"

namespace cairn::test {
namespace {

constexpr Duration kSilence = Duration::seconds(60);

class HungDevice : public IoError {
 protected:
  /// The n-th request to a segment from now on hangs, and no other.
  void hang_segment_request(std::uint64_t nth) {
    store_->disk().faults().add({.fault = Fault::hang,
                                 .side = Side::device,
                                 .nth = nth,
                                 .times = 1,
                                 .path_contains = ".seg"});
  }
  std::uint64_t hung() const { return store_->disk().faults().fired(Fault::hang); }

  struct Pending {
    std::size_t i = 0;
    std::uint64_t version = 0;
    Durability durability = Durability::written;
    std::string key, payload;
    std::optional<PutResult> result;
  };
  /// Begins a put that nobody waits for.
  Pending& begin_put(std::size_t i, Durability durability) {
    Pending& put = *pending_.emplace_back(std::make_unique<Pending>());
    put.i = i;
    put.durability = durability;
    put.version = ++version_[i];
    put.key = key_of(i);
    put.payload = make_payload(put.key, put.version, bytes_of(i));
    possible_[i].insert(put.version);
    const PutBlock block{.key = put.key, .payload = as_bytes(put.payload)};
    store_->engine().put(ns_, {&block, 1}, {.durability = durability},
                         [this, &put](std::vector<PutResult> results) {
                           put.result = results.front();
                           note_put(put.i, put.version, put.durability, *put.result);
                         });
    return put;
  }
  std::size_t unanswered() const {
    return static_cast<std::size_t>(std::count_if(pending_.begin(), pending_.end(),
                                                  [](const auto& put) { return !put->result; }));
  }
  void pass(Duration time) {
    store_->pump_until([] { return false; }, time);
  }
  /// Whether it was there, and how long the answer took.
  struct Read {
    bool found = false;
    Duration took;
  };
  Read read_by(std::size_t i, Duration deadline) {
    const std::string key = key_of(i);
    const KeyRef ref{key};
    const TimePoint before = store_->clock().now();
    std::optional<absl::StatusOr<Lease>> lease;
    store_->engine().acquire(ns_, {&ref, 1}, {.deadline = before + deadline},
                             [&](absl::StatusOr<Lease> got) { lease = std::move(got); });
    EXPECT_TRUE(store_->pump_until([&] { return lease.has_value(); }, kSilence)) << "hangs";
    Read read{.took = store_->clock().now() - before};
    read.found = lease && lease->ok() && !(*lease)->blocks().empty() && (*lease)->blocks()[0].found;
    return read;
  }

  void TearDown() override {
    if (store_ != nullptr && store_->is_open()) {
      store_->disk().faults().clear();
      store_->device().release_hung();
    }
    IoError::TearDown();
  }

  std::vector<std::unique_ptr<Pending>> pending_;
};

TEST_F(HungDevice, AReadIsAMissAtItsDeadline) {
  start(3);
  ASSERT_TRUE(put(4, Durability::durable).ok());
  restart();  // nothing is hot now, as far as the hot list's budget is not spent
  store_->engine().evict_unused(TierKind::hot, 0).status().IgnoreError();
  hang_segment_request(1);
  const Read read = read_by(4, Duration::millis(200));
  EXPECT_FALSE(read.found);
  EXPECT_LE(read.took.ns, Duration::millis(220).ns);
  EXPECT_EQ(hung(), 1U);
  // The kernel has the buffer until the device answers: closing waits for that, and for no more.
  store_->disk().faults().clear();
  store_->device().release_hung();
  restart();
  EXPECT_TRUE(get(4)) << "late is not lost";
}

TEST_F(HungDevice, AHungWriteIsNotAcknowledgedAndNotSeenAndHotGoesOn) {
  start(11);
  ASSERT_TRUE(put(1, Durability::durable).ok()) << "the segment is open: the next write is data";
  hang_segment_request(1);
  const Pending& late = begin_put(2, Durability::written);
  pass(kSilence);
  EXPECT_EQ(hung(), 1U);
  EXPECT_FALSE(late.result.has_value()) << "nobody can know whether it was written";
  EXPECT_FALSE(read_by(2, Duration::millis(200)).found) << "published before its completion";
  const Read hot = read_by(1, Duration::millis(200));
  EXPECT_TRUE(hot.found) << "reads of hot go on";
  EXPECT_LE(hot.took.ns, Duration::millis(1).ns);
  EXPECT_TRUE(put(6, Durability::memory).ok()) << "RAM goes on";
  EXPECT_TRUE(get(6));
  store_->device().release_hung();
  pass(Duration::seconds(1));
  ASSERT_TRUE(late.result.has_value());
  EXPECT_TRUE(late.result->status.ok()) << message_of(late.result->status);
  Rng rng(11);
  kill(rng);
  EXPECT_EQ(expect_promised(), 2U);
}

TEST_F(HungDevice, AHungSyncKeepsDurablePutsWaitingAndNoOthers) {
  start(12);
  ASSERT_TRUE(put(1, Durability::durable).ok());
  hang_segment_request(2);  // after the write
  const Pending& late = begin_put(2, Durability::durable);
  pass(kSilence);
  EXPECT_EQ(hung(), 1U);
  EXPECT_FALSE(late.result.has_value()) << "nobody can know whether it is on the medium";
  EXPECT_TRUE(read_by(1, Duration::millis(200)).found);
  EXPECT_TRUE(put(6, Durability::memory).ok());
  EXPECT_TRUE(get(6));
  store_->device().release_hung();
  pass(Duration::seconds(1));
  ASSERT_TRUE(late.result.has_value());
  EXPECT_TRUE(late.result->status.ok()) << message_of(late.result->status);
  Rng rng(12);
  power_cut(rng);
  EXPECT_TRUE(get(1));
  EXPECT_TRUE(get(2));
}

// What a cut finds in flight was promised to nobody, though the device may have taken it.
TEST_F(HungDevice, ACutUnderAHungSyncTakesOnlyWhatWasNotAcknowledged) {
  start(13);
  ASSERT_TRUE(put(1, Durability::durable).ok());
  hang_segment_request(2);
  const Pending& late = begin_put(2, Durability::durable);
  pass(kSilence);
  ASSERT_EQ(hung(), 1U);
  EXPECT_FALSE(late.result.has_value());
  Rng rng(13);
  power_cut(rng);
  EXPECT_TRUE(get(1));
  get(2);  // or nothing, but no other bytes
}

// Whoever goes on putting while nothing is answered is told `busy` at the limit of what may be
// under way, and hot memory is not passed.
TEST_F(HungDevice, PutsBehindAHungOneAreRefusedAndNotQueuedForEver) {
  SimStoreOptions options = small_sim_store(14);
  options.engine.put_bytes_in_flight_max = 4 * kMiB;
  start(options);
  ASSERT_TRUE(put(1, Durability::durable).ok());
  store_->disk().faults().add(
      {.fault = Fault::hang, .side = Side::device, .odds = 1, .path_contains = ".seg"});
  for (std::size_t n = 0; n < 120; ++n) begin_put(n % kKeys, Durability::written);
  pass(kSilence);
  EXPECT_GT(hung(), 0U);
  std::size_t refused = 0;
  for (const auto& put : pending_) {
    if (!put->result) continue;
    EXPECT_TRUE(has_code(put->result->status, ErrorCode::busy))
        << put->key << ": " << message_of(put->result->status);
    ++refused;
  }
  EXPECT_GT(refused, 0U);
  EXPECT_GT(unanswered(), 0U);
  const TierStats hot = store_->engine().stats().hot;
  EXPECT_LE(hot.usage.used_bytes, hot.usage.capacity_bytes);
  store_->disk().faults().clear();
  store_->device().release_hung();
  ASSERT_TRUE(store_->pump_until([&] { return unanswered() == 0; }, kSilence));
  Rng rng(14);
  kill(rng);
  expect_promised();
}

TEST_F(HungDevice, ClosingWaitsForTheAnswerAndForNothingElse) {
  for (const std::uint64_t nth : {std::uint64_t{1}, std::uint64_t{2}}) {  // the write, the sync
    start(15);
    ASSERT_TRUE(put(1, Durability::durable).ok());
    hang_segment_request(nth);
    const Pending& late = begin_put(2, Durability::durable);
    pass(Duration::seconds(1));
    ASSERT_EQ(hung(), 1U);
    const TimePoint before = store_->clock().now();
    store_->loop().run_at(before + Duration::seconds(7),
                          [this] { store_->device().release_hung(); });
    const absl::Status closed = store_->close();
    EXPECT_TRUE(closed.ok()) << message_of(closed);
    const Duration took = store_->clock().now() - before;
    EXPECT_GE(took.ns, Duration::seconds(7).ns) << "the kernel still had the buffer";
    EXPECT_LE(took.ns, Duration::seconds(8).ns);
    ASSERT_TRUE(late.result.has_value()) << "forgotten by close()";
    restart_closed();
    EXPECT_GE(expect_promised(), 1U);
    store_.reset();
    promised_.clear();
  }
}

}  // namespace
}  // namespace cairn::test
