// SPDX-License-Identifier: Apache-2.0
#include "tests/support/cold_world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tests/support/payload.h"
#include "tests/support/sim_rocksdb_fs.h"
#include "tests/support/stored_images.h"
#include "tiers/cold/layout.h"

namespace cairn::test {

ColdWorld::ColdWorld(ColdWorldOptions options) : options_(std::move(options)), rng_(options_.seed) {
  disk_ = std::make_shared<SimDisk>(SimDiskOptions{.seed = options_.seed});
  if (options_.cold.directory.empty()) options_.cold.directory = "/store";
  if (options_.cold.cold_bytes == 0) options_.cold.cold_bytes = 48 * kMiB;
}

ColdWorld::~ColdWorld() {
  drop();
}

absl::Status ColdWorld::open(tiers::StoreMode mode) {
  CAIRN_CHECK(tier_ == nullptr);
  ++counts_.opens;
  device_ = std::make_unique<SimDevice>(disk_, clock_,
                                        SimDeviceOptions{.depth = 16, .seed = rng_.next()});
  loop_ = std::make_unique<EventLoop>(clock_, device_.get());
  tiers::ColdOptions cold = options_.cold;
  cold.mode = mode;
  cold.clock = &clock_;
  cold.index_file_system = make_sim_rocksdb_fs(disk_);
  auto opened = tiers::open_cold_tier(
      cold,
      {.device = device_.get(), .io_loop = loop_.get(), .index_loop = loop_.get(), .pump = [this] {
         if (loop_->run_once({}) == 0) clock_.advance(Duration::micros(100));
       }});
  if (!opened.ok()) {
    loop_.reset();
    device_.reset();
    return opened.status();
  }
  tier_ = std::move(*opened);
  auto addressed = tier_->open_namespace({.name = "addressed", .model = "m"});
  if (addressed.ok()) {
    addressed_ = addressed->id;
    auto replaced = tier_->open_namespace({.name = "mutable", .kind = NamespaceKind::mutable_});
    if (replaced.ok()) mutable_ = replaced->id;
    addressed = std::move(replaced);
  }
  if (!addressed.ok()) {
    drop();
    return addressed.status();
  }
  if (names_.empty()) {
    for (std::size_t i = 0; i < options_.keys; ++i) {
      names_.push_back(
          {.namespace_id = i % 2 == 0 ? addressed_ : mutable_, .key = concat("key-", i)});
    }
  }
  return absl::OkStatus();
}

void ColdWorld::count_faults() {
  for (std::size_t i = 0; i < kFaultKinds; ++i) {
    counts_.fired[i] += disk_->faults().fired(static_cast<Fault>(i));
  }
}

void ColdWorld::drop() {
  tier_.reset();
  loop_.reset();
  device_.reset();
  for (Name& name : names_) name.busy = false;
}

void ColdWorld::close() {
  settle();
  counts_.cleaned_segments = tier_->counters().cleaned_segments;
  tier_->close();
  drop();
}

void ColdWorld::kill() {
  counts_.cleaned_segments = tier_->counters().cleaned_segments;
  CutReport report;
  count_faults();
  auto next = disk_->kill_process(rng_, &report);
  drop();
  disk_ = std::move(next);
  crash(Level::written);
}

void ColdWorld::power_cut() {
  counts_.cleaned_segments = tier_->counters().cleaned_segments;
  power_cut_unopened();
}

void ColdWorld::power_cut_unopened() {
  CutReport report;
  count_faults();
  auto next = disk_->power_cut(rng_, &report);
  counts_.writes_torn += report.writes_torn;
  counts_.writes_dropped += report.writes_dropped;
  counts_.writes_kept += report.writes_kept;
  drop();
  disk_ = std::move(next);
  crash(Level::durable);
}

/// Operations below the level may or may not have happened: they are as if only asked for.
void ColdWorld::crash(Level level) {
  for (Name& name : names_) {
    for (auto& [sequence, operation] : name.history) {
      if (operation.level == Level::failed) continue;
      if (operation.level < level) operation.level = Level::asked;
    }
  }
}

void ColdWorld::pump_until(const std::function<bool()>& ready) {
  std::size_t rounds = 0;
  while (!ready()) {
    if (loop_->run_once({}) == 0) clock_.advance(Duration::micros(100));
    if (++rounds > 3'000'000) CAIRN_CHECK(!"the tier hangs");
  }
}

void ColdWorld::settle() {
  pump_until([this] { return in_flight_ == 0; });
}

std::size_t ColdWorld::draw_size() {
  const double kind = rng_.fraction();
  if (kind < 0.05) return 0;
  if (kind < 0.6) return rng_.between(1, 12 * 1024);
  if (kind < 0.85) return rng_.between(12 * 1024, 200 * 1024);
  return rng_.between(200 * 1024, options_.payload_bytes_max);
}

Durability ColdWorld::draw_durability() {
  return rng_.chance(0.4) ? Durability::durable : Durability::written;
}

ColdWorld::Name& ColdWorld::pick_name() {
  return names_[rng_.below(names_.size())];
}

void ColdWorld::step() {
  Name& name = pick_name();
  const double kind = rng_.fraction();
  if (kind < 0.45) {
    put(name);
  } else if (kind < 0.75) {
    read(name);
  } else if (kind < 0.85) {
    remove(name, RemovalReason::erased);
  } else if (kind < 0.88) {
    remove(name, RemovalReason::evicted);
  } else if (kind < 0.90) {
    remove(name, RemovalReason::expired);
  } else if (kind < 0.93) {
    annotate(name);
  } else if (kind < 0.95) {
    sync();
  } else {
    clock_.advance(Duration::micros(static_cast<std::int64_t>(rng_.below(300'000))));
  }
  const std::size_t allowed = rng_.below(12);
  if (in_flight_ > allowed) {
    pump_until([this, allowed] { return in_flight_ <= allowed; });
  } else {
    loop_->run_once({});
  }
}

void ColdWorld::make_room() {
  for (int i = 0; i < 6; ++i) {
    remove(pick_name(), RemovalReason::evicted);
    ++counts_.evicted_for_room;
  }
}

void ColdWorld::put(Name& name) {
  if (name.busy) return;
  // A content-addressed block is put once; again only after it went.
  if (name.namespace_id == addressed_ && !may_be_missing(name)) return;
  const auto bytes = static_cast<std::uint32_t>(draw_size());
  struct Flight {
    std::string payload;
    TierWrite write;
  };
  auto flight = std::make_shared<Flight>();
  const absl::Status reserved =
      tier_->reserve(name.namespace_id, {&bytes, 1}, {&flight->write.location, 1});
  if (!reserved.ok()) {
    ++counts_.refused;
    if (has_code(reserved, ErrorCode::no_space)) make_room();
    return;
  }
  ++counts_.puts;
  const std::uint64_t sequence = tier_->next_sequence();
  CAIRN_CHECK(name.history.empty() || name.history.rbegin()->first < sequence);
  flight->payload = make_payload(name.key, sequence, bytes);
  flight->write.name = {name.namespace_id, name.key, 0};
  flight->write.id = block_id(flight->write.name, tier_->block_id_secret());
  flight->write.facts = {
      .sequence = sequence, .plain_bytes = bytes, .plain_sum = xxh3_64(as_bytes(flight->payload))};
  if (draw_image()) {
    flight->write.image = make_image(flight->write.name, flight->write.facts,
                                     as_bytes(flight->payload), tiers::kOpaqueChunkBytes,
                                     {.coded = rng_.chance(0.7), .piece_pages = rng_.below(4)});
  } else {
    flight->write.payload = as_bytes(flight->payload);
  }
  const Durability durability = draw_durability();
  name.history[sequence] = {.sequence = sequence, .is_put = true, .bytes = bytes};
  name.busy = true;
  ++in_flight_;
  tier_->write({&flight->write, 1}, durability, [this, flight, &name, sequence, durability] {
    --in_flight_;
    name.busy = false;
    Operation& operation = name.history[sequence];
    if (!flight->write.status.ok()) {
      EXPECT_TRUE(flight->write.location.is_null());
      if (++counts_.failed_puts < 10) last_error_ = flight->write.status.ToString();
      operation.level = disk_->frozen() ? Level::asked : Level::failed;
      if (has_code(flight->write.status, ErrorCode::no_space)) ++counts_.refused;
      return;
    }
    if (disk_->frozen()) return;  // nobody was there any more to hear it
    operation.level = durability == Durability::durable ? Level::durable : Level::written;
  });
}

void ColdWorld::remove(Name& name, RemovalReason reason) {
  if (name.busy) return;
  ++counts_.removals;
  const std::uint64_t sequence = tier_->next_sequence();
  const Durability durability = draw_durability();
  auto removal = std::make_shared<Removal>();
  removal->name = {name.namespace_id, name.key, 0};
  removal->sequence = sequence;
  removal->reason = reason;
  name.history[sequence] = {.sequence = sequence, .is_eviction = reason == RemovalReason::evicted};
  name.busy = true;
  ++in_flight_;
  tier_->remove({removal.get(), 1}, durability, [this, removal, &name, sequence, durability] {
    --in_flight_;
    name.busy = false;
    Operation& operation = name.history[sequence];
    if (!removal->status.ok()) {
      // The tombstone may have reached the medium: it may count, or not.
      return;
    }
    if (disk_->frozen()) return;  // nobody was there any more to hear it
    operation.level = durability == Durability::durable ? Level::durable : Level::written;
  });
}

void ColdWorld::annotate(Name& name) {
  if (name.busy || name.history.empty()) return;
  auto note = std::make_shared<Note>();
  note->name = {name.namespace_id, name.key, 0};
  note->sequence = name.history.rbegin()->first;
  note->pinned = rng_.chance(0.5);
  name.busy = true;
  ++in_flight_;
  tier_->annotate({note.get(), 1}, draw_durability(), [this, note, &name] {
    --in_flight_;
    name.busy = false;
  });
}

void ColdWorld::sync() {
  std::vector<Operation*> covered;
  for (Name& name : names_) {
    for (auto& [sequence, operation] : name.history) {
      if (operation.level == Level::written) covered.push_back(&operation);
    }
  }
  ++in_flight_;
  tier_->sync([this, covered = std::move(covered)](absl::Status status) {
    --in_flight_;
    if (!status.ok()) return;
    if (disk_->frozen()) return;  // nobody was there any more to hear it
    for (Operation* operation : covered) {
      if (operation->level == Level::written) operation->level = Level::durable;
    }
  });
}

std::string ColdWorld::story(const Name& name) {
  std::string out = concat(name.key, ":");
  for (const auto& [sequence, operation] : name.history) {
    out += concat(" ", sequence,
                  operation.is_put        ? " put"
                  : operation.is_eviction ? " evict"
                                          : " erase",
                  operation.level == Level::durable   ? " durable;"
                  : operation.level == Level::written ? " written;"
                  : operation.level == Level::failed  ? " failed;"
                                                      : " asked;");
  }
  return out;
}

bool ColdWorld::may_be_there(const Name& name, std::uint64_t sequence, std::size_t bytes) const {
  const auto found = name.history.find(sequence);
  if (found == name.history.end() || !found->second.is_put) return false;
  if (found->second.level == Level::failed && !options_.refused_may_return) return false;
  if (found->second.bytes != bytes) return false;
  const bool may_return = options_.evicted_may_return && name.namespace_id == addressed_;
  for (auto later = std::next(found); later != name.history.end(); ++later) {
    if (later->second.level < Level::written) continue;
    const bool gone = later->second.is_eviction ||
                      (later->second.is_put && was_evicted_later(name, later->first));
    if (!may_return || !gone) return false;
  }
  return true;
}

bool ColdWorld::was_evicted_later(const Name& name, std::uint64_t sequence) const {
  return std::any_of(name.history.upper_bound(sequence), name.history.end(),
                     [](const auto& entry) { return entry.second.is_eviction; });
}

bool ColdWorld::may_be_missing(const Name& name) const {
  for (auto operation = name.history.rbegin(); operation != name.history.rend(); ++operation) {
    if (operation->second.level == Level::failed) continue;
    if (!operation->second.is_put) return true;  // it may have happened
    if (operation->second.level >= Level::written) return false;
  }
  return true;
}

void ColdWorld::read(Name& name) {
  if (name.busy) return;
  name.busy = true;
  ++in_flight_;
  ++counts_.reads;
  check_name(name);
}

/// One lookup, one read, one judgement.
void ColdWorld::check_name(Name& name) {
  struct Flight {
    StoredLookup lookup;
    TierRead read;
    std::string bytes;
  };
  auto flight = std::make_shared<Flight>();
  flight->lookup.name = {name.namespace_id, name.key, 0};
  const auto finish = [this, &name] {
    --in_flight_;
    name.busy = false;
  };
  tier_->lookup({&flight->lookup, 1}, [this, flight, &name, finish] {
    if (disk_->frozen() || !flight->lookup.status.ok()) {
      finish();
      return;
    }
    if (!flight->lookup.found) {
      if (!may_be_missing(name)) {
        ++counts_.lost;
        EXPECT_TRUE(options_.losses_allowed)
            << "lost: " << story(name) << " seed=" << options_.seed;
      }
      ++counts_.missing;
      finish();
      return;
    }
    const StoredBlock& stored = *flight->lookup.found;
    const std::uint64_t sequence = stored.facts.sequence;
    EXPECT_TRUE(may_be_there(name, sequence, stored.facts.plain_bytes))
        << "came back: version " << sequence << " of " << story(name) << " seed=" << options_.seed;
    if (draw_image()) {
      check_image(name, stored);
      return;
    }
    flight->bytes.resize(stored.facts.plain_bytes);
    flight->read.location = stored.location;
    flight->read.name = flight->lookup.name;
    flight->read.sequence = sequence;
    flight->read.plain_sum = stored.facts.plain_sum;
    flight->read.destination = {reinterpret_cast<std::byte*>(flight->bytes.data()),
                                flight->bytes.size()};
    if (rng_.chance(0.5)) flight->read.deadline = clock_.now() + Duration::seconds(2);
    tier_->read({&flight->read, 1}, [this, flight, &name, sequence, finish] {
      finish();
      if (!flight->read.status.ok()) {
        unreadable(name, sequence, flight->read.status);
        return;
      }
      ++counts_.found;
      EXPECT_TRUE(is_payload(name.key, sequence, as_bytes(flight->bytes)))
          << "WRONG BYTES: " << name.key << " version " << sequence << " seed=" << options_.seed;
    });
  });
}

/// The same of the block as it is stored; ends the read that check_name() began.
void ColdWorld::check_image(Name& name, const StoredBlock& stored) {
  auto read = std::make_shared<ImageRead>();
  read->location = stored.location;
  read->name = {name.namespace_id, name.key, 0};
  read->sequence = stored.facts.sequence;
  tier_->read_images({read.get(), 1}, [this, read, &name] {
    --in_flight_;
    name.busy = false;
    if (!read->status.ok()) {
      unreadable(name, read->sequence, read->status);
      return;
    }
    ++counts_.found;
    const auto plain = plain_bytes_of(*read->image);
    EXPECT_TRUE(plain.ok() && is_payload(name.key, read->sequence, as_bytes(*plain)))
        << "WRONG BYTES: " << name.key << " version " << read->sequence
        << " seed=" << options_.seed;
  });
}

void ColdWorld::unreadable(Name& name, std::uint64_t sequence, const absl::Status& status) {
  if (disk_->frozen() || !has_code(status, ErrorCode::corruption)) return;
  const bool surely =
      name.history.count(sequence) > 0 && name.history[sequence].level >= Level::written;
  if (!surely || options_.losses_allowed) return;
  ++counts_.lost;
  ADD_FAILURE() << "unreadable: " << name.key << " version " << sequence << ": "
                << status.ToString() << " seed=" << options_.seed;
}

void ColdWorld::check_all() {
  settle();
  for (Name& name : names_) {
    read(name);
    if (in_flight_ >= 8) settle();
  }
  settle();
}

void ColdWorld::check_limit() {
  std::uint64_t total = 0;
  for (const std::string& path : disk_->files()) {
    if (path.find("/segments/") == std::string::npos && path.find("/index/") == std::string::npos)
      continue;
    tiers::FileInfo info;
    if (disk_->info(path, &info) == 0) total += info.allocated_bytes;
  }
  EXPECT_LE(total, options_.cold.cold_bytes) << "seed=" << options_.seed;
}

}  // namespace cairn::test
