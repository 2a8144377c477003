// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/inspect.h"

#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/rocksdb_index.h"
#include "tiers/cold/wait_for.h"

namespace cairn::tiers {
namespace {

InspectedRecord owned(const RecordFields& fields) {
  InspectedRecord record;
  record.key = std::string(fields.key);
  for (std::uint32_t i = 0; i < fields.chunk_count(); ++i) {
    record.chunks.push_back(fields.chunk(i));
  }
  record.fields = fields;
  record.fields.key = {};
  record.fields.chunk_table = {};
  return record;
}

/// Asks the index, in one call, which of the records it names at their very places.
void mark_live(InspectedSegment& segment, DurableTier& tier) {
  std::vector<StoredLookup> lookups;
  lookups.reserve(segment.records.size());
  for (const InspectedRecord& record : segment.records) {
    const RecordFields& f = record.fields;
    lookups.push_back(
        {.name = {f.namespace_id, record.key, f.part}, .found = std::nullopt, .status = {}});
  }
  wait_for([&](Done done) { tier.lookup(lookups, std::move(done)); }, nullptr);
  for (std::size_t i = 0; i < lookups.size(); ++i) {
    InspectedRecord& record = segment.records[i];
    const RecordFields& f = record.fields;
    if (!lookups[i].found || f.kind != RecordKind::block) continue;
    const Place place = unpack_location(lookups[i].found->location);
    record.live = place.segment == f.segment && place.offset == f.offset;
    if (!record.live) continue;
    ++segment.live_records;
    segment.live_bytes += lookups[i].found->stored_bytes;
  }
}

}  // namespace

std::string_view record_kind_name(RecordKind kind) {
  switch (kind) {
    case RecordKind::block:
      return "block";
    case RecordKind::tombstone:
      return "tombstone";
    case RecordKind::note:
      return "note";
  }
  CAIRN_UNREACHABLE();
}

std::string_view copy_state_name(CopyState state) {
  switch (state) {
    case CopyState::sound:
      return "sound";
    case CopyState::older:
      return "older";
    case CopyState::missing:
      return "missing";
    case CopyState::damaged:
      return "damaged";
  }
  CAIRN_UNREACHABLE();
}

std::string uuid_text(const StoreUuid& uuid) {
  const std::string digits = to_hex(std::as_bytes(std::span(uuid)));
  const std::string_view d = digits;
  return concat(d.substr(0, 8), "-", d.substr(8, 4), "-", d.substr(12, 4), "-", d.substr(16, 4),
                "-", d.substr(20));
}

absl::StatusOr<LoadedSuperblock> inspect_superblock(Device& device, const std::string& directory) {
  return load_superblock(device, directory);
}

absl::StatusOr<InspectedFiles> inspect_files(Device& device, const std::string& directory) {
  CAIRN_ASSIGN_OR_RETURN(const LoadedSuperblock loaded, load_superblock(device, directory));
  InspectedFiles out;
  out.superblock = loaded.primary;
  out.superblock_copy = loaded.copy;
  IndexOptions options;
  options.directory = index_path(directory);
  options.store = loaded.superblock.store;
  options.read_only = true;
  CAIRN_ASSIGN_OR_RETURN(const std::unique_ptr<Index> index, open_rocksdb_index(options));
  CAIRN_ASSIGN_OR_RETURN(const std::vector<SegmentRow> rows, index->segments());
  for (const SegmentRow& row : rows) {
    if (row.state == SegmentState::free) continue;  // perhaps its file was given back
    const absl::StatusOr<FileInfo> file = device.info(segment_path(directory, row.segment));
    if (has_code(file.status(), ErrorCode::not_found)) {
      out.missing.push_back(row.segment);
    } else if (!file.ok()) {
      return file.status();
    } else if (file->bytes < loaded.superblock.segment_bytes) {
      out.cut.push_back(row.segment);
    }
  }
  return out;
}

absl::StatusOr<InspectedSegment> inspect_segment(Device& device, const std::string& directory,
                                                 SegmentId segment, DurableTier* tier) {
  CAIRN_ASSIGN_OR_RETURN(const LoadedSuperblock loaded, load_superblock(device, directory));
  if (static_cast<std::uint32_t>(segment) >= kSegmentsMax) {
    return make_error(ErrorCode::not_found, "there is no such segment");
  }
  InspectedSegment out;
  const WalkOptions walk{.store = loaded.superblock.store,
                         .segment_bytes = loaded.superblock.segment_bytes,
                         .verify_payloads = true};
  CAIRN_ASSIGN_OR_RETURN(out.summary, walk_segment(device, segment_path(directory, segment),
                                                   segment, walk, [&](const WalkedRecord& record) {
                                                     out.records.push_back(owned(record.fields));
                                                     out.records.back().payload_sound =
                                                         record.header_sound &&
                                                         record.payload_sound;
                                                     return absl::OkStatus();
                                                   }));
  if (tier != nullptr) mark_live(out, *tier);
  return out;
}

absl::StatusOr<std::optional<InspectedEntry>> inspect_entry(Device& device,
                                                            const std::string& directory,
                                                            DurableTier& tier,
                                                            const BlockName& name) {
  CAIRN_ASSIGN_OR_RETURN(const LoadedSuperblock loaded, load_superblock(device, directory));
  StoredLookup lookup{.name = name, .found = std::nullopt, .status = {}};
  wait_for([&](Done done) { tier.lookup({&lookup, 1}, std::move(done)); }, nullptr);
  CAIRN_RETURN_IF_ERROR(lookup.status);
  if (!lookup.found) return std::optional<InspectedEntry>();
  InspectedEntry out;
  out.entry = *lookup.found;
  out.place = unpack_location(out.entry.location);
  const absl::StatusOr<std::unique_ptr<FileWindow>> file =
      FileWindow::open(device, segment_path(directory, out.place.segment));
  if (!file.ok()) {
    out.status = file.status();
    return std::optional<InspectedEntry>(std::move(out));
  }
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan page, (*file)->at(0, kPage));
  const absl::StatusOr<SegmentHeader> header = parse_segment_header(page);
  const RecordPlace place{loaded.superblock.store, out.place.segment,
                          header.ok() ? header->generation : 0, out.place.offset};
  CAIRN_ASSIGN_OR_RETURN(const RecordCheck check,
                         check_record(**file, place, name, [&](const RecordFields& fields) {
                           out.record = owned(fields);
                         }));
  out.status = header.ok() ? check.status() : header.status();
  if (out.record) out.record->payload_sound = check.payload.ok();
  if (out.record) out.record->live = check.place.ok() && check.name.ok();
  return std::optional<InspectedEntry>(std::move(out));
}

}  // namespace cairn::tiers
