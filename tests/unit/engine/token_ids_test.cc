// SPDX-License-Identifier: Apache-2.0
#include "engine/token_ids.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/support/engine_world.h"

namespace cairn::test {
namespace {

using Ids = std::vector<std::uint32_t>;

class TokenIds : public ::testing::Test {
 protected:
  std::vector<PutResult> put(const std::vector<std::string>& keys, const std::vector<Ids>& ids) {
    payloads_.clear();
    for (const std::string& key : keys) payloads_.push_back(make_payload(key, 0, 500));
    std::vector<TokenBlock> blocks;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      blocks.push_back({{.key = keys[i], .payload = as_bytes(payloads_[i])}, ids[i]});
    }
    return put_with_token_ids_sync(world_.engine(), ns_, blocks);
  }
  VerifiedLease acquire(const std::vector<std::string>& keys, const std::vector<Ids>& ids,
                        Read read = Read::prefix) {
    std::vector<TokenKey> asked;
    for (std::size_t i = 0; i < keys.size(); ++i) asked.push_back({{keys[i]}, ids[i]});
    auto lease = acquire_with_token_ids_sync(world_.engine(), ns_, asked, {.read = read});
    EXPECT_TRUE(lease.ok()) << lease.status();
    return lease.ok() ? *std::move(lease) : VerifiedLease{};
  }

