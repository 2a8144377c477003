// SPDX-License-Identifier: Apache-2.0
// What an index that has lost the end of its log takes from the segments, on segments written by
// hand: goal is the rules of roll_forward(), each on the smallest store that can break it.
#include "tests/unit/tiers/rebuild_test.h"
#include "tiers/cold/location.h"

namespace cairn::tiers {
namespace {

using RollForward = RebuildTest;

TEST_F(RollForward, AppliesOnlyWhatTheIndexCouldNotKnow) {
  HandMade sealed = segment(0);
  sealed.add(RecordKind::block, "evicted", 1, "no tombstone, no entry");
  sealed.seal();
  HandMade open = segment(1, 3);
  open.add(RecordKind::block, "lost", 2, "its entry was in the log's end");
  open.add(RecordKind::tombstone, "erased", 3);
  HandMade newer = segment(2, 8);
  newer.add(RecordKind::block, "later", 4, "in a segment opened since");
  place(sealed);
  place(open);
  place(newer);
  {
    const auto index = open_index(true);
    IndexEntry erased;
    erased.facts.sequence = 3;
    erased.location = pack_location({0, static_cast<SegmentId>(0), 8192, 64});
    const IndexChange change{{static_cast<NamespaceId>(1), "erased", 0}, erased};
    const SegmentRow rows[] = {{static_cast<SegmentId>(0), SegmentState::sealed, 1, 0, 0},
                               {static_cast<SegmentId>(1), SegmentState::open, 3, 0, 0},
                               {static_cast<SegmentId>(2), SegmentState::free, 7, 0, 0}};
    ASSERT_TRUE(index->write({&change, 1}, rows, {}, true).ok());
    EXPECT_EQ(rolled_forward(*index).segments, 2U);
    EXPECT_EQ(index->segments()->at(2).generation, 8U);
    EXPECT_EQ(index->segments()->at(2).state, SegmentState::open);
  }
  EXPECT_EQ(version("lost"), 2U);
  EXPECT_EQ(version("later"), 4U);
  EXPECT_EQ(version("erased"), 0U);
  EXPECT_FALSE(entry("evicted").has_value());
}

// The log lost that a block was moved; where it had been, something else may be by now.
TEST_F(RollForward, NamesTheCopyWhereTheFirstPlaceIsUsedAgain) {
  for (const bool is_used_again : {true, false}) {
    HandMade open = segment(1);
    const std::uint64_t copy = open.add(RecordKind::block, "moved", 1, "the block");
    HandMade first = segment(5, is_used_again ? 2 : 1);
    first.seal();
    place(open);
    place(first);
    lose_index();
    const auto index = open_index(true);
    IndexEntry known;
    known.facts.sequence = 1;
    known.location = pack_location({0, static_cast<SegmentId>(5), 8192, 128});
    const IndexChange change{{kAddressed, "moved", 0}, known};
    const SegmentRow rows[] = {{static_cast<SegmentId>(1), SegmentState::open, 1, 0, 0},
                               {static_cast<SegmentId>(5), SegmentState::sealed, 1, 0, 0}};
    ASSERT_TRUE(index->write({&change, 1}, rows, {}, true).ok());
    rolled_forward(*index);
    const Place named = unpack_location((*index->get(change.name))->location);
    EXPECT_EQ(named.segment, static_cast<SegmentId>(is_used_again ? 1 : 5));
    EXPECT_EQ(named.offset, is_used_again ? copy : 8192U);
  }
}

// Numbers that the log forgot are in the segments.
TEST_F(RollForward, GivesNoNumberOutAgain) {
  HandMade open = segment(1);
  open.add(RecordKind::block, "lost", 5'000'000, "its entry was in the log's end");
  open.add(RecordKind::note, "lost", 5'000'000, {}, 5'000'007, 999);
  place(open);
  {
    const auto index = open_index(true);
    const SegmentRow row{static_cast<SegmentId>(1), SegmentState::open, 1, 0, 0};
    ASSERT_TRUE(index->write({}, {&row, 1}, {}, true).ok());
    EXPECT_EQ(rolled_forward(*index).highest_sequence, 5'000'007U);
    EXPECT_GT(*index->reserve_sequences(10), 5'000'007U);
  }
  EXPECT_FALSE(open_index()->recovery().is_behind);
}

// A put that failed leaves a record that nothing names. Openings since have shown what stands in
// its place, so a log that is torn lives later must not bring it back.
TEST_F(RollForward, LeavesAloneWhatEarlierProcessesDidNotName) {
  std::uint64_t first_of_second = 0;
  {
    const auto index = open_index(true);
    ASSERT_TRUE(index->reserve_sequences(1000).ok());
  }
  {
    const auto index = open_index();
    first_of_second = *index->reserve_sequences(1000);
    ASSERT_TRUE(index->reserve_sequences(1000).ok()) << "a second time in one life";
  }
  HandMade old = segment(0, 3, first_of_second - 1);
  old.add(RecordKind::block, "unnamed", first_of_second - 1, "its put had failed");
  HandMade last = segment(1, 3, first_of_second);
  last.add(RecordKind::block, "lost", first_of_second, "its entry was in the log's end");
  place(old);
  place(last);
  {
    const auto index = open_index();
    EXPECT_EQ(index->recovery().first_sequence, first_of_second);
    EXPECT_EQ(rolled_forward(*index).segments, 1U);
  }
  EXPECT_EQ(open_index()->recovery().first_sequence, first_of_second) << "it gave none out";
  EXPECT_EQ(version("lost"), first_of_second);
  EXPECT_FALSE(entry("unnamed").has_value());
}

}  // namespace
}  // namespace cairn::tiers
