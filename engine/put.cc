// SPDX-License-Identifier: Apache-2.0
#include "engine/put.h"

#include <algorithm>
#include <cstring>

#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::detail {
namespace {

// A piece that is copied is still in the first caches when it is summed.
constexpr std::size_t kCopyPiece = 128 * kKiB;
// Puts under way take at most a quarter of cold: blocks that fill a segment by half take twice
// their bytes, and as much again is left to be evicted.
constexpr std::uint64_t kTurnsShare = 4;

std::uint64_t copy_and_sum(MutableByteSpan to, ByteSpan from) {
  if (from.size() <= kCopyPiece) {
    if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
    return xxh3_64(to);
  }
  Xxh3Stream sum;
  for (std::size_t offset = 0; offset < from.size(); offset += kCopyPiece) {
    const std::size_t length = std::min(kCopyPiece, from.size() - offset);
    std::memcpy(to.data() + offset, from.data() + offset, length);
    sum.update(to.subspan(offset, length));
  }
  return sum.digest();
}

}  // namespace

WritePath::Put::Put(WritePath& path, NamespaceState& ns, const PutOptions& options,
                    std::uint64_t charge)
    : path_(path),
      ns_(ns),
      links_(options.links),
      token_root_(options.token_root),
      durability_(path.durability_of(ns, options)),
      by_policy_(!options.durability.has_value()),
      charge_(charge) {}

WritePath::Put::~Put() {
  if (charge_ == 0 && slots_.empty()) return;  // finished: the engine may be gone
  for (const Location slot : slots_) {
    if (!slot.is_null()) path_.core_.free_hot(slot);
  }
  path_.bytes_in_flight_.fetch_sub(charge_);
}

// --- what is asked ---------------------------------------------------------------------------

void WritePath::Put::own_keys(std::span<const PutBlock> blocks, std::vector<PutBlock>* owned) {
  keys_.reserve(2 * blocks.size());
  for (const PutBlock& block : blocks) {
    PutBlock copy = block;
    copy.key = keys_.emplace_back(block.key);
    copy.parent = keys_.emplace_back(block.parent);
    owned->push_back(copy);
  }
  own_tokens(owned);
}

/// Blocks of one prompt share one array, and it is copied once: as far as any of them reaches.
void WritePath::Put::own_tokens(std::vector<PutBlock>* owned) {
  if (ns_.tokens.load() == nullptr) {
    for (PutBlock& block : *owned) block.token_prefix = {};
    return;
  }
  absl::flat_hash_map<const std::uint32_t*, std::span<const std::uint32_t>> arrays;
  for (const PutBlock& block : *owned) {
    std::span<const std::uint32_t>& longest = arrays[block.token_prefix.data()];
    if (block.token_prefix.size() >= longest.size()) longest = block.token_prefix;
  }
  for (auto& [data, array] : arrays) {
    array = tokens_.emplace_back(array.begin(), array.end());
  }
  for (PutBlock& block : *owned) {
    block.token_prefix = arrays[block.token_prefix.data()].first(block.token_prefix.size());
  }
}

void WritePath::Put::prepare(std::span<const PutBlock> blocks, std::vector<Location> slots) {
  began_ = path_.core_.clock.now();
  slots_ = std::move(slots);
  absl::flat_hash_map<BlockId, std::size_t> known;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const PutBlock& block = blocks[i];
    sizes_.push_back(static_cast<std::uint32_t>(block.payload.size()));
    Item item{.index = i, .name = {ns_.id, block.key, block.part}, .payload = block.payload};
    check(block, item);
    if (item.settled) {  // it can never succeed as asked
      item_of_.push_back(items_.size());
      items_.push_back(std::move(item));
      continue;
    }
    item.id = block_id(item.name, path_.core_.secret);
    item.facts.plain_bytes = static_cast<std::uint32_t>(block.payload.size());
    item.facts.expiry = block.expiry;
    item.facts.parent = parent_of(blocks, i);
    item.tokens = {.id = item.id,
                   .parent = item.facts.parent,
                   .part = block.part,
                   .prefix = block.token_prefix};
    if (!slots_.empty()) {
      item.payload = path_.core_.hot.bytes(slots_[i]);
      item.filled = true;
    }
    const auto [at, is_new] = known.try_emplace(item.id, items_.size());
    item_of_.push_back(at->second);
    if (is_new) {
      items_.push_back(std::move(item));
    } else if (ns_.is_mutable()) {
      items_[at->second] = std::move(item);  // the last one wins
    }
  }
  for (const auto& [id, at] : known) gates_.push_back(id);
  std::sort(gates_.begin(), gates_.end());
}

