// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/store_model.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/payload.h"
#include "tests/support/sim_device.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/segment_walk.h"
#include "tiers/cold/superblock.h"

namespace cairn::test {
namespace {

constexpr std::size_t kMutableNames = 90;
constexpr std::size_t kAddressedNames = 40;
constexpr std::size_t kChainLength = 5;
/// Of fewer bytes, many versions are the same.
constexpr std::size_t kBytesThatTell = 8;
constexpr std::size_t kSizes[] = {1, 700, 4096, 20'000, 262'144, 300'001, 800'000};

std::string_view outcome_text(PutOutcome outcome) {
  return outcome == PutOutcome::already_present ? "already present" : "stored";
}

/// What the segments hold of a name, as the device sees it now.
std::string records_of(SimStore& store, const std::string& key) {
  std::string out;
  ManualClock clock;
  SimDevice device(store.shared_disk(), clock);
  const auto superblock = tiers::load_superblock(device, "/store");
  if (!superblock.ok()) return out;
  const tiers::WalkOptions options{.store = superblock->superblock.store,
                                   .segment_bytes = superblock->superblock.segment_bytes};
  for (std::uint32_t number = 0; number < 64; ++number) {  // more than a small store has
    const tiers::SegmentId segment{number};
    const auto visit = [&](const tiers::WalkedRecord& record) {
      const tiers::RecordFields& f = record.fields;
      if (f.key == key) {
        out += concat("\n  segment ", number, ", generation ", f.generation, ", offset ", f.offset,
                      ": kind ", static_cast<int>(f.kind), ", number ", f.sequence, ", epoch ",
                      f.epoch, record.payload_sound ? "" : ", torn");
      }
      return absl::OkStatus();
    };
    tiers::walk_segment(device, tiers::segment_path("/store", segment), segment, options, visit)
        .status()
        .IgnoreError();  // there is no such segment
  }
  return out;
}

}  // namespace

SimStoreOptions StoreModel::told(SimStoreOptions options) {
  options.engine.on_evicted = [this](std::span<const Eviction> evictions) {
    evictions_.tell(evictions);
  };
  return options;
}

absl::Status StoreModel::open_namespaces(SimStore& store) {
  CAIRN_ASSIGN_OR_RETURN(
      mutable_, store.engine().open_namespace({.name = "n", .kind = NamespaceKind::mutable_}));
  CAIRN_ASSIGN_OR_RETURN(addressed_, store.engine().open_namespace({.name = "chains"}));
  return absl::OkStatus();
}

void StoreModel::step(SimStore& store, Rng& rng) {
  const bool is_mutable = rng.below(3) != 0;
  const std::size_t number = rng.below(is_mutable ? kMutableNames : kAddressedNames);
  const std::string key = concat(is_mutable ? "key-" : "chain-", number);
  Name& name = names_[key];
  name.is_mutable = is_mutable;
  name.key = key;
  if (!is_mutable && number % kChainLength != 0) name.parent = concat("chain-", number - 1);
  const std::uint64_t choice = rng.below(100);
  if (choice < 10) {
    erase(store, name);
  } else if (choice < 33) {
    read(store, name).status().IgnoreError();  // on a disk that dies
  } else if (choice < 34) {
    store.clock().advance(Duration::millis(static_cast<std::int64_t>(rng.below(4000))));
  } else if (choice < 35) {
    store.engine().evict_unused(TierKind::hot, 0).status().IgnoreError();  // reads go to cold
  } else if (choice < 36) {
    clear(store);
  } else if (choice < 45 && !is_mutable) {
    pin(store, name, rng.chance(0.5));
  } else {
    put(store, name, rng);
  }
}

void StoreModel::put(SimStore& store, Name& name, Rng& rng) {
  name.bytes = name.bytes != 0 ? name.bytes : kSizes[rng.below(std::size(kSizes))];
  const std::uint64_t version = next_version_++;
  const auto durability = static_cast<Durability>(rng.below(3));
  name.possible.insert(version);
  name.unburied.insert(version);
  const std::string payload = make_payload(name.key, version, name.bytes);
  PutBlock block{.key = name.key, .payload = as_bytes(payload), .parent = name.parent};
  if (name.is_mutable && rng.below(8) == 0) {
    block.expiry = store.clock().wall() + 1 + static_cast<WallMicros>(rng.below(8'000'000));
    name.expiry[version] = block.expiry;
  }
  const PutResult result = store.put(
      id_of(name), block,
      {.durability = durability, .links = name.is_mutable ? Links::inferred : Links::given});
  name.history +=
      concat("\n  life ", lives_, ": put version ", version, ", ", durability_name(durability),
             ": ", result.status.ok() ? outcome_text(result.outcome) : message_of(result.status),
             ", number ", result.sequence);
  note_put(name, version, durability, result);
}

void StoreModel::note_put(Name& name, std::uint64_t version, Durability durability,
                          const PutResult& result) {
  if (!result.status.ok()) {
    // It may have taken effect before it failed, and the new version then goes the way of its own
    // durability: a put in flight at `memory` may cost the old version in any death, one at
    // `written` in a power cut.
    last_refusal_ = result.status;
    if (durability != Durability::durable) name.survives_cut = false;
    if (durability == Durability::memory) name.survives_kill = false;
    name.possible.insert(0);
    return;
  }
  if (result.outcome == PutOutcome::already_present) {
    // The first bytes stay. Durability is only ever raised, unless cold had given the block up:
    // then it was written again under another number, and what the first was promised is over.
    EXPECT_FALSE(name.is_mutable);
    if (result.sequence != name.sequence) name.survives_cut = name.survives_kill = false;
    name.possible.erase(version);
    name.unburied.erase(version);
    EXPECT_FALSE(name.possible.empty()) << name.key << " was never put";
  } else if (durability == Durability::durable) {
    note_superseded(name);
    name.possible = {version};
    name.removal_may_return = false;
    if (name.is_mutable) name.unburied = {version};
  } else {
    // A cut may bring back what was durable before, or nothing; a kill may not.
    name.possible.insert(0);
    name.survives_cut = name.survives_kill = false;
  }
  if (result.outcome != PutOutcome::already_present) name.pinned = false;
  if (durability == Durability::memory) return;
  if (durability == Durability::durable) {
    name.possible.erase(0);
    if (name.is_mutable) name.may_return.clear();
    name.survives_cut = true;
  }
  name.survives_kill = true;
  EXPECT_NE(result.sequence, 0U);
  name.sequence = result.sequence;
  name.promised = result.outcome == PutOutcome::already_present ? 0 : version;
}

/// A newer version is durable. What was put under a content-addressed name before and evicted has
/// left no tombstone, since its bytes are the right ones whenever they come back.
void StoreModel::note_superseded(Name& name) {
  if (name.is_mutable) {
    name.may_return.clear();
  } else {
    name.may_return.insert(name.possible.begin(), name.possible.end());
    name.may_return.erase(0);
  }
}

void StoreModel::erase(SimStore& store, Name& name) {
  // Until it is acknowledged an erase may or may not have happened.
  name.possible.insert(0);
  name.survives_cut = name.survives_kill = name.pinned = false;
  name.removal_may_return = true;
  const auto erased = store.erase(id_of(name), name.key);
  name.history += concat("\n  life ", lives_, ": erase: ",
                         !erased.ok() ? message_of(erased.status())
                         : *erased    ? "done"
                                      : "absent");
  if (!erased.ok()) return;
  name.possible = {0};
  name.may_return.clear();
  name.unburied.clear();
}

void StoreModel::clear(SimStore& store) {
  for (auto& [key, name] : names_) {
    if (name.is_mutable) continue;
    name.possible.insert(0);
    name.survives_cut = name.survives_kill = name.pinned = false;
  }
  const absl::Status cleared = store.engine().clear(addressed_);
  for (auto& [key, name] : names_) {
    if (!name.is_mutable) {
      name.history += concat("\n  life ", lives_, ": clear: ", message_of(cleared));
    }
  }
  if (!cleared.ok()) return;
  ++counts_.clears;
  for (auto& [key, name] : names_) {
    if (name.is_mutable) continue;
    name.possible = {0};
    name.may_return.clear();
    name.unburied.clear();
    name.removal_may_return = false;
  }
}

void StoreModel::pin(SimStore& store, Name& name, bool pinned) {
  const KeyRef ref{name.key};
  if (!pinned) {
    name.pinned = false;
    store.engine().unpin(addressed_, {&ref, 1}).IgnoreError();  // in doubt it is not pinned
    return;
  }
  if (!store.engine().pin(addressed_, {&ref, 1}, {.durability = Durability::durable}).ok()) return;
  ++counts_.pins;
  // What is pinned for good is kept for good: its record was synced with the pin.
  name.pinned = name.survives_kill;
}

std::string StoreModel::story(const Name& name, const std::string& bytes) const {
  std::string out = concat("Read ", bytes.size(), " bytes");
  for (std::uint64_t version = 1; version < next_version_; ++version) {
    if (is_payload(name.key, version, as_bytes(bytes))) out += concat(", version ", version);
  }
  out += "; possible:";
  for (const std::uint64_t version : name.possible) out += concat(" ", version);
  return out + concat("; promised ", name.promised, " as number ", name.sequence,
                      name.survives_cut ? ", to survive a cut" : "",
                      name.survives_kill ? ", to survive a kill" : "");
}

std::string StoreModel::story(SimStore& store, const Name& name) const {
  return concat(name.history, "\nits records:", records_of(store, name.key));
}

absl::StatusOr<std::uint64_t> StoreModel::read(SimStore& store, Name& name) {
  const WallMicros before = store.clock().wall();
  CAIRN_ASSIGN_OR_RETURN(const auto got, store.get(id_of(name), name.key));
  if (!got) return std::uint64_t{0};
  std::uint64_t seen = 0;
  for (const std::uint64_t version : name.possible) {
    if (version != 0 && got->size() == name.bytes &&
        is_payload(name.key, version, as_bytes(*got))) {
      seen = version;
    }
  }
  EXPECT_NE(seen, 0U) << name.key << ": bytes that nobody may see. " << story(name, *got)
                      << story(store, name);
  const auto expiry = name.expiry.find(seen);
  if (expiry != name.expiry.end() && name.bytes >= kBytesThatTell) {
    EXPECT_GT(expiry->second, before) << name.key << " has expired";
  }
  return seen;
}

void StoreModel::note_evicted(Name& name) {
  if (name.promised != 0) {
    name.may_return.insert(name.promised);
  } else {
    name.may_return.insert(name.possible.begin(), name.possible.end());
    name.may_return.erase(0);
  }
}

/// The newest version that may have been there has expired, also one whose put failed.
bool StoreModel::may_have_expired(const Name& name, WallMicros now) const {
  for (auto at = name.expiry.lower_bound(name.promised); at != name.expiry.end(); ++at) {
    if (at->second <= now && name.possible.contains(at->first)) return true;
  }
  return false;
}

void StoreModel::check_all(SimStore& store, Death death) {
  for (auto& [key, name] : names_) check(store, name, death);
}

void StoreModel::check(SimStore& store, Name& name, Death death) {
  const bool repaired = death == Death::power_cut_and_repair;
  const bool promised = death == Death::kill
                            ? name.survives_kill
                            : name.survives_cut && !(repaired && name.removal_may_return);
  const BlockId id = block_id({id_of(name), name.key, 0}, store.cold().block_id_secret());
  const bool was_evicted = evictions_.covers(id, name.sequence);
  const bool older_may_be_there = was_evicted && !name.is_mutable;
  // If it was undone: its tombstone may be there, and this excuse ends with the next life.
  name.removal_may_return = name.removal_may_return || was_evicted;
  if (older_may_be_there) name.possible.insert(name.may_return.begin(), name.may_return.end());
  if (repaired) name.possible.insert(name.unburied.begin(), name.unburied.end());
  const absl::StatusOr<std::uint64_t> seen = read(store, name);
  ASSERT_TRUE(seen.ok()) << message_of(seen.status());
  name.history += concat("\n  ", death == Death::kill ? "kill" : "power cut",
                         repaired ? " and repair" : "", ": life ", lives_, " has version ", *seen);
  if (*seen != 0) {
    ++counts_.found;
    counts_.kept_by_repair += repaired && promised ? 1U : 0U;
    name.possible = name.may_return;
    name.possible.insert(*seen);
    // Of so few bytes an older version may look like the newest: then nothing is promised on.
    const bool is_older =
        name.bytes < kBytesThatTell ? older_may_be_there || !promised : *seen < name.promised;
    if (is_older) {
      EXPECT_TRUE(older_may_be_there || !promised)
          << name.key << " is an older version" << story(store, name);
      name.survives_cut = name.survives_kill = false;  // of the older one nothing was promised
    }
    return;
  }
  if (was_evicted) note_evicted(name);
  if (promised && may_have_expired(name, store.clock().wall())) {
    ++counts_.expired;
  } else if (promised) {
    EXPECT_TRUE(was_evicted) << name.key << " is lost: version " << name.promised << ", number "
                             << name.sequence << story(store, name);
    EXPECT_FALSE(name.pinned) << name.key << " was pinned";
    ++counts_.missing_evicted;
  }
  name.possible = name.may_return;
  name.possible.insert(0);
  name.survives_cut = name.survives_kill = name.pinned = false;
}

}  // namespace cairn::test
