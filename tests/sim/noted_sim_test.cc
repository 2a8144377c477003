// SPDX-License-Identifier: Apache-2.0
// A changed expiry and a durable pin: what a note says about a block that is stored already. Goal:
// wherever the cleaner has carried the block, its notes, or an older note in the meantime, an index
// that has to be made again, or caught up, says what the last note said.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/base/text.h"
#include "tests/support/cold_calls.h"
#include "tests/support/cold_repair.h"
#include "tiers/cold/location.h"

namespace cairn::test {
namespace {

using tiers::RecordKind;
using tiers::SegmentId;

constexpr WallMicros kFirst = 4'000'000'000'000'000;
constexpr WallMicros kSecond = 5'000'000'000'000'000;

/// A block "key", and segments that are filled, sealed, and made worth cleaning by what is around.
class NotedSim : public ::testing::Test {
 protected:
  void SetUp() override { open(); }

  void open() {
    const absl::Status opened = world_.open();
    ASSERT_TRUE(opened.ok()) << opened;
    ns_ = world_.mutable_namespace();
  }
  void put_key() {
    const BlockPut put = put_block(world_, ns_, "key", 100'000, Durability::durable);
    ASSERT_TRUE(put.status.ok()) << put.status;
    sequence_ = put.sequence;
  }
  void note(WallMicros expiry, bool pinned) {
    Note note;
    note.name = {ns_, "key", 0};
    note.sequence = sequence_;
    note.expiry = expiry;
    note.pinned = pinned;
    bool done = false;
    world_.tier().annotate({&note, 1}, Durability::durable, [&] { done = true; });
    world_.pump_until([&] { return done; });
    ASSERT_TRUE(note.status.ok()) << note.status;
  }
  /// Puts until what was being appended to is sealed, and names what fills it.
  std::vector<std::string> fill() {
    std::vector<std::string> keys;
    SegmentId first{};
    while (true) {
      keys.push_back(concat("fill-", next_++));
      const BlockPut put = put_block(world_, ns_, keys.back(), 200'000, Durability::written);
      EXPECT_TRUE(put.status.ok()) << put.status;
      const SegmentId segment = tiers::unpack_location(put.location).segment;
      if (keys.size() == 1) first = segment;
      if (segment != first || !put.status.ok()) break;
    }
    // The last one lies in the next segment.
    keys.pop_back();
    return keys;
  }
  void evict(const std::vector<std::string>& keys) {
    for (const std::string& key : keys) {
      ASSERT_TRUE(remove_block(world_, ns_, key, RemovalReason::evicted, Durability::written).ok());
    }
  }
  /// Empties the segments that fillers were evicted from, and leaves those that are full of life.
  void clean() {
    bool done = false;
    world_.tier().compact(0.05, [&](const absl::Status&) { done = true; });
    world_.pump_until([&] { return done; });
  }
  SegmentId place_of_key() {
    const auto found = look_up(world_, ns_, "key");
    EXPECT_TRUE(found.ok() && found->has_value());
    return found.ok() && *found ? tiers::unpack_location((*found)->location).segment : SegmentId{};
  }
  /// Notes of "key" that a repair would meet, in its order.
  std::vector<RecordSeen> notes() {
    std::vector<RecordSeen> all = records_of(world_, "key");
    std::erase_if(all, [](const RecordSeen& record) { return record.kind != RecordKind::note; });
    return all;
  }
  /// Where the note lies that says so.
  SegmentId place_of_note(WallMicros expiry) {
    SegmentId place{UINT32_MAX};
    for (const RecordSeen& note : notes()) {
      if (note.expiry == expiry) place = note.segment;
    }
    return place;
  }
  /// Takes the last byte of the index's log, which is of a filler.
  void tear_log() {
    for (const std::string& path : world_.disk().files()) {
      if (!path.ends_with(".log")) continue;
      const std::size_t bytes = world_.disk().content(path).size();
      ASSERT_GT(bytes, 0U);
      world_.disk().truncate(path, bytes - 1);
    }
  }
  void expect_facts(WallMicros expiry, bool pinned) {
    const auto found = look_up(world_, ns_, "key");
    ASSERT_TRUE(found.ok() && found->has_value());
    EXPECT_EQ((*found)->facts.sequence, sequence_);
    EXPECT_EQ((*found)->facts.expiry, expiry);
    EXPECT_EQ((*found)->facts.pinned, pinned);
    EXPECT_TRUE(read_block(world_, ns_, "key").ok());
  }
  void expect_facts_after_repair(WallMicros expiry, bool pinned) {
    lose_index(world_.disk());
    repair(world_);
    open();
    expect_facts(expiry, pinned);
    world_.close();
  }

  ColdWorld world_{{.seed = 17}};
  NamespaceId ns_{};
  std::uint64_t sequence_ = 0;
  int next_ = 0;
};

enum class Moved : std::uint8_t { neither, block, note, both };

class NotedAndMoved : public NotedSim, public ::testing::WithParamInterface<Moved> {};

TEST_P(NotedAndMoved, IsAsNotedAfterARepair) {
  const bool moves_block = GetParam() == Moved::block || GetParam() == Moved::both;
  const bool moves_note = GetParam() == Moved::note || GetParam() == Moved::both;
  put_key();
  const SegmentId block_put_in = place_of_key();
  const std::vector<std::string> around_block = fill();
  note(kFirst, true);
  const std::vector<std::string> around_note = fill();
  expect_facts(kFirst, true);
  ASSERT_EQ(notes().size(), 1U);
  const SegmentId noted_in = notes()[0].segment;
  if (moves_block) evict(around_block);
  if (moves_note) evict(around_note);
  if (GetParam() != Moved::neither) clean();
  EXPECT_EQ(place_of_key() != block_put_in, moves_block);
  expect_facts(kFirst, true);
  ASSERT_EQ(notes().size(), 1U);
  EXPECT_EQ(notes()[0].segment != noted_in, moves_note);
  world_.kill();
  expect_facts_after_repair(kFirst, true);
}

INSTANTIATE_TEST_SUITE_P(Each, NotedAndMoved,
                         ::testing::Values(Moved::neither, Moved::block, Moved::note, Moved::both));

/// Two notes, of which the cleaner carries the newer one; a repair meets it first or last.
class NotedTwice : public NotedSim, public ::testing::WithParamInterface<bool> {};

TEST_P(NotedTwice, TheOlderNoteThatWasLeftBehindDoesNotOverride) {
  const bool newer_comes_first = GetParam();
  const std::vector<std::string> before = fill();
  put_key();
  fill();
  note(kFirst, true);
  fill();
  note(kSecond, false);
  const std::vector<std::string> around_newer = fill();
  if (newer_comes_first) {
    // A file that is free is used again before one is made: the cleaner goes on in the first.
    evict(before);
    clean();
  }
  const SegmentId noted_in = place_of_note(kSecond);
  evict(around_newer);
  clean();
  EXPECT_NE(place_of_note(kSecond), noted_in) << "it was not carried";
  EXPECT_EQ(place_of_note(kSecond) < place_of_note(kFirst), newer_comes_first);
  ASSERT_EQ(notes().size(), 2U);
  expect_facts(kSecond, false);
  world_.kill();
  expect_facts_after_repair(kSecond, false);
}

INSTANTIATE_TEST_SUITE_P(Each, NotedTwice, ::testing::Bool());

// Block and note come to lie in one segment of the cleaner's, and that one is emptied in its turn:
// the block takes its facts along, and still the note has to go with it, for the older one stays.
TEST_F(NotedSim, ANoteGoesAlongAlsoWhereItsBlockDoes) {
  put_key();
  const std::vector<std::string> around_key = fill();
  note(kFirst, true);
  fill();
  note(kSecond, false);
  const std::vector<std::string> around_note = fill();
  const auto every = [](const std::vector<std::string>& keys, std::size_t remainder) {
    std::vector<std::string> out;
    for (std::size_t i = remainder; i < keys.size(); i += 2) out.push_back(keys[i]);
    return out;
  };
  evict(every(around_key, 0));
  evict(every(around_note, 0));
  clean();
  const SegmentId together = place_of_key();
  ASSERT_EQ(place_of_note(kSecond), together);
  const SegmentId older = place_of_note(kFirst);
  evict(every(fill(), 0));
  clean();  // fills what the two lie in
  evict(every(around_key, 1));
  evict(every(around_note, 1));
  clean();
  ASSERT_NE(place_of_key(), together);
  EXPECT_EQ(place_of_note(kFirst), older) << "nothing is left that could override";
  world_.kill();
  expect_facts_after_repair(kSecond, false);
}

// A note that was carried lies behind newer ones. An opening that catches up with a log that was
// torn reads the segments that were open, the cleaner's among them, and not what was sealed since.
TEST_F(NotedSim, ACarriedNoteIsNoNewsToAnIndexThatKnowsALaterOne) {
  put_key();
  fill();
  note(kFirst, true);
  evict(fill());
  clean();
  ASSERT_EQ(notes().size(), 1U);
  note(kSecond, false);
  fill();
  ASSERT_EQ(notes().size(), 2U);
  expect_facts(kSecond, false);
  world_.kill();
  tear_log();
  open();
  expect_facts(kSecond, false);
  world_.close();
}

}  // namespace
}  // namespace cairn::test
