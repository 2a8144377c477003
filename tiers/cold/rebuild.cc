// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/rebuild.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/index_codec.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"

namespace cairn::tiers {
namespace {

constexpr std::size_t kPendingMax = 4096;

IndexEntry entry_of(const RecordFields& f, std::uint64_t secret) {
  IndexEntry entry;
  entry.id = block_id(f.name(), secret);
  entry.location = pack_location({0, f.segment, f.offset, f.total_bytes()});
  entry.stored_bytes = static_cast<std::uint32_t>(f.total_bytes());
  entry.epoch = f.epoch;
  entry.facts = f.facts();
  entry.tombstone = f.kind == RecordKind::tombstone;
  return entry;
}

bool is_same_version(const IndexEntry& a, const IndexEntry& b) {
  return a.facts.sequence == b.facts.sequence && a.tombstone == b.tombstone;
}

/// Whether something of this name was removed for good before.
bool has_buried(const IndexEntry& entry) {
  return entry.tombstone || entry.follows_tombstone;
}

}  // namespace

Rebuilder::Rebuilder(Index& index, const Superblock& superblock)
    : index_(index), secret_(superblock.block_id_secret) {
  for (const NamespaceInfo& info : superblock.namespaces) {
    namespaces_[static_cast<std::uint32_t>(info.id)] = {info.epoch, info.descriptor.kind};
  }
}

absl::Status Rebuilder::apply(const WalkedRecord& record) {
  const RecordFields& f = record.fields;
  ++report_.records;
  // Of a record that is not kept, too: a number that was used is never used again.
  report_.highest_sequence = std::max({report_.highest_sequence, f.sequence, f.note_sequence});
  if (f.kind == RecordKind::tombstone) {
    report_.highest_sequence = std::max(report_.highest_sequence, f.plain_sum);  // its stamp
  }
  const auto ns = namespaces_.find(static_cast<std::uint32_t>(f.namespace_id));
  if (ns == namespaces_.end()) {
    ++report_.dropped.unknown_namespace;
    return absl::OkStatus();
  }
  if (f.epoch != ns->second.epoch) {
    ++report_.dropped.epoch;
    return absl::OkStatus();
  }
  const bool is_block = f.kind == RecordKind::block;
  if (!record.payload_sound || (is_block && !record.header_sound)) {
    // Whoever walked counts the headers.
    if (!record.payload_sound) ++report_.dropped.payload;
    if (record.vouched && ns->second.kind == NamespaceKind::mutable_) take_damaged(f);
    return absl::OkStatus();
  }
  if (f.kind == RecordKind::note) {
    take_note(f);
    return absl::OkStatus();
  }
  const Place place{0, f.segment, f.offset, f.total_bytes()};
  if (!is_packable(place)) {
    ++report_.dropped.header;
    return absl::OkStatus();
  }
  Pending candidate{f.namespace_id, std::string(f.key), f.part, entry_of(f, secret_)};
  const auto [at, fresh] = pending_.try_emplace(index_key(f.name()), candidate);
  if (!fresh) {
    const bool buries = has_buried(candidate.entry) || has_buried(at->second.entry);
    if (supersedes(candidate.entry, at->second.entry)) at->second = std::move(candidate);
    at->second.entry.follows_tombstone = buries && !at->second.entry.tombstone;
  }
  return pending_.size() < kPendingMax ? absl::OkStatus() : flush();
}

/// Counts the loser. Of two copies of one version (one was moved by the cleaner) either will do;
/// the place decides, so that every order of segments ends the same.
bool Rebuilder::supersedes(const IndexEntry& candidate, const IndexEntry& existing) {
  const auto rank = [](const IndexEntry& e) {
    return std::tuple(e.facts.sequence, e.tombstone, e.location.bits);
  };
  const bool same = candidate.location == existing.location;
  const bool wins = rank(candidate) > rank(existing);
  const IndexEntry& loser = wins ? existing : candidate;
  const IndexEntry& winner = wins ? candidate : existing;
  if (same || loser.tombstone) return wins;
  ++(winner.tombstone ? report_.dropped.erased : report_.dropped.superseded);
  return wins;
}

bool Rebuilder::is_gone(const IndexEntry& entry) const {
  return used_again_.contains(unpack_location(entry.location).segment);
}

void Rebuilder::take_note(const RecordFields& f) {
  NoteOfVersion& note = notes_[index_key(f.name())];
  if (std::pair(note.sequence, note.note_sequence) > std::pair(f.sequence, f.note_sequence)) return;
  note = {f.sequence, f.note_sequence, f.expiry, f.pinned};
}

absl::StatusOr<bool> Rebuilder::has_contradicting_note() {
  for (const auto& [key, note] : notes_) {
    const std::optional<BlockName> name = parse_index_key(key);
    if (!name) continue;
    CAIRN_ASSIGN_OR_RETURN(const std::optional<IndexEntry> entry, index_.get(*name));
    if (!entry || entry->tombstone || entry->facts.sequence != note.sequence) continue;
    if (entry->facts.expiry != note.expiry || entry->facts.pinned != note.pinned) return true;
  }
  return false;
}

void Rebuilder::apply_later_note(const WalkedRecord& record) {
  const RecordFields& f = record.fields;
  if (f.kind == RecordKind::note && notes_.contains(index_key(f.name()))) take_note(f);
}

void Rebuilder::take_damaged(const RecordFields& f) {
  if (!is_packable({0, f.segment, f.offset, f.total_bytes()})) return;
  IndexEntry& newest = damaged_[index_key(f.name())];
  if (newest.location.is_null() || newest.facts.sequence < f.sequence)
    newest = entry_of(f, secret_);
}

absl::Status Rebuilder::bury_overtaken() {
  for (const auto& [key, entry] : damaged_) {
    const std::optional<BlockName> name = parse_index_key(key);
    if (!name) continue;
    CAIRN_ASSIGN_OR_RETURN(const std::optional<IndexEntry> stands, index_.get(*name));
    if (!stands || stands->tombstone || stands->epoch != entry.epoch ||
        stands->facts.sequence >= entry.facts.sequence) {
      continue;
    }
    const IndexChange change{
        *name, tombstone_in_place_of(entry, entry.facts.sequence, report_.highest_sequence)};
    CAIRN_RETURN_IF_ERROR(index_.write({&change, 1}, {}, {}, false));
    ++report_.dropped.overtaken;
  }
  damaged_.clear();
  return absl::OkStatus();
}

/// With a margin, so that once is enough.
absl::Status Rebuilder::tell_catching_up() {
  const std::uint64_t highest = report_.highest_sequence;
  if (!catching_up_ || highest == 0 || highest < skipped_to_) return absl::OkStatus();
  skipped_to_ = highest + kSequenceMargin;
  return index_.begin_catching_up(skipped_to_);
}

absl::Status Rebuilder::flush() {
  CAIRN_RETURN_IF_ERROR(tell_catching_up());
  std::vector<BlockName> names;
  std::vector<Pending*> candidates;
  names.reserve(pending_.size());
  for (auto& [key, pending] : pending_) {
    names.push_back({pending.namespace_id, pending.key, pending.part});
    candidates.push_back(&pending);
  }
  const auto existing = index_.get_batch(names);
  std::vector<IndexChange> changes;
  for (std::size_t i = 0; i < names.size(); ++i) {
    CAIRN_RETURN_IF_ERROR(existing[i].status());
    const std::optional<IndexEntry>& old = *existing[i];
    IndexEntry entry = candidates[i]->entry;
    // An entry of another epoch was cleared and waits for its removal.
    const bool stands = old && old->epoch == entry.epoch;
    const bool buries = has_buried(entry) || (stands && has_buried(*old));
    const bool is_found_again = stands && is_same_version(entry, *old) && is_gone(*old);
    if (stands && !is_found_again && !supersedes(entry, *old)) {
      if (old->tombstone || old->follows_tombstone == buries) continue;
      entry = *old;
    }
    entry.follows_tombstone = buries && !entry.tombstone;
    changes.push_back({names[i], entry});
  }
  CAIRN_RETURN_IF_ERROR(index_.write(changes, {}, {}, false));
  pending_.clear();
  return absl::OkStatus();
}

absl::Status Rebuilder::finish() {
  CAIRN_RETURN_IF_ERROR(flush());
  for (const auto& [key, note] : notes_) {
    const std::optional<BlockName> name = parse_index_key(key);
    if (!name) continue;
    CAIRN_ASSIGN_OR_RETURN(std::optional<IndexEntry> entry, index_.get(*name));
    if (!entry || entry->tombstone || entry->facts.sequence != note.sequence) continue;
    entry->facts.expiry = note.expiry;
    entry->facts.pinned = note.pinned;
    const IndexChange change{*name, entry};
    CAIRN_RETURN_IF_ERROR(index_.write({&change, 1}, {}, {}, false));
    ++report_.notes_applied;
  }
  notes_.clear();
  return bury_overtaken();
}

IndexEntry tombstone_in_place_of(const IndexEntry& block, std::uint64_t sequence,
                                 std::uint64_t newest) {
  IndexEntry entry = block;
  entry.tombstone = true;
  entry.follows_tombstone = false;
  entry.facts = {};
  entry.facts.sequence = sequence;
  entry.facts.plain_sum = newest + 1;  // its stamp: nothing that it buries is younger
  return entry;
}

SegmentRow row_of(SegmentId id, const SegmentSummary& summary) {
  SegmentRow row{.segment = id, .generation = std::max(summary.generation, summary.generation_max)};
  if (summary.header_sound) row.opened_at_sequence = summary.header.opened_at_sequence;
  if (summary.unreadable_bytes > 0) {
    row.state = SegmentState::quarantined;
  } else if (summary.footer_sound) {
    row.state = SegmentState::sealed;
  } else if (summary.records > 0) {
    row.state = SegmentState::open;  // never sealed, or its footer is lost
  }
  return row;
}

namespace {

struct Asked {
  std::string path;
  SegmentRow row;
};

/// What roll_forward finds in a segment's first page.
absl::StatusOr<std::optional<SegmentHeader>> first_page(Device& device, const std::string& path,
                                                        SegmentId id,
                                                        const Superblock& superblock) {
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<FileWindow> file,
                         FileWindow::open(device, path, kPage, Unreadable::error));
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan page, file->at(0, kPage));
  const absl::StatusOr<SegmentHeader> header = parse_segment_header(page);
  if (!header.ok() || header->store != superblock.store ||
      header->segment != static_cast<std::uint32_t>(id)) {
    return std::optional<SegmentHeader>();
  }
  return std::optional<SegmentHeader>(*header);
}

