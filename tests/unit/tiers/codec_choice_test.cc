// SPDX-License-Identifier: Apache-2.0
// When blocks stop being made smaller, and when they are again: goal is a choice that follows what
// was measured, forgets neither side, and never takes turns over nothing.
#include "tiers/cold/codec_choice.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace cairn::tiers {
namespace {

constexpr std::uint64_t kMB = 1'000'000;

class Choice : public ::testing::Test {
 protected:
  /// For a second each, so that what was before weighs nothing.
  void disk(std::uint64_t bytes_per_second, CodecChoice& choice) {
    for (int i = 0; i < 20; ++i) {
      choice.disk_began(now_);
      pass(Duration::millis(50));
      choice.disk_ended(now_, bytes_per_second / 20);
    }
  }
  void decoding(std::uint64_t bytes_per_second, CodecChoice& choice) {
    for (int i = 0; i < 20; ++i) {
      choice.decoding_began(now_);
      pass(Duration::millis(50));
      choice.decoding_ended(now_, bytes_per_second / 20);
    }
  }
  void pass(Duration time) { now_ = now_ + time; }
  static std::uint32_t encoded_of(std::uint32_t blocks, CodecChoice& choice) {
    std::uint32_t encoded = 0;
    for (std::uint32_t i = 0; i < blocks; ++i) encoded += choice.should_encode() ? 1U : 0U;
    return encoded;
  }

  TimePoint now_{};
};

TEST_F(Choice, OverlappingRequestsShareTheirTime) {
  BusyMeter meter;
  EXPECT_EQ(meter.bytes_per_second(), 0);
  meter.begin(TimePoint{});
  meter.begin(TimePoint{} + Duration::millis(20));
  EXPECT_FALSE(meter.end(TimePoint{} + Duration::millis(40), 5 * kMB));
  EXPECT_TRUE(meter.end(TimePoint{} + Duration::millis(100), 5 * kMB));
  EXPECT_DOUBLE_EQ(meter.bytes_per_second(), 100.0 * kMB);
  // What lies between two requests is nobody's time.
  meter.begin(TimePoint{} + Duration::seconds(50));
  EXPECT_TRUE(meter.end(TimePoint{} + Duration::seconds(50) + Duration::millis(50), 5 * kMB));
  EXPECT_DOUBLE_EQ(meter.bytes_per_second(), 100.0 * kMB);
}

TEST_F(Choice, AClockThatStandsStillTellsNothing) {
  CodecChoice choice(CodecUse::automatic);
  for (int i = 0; i < 1000; ++i) {
    choice.disk_began(now_);
    choice.disk_ended(now_, 100 * kMB);
    choice.decoding_began(now_);
    choice.decoding_ended(now_, kMB);
  }
  EXPECT_EQ(encoded_of(100, choice), 100U);
}

TEST_F(Choice, BlocksAreHeldOffWhileDecodingIsSlower) {
  CodecChoice choice(CodecUse::automatic);
  EXPECT_TRUE(choice.should_encode());
  disk(4000 * kMB, choice);
  EXPECT_TRUE(choice.should_encode()) << "only one side is known";
  decoding(2000 * kMB, choice);
  EXPECT_TRUE(choice.report().is_held_off);
  EXPECT_EQ(encoded_of(640, choice), 640 / CodecChoice::kProbeEvery);
  // The cores are idle again.
  decoding(6000 * kMB, choice);
  EXPECT_FALSE(choice.report().is_held_off);
  EXPECT_EQ(encoded_of(100, choice), 100U);
  disk(9000 * kMB, choice);
  EXPECT_TRUE(choice.report().is_held_off);
}

TEST_F(Choice, SpeedsThatAreAboutTheSameDoNotTakeTurns) {
  CodecChoice choice(CodecUse::automatic);
  disk(1000 * kMB, choice);
  decoding(900 * kMB, choice);
  EXPECT_FALSE(choice.report().is_held_off);
  decoding(700 * kMB, choice);
  EXPECT_TRUE(choice.report().is_held_off);
  decoding(950 * kMB, choice);
  EXPECT_TRUE(choice.report().is_held_off);
}

TEST_F(Choice, WhoHasDecidedIsNotAsked) {
  CodecChoice on(CodecUse::on), off(CodecUse::off);
  for (CodecChoice* choice : {&on, &off}) {
    disk(4000 * kMB, *choice);
    decoding(100 * kMB, *choice);
    EXPECT_FALSE(choice->report().is_held_off);
    EXPECT_NEAR(choice->report().disk_bytes_per_second, 4000.0 * kMB, kMB);
    EXPECT_NEAR(choice->report().decode_bytes_per_second, 100.0 * kMB, kMB);
  }
  EXPECT_EQ(encoded_of(100, on), 100U);
  EXPECT_EQ(encoded_of(100, off), 0U);
}

}  // namespace
}  // namespace cairn::tiers