void WritePath::Put::check(const PutBlock& block, Item& item) const {
  const auto refuse = [&](ErrorCode code, std::string_view why) {
    item.settled = true;
    item.status = make_error(code, why);
  };
  if (!is_valid_key(block.key)) {
    refuse(ErrorCode::invalid_argument, "a key has 1 to 1024 bytes");
  } else if (block.payload.size() > path_.core_.block_bytes_max) {
    refuse(ErrorCode::too_large, concat("a block of ", block.payload.size(),
                                        " bytes; the limit is ", path_.core_.block_bytes_max));
  } else if (ns_.is_mutable() && links_ == Links::given && !block.parent.empty()) {
    refuse(ErrorCode::invalid_argument, "blocks of a mutable namespace have no parents");
  } else if (links_ == Links::given && block.parent.size() > kKeyLengthMax) {
    refuse(ErrorCode::invalid_argument, "a parent's key has at most 1024 bytes");
  } else if (!ns_.is_mutable() && block.expiry != 0) {
    refuse(ErrorCode::invalid_argument, "blocks of a content-addressed namespace never expire");
  } else if (ns_.tokens.load() != nullptr &&
             block.token_prefix.size() % ns_.descriptor.tokens_per_block != 0) {
    refuse(ErrorCode::invalid_argument, "token_prefix is not of whole blocks");
  }
}

BlockId WritePath::Put::parent_of(std::span<const PutBlock> blocks, std::size_t index) const {
  const PutBlock& block = blocks[index];
  if (ns_.is_mutable() || links_ == Links::absent) return {};
  if (links_ == Links::given) {
    return block.parent.empty() ? BlockId{} : path_.core_.id_of(ns_.id, {block.parent, block.part});
  }
  // A chain's parts are chains of their own, side by side in the batch.
  for (std::size_t i = index; i-- > 0;) {
    if (blocks[i].part == block.part && blocks[i].key != block.key && is_valid_key(blocks[i].key)) {
      return path_.core_.id_of(ns_.id, {blocks[i].key, blocks[i].part});
    }
  }
  return {};
}

MutableByteSpan WritePath::Put::slot_bytes(std::size_t index) {
  return path_.core_.hot.bytes(slots_[index]);
}

// --- what is there ---------------------------------------------------------------------------

void WritePath::Put::start(Callback done) {
  done_ = std::move(done);
  EngineCore& core = path_.core_;
  Task enter_gates = [self = shared_from_this()] {
    if (!self->writes_back_) self->asking_ = self->path_.recovery_.ask();
    self->path_.core_.gates.enter_all(self->gates_, [self] { self->resolve_unknown(); });
  };
  if (durability_ == Durability::memory) {
    enter_gates();
  } else {
    takes_turn_ = true;
    path_.turns_.enter(charge_, core.cold->usage().capacity_bytes / kTurnsShare,
                       std::move(enter_gates));
  }
}

