// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/announcer.h"
#include "engine/base/status.h"
#include "engine/completion.h"
#include "engine/core.h"
#include "engine/engine_factory.h"
#include "engine/eraser.h"
#include "engine/expirer.h"
#include "engine/fetcher.h"
#include "engine/hot_list.h"
#include "engine/load_path.h"
#include "engine/mover.h"
#include "engine/pins.h"
#include "engine/read_path.h"
#include "engine/recovery.h"
#include "engine/token_ids.h"
#include "engine/token_index.h"
#include "engine/write_back.h"
#include "engine/write_path.h"

namespace cairn {

std::string_view move_kind_name(MoveKind kind) {
  switch (kind) {
    case MoveKind::hot_to_warm:
      return "hot_to_warm";
    case MoveKind::hot_to_cold:
      return "hot_to_cold";
    case MoveKind::warm_to_cold:
      return "warm_to_cold";
    case MoveKind::warm_to_hot:
      return "warm_to_hot";
    case MoveKind::cold_to_hot:
      return "cold_to_hot";
    case MoveKind::cold_to_warm:
      return "cold_to_warm";
  }
  return "unknown";
}

std::string_view tier_kind_name(TierKind tier) {
  switch (tier) {
    case TierKind::none:
      return "none";
    case TierKind::hot:
      return "hot";
    case TierKind::warm:
      return "warm";
    case TierKind::cold:
      return "cold";
  }
  CAIRN_UNREACHABLE();
}

namespace detail {
namespace {

/// The door: every call goes to the story that tells it.
class EngineImpl final : public Engine {
 public:
  EngineImpl(const EngineOptions& options, const EngineParts& parts)
      : core_(options, parts),
        mover_(core_),
        recovery_(core_, mover_),
        tokens_(core_, recovery_),
        expirer_(core_, mover_),
        fetcher_(core_, mover_),
        reads_(core_, recovery_, fetcher_, mover_, expirer_),
        loads_(core_, recovery_, fetcher_, mover_, reads_, expirer_),
        writes_(core_, recovery_, mover_, expirer_, tokens_),
        write_back_(core_, writes_),
        eraser_(core_, recovery_, mover_, tokens_),
        pins_(core_, recovery_),
        announcer_(core_, recovery_, fetcher_, reads_),
        warm_loader_(core_, mover_),
        hot_list_(core_, fetcher_, warm_loader_) {}

  ~EngineImpl() override { close().IgnoreError(); }  // whoever wants to know calls close()

  void start() {
    reads_.set_on_delivered([this](std::span<const BlockId> ids) { announcer_.delivered(ids); });
    reads_.set_on_seen(
        [this](NamespaceState& ns, std::span<const BlockId> ids) { write_back_.seen(ns, ids); });
    writes_.set_on_kept([this](NamespaceState& ns, std::span<const BlockId> again, bool by_policy) {
      write_back_.kept(ns, again, by_policy);
    });
    if (core_.cold != nullptr) {
      core_.cold->set_relocated([this](BlockId id, Location from, Location to) {
        return recovery_.relocated(id, from, to);
      });
      core_.cold->set_removed([this](BlockId id, std::uint64_t sequence, Location location) {
        mover_.lost_cold(id, sequence, location);
      });
    }
    recovery_.set_on_expiring([this](BlockId id, WallMicros expiry) { expirer_.note(id, expiry); });
    recovery_.set_on_pinned([this](BlockId id) { pins_.found(id); });
    recovery_.on_end([this] {
      core_.loop.post([this] {
        hot_list_.start();
        tokens_.start();
        // Limits that were set before everything was known.
        for (NamespaceState* const ns : core_.namespaces.all()) mover_.trim(*ns);
      });
    });
    recovery_.start();
  }