  EngineWorld world_;
  NamespaceId ns_ = world_.open_namespace("n");
  const std::vector<std::string> keys_ = EngineWorld::chain("c", 3);
  const std::vector<Ids> ids_ = {{1, 2, 3}, {4, 5, 0xffffffff}, {7, 8, 9}};
  std::vector<std::string> payloads_;
};

TEST_F(TokenIds, ABlockIsServedToWhoAsksWithItsTokens) {
  for (const PutResult& result : put(keys_, ids_)) {
    EXPECT_EQ(result.outcome, PutOutcome::stored) << result.status;
  }
  world_.restart();  // they lie in cold like everything else
  const VerifiedLease lease = acquire(keys_, ids_);
  ASSERT_EQ(lease.blocks.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(as_text(lease.blocks[i].bytes), payloads_[i]);
  EXPECT_EQ(lease.mismatches, 0U);
}

TEST_F(TokenIds, OtherTokensUnderTheSameKeyAreAMiss) {
  put(keys_, ids_);
  for (const Ids& others : {Ids{4, 5, 6}, Ids{4, 5}, Ids{}, Ids{5, 4, 0xffffffff}}) {
    const VerifiedLease lease = acquire(keys_, {ids_[0], others, ids_[2]});
    EXPECT_EQ(lease.blocks.size(), 1U) << "the run ends before it";
    EXPECT_EQ(lease.mismatches, 1U);
  }
  const VerifiedLease each = acquire(keys_, {ids_[0], {4, 5, 6}, ids_[2]}, Read::each);
  ASSERT_EQ(each.blocks.size(), 3U);
  EXPECT_TRUE(each.blocks[0].found);
  EXPECT_FALSE(each.blocks[1].found);
  EXPECT_EQ(each.blocks[1].bytes.data(), nullptr);
  EXPECT_TRUE(each.blocks[2].found);
}

TEST_F(TokenIds, ABlockWithoutItsTokensIsAMiss) {
  world_.put_chain(ns_, keys_, 500);
  const VerifiedLease lease = acquire(keys_, ids_);
  EXPECT_TRUE(lease.blocks.empty());
  EXPECT_EQ(lease.mismatches, 0U) << "unknown is not wrong";
}

TEST_F(TokenIds, TheFirstTokensStay) {
  put(keys_, ids_);
  EXPECT_EQ(put(keys_, ids_)[0].outcome, PutOutcome::already_present);
  const std::vector<PutResult> longer = put({keys_[0]}, {{1, 2, 3, 4}});
  EXPECT_EQ(longer[0].outcome, PutOutcome::failed);
  EXPECT_TRUE(has_code(longer[0].status, ErrorCode::mismatch)) << longer[0].status;
  put({keys_[0]}, {{3, 2, 1}});
  EXPECT_EQ(acquire({keys_[0]}, {{3, 2, 1}}).mismatches, 1U);
  EXPECT_EQ(acquire({keys_[0]}, {ids_[0]}).blocks.size(), 1U);
}

/// One half is lost, and the other meets the other half of a put of other tokens.
TEST_F(TokenIds, HalvesOfTwoPutsAreAMiss) {
  for (const bool ids_are_lost : {false, true}) {
    const std::string key = ids_are_lost ? "evicted" : "failed";
    const std::string first = make_payload(key, 1, 500), second = make_payload(key, 2, 500);
    const auto put_one = [&](const std::string& payload, const Ids& ids) {
      const TokenBlock block{{.key = key, .payload = as_bytes(payload)}, ids};
      return put_with_token_ids_sync(world_.engine(), ns_, {&block, 1})[0];
    };
    if (!ids_are_lost) world_.cold().fail_writes(ErrorCode::io, 1);
    EXPECT_EQ(put_one(first, ids_[0]).status.ok(), ids_are_lost);
    if (ids_are_lost) {
      const KeyRef beside{key, kTokenIdsPart};
      ASSERT_TRUE(world_.engine().erase_sync(ns_, {&beside, 1}).ok());
    }
    EXPECT_TRUE(put_one(second, ids_[1]).status.ok());
    EXPECT_TRUE(acquire({key}, {ids_[0]}).blocks.empty()) << key;
    EXPECT_TRUE(acquire({key}, {ids_[1]}).blocks.empty()) << key;
  }
}

TEST_F(TokenIds, AreErasedWithTheirBlocks) {
  put(keys_, ids_);
  const std::vector<KeyRef> both = with_token_ids(EngineWorld::refs(keys_));
  ASSERT_EQ(both.size(), 6U);
  EXPECT_EQ(*world_.engine().erase_sync(ns_, both), std::vector<bool>(6, true));
  EXPECT_EQ(put({keys_[0]}, {{9, 9}})[0].outcome, PutOutcome::stored);
}

TEST_F(TokenIds, TheirPartAndMutableNamespacesAreRefused) {
  const TokenBlock taken{{.key = "k", .part = kTokenIdsPart}, ids_[0]};
  const auto refused = put_with_token_ids_sync(world_.engine(), ns_, {&taken, 1});
  EXPECT_TRUE(has_code(refused.at(0).status, ErrorCode::invalid_argument));
  const TokenKey key{{"k", kTokenIdsPart}, ids_[0]};
  EXPECT_FALSE(acquire_with_token_ids_sync(world_.engine(), ns_, {&key, 1}).ok());
  const NamespaceId changing = world_.open_namespace("m", NamespaceKind::mutable_);
  const TokenBlock block{{.key = "k"}, ids_[0]};
  const auto mutable_one = put_with_token_ids_sync(world_.engine(), changing, {&block, 1});
  EXPECT_TRUE(has_code(mutable_one.at(0).status, ErrorCode::invalid_argument));
}

TEST_F(TokenIds, NobodyNeedsToWait) {
  put(keys_, ids_);
  world_.restart();
  std::vector<TokenKey> asked;
  for (std::size_t i = 0; i < 3; ++i) asked.push_back({{keys_[i]}, ids_[i]});
  std::size_t served = 0;
  acquire_with_token_ids(
      world_.engine(), ns_, asked, {},
      [&](const absl::StatusOr<VerifiedLease>& lease) { served = lease->blocks.size(); });
  asked.clear();  // borrowed for the call alone
  world_.settle();
  EXPECT_EQ(served, 3U);
  std::string payload = make_payload("new", 0, 100);
  const TokenBlock block{{.key = "new", .payload = as_bytes(payload)}, ids_[0]};
  std::vector<PutResult> results;
  put_with_token_ids(world_.engine(), ns_, {&block, 1}, {},
                     [&](std::vector<PutResult> done) { results = std::move(done); });
  world_.settle();
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].outcome, PutOutcome::stored);
}

