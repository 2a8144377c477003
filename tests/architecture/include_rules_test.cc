// SPDX-License-Identifier: Apache-2.0
// Holds the arrows of ARCHITECTURE.md: every #include of every tracked source is looked up in
// the table of include_rules.cc. The first tests feed the judge offenders, so that a rule that
// has stopped biting is noticed.
#include "tests/architecture/include_rules.h"

#include <gtest/gtest.h>

#include "tests/architecture/source_tree.h"

namespace cairn::test {
namespace {

std::size_t offences(std::string_view path, std::string_view text) {
  return include_violations(path, text).size();
}

TEST(IncludeRules, TheEngineMayNotIncludeTiersToolsOrTests) {
  EXPECT_EQ(offences("engine/read_path.cc", "#include \"tiers/open.h\"\n"), 1U);
  EXPECT_EQ(offences("engine/read_path.cc", "#include \"tools/cairn/size.h\"\n"), 1U);
  EXPECT_EQ(offences("engine/read_path.cc", "#  include \"tests/support/seed.h\"\n"), 1U);
  EXPECT_EQ(offences("engine/read_path.cc", "#include \"engine/catalog.h\"\n"), 0U);
}

TEST(IncludeRules, TheEngineMayNotIncludeADatabaseARingASocketOrADevice) {
  EXPECT_EQ(offences("engine/engine.cc", "#include <rocksdb/db.h>\n"), 1U);
  EXPECT_EQ(offences("engine/engine.cc", "#include <liburing.h>\n"), 1U);
  EXPECT_EQ(offences("engine/engine.cc", "#include <sys/socket.h>\n"), 1U);
  EXPECT_EQ(offences("engine/engine.cc", "#include <fcntl.h>\n"), 1U);
  EXPECT_EQ(offences("engine/base/hash128.cc", "#include <xxhash.h>\n"), 0U);
}

TEST(IncludeRules, TiersMayNotIncludeEachOther) {
  EXPECT_EQ(offences("tiers/hot/region.cc", "#include \"tiers/cold/layout.h\"\n"), 1U);
  EXPECT_EQ(offences("tiers/cold/cleaner.cc", "#include \"tiers/hot/hot_tier.h\"\n"), 1U);
  EXPECT_EQ(offences("tiers/io/device.cc", "#include \"tiers/record/format.h\"\n"), 1U);
  EXPECT_EQ(offences("tiers/cold/cleaner.cc", "#include \"tiers/record/record.h\"\n"), 0U);
  EXPECT_EQ(offences("tiers/cold/cleaner.cc", "#include \"tiers/warm/warm_tier.h\"\n"), 1U);
  EXPECT_EQ(offences("tiers/warm/warm_tier.cc", "#include \"tiers/cold/layout.h\"\n"), 1U);
  EXPECT_EQ(offences("tiers/warm/warm_tier.cc", "#include \"tiers/io/device.h\"\n"), 1U);
  EXPECT_EQ(offences("tiers/warm/warm_tier.h", "#include \"tiers/record/record.h\"\n"), 0U);
  EXPECT_EQ(offences("tiers/record/record.cc", "#include \"tiers/cold/layout.h\"\n"), 1U);
  EXPECT_EQ(offences("tiers/open.cc", "#include \"tiers/hot/hot_tier.h\"\n"), 0U);
}

TEST(IncludeRules, RocksDbAndLiburingHaveOneIncluderEach) {
  EXPECT_EQ(offences("tiers/cold/cold_tier.cc", "#include <rocksdb/db.h>\n"), 1U);
  EXPECT_EQ(offences("tiers/cold/rocksdb_index.cc", "#include <rocksdb/db.h>\n"), 0U);
  EXPECT_EQ(offences("tiers/io/uring_device.cc", "#include <liburing.h>\n"), 1U);
  EXPECT_EQ(offences("tiers/io/ring.h", "#include <liburing.h>\n"), 0U);
  EXPECT_EQ(offences("tests/unit/tiers/index_test.cc", "#include <rocksdb/db.h>\n"), 1U);
}

TEST(IncludeRules, PoliciesArePure) {
  EXPECT_EQ(offences("engine/policy/lru.cc", "#include \"engine/base/clock.h\"\n"), 1U);
  EXPECT_EQ(offences("engine/policy/lru.cc", "#include \"engine/base/mutex.h\"\n"), 1U);
  EXPECT_EQ(offences("engine/policy/lru.cc", "#include \"engine/catalog.h\"\n"), 1U);
}

TEST(IncludeRules, UnknownHeadersAreReported) {
  EXPECT_EQ(offences("tools/cairn/main.cc", "#include <boost/asio.hpp>\n"), 1U);
  EXPECT_EQ(offences("tools/cairn/main.cc", "#include \"size.h\"\n"), 1U);
  EXPECT_EQ(offences("tools/cairn/main.cc", "#include <stdint.h>\n"), 1U);
  EXPECT_EQ(offences("tools/cairn/main.cc", "// #include <boost/asio.hpp>\n"), 0U);
}

TEST(IncludeRules, EveryTrackedSourceKeepsThem) {
  std::size_t sources = 0;
  for (const SourceFile& file : source_tree()) {
    if (!file.is_cpp()) continue;
    ++sources;
    for (const std::string& violation : include_violations(file.path, file.text)) {
      ADD_FAILURE() << violation;
    }
  }
  EXPECT_GT(sources, 30U) << "the source tree was not found";
}

TEST(IncludeRules, EverySourceIncludesItsOwnHeaderFirst) {
  for (const SourceFile& file : source_tree()) {
    if (!file.has_extension(".cc")) continue;
    const std::string header = file.path.substr(0, file.path.size() - 3) + ".h";
    if (!source_exists(header)) continue;
    const std::vector<Include> includes = includes_of(file.text);
    ASSERT_FALSE(includes.empty()) << file.path;
    EXPECT_EQ(includes.front().path, header) << file.path;
  }
}

}  // namespace
}  // namespace cairn::test
