// SPDX-License-Identifier: Apache-2.0
#include "tests/support/engine_world.h"

#include <utility>

#include "engine/base/check.h"

namespace cairn::test {

EngineWorld::EngineWorld(EngineWorldOptions options) : options_(std::move(options)) {
  open();
}

EngineWorld::~EngineWorld() {
  take_down();
}

void EngineWorld::pump() {
  if (loop_.run_once(Duration{}) > 0) return;
  // Nothing to do but to wait: for the next timer, if there is one.
  const TimePoint next = loop_.next_timer();
  clock_.advance_to(next == TimePoint::never() ? clock_.now() + Duration::millis(1) : next);
}

void EngineWorld::settle() {
  while (loop_.run_once(Duration{}) > 0) {
  }
}

void EngineWorld::advance(Duration by) {
  const TimePoint until = clock_.now() + by;
  settle();
  while (loop_.next_timer() <= until) {
    clock_.advance_to(loop_.next_timer());
    settle();
  }
  clock_.advance_to(until);
  settle();
}

void EngineWorld::open_unloaded() {
  CAIRN_CHECK(!engine_);
  make();
}

void EngineWorld::make() {
  options_.engine.hot_bytes = options_.hot_bytes;
  hot_ = std::make_unique<MemoryHotTier>(options_.hot_bytes);
  if (options_.with_cold) {
    cold_ = std::make_unique<MemoryTier>(
        MemoryTierOptions{.capacity_bytes = options_.cold_bytes,
                          .loop = options_.asynchronous_cold ? &loop_ : nullptr,
                          .read_only = options_.read_only},
        medium_);
  }
  options_.engine.warm_bytes = options_.warm_bytes;
  if (options_.warm_bytes > 0) {
    codec_ = *tiers::CodecPool::start(0);
    facts_ = cold_ ? std::make_unique<tiers::NamespaceFacts>(*cold_) : nullptr;
    auto warm = tiers::open_warm_tier(
        {.capacity_bytes = options_.warm_bytes, .region_bytes = 256 * kKiB, .huge_pages = false},
        {.codec = codec_.get(), .clock = &clock_, .coding = [this](NamespaceId id) {
           return facts_ ? facts_->coding(id) : std::optional(tiers::WarmCoding{});
         }});
    CAIRN_CHECK(warm.ok());
    warm_ = *std::move(warm);
    faulty_warm_ = std::make_unique<FaultyWarm>(*warm_);
  }
  absl::StatusOr<std::unique_ptr<Engine>> engine =
      make_engine(options_.engine, {.hot = hot_.get(),
                                    .warm = faulty_warm_.get(),
                                    .cold = cold_.get(),
                                    .mover_loop = &loop_,
                                    .clock = &clock_,
                                    .pump = [this] { pump(); }});
  CAIRN_CHECK(engine.ok());
  engine_ = *std::move(engine);
}

void EngineWorld::open() {
  open_unloaded();
  settle();
}

void EngineWorld::take_down() {
  engine_.reset();
  if (warm_ != nullptr) warm_->check_invariants();
  warm_.reset();
  facts_.reset();
  cold_.reset();
  hot_.reset();
}

void EngineWorld::restart() {
  take_down();
  open();
}

void EngineWorld::restart_unloaded() {
  take_down();
  open_unloaded();
}

void EngineWorld::kill() {
  // The dead engine writes nothing more: what its end would save goes to a medium nobody opens.
  auto survivor = std::make_shared<MemoryMedium>(*medium_);
  take_down();
  medium_ = std::move(survivor);
  medium_->mark_dirty();
  open();
}

void EngineWorld::power_cut() {
  auto survivor = std::make_shared<MemoryMedium>(*medium_);
  take_down();
  medium_ = std::move(survivor);
  medium_->power_cut();
  open();
}

NamespaceId EngineWorld::open_namespace(std::string_view name, NamespaceKind kind) {
  const absl::StatusOr<NamespaceId> id =
      engine_->open_namespace({.name = std::string(name), .kind = kind, .tokens_per_block = 16});
  CAIRN_CHECK(id.ok());
  return *id;
}

PutResult EngineWorld::put(NamespaceId ns, std::string_view key, std::size_t bytes,
                           std::uint64_t version, std::optional<Durability> durability,
                           WallMicros expiry) {
  const std::string payload = make_payload(key, version, bytes);
  const PutBlock block{.key = key, .payload = as_bytes(payload), .expiry = expiry};
  return engine_->put_sync(ns, {&block, 1}, {.durability = durability}).at(0);
}

std::vector<PutResult> EngineWorld::put_chain(NamespaceId ns, const std::vector<std::string>& keys,
                                              std::size_t bytes,
                                              std::optional<Durability> durability) {
  std::vector<std::string> payloads;
  payloads.reserve(keys.size());
  std::vector<PutBlock> blocks;
  for (const std::string& key : keys) {
    payloads.push_back(make_payload(key, 0, bytes));
    blocks.push_back({.key = key, .payload = as_bytes(payloads.back())});
  }
  return engine_->put_sync(ns, blocks, {.durability = durability});
}

std::optional<std::string> EngineWorld::get(NamespaceId ns, std::string_view key) {
  const KeyRef ref{key};
  absl::StatusOr<Lease> lease = engine_->acquire_sync(ns, {&ref, 1});
  if (!lease.ok() || lease->blocks().empty()) return std::nullopt;
  return std::string(as_text(lease->blocks()[0].bytes));
}

absl::StatusOr<Lease> EngineWorld::acquire(NamespaceId ns, const std::vector<std::string>& keys,
                                           AcquireOptions options) {
  return engine_->acquire_sync(ns, refs(keys), options);
}

std::size_t EngineWorld::match(NamespaceId ns, const std::vector<std::string>& keys) {
  return engine_->match_length(ns, refs(keys));
}

TierKind EngineWorld::tier_of(NamespaceId ns, std::string_view key) {
  const KeyRef ref{key};
  const Match match = engine_->match(ns, {&ref, 1});
  return match.prefix_blocks == 0 ? TierKind::none : match.blocks[0].tier;
}

bool EngineWorld::erase(NamespaceId ns, std::string_view key) {
  const KeyRef ref{key};
  const auto erased = engine_->erase_sync(ns, {&ref, 1});
  return erased.ok() && (*erased)[0];
}

std::vector<KeyRef> EngineWorld::refs(const std::vector<std::string>& keys) {
  std::vector<KeyRef> out;
  for (const std::string& key : keys) out.push_back({key});
  return out;
}

std::vector<std::string> EngineWorld::chain(std::string_view prefix, std::size_t count) {
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < count; ++i) {
    keys.push_back(std::string(prefix) + "/" + std::to_string(i));
  }
  return keys;
}

}  // namespace cairn::test
