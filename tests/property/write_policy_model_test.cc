// SPDX-License-Identifier: Apache-2.0
// Three namespaces of different write policies against a std::map: random operations, policies
// that are switched between them, restarts of every kind.
//
// The model keeps for every name which version is there and what it knows to survive: the
// durability of the last acknowledgement, and more where a flush, a close or a second sight that
// has had its time made more of it. In half of the runs there is room for everything, and what is
// missing is a failure; in the others a miss is always allowed, but wrong bytes never are, nor a
// tier or a queue beyond its bounds.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <optional>

#include "tests/support/engine_world.h"
#include "tests/support/seed.h"

namespace cairn::test {
namespace {

constexpr std::array kPolicies{WritePolicy::through, WritePolicy::back, WritePolicy::selective};

struct Known {
  std::uint64_t version = 0;  // 0: never put, or erased
  std::size_t bytes = 0;
  Durability surely = Durability::memory;  // at least
  bool seen_again = false;                 // of a selective namespace: on its way to cold
};

class PolicyRun {
 public:
  explicit PolicyRun(std::uint64_t seed) : rng_(seed), world_(random_options()) {
    kind_ = rng_.chance(0.5) ? NamespaceKind::mutable_ : NamespaceKind::content_addressed;
    open_namespaces();
  }

  void run(std::size_t operations) {
    for (std::size_t i = 0; i < operations && !::testing::Test::HasFailure(); ++i) step();
    for (std::size_t at = 0; at < 3; ++at) {
      for (int key = 0; key < kKeys; ++key) get(at, key_name(key));
    }
  }

 private:
  static constexpr int kKeys = 16;
  struct Space {
    NamespaceId id{};
    WritePolicy policy = WritePolicy::through;
    std::map<std::string, Known> blocks;
  };

  EngineWorldOptions random_options() {
    EngineWorldOptions options;
    roomy_ = rng_.chance(0.5);
    options.hot_bytes = roomy_ ? 4 * kMiB : rng_.between(20'000, 60'000);
    options.warm_bytes = rng_.chance(0.5) ? (roomy_ ? 4 * kMiB : 512 * kKiB) : 0;
    options.cold_bytes = roomy_ ? 64 * kMiB : rng_.between(40'000, 200'000);
    options.asynchronous_cold = rng_.chance(0.7);
    options.engine.leasable_fraction = 1.0;
    options.engine.high_watermark = rng_.chance(0.5) ? 0.97 : 0.7;
    options.engine.low_watermark = rng_.chance(0.5) ? 0.6 : 0.1;
    options.engine.put_bytes_in_flight_max = rng_.chance(0.3) ? 30'000 : 4 * kMiB;
    if (!roomy_ && rng_.chance(0.3)) options.engine.second_sight_queue_max = 3;
    return options;
  }

  /// Each with the policy that it has now: the store does not keep it.
  void open_namespaces() {
    for (std::size_t at = 0; at < 3; ++at) {
      Space& space = spaces_[at];
      space.id = world_.open_namespace("n" + std::to_string(at), kind_);
      space.policy = kPolicies[at];
      ASSERT_TRUE(world_.engine().set_write_policy(space.id, space.policy).ok());
    }
  }

  std::string key_name(int key) const { return "key" + std::to_string(key); }