void WritePath::Put::resolve_unknown() {
  std::vector<Unknown> unknown;
  if (!writes_back_ && asking_.must()) {
    for (const Item& item : items_) {
      if (item.settled) continue;
      const std::optional<Residency> listed = path_.core_.catalog.find(item.id);
      if (!listed || !listed->present()) unknown.push_back({item.id, item.name});
    }
  }
  if (unknown.empty()) {
    classify();
    return;
  }
  path_.recovery_.resolve(std::move(unknown), true,
                          [self = shared_from_this()](const absl::Status& status) {
                            self->path_.core_.loop.post([self, status] {
                              // Not knowing what is there, a put might keep two versions of a
                              // block.
                              for (Item& item : self->items_) {
                                if (!status.ok() && !item.settled) self->settle(item, status);
                              }
                              self->classify();
                            });
                          });
}

void WritePath::Put::classify() {
  asking_.end();
  std::uint64_t metadata = 0;
  for (Item& item : items_) {
    if (!item.settled) classify_one(item);
    if (!item.settled && !item.to_sync && !item.upgrade) {
      metadata += Catalog::cost_bytes(item.name.key.size());
    }
  }
  if (metadata > 0) {
    if (path_.mover_.make_catalog_room(metadata)) {
      metadata_reserved_ = metadata;
    } else {
      for (Item& item : items_) {
        if (item.settled || item.to_sync || item.upgrade) continue;
        settle(item, make_error(ErrorCode::no_space, "metadata_bytes is full of blocks in use"));
      }
    }
  }
  place();
}

void WritePath::Put::classify_one(Item& item) {
  EngineCore& core = path_.core_;
  const std::optional<Residency> listed = core.catalog.find(item.id);
  if (writes_back_) {
    classify_write_back(item, listed.value_or(Residency{}));
    return;
  }
  if (!listed || !listed->present()) return;
  if (!core.catalog.is_named(item.id, item.name)) {
    settle(item, make_error(ErrorCode::refused, "another block has the same 128-bit id"));
    return;
  }
  if (!ns_.is_mutable()) {
    classify_present(item, *listed);
    return;
  }
  item.facts.pinned = listed->facts.pinned;
  if (!listed->cold.is_null()) item.replaces = listed->facts.plain_bytes;
  item.outcome = core.is_expired(*listed) ? PutOutcome::stored : PutOutcome::replaced;
}

/// Content-addressed, and there: the first bytes stay.
void WritePath::Put::classify_present(Item& item, const Residency& listed) {
  EngineCore& core = path_.core_;
  if (listed.facts.plain_bytes != item.facts.plain_bytes) {
    settle(item, make_error(ErrorCode::mismatch,
                            concat("the block is there with ", listed.facts.plain_bytes,
                                   " bytes, not ", item.facts.plain_bytes)));
    return;
  }
  item.outcome = PutOutcome::already_present;
  if (!listed.cold.is_null()) item.acknowledged = Durability::written;
  const BlockFacts asked = item.facts;
  item.facts = listed.facts;
  if (durability_ == Durability::memory) {
    item.settled = true;
  } else if (!listed.cold.is_null()) {
    item.to_sync = durability_ == Durability::durable && !core.catalog.is_durable(item.id);
    item.settled = !item.to_sync;
  } else {
    // Promised no more than memory so far: the copy there is what cold gets.
    item.upgrade = hold_for_upgrade(item, listed);
    if (!item.upgrade) {
      item.outcome = PutOutcome::stored;  // evicted just now: it is new again
      item.facts = asked;
      return;
    }
    // Its eviction from cold may have left a tombstone of this very version.
    if (core.catalog.has_left_cold(item.id)) item.facts.sequence = core.next_sequence();
  }
}

// --- into hot --------------------------------------------------------------------------------

/// What goes to cold is handed over group by group while later blocks are still being copied: the
/// device need not wait for the whole batch.
void WritePath::Put::place() {
  const bool to_cold = durability_ != Durability::memory;
  for (std::size_t i = 0; i < items_.size(); ++i) {
    Item& item = items_[i];
    if (item.settled || item.to_sync) continue;
    if (!item.upgrade) {
      if (!place_one(item)) continue;
      item.facts.sequence = path_.core_.next_sequence();
      fill(item);
    }
    if (to_cold) add_to_group(i);
  }
  if (to_cold) {
    end_groups();
  } else {
    publish_in_memory();
  }
}

