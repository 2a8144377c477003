// SPDX-License-Identifier: Apache-2.0
// What a process may be refused, as a host of the library meets it: with its own dispositions,
// under which SIGXFSZ ends it.
#include "engine/base/process_limits.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <string>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "tests/support/process_limit.h"
#include "tests/support/temp_dir.h"
#include "tiers/open.h"

namespace cairn {
namespace {

bool blocks_file_size_signal() {
  sigset_t mask;
  CAIRN_CHECK(pthread_sigmask(SIG_BLOCK, nullptr, &mask) == 0);
  return sigismember(&mask, SIGXFSZ) == 1;
}

TEST(ProcessLimits, AThreadOfOursGetsNoFileSizeSignalAndItsHostKeepsItsMask) {
  std::atomic<bool> blocked{false};
  auto thread = start_thread("test", [&blocked] { blocked.store(blocks_file_size_signal()); });
  ASSERT_TRUE(thread.ok());
  thread->join();
  EXPECT_TRUE(blocked.load());
  EXPECT_FALSE(blocks_file_size_signal());
}

TEST(ProcessLimits, ASignalThatWasRaisedWhileBlockedIsGone) {
  {
    const FileSizeSignalBlock outer;
    const FileSizeSignalBlock inner;
    ASSERT_EQ(pthread_kill(pthread_self(), SIGXFSZ), 0);
  }
  EXPECT_FALSE(blocks_file_size_signal());
}

TEST(ProcessLimits, MoreThanThereIsIsBusy) {
  EXPECT_TRUE(check_resources(4, kMiB).ok());
  EXPECT_TRUE(has_code(check_resources(1, std::uint64_t{1} << 62), ErrorCode::busy));
  EXPECT_TRUE(has_code(HeldAddressSpace::hold(std::uint64_t{1} << 62).status(), ErrorCode::busy));
}

TEST(ProcessLimits, AStoreWhoseFilesMayNotGrowFailsAndItsHostLives) {
  ASSERT_NE(signal(SIGXFSZ, SIG_DFL), SIG_ERR);  // whatever this process was started with
  for (const auto choice : {tiers::DeviceChoice::automatic, tiers::DeviceChoice::posix}) {
    const test::TempDir directory("limits");
    StoreOptions options;
    options.directory = directory.path();
    options.engine.hot_bytes = 64 * kMiB;
    options.cold.cold_bytes = 64 * kMiB;
    options.device.choice = choice;
    const std::string payload(100'000, 'x');
    const auto put = [&](std::string_view key, Store& store) {
      const auto ns = store.engine().open_namespace({.name = "n"});
      if (!ns.ok()) return ns.status();
      const PutBlock block{.key = key, .payload = as_bytes(payload)};
      return store.engine()
          .put_sync(*ns, {&block, 1}, {.durability = Durability::durable})[0]
          .status;
    };
    {
      const auto store = open_store(options);
      ASSERT_TRUE(store.ok()) << store.status();
      EXPECT_TRUE(put("before", **store).ok());
    }
    for (const std::uint64_t bytes : {std::uint64_t{0}, 20 * kKiB, 300 * kKiB}) {
      const test::ProcessLimit limit(RLIMIT_FSIZE, bytes);
      const auto store = open_store(options);
      if (store.ok()) {
        EXPECT_FALSE(put("within", **store).ok()) << bytes;
      }
      EXPECT_FALSE(blocks_file_size_signal());
    }
    const auto store = open_store(options);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_TRUE(put("after", **store).ok());
    const auto ns = (*store)->engine().open_namespace({.name = "n"});
    ASSERT_TRUE(ns.ok());
    std::string back(payload.size(), '\0');
    LoadTarget target{.key = {"before"},
                      .buffer = {reinterpret_cast<std::byte*>(back.data()), back.size()}};
    ASSERT_TRUE((*store)->engine().load_sync(*ns, {&target, 1}, {.read = Read::each}).ok());
    EXPECT_TRUE(target.found);
    EXPECT_EQ(back, payload);
  }
}

}  // namespace
}  // namespace cairn
