// SPDX-License-Identifier: Apache-2.0
#include "tests/support/memory_tier.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/hash128.h"
#include "engine/base/text.h"

namespace cairn::test {
namespace {

BlockName decode_name(std::string_view encoded) {
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(encoded[i]));
  };
  const std::size_t end = encoded.size() - sizeof(Part);
  return {.namespace_id = NamespaceId{byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3)},
          .key = encoded.substr(4, end - 4),
          .part = static_cast<Part>(byte(end) << 8 | byte(end + 1))};
}

}  // namespace

void MemoryMedium::power_cut() {
  for (auto undo = unsynced_.rbegin(); undo != unsynced_.rend(); ++undo) {
    if (undo->before) {
      entries_[undo->name] = *undo->before;
    } else {
      entries_.erase(undo->name);
    }
  }
  unsynced_.clear();
  clean_ = false;
}

void MemoryMedium::change(const std::string& name, std::optional<Stored> stored) {
  const auto found = entries_.find(name);
  unsynced_.push_back(
      {name, found == entries_.end() ? std::nullopt : std::optional(found->second)});
  if (stored) {
    entries_[name] = *std::move(stored);
  } else if (found != entries_.end()) {
    entries_.erase(found);
  }
}

std::string MemoryTier::encode_name(const BlockName& name) {
  std::string out;
  append_be(out, static_cast<std::uint32_t>(name.namespace_id));
  out.append(name.key);
  append_be(out, name.part);
  return out;
}

std::uint64_t MemoryTier::cost_of(std::uint64_t plain_bytes) {
  return plain_bytes + kOverheadBytes;
}

MemoryTier::MemoryTier(const MemoryTierOptions& options, std::shared_ptr<MemoryMedium> medium)
    : options_(options), medium_(std::move(medium)) {
  opened_clean_ = medium_->clean_;
  medium_->clean_ = false;
  for (const auto& [name, stored] : medium_->entries_) {
    if (stored.tombstone || !is_live(stored, decode_name(name).namespace_id)) continue;
    const std::uint64_t cost = cost_of(stored.facts.plain_bytes);
    residents_[stored.location.bits] = {name, stored.facts, stored.bytes, cost};
    used_bytes_ += cost;
  }
}

MemoryTier::~MemoryTier() {
  release();
}

absl::Status MemoryTier::reserve(NamespaceId namespace_id,
                                 std::span<const std::uint32_t> plain_sizes,
                                 std::span<Location> locations) {
  CAIRN_CHECK(plain_sizes.size() == locations.size());
  MutexLock lock(mutex_);
  if (options_.read_only)
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  if (closed_) return make_error(ErrorCode::closed, "the tier is closed");
  if (degraded_) return make_error(ErrorCode::degraded, "writes are switched off");
  if (find_namespace(namespace_id) == nullptr) {
    return make_error(ErrorCode::invalid_argument, "there is no such namespace");
  }
  std::uint64_t total = 0;
  for (const std::uint32_t size : plain_sizes) {
    if (size > options_.block_bytes_max) {
      return make_error(ErrorCode::too_large, concat("a block of ", size, " bytes; the limit is ",
                                                     options_.block_bytes_max));
    }
    total += cost_of(size);
  }
  if (used_bytes_ + total > options_.capacity_bytes) {
    return make_error(ErrorCode::no_space, "the memory tier is full");
  }
  used_bytes_ += total;
  for (std::size_t i = 0; i < plain_sizes.size(); ++i) {
    locations[i] = Location{medium_->next_location_++};
    reserved_[locations[i].bits] = cost_of(plain_sizes[i]);
  }
  return absl::OkStatus();
}

void MemoryTier::write(std::span<TierWrite> batch, Durability durability, Done done) {
  {
    MutexLock lock(mutex_);
    for (TierWrite& write : batch) {
      write.status = write_one(write, durability);
      if (!write.status.ok()) {
        drop_location(write.location);
        write.location = {};
      }
    }
    if (durability == Durability::durable) medium_->unsynced_.clear();
  }
  finish(std::move(done));
}