/// False when it is settled: there is no room. A block that hot cannot take, but cold can, is
/// written from the caller's own buffer.
bool WritePath::Put::place_one(Item& item) {
  if (item.filled) {
    item.slot = std::exchange(slots_[item.index], Location{});
    return true;
  }
  EngineCore& core = path_.core_;
  const std::uint32_t size = item.facts.plain_bytes;
  // What cold will have is not worth a block that nobody else has.
  const Mover::HotRoom room =
      durability_ == Durability::memory ? Mover::HotRoom::needed : Mover::HotRoom::welcome;
  absl::Status status = core.hot.reserve(ns_.id, {&size, 1}, {&item.slot, 1});
  while (has_code(status, ErrorCode::no_space) &&
         path_.mover_.make_hot_room(ns_.id, {&size, 1}, room)) {
    status = core.hot.reserve(ns_.id, {&size, 1}, {&item.slot, 1});
  }
  if (status.ok() || durability_ != Durability::memory) {
    if (!status.ok()) item.slot = {};
    return true;
  }
  if (has_code(status, ErrorCode::no_space)) {
    status = make_error(ErrorCode::busy, "all of hot is in use");
  }
  settle(item, std::move(status));
  return false;
}

void WritePath::Put::fill(Item& item) {
  if (item.slot.is_null() || item.filled) {
    item.facts.plain_sum = xxh3_64(item.payload);
    return;
  }
  const MutableByteSpan slot = path_.core_.hot.bytes(item.slot);
  item.facts.plain_sum = copy_and_sum(slot, item.payload);
  item.payload = slot;
}

void WritePath::Put::publish_in_memory() {
  EngineCore& core = path_.core_;
  std::vector<ColdRemoval> overwritten;
  struct Waiting {
    std::size_t item = 0;
    Residency old;
  };
  std::vector<Waiting> waiting;
  for (std::size_t i = 0; i < items_.size(); ++i) {
    Item& item = items_[i];
    if (item.settled) continue;
    Residency replaced;
    if (!core.catalog.publish_hot(item.id, item.name, item.facts, item.slot, &replaced)) {
      settle(item, make_error(ErrorCode::no_space, "the catalog has no room for the block"));
      continue;
    }
    item.slot = {};
    core.meters.counters.add(Counter::hot_bytes_written, item.facts.plain_bytes);
    if (item.facts.expiry != 0) path_.expirer_.note(item.id, item.facts.expiry);
    core.free_in_memory(replaced);
    if (replaced.cold.is_null()) {
      settle(item, absl::OkStatus());
      continue;
    }
    // The old version must not come back after a crash, though the new one may be lost.
    core.notes.note_removed(item.id, replaced.facts.sequence);
    overwritten.push_back({.id = item.id,
                           .name = {ns_.id, std::string(item.name.key), item.name.part},
                           .sequence = replaced.facts.sequence,
                           .location = replaced.cold});
    waiting.push_back({i, replaced});
  }
  if (overwritten.empty()) {
    finish();
    return;
  }
  path_.mover_.remove_cold(std::move(overwritten), RemovalReason::overwritten, Durability::durable,
                           [self = shared_from_this(),
                            waiting = std::move(waiting)](const std::vector<ColdRemoval>& removed) {
                             for (std::size_t i = 0; i < waiting.size(); ++i) {
                               Item& item = self->items_[waiting[i].item];
                               if (!removed[i].status.ok()) self->put_back(item, waiting[i].old);
                               self->settle(item, removed[i].status);
                             }
                             self->finish();
                           });
}

