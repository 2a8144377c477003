// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/repair.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"
#include "tiers/cold/rocksdb_index.h"
#include "tiers/cold/state_file.h"
#include "tiers/cold/superblock.h"

namespace cairn::tiers {
namespace {

/// What the old index still tells, where it can be read at all.
struct OldIndex {
  std::unique_ptr<Index> index;  // null: not at all, or what is needed of it was compared
  bool readable = false;
  IndexCounters counters;
  std::map<SegmentId, SegmentRow> rows;

  bool in_use(SegmentId id) const {
    const auto row = rows.find(id);
    return row != rows.end() && row->second.state != SegmentState::free;
  }
};

/// An entry, out of the scan's hands.
struct NamedBefore {
  NamespaceId namespace_id{};
  std::string key;
  Part part = 0;
  IndexEntry entry;
  bool is_mutable = false;  // its namespace
  BlockName name() const { return {namespace_id, key, part}; }
};

OldIndex read_old_index(const IndexOptions& options) {
  OldIndex old;
  IndexOptions reading = options;
  reading.read_only = true;
  reading.capacity_bytes = 0;
  absl::StatusOr<std::unique_ptr<Index>> index = open_rocksdb_index(reading);
  if (!index.ok()) return old;
  const absl::StatusOr<std::vector<SegmentRow>> rows = (*index)->segments();
  if (!rows.ok()) return old;
  old.readable = true;
  old.counters = (*index)->counters();
  for (const SegmentRow& row : *rows) old.rows[row.segment] = row;
  old.index = *std::move(index);
  return old;
}

/// The tombstone under a block may be cleaned away, or lost with its segment, where older versions
/// are not: the flag is all that says of them that they must not come back.
void remember_burial(const BlockName& name, const IndexEntry& old, const IndexEntry& now,
                     std::vector<IndexChange>& changes) {
  if (now.tombstone || now.follows_tombstone || !(old.tombstone || old.follows_tombstone)) return;
  IndexChange& change = changes.emplace_back(IndexChange{name, now});
  change.put->follows_tombstone = true;
}

class Repair {
 public:
  Repair(Device& device, const RepairOptions& options) : device_(device), options_(options) {}
  absl::StatusOr<RepairReport> run();

 private:
  absl::Status load();
  absl::Status rebuild(Index& index);
  absl::Status walk(SegmentId id, Rebuilder& rebuilder);
  absl::Status compare(Index& index, RepairProgress& progress);
  absl::Status compare_page(Index& index, std::span<const NamedBefore> page);
  absl::Status write_rows(Index& index);
  absl::Status put_in_place();
  absl::Status take_up_killed();
  absl::Status set_old_index_aside();
  absl::StatusOr<std::string> place_for_old_index();
  absl::StatusOr<bool> is_empty(const std::string& path) const;
  IndexOptions index_options() const;
  std::string rebuild_path() const {
    return lost_found_path(options_.directory) + "/index.rebuild";
  }
  /// Where the old index is while the new one takes its place.
  std::string replaced_path() const {
    return lost_found_path(options_.directory) + "/index.replaced";
  }

  Device& device_;
  const RepairOptions& options_;
  LoadedSuperblock loaded_;
  OldIndex old_;
  std::vector<SegmentRow> rows_;
  RepairReport report_;
};

absl::StatusOr<RepairReport> Repair::run() {
  CAIRN_RETURN_IF_ERROR(load_superblock(device_, options_.directory).status());
  absl::StatusOr<std::unique_ptr<FileLock>> lock = device_.lock_file(
      lock_path(options_.directory), options_.dry_run ? std::string() : lock_owner());
  // A dry run makes no file, so where LOCK is missing nobody can be kept out, and nobody is in.
  const bool unlocked = options_.dry_run && has_code(lock.status(), ErrorCode::not_found);
  if (!lock.ok() && !unlocked) return lock.status();
  CAIRN_RETURN_IF_ERROR(load());
  if (options_.dry_run) {
    // The same work with an index that lives in memory.
    CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<Index> index,
                           open_memory_index(loaded_.superblock.store));
    CAIRN_RETURN_IF_ERROR(rebuild(*index));
    return std::move(report_);
  }
  CAIRN_RETURN_IF_ERROR(make_store_directories(device_, options_.directory));
  IndexOptions fresh = index_options();
  fresh.directory = rebuild_path();
  fresh.create = true;
  {
    CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<Index> index, open_rocksdb_index(fresh));
    CAIRN_RETURN_IF_ERROR(rebuild(*index));
    CAIRN_RETURN_IF_ERROR(index->sync());
  }
  CAIRN_RETURN_IF_ERROR(put_in_place());
  return std::move(report_);
}

