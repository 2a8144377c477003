// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/verify.h"

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/cold/layout.h"
#include "tiers/cold/location.h"
#include "tiers/cold/segment_walk.h"
#include "tiers/cold/superblock.h"
#include "tiers/cold/wait_for.h"

namespace cairn::tiers {
namespace {

constexpr std::size_t kScanStep = 256;
constexpr std::size_t kExamplesMax = 100;
constexpr std::size_t kOpenSegmentsMax = 16;

/// One entry, out of the scan's hands.
struct Entry {
  NamespaceId namespace_id{};
  std::string key;
  Part part = 0;
  BlockFacts facts;
  Location location;
  BlockName name() const { return {namespace_id, key, part}; }
};

/// What is wrong, and which counter says so; null: nothing.
struct Finding {
  std::uint64_t VerifyReport::*counter = nullptr;
  std::string why;
};

class Verify {
 public:
  Verify(DurableTier& tier, Device& device, const VerifyOptions& options)
      : tier_(tier), device_(device), options_(options), started_(options.clock->now()) {}
  absl::StatusOr<VerifyReport> run();

 private:
  struct OpenSegment {
    std::unique_ptr<FileWindow> file;  // null where there is none
    std::optional<SegmentHeader> header;
  };

  absl::Status check_entry(const Entry& entry);
  absl::StatusOr<Finding> look(const Entry& entry);
  absl::StatusOr<OpenSegment*> segment(SegmentId id);
  bool still_there(const Entry& entry);
  absl::Status forget(const Entry& entry);
  absl::Status count_orphans();
  void keep_to_rate() const;

