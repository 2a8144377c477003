// SPDX-License-Identifier: Apache-2.0
// Goal: traces are read as they were published, and bytes that are no trace are refused with
// the place where they stop being one.
// Method: examples; then lines damaged at random, with a JSON library as the judge.
#include "bench/workload/trace.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/status.h"
#include "tests/support/seed.h"
#include "tests/support/temp_dir.h"

namespace cairn::workload {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kLine =
    R"({"timestamp": 27.5, "input_length": 1100, "output_length": 5, )"
    R"("hash_ids": [0, 18446744073709551615, 7], )"
    R"("session": {"a": [1, -2.5e3, "\u00e9\"", null, true, {}]}, "type": "main/tool_use"})";

std::string error_of(std::string_view line) {
  TraceRequest request;
  const absl::Status status = parse_trace_line(line, request);
  return status.ok() ? "" : std::string(message_of(status));
}

TEST(Trace, FieldsAreReadInAnyOrderAndOthersSkipped) {
  TraceRequest request;
  ASSERT_TRUE(parse_trace_line(kLine, request).ok());
  const TraceRequest expected{27.5, 1100, 5, {0, ~std::uint64_t{0}, 7}, "main/tool_use"};
  EXPECT_EQ(request, expected);
  // The same memory again: nothing of the last line stays behind.
  ASSERT_TRUE(parse_trace_line(
                  R"( {"hash_ids":[],"output_length":0,"input_length":3,"timestamp":0} )", request)
                  .ok());
  EXPECT_EQ(request, (TraceRequest{0, 3, 0, {}, ""}));
}

TEST(Trace, WhatIsNoRequestIsRefusedWithItsPlace) {
  EXPECT_EQ(error_of(""), "byte 1: a request is an object");
  EXPECT_EQ(error_of("[]"), "byte 1: a request is an object");
  EXPECT_EQ(error_of("{}"), "byte 3: no \"timestamp\"");
  EXPECT_EQ(error_of(R"({"timestamp":1,})"), "byte 16: expected a string");
  EXPECT_EQ(error_of(R"({"timestamp":1,"timestamp":1})"), "byte 16: a field twice");
  EXPECT_EQ(error_of(R"({"timestamp":01})"), "byte 15: expected ',' or '}'");
  EXPECT_EQ(error_of(R"({"timestamp":1e999})"), "byte 14: a number out of range");
  EXPECT_EQ(error_of(R"({"input_length":-1})"),
            "byte 17: expected a whole number of at most 64 bits");
  EXPECT_EQ(error_of(R"({"input_length":1.5})"), "byte 17: expected a whole number");
  EXPECT_EQ(error_of(R"({"hash_ids":[1 2]})"), "byte 16: expected ',' or ']'");
  EXPECT_EQ(error_of(R"({"hash_ids":[18446744073709551616]})"),
            "byte 14: expected a whole number of at most 64 bits");
  EXPECT_EQ(error_of(R"({"x":"\q"})"), "byte 8: an unknown escape");
  EXPECT_EQ(error_of("{\"x\":\"\n\"}"), "byte 7: a control character in a string");
  EXPECT_EQ(error_of(std::string(kLine) + " x"),
            "byte " + std::to_string(kLine.size() + 2) + ": text behind the object");
  EXPECT_EQ(error_of("{\"x\":" + std::string(100, '[')), "byte 38: nested too deeply");
}

TEST(Trace, EveryBeginningOfALineIsRefused) {
  for (std::size_t length = 0; length < kLine.size(); ++length) {
    EXPECT_NE(error_of(kLine.substr(0, length)), "") << length;
  }
}

