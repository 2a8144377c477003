// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/segment_walk.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::tiers {
namespace {

bool is_here(const RecordFields& f, const WalkOptions& options, SegmentId id) {
  return f.store == options.store && f.segment == id;
}

using Visit = std::function<absl::Status(const WalkedRecord&)>;

class Walk {
 public:
  Walk(FileWindow& file, SegmentId id, const WalkOptions& options, const Visit& visit)
      : file_(file), id_(id), options_(options), visit_(visit) {}

  absl::StatusOr<SegmentSummary> run();

 private:
  absl::Status read_header();
  /// True where the footer listed the segment.
  absl::StatusOr<bool> list_footer();
  absl::Status visit_copies(ByteSpan headers);
  absl::Status walk_records();
  /// Sets how far to go on.
  absl::Status meet(std::uint64_t offset, std::uint64_t& step);
  absl::Status visit_listed(const RecordFields& fields, ByteSpan copy);
  absl::Status visit_whole(const RecordFields& fields, std::uint64_t offset, bool vouched);
  absl::Status hand_over(const WalkedRecord& record);

  FileWindow& file_;
  const SegmentId id_;
  const WalkOptions& options_;
  const Visit& visit_;
  std::optional<std::uint32_t> generation_;
  SegmentSummary summary_;
};

absl::StatusOr<SegmentSummary> Walk::run() {
  CAIRN_RETURN_IF_ERROR(read_header());
  CAIRN_ASSIGN_OR_RETURN(summary_.footer_sound, list_footer());
  if (!summary_.footer_sound) CAIRN_RETURN_IF_ERROR(walk_records());
  summary_.generation = generation_.value_or(0);
  return summary_;
}

absl::Status Walk::read_header() {
  generation_ = options_.generation;
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan page, file_.at(0, kPage));
  const absl::StatusOr<SegmentHeader> header = parse_segment_header(page);
  if (!header.ok() || header->store != options_.store ||
      header->segment != static_cast<std::uint32_t>(id_) ||
      header->segment_bytes != options_.segment_bytes) {
    return absl::OkStatus();
  }
  summary_.header_sound = true;
  summary_.header = *header;
  summary_.generation_max = header->generation;
  generation_ = header->generation;
  return absl::OkStatus();
}

absl::StatusOr<bool> Walk::list_footer() {
  if (!generation_ || file_.size() < options_.segment_bytes) return false;
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan last, file_.at(options_.segment_bytes - kPage, kPage));
  const absl::StatusOr<SegmentFooter> footer = parse_footer(last, options_.segment_bytes);
  if (!footer.ok() || footer->store != options_.store ||
      footer->segment != static_cast<std::uint32_t>(id_) || footer->generation != *generation_) {
    return false;
  }
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan view,
                         file_.at(footer->headers_offset, footer->headers_length));
  if (!check_footer(*footer, view).ok()) return false;
  // A copy of its own: visiting payloads moves the window.
  const std::string headers(as_text(view));
  CAIRN_RETURN_IF_ERROR(visit_copies(as_bytes(headers)));
  return true;
}

absl::Status Walk::visit_copies(ByteSpan headers) {
  while (!headers.empty()) {
    const absl::StatusOr<RecordFields> fields = parse_record_header(headers);
    if (!fields.ok()) {
      // Sound by the footer's sum, so written by somebody who knows more: step over it.
      ++summary_.bad_headers;
      const std::optional<std::uint32_t> length = peek_header_length(headers);
      if (!length || *length > headers.size()) return absl::OkStatus();
      headers = headers.subspan(*length);
      continue;
    }
    const ByteSpan copy = headers.first(fields->header_length);
    headers = headers.subspan(fields->header_length);
    if (!is_here(*fields, options_, id_)) {
      ++summary_.foreign;
    } else if (fields->generation != *generation_) {
      ++summary_.stale;
    } else if (options_.verify_payloads) {
      CAIRN_RETURN_IF_ERROR(visit_listed(*fields, copy));
    } else {
      CAIRN_RETURN_IF_ERROR(hand_over({*fields, true, true}));
    }
  }
  return absl::OkStatus();
}

absl::Status Walk::visit_listed(const RecordFields& fields, ByteSpan copy) {
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan there, file_.at(fields.offset, copy.size()));
  if (std::equal(there.begin(), there.end(), copy.begin(), copy.end())) {
    return visit_whole(fields, fields.offset, true);
  }
  ++summary_.bad_headers;
  return hand_over({.fields = fields, .vouched = true, .header_sound = false});
}

