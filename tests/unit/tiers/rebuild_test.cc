// SPDX-License-Identifier: Apache-2.0
// What wins when an index is made from records, on segments written by hand: goal is the rules
// of rebuild.h, each on the smallest store that can break it.
#include "tests/unit/tiers/rebuild_test.h"

#include "tests/support/payload.h"

namespace cairn::tiers {
namespace {

using Rebuild = RebuildTest;

TEST_F(Rebuild, TheHighestSequenceWinsInWhateverOrderSegmentsCome) {
  for (const bool swapped : {false, true}) {
    HandMade first = segment(swapped ? 1 : 0);
    HandMade second = segment(swapped ? 0 : 1);
    first.add(RecordKind::block, "a", 10, "old");
    second.add(RecordKind::block, "a", 20, "new");
    first.add(RecordKind::block, "b", 11, "erased");
    second.add(RecordKind::tombstone, "b", 11);
    first.add(RecordKind::tombstone, "c", 12);
    second.add(RecordKind::block, "c", 13, "put again");
    first.add(RecordKind::note, "d", 14, {}, 30, 999);
    second.add(RecordKind::block, "d", 14, "noted");
    second.add(RecordKind::note, "d", 14, {}, 29, 111);
    first.add(RecordKind::note, "a", 10, {}, 31, 555);
    first.seal();
    place(first);
    place(second);
    const RebuildReport report = repaired();
    EXPECT_EQ(version("a"), 20U);
    EXPECT_EQ(version("b"), 0U);
    EXPECT_TRUE(entry("b")->tombstone);
    EXPECT_EQ(version("c"), 13U);
    EXPECT_EQ(entry("d")->facts.expiry, 999);
    EXPECT_EQ(entry("a")->facts.expiry, 0);
    EXPECT_EQ(report.kept, 3U);
    EXPECT_EQ(report.notes_applied, 1U);
    EXPECT_EQ(report.highest_sequence, 31U);
    EXPECT_EQ(report.segments_sealed, 1U);
  }
}

TEST_F(Rebuild, ABadRecordDoesNotEndTheWalk) {
  HandMade made = segment(0);
  made.add(RecordKind::block, "first", 1, test::make_payload("first", 1, 3000));
  const std::uint64_t bad =
      made.add(RecordKind::block, "bad", 2, test::make_payload("bad", 2, 3000));
  const std::uint64_t torn =
      made.add(RecordKind::block, "torn", 3, test::make_payload("torn", 3, 300000));
  made.add(RecordKind::block, "last", 4, "still here");
  made.bytes()[bad + 40] ^= 1;
  for (std::size_t i = 0; i < 512; ++i) made.bytes()[torn + kPage + 4096 + i] = 0;
  place(made);
  const RebuildReport report = repaired();
  EXPECT_EQ(version("first"), 1U);
  EXPECT_EQ(version("bad"), 0U);
  EXPECT_EQ(version("torn"), 0U);
  EXPECT_EQ(version("last"), 4U);
  EXPECT_EQ(report.dropped.header, 1U);
  EXPECT_EQ(report.dropped.payload, 1U);
}

TEST_F(Rebuild, RecordsOfAnotherLifePlaceStoreOrEpochAreNotKept) {
  HandMade old = segment(0, 1);
  old.add(RecordKind::block, "stale", 5, "from an earlier use");
  HandMade now = segment(0, 2);
  now.bytes() = old.bytes().replace(0, kPage, now.bytes().substr(0, kPage));
  place(now);
  Superblock other = make_superblock(kSegmentBytesMin, 64 * kMiB, 8 * kMiB, 1);
  HandMade foreign(other, 1, 1, 0);
  foreign.add(RecordKind::block, "foreign", 6, "of another store");
  HandMade host = segment(1);
  host.bytes().replace(kPage, kMiB, foreign.bytes().substr(kPage, kMiB));
  place(host);
  HandMade moved = segment(2);
  moved.add(RecordKind::block, "moved", 7, "misdirected");
  moved.bytes().insert(kPage, std::string(kPage, '\0'));
  moved.bytes().resize(kSegmentBytesMin);
  place(moved);
  HandMade cleared = segment(3);
  cleared.epoch = 9;
  cleared.add(RecordKind::block, "cleared", 8, "of another epoch");
  cleared.namespace_id = 77;
  cleared.add(RecordKind::block, "nobody's", 9, "of no namespace");
  cleared.seal();
  place(cleared);
  const RebuildReport report = repaired();
  EXPECT_EQ(report.kept, 0U);
  EXPECT_EQ(report.dropped.stale, 1U);
  EXPECT_EQ(report.dropped.foreign, 2U);
  EXPECT_EQ(report.dropped.epoch, 1U);
  EXPECT_EQ(report.dropped.unknown_namespace, 1U);
}

TEST_F(Rebuild, WithoutItsHeaderASegmentIsBelievedOnlyIfItsGenerationIsKnown) {
  HandMade made = segment(0, 6);
  made.add(RecordKind::block, "a", 10, "value");
  place(made);
  repaired();
  EXPECT_EQ(version("a"), 10U);
  disk_->zero_page(segment_path(kDirectory, static_cast<SegmentId>(0)), 0);
  // The old index still tells the generation.
  EXPECT_EQ(repaired().segments_damaged, 1U);
  EXPECT_EQ(version("a"), 10U);
  lose_index();
  EXPECT_EQ(repaired().kept, 0U);
  EXPECT_EQ(version("a"), 0U);
  // What it knows of the generation is kept, so that its next use gets a higher one.
  EXPECT_EQ(open_index()->segments()->at(0).generation, 6U);
}

TEST_F(Rebuild, ATruncatedSegmentGivesWhatIsLeft) {
  HandMade made = segment(0);
  made.add(RecordKind::block, "a", 1, test::make_payload("a", 1, 5000));
  const std::uint64_t second =
      made.add(RecordKind::block, "b", 2, test::make_payload("b", 2, 300000));
  made.seal();
  made.bytes().resize(second + kPage + 100000);
  place(made);
  const RebuildReport report = repaired();
  EXPECT_EQ(version("a"), 1U);
  EXPECT_EQ(version("b"), 0U);
  EXPECT_EQ(report.segments_sealed, 0U);
  EXPECT_EQ(report.dropped.payload, 1U);
}

// Whoever put "b" anew was told that it is there, and that the first version is not.
TEST_F(Rebuild, WhatADamagedVersionHadReplacedDoesNotComeBack) {
  for (const bool swapped : {false, true}) {
    HandMade first = segment(swapped ? 1 : 0);
    HandMade second = segment(swapped ? 0 : 1);
    first.namespace_id = second.namespace_id = static_cast<std::uint32_t>(kMutable);
    first.add(RecordKind::block, "b", 10, "replaced");
    second.damage_payload(second.add(RecordKind::block, "b", 20, "damaged"));
    // A copy that the cleaner made is as good, and so is what was put since.
    first.add(RecordKind::block, "copied", 11, "moved");
    second.damage_payload(second.add(RecordKind::block, "copied", 11, "moved"));
    first.add(RecordKind::block, "newer", 22, "put since");
    second.damage_payload(second.add(RecordKind::block, "newer", 21, "damaged"));
    first.namespace_id = second.namespace_id = static_cast<std::uint32_t>(kAddressed);
    first.add(RecordKind::block, "b", 12, "the same");
    second.damage_payload(second.add(RecordKind::block, "b", 23, "the same"));
    first.seal();
    second.seal();
    place(first);
    place(second);
    lose_index();
    const RebuildReport report = repaired(true);
    EXPECT_EQ(version("b", kMutable), 0U);
    EXPECT_EQ(version("copied", kMutable), 11U);
    EXPECT_EQ(version("newer", kMutable), 22U);
    EXPECT_EQ(version("b", kAddressed), 12U);
    EXPECT_EQ(report.dropped.payload, 4U);
    EXPECT_EQ(report.dropped.overtaken, 1U);
    // What is put now follows something that was removed for good.
    const auto buried = entry("b", kMutable);
    ASSERT_TRUE(buried.has_value());
    EXPECT_TRUE(buried->tombstone);
    EXPECT_EQ(buried->facts.sequence, 20U);
  }
}

// A put that a power cut ended looks the same as a put that was damaged since. Nobody was told
// that it had ended, but of the version before it somebody was.
TEST_F(Rebuild, WhatATornPutWouldHaveReplacedIsKept) {
  HandMade first = segment(0);
  HandMade second = segment(1);
  first.namespace_id = second.namespace_id = static_cast<std::uint32_t>(kMutable);
  first.add(RecordKind::block, "b", 10, "durable");
  second.damage_payload(second.add(RecordKind::block, "b", 20, "torn"));
  first.seal();
  place(first);
  place(second);
  const RebuildReport report = repaired(true);
  EXPECT_EQ(version("b", kMutable), 10U);
  EXPECT_EQ(report.dropped.payload, 1U);
}

// A footer's copy of a header is as good for an index, but nobody can read the block.
TEST_F(Rebuild, AHeaderThatIsDamagedUnderASoundFooterIsMetWhereEveryByteIsRead) {
  HandMade made = segment(0);
  const std::uint64_t lost = made.add(RecordKind::block, "lost", 1, "its header is damaged");
  made.add(RecordKind::block, "kept", 2, "sound");
  made.add(RecordKind::block, "erased", 3, "erased");
  made.damage_header(made.add(RecordKind::tombstone, "erased", 3));
  made.namespace_id = static_cast<std::uint32_t>(kMutable);
  made.add(RecordKind::block, "b", 4, "replaced");
  made.damage_header(made.add(RecordKind::block, "b", 5, "damaged"));
  made.damage_header(lost);
  made.seal();
  place(made);
  EXPECT_EQ(repaired().dropped.header, 0U) << "headers alone: the copies";
  EXPECT_EQ(version("lost"), 1U);
  lose_index();
  const RebuildReport report = repaired(true);
  EXPECT_EQ(report.dropped.header, 3U);
  EXPECT_EQ(version("lost"), 0U);
  EXPECT_EQ(version("kept"), 2U);
  EXPECT_EQ(version("erased"), 0U) << "what a tombstone says is known";
  EXPECT_EQ(version("b", kMutable), 0U);
}

// What the old index named and no segment gives back is told, and what it says was erased or
// replaced stays so, whichever segment said it.
TEST_F(Rebuild, WhatALostSegmentTakesAlongIsCountedAndBringsNothingBack) {
  for (const bool is_missing : {false, true}) {
    HandMade first = segment(0);
    first.add(RecordKind::block, "kept", 1, "here");
    first.add(RecordKind::block, "erased", 2, "erased since");
    first.add(RecordKind::block, "copied", 3, "the same");
    HandMade second = segment(1);
    second.add(RecordKind::block, "gone", 11, "there");
    second.add(RecordKind::tombstone, "erased", 2);
    second.add(RecordKind::block, "copied", 12, "the same");
    first.namespace_id = second.namespace_id = static_cast<std::uint32_t>(kMutable);
    first.add(RecordKind::block, "b", 4, "replaced");
    second.add(RecordKind::block, "b", 13, "the newest");
    second.namespace_id = static_cast<std::uint32_t>(kCleared);
    second.epoch = superblock_.namespaces[2].epoch;
    second.add(RecordKind::block, "cleared", 14, "there");
    first.seal();
    second.seal();
    place(first);
    place(second);
    lose_index();
    EXPECT_EQ(repair_all().gone, 0U);
    // What was cleared since is nobody's loss.
    ++superblock_.namespaces[2].epoch;
    SimDevice device(disk_, clock_);
    ASSERT_TRUE(replace_superblock(device, kDirectory, superblock_).ok());
    const std::string path = segment_path(kDirectory, static_cast<SegmentId>(1));
    is_missing ? disk_->take_away(path) : disk_->truncate(path, 100);
    for (const bool dry_run : {true, false}) {
      const RepairReport report = repair_all({.dry_run = dry_run});
      EXPECT_EQ(report.gone, 2U) << "gone, and the newest of b";
      EXPECT_EQ(report.rebuilt.segments_damaged, 1U);
      EXPECT_EQ(report.rebuilt.dropped.overtaken, 1U);
      EXPECT_EQ(report.rebuilt.dropped.erased, 1U);
      EXPECT_EQ(report.rebuilt.kept, 2U);
    }
    EXPECT_EQ(version("kept"), 1U);
    EXPECT_EQ(version("gone"), 0U);
    EXPECT_EQ(version("erased"), 0U);
    EXPECT_EQ(version("copied"), 3U) << "every version is the same";
    EXPECT_EQ(version("b", kMutable), 0U);
    EXPECT_EQ(repair_all().gone, 0U) << "told once";
  }
}

}  // namespace
}  // namespace cairn::tiers