TEST(Trace, DamagedLinesAreJudgedAsAJsonLibraryDoes) {
  static constexpr std::string_view kAlphabet = "{}[],:\"\\ue+-.0123456789tfn aE";
  for (const std::uint64_t seed : test::seeds({1, 2, 3}, 1)) {
    test::print_seed(seed);
    test::Rng rng(seed);
    std::size_t accepted = 0;
    for (std::size_t i = test::scaled(20'000); i > 0; --i) {
      std::string line(kLine);
      for (std::uint64_t n = rng.between(1, 3); n > 0; --n) {
        const std::size_t at = rng.below(line.size());
        switch (rng.below(3)) {
          case 0:
            line[at] = kAlphabet[rng.below(kAlphabet.size())];
            break;
          case 1:
            line.erase(at, rng.between(1, 4));
            break;
          default:
            line.insert(at, 1, kAlphabet[rng.below(kAlphabet.size())]);
            break;
        }
      }
      TraceRequest request;
      if (!parse_trace_line(line, request).ok()) continue;
      ++accepted;
      const Json json = Json::parse(line, nullptr, false);
      ASSERT_TRUE(json.is_object()) << line;
      EXPECT_EQ(json.at("timestamp").get<double>(), request.timestamp_ms);
      EXPECT_EQ(json.at("input_length").get<std::uint64_t>(), request.input_length);
      EXPECT_EQ(json.at("output_length").get<std::uint64_t>(), request.output_length);
      EXPECT_EQ(json.at("hash_ids").get<std::vector<std::uint64_t>>(), request.hash_ids);
    }
    EXPECT_GT(accepted, 0U);
  }
}

TEST(Trace, TheLastBlockIsUnfilledExactlyWhenThereAreMoreIdsThanFullBlocks) {
  const auto full = [](std::uint64_t tokens, std::size_t ids) {
    return full_blocks({.input_length = tokens, .hash_ids = std::vector<std::uint64_t>(ids)}, 512);
  };
  EXPECT_EQ(full(6758, 14), 13U);  // the first line of the conversation trace
  EXPECT_EQ(full(1024, 2), 2U);
  EXPECT_EQ(full(1025, 2), 2U);
  EXPECT_EQ(full(1025, 3), 2U);
  EXPECT_EQ(full(511, 1), 0U);
  EXPECT_EQ(full(18990, 37), 37U);  // coding agents: never
  EXPECT_EQ(full(0, 0), 0U);
  EXPECT_EQ(full(512, 0), 0U);
}

TEST(Trace, KeysComeFromTheWholePrefix) {
  TraceKeys keys;
  std::string a;
  std::string b;
  keys.make(std::vector<std::uint64_t>{1, 2, 3, 4}, a);
  keys.make(std::vector<std::uint64_t>{1, 2, 9, 4}, b);
  ASSERT_EQ(a.size(), 4 * TraceKeys::kKeyBytes);
  EXPECT_EQ(TraceKeys::key_at(a, 1), TraceKeys::key_at(b, 1));
  EXPECT_NE(TraceKeys::key_at(a, 2), TraceKeys::key_at(b, 2));
  EXPECT_NE(TraceKeys::key_at(a, 3), TraceKeys::key_at(b, 3));
  // Ids of 64 bits count in full.
  keys.make(std::vector<std::uint64_t>{1 + (std::uint64_t{1} << 32)}, b);
  EXPECT_NE(TraceKeys::key_at(a, 0), TraceKeys::key_at(b, 0));
  TraceKeys other("another");
  other.make(std::vector<std::uint64_t>{1}, b);
  EXPECT_NE(TraceKeys::key_at(a, 0), TraceKeys::key_at(b, 0));
  keys.make({}, b);
  EXPECT_EQ(b, "");
}

TEST(TraceReader, TellsFileAndLine) {
  const test::TempDir dir("trace");
  std::ofstream(dir.file("t")) << kLine << "\r\n\n" << kLine << "\n{\"timestamp\": nix}\n";
  TraceReader reader = TraceReader::open(dir.file("t")).value();
  TraceRequest request;
  EXPECT_TRUE(reader.next(request).value());
  EXPECT_TRUE(reader.next(request).value());
  const absl::Status status = reader.next(request).status();
  EXPECT_TRUE(has_code(status, ErrorCode::invalid_argument));
  EXPECT_EQ(message_of(status), dir.file("t") + ":4: byte 15: expected a number");
  EXPECT_TRUE(has_code(TraceReader::open(dir.file("none")).status(), ErrorCode::not_found));
  EXPECT_FALSE(read_trace(dir.path()).ok());  // a directory
}

TEST(TraceReader, ReadsAFileThatEndsWithoutANewline) {
  const test::TempDir dir("trace");
  std::ofstream(dir.file("t")) << kLine << '\n' << kLine;
  EXPECT_EQ(read_trace(dir.file("t"))->size(), 2U);
  std::ofstream(dir.file("empty")).close();
  EXPECT_TRUE(read_trace(dir.file("empty"))->empty());
}

TEST(TraceReader, PublishedTracesHaveTheirPublishedNumbers) {
  const char* const data = std::getenv("CAIRN_DATA");
  const char* const source = std::getenv("CAIRN_SOURCE_DIR");
  const std::string dir =
      (data != nullptr ? std::string(data)
                       : std::string(source != nullptr ? source : ".") + "/../shared") +
      "/traces/";
  if (!std::filesystem::exists(dir)) GTEST_SKIP() << "no traces at " << dir << " (set CAIRN_DATA)";
  struct Expected {
    const char* file;
    std::size_t requests;
    std::size_t references;
    std::size_t unique;
  };
  for (const Expected& e : {Expected{"conversation_trace.jsonl", 12'031, 288'500, 182'790},
                            Expected{"synthetic_trace.jsonl", 3'993, 121'877, 43'924},
                            Expected{"cc_a.jsonl", 21'595, 5'109'364, 177'153}}) {
    const auto trace = read_trace(dir + e.file);
    ASSERT_TRUE(trace.ok()) << trace.status();
    std::size_t references = 0;
    std::set<std::uint64_t> unique;
    for (const TraceRequest& request : *trace) {
      references += request.hash_ids.size();
      unique.insert(request.hash_ids.begin(), request.hash_ids.end());
    }
    EXPECT_EQ(trace->size(), e.requests) << e.file;
    EXPECT_EQ(references, e.references) << e.file;
    EXPECT_EQ(unique.size(), e.unique) << e.file;
  }
}

}  // namespace
}  // namespace cairn::workload