/// The index still has the old version, so the catalog lists it again instead of the new one: a
/// later put that replaced the new one would not know of it, and a crash would bring it back.
void WritePath::Put::put_back(const Item& item, const Residency& old) {
  EngineCore& core = path_.core_;
  const std::optional<Residency> removed = core.catalog.remove(item.id, item.facts.sequence);
  if (removed) core.free_in_memory(*removed);
  if (!core.publish_cold(item.id, item.name, old.facts, old.cold, old.cold_bytes, nullptr)) {
    core.is_partial.store(true);
  }
}

// --- the end ---------------------------------------------------------------------------------

void WritePath::Put::settle(Item& item, absl::Status status) {
  item.settled = true;
  item.status = std::move(status);
}

void WritePath::Put::finish() {
  EngineCore& core = path_.core_;
  for (Item& item : items_) {
    if (!item.slot.is_null()) core.free_hot(std::exchange(item.slot, Location{}));
  }
  std::vector<PutResult> results = writes_back_ ? results_of_write_back() : results_of_put();
  index_tokens();
  for (const Location slot : slots_) {
    if (!slot.is_null()) core.free_hot(slot);
  }
  slots_.clear();
  core.gates.leave_all(gates_);
  if (takes_turn_) path_.turns_.leave(charge_);
  path_.bytes_in_flight_.fetch_sub(std::exchange(charge_, 0));
  core.metadata_reserved.fetch_sub(metadata_reserved_);
  ns_.publishers.leave();
  if (!writes_back_) {
    count(results);
    tell_kept_in_memory();
  }
  path_.mover_.note_growth();
  const Callback done = std::move(done_);
  done(std::move(results));
  core.operations.leave();
}

/// Acknowledged as present, and inside its gate still.
void WritePath::Put::index_tokens() {
  if (ns_.tokens.load() == nullptr) return;
  std::vector<PutTokens> present;
  for (Item& item : items_) {
    if (!item.status.ok() || item.tokens.prefix.empty()) continue;
    item.tokens.is_new = item.outcome == PutOutcome::stored;
    present.push_back(item.tokens);
  }
  path_.tokens_.put(ns_, token_root_, present);
}

std::vector<PutResult> WritePath::Put::results_of_put() {
  std::vector<BlockId> stored;
  for (const Item& item : items_) {
    if (item.status.ok()) stored.push_back(item.id);
  }
  path_.core_.catalog.touch(stored);
  std::vector<PutResult> results(item_of_.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    const Item& item = items_[item_of_[i]];
    results[i] = {item.outcome, item.facts.sequence, std::max(item.acknowledged, durability_),
                  item.status};
    if (item.status.ok() && !ns_.is_mutable() && sizes_[i] != item.facts.plain_bytes) {
      results[i].status = make_error(ErrorCode::mismatch, "the batch names the block twice");
    }
    if (!results[i].status.ok()) {
      results[i].outcome = PutOutcome::failed;
      results[i].sequence = 0;
      results[i].durability = Durability::memory;
    } else if (item.index != i && !ns_.is_mutable()) {
      results[i].outcome = PutOutcome::already_present;
    }
  }
  return results;
}

void WritePath::Put::count(const std::vector<PutResult>& results) {
  Counters& counters = path_.core_.meters.counters;
  for (std::size_t i = 0; i < results.size(); ++i) {
    switch (results[i].outcome) {
      case PutOutcome::stored:
      case PutOutcome::replaced:
        counters.add(Counter::blocks_put);
        counters.add(Counter::bytes_put, sizes_[i]);
        if (results[i].outcome == PutOutcome::replaced) counters.add(Counter::blocks_replaced);
        break;
      case PutOutcome::already_present:
        counters.add(Counter::blocks_already_present);
        break;
      case PutOutcome::failed:
        counters.add_refusal(results[i].status);
        break;
    }
  }
  path_.core_.meters.put_latency.record(path_.core_.clock.now() - began_);
}

}  // namespace cairn::detail
