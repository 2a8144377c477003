// SPDX-License-Identifier: Apache-2.0
// The engine against a std::map: random operations, random options, restarts of every kind.
//
// The model keeps, for every name, the versions that a read may give back and whether a miss is
// allowed. A version is allowed from the moment its put is asked for; it is the only one once a
// later operation has been acknowledged. A miss is allowed where the block may have been
// evicted, was only in memory when the process ended, or is not surely there. Tiers are made
// large in half of the runs: then nothing is evicted, and a miss of what was acknowledged is a
// failure. Wrong bytes are always one.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/support/engine_world.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

struct Known {
  std::set<std::uint64_t> versions;  // a read may give any of these
  std::size_t bytes = 0;             // content-addressed: the length
  bool may_miss = true;
  Durability durability = Durability::memory;  // of what is surely there
};

class ModelRun {
 public:
  explicit ModelRun(std::uint64_t seed) : rng_(seed), world_(random_options()) {
    for (int i = 0; i < 2; ++i) {
      names_.push_back({"content" + std::to_string(i), NamespaceKind::content_addressed});
      names_.push_back({"mutable" + std::to_string(i), NamespaceKind::mutable_});
    }
    for (const auto& [name, kind] : names_)
      namespaces_.push_back(world_.open_namespace(name, kind));
  }

  void run(std::size_t operations) {
    for (std::size_t i = 0; i < operations && !::testing::Test::HasFailure(); ++i) step();
    for (std::size_t at = 0; at < namespaces_.size(); ++at) {
      for (int key = 0; key < kKeys; ++key) get(at, key_name(key));
    }
    check_bounds();
  }

 private:
  static constexpr int kKeys = 24;
  using Name = std::pair<std::size_t, std::string>;

  EngineWorldOptions random_options() {
    EngineWorldOptions options;
    roomy_ = rng_.chance(0.5);
    options.hot_bytes = roomy_ ? 4 * kMiB : rng_.between(20'000, 100'000);
    if (rng_.chance(0.6)) options.warm_bytes = roomy_ ? 4 * kMiB : rng_.between(20'000, 200'000);
    options.cold_bytes = roomy_ ? 64 * kMiB : rng_.between(40'000, 300'000);
    options.asynchronous_cold = rng_.chance(0.7);
    options.engine.paranoid = rng_.chance(0.3);
    options.engine.leasable_fraction = 1.0;
    options.engine.high_watermark = rng_.chance(0.5) ? 0.97 : 0.7;
    options.engine.low_watermark = rng_.chance(0.5) ? 0.6 : 0.1;
    options.engine.cold_high_watermark = rng_.chance(0.5) ? 0.97 : 0.7;
    options.engine.cold_low_watermark = rng_.chance(0.5) ? 0.6 : 0.1;
    options.engine.metadata_bytes = roomy_ || rng_.chance(0.7) ? kMiB : 20'000;
    options.engine.rewarm_bytes = rng_.chance(0.5) ? 50'000 : 0;
    options.engine.load_bytes_in_flight_max = rng_.chance(0.5) ? 4000 : kMiB;
    return options;
  }

  std::string key_name(int key) const { return "key" + std::to_string(key); }
  bool is_mutable(std::size_t at) const { return names_[at].second == NamespaceKind::mutable_; }
  Durability random_durability() { return static_cast<Durability>(rng_.below(3)); }