absl::Status Repair::load() {
  CAIRN_ASSIGN_OR_RETURN(loaded_, load_superblock(device_, options_.directory));
  if (loaded_.read_only_required) {
    return make_error(ErrorCode::format, "the store has features that this build can only read");
  }
  report_.superblock_healed = loaded_.needs_healing();
  if (!options_.dry_run && loaded_.needs_healing()) {
    CAIRN_RETURN_IF_ERROR(make_store_directories(device_, options_.directory));
    CAIRN_RETURN_IF_ERROR(replace_superblock(device_, options_.directory, loaded_.superblock));
  }
  if (!options_.dry_run) CAIRN_RETURN_IF_ERROR(take_up_killed());
  IndexOptions old = index_options();
  CAIRN_ASSIGN_OR_RETURN(const bool none, is_empty(old.directory));
  if (none) old.directory = replaced_path();  // a dry run after such a death
  old_ = read_old_index(old);
  return absl::OkStatus();
}

/// Of a repair that was killed between its renames: the old index goes back, as though that one had
/// never been, or where the new one is in place already, to where old ones stay.
absl::Status Repair::take_up_killed() {
  const IndexOptions current = index_options();
  CAIRN_ASSIGN_OR_RETURN(const bool no_old, is_empty(replaced_path()));
  CAIRN_ASSIGN_OR_RETURN(const bool no_new, is_empty(current.directory));
  if (no_old) return absl::OkStatus();
  if (!no_new) return set_old_index_aside();
  IndexOptions replaced = current;
  replaced.directory = replaced_path();
  CAIRN_RETURN_IF_ERROR(set_index_aside(current, {}).status());  // an empty directory
  CAIRN_RETURN_IF_ERROR(move_index(replaced, current.directory));
  CAIRN_RETURN_IF_ERROR(device_.sync_directory(options_.directory));
  return device_.sync_directory(lost_found_path(options_.directory));
}

/// Or not there.
absl::StatusOr<bool> Repair::is_empty(const std::string& path) const {
  const auto entries = device_.list(path);
  if (has_code(entries.status(), ErrorCode::not_found)) return true;
  CAIRN_RETURN_IF_ERROR(entries.status());
  return entries->empty();
}

IndexOptions Repair::index_options() const {
  IndexOptions index;
  index.directory = index_path(options_.directory);
  index.store = loaded_.superblock.store;
  index.file_system = options_.index_file_system;
  return index;
}

absl::Status Repair::rebuild(Index& index) {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> files,
                         device_.list(segments_path(options_.directory)));
  std::set<SegmentId> ids;
  for (const DirectoryEntry& file : files) {
    if (const auto id = segment_of_name(file.name)) ids.insert(*id);
  }
  std::uint64_t missing = 0;
  for (const auto& [id, row] : old_.rows) {
    missing += old_.in_use(id) && !ids.contains(id) ? 1U : 0U;
  }
  Rebuilder rebuilder(index, loaded_.superblock);
  RepairProgress progress{.segments_total = ids.size()};
  for (const SegmentId id : ids) {
    CAIRN_RETURN_IF_ERROR(
        with_context(walk(id, rebuilder), concat("segment ", static_cast<std::uint32_t>(id))));
    ++progress.segments_done;
    progress.records = rebuilder.report().records;
    if (options_.progress) options_.progress(progress);
  }
  CAIRN_RETURN_IF_ERROR(rebuilder.finish());
  report_.rebuilt = rebuilder.report();
  report_.rebuilt.segments_damaged += missing;
  CAIRN_RETURN_IF_ERROR(compare(index, progress));
  CAIRN_RETURN_IF_ERROR(write_rows(index));
  return index.reserve_sequences(report_.rebuilt.highest_sequence + kSequenceMargin).status();
}