  absl::StatusOr<NamespaceId> open_namespace(const NamespaceDescriptor& descriptor,
                                             const NamespaceOptions& options) override {
    if (core_.closing.load()) return make_error(ErrorCode::closed, "the engine is closing");
    CAIRN_ASSIGN_OR_RETURN(NamespaceState* const state, core_.namespaces.open(descriptor));
    if (options.verify_tokens && state->is_mutable()) {
      return make_error(ErrorCode::invalid_argument,
                        "token ids are kept in content-addressed namespaces alone");
    }
    CAIRN_RETURN_IF_ERROR(tokens_.open(*state, options.token_index_bytes));
    if (options.verify_tokens) state->verifies_tokens.store(true);
    if (options.write_policy) {
      CAIRN_RETURN_IF_ERROR(set_write_policy(state->id, *options.write_policy));
    }
    return state->id;
  }
  absl::Status set_write_policy(NamespaceId id, WritePolicy policy) override {
    NamespaceState* const ns = core_.namespaces.find(id);
    if (ns == nullptr) return make_error(ErrorCode::invalid_argument, "there is no such namespace");
    if (!core_.operations.enter()) return make_error(ErrorCode::closed, "the engine is closing");
    write_back_.set_policy(*ns, policy);
    core_.operations.leave();
    return absl::OkStatus();
  }
  std::vector<NamespaceInfo> namespaces() const override { return core_.namespaces.list(); }
  absl::Status set_limits(NamespaceId id, const NamespaceLimits& limits) override {
    NamespaceState* const ns = core_.namespaces.find(id);
    if (ns == nullptr) return make_error(ErrorCode::invalid_argument, "there is no such namespace");
    ns->hot_limit.store(limits.hot_bytes);
    ns->cold_limit.store(limits.cold_bytes);
    core_.hot.set_limit(id, limits.hot_bytes);
    if (!core_.operations.enter()) return make_error(ErrorCode::closed, "the engine is closing");
    mover_.trim(*ns);
    core_.operations.leave();
    return absl::OkStatus();
  }

  Match match(NamespaceId ns, std::span<const KeyRef> keys) const override {
    return reads_.match(ns, keys);
  }
  std::size_t match_length(NamespaceId ns, std::span<const KeyRef> keys,
                           Search search) const override {
    return reads_.match_length(ns, keys, search);
  }
  void match_lengths(NamespaceId ns, std::span<const std::span<const KeyRef>> requests,
                     std::span<std::size_t> lengths) const override {
    for (std::size_t i = 0; i < requests.size(); ++i) {
      lengths[i] = reads_.match_length(ns, requests[i], Search::forward);
    }
  }
  absl::StatusOr<TokenRun> match_tokens(NamespaceId ns, std::span<const std::uint32_t> tokens,
                                        const TokenSpace& space) const override {
    return tokens_.match(ns, tokens, space);
  }
  absl::StatusOr<std::string> token_tree_picture(NamespaceId ns,
                                                 std::size_t lines_max) const override {
    return tokens_.picture(ns, lines_max);
  }
  bool is_freeable(NamespaceId ns, const KeyRef& key) const override {
    if (core_.namespaces.find(ns) == nullptr || !is_valid_key(key.key)) return false;
    const BlockId id = core_.id_of(ns, key);
    const std::optional<Residency> listed = core_.catalog.find(id);
    return listed && !core_.is_expired(*listed) && !listed->leased && !listed->pinned &&
           core_.catalog.is_named(id, {ns, key.key, key.part});
  }
  absl::StatusOr<std::vector<SubtreeBlock>> subtree(NamespaceId ns, const KeyRef& root,
                                                    std::size_t blocks_max) const override;
  void acquire(NamespaceId ns, std::span<const KeyRef> keys, const AcquireOptions& options,
               std::function<void(absl::StatusOr<Lease>)> done) override {
    if (verifies_tokens(ns) && !have_token_ids(keys)) {
      done(without_token_ids());
      return;
    }
    reads_.acquire(ns, keys, options, std::move(done));
  }
  void load(NamespaceId ns, std::span<LoadTarget> targets, const AcquireOptions& options,
            std::function<void(absl::Status)> done) override {
    if (verifies_tokens(ns)) {
      done(without_token_ids());
      return;
    }
    loads_.load(ns, targets, options, std::move(done));
  }
  void load_layers(NamespaceId ns, std::span<LoadTarget> targets, const LayerOptions& options,
                   std::function<void(const LoadedLayers&)> on_layers,
                   std::function<void(absl::Status)> done) override {
    loads_.load_layers(ns, targets, options, std::move(on_layers), std::move(done));
  }
  std::size_t announce(NamespaceId ns, std::span<const KeyRef> keys, Deadline deadline) override {
    return announcer_.announce(ns, keys, deadline);
  }
  std::size_t touch(NamespaceId ns, std::span<const KeyRef> keys) override {
    return core_.catalog.touch(ids_of(ns, keys));
  }

