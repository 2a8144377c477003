// SPDX-License-Identifier: Apache-2.0
// Namespaces, scans, state files, health: what is asked rarely.
#include <algorithm>
#include <functional>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tiers/cold/cold_tier_impl.h"
#include "tiers/cold/state_file.h"
#include "tiers/record/record.h"

namespace cairn::tiers {
namespace {

/// Leaves the turnstile on every way out.
class Passage {
 public:
  explicit Passage(Turnstile& turnstile) : turnstile_(turnstile) { turnstile_.enter(); }
  ~Passage() { turnstile_.leave(); }
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;

 private:
  Turnstile& turnstile_;
};

/// Ends an operation that has begun, on every way out.
class OperationEnd {
 public:
  explicit OperationEnd(std::function<void()> end) : end_(std::move(end)) {}
  ~OperationEnd() { end_(); }
  OperationEnd(const OperationEnd&) = delete;
  OperationEnd& operator=(const OperationEnd&) = delete;

 private:
  const std::function<void()> end_;
};

NamespaceFacts facts_of(const NamespaceInfo& info) {
  return {.epoch = info.epoch,
          .kind = info.descriptor.kind,
          .dtype = info.descriptor.dtype,
          .chunk_bytes = chunk_bytes_for(info.descriptor)};
}

}  // namespace

absl::Status ColdTier::refusal() const {
  if (core_.read_only) return make_error(ErrorCode::read_only, "the store was opened for reading");
  return core_.writes.status();
}

bool ColdTier::begin_operation() {
  MutexLock lock(mutex_);
  if (closing_) return false;
  ++operations_;
  return true;
}

void ColdTier::end_operation() {
  MutexLock lock(mutex_);
  CAIRN_CHECK(operations_ > 0);
  if (--operations_ == 0) changed_.notify_all();
}

void ColdTier::set_relocated(Relocated relocated) {
  MutexLock lock(mutex_);
  relocated_ = std::move(relocated);
}

void ColdTier::set_removed(Removed removed) {
  MutexLock lock(mutex_);
  removed_ = std::move(removed);
}

std::uint64_t ColdTier::next_sequence() {
  const std::uint64_t next = core_.next_sequence.fetch_add(1);
  const std::uint64_t ceiling = sequence_ceiling_.load();
  if (next + kSequencesAhead / 2 >= ceiling && !core_.read_only) extend_sequences();
  return next;
}

/// Where nobody can say which epochs and namespaces the next opening will find, nothing more is
/// acknowledged under those of now: that opening might purge it.
absl::Status ColdTier::replace(Superblock& changed) {
  Replacement how = Replacement::untouched;
  absl::Status status = replace_superblock(core_.device, core_.options.directory, changed, &how);
  if (!status.ok() && how == Replacement::unknown) {
    core_.writes.turn_off(
        concat("the superblock may have been replaced and may not: ", message_of(status),
               "; check the disk, then open the store again"));
  }
  return status;
}

absl::StatusOr<NamespaceInfo> ColdTier::open_namespace(const NamespaceDescriptor& descriptor) {
  CAIRN_RETURN_IF_ERROR(validate(descriptor));
  Passage passage(metadata_);
  Superblock changed;
  {
    MutexLock lock(mutex_);
    for (const NamespaceInfo& info : superblock_.namespaces) {
      if (info.descriptor.name != descriptor.name) continue;
      CAIRN_RETURN_IF_ERROR(check_same(info.descriptor, descriptor));
      return info;
    }
    if (closing_) return make_error(ErrorCode::closed, "the store is closing");
    ++operations_;
    changed = superblock_;
  }
  // close() waits: the superblock is not replaced by somebody who has given LOCK back.
  const OperationEnd end([this] { end_operation(); });
  CAIRN_RETURN_IF_ERROR(refusal());
  if (changed.next_namespace_id >= kNamespaceIdMax) {
    return make_error(ErrorCode::no_space, "the store has given out every namespace id");
  }
  const NamespaceInfo info{
      .id = NamespaceId{changed.next_namespace_id}, .epoch = 1, .descriptor = descriptor};
  ++changed.next_namespace_id;
  changed.namespaces.push_back(info);
  CAIRN_RETURN_IF_ERROR(replace(changed));
  {
    MutexLock lock(mutex_);
    superblock_ = std::move(changed);
  }
  core_.namespaces.set(info.id, facts_of(info));
  return info;
}

std::vector<NamespaceInfo> ColdTier::namespaces() const {
  MutexLock lock(mutex_);
  return superblock_.namespaces;
}

absl::Status ColdTier::clear_namespace(NamespaceId id) {
  Passage passage(metadata_);
  CAIRN_RETURN_IF_ERROR(refusal());
  Superblock changed;
  {
    MutexLock lock(mutex_);
    if (closing_) return make_error(ErrorCode::closed, "the store is closing");
    ++operations_;
    changed = superblock_;
  }
  const OperationEnd end([this] { end_operation(); });  // as in open_namespace()
  const auto found = std::find_if(changed.namespaces.begin(), changed.namespaces.end(),
                                  [&](const NamespaceInfo& info) { return info.id == id; });
  if (found == changed.namespaces.end())
    return make_error(ErrorCode::not_found, "there is no such namespace");
  ++found->epoch;
  const NamespaceInfo info = *found;
  CAIRN_RETURN_IF_ERROR(replace(changed));
  {
    MutexLock lock(mutex_);
    superblock_ = std::move(changed);
  }
  core_.namespaces.set(info.id, facts_of(info));
  purges_.fetch_add(1);
  core_.index_loop.post([this, id] { purge(id, {}); });
  return absl::OkStatus();
}

absl::Status ColdTier::scan(std::string& cursor, std::size_t limit,
                            const std::function<void(const StoredBlock&)>& visit) {
  std::size_t left = limit;
  while (left > 0) {
    const absl::Status status =
        core_.index->scan(cursor, left, [&](const BlockName& name, const IndexEntry& entry) {
          NamespaceFacts facts;
          if (entry.tombstone || !core_.namespaces.find(name.namespace_id, facts) ||
              facts.epoch != entry.epoch)
            return;
          --left;
          visit(StoredBlock{.name = name,
                            .id = entry.id,
                            .facts = entry.facts,
                            .location = entry.location,
                            .stored_bytes = entry.stored_bytes,
                            .heat = entry.heat});
        });
    CAIRN_RETURN_IF_ERROR(status);
    if (cursor.empty()) break;
  }
  return absl::OkStatus();
}

absl::Status ColdTier::save_state(std::string_view name, ByteSpan content) {
  if (core_.read_only) return make_error(ErrorCode::read_only, "the store was opened for reading");
  if (!is_valid_state_name(name) || name == kCleanMarkName) {
    return make_error(ErrorCode::invalid_argument, concat("not a name for a state file: ", name));
  }
  if (!begin_operation()) return make_error(ErrorCode::closed, "the store is closing");
  const OperationEnd end([this] { end_operation(); });  // as in open_namespace()
  return save_state_file(core_.device, core_.options.directory, core_.store, name, content);
}

absl::StatusOr<std::string> ColdTier::load_state(std::string_view name) {
  if (!is_valid_state_name(name)) {
    return make_error(ErrorCode::invalid_argument, concat("not a name for a state file: ", name));
  }
  return load_state_file(core_.device, core_.options.directory, core_.store, name);
}

DurableHealth ColdTier::health() const {
  const auto get = [](const std::atomic<std::uint64_t>& count) {
    return count.load(std::memory_order_relaxed);
  };
  const ColdCounts& counts = core_.counts;
  DurableHealth health;
  const IndexHealth index = core_.index->health();
  health.degraded = core_.writes.is_off() || index.failed;
  health.reason = core_.writes.is_off() ? core_.writes.reason() : index.reason;
  health.corruptions = get(counts.corruptions);
  health.quarantined_segments = get(counts.quarantined_segments);
  health.poisoned_segments = get(counts.poisoned_segments);
  health.read_errors = get(counts.read_errors);
  health.write_errors = get(counts.write_errors);
  health.sync_failures = get(counts.sync_failures);
  health.short_transfers = get(counts.short_transfers);
  health.refused_by_write_budget = get(counts.refused_by_write_budget);
  return health;
}

DurableCounters ColdTier::counters() const {
  const auto get = [](const std::atomic<std::uint64_t>& count) {
    return count.load(std::memory_order_relaxed);
  };
  const IndexCounters ever = core_.index->counters();
  DurableCounters counters;
  // Not from `ever`: the index learns of these a little later.
  counters.payload_bytes_written =
      before_.payload_bytes_written + get(core_.counts.payload_bytes_written);
  counters.media_bytes_written = before_.media_bytes_written +
                                 get(core_.counts.media_bytes_written) +
                                 core_.index->bytes_written();
  counters.cleaned_segments = before_.cleaned_segments + get(core_.counts.cleaned_segments);
  counters.cleaner_moved_bytes =
      before_.cleaner_moved_bytes + get(core_.counts.cleaner_moved_bytes);
  counters.evicted_ever = ever.evicted;
  counters.erased_ever = ever.erased;
  counters.expired_ever = ever.expired;
  counters.dirty_openings = ever.dirty_openings;
  return counters;
}

}  // namespace cairn::tiers
