// SPDX-License-Identifier: Apache-2.0
// A disk under the index that does not answer: RocksDB's writes and syncs wait at a gate. The whole
// store with its own threads, because what must not stand still is the other threads. Nothing here
// is timed: while the gate is shut, what hangs hangs for ever, and the test with it.
#include <gtest/gtest.h>
#include <rocksdb/file_system.h>

#include <optional>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "tests/support/payload.h"
#include "tests/support/temp_dir.h"
#include "tiers/open.h"

namespace cairn::test {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

class Gate {
 public:
  void shut() { set(true); }
  void open() { set(false); }
  /// Of the one who writes.
  void pass() {
    MutexLock lock(mutex_);
    while (is_shut_) {
      ++waiting_;
      changed_.notify_all();
      changed_.wait(mutex_);
      --waiting_;
    }
  }
  /// Until somebody stands before it.
  void await_waiter() {
    MutexLock lock(mutex_);
    while (waiting_ == 0) changed_.wait(mutex_);
  }

 private:
  void set(bool is_shut) {
    MutexLock lock(mutex_);
    is_shut_ = is_shut;
    changed_.notify_all();
  }

  Mutex mutex_{LockRank::metrics};
  CondVar changed_;
  bool is_shut_ CAIRN_GUARDED_BY(mutex_) = false;
  int waiting_ CAIRN_GUARDED_BY(mutex_) = 0;
};

class GatedFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  GatedFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, Gate& gate)
      : FSWritableFileOwnerWrapper(std::move(file)), gate_(gate) {}
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  IODebugContext* dbg) override {
    gate_.pass();
    return target()->Append(data, options, dbg);
  }
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& info, IODebugContext* dbg) override {
    gate_.pass();
    return target()->Append(data, options, info, dbg);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* dbg) override {
    gate_.pass();
    return target()->Sync(options, dbg);
  }

 private:
  Gate& gate_;
};

class GatedFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  explicit GatedFileSystem(Gate& gate)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), gate_(gate) {}
  const char* Name() const override { return "GatedFileSystem"; }
  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                           IODebugContext* dbg) override {
    const IOStatus status = target()->NewWritableFile(path, options, result, dbg);
    if (status.ok()) *result = std::make_unique<GatedFile>(std::move(*result), gate_);
    return status;
  }

 private:
  Gate& gate_;
};

class HungIndex : public ::testing::Test {
 protected:
  void SetUp() override {
    StoreOptions options;
    options.directory = directory_.path();
    options.engine.hot_bytes = 8 * kMiB;
    options.engine.metadata_bytes = 8 * kMiB;
    options.cold.cold_bytes = 64 * kMiB;
    options.cold.index_file_system = std::make_shared<GatedFileSystem>(gate_);
    auto store = open_store(options);
    ASSERT_TRUE(store.ok()) << message_of(store.status());
    store_ = *std::move(store);
    const auto ns = engine().open_namespace({.name = "n"});
    ASSERT_TRUE(ns.ok());
    ns_ = *ns;
  }
  void TearDown() override { gate_.open(); }

  Engine& engine() { return store_->engine(); }
  PutResult put(const std::string& key, Durability durability) {
    const std::string payload = make_payload(key, 1, 20'000);
    const PutBlock block{.key = key, .payload = as_bytes(payload)};
    return engine().put_sync(ns_, {&block, 1}, {.durability = durability}).front();
  }
  bool get(const std::string& key) {
    const KeyRef ref{key};
    const AcquireOptions options{.deadline = system_clock().now() + Duration::seconds(5)};
    const auto lease = engine().acquire_sync(ns_, {&ref, 1}, options);
    return lease.ok() && !lease->blocks().empty() && lease->blocks()[0].found &&
           is_payload(key, 1, lease->blocks()[0].bytes);
  }

  Gate gate_;
  TempDir directory_;
  std::unique_ptr<Store> store_;
  NamespaceId ns_{};
};

TEST_F(HungIndex, PutsWaitAndReadsAndPutsIntoMemoryGoOn) {
  ASSERT_TRUE(put("cold", Durability::durable).status.ok());
  ASSERT_TRUE(engine().evict_unused(TierKind::hot, 0).ok());
  ASSERT_TRUE(put("hot", Durability::durable).status.ok());
  gate_.shut();
  std::atomic<bool> answered{false};
  PutResult late;
  const std::string payload = make_payload("late", 1, 20'000);
  const PutBlock block{.key = "late", .payload = as_bytes(payload)};
  engine().put(ns_, {&block, 1}, {.durability = Durability::durable},
               [&](std::vector<PutResult> results) {
                 late = results.front();
                 answered.store(true);
                 answered.notify_all();
               });
  gate_.await_waiter();
  EXPECT_TRUE(get("hot"));
  EXPECT_TRUE(get("cold")) << "the catalog knows where it is";
  EXPECT_TRUE(put("memory", Durability::memory).status.ok());
  EXPECT_TRUE(get("memory"));
  EXPECT_FALSE(get("late")) << "not published yet";
  EXPECT_FALSE(answered.load()) << "acknowledged without the index";
  gate_.open();
  answered.wait(false);
  EXPECT_TRUE(late.status.ok()) << message_of(late.status);
  EXPECT_TRUE(get("late"));
  EXPECT_TRUE(engine().close().ok());
  std::printf("cairn-count: hang=1\ncairn-count: faults=1\n");
}

}  // namespace
}  // namespace cairn::test