  void step() {
    const std::size_t at = rng_.below(namespaces_.size());
    const std::string key = key_name(static_cast<int>(rng_.below(kKeys)));
    const std::uint64_t choice = rng_.below(100);
    if (choice < 35) {
      put(at, key);
    } else if (choice < 55) {
      get(at, key);
    } else if (choice < 65) {
      load(at);
    } else if (choice < 75) {
      erase(at, key);
    } else if (choice < 79) {
      crowd(at);
    } else if (choice < 82) {
      world_.engine()
          .evict_unused(static_cast<TierKind>(rng_.between(1, 3)), rng_.below(50'000))
          .IgnoreError();
      all_may_miss();
    } else if (choice < 84) {
      clear(at);
    } else if (choice < 87) {
      const KeyRef ref{key};
      world_.engine().announce(namespaces_[at], {&ref, 1},
                               world_.clock().now() + Duration::seconds(2));
    } else if (choice < 89) {
      world_.cold().relocate(world_.name(namespaces_[at], key));
    } else if (choice < 91) {
      world_.advance(Duration::millis(static_cast<std::int64_t>(rng_.below(3000))));
    } else if (choice < 93) {
      fail_a_write(at, key);
    } else if (choice < 96) {
      restart();
    } else {
      world_.settle();
    }
    if (!roomy_) all_may_miss();
  }

  Known& known(std::size_t at, const std::string& key) { return model_[Name{at, key}]; }

  void put(std::size_t at, const std::string& key) {
    Known& entry = known(at, key);
    const std::uint64_t version = ++version_;
    const std::size_t bytes = is_mutable(at) ? rng_.below(3000) : key.size() * 137;
    const Durability durability = random_durability();
    sizes_[version] = bytes;
    const PutResult result = world_.put(namespaces_[at], key, bytes, version, durability);
    note_put(at, entry, version, durability, result);
  }

  void note_put(std::size_t at, Known& entry, std::uint64_t version, Durability durability,
                const PutResult& result) {
    if (!result.status.ok()) {
      // Old, new or none: only what is full may refuse.
      entry.versions.insert(version);
      entry.may_miss = true;
      EXPECT_TRUE(!roomy_ || has_code(result.status, ErrorCode::io)) << result.status;
      return;
    }
    if (result.outcome == PutOutcome::already_present) {
      EXPECT_FALSE(is_mutable(at));
      EXPECT_FALSE(entry.versions.empty()) << "nothing was ever put";
      entry.durability = std::max(entry.durability, durability);
    } else {
      EXPECT_TRUE(!roomy_ || is_mutable(at) || entry.may_miss) << "was surely there";
      entry.versions = {version};
      entry.durability = durability;
    }
    entry.may_miss = false;
  }

  void check(std::size_t at, const std::string& key, std::optional<ByteSpan> bytes) {
    Known& entry = known(at, key);
    if (!bytes) {
      EXPECT_TRUE(entry.may_miss) << names_[at].first << " " << key << " is lost";
      return;
    }
    for (const std::uint64_t version : entry.versions) {
      if (bytes->size() != sizes_[version] || !is_payload(key, version, *bytes)) continue;
      return;
    }
    ADD_FAILURE() << names_[at].first << " " << key << " has bytes that nobody put, or that went";
  }

  void get(std::size_t at, const std::string& key) {
    const KeyRef ref{key};
    const auto lease = world_.engine().acquire_sync(namespaces_[at], {&ref, 1});
    if (!lease.ok()) {
      EXPECT_TRUE(!roomy_ && has_code(lease.status(), ErrorCode::busy)) << lease.status();
    } else if (lease->blocks().empty()) {
      check(at, key, std::nullopt);
    } else {
      check(at, key, lease->blocks()[0].bytes);
    }
  }

  void load(std::size_t at) {
    std::vector<std::string> keys;
    for (int key = 0; key < kKeys; ++key) {
      if (rng_.chance(0.5)) keys.push_back(key_name(key));
    }
    std::vector<std::vector<std::byte>> buffers(keys.size(), std::vector<std::byte>(4096));
    std::vector<LoadTarget> targets;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      targets.push_back({.key = {keys[i]}, .buffer = buffers[i]});
    }
    AcquireOptions options{.read = Read::each};
    if (rng_.chance(0.5)) options.deadline = world_.clock().now() + Duration::seconds(100);
    ASSERT_TRUE(world_.engine().load_sync(namespaces_[at], targets, options).ok());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      check(at, keys[i],
            targets[i].found ? std::optional(ByteSpan(buffers[i]).first(targets[i].bytes))
                             : std::nullopt);
    }
  }

  void erase(std::size_t at, const std::string& key) {
    Known& entry = known(at, key);
    const KeyRef ref{key};
    const auto erased = world_.engine().erase_sync(namespaces_[at], {&ref, 1});
    ASSERT_TRUE(erased.ok()) << erased.status();
    EXPECT_TRUE((*erased)[0] || entry.may_miss);
    entry = Known{};
  }

  /// Many operations at once, some on the same keys.
  void crowd(std::size_t at) {
    struct Asked {
      std::string key, payload;
      std::uint64_t version = 0;
      Durability durability = Durability::memory;
      PutResult result;
    };
    std::vector<Asked> asked(rng_.between(2, 10));
    std::size_t left = asked.size();
    world_.cold().hold();
    for (Asked& one : asked) {
      one.key = key_name(static_cast<int>(rng_.below(5)));
      one.version = ++version_;
      one.durability = random_durability();
      const std::size_t bytes = is_mutable(at) ? rng_.below(2000) : one.key.size() * 137;
      sizes_[one.version] = bytes;
      one.payload = make_payload(one.key, one.version, bytes);
      const PutBlock block{.key = one.key, .payload = as_bytes(one.payload)};
      world_.engine().put(namespaces_[at], {&block, 1}, {.durability = one.durability},
                          [&](std::vector<PutResult> results) {
                            one.result = results[0];
                            --left;
                          });
    }
    world_.settle();
    world_.cold().release();
    while (left > 0) world_.advance(Duration::millis(5));
    // One after the other, as they were asked.
    for (const Asked& one : asked) {
      note_put(at, known(at, one.key), one.version, one.durability, one.result);
    }
    if (!roomy_) all_may_miss();  // the last may have taken the place of the first
    for (const Asked& one : asked) get(at, one.key);
  }