/// What the segments outside of `walked` know of the versions that notes were met of.
void read_later_notes(Device& device, const std::string& directory, const Superblock& superblock,
                      std::span<const SegmentRow> rows, std::span<const SegmentRow> walked,
                      Rebuilder& rebuilder) {
  const WalkOptions options{.store = superblock.store, .segment_bytes = superblock.segment_bytes};
  for (const SegmentRow& row : rows) {
    const bool is_known = std::any_of(walked.begin(), walked.end(), [&](const SegmentRow& other) {
      return other.segment == row.segment;
    });
    if (is_known || row.state == SegmentState::free) continue;
    walk_segment(device, segment_path(directory, row.segment), row.segment, options,
                 [&](const WalkedRecord& record) {
                   rebuilder.apply_later_note(record);
                   return absl::OkStatus();
                 })
        .status()
        .IgnoreError();  // one that cannot be read is found out by its readers
  }
}

std::uint64_t newest_in(const RecordFields& f) {
  const std::uint64_t stamp = f.kind == RecordKind::tombstone ? f.plain_sum : 0;
  return std::max({f.sequence, f.note_sequence, stamp});
}

/// The highest number in the last of a footer's headers, whose end is given: 0 where there is none,
/// nothing where it is longer than that.
std::optional<std::uint64_t> newest_listed(ByteSpan end) {
  if (end.empty()) return 0;
  for (std::size_t length = sizeof(RecordHeader); length <= end.size(); length += 8) {
    const ByteSpan header = end.last(length);
    if (load_le<std::uint32_t>(header) != kRecordMagic) continue;
    const absl::StatusOr<RecordFields> fields = parse_record_header(header);
    if (!fields.ok() || fields->header_length != length) continue;
    return newest_in(*fields);
  }
  return std::nullopt;
}