absl::Status Walk::walk_records() {
  std::uint64_t step = 0;
  for (std::uint64_t offset = kPage; offset + sizeof(RecordHeader) <= file_.size();
       offset += step) {
    CAIRN_RETURN_IF_ERROR(meet(offset, step));
    CAIRN_CHECK(step >= kSmallAlignment && step % kSmallAlignment == 0);
  }
  return absl::OkStatus();
}

absl::Status Walk::meet(std::uint64_t offset, std::uint64_t& step) {
  step = kSmallAlignment;
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan start, file_.at(offset, sizeof(RecordHeader)));
  if (start.size() < sizeof(RecordHeader) || load_le<std::uint32_t>(start) != kRecordMagic) {
    return absl::OkStatus();
  }
  const std::optional<std::uint32_t> length = peek_header_length(start);
  if (!length) {
    ++summary_.bad_headers;
    return absl::OkStatus();
  }
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan bytes, file_.at(offset, *length));
  const absl::StatusOr<RecordFields> fields = parse_record_header(bytes);
  if (!fields.ok()) {
    ++summary_.bad_headers;
    return absl::OkStatus();
  }
  if (!is_here(*fields, options_, id_) || fields->offset != offset) {
    ++summary_.foreign;
    return absl::OkStatus();
  }
  summary_.generation_max = std::max(summary_.generation_max, fields->generation);
#if defined(CAIRN_PLANTED_STALE_GENERATION)
  const bool is_stale = false;
#else
  const bool is_stale = !generation_ || fields->generation != *generation_;
#endif
  if (is_stale) {
    ++summary_.stale;
    return absl::OkStatus();
  }
  // The header is sound, so its length is true, whatever became of the payload.
  step = fields->total_bytes();
  return visit_whole(*fields, offset, false);
}

absl::Status Walk::visit_whole(const RecordFields& fields, std::uint64_t offset, bool vouched) {
  // Reading the payload may move the window that the header lies in.
  const std::string key(fields.key);
  const std::string table(as_text(fields.chunk_table));
  RecordFields kept = fields;
  kept.key = key;
  kept.chunk_table = as_bytes(table);
  bool sound = true;
  if (kept.payload_length > 0) {
    CAIRN_ASSIGN_OR_RETURN(const ByteSpan payload,
                           file_.at(offset + kept.payload_offset, kept.payload_length));
    sound = check_payload(kept, payload).ok();
  }
#if defined(CAIRN_PLANTED_TORN_TAIL_ACCEPTED)
  sound = true;
#endif
  return hand_over({kept, sound, vouched});
}

absl::Status Walk::hand_over(const WalkedRecord& record) {
  ++summary_.records;
  if (!record.payload_sound) ++summary_.bad_payloads;
  return visit_(record);
}

}  // namespace

absl::StatusOr<SegmentSummary> walk_segment(Device& device, const std::string& path, SegmentId id,
                                            const WalkOptions& options, const Visit& visit) {
  CAIRN_ASSIGN_OR_RETURN(
      const std::unique_ptr<FileWindow> file,
      FileWindow::open(device, path, FileWindow::kReadAhead, options.unreadable));
  if (options.sync_first) CAIRN_RETURN_IF_ERROR(file->sync());
  const std::uint64_t before = device.device_counters().bytes_read;
  CAIRN_ASSIGN_OR_RETURN(SegmentSummary summary, Walk(*file, id, options, visit).run());
  summary.file_bytes = file->size();
  summary.unreadable_bytes = file->unreadable_bytes();
  summary.bytes_read = device.device_counters().bytes_read - before;
  return summary;
}

absl::Status RecordCheck::status() const {
  for (const absl::Status* one : {&header, &place, &name, &payload}) {
    if (!one->ok()) return *one;
  }
  return absl::OkStatus();
}

absl::StatusOr<RecordCheck> check_record(FileWindow& file, const RecordPlace& place,
                                         const BlockName& name,
                                         const std::function<void(const RecordFields&)>& seen) {
  RecordCheck check;
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan start, file.at(place.offset, sizeof(RecordHeader)));
  const std::optional<std::uint32_t> length = peek_header_length(start);
  if (!length) {
    check.header = make_error(ErrorCode::corruption, "record: no record begins here");
    return check;
  }
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan view, file.at(place.offset, *length));
  const std::string bytes(as_text(view));  // the payload's reading moves the window
  const absl::StatusOr<RecordFields> fields = parse_record_header(as_bytes(bytes));
  check.header = fields.status();
  if (!fields.ok()) return check;
  if (seen) seen(*fields);
  check.place = check_place(*fields, place);
  check.name = check_name(*fields, name);
  CAIRN_ASSIGN_OR_RETURN(const ByteSpan payload,
                         file.at(place.offset + fields->payload_offset, fields->payload_length));
  check.payload = check_payload(*fields, payload);
  return check;
}

}  // namespace cairn::tiers