  void fail_a_write(std::size_t at, const std::string& key) {
    world_.cold().fail_writes(ErrorCode::io, 1);
    Known& entry = known(at, key);
    const Known before = entry;
    const std::uint64_t version = ++version_;
    const std::size_t bytes = is_mutable(at) ? 777 : key.size() * 137;
    sizes_[version] = bytes;
    const PutResult result = world_.put(namespaces_[at], key, bytes, version, Durability::written);
    world_.cold().fail_writes(ErrorCode::io, 0);
    if (result.status.ok()) {
      note_put(at, entry, version, Durability::written, result);
    } else {
      entry = before;  // a failed put changes nothing
    }
    get(at, key);
  }

  void clear(std::size_t at) {
    ASSERT_TRUE(world_.engine().clear(namespaces_[at]).ok());
    for (auto& [name, entry] : model_) {
      if (name.first == at) entry = Known{};
    }
  }

  void restart() {
    const std::uint64_t how = rng_.below(3);
    // Too little for what is there, sometimes: it is all there nevertheless.
    if (!roomy_ && rng_.chance(0.5)) {
      world_.options().engine.metadata_bytes = rng_.chance(0.5) ? 8000 : kMiB;
    }
    if (how == 0) world_.restart();
    if (how == 1) world_.kill();
    if (how == 2) world_.power_cut();
    for (auto& [name, entry] : model_) {
      const bool kept = entry.durability == Durability::durable ||
                        (entry.durability == Durability::written && how != 2);
      if (kept || entry.versions.empty()) continue;
      // An unsynced overwrite may be gone, and with it what it replaced: a miss, or the old one.
      entry.may_miss = true;
      if (how == 2) {
        for (std::uint64_t version = 1; version <= version_; ++version) {
          entry.versions.insert(version);
        }
      }
    }
    for (std::size_t at = 0; at < names_.size(); ++at) {
      ASSERT_EQ(world_.open_namespace(names_[at].first, names_[at].second), namespaces_[at]);
    }
  }

  /// What has been evicted is promised nothing any more; what comes after is promised anew.
  void all_may_miss() {
    for (auto& [name, entry] : model_) {
      entry.may_miss = true;
      entry.durability = Durability::memory;
    }
  }

  void check_bounds() {
    world_.options().engine.metadata_bytes = kMiB;  // all is listed, so all can be evicted
    if (!world_.engine().is_recovered()) world_.restart();
    world_.settle();
    const EngineStats stats = world_.engine().stats();
    EXPECT_LE(stats.hot.usage.used_bytes, stats.hot.usage.capacity_bytes);
    EXPECT_LE(stats.cold.usage.used_bytes, stats.cold.usage.capacity_bytes);
    EXPECT_EQ(stats.corrupt_blocks, 0U);
    EXPECT_EQ(stats.leases_open, 0U);
    evict_everything();
    world_.advance(Duration::seconds(40));  // announcements end
    evict_everything();
    // Nothing leaks: not a slot, not a record, not an entry.
    EXPECT_EQ(world_.hot().usage().used_bytes, 0U);
    EXPECT_EQ(stats.warm.usage.capacity_bytes == 0, world_.options().warm_bytes == 0);
    EXPECT_EQ(world_.engine().stats().warm.usage.used_bytes, 0U);
    EXPECT_EQ(world_.cold().stored_blocks(), 0U);
    EXPECT_EQ(world_.engine().stats().catalog_blocks, 0U);
  }

  /// From the bottom up: what children keep in a hotter tier goes after them.
  void evict_everything() {
    for (int round = 0; round < 2; ++round) {
      for (const TierKind tier : {TierKind::hot, TierKind::warm, TierKind::cold}) {
        if (tier == TierKind::warm && world_.options().warm_bytes == 0) continue;
        ASSERT_TRUE(world_.engine().evict_unused(tier, 0).ok());
      }
    }
  }

  Rng rng_;
  bool roomy_ = false;
  EngineWorld world_;
  std::vector<std::pair<std::string, NamespaceKind>> names_;
  std::vector<NamespaceId> namespaces_;
  std::map<Name, Known> model_;
  std::map<std::uint64_t, std::size_t> sizes_;
  std::uint64_t version_ = 0;
};

TEST(EngineModel, AgreesWithAMapWhateverHappens) {
  for (const std::uint64_t seed : seeds({1, 2, 3, 4, 5, 6, 7, 8}, scaled(40))) {
    print_seed(seed);
    ModelRun(seed).run(400);
    if (HasFailure()) {
      ADD_FAILURE() << "seed=" << seed;
      return;
    }
  }
}

}  // namespace
}  // namespace cairn::test
