// SPDX-License-Identifier: Apache-2.0
// Every tier through one body: memory, hot, warm, cold on the simulated disk and on a real one.
// Finds adapters that disagree about what a Tier is.
#include "tests/contract/tier_contract.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <thread>

#include "tests/contract/tier_subjects.h"

namespace cairn::test {
namespace {

TEST_P(TierContract, GivesBackExactlyWhatWasWritten) {
  std::vector<Stored> all;
  for (const std::size_t bytes : {1UL, 63UL, 4095UL, 4096UL, 4097UL, 70'000UL, 262'143UL, 262'144UL,
                                  300'001UL, 1'048'576UL}) {
    all.push_back(put(concat("k", bytes), bytes));
    ASSERT_TRUE(all.back().status.ok()) << bytes << ": " << all.back().status.ToString();
    EXPECT_FALSE(all.back().location.is_null());
  }
  for (const Stored& stored : all) EXPECT_TRUE(read(stored).ok()) << stored.key;
}

TEST_P(TierContract, BatchesAreReadInOnePiece) {
  constexpr std::size_t kBlocks = 12;
  const std::size_t bytes = 270'336;  // whole pages, large: straight into the destination
  std::vector<Stored> all;
  for (std::size_t i = 0; i < kBlocks; ++i) all.push_back(put(concat("b", i), bytes));
  std::vector<TierRead> reads(kBlocks);
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::vector<std::unique_ptr<std::byte, Free>> into;
  for (std::size_t i = 0; i < kBlocks; ++i) {
    ASSERT_TRUE(all[i].status.ok());
    into.emplace_back(static_cast<std::byte*>(std::aligned_alloc(4096, bytes)));
    reads[i] = {.location = all[i].location,
                .name = {ns_, all[i].key, 0},
                .sequence = all[i].sequence,
                .destination = {into[i].get(), bytes},
                .plain_sum = xxh3_64(as_bytes(all[i].payload)),
                .status = {}};
  }
  std::atomic<bool> done{false};
  tier().read(reads, [&] { done = true; });
  medium_->pump_until([&] { return done.load(); });
  for (std::size_t i = 0; i < kBlocks; ++i) {
    ASSERT_TRUE(reads[i].status.ok()) << i << reads[i].status.ToString();
    EXPECT_EQ(as_text({into[i].get(), bytes}), all[i].payload) << i;
  }
}

TEST_P(TierContract, FreedReservationsGiveTheirRoomBack) {
  const std::uint64_t before = tier().usage().used_bytes;
  const std::uint32_t sizes[] = {5000, 300'000, 1};
  Location locations[3];
  ASSERT_TRUE(tier().reserve(ns_, sizes, locations).ok());
  EXPECT_GE(tier().usage().used_bytes, before + 305'001);
  tier().free(locations);
  EXPECT_EQ(tier().usage().used_bytes, before);
}

TEST_P(TierContract, RefusesWhatIsTooLargeAndTakesNothing) {
  const std::uint64_t before = tier().usage().used_bytes;
  const std::uint32_t sizes[] = {100, 200U << 20};
  Location locations[2];
  EXPECT_TRUE(has_code(tier().reserve(ns_, sizes, locations), ErrorCode::too_large));
  EXPECT_EQ(tier().usage().used_bytes, before);
}

TEST_P(TierContract, SaysNoSpaceWhenFullAndKeepsWhatItHas) {
  std::vector<Stored> all;
  absl::Status status;
  while (all.size() < 200) {
    Stored stored = put(concat("f", all.size()), 500'000);
    status = stored.status;
    if (has_code(status, ErrorCode::busy)) continue;
    if (!status.ok()) break;
    all.push_back(std::move(stored));
  }
  EXPECT_TRUE(has_code(status, ErrorCode::no_space)) << status.ToString();
  EXPECT_GT(all.size(), 20U);
  EXPECT_LE(tier().usage().used_bytes, tier().usage().capacity_bytes);
  for (const Stored& stored : all) EXPECT_TRUE(read(stored).ok()) << stored.key;
}

TEST_P(TierContract, RefusesEverythingOnceClosed) {
  const Stored stored = put("k", 100);
  tier().close();
  EXPECT_TRUE(has_code(put("late", 100).status, ErrorCode::closed));
  EXPECT_TRUE(has_code(read(stored), ErrorCode::closed));
}

/// Takes its time to go.
class Slow {
 public:
  explicit Slow(std::atomic<bool>& gone) : gone_(gone) {}
  ~Slow() {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    gone_ = true;
  }

 private:
  std::atomic<bool>& gone_;
};

TEST_P(TierContract, WhatADoneOwnsIsGoneWhenCloseReturns) {
  const Stored stored = put("k", 300'000);
  std::string into(stored.payload.size(), '\0');
  TierRead read;
  read.location = stored.location;
  read.name = {ns_, stored.key, 0};
  read.sequence = stored.sequence;
  read.destination = {reinterpret_cast<std::byte*>(into.data()), into.size()};
  std::atomic<bool> done{false}, gone{false};
  tier().read({&read, 1}, [slow = std::make_unique<Slow>(gone), &done] { done = true; });
  medium_->pump_until([&] { return done.load(); });
  tier().close();
  EXPECT_TRUE(gone.load());
}

TEST_P(DurableTierContract, VerifiesKeyAndVersionOnDelivery) {
  Stored stored = put("right", 1000);
  Stored other = stored;
  other.key = "wrong";
  EXPECT_TRUE(has_code(read(other), ErrorCode::corruption));
  other = stored;
  ++other.sequence;
  EXPECT_TRUE(has_code(read(other), ErrorCode::corruption));
  EXPECT_TRUE(read(stored).ok());
  EXPECT_EQ(durable().health().corruptions, 0U) << "nobody's bytes were bad";
}

TEST_P(DurableTierContract, TheNewestVersionWinsInWhateverOrderTheyEnd) {
  const NamespaceId ns = medium_->namespace_id(NamespaceKind::mutable_);
  const std::uint64_t older = next_sequence(), newer = next_sequence();
  EXPECT_TRUE(put("k", 300, ns, newer).status.ok());
  EXPECT_TRUE(put("k", 200, ns, older).status.ok());
  ASSERT_TRUE(lookup("k", ns).has_value());
  EXPECT_EQ(lookup("k", ns)->sequence, newer);
  const std::uint64_t middle = older;
  EXPECT_TRUE(remove("k", ns, middle, RemovalReason::erased).ok());
  EXPECT_TRUE(lookup("k", ns).has_value()) << "the removal of an older version leaves a newer one";
  EXPECT_TRUE(remove("k", ns, newer, RemovalReason::erased).ok());
  EXPECT_FALSE(lookup("k", ns).has_value());
  EXPECT_TRUE(put("k", 100, ns, older).status.ok());
  EXPECT_FALSE(lookup("k", ns).has_value()) << "an older write does not undo a removal";
}

TEST_P(DurableTierContract, WhatIsStoredOutlivesTheProcessAndWhatIsErasedDoesNot) {
  const NamespaceId ns = medium_->namespace_id(NamespaceKind::mutable_);
  const Stored kept = put("kept", 5000, ns_);
  const Stored gone = put("gone", 5000, ns_);
  const Stored first = put("twice", 5000, ns);
  const Stored second = put("twice", 7000, ns);
  EXPECT_TRUE(remove("gone", ns_, gone.sequence, RemovalReason::erased, Durability::durable).ok());
  const std::uint64_t sequence = durable().next_sequence();
  medium_->restart();
  EXPECT_TRUE(durable().opened_clean());
  EXPECT_GT(durable().next_sequence(), sequence);
  EXPECT_EQ(lookup("kept", ns_)->sequence, kept.sequence);
  EXPECT_FALSE(lookup("gone", ns_).has_value());
  EXPECT_EQ(lookup("twice", ns)->sequence, second.sequence);
  EXPECT_TRUE(read(kept).ok());
  EXPECT_TRUE(read(second, ns).ok());
  EXPECT_NE(first.location, second.location);
  EXPECT_EQ(durable().counters().erased_ever, 1U);
}

TEST_P(DurableTierContract, ScansEverythingOnceInOrder) {
  for (int i = 0; i < 25; ++i) ASSERT_TRUE(put(concat("s", i + 10), 100).status.ok());
  ASSERT_TRUE(remove("s12", ns_, UINT64_MAX, RemovalReason::evicted).ok());
  std::string cursor;
  std::vector<std::string> seen;
  do {
    ASSERT_TRUE(
        durable()
            .scan(cursor, 7, [&](const StoredBlock& block) { seen.emplace_back(block.name.key); })
            .ok());
  } while (!cursor.empty());
  EXPECT_EQ(seen.size(), 24U);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(durable().usage().blocks, 24U);
}

TEST_P(DurableTierContract, NotesChangeFactsAndOutliveTheProcess) {
  const Stored stored = put("k", 100);
  Note note{.name = {ns_, "k", 0},
            .sequence = stored.sequence,
            .expiry = 123456,
            .pinned = true,
            .status = {}};
  std::atomic<bool> done{false};
  durable().annotate({&note, 1}, Durability::durable, [&] { done = true; });
  medium_->pump_until([&] { return done.load(); });
  ASSERT_TRUE(note.status.ok());
  medium_->restart();
  ASSERT_TRUE(lookup("k", ns_).has_value());
  EXPECT_EQ(lookup("k", ns_)->expiry, 123456);
  EXPECT_TRUE(lookup("k", ns_)->pinned);
  EXPECT_TRUE(read(stored).ok());
}

TEST_P(DurableTierContract, ClearedNamespacesAreEmptyForGood) {
  const NamespaceId other = medium_->namespace_id(NamespaceKind::mutable_);
  const Stored gone = put("k", 3000);
  const Stored stays = put("k", 3000, other);
  ASSERT_TRUE(durable().clear_namespace(ns_).ok());
  EXPECT_FALSE(lookup("k", ns_).has_value());
  EXPECT_TRUE(has_code(read(gone), ErrorCode::corruption));
  const Stored fresh = put("k", 2000);
  EXPECT_TRUE(fresh.status.ok());
  medium_->restart();
  EXPECT_EQ(lookup("k", ns_)->sequence, fresh.sequence);
  EXPECT_TRUE(read(fresh).ok());
  EXPECT_TRUE(read(stays, other).ok());
}

TEST_P(DurableTierContract, StateFilesAreGivenBackWhole) {
  ASSERT_TRUE(durable().save_state("list", as_bytes("first")).ok());
  ASSERT_TRUE(durable().save_state("list", as_bytes("second")).ok());
  medium_->restart();
  EXPECT_EQ(durable().load_state("list").value(), "second");
  EXPECT_TRUE(has_code(durable().load_state("none").status(), ErrorCode::not_found));
}

TEST_P(ImageTierContract, AnImageIsTheBlockAlsoWhereItsLocationIsFreed) {
  for (const std::size_t bytes : {1UL, 4097UL, 300'001UL}) {
    Stored first = put("k", bytes);
    ASSERT_TRUE(first.status.ok());
    auto image = images().image(first.location);
    ASSERT_TRUE(image.ok()) << image.status();
    tier().free({&first.location, 1});
    EXPECT_TRUE(has_code(images().image(first.location).status(), ErrorCode::corruption));
    const Stored second = keep(first, *std::move(image));
    ASSERT_TRUE(second.status.ok()) << second.status;
    EXPECT_TRUE(read(second).ok()) << read(second);
    EXPECT_TRUE(has_code(read(first), ErrorCode::corruption));
    tier().free({&second.location, 1});
  }
  EXPECT_EQ(tier().usage().used_bytes, 0U);
}

TEST_P(ImageTierContract, AnImageOfAnotherLengthIsRefusedAndGivesItsRoomBack) {
  const Stored stored = put("k", 5000);
  auto image = images().image(stored.location);
  ASSERT_TRUE(image.ok());
  const std::uint64_t used = tier().usage().used_bytes;
  Stored longer = stored;
  longer.payload += "!";
  const Stored kept = keep(longer, *std::move(image));
  EXPECT_TRUE(has_code(kept.status, ErrorCode::invalid_argument)) << kept.status;
  EXPECT_TRUE(kept.location.is_null());
  EXPECT_EQ(tier().usage().used_bytes, used);
}

TEST_P(ImageTierContract, ShrinksByWhatIsFreeAndKeepsWhatItHas) {
  const Stored kept = put("kept", 500'000);
  const Stored gone = put("gone", 500'000);
  ASSERT_TRUE(kept.status.ok() && gone.status.ok());
  tier().free({&gone.location, 1});
  images().set_capacity(kMiB);
  EXPECT_EQ(tier().usage().capacity_bytes, kMiB);
  EXPECT_TRUE(has_code(put("large", 1'000'000).status, ErrorCode::no_space));
  EXPECT_TRUE(read(kept).ok());
}

TEST_P(ImageTierContract, LendsNothingOnceClosed) {
  const Stored stored = put("k", 100);
  tier().close();
  EXPECT_TRUE(has_code(images().image(stored.location).status(), ErrorCode::closed));
}

INSTANTIATE_TEST_SUITE_P(Media, TierContract, ::testing::ValuesIn(all_tiers()), name_of);
INSTANTIATE_TEST_SUITE_P(Media, DurableTierContract, ::testing::ValuesIn(durable_tiers()), name_of);
INSTANTIATE_TEST_SUITE_P(Media, ImageTierContract, ::testing::ValuesIn(image_tiers()), name_of);

}  // namespace
}  // namespace cairn::test
