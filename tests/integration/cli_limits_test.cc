// SPDX-License-Identifier: Apache-2.0
// The program where the machine says no: files that may not grow, no memory, no threads, files of
// the store that are gone. Always an error that says what to do, and never a signal.
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tests/integration/cli_fixture.h"

namespace cairn::test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

/// A limit of this process, which the program inherits, while it lives.
class Limit {
 public:
  Limit(__rlimit_resource resource, std::uint64_t value) : resource_(resource) {
    CAIRN_CHECK(getrlimit(resource_, &before_) == 0);
    const rlimit limit{value, before_.rlim_max};
    CAIRN_CHECK(setrlimit(resource_, &limit) == 0);
  }
  ~Limit() { CAIRN_CHECK(setrlimit(resource_, &before_) == 0); }
  Limit(const Limit&) = delete;
  Limit& operator=(const Limit&) = delete;

 private:
  const __rlimit_resource resource_;
  rlimit before_{};
};

TEST_F(Cli, AFileThatMayNotGrowIsAFullDisk) {
  make_store();
  const std::string payload = random_bytes(3'000'000);
  const std::string fresh = temp_.file("fresh");
  for (const std::uint64_t bytes : {std::uint64_t{0}, 100 * kKiB, 2000 * kKiB}) {
    SCOPED_TRACE(bytes);
    const Limit limit(RLIMIT_FSIZE, bytes);
    const CliResult put = run_json({"put", "k", "-"}, payload);
    EXPECT_THAT(put.exit, AnyOf(1, 7)) << put.err;
    EXPECT_EQ(put.object()["schema"], "cairn.error/1") << put.out;
    EXPECT_THAT(put.object()["message"].get<std::string>(), HasSubstr("File too large"));
    EXPECT_THAT(put.object()["hint"].get<std::string>(), HasSubstr("ulimit -f"));
    const CliResult made =
        run_cairn({"put", "--dir", concat(fresh, bytes), "k", "-", "--cold", "64MiB"}, payload);
    EXPECT_THAT(made.exit, AnyOf(1, 7)) << made.err;
    EXPECT_EQ(run({"get", "greeting"}).out, "hello");
  }
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
  EXPECT_EQ(run({"put", "k", "-"}, payload).exit, 0);
  EXPECT_EQ(run({"get", "k"}).out, payload);
  EXPECT_EQ(run({"verify"}).exit, 0);
}

TEST_F(Cli, TooLittleMemoryIsAnError) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's shadow needs more address space than any limit";
  make_store();
  int refused = 0;
  for (std::uint64_t mib = 64; mib <= 768; mib += 64) {
    SCOPED_TRACE(mib);
    const Limit limit(RLIMIT_AS, mib * kMiB);
    for (const CliArguments& command :
         {CliArguments{"get", "greeting"}, {"put", "k", "-"}, {"stats"}}) {
      const CliResult result = run(command, "value");
      EXPECT_THAT(result.exit, AnyOf(0, 1)) << result.err;
      if (result.exit == 0) continue;
      ++refused;
      EXPECT_THAT(result.err, HasSubstr("ulimit -v"));
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
}

TEST_F(Cli, ReadingNeedsNoLockFile) {
  make_store();
  std::filesystem::remove(dir() + "/LOCK");
  std::filesystem::remove_all(dir() + "/state");
  const auto before = fingerprint(dir());
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
  EXPECT_EQ(run({"get", "nothing"}).exit, 3);
  for (const CliArguments& command :
       {CliArguments{"ls"}, {"stats"}, {"verify"}, {"doctor"}, {"repair", "--dry-run"}}) {
    EXPECT_EQ(run(command).exit, 0) << command.front();
  }
  EXPECT_EQ(fingerprint(dir()), before);
  EXPECT_EQ(run({"put", "k", "-"}, "value").exit, 0);
  EXPECT_EQ(run({"get", "greeting"}).out, "hello");
}

}  // namespace
}  // namespace cairn::test
