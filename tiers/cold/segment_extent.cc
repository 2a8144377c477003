// SPDX-License-Identifier: Apache-2.0
// Extents: records laid side by side, written, and told of.
#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tiers/cold/segment_log.h"

namespace cairn::tiers {
namespace {

std::uint32_t number(const Segment& segment) {
  return static_cast<std::uint32_t>(segment.id);
}
bool is_page_aligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % kIoAlignment == 0;
}
/// Whether a device can take these from where they are, but for what is less than a page.
bool is_direct(std::span<const ByteSpan> pieces) {
  return std::all_of(pieces.begin(), pieces.end(), [&pieces](const ByteSpan& piece) {
    return is_page_aligned(piece.data()) && (piece.size() % kPage == 0 || &piece == &pieces.back());
  });
}

void copy_pieces(std::span<const ByteSpan> pieces, MutableByteSpan out) {
  for (const ByteSpan piece : pieces) {
    if (!piece.empty()) std::memcpy(out.data(), piece.data(), piece.size());
    out = out.subspan(piece.size());
  }
}

/// The writes of one extent, one behind the other.
class ExtentWrites {
 public:
  ExtentWrites(const Segment& segment, BufferPool& pool)
      : file_(segment.file), end_(segment.data_end), pool_(pool) {}

  /// Memory of ours for the next `bytes`; what is behind them in the last page is to be zeros.
  MutableByteSpan add_buffer(std::uint64_t bytes) {
    Buffer buffer = pool_.take(bytes);
    const MutableByteSpan memory = buffer.span();
    next(memory.size()).add(memory);
    transfers_.back()->buffers.push_back(std::move(buffer));
    return memory;
  }
  void add_pages(ByteSpan pages) {
    if (pages.empty()) return;
    // The device only reads from it: iovec has no const.
    next(pages.size()).add({const_cast<std::byte*>(pages.data()), pages.size()});
  }
  /// A payload that begins on a page, up to the next page behind it.
  void add_payload(std::span<const ByteSpan> pieces, std::uint64_t bytes) {
    ByteSpan last;
    if (is_direct(pieces)) {
      for (const ByteSpan piece : pieces.first(pieces.size() - 1)) add_pages(piece);
      last = pieces.back();
      add_pages(last.first(last.size() / kPage * kPage));
      bytes = last.size() % kPage;
      last = last.last(bytes);
      pieces = {&last, 1};
    }
    if (bytes == 0) return;
    const MutableByteSpan copy = add_buffer(bytes);
    copy_pieces(pieces, copy);
    std::memset(copy.data() + bytes, 0, copy.size() - bytes);
  }

  std::uint64_t end() const { return end_; }
  std::vector<std::unique_ptr<Transfer>> take() { return std::move(transfers_); }

 private:
  /// The write that takes one more part, of so many bytes.
  Transfer& next(std::uint64_t bytes) {
    if (transfers_.empty() || transfers_.back()->parts.size() == kIoPartsMax) {
      auto transfer = std::make_unique<Transfer>();
      transfer->kind = IoKind::write;
      transfer->file = file_;
      transfer->offset = end_;
      transfers_.push_back(std::move(transfer));
    }
    end_ += bytes;
    return *transfers_.back();
  }

  const FileId file_;
  std::uint64_t end_;
  BufferPool& pool_;
  std::vector<std::unique_ptr<Transfer>> transfers_;
};

}  // namespace

/// Records side by side, from `offset` on, whole pages. It is written when all its writes are.
struct SegmentLog::Extent {
  Segment* segment = nullptr;
  std::vector<Append*> records;
  std::vector<std::string> headers;  // their copies for the footer
  std::size_t writes_left = 0;
  int error = 0;  // the first one
  std::uint64_t requested = 0, transferred = 0;
};

