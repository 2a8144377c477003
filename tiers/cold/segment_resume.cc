// SPDX-License-Identifier: Apache-2.0
// Going on in a segment that a clean close sealed before it was full, so that a store which is
// opened for a few puts at a time does not use up a segment each time.
//
// The index says `open`, on the medium, before the footer goes and before any record comes:
// whatever the index forgets after that, roll_forward() knows to look here. The footer goes
// before any record comes: one that lists a part would hide the rest from a rebuild.
#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tiers/cold/segment_opener.h"
#include "tiers/record/record.h"

namespace cairn::tiers {

void SegmentOpener::resume(Segment& segment, Done done) {
  CAIRN_CHECK(segment.phase == SegmentPhase::sealed && segment.is_resuming);
  if (const absl::Status opened = ensure_file(segment); !opened.ok()) {
    give_up_resuming(segment, opened, done);
    return;
  }
  auto transfer = std::make_unique<Transfer>();
  transfer->file = segment.file;
  transfer->offset = core_.segment_bytes - kPage;
  transfer->buffers.push_back(pool_.take(kPage));
  transfer->add(transfer->buffers[0].span());
  ++segment.reads_in_flight;
  transfer->finished = [this, &segment, done = std::move(done)](Transfer& read) mutable {
    --segment.reads_in_flight;
    const auto footer = read.is_whole() ? parse_footer(read.buffers[0].span(), core_.segment_bytes)
                                        : make_error(ErrorCode::io, "its footer cannot be read");
    if (!footer.ok()) {
      give_up_resuming(segment, footer.status(), done);
    } else if (footer->store != core_.store || footer->generation != segment.generation ||
               footer->segment != static_cast<std::uint32_t>(segment.id)) {
      give_up_resuming(segment, make_error(ErrorCode::corruption, "its footer is another's"), done);
    } else {
      read_listed(segment, *footer, std::move(done));
    }
  };
  queue_.submit(std::move(transfer), Lane::foreground);
}

void SegmentOpener::read_listed(Segment& segment, const SegmentFooter& footer, Done done) {
  auto transfer = std::make_unique<Transfer>();
  transfer->file = segment.file;
  transfer->offset = footer.headers_offset;
  transfer->buffers.push_back(pool_.take(footer_bytes(footer.headers_length)));
  transfer->add(transfer->buffers[0].span());
  ++segment.reads_in_flight;
  transfer->finished = [this, &segment, footer, done = std::move(done)](Transfer& read) mutable {
    --segment.reads_in_flight;
    absl::Status status = make_error(ErrorCode::io, "its footer cannot be read");
    segment.headers.clear();
    segment.headers_planned = 0;
    if (read.is_whole()) {
      const ByteSpan listed = ByteSpan(read.buffers[0].span()).first(footer.headers_length);
      status = check_footer(footer, listed);
      const auto take = [&](const RecordFields& fields) {
        const ByteSpan header = listed.subspan(segment.headers_planned, fields.header_length);
        segment.headers.emplace_back(fields.offset, std::string(as_text(header)));
        segment.headers_planned += fields.header_length;
      };
      if (status.ok()) status = for_each_header(listed, take);
    }
    if (status.ok()) {
      tell_open(segment, std::move(done));
    } else {
      give_up_resuming(segment, status, done);
    }
  };
  queue_.submit(std::move(transfer), Lane::foreground);
}

void SegmentOpener::tell_open(Segment& segment, Done done) {
  SegmentRow row = table_.row(segment);
  row.state = SegmentState::open;
  core_.index_loop.post([this, &segment, row, done = std::move(done)]() mutable {
    const absl::Status told = core_.index->write({}, {&row, 1}, {}, true);
    core_.io_loop.post([this, &segment, told, done = std::move(done)]() mutable {
      if (told.ok()) {
        take_footer_off(segment, std::move(done));
      } else {
        give_up_resuming(segment, told, done);
      }
    });
  });
}

void SegmentOpener::take_footer_off(Segment& segment, Done done) {
  auto transfer = std::make_unique<Transfer>();
  transfer->kind = IoKind::write;
  transfer->file = segment.file;
  transfer->offset = core_.segment_bytes - kPage;
  transfer->buffers.push_back(pool_.take(kPage));
  const MutableByteSpan page = transfer->buffers[0].span();
  std::fill(page.begin(), page.end(), std::byte{0});
  transfer->add(page);
  ++segment.writes_in_flight;
  transfer->finished = [this, &segment, done = std::move(done)](Transfer& written) mutable {
    --segment.writes_in_flight;
    add(core_.counts.media_bytes_written, written.transferred);
    if (!written.is_whole()) {
      const absl::Status status =
          from_errno(written.error != 0 ? written.error : EIO, "take its footer off");
      add(core_.counts.write_errors);
      core_.writes.write_failed(status);
      segment.has_footer = false;  // perhaps half of it: the index is asked instead
      give_up_resuming(segment, status, done);
      return;
    }
    segment.unsynced = true;
    sync_(segment, [this, &segment, done = std::move(done)](const absl::Status& synced) {
      segment.has_footer = false;
      if (synced.ok() && segment.quarantined) {
        // While this was under way; what is read there is told to the engine, nothing is added.
        give_up_resuming(segment, make_error(ErrorCode::corruption, "it is quarantined"), done);
      } else if (synced.ok()) {
        table_.resumed(segment);
        done(synced);
      } else {
        give_up_resuming(segment, synced, done);
      }
    });
  };
  queue_.submit(std::move(transfer), Lane::foreground);
}

void SegmentOpener::give_up_resuming(Segment& segment, const absl::Status& status,
                                     const Done& done) {
  segment.headers.clear();
  segment.headers_planned = 0;
  table_.not_resumed(segment);
  done(status);
}

}  // namespace cairn::tiers