absl::Status Repair::walk(SegmentId id, Rebuilder& rebuilder) {
  WalkOptions walk{.store = loaded_.superblock.store,
                   .segment_bytes = loaded_.superblock.segment_bytes,
                   .verify_payloads = options_.verify_payloads,
                   .sync_first = !options_.dry_run};
  const auto old = old_.rows.find(id);
  if (old != old_.rows.end()) walk.generation = old->second.generation;
  const std::string path = segment_path(options_.directory, id);
  CAIRN_ASSIGN_OR_RETURN(const SegmentSummary summary,
                         walk_segment(device_, path, id, walk, [&](const WalkedRecord& record) {
                           return rebuilder.apply(record);
                         }));
  RebuildReport& report = rebuilder.report();
  ++report.segments;
  report.segments_sealed += summary.footer_sound ? 1 : 0;
  const bool is_cut = old_.in_use(id) && summary.file_bytes < walk.segment_bytes;
  const bool is_whole = summary.header_sound && !is_cut && summary.unreadable_bytes == 0;
  report.segments_damaged += is_whole ? 0U : 1U;
  report.dropped.header += summary.bad_headers;
  report.dropped.stale += summary.stale;
  report.dropped.foreign += summary.foreign;
  report.bytes_read += summary.bytes_read;
  report.unreadable_bytes += summary.unreadable_bytes;
  SegmentRow row = row_of(id, summary);
  if (old != old_.rows.end()) {
    row.generation = std::max(row.generation, old->second.generation);
    // What was known to be bad does not become good by being looked at.
    const SegmentState was = old->second.state;
    const bool is_bad = was == SegmentState::quarantined ||
                        (was == SegmentState::poisoned && row.state != SegmentState::free);
    if (is_bad && old->second.generation == summary.generation) row.state = was;
  }
  rows_.push_back(row);
  return absl::OkStatus();
}

/// Closes the old index, which is about to be moved.
absl::Status Repair::compare(Index& index, RepairProgress& progress) {
  if (!old_.index) return absl::OkStatus();
  std::map<NamespaceId, const NamespaceInfo*> namespaces;
  for (const NamespaceInfo& info : loaded_.superblock.namespaces) namespaces[info.id] = &info;
  std::string cursor;
  absl::Status scanned;
  do {
    std::vector<NamedBefore> page;
    scanned = old_.index->scan(cursor, 4096, [&](const BlockName& name, const IndexEntry& entry) {
      ++progress.compared;
      const auto ns = namespaces.find(name.namespace_id);
      if (ns == namespaces.end() || ns->second->epoch != entry.epoch) return;  // cleared
      page.push_back({name.namespace_id, std::string(name.key), name.part, entry,
                      ns->second->descriptor.kind == NamespaceKind::mutable_});
    });
    CAIRN_RETURN_IF_ERROR(compare_page(index, page));
    if (options_.progress) options_.progress(progress);
  } while (scanned.ok() && !cursor.empty());
  // A damaged block ends the scan; what came before it is sound, and repair is for such an index.
  old_.index.reset();
  return absl::OkStatus();
}

