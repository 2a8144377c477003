// SPDX-License-Identifier: Apache-2.0
// Namespaces of the three write policies on one simulated disk, killed and cut off the power with
// puts, demotions and second sights under way. Goal: what was acknowledged as `written` survives
// a kill and what was `durable` a power cut, under every policy, and so does what a flush or a
// close that went well has written; what is there has the right bytes.
#include <gtest/gtest.h>

#include <array>
#include <map>

#include "engine/base/text.h"
#include "tests/support/evictions_told.h"
#include "tests/support/payload.h"
#include "tests/support/sim_store.h"

namespace cairn::test {
namespace {

constexpr std::array kPolicies{WritePolicy::through, WritePolicy::back, WritePolicy::selective};
constexpr std::size_t kSpaces = 3;

struct Known {
  std::uint64_t version = 0;
  std::size_t bytes = 0;
  std::uint64_t sequence = 0;
  Durability surely = Durability::memory;
  bool is_under_way = false;  // a put of it had not ended when the store died
};

class WritePolicySim : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void SetUp() override {
    print_seed(GetParam());
    open();
  }
  void TearDown() override {
    for (const auto& put : under_way_) EXPECT_TRUE(put->ended) << "every put is answered";
  }

  SimStoreOptions options() {
    SimStoreOptions options = small_sim_store(GetParam());
    options.engine.hot_bytes = 4 * kMiB;
    options.engine.on_evicted = [this](std::span<const Eviction> told) { told_.tell(told); };
    return options;
  }

  void open() {
    ASSERT_TRUE(store_.open().ok());
    for (std::size_t at = 0; at < kSpaces; ++at) {
      const auto ns = store_.engine().open_namespace(
          {.name = concat("n", at),
           .kind = at == 1 && GetParam() % 3 == 0 ? NamespaceKind::mutable_
                                                  : NamespaceKind::content_addressed},
          {.write_policy = kPolicies[at]});
      ASSERT_TRUE(ns.ok()) << ns.status();
      spaces_[at] = *ns;
    }
    ASSERT_TRUE(store_.wait_recovered());
  }

  struct UnderWay {
    std::size_t at = 0;
    std::string key, payload;
    Known known;
    bool ended = false;
  };