absl::Status MemoryTier::write_one(TierWrite& write, Durability durability) {
  static_cast<void>(durability);
  if (options_.read_only)
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  if (closed_) return make_error(ErrorCode::closed, "the tier is closed");
  if (degraded_) return make_error(ErrorCode::degraded, "writes are switched off");
  const auto reservation = reserved_.find(write.location.bits);
  if (reservation == reserved_.end() || reservation->second != cost_of(write.facts.plain_bytes) ||
      !is_valid_key(write.name.key)) {
    return make_error(ErrorCode::invalid_argument, "the write does not fit its reservation");
  }
  if (write_failures_ > 0) {
    --write_failures_;
    return make_error(write_error_, "a fault the test asked for");
  }
  const NamespaceInfo* info = find_namespace(write.name.namespace_id);
  if (info == nullptr) return make_error(ErrorCode::invalid_argument, "there is no such namespace");
  CAIRN_ASSIGN_OR_RETURN(std::string plain, plain_bytes(write, *info));
  const std::uint64_t cost = reservation->second;
  reserved_.erase(reservation);
  const std::string name = encode_name(write.name);
  auto bytes = std::make_shared<MemoryBytes>(std::move(plain));
  payload_bytes_written_ += bytes->text.size();
  residents_[write.location.bits] = {name, write.facts, bytes, cost};
  write.stored_bytes = static_cast<std::uint32_t>(cost);
  const auto found = medium_->entries_.find(name);
  if (found != medium_->entries_.end()) {
    const MemoryMedium::Stored& old = found->second;
    if (old.epoch == info->epoch && old.facts.sequence >= write.facts.sequence) {
      used_bytes_ -= cost;  // superseded at birth: readable until freed, never named
      return absl::OkStatus();
    }
    if (!old.tombstone && old.epoch == info->epoch) used_bytes_ -= cost_of(old.facts.plain_bytes);
  }
  medium_->change(name, MemoryMedium::Stored{.id = write.id,
                                             .facts = write.facts,
                                             .epoch = info->epoch,
                                             .location = write.location,
                                             .bytes = std::move(bytes)});
  return absl::OkStatus();
}

void MemoryTier::read(std::span<TierRead> batch, Done done) {
  {
    MutexLock lock(mutex_);
    for (TierRead& read : batch) read.status = read_one(read);
  }
  finish(std::move(done));
}

absl::Status MemoryTier::read_one(TierRead& read) {
  if (closed_) return make_error(ErrorCode::closed, "the tier is closed");
  if (options_.loop != nullptr && read.deadline <= options_.loop->clock().now()) {
    return make_error(ErrorCode::deadline, "the deadline has passed");
  }
  if (read_failures_ > 0) {
    --read_failures_;
    return make_error(read_error_, "a fault the test asked for");
  }
  CAIRN_RETURN_IF_ERROR(check_part(read));
  const auto found = residents_.find(read.location.bits);
  if (found == residents_.end() || found->second.name != encode_name(read.name) ||
      found->second.facts.sequence != read.sequence ||
      found->second.bytes->text.size() != read.payload_bytes()) {
    return make_error(ErrorCode::corruption, "another block lies there");
  }
  const MemoryBytes& bytes = *found->second.bytes;
  const std::size_t count = read.destination.size();
  if (!bytes.is_sound(read.offset, count) ||
      (!read.is_part() && read.plain_sum != 0 && xxh3_64(as_bytes(bytes.text)) != read.plain_sum)) {
    ++corruptions_;
    return make_error(ErrorCode::corruption, "the payload's sum differs");
  }
  bytes_read_ += count;
  std::copy_n(as_bytes(bytes.text).begin() + read.offset, count, read.destination.begin());
  return absl::OkStatus();
}

void MemoryTier::free(std::span<const Location> locations) {
  MutexLock lock(mutex_);
  for (const Location location : locations) drop_location(location);
}

void MemoryTier::drop_location(Location location) {
  const auto reservation = reserved_.find(location.bits);
  if (reservation != reserved_.end()) {
    used_bytes_ -= reservation->second;
    reserved_.erase(reservation);
  }
  residents_.erase(location.bits);
}

TierUsage MemoryTier::usage() const {
  MutexLock lock(mutex_);
  std::uint64_t live = 0;
  for (const auto& [name, stored] : medium_->entries_) {
    live += !stored.tombstone && is_live(stored, decode_name(name).namespace_id) ? 1U : 0U;
  }
  return {.capacity_bytes = options_.capacity_bytes,
          .used_bytes = used_bytes_,
          .dead_bytes = 0,
          .blocks = live};
}

void MemoryTier::close() {
  release();
  MutexLock lock(mutex_);
  if (closed_) return;
  closed_ = true;
  if (!options_.read_only) {
    medium_->unsynced_.clear();
    medium_->clean_ = true;
  }
}

void MemoryTier::set_relocated(Relocated relocated) {
  MutexLock lock(mutex_);
  relocated_ = std::move(relocated);
}

void MemoryTier::set_removed(Removed removed) {
  MutexLock lock(mutex_);
  removed_ = std::move(removed);
}

std::uint64_t MemoryTier::next_sequence() {
  MutexLock lock(mutex_);
  return medium_->sequence_++;
}