  DurableTier& tier_;
  Device& device_;
  const VerifyOptions& options_;
  const TimePoint started_;
  Superblock superblock_;
  std::map<SegmentId, OpenSegment> segments_;
  absl::flat_hash_set<std::uint64_t> named_;  // locations that the index names
  VerifyReport report_;
};

absl::StatusOr<VerifyReport> Verify::run() {
  CAIRN_ASSIGN_OR_RETURN(LoadedSuperblock loaded, load_superblock(device_, options_.directory));
  superblock_ = std::move(loaded.superblock);
  VerifyProgress progress{.total = tier_.usage().blocks};
  std::string cursor;
  do {
    std::vector<Entry> entries;
    CAIRN_RETURN_IF_ERROR(tier_.scan(cursor, kScanStep, [&](const StoredBlock& block) {
      entries.push_back({block.name.namespace_id, std::string(block.name.key), block.name.part,
                         block.facts, block.location});
    }));
    for (const Entry& entry : entries) {
      named_.insert(entry.location.bits);
      CAIRN_RETURN_IF_ERROR(check_entry(entry));
      keep_to_rate();
    }
    progress = {report_.scanned, std::max(progress.total, report_.scanned), report_.bytes,
                report_.bad()};
    if (options_.progress) options_.progress(progress);
  } while (!cursor.empty());
  if (options_.count_orphans) CAIRN_RETURN_IF_ERROR(count_orphans());
  return std::move(report_);
}

absl::Status Verify::check_entry(const Entry& entry) {
  ++report_.scanned;
  CAIRN_ASSIGN_OR_RETURN(const Finding finding, look(entry));
  if (finding.counter == nullptr) {
    ++report_.ok;
    return absl::OkStatus();
  }
  if (!still_there(entry)) {
    ++report_.moved;
    return absl::OkStatus();
  }
  ++(report_.*finding.counter);
  if (report_.examples.size() < kExamplesMax) {
    report_.examples.push_back({entry.namespace_id, entry.key, entry.part, finding.why});
  }
  return options_.fix ? forget(entry) : absl::OkStatus();
}

absl::StatusOr<Finding> Verify::look(const Entry& entry) {
  const Place place = unpack_location(entry.location);
  CAIRN_ASSIGN_OR_RETURN(OpenSegment* const open, segment(place.segment));
  if (open->file == nullptr || place.offset + place.record_bytes > open->file->size()) {
    return Finding{&VerifyReport::dangling, "its segment is missing or shorter"};
  }
  // Reads go without that page: it says nothing of the blocks behind it.
  const bool is_headless = open->file->has_unreadable(0, kPage);
  if (!open->header && !is_headless) {
    return Finding{&VerifyReport::bad_location, "its segment's header is damaged"};
  }
  std::optional<RecordKind> kind;
  BlockFacts facts;
  RecordPlace wanted{superblock_.store, place.segment, open->header ? open->header->generation : 0,
                     place.offset};
  std::uint32_t generation = 0;
  const auto seen = [&](const RecordFields& fields) {
    kind = fields.kind;
    facts = fields.facts();
    generation = fields.generation;
  };
  if (is_headless) {
    CAIRN_RETURN_IF_ERROR(check_record(*open->file, wanted, entry.name(), seen).status());
    wanted.generation = generation;
  }
  CAIRN_ASSIGN_OR_RETURN(const RecordCheck check,
                         check_record(*open->file, wanted, entry.name(), seen));
  report_.bytes += place.record_bytes;
  if (!check.ok() && open->file->has_unreadable(place.offset, place.record_bytes)) {
    return Finding{&VerifyReport::unreadable, "the disk cannot read it"};
  }
  const std::string why(message_of(check.status()));
  if (!check.header.ok()) return Finding{&VerifyReport::bad_header, why};
  if (!check.place.ok()) return Finding{&VerifyReport::bad_location, why};
  if (!check.name.ok()) return Finding{&VerifyReport::bad_key, why};
  if (!check.payload.ok()) return Finding{&VerifyReport::bad_payload, why};
  if (kind != RecordKind::block || facts.sequence != entry.facts.sequence ||
      facts.plain_bytes != entry.facts.plain_bytes || facts.plain_sum != entry.facts.plain_sum) {
    return Finding{&VerifyReport::bad_location, "another version is stored here"};
  }
  return Finding{};
}

absl::StatusOr<Verify::OpenSegment*> Verify::segment(SegmentId id) {
  const auto found = segments_.find(id);
  if (found != segments_.end()) return &found->second;
  // Entries come in key order and jump between segments; each open one holds a window.
  if (segments_.size() >= kOpenSegmentsMax) segments_.clear();
  OpenSegment open;
  absl::StatusOr<std::unique_ptr<FileWindow>> file =
      FileWindow::open(device_, segment_path(options_.directory, id));
  if (file.ok()) {
    open.file = std::move(*file);
    CAIRN_ASSIGN_OR_RETURN(const ByteSpan page, open.file->at(0, kPage));
    const absl::StatusOr<SegmentHeader> header = parse_segment_header(page);
    if (header.ok() && header->store == superblock_.store) open.header = *header;
  } else if (!has_code(file.status(), ErrorCode::not_found)) {
    return file.status();
  }
  return &segments_.emplace(id, std::move(open)).first->second;
}

/// A block that moved or went while it was read is no fault; neither is a segment that was used
/// again, so its first page is read anew.
bool Verify::still_there(const Entry& entry) {
  StoredLookup lookup{.name = entry.name(), .found = std::nullopt, .status = {}};
  wait_for([&](Done done) { tier_.lookup({&lookup, 1}, std::move(done)); }, options_.pump);
  segments_.erase(unpack_location(entry.location).segment);
  return lookup.status.ok() && lookup.found && lookup.found->location == entry.location;
}

absl::Status Verify::forget(const Entry& entry) {
  Removal removal{.name = entry.name(),
                  .sequence = entry.facts.sequence,
                  .reason = RemovalReason::corrupt,
                  .status = {}};
  wait_for(
      [&](Done done) {
        tier_.remove({&removal, 1}, Durability::durable, std::move(done));
      },
      options_.pump);
  CAIRN_RETURN_IF_ERROR(removal.status);
  ++report_.fixed;
  return absl::OkStatus();
}

absl::Status Verify::count_orphans() {
  segments_.clear();
  CAIRN_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> files,
                         device_.list(segments_path(options_.directory)));
  for (const DirectoryEntry& file : files) {
    const std::optional<SegmentId> id = segment_of_name(file.name);
    if (!id) continue;
    const auto count = [&](const WalkedRecord& record) {
      const RecordFields& f = record.fields;
      const Place place{0, f.segment, f.offset, f.total_bytes()};
      const bool counts = f.kind == RecordKind::block && is_packable(place);
      if (counts && !named_.contains(pack_location(place).bits)) ++report_.orphans;
      return absl::OkStatus();
    };
    const WalkOptions walk{.store = superblock_.store, .segment_bytes = superblock_.segment_bytes};
    CAIRN_RETURN_IF_ERROR(
        walk_segment(device_, segment_path(options_.directory, *id), *id, walk, count).status());
  }
  return absl::OkStatus();
}

void Verify::keep_to_rate() const {
  if (options_.bytes_per_second_max == 0) return;
  const double due =
      static_cast<double>(report_.bytes) / static_cast<double>(options_.bytes_per_second_max);
  const double ahead = due - (options_.clock->now() - started_).as_seconds();
  if (ahead <= 0) return;
  const Duration rest = Duration::nanos(static_cast<std::int64_t>(ahead * 1e9));
  if (options_.wait) {
    options_.wait(rest);
  } else {
    std::this_thread::sleep_for(std::chrono::nanoseconds(rest.ns));
  }
}

}  // namespace

absl::StatusOr<VerifyReport> verify_store(DurableTier& tier, Device& device,
                                          const VerifyOptions& options) {
  return Verify(tier, device, options).run();
}

}  // namespace cairn::tiers