  /// Acknowledged at once, or some time later.
  void begin_put() {
    auto put = std::make_shared<UnderWay>();
    put->at = rng_.below(kSpaces);
    put->key =
        concat("key", next_key_ == 0 || rng_.chance(0.6) ? next_key_++ : rng_.below(next_key_));
    Known& known = known_[{put->at, put->key}];
    if (known.is_under_way) return;
    const bool is_new = known.version == 0;
    put->known.version = ++version_;
    put->known.bytes = is_new ? rng_.between(1, 120'000) : known.bytes;
    put->payload = make_payload(put->key, put->known.version, put->known.bytes);
    known.bytes = put->known.bytes;
    known.is_under_way = true;
    under_way_.push_back(put);
    PutOptions options{.links = Links::absent};
    if (rng_.chance(0.2)) options.durability = static_cast<Durability>(rng_.below(3));
    const PutBlock block{.key = put->key, .payload = as_bytes(put->payload)};
    store_.engine().put(
        spaces_[put->at], {&block, 1}, options,
        [this, put](const std::vector<PutResult>& results) { ended(*put, results.at(0)); });
  }

  void ended(UnderWay& put, const PutResult& result) {
    put.ended = true;
    if (is_dead_) return;
    Known& known = known_[{put.at, put.key}];
    known.is_under_way = false;
    if (!result.status.ok()) return;
    if (result.outcome != PutOutcome::already_present) {
      known.version = put.known.version;
      known.surely = Durability::memory;
    }
    known.sequence = std::max(known.sequence, result.sequence);
    known.surely = std::max(known.surely, result.durability);
  }

  void finish_puts() {
    ASSERT_TRUE(store_.pump_until([this] {
      return std::all_of(under_way_.begin(), under_way_.end(),
                         [](const auto& put) { return put->ended; });
    }));
    under_way_.clear();
  }

  void read_one() {
    const std::size_t at = rng_.below(kSpaces);
    const std::string key = concat("key", rng_.below(next_key_ + 1));
    const auto got = store_.get(spaces_[at], key);
    if (got.ok() && *got) check_bytes(at, key, **got);
  }

  void check_bytes(std::size_t at, const std::string& key, const std::string& bytes) {
    // Any version that was put: the newest is checked for where it is sure.
    const Known& known = known_[{at, key}];
    EXPECT_EQ(bytes.size(), known.bytes) << key;
    bool is_one = false;
    for (std::uint64_t version = 1; version <= version_ && !is_one; ++version) {
      is_one = bytes == make_payload(key, version, known.bytes);
    }
    EXPECT_TRUE(is_one) << key << " has bytes that nobody put";
  }

  void written_out() {
    for (auto& [name, known] : known_) {
      if (known.is_under_way) continue;
      // What back kept is written; of all, what was written is durable.
      if (name.first == 1) known.surely = std::max(known.surely, Durability::written);
      if (known.surely == Durability::written) known.surely = Durability::durable;
    }
  }

  void check_survivors(Durability least) {
    is_dead_ = false;
    under_way_.clear();
    open();
    std::size_t sure = 0;
    for (auto& [name, known] : known_) {
      const auto& [at, key] = name;
      const auto got = store_.get(spaces_[at], key);
      ASSERT_TRUE(got.ok()) << got.status();
      const BlockId id = block_id({spaces_[at], key, 0}, store_.cold().block_id_secret());
      const bool is_sure = known.version != 0 && known.surely >= least && !known.is_under_way &&
                           !told_.covers(id, known.sequence);
      sure += is_sure ? 1U : 0U;
      if (is_sure) {
        ASSERT_TRUE(*got) << "n" << at << " " << key << " of " << durability_name(known.surely)
                          << " is lost";
      }
      if (*got) check_bytes(at, key, **got);
      if (is_sure) {
        EXPECT_EQ(**got, make_payload(key, known.version, known.bytes)) << key;
      }
      const std::size_t bytes = known.bytes;
      if (!*got) known = Known{.bytes = bytes};
      if (*got && !is_sure) {
        // Which version came back is nobody's promise.
        ASSERT_TRUE(store_.erase(spaces_[at], key).ok());
        known = Known{.bytes = bytes};
      }
    }
    survivors_ += sure;
    told_.begin_life();
  }

  Rng rng_{GetParam()};
  EvictionsTold told_;
  SimStore store_{options()};
  std::array<NamespaceId, kSpaces> spaces_{};
  std::map<std::pair<std::size_t, std::string>, Known> known_;
  std::vector<std::shared_ptr<UnderWay>> under_way_;
  std::uint64_t next_key_ = 0, version_ = 0;
  std::size_t survivors_ = 0;
  bool is_dead_ = false;
};

TEST_P(WritePolicySim, WhatWasPromisedSurvives) {
  for (int life = 0; life < 6 && !HasFatalFailure(); ++life) {
    const std::uint64_t steps = rng_.between(40, 150);
    for (std::uint64_t i = 0; i < steps && !HasFatalFailure(); ++i) {
      const std::uint64_t choice = rng_.below(100);
      if (choice < 70) {
        begin_put();
      } else if (choice < 85) {
        read_one();
      } else if (choice < 95) {
        finish_puts();
      } else if (choice < 98) {
        finish_puts();
        const absl::Status flushed = store_.engine().flush();
        ASSERT_TRUE(flushed.ok()) << flushed;
        written_out();
      } else {
        const std::size_t at = rng_.below(kSpaces);
        // There and back: what is dirty is written on the way.
        ASSERT_TRUE(store_.engine().set_write_policy(spaces_[at], WritePolicy::through).ok());
        ASSERT_TRUE(store_.engine().set_write_policy(spaces_[at], kPolicies[at]).ok());
      }
    }
    switch (rng_.below(3)) {
      case 0:
        finish_puts();
        ASSERT_TRUE(store_.close().ok());
        written_out();
        check_survivors(Durability::durable);
        break;
      case 1:
        is_dead_ = true;
        store_.kill(rng_);
        check_survivors(Durability::written);
        break;
      default:
        is_dead_ = true;
        store_.power_cut(rng_);
        check_survivors(Durability::durable);
        break;
    }
  }
  EXPECT_GT(survivors_, 0U) << "nothing was asked of it";
}

INSTANTIATE_TEST_SUITE_P(Seeds, WritePolicySim,
                         testing::ValuesIn(seeds({1, 2, 3, 4, 5, 6}, scaled(6))));

}  // namespace
}  // namespace cairn::test