void SegmentLog::write_extent(Segment& segment, std::span<Append* const> records) {
  auto extent = std::make_shared<Extent>();
  extent->segment = &segment;
  ExtentWrites writes(segment, pool_);
  const bool large = records.front()->is_large();
  std::uint64_t bytes = 0;
  for (const Append* record : records) {
    bytes += lay_out_record(record->fields).total_bytes;
  }
  bytes = round_up(bytes, kPage);
  MutableByteSpan shared;  // small records share one buffer
  if (!large) shared = writes.add_buffer(bytes);
  std::uint64_t at = 0;
  for (Append* record : records) {
    const RecordLayout layout = lay_out_record(record->fields);
    RecordFields& fields = record->fields;
    fields.store = core_.store;
    fields.segment = segment.id;
    fields.generation = segment.generation;
    fields.offset = segment.data_end + at;
    fields.payload_offset = layout.payload_offset;
    fields.header_length = layout.header_length;
    record->place = {
        .segment = segment.id, .offset = fields.offset, .record_bytes = layout.total_bytes};
    MutableByteSpan header;
    if (large) {
      header = writes.add_buffer(layout.payload_offset);
      writes.add_payload(record->stored(), fields.payload_length);
    } else {
      const MutableByteSpan whole = shared.subspan(at, layout.total_bytes);
      header = whole.first(layout.payload_offset);
      const std::uint64_t end = layout.payload_offset + std::uint64_t{fields.payload_length};
      copy_pieces(record->stored(), whole.first(end).subspan(layout.payload_offset));
      std::memset(whole.data() + end, 0, layout.total_bytes - end);
    }
    encode_record_header(fields, header);
    extent->headers.emplace_back(as_text(ByteSpan(header).first(layout.header_length)));
    extent->records.push_back(record);
    segment.headers_planned += layout.header_length;
    if (segment.stream == Stream::user) {
      segment.opened_at_sequence = std::min(segment.opened_at_sequence, fields.sequence);
    }
    table_.pending(segment, layout.total_bytes);
    if (record->placed != nullptr) record->placed();
    at += layout.total_bytes;
  }
  if (!large) std::memset(shared.data() + at, 0, shared.size() - at);
  CAIRN_CHECK(segment.data_end % kPage == 0);
  segment.data_end += bytes;
  CAIRN_CHECK(writes.end() == segment.data_end);
  CAIRN_CHECK(segment.data_end + footer_bytes(segment.headers_planned) <= core_.segment_bytes);
  ++segment.writes_in_flight;
  table_.touch(segment);
  const Lane lane = segment.stream == Stream::cleaner ? Lane::background : Lane::foreground;
#if defined(CAIRN_PLANTED_PUBLISHED_EARLY)
  for (Append* record : extent->records) finish(*record, absl::OkStatus());
  extent->records.clear();
#endif
  std::vector<std::unique_ptr<Transfer>> transfers = writes.take();
  extent->writes_left = transfers.size();
  for (std::unique_ptr<Transfer>& transfer : transfers) {
    transfer->finished = [this, extent](Transfer& done) {
      extent->requested += done.requested();
      extent->transferred += done.transferred;
      if (extent->error == 0) extent->error = done.error;
      if (--extent->writes_left == 0) extent_written(*extent);
    };
    queue_.submit(std::move(transfer), lane);
  }
}

void SegmentLog::extent_written(Extent& extent) {
  Segment& segment = *extent.segment;
  --segment.writes_in_flight;
  add(core_.counts.media_bytes_written, extent.transferred);
  absl::Status status;
#if defined(CAIRN_PLANTED_SHORT_WRITE_AS_FULL)
  const bool whole = extent.error == 0;
#else
  const bool whole = extent.error == 0 && extent.transferred == extent.requested;
#endif
  if (!whole) {
    if (extent.error == 0) add(core_.counts.short_transfers);
    add(core_.counts.write_errors);
    status = extent.error != 0
                 ? from_errno(extent.error, concat("write to segment ", number(segment)))
                 : make_error(ErrorCode::io,
                              concat("short write to segment ", number(segment), ": ",
                                     extent.transferred, " of ", extent.requested, " bytes"));
    core_.writes.write_failed(status);
  } else if (segment.poisoned) {
    status = make_error(ErrorCode::io,
                        concat("segment ", number(segment), " was poisoned by a failed sync"));
  } else {
    core_.writes.write_succeeded();
    segment.unsynced = true;
    std::uint64_t offset = 0;
    for (std::size_t i = 0; i < extent.records.size(); ++i) {
      offset = extent.records[i]->fields.offset;
      segment.headers.emplace_back(offset, std::move(extent.headers[i]));
    }
  }
  std::vector<Append*> waiting;
  for (Append* record : extent.records) {
    if (status.ok() && record->sync_wanted) {
      waiting.push_back(record);
    } else {
      if (!status.ok()) settled(segment.id, record->place.record_bytes);
      finish(*record, status);
    }
  }
  seal_if_quiet(segment);
  if (waiting.empty()) return;
  sync_.sync(segment, [this, &segment, waiting = std::move(waiting)](const absl::Status& synced) {
    for (Append* record : waiting) {
      if (!synced.ok()) settled(segment.id, record->place.record_bytes);
      finish(*record, synced);
    }
  });
}

}  // namespace cairn::tiers