  void step() {
    const std::size_t at = rng_.below(3);
    const std::string key = key_name(static_cast<int>(rng_.below(kKeys)));
    const std::uint64_t choice = rng_.below(100);
    if (choice < 40) {
      put(at, key);
    } else if (choice < 55) {
      get(at, key);
    } else if (choice < 62) {
      load(at, key);
    } else if (choice < 70) {
      erase(at, key);
    } else if (choice < 76) {
      switch_policy(at);
    } else if (choice < 82) {
      flush();
    } else if (choice < 86) {
      fail_a_flush();
    } else if (choice < 89) {
      world_.advance(Duration::millis(static_cast<std::int64_t>(rng_.below(500))));
      settled();
    } else if (choice < 91 && !roomy_) {
      world_.engine().evict_unused(TierKind::hot, rng_.below(20'000)).IgnoreError();
    } else if (choice < 94) {
      restart();
    } else {
      world_.settle();
      settled();
    }
    check_stats(at);
  }

  void put(std::size_t at, const std::string& key) {
    Space& space = spaces_[at];
    Known& known = space.blocks[key];
    const std::uint64_t version = ++version_;
    const std::size_t bytes =
        kind_ == NamespaceKind::mutable_ ? rng_.below(2000) : key.size() * 137;
    std::optional<Durability> asked;
    if (rng_.chance(0.3)) asked = static_cast<Durability>(rng_.below(3));
    const PutResult put = world_.put(space.id, key, bytes, version, asked);
    ASSERT_TRUE(put.status.ok() || !roomy_) << put.status;
    if (!put.status.ok()) return;
    const Durability expected = asked.value_or(
        space.policy == WritePolicy::through ? Durability::written : Durability::memory);
    EXPECT_GE(put.durability, expected);
    const bool is_new = put.outcome != PutOutcome::already_present;
    if (!is_new) {
      EXPECT_NE(known.version, 0U) << "it was never put";
      EXPECT_LE(put.durability, std::max(expected, Durability::written));
    } else {
      EXPECT_EQ(put.durability, expected);
    }
    const bool again = space.policy == WritePolicy::selective && put.outcome != PutOutcome::stored;
    if (is_new) known = {.version = version, .bytes = bytes};
    known.surely = std::max(known.surely, put.durability);
    known.seen_again = known.seen_again || (again && put.durability == Durability::memory);
  }

  void check(std::size_t at, const std::string& key, std::optional<ByteSpan> bytes) {
    Known& known = spaces_[at].blocks[key];
    if (!bytes) {
      EXPECT_TRUE(!roomy_ || known.version == 0) << "n" << at << " " << key << " is lost";
      return;
    }
    ASSERT_NE(known.version, 0U) << "n" << at << " " << key << " should be gone";
    EXPECT_EQ(bytes->size(), known.bytes);
    EXPECT_TRUE(is_payload(key, known.version, *bytes)) << "n" << at << " " << key;
    if (spaces_[at].policy == WritePolicy::selective) known.seen_again = true;
  }

  void get(std::size_t at, const std::string& key) {
    const KeyRef ref{key};
    const auto lease = world_.engine().acquire_sync(spaces_[at].id, {&ref, 1});
    if (!lease.ok()) {
      EXPECT_FALSE(roomy_) << lease.status();
    } else if (lease->blocks().empty()) {
      check(at, key, std::nullopt);
    } else {
      check(at, key, lease->blocks()[0].bytes);
    }
  }

  void load(std::size_t at, const std::string& key) {
    std::vector<std::byte> buffer(4096);
    LoadTarget target{.key = {key}, .buffer = buffer};
    ASSERT_TRUE(world_.engine().load_sync(spaces_[at].id, {&target, 1}).ok());
    check(at, key,
          target.found ? std::optional(ByteSpan(buffer).first(target.bytes)) : std::nullopt);
  }

  void erase(std::size_t at, const std::string& key) {
    Known& known = spaces_[at].blocks[key];
    const KeyRef ref{key};
    const auto erased = world_.engine().erase_sync(spaces_[at].id, {&ref, 1});
    ASSERT_TRUE(erased.ok()) << erased.status();
    if (roomy_) {
      EXPECT_EQ((*erased)[0], known.version != 0);
    }
    known = Known{};
  }

  void switch_policy(std::size_t at) {
    Space& space = spaces_[at];
    const WritePolicy before = space.policy;
    space.policy = kPolicies[rng_.below(3)];
    ASSERT_TRUE(world_.engine().set_write_policy(space.id, space.policy).ok());
    if (space.policy != WritePolicy::through || before == WritePolicy::through) return;
    world_.settle();
    raise_all(space, Durability::written);
    settled();
  }

  void raise_all(Space& space, Durability to) {
    for (auto& [key, known] : space.blocks) {
      if (known.version != 0) known.surely = std::max(known.surely, to);
    }
  }

  /// What was seen a second time has been written.
  void settled() {
    for (Space& space : spaces_) {
      for (auto& [key, known] : space.blocks) {
        if (known.seen_again) known.surely = std::max(known.surely, Durability::written);
        known.seen_again = false;
      }
    }
  }

  void flush() {
    const absl::Status flushed = world_.engine().flush();
    EXPECT_TRUE(flushed.ok() || !roomy_) << flushed;
    flushed_all();
  }

  void flushed_all() {
    settled();
    for (Space& space : spaces_) {
      if (space.policy == WritePolicy::back) raise_all(space, Durability::written);
      for (auto& [key, known] : space.blocks) {
        if (known.surely >= Durability::written) known.surely = Durability::durable;
      }
    }
  }

  void fail_a_flush() {
    if (roomy_) return;  // the model does not know which block it met
    world_.cold().fail_writes(ErrorCode::io, rng_.below(4));
    world_.engine().flush().IgnoreError();
    world_.cold().fail_writes(ErrorCode::io, 0);
  }

  void restart() {
    const std::uint64_t how = rng_.below(3);
    if (how == 0) {
      flushed_all();
      world_.restart();
    }
    if (how == 1) world_.kill();
    if (how == 2) world_.power_cut();
    const Durability least = how == 2   ? Durability::durable
                             : how == 1 ? Durability::written
                                        : Durability::durable;
    open_namespaces();
    for (Space& space : spaces_) {
      for (auto& [key, known] : space.blocks) {
        known.seen_again = false;
        if (known.version == 0) continue;
        const KeyRef ref{key};
        const bool is_there = world_.engine().match_length(space.id, {&ref, 1}) == 1;
        if (known.surely >= least) {
          EXPECT_TRUE(is_there || !roomy_) << key << " survives this";
        } else if (is_there && kind_ == NamespaceKind::mutable_) {
          // What was not sure is there, or an older version that the cut brought back.
          erase_quietly(space, key);
          known = Known{};
          continue;
        }
        if (!is_there) known = Known{};
      }
    }
  }

  void erase_quietly(Space& space, const std::string& key) {
    const KeyRef ref{key};
    ASSERT_TRUE(world_.engine().erase_sync(space.id, {&ref, 1}).ok());
  }

  void check_stats(std::size_t at) {
    const EngineStats stats = world_.engine().stats();
    EXPECT_LE(stats.hot.usage.used_bytes, stats.hot.usage.capacity_bytes);
    EXPECT_LE(stats.cold.usage.used_bytes, stats.cold.usage.capacity_bytes);
    for (const NamespaceStats& one : stats.namespaces) {
      EXPECT_LE(one.dirty_blocks, one.blocks - one.cold_blocks);
      if (one.name == "n" + std::to_string(at)) {
        EXPECT_EQ(one.write_policy, spaces_[at].policy);
      }
    }
    if (roomy_) {
      EXPECT_EQ(stats.write_back.dropped_blocks, 0U);
      EXPECT_EQ(stats.write_back.refused_no_room, 0U);
    }
  }

  Rng rng_;
  bool roomy_ = false;
  EngineWorld world_;
  NamespaceKind kind_{};
  std::array<Space, 3> spaces_;
  std::uint64_t version_ = 0;
};

TEST(WritePolicyModel, AgreesWithAMapWhateverHappens) {
  for (const std::uint64_t seed : seeds({1, 2, 3, 4, 5, 6, 7, 8}, scaled(60))) {
    print_seed(seed);
    PolicyRun(seed).run(400);
    if (HasFailure()) {
      ADD_FAILURE() << "seed=" << seed;
      return;
    }
  }
}

}  // namespace
}  // namespace cairn::test
