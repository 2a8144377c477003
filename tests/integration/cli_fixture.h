// SPDX-License-Identifier: Apache-2.0
// cli_fixture.h — a store in a temporary directory, and the program run on it.
//
// Threading: confined to its test. Blocking: as the program that is run.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "tests/integration/cli_harness.h"
#include "tests/support/seed.h"
#include "tests/support/temp_dir.h"

namespace cairn::test {

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

inline void write_file(const std::string& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

inline std::string random_bytes(std::size_t count) {
  Rng rng(count + 7);
  std::string bytes(count, '\0');
  rng.fill({reinterpret_cast<std::byte*>(bytes.data()), bytes.size()});
  return bytes;
}

/// A variable of the environment that the program gets; as it was when this goes out of scope.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* const before = std::getenv(name)) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  ~Environment() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* const name_;
  std::optional<std::string> before_;
};

class Cli : public testing::Test {
 protected:
  std::string dir() const { return temp_.file("store"); }
  CliArguments with_dir(CliArguments arguments) const {
    arguments.insert(arguments.end(), {"--dir", dir()});
    return arguments;
  }
  CliResult run(CliArguments arguments, const std::string& input = {}) const {
    return run_cairn(with_dir(std::move(arguments)), input);
  }
  CliResult run_json(CliArguments arguments, const std::string& input = {}) const {
    arguments.push_back("--json");
    return run(std::move(arguments), input);
  }
  /// A small store with one block under "greeting".
  void make_store() const {
    const CliResult put = run({"put", "greeting", "-", "--cold", "256MiB"}, "hello");
    ASSERT_EQ(put.exit, 0) << put.err;
  }
  std::string segment_file(int segment) const {
    char name[32];
    std::snprintf(name, sizeof(name), "/segments/%06d.seg", segment);
    return dir() + name;
  }
  /// The byte `at` of the record that `inspect entry` told of.
  void damage(const nlohmann::ordered_json& entry, std::uint64_t at) const {
    const std::uint64_t offset = entry["place"]["offset"].get<std::uint64_t>() + at;
    std::fstream file(segment_file(entry["place"]["segment"].get<int>()),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(~byte));
    ASSERT_TRUE(file.good());
  }
  /// An error object, the exit code and nothing else on stdout.
  static void expect_error(const CliResult& result, int exit, std::string_view code) {
    EXPECT_EQ(result.exit, exit) << result.out << result.err;
    const auto object = result.object();
    ASSERT_TRUE(object.is_object()) << result.out;
    EXPECT_EQ(object.begin().key(), "schema");
    EXPECT_EQ(object["schema"], "cairn.error/1");
    EXPECT_EQ(object["error"], code) << result.out;
    EXPECT_FALSE(object["message"].get<std::string>().empty());
    EXPECT_TRUE(object.contains("hint"));
  }
  static void expect_object(const CliResult& result, std::string_view schema, int exit = 0) {
    EXPECT_EQ(result.exit, exit) << result.out << result.err;
    const auto object = result.object();
    ASSERT_TRUE(object.is_object()) << result.out << result.err;
    EXPECT_EQ(object.begin().key(), "schema");
    EXPECT_EQ(object["schema"], schema);
    EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 1);
  }

  TempDir temp_{"cli"};
};

}  // namespace cairn::test