  void put(NamespaceId ns, std::span<const PutBlock> blocks, const PutOptions& options,
           std::function<void(std::vector<PutResult>)> done) override {
    if (verifies_tokens(ns) && !have_token_ids(blocks)) {
      done(std::vector<PutResult>(blocks.size(), PutResult{.status = without_token_ids()}));
      return;
    }
    writes_.put(ns, blocks, options, std::move(done));
  }
  absl::StatusOr<std::unique_ptr<PutBatch>> reserve(NamespaceId ns,
                                                    std::span<const PutBlock> blocks,
                                                    const PutOptions& options) override {
    if (verifies_tokens(ns) && !have_token_ids(blocks)) return without_token_ids();
    return writes_.reserve(ns, blocks, options);
  }

  void erase(NamespaceId ns, std::span<const KeyRef> keys,
             std::function<void(absl::StatusOr<std::vector<bool>>)> done) override {
    eraser_.erase(ns, keys, std::move(done));
  }
  absl::Status clear(NamespaceId ns) override { return eraser_.clear(ns); }
  std::size_t demote_early(NamespaceId ns, std::span<const KeyRef> keys) override {
    std::size_t demoted = 0;
    // In chain order, so that the tail, set back last, is the very first to go.
    for (const BlockId id : ids_of(ns, keys)) demoted += core_.catalog.make_oldest(id) ? 1U : 0U;
    return demoted;
  }
  absl::StatusOr<std::uint64_t> evict_unused(TierKind tier, std::uint64_t target_bytes) override {
    // What is owed to cold is to be kept, so it goes there first.
    const std::vector<NamespaceState*> all = core_.namespaces.all();
    const bool any_owed = std::any_of(all.begin(), all.end(), [](const NamespaceState* ns) {
      return ns->write_policy.load() == WritePolicy::back;
    });
    if (tier != TierKind::cold && any_owed && core_.operations.enter()) {
      write_out().IgnoreError();  // counted and logged; the tier is emptied all the same
      core_.operations.leave();
    }
    return mover_.evict_unused(tier, target_bytes);
  }

  absl::Status pin(NamespaceId ns, std::span<const KeyRef> keys,
                   const PinOptions& options) override {
    return pins_.pin(ns, keys, options);
  }
  absl::Status unpin(NamespaceId ns, std::span<const KeyRef> keys,
                     std::string_view owner) override {
    return pins_.unpin(ns, keys, owner);
  }

  EngineStats stats() const override;
  void reset_stats() override { core_.meters.reset(); }
  bool is_recovered() const override { return recovery_.is_complete(); }
  absl::Status wait_recovered(Deadline deadline) override { return recovery_.wait(deadline); }
  absl::Status flush() override {
    if (!core_.operations.enter()) return make_error(ErrorCode::closed, "the engine is closing");
    absl::Status status = write_out();
    const absl::Status synced = sync_cold();
    if (!synced.ok()) status = synced;
    core_.operations.leave();
    return status;
  }
  absl::Status close() override;