/// Whether a segment that the row calls sealed was gone on with, of which the log alone tells: by a
/// process that did not open it, the last one, wherever that began. Its footer went before the
/// first record came; where it is full there is a new one, and what that lists last is of that
/// process.
absl::StatusOr<bool> was_gone_on_with(Device& device, const std::string& path, SegmentId id,
                                      const SegmentHeader& header, const Superblock& superblock,
                                      const IndexRecovery& recovery) {
  constexpr std::uint64_t kTail = 4 * kPage;
  const std::uint64_t begin = superblock.segment_bytes - kTail;
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<FileWindow> file,
                         FileWindow::open(device, path, kTail, Unreadable::error));
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan tail, file->at(begin, kTail));
  const auto is_of_a_later_one = [&](std::uint64_t newest) {
    const auto began_between = [&](std::uint64_t first) {
      return header.opened_at_sequence < first && newest >= first;
    };
    return began_between(recovery.first_sequence) || began_between(recovery.sequence_ceiling);
  };
  const auto footer =
      parse_footer(tail.size() < kTail ? ByteSpan() : tail.last(kPage), superblock.segment_bytes);
  if (!footer.ok() || footer->store != superblock.store ||
      footer->segment != static_cast<std::uint32_t>(id) ||
      footer->generation != header.generation) {
    // Or it was damaged, and then nothing is news.
    std::uint64_t newest = 0;
    const WalkOptions options{.store = superblock.store,
                              .segment_bytes = superblock.segment_bytes,
                              .unreadable = Unreadable::error};
    CAIRN_RETURN_IF_ERROR(walk_segment(device, path, id, options, [&](const WalkedRecord& record) {
                            newest = std::max(newest, newest_in(record.fields));
                            return absl::OkStatus();
                          }).status());
    return is_of_a_later_one(newest);
  }
  const std::uint64_t listed = std::max(footer->headers_offset, begin);
  const std::uint64_t end = footer->headers_offset + footer->headers_length;
  const std::optional<std::uint64_t> newest =
      newest_listed(tail.subspan(listed - begin, end - listed));
  return is_of_a_later_one(newest.value_or(UINT64_MAX));
}

}  // namespace