absl::StatusOr<NamespaceInfo> MemoryTier::open_namespace(const NamespaceDescriptor& descriptor) {
  CAIRN_RETURN_IF_ERROR(validate(descriptor));
  MutexLock lock(mutex_);
  for (const NamespaceInfo& info : medium_->namespaces_) {
    if (info.descriptor.name != descriptor.name) continue;
    CAIRN_RETURN_IF_ERROR(check_same(info.descriptor, descriptor));
    return info;
  }
  if (options_.read_only)
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  const auto id = static_cast<std::uint32_t>(medium_->namespaces_.size() + 1);
  medium_->namespaces_.push_back({.id = NamespaceId{id}, .epoch = 1, .descriptor = descriptor});
  return medium_->namespaces_.back();
}

std::vector<NamespaceInfo> MemoryTier::namespaces() const {
  MutexLock lock(mutex_);
  return medium_->namespaces_;
}

absl::Status MemoryTier::clear_namespace(NamespaceId id) {
  MutexLock lock(mutex_);
  if (options_.read_only)
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  NamespaceInfo* info = nullptr;
  for (NamespaceInfo& candidate : medium_->namespaces_) {
    if (candidate.id == id) info = &candidate;
  }
  if (info == nullptr) return make_error(ErrorCode::not_found, "there is no such namespace");
  for (const auto& [name, stored] : medium_->entries_) {
    if (decode_name(name).namespace_id != id || stored.tombstone || stored.epoch != info->epoch)
      continue;
    used_bytes_ -= cost_of(stored.facts.plain_bytes);
    residents_.erase(stored.location.bits);
  }
  ++info->epoch;
  return absl::OkStatus();
}

void MemoryTier::lookup(std::span<StoredLookup> batch, Done done) {
  {
    MutexLock lock(mutex_);
    for (StoredLookup& wanted : batch) {
      wanted.found.reset();
      wanted.status =
          closed_ ? make_error(ErrorCode::closed, "the tier is closed") : absl::OkStatus();
      const auto found = medium_->entries_.find(encode_name(wanted.name));
      if (closed_ || found == medium_->entries_.end()) continue;
      const MemoryMedium::Stored& stored = found->second;
      if (stored.tombstone || !is_live(stored, wanted.name.namespace_id)) continue;
      wanted.found = StoredBlock{
          .name = wanted.name,
          .id = stored.id,
          .facts = stored.facts,
          .location = stored.location,
          .stored_bytes = static_cast<std::uint32_t>(cost_of(stored.facts.plain_bytes))};
    }
  }
  finish(std::move(done));
}

void MemoryTier::remove(std::span<Removal> batch, Durability durability, Done done) {
  {
    MutexLock lock(mutex_);
    for (Removal& removal : batch) removal.status = remove_one(removal);
    if (durability == Durability::durable) medium_->unsynced_.clear();
  }
  finish(std::move(done));
}

absl::Status MemoryTier::remove_one(Removal& removal) {
  if (options_.read_only)
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  if (closed_) return make_error(ErrorCode::closed, "the tier is closed");
  if (degraded_) return make_error(ErrorCode::degraded, "writes are switched off");
  if (removal_failures_ > 0) {
    --removal_failures_;
    return make_error(removal_error_, "a fault the test asked for");
  }
  const NamespaceInfo* info = find_namespace(removal.name.namespace_id);
  if (info == nullptr) return absl::OkStatus();
  const std::string name = encode_name(removal.name);
  const auto found = medium_->entries_.find(name);
  const bool known = found != medium_->entries_.end() && found->second.epoch == info->epoch;
  if (known && found->second.facts.sequence > removal.sequence) return absl::OkStatus();
  const bool was_block = known && !found->second.tombstone;
  if (was_block) {
    used_bytes_ -= cost_of(found->second.facts.plain_bytes);
    if (removal.reason == RemovalReason::evicted) ++medium_->evicted_ever_;
    if (removal.reason == RemovalReason::erased) ++medium_->erased_ever_;
    if (removal.reason == RemovalReason::expired) ++medium_->expired_ever_;
  }
  if (removal.reason == RemovalReason::evicted &&
      info->descriptor.kind == NamespaceKind::content_addressed) {
    if (was_block) medium_->change(name, std::nullopt);
    return absl::OkStatus();
  }
  MemoryMedium::Stored tombstone;
  tombstone.facts.sequence = removal.sequence;
  tombstone.epoch = info->epoch;
  tombstone.tombstone = true;
  medium_->change(name, std::move(tombstone));
  return absl::OkStatus();
}

void MemoryTier::annotate(std::span<Note> batch, Durability durability, Done done) {
  {
    MutexLock lock(mutex_);
    for (Note& note : batch) note.status = annotate_one(note);
    if (durability == Durability::durable) medium_->unsynced_.clear();
  }
  finish(std::move(done));
}