 protected:
  bool pump() override { return core_.pump(); }

 private:
  std::vector<BlockId> ids_of(NamespaceId ns, std::span<const KeyRef> keys) const {
    std::vector<BlockId> ids;
    for (const KeyRef& key : keys) {
      if (is_valid_key(key.key)) ids.push_back(core_.id_of(ns, key));
    }
    return ids;
  }
  absl::Status write_out();
  absl::Status sync_cold();
  bool verifies_tokens(NamespaceId id) const {
    const NamespaceState* const ns = core_.namespaces.find(id);
    return ns != nullptr &&
           ns->verifies_tokens.load(std::memory_order_relaxed);  // a guard, no more
  }
  static absl::Status without_token_ids() {
    return make_error(ErrorCode::invalid_argument,
                      "this namespace verifies token ids: blocks go with theirs (token_ids.h)");
  }
  void add_namespaces(EngineStats& stats) const;

  EngineCore core_;
  Mover mover_;
  Recovery recovery_;
  TokenIndex tokens_;
  Expirer expirer_;
  Fetcher fetcher_;
  ReadPath reads_;
  LoadPath loads_;
  WritePath writes_;
  WriteBack write_back_;
  Eraser eraser_;
  Pins pins_;
  Announcer announcer_;
  WarmLoader warm_loader_;
  HotList hot_list_;
  Completion closed_;
  absl::Status close_status_;  // written before closed_ is notified
};

absl::StatusOr<std::vector<SubtreeBlock>> EngineImpl::subtree(NamespaceId ns, const KeyRef& root,
                                                              std::size_t blocks_max) const {
  if (core_.namespaces.find(ns) == nullptr || !is_valid_key(root.key)) {
    return make_error(ErrorCode::invalid_argument, "there is no such namespace, or no such key");
  }
  if (!recovery_.is_complete()) {
    return make_error(ErrorCode::busy, recovery_.is_over()
                                           ? "the catalog does not list every block of the store"
                                           : "the catalog is still being loaded");
  }
  std::vector<SubtreeBlock> blocks;
  for (const Catalog::Descendant& one : core_.catalog.subtree(core_.id_of(ns, root), blocks_max)) {
    const std::optional<Residency> listed = core_.catalog.find(one.id);
    std::optional<OwnedName> name = core_.catalog.name_of(one.id);
    if (!listed || !name || name->namespace_id != ns || core_.is_expired(*listed)) continue;
    blocks.push_back({.key = std::move(name->key),
                      .part = name->part,
                      .depth = one.depth,
                      .plain_bytes = listed->facts.plain_bytes,
                      .tier = listed->tier(),
                      .pinned = listed->pinned,
                      .leased = listed->leased});
  }
  return blocks;
}

/// What memory alone has and cold is to have. Inside core_.operations.
absl::Status EngineImpl::write_out() {
  Completion written;
  absl::Status status;
  write_back_.write_out([&](absl::Status result) {
    status = std::move(result);
    written.notify();
  });
  written.wait([this] { return pump(); });
  return status;
}

absl::Status EngineImpl::sync_cold() {
  if (core_.cold == nullptr || core_.read_only) return absl::OkStatus();
  Completion synced;
  absl::Status status;
  core_.cold->sync([&](absl::Status result) {
    status = std::move(result);
    synced.notify();
  });
  synced.wait([this] { return pump(); });
  return status;
}

absl::Status EngineImpl::close() {
  if (core_.closing.exchange(true)) {
    closed_.wait([this] { return pump(); });
    return close_status_;
  }
  core_.operations.shut();
  core_.operations.wait_empty(core_.parts.pump);
  // Nobody puts any more: what is dirty now is all that there will be.
  core_.operations.enter_alone();
  absl::Status status;
#if !defined(CAIRN_PLANTED_DIRTY_FORGOTTEN)
  status = write_out();
#endif
  core_.operations.leave();
  core_.operations.wait_empty(core_.parts.pump);
  core_.loop.end([this] { return pump(); });
  recovery_.abandon();
  if (const absl::Status saved = hot_list_.save(); !saved.ok()) status = saved;
  if (const absl::Status saved = tokens_.save(); !saved.ok()) status = saved;
  if (core_.warm != nullptr) core_.warm->close();
  if (core_.cold != nullptr) {
    // A tier that is degraded cannot sync; closing goes on, and the store is then not clean.
    const absl::Status synced = sync_cold();
    if (!synced.ok()) status = synced;
    core_.cold->close();
  }
  close_status_ = status;
  closed_.notify();
  return status;
}

EngineStats EngineImpl::stats() const {
  EngineStats stats = snapshot(core_.meters);
  stats.hot.usage = core_.hot.usage();
  if (core_.warm != nullptr) stats.warm.usage = core_.warm->usage();
  if (core_.cold != nullptr) {
    stats.cold.usage = core_.cold->usage();
    stats.health = core_.cold->health();
    stats.counters = core_.cold->counters();
    stats.codec = core_.cold->codec();
    stats.opened_clean = core_.cold->opened_clean();
  }
  add_namespaces(stats);
  stats.leases_open = core_.leases.open_leases();
  stats.blocks_pinned = pins_.pinned_blocks();
  stats.pins = pins_.by_owner();
  stats.catalog_blocks = core_.catalog.blocks();
  stats.catalog_bytes =
      core_.catalog.memory_bytes() + core_.catalog.name_bytes() + expirer_.bytes();
  stats.orphans = core_.catalog.orphans();
  stats.recovered = recovery_.is_complete();
  stats.recovery_s = recovery_.seconds();
  return stats;
}

void EngineImpl::add_namespaces(EngineStats& stats) const {
  const absl::flat_hash_map<NamespaceId, DirtyUsage> dirty = write_back_.dirty();
  for (const NamespaceState* ns : core_.namespaces.all()) {
    const NamespaceUsage usage = core_.catalog.usage(ns->id);
    const auto found = dirty.find(ns->id);
    const DirtyUsage unwritten = found == dirty.end() ? DirtyUsage{} : found->second;
    stats.hot.payload_bytes += usage.hot_bytes;
    stats.warm.payload_bytes += usage.warm_bytes;
    stats.cold.payload_bytes += usage.cold_bytes;
    // Relaxed: statistics.
    stats.namespaces.push_back({.name = ns->descriptor.name,
                                .blocks = usage.blocks,
                                .bytes = usage.bytes,
                                .hot_blocks = usage.hot_blocks,
                                .hot_bytes = usage.hot_bytes,
                                .warm_blocks = usage.warm_blocks,
                                .warm_bytes = usage.warm_bytes,
                                .cold_blocks = usage.cold_blocks,
                                .cold_bytes = usage.cold_bytes,
                                .hot_limit_bytes = ns->hot_limit.load(std::memory_order_relaxed),
                                .cold_limit_bytes = ns->cold_limit.load(std::memory_order_relaxed),
                                .write_policy = ns->write_policy.load(std::memory_order_relaxed),
                                .dirty_blocks = unwritten.blocks,
                                .dirty_bytes = unwritten.bytes,
                                .lookups = ns->lookups.load(std::memory_order_relaxed),
                                .hits = ns->hits.load(std::memory_order_relaxed),
                                .token_index = TokenIndex::stats(*ns)});
  }
}

}  // namespace
}  // namespace detail

absl::StatusOr<std::unique_ptr<Engine>> make_engine(const EngineOptions& options,
                                                    const EngineParts& parts) {
  CAIRN_RETURN_IF_ERROR(validate(options));
  CAIRN_CHECK(parts.hot != nullptr && parts.mover_loop != nullptr && parts.clock != nullptr);
  auto engine = std::make_unique<detail::EngineImpl>(options, parts);
  engine->start();
  return engine;
}

}  // namespace cairn