absl::Status Repair::compare_page(Index& index, std::span<const NamedBefore> page) {
  std::vector<BlockName> names;
  names.reserve(page.size());
  for (const NamedBefore& old : page) names.push_back(old.name());
  const auto found = index.get_batch(names);
  RebuildReport& rebuilt = report_.rebuilt;
  std::vector<IndexChange> changes;
  for (std::size_t i = 0; i < page.size(); ++i) {
    CAIRN_RETURN_IF_ERROR(found[i].status());
    const IndexEntry& old = page[i].entry;
    const std::optional<IndexEntry>& now = *found[i];
    const std::uint64_t sequence = old.facts.sequence;
    rebuilt.highest_sequence = std::max(rebuilt.highest_sequence, sequence);
    bool buries = old.tombstone;
    if (!old.tombstone) {
      // Where every version is the same, an older copy is what one wants. Elsewhere it was
      // replaced by something that was on the medium before the index named it.
      buries = page[i].is_mutable;
      // A tombstone in the place of a block is not one that somebody asked for: see rebuild.h.
      const bool is_lost = now && now->tombstone && now->location == old.location;
      const bool is_kept = now && (now->facts.sequence >= sequence || (!buries && !now->tombstone));
      if (is_kept && !is_lost) {
        remember_burial(names[i], old, *now, changes);
        continue;
      }
      ++report_.gone;
    }
    if (old.tombstone && now && now->facts.sequence > sequence) {
      remember_burial(names[i], old, *now, changes);
    }
    if (!buries || !now || now->tombstone || now->facts.sequence > sequence) continue;
    ++(old.tombstone ? rebuilt.dropped.erased : rebuilt.dropped.overtaken);
    changes.push_back({names[i], tombstone_in_place_of(*now, sequence, rebuilt.highest_sequence)});
  }
  return changes.empty() ? absl::OkStatus() : index.write(changes, {}, {}, false);
}

/// Counts what lives in each segment, and what was kept at all, from the finished index.
absl::Status Repair::write_rows(Index& index) {
  std::map<SegmentId, std::uint64_t> live;
  std::string cursor;
  do {
    CAIRN_RETURN_IF_ERROR(index.scan(cursor, 4096, [&](const BlockName&, const IndexEntry& entry) {
      live[unpack_location(entry.location).segment] += entry.stored_bytes;
      if (entry.tombstone) {
        ++report_.rebuilt.tombstones_applied;
      } else {
        ++report_.rebuilt.kept;
        report_.rebuilt.kept_bytes += entry.stored_bytes;
      }
    }));
  } while (!cursor.empty());
  for (SegmentRow& row : rows_) row.live_bytes = live[row.segment];
  report_.counters_kept = old_.readable;
  return index.write({}, rows_, old_.counters, true);
}

absl::StatusOr<std::string> Repair::place_for_old_index() {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries,
                         device_.list(lost_found_path(options_.directory)));
  for (std::uint32_t number = 1;; ++number) {
    const std::string name = concat("index.", number);
    const bool taken = std::any_of(entries.begin(), entries.end(),
                                   [&](const DirectoryEntry& e) { return e.name == name; });
    if (!taken) return concat(lost_found_path(options_.directory), "/", name);
  }
}

/// Killed before the second rename there is no index, which every opening tells, and which the
/// next repair mends: it finds the old one by its name.
absl::Status Repair::put_in_place() {
  // The clean mark speaks of the old index; without it the next opening counts again.
  CAIRN_RETURN_IF_ERROR(remove_state_file(device_, options_.directory, kCleanMarkName));
  const IndexOptions current = index_options();
  IndexOptions rebuilt = current;
  rebuilt.directory = rebuild_path();
  CAIRN_ASSIGN_OR_RETURN(const bool moved, set_index_aside(current, replaced_path()));
  // A name that is not on the medium yet cannot be moved there: a cut would leave the new index
  // where it was made. And the old name is surely gone before it is given anew.
  CAIRN_RETURN_IF_ERROR(device_.sync_directory(lost_found_path(options_.directory)));
  CAIRN_RETURN_IF_ERROR(device_.sync_directory(options_.directory));
  CAIRN_RETURN_IF_ERROR(move_index(rebuilt, current.directory));
  CAIRN_RETURN_IF_ERROR(device_.sync_directory(options_.directory));
  if (moved) return set_old_index_aside();
  return device_.sync_directory(lost_found_path(options_.directory));
}

absl::Status Repair::set_old_index_aside() {
  IndexOptions replaced = index_options();
  replaced.directory = replaced_path();
  CAIRN_ASSIGN_OR_RETURN(report_.old_index, place_for_old_index());
  CAIRN_RETURN_IF_ERROR(move_index(replaced, report_.old_index));
  return device_.sync_directory(lost_found_path(options_.directory));
}

}  // namespace

absl::StatusOr<RepairReport> repair_store(Device& device, const RepairOptions& options) {
  return Repair(device, options).run();
}

}  // namespace cairn::tiers