TEST_F(TokenIds, ANamespaceThatVerifiesTakesAndGivesNothingWithout) {
  Engine& engine = world_.engine();
  const auto is_invalid = [](const absl::Status& status) {
    return has_code(status, ErrorCode::invalid_argument);
  };
  world_.put_chain(ns_, {"before"}, 500);
  ASSERT_EQ(*engine.open_namespace({.name = "n", .tokens_per_block = 16}, {.verify_tokens = true}),
            ns_);
  EXPECT_TRUE(is_invalid(world_.put(ns_, "k", 500).status));
  EXPECT_TRUE(is_invalid(world_.acquire(ns_, {"before"}).status()));
  std::string buffer(500, 'x');
  LoadTarget target{.key = {"before"},
                    .buffer = {reinterpret_cast<std::byte*>(buffer.data()), buffer.size()}};
  EXPECT_TRUE(is_invalid(engine.load_sync(ns_, {&target, 1})));
  const PutBlock block{.key = "k", .payload = as_bytes(buffer)};
  EXPECT_TRUE(is_invalid(engine.reserve(ns_, {&block, 1}, {}).status()));
  for (const PutResult& result : put(keys_, ids_)) EXPECT_TRUE(result.status.ok());
  EXPECT_EQ(acquire(keys_, ids_).blocks.size(), 3U);
  EXPECT_EQ(acquire({"before"}, {{1}}).blocks.size(), 0U) << "it has no ids";
  // Who opens it without asking leaves it as it is; another namespace is not concerned.
  EXPECT_EQ(world_.open_namespace("n"), ns_);
  EXPECT_TRUE(is_invalid(world_.put(ns_, "k", 500).status));
  EXPECT_TRUE(world_.put(world_.open_namespace("other"), "k", 500).status.ok());
  EXPECT_TRUE(is_invalid(
      engine.open_namespace({.name = "m", .kind = NamespaceKind::mutable_}, {.verify_tokens = true})
          .status()));
}

TEST_F(TokenIds, AnIndexKnowsTheBlocksAndNotTheirIds) {
  Ids prompt(32);
  for (std::uint32_t i = 0; i < prompt.size(); ++i) prompt[i] = i;
  const auto ns = world_.engine().open_namespace(
      {.name = "both", .tokens_per_block = 16}, {.token_index_bytes = kMiB, .verify_tokens = true});
  ASSERT_TRUE(ns.ok());
  const std::string payload(500, 'p');
  std::vector<TokenBlock> blocks;
  for (std::size_t i = 0; i < 2; ++i) {
    blocks.push_back({{.key = keys_[i],
                       .payload = as_bytes(payload),
                       .token_prefix = std::span(prompt).first(16 * (i + 1))},
                      std::span(prompt).subspan(16 * i, 16)});
  }
  for (const PutResult& one : put_with_token_ids_sync(world_.engine(), *ns, blocks)) {
    EXPECT_TRUE(one.status.ok()) << one.status;
  }
  const auto run = world_.engine().match_tokens(*ns, prompt);
  ASSERT_TRUE(run.ok());
  ASSERT_EQ(run->keys, (std::vector<std::string>{keys_[0], keys_[1]}));
  std::vector<TokenKey> asked;
  for (std::size_t i = 0; i < 2; ++i) {
    asked.push_back({run->refs()[i], std::span(prompt).subspan(16 * i, 16)});
  }
  const auto lease = acquire_with_token_ids_sync(world_.engine(), *ns, asked);
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(lease->blocks.size(), 2U);
  for (const NamespaceStats& one : world_.engine().stats().namespaces) {
    EXPECT_TRUE(one.name != "both" || one.token_index->blocks == 2);
  }
}

}  // namespace
}  // namespace cairn::test