absl::Status MemoryTier::annotate_one(Note& note) {
  if (options_.read_only)
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  if (closed_) return make_error(ErrorCode::closed, "the tier is closed");
  if (annotations_spared_ > 0) {
    --annotations_spared_;
  } else if (annotation_failures_ > 0) {
    --annotation_failures_;
    return make_error(annotation_error_, "a fault the test asked for");
  }
  const std::string name = encode_name(note.name);
  const auto found = medium_->entries_.find(name);
  if (found == medium_->entries_.end() || found->second.tombstone ||
      found->second.facts.sequence != note.sequence ||
      !is_live(found->second, note.name.namespace_id)) {
    return make_error(ErrorCode::not_found, "that version is not stored");
  }
  MemoryMedium::Stored changed = found->second;
  if (note.expiry) changed.facts.expiry = *note.expiry;
  if (note.pinned) changed.facts.pinned = *note.pinned;
  medium_->change(name, std::move(changed));
  return absl::OkStatus();
}

absl::Status MemoryTier::scan(std::string& cursor, std::size_t limit,
                              const std::function<void(const StoredBlock&)>& visit) {
  std::vector<std::pair<std::string, MemoryMedium::Stored>> page;
  std::optional<ErrorCode> error;
  {
    MutexLock lock(mutex_);
    const auto& entries = frozen_ ? *frozen_ : medium_->entries_;
    auto at = cursor.empty() ? entries.begin() : entries.upper_bound(cursor);
    for (; at != entries.end() && page.size() < limit; ++at) {
      if (at->second.tombstone) continue;
      if (!frozen_ && !is_live(at->second, decode_name(at->first).namespace_id)) continue;
      page.emplace_back(*at);
    }
    cursor = at == entries.end() || page.empty() ? std::string() : page.back().first;
    error = std::exchange(scan_error_, std::nullopt);
    if (error) page.resize(page.size() / 2);
  }
  for (const auto& [name, stored] : page) {
    visit(
        StoredBlock{.name = decode_name(name),
                    .id = stored.id,
                    .facts = stored.facts,
                    .location = stored.location,
                    .stored_bytes = static_cast<std::uint32_t>(cost_of(stored.facts.plain_bytes))});
  }
  if (error) return make_error(*error, "a fault the test asked for");
  return absl::OkStatus();
}

void MemoryTier::sync(std::function<void(absl::Status)> done) {
  {
    MutexLock lock(mutex_);
    medium_->unsynced_.clear();
  }
  finish([done = std::move(done)] { done(absl::OkStatus()); });
}

absl::Status MemoryTier::save_state(std::string_view name, ByteSpan content) {
  MutexLock lock(mutex_);
  if (options_.read_only)
    return make_error(ErrorCode::read_only, "the store was opened for reading");
  medium_->states_[std::string(name)] = std::string(as_text(content));
  return absl::OkStatus();
}

absl::StatusOr<std::string> MemoryTier::load_state(std::string_view name) {
  MutexLock lock(mutex_);
  const auto found = medium_->states_.find(std::string(name));
  if (found == medium_->states_.end())
    return make_error(ErrorCode::not_found, concat("no state named ", name));
  return found->second;
}

DurableHealth MemoryTier::health() const {
  MutexLock lock(mutex_);
  DurableHealth health;
  health.degraded = degraded_;
  if (degraded_) health.reason = "the test switched writes off";
  health.corruptions = corruptions_;
  return health;
}

DurableCounters MemoryTier::counters() const {
  MutexLock lock(mutex_);
  DurableCounters counters;
  counters.payload_bytes_written = payload_bytes_written_;
  counters.media_bytes_written = payload_bytes_written_;
  counters.evicted_ever = medium_->evicted_ever_;
  counters.erased_ever = medium_->erased_ever_;
  counters.expired_ever = medium_->expired_ever_;
  return counters;
}

void MemoryTier::compact(double dead_fraction, std::function<void(absl::Status)> done) {
  static_cast<void>(dead_fraction);
  finish([done = std::move(done)] { done(absl::OkStatus()); });
}

void MemoryTier::finish(Done done) {
  {
    MutexLock lock(mutex_);
    if (holding_) {
      held_.push_back(std::move(done));
      return;
    }
  }
  if (options_.loop != nullptr) {
    options_.loop->post(std::move(done));
  } else {
    done();
  }
}

bool MemoryTier::is_live(const MemoryMedium::Stored& stored, NamespaceId id) const {
  const NamespaceInfo* info = find_namespace(id);
  return info != nullptr && info->epoch == stored.epoch;
}

const NamespaceInfo* MemoryTier::find_namespace(NamespaceId id) const {
  for (const NamespaceInfo& info : medium_->namespaces_) {
    if (info.id == id) return &info;
  }
  return nullptr;
}

}  // namespace cairn::test