absl::StatusOr<RebuildReport> roll_forward(Device& device, Index& index,
                                           const std::string& directory,
                                           const Superblock& superblock, bool read_only) {
  const IndexRecovery recovery = index.recovery();
  CAIRN_ASSIGN_OR_RETURN(const std::vector<SegmentRow> rows, index.segments());
  absl::flat_hash_map<SegmentId, SegmentRow> known;
  for (const SegmentRow& row : rows) known[row.segment] = row;
  CAIRN_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> files,
                         device.list(segments_path(directory)));
  Rebuilder rebuilder(index, superblock);
  rebuilder.set_catching_up();
  std::vector<SegmentRow> changed;
  std::vector<Asked> asked;
  for (const DirectoryEntry& file : files) {
    const std::optional<SegmentId> id = segment_of_name(file.name);
    if (!id) continue;
    const std::string path = segment_path(directory, *id);
    const SegmentRow row = known.contains(*id) ? known[*id] : SegmentRow{.segment = *id};
    if (row.state == SegmentState::quarantined) continue;  // nobody has written there since
    CAIRN_ASSIGN_OR_RETURN(const std::optional<SegmentHeader> header,
                           first_page(device, path, *id, superblock));
    if (!header) continue;
    if (header->generation > row.generation) rebuilder.set_used_again(*id);
    // What processes before the last one left unnamed was judged by the openings since: a reader
    // may have seen what stands there instead. Their rows say `unsealed`.
    const bool newer = header->generation > row.generation &&
                       header->opened_at_sequence >= recovery.first_sequence;
    bool resumed = false;
    if (row.state == SegmentState::sealed && header->generation == row.generation) {
      CAIRN_ASSIGN_OR_RETURN(resumed,
                             was_gone_on_with(device, path, *id, *header, superblock, recovery));
    }
    if (newer || resumed || row.state == SegmentState::open) asked.push_back({path, row});
  }
  for (const auto& [path, row] : asked) {
    const WalkOptions options{.store = superblock.store,
                              .segment_bytes = superblock.segment_bytes,
                              .sync_first = !read_only,
                              .unreadable = Unreadable::error};
    CAIRN_ASSIGN_OR_RETURN(
        const SegmentSummary summary,
        walk_segment(device, path, row.segment, options,
                     [&](const WalkedRecord& record) { return rebuilder.apply(record); }));
    ++rebuilder.report().segments;
    rebuilder.report().bytes_read += summary.bytes_read;
    SegmentRow now = row_of(row.segment, summary);
    now.live_bytes = row.live_bytes;
    changed.push_back(now);
  }
  CAIRN_ASSIGN_OR_RETURN(const bool contradicts, rebuilder.has_contradicting_note());
  if (contradicts) read_later_notes(device, directory, superblock, rows, changed, rebuilder);
  CAIRN_RETURN_IF_ERROR(rebuilder.finish());
  CAIRN_RETURN_IF_ERROR(index.write({}, changed, {}, true));
  CAIRN_RETURN_IF_ERROR(index.end_catching_up());
  return rebuilder.report();
}

void adopt_unnamed(Device& device, const std::string& directory, const Superblock& superblock,
                   std::span<const SegmentId> files, std::vector<SegmentRow>& rows) {
  absl::flat_hash_map<SegmentId, std::size_t> known;
  for (std::size_t i = 0; i < rows.size(); ++i) known[rows[i].segment] = i;
  for (const SegmentId id : files) {
    const auto found = known.find(id);
    if (found != known.end() && rows[found->second].state != SegmentState::free) continue;
    SegmentRow row = found == known.end() ? SegmentRow{.segment = id} : rows[found->second];
    const auto header = first_page(device, segment_path(directory, id), id, superblock);
    // What cannot be read is found out by whoever opens the segment.
    if (!header.ok() || !*header || (*header)->generation <= row.generation) continue;
    row.generation = (*header)->generation;
    row.state = SegmentState::unsealed;
    if (found == known.end()) {
      rows.push_back(row);
    } else {
      rows[found->second] = row;
    }
  }
}

}  // namespace cairn::tiers
