// SPDX-License-Identifier: Apache-2.0
// io_error_fixture.h — a store on a simulated disk that is about to fail, and what it promised.
//
// Faults that fired are printed by their kind when the test ends, also those of disks that died
// on the way.
//
// Threading: confined to its test. Blocking: cpu.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/evictions_told.h"
#include "tests/support/payload.h"
#include "tests/support/seed.h"
#include "tests/support/sim_store.h"

namespace cairn::test {

class IoError : public ::testing::Test {
 protected:
  static constexpr std::size_t kKeys = 80;

  static std::size_t bytes_of(std::size_t i) {
    constexpr std::size_t kSizes[] = {300, 9000, 70'000, 262'144, 400'000};
    return kSizes[i % std::size(kSizes)];
  }
  static std::string key_of(std::size_t i) { return concat("key-", i); }

  void start(std::uint64_t seed) { start(small_sim_store(seed)); }
  void start(SimStoreOptions options) {
    options.engine.on_evicted = [this](std::span<const Eviction> evictions) {
      told_.tell(evictions);
    };
    store_ = std::make_unique<SimStore>(std::move(options));
    ASSERT_TRUE(store_->open().ok());
    open_namespace();
  }
  void open_namespace() {
    const auto ns = store_->engine().open_namespace({.name = "n", .kind = NamespaceKind::mutable_});
    ASSERT_TRUE(ns.ok()) << message_of(ns.status());
    ns_ = *ns;
  }

  absl::Status put(std::size_t i, Durability durability) {
    const std::string key = key_of(i);
    const std::uint64_t version = ++version_[i];
    possible_[i].insert(version);
    const PutResult result =
        store_->put(ns_, key, as_bytes(make_payload(key, version, bytes_of(i))), durability);
    note_put(i, version, durability, result);
    return result.status;
  }
  /// After a failure the key holds its old block, its new one or none.
  void note_put(std::size_t i, std::uint64_t version, Durability durability,
                const PutResult& result) {
    if (result.status.ok() && durability != Durability::memory) {
      possible_[i] = {version};
      promised_[i] = result.sequence;
    } else {
      promised_.erase(i);
    }
  }

  /// Wrong bytes fail the test; true when the block was there.
  bool get(std::size_t i) {
    const std::string key = key_of(i);
    const auto got = store_->get(ns_, key);
    if (!got.ok() || !got->has_value()) return false;
    bool right = false;
    for (const std::uint64_t version : possible_[i]) {
      right = right || ((*got)->size() == bytes_of(i) && is_payload(key, version, as_bytes(**got)));
    }
    EXPECT_TRUE(right) << key << ": wrong bytes";
    return true;
  }

  /// Every block that was promised is there, but for those of which the store said that it would
  /// evict them. Returns how many are.
  std::size_t expect_promised() {
    std::size_t found = 0;
    for (const auto& [i, sequence] : promised_) {
      const bool is_there = get(i);
      if (is_there) ++found;
      const BlockId id = block_id({ns_, key_of(i), 0}, store_->cold().block_id_secret());
      EXPECT_TRUE(is_there || told_.covers(id, sequence)) << key_of(i) << " is lost";
    }
    return found;
  }

  void mixed_work(Rng& rng, std::size_t operations) {
    for (std::size_t n = 0; n < operations; ++n) {
      const std::size_t i = rng.below(kKeys);
      if (rng.below(3) == 0) {
        get(i);
      } else {
        put(i, static_cast<Durability>(rng.below(3)))
            .IgnoreError();  // what it said is in the model
      }
    }
  }

  void restart() {
    store_->close().IgnoreError();  // a failing medium may refuse the last sync
    restart_closed();
  }
  void restart_closed() {
    store_->disk().faults().clear();
    reopen();
  }
  void kill(Rng& rng) {
    count_faults();
    store_->kill(rng);
    reopen();
  }
  void power_cut(Rng& rng) {
    count_faults();
    store_->power_cut(rng);
    reopen();
  }

  void TearDown() override {
    if (store_ == nullptr) return;
    count_faults();
    for (std::size_t kind = 0; kind < kFaultKinds; ++kind) {
      if (fired_[kind] == 0) continue;
      const std::string name(fault_name(static_cast<Fault>(kind)));
      std::printf("cairn-count: %s=%llu\ncairn-count: faults=%llu\n", name.c_str(), fired_[kind],
                  fired_[kind]);
    }
  }

  std::unique_ptr<SimStore> store_;
  NamespaceId ns_{};
  EvictionsTold told_;
  std::map<std::size_t, std::uint64_t> version_;
  std::map<std::size_t, std::set<std::uint64_t>> possible_;
  std::map<std::size_t, std::uint64_t> promised_;  // and the store's number of the version

 private:
  void reopen() {
    const absl::Status opened = store_->open();
    ASSERT_TRUE(opened.ok()) << message_of(opened);
    open_namespace();
  }
  void count_faults() {
    for (std::size_t kind = 0; kind < kFaultKinds; ++kind) {
      fired_[kind] += store_->disk().faults().fired(static_cast<Fault>(kind));
    }
  }

  std::array<unsigned long long, kFaultKinds> fired_{};  // on disks that are gone, then on all
};

}  // namespace cairn::test
