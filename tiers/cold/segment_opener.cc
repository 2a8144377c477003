// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/segment_opener.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tiers/cold/layout.h"
#include "tiers/record/record.h"

namespace cairn::tiers {
namespace {

constexpr Duration kFilesRetry = Duration::seconds(1);  // on a full disk

std::uint32_t number(const Segment& segment) {
  return static_cast<std::uint32_t>(segment.id);
}

/// The file, as long as a segment and allocated, its name on the medium. Index loop.
absl::StatusOr<FileId> make_file(ColdCore& core, SegmentId id, bool exists) {
  const std::string path = segment_path(core.options.directory, id);
  auto file = core.device.open_file(path, exists ? OpenMode::read_write : OpenMode::create);
  if (!file.ok() && !exists) {
    // A file whose row a power cut took away from the index.
    file = core.device.open_file(path, OpenMode::read_write);
  }
  if (!file.ok()) return file.status();
  absl::Status status = core.device.allocate(*file, core.segment_bytes);
  if (status.ok()) status = core.device.sync_directory(segments_path(core.options.directory));
  if (status.ok()) return *file;
  core.device.close_file(*file);
  if (!exists) {
    // It would count against the limit without holding anything.
    core.device.remove_file(path).IgnoreError();  // the next opening finds and reuses it
  }
  return status;
}

}  // namespace

void SegmentOpener::open(Segment& segment, std::uint64_t opened_at_sequence, Done done) {
  CAIRN_CHECK(!core_.read_only);
  CAIRN_CHECK(segment.phase == SegmentPhase::opening);
  if (segment.file != FileId::none) {
    begin_generation(segment, opened_at_sequence, std::move(done));
    return;
  }
  // Also where the file is there: a power cut may have left its name without its length.
  core_.index_loop.post([this, &segment, id = segment.id, exists = segment.has_file,
                         opened_at_sequence, done = std::move(done)]() mutable {
    absl::StatusOr<FileId> file = make_file(core_, id, exists);
    core_.io_loop.post([this, &segment, opened_at_sequence, file = std::move(file),
                        done = std::move(done)]() mutable {
      if (!file.ok()) {
        if (has_code(file.status(), ErrorCode::no_space)) {
          table_.out_of_files();
          // Whoever filled the disk may give the room back, and nobody would tell.
          core_.io_loop.run_at(core_.clock.now() + kFilesRetry, [this, alive = core_.alive] {
            if (*alive) table_.retry_files();
          });
        }
        table_.failed(segment);
        done(with_context(file.status(), concat("make segment ", number(segment))));
        return;
      }
      segment.file = *file;
      segment.has_file = true;
      begin_generation(segment, opened_at_sequence, std::move(done));
    });
  });
}

/// What the file says where the index says less: its row may have been lost. A generation that fell
/// would make records of an earlier use valid again.
void SegmentOpener::learn_generation(Segment& segment, Done done) {
  auto transfer = std::make_unique<Transfer>();
  transfer->kind = IoKind::read;
  transfer->file = segment.file;
  transfer->buffers.push_back(pool_.take(kPage));
  transfer->add(transfer->buffers[0].span());
  transfer->finished = [this, &segment, done = std::move(done)](Transfer& read) {
    if (!read.is_whole()) {
      add(core_.counts.read_errors);
      if (read.error == 0) add(core_.counts.short_transfers);
      done(from_errno(read.error != 0 ? read.error : EIO,
                      concat("read the header of segment ", number(segment))));
      return;
    }
    // A header that does not parse, or of another store, belongs to bytes that are nobody's.
    const auto header = parse_segment_header(read.buffers[0].span());
    if (header.ok() && header->store == core_.store) {
      segment.generation = std::max(segment.generation, header->generation);
    }
    done(absl::OkStatus());
  };
  queue_.submit(std::move(transfer), Lane::foreground);
}

void SegmentOpener::begin_generation(Segment& segment, std::uint64_t opened_at_sequence,
                                     Done done) {
  learn_generation(segment, [this, &segment, opened_at_sequence,
                             done = std::move(done)](const absl::Status& learnt) mutable {
    if (!learnt.ok()) {
      table_.failed(segment);
      done(learnt);
      return;
    }
    ++segment.generation;
    segment.opened_at_sequence = opened_at_sequence;
    write_header(segment, opened_at_sequence,
                 [this, &segment, done = std::move(done)](const absl::Status& status) {
                   if (status.ok()) {
                     table_.opened(segment);
                   } else {
                     table_.failed(segment);
                   }
                   done(status);
                 });
  });
}

void SegmentOpener::write_header(Segment& segment, std::uint64_t opened_at_sequence, Done done) {
  auto transfer = std::make_unique<Transfer>();
  transfer->kind = IoKind::write;
  transfer->file = segment.file;
  transfer->buffers.push_back(pool_.take(kPage));
  SegmentHeader header;
  header.store = core_.store;
  header.segment = number(segment);
  header.generation = segment.generation;
  header.segment_bytes = core_.segment_bytes;
  header.opened_at_sequence = opened_at_sequence;
  encode_segment_header(header, transfer->buffers[0].span());
  transfer->add(transfer->buffers[0].span());
  transfer->finished = [this, &segment, done = std::move(done)](Transfer& written) mutable {
    add(core_.counts.media_bytes_written, written.transferred);
    if (!written.is_whole()) {
      const absl::Status status =
          from_errno(written.error != 0 ? written.error : EIO,
                     concat("write the header of segment ", number(segment)));
      add(core_.counts.write_errors);
      if (written.error == 0) add(core_.counts.short_transfers);
      core_.writes.write_failed(status);
      done(status);
      return;
    }
    auto sync = std::make_unique<Transfer>();
    sync->kind = IoKind::sync;
    sync->file = segment.file;
    sync->finished = [this, &segment, done = std::move(done)](Transfer& synced) mutable {
      if (synced.error == 0) {
        done(absl::OkStatus());
        return;
      }
      // The file is worth nothing now, and holds nothing: it is made anew.
      const absl::Status status =
          from_errno(synced.error, concat("sync the header of segment ", number(segment)));
      add(core_.counts.sync_failures);
      add(core_.counts.poisoned_segments);
      core_.writes.write_failed(status);
      segment.poisoned = true;
      remove(segment, [status, done = std::move(done)](const absl::Status&) { done(status); });
    };
    queue_.submit(std::move(sync), Lane::foreground);
  };
  queue_.submit(std::move(transfer), Lane::foreground);
}

void SegmentOpener::free(Segment& segment, Done done) {
  CAIRN_CHECK(!core_.read_only);
  CAIRN_CHECK(segment.phase == SegmentPhase::freeing);
  if (segment.poisoned || !segment.has_file || table_.has_more_files_than_limit()) {
    remove(segment, [this, &segment, done = std::move(done)](const absl::Status& status) {
      if (status.ok()) {
        table_.freed(segment, false);
      } else {
        table_.give_up_cleaning(segment);
      }
      done(status);
    });
    return;
  }
  const absl::Status opened = ensure_file(segment);
  if (!opened.ok()) {
    if (has_code(opened, ErrorCode::corruption)) {  // gone already
      table_.freed(segment, false);
      done(absl::OkStatus());
      return;
    }
    table_.give_up_cleaning(segment);
    done(opened);
    return;
  }
  // A page that cannot be read says nothing, and is overwritten all the same.
  learn_generation(segment, [this, &segment, done = std::move(done)](const absl::Status&) mutable {
    ++segment.generation;
    write_header(segment, 0, [this, &segment, done = std::move(done)](const absl::Status& status) {
      if (status.ok()) {
        table_.freed(segment, true);
      } else if (!segment.has_file) {  // poisoned and removed on the way
        table_.freed(segment, false);
      } else {
        table_.give_up_cleaning(segment);
      }
      done(status);
    });
  });
}

void SegmentOpener::remove(Segment& segment, Done done) {
  const FileId file = segment.file;
  segment.file = FileId::none;
  core_.index_loop.post([this, &segment, id = segment.id, file, done = std::move(done)]() mutable {
    if (file != FileId::none) core_.device.close_file(file);
    absl::Status status = core_.device.remove_file(segment_path(core_.options.directory, id));
    if (has_code(status, ErrorCode::not_found)) status = absl::OkStatus();
    if (status.ok()) status = core_.device.sync_directory(segments_path(core_.options.directory));
    core_.io_loop.post([&segment, status, done = std::move(done)] {
      if (status.ok()) segment.has_file = false;
      done(status);
    });
  });
}

absl::Status SegmentOpener::ensure_file(Segment& segment) {
  if (segment.file != FileId::none) return absl::OkStatus();
  auto file = core_.device.open_file(segment_path(core_.options.directory, segment.id),
                                     core_.read_only ? OpenMode::read : OpenMode::read_write);
  if (!file.ok()) {
    if (has_code(file.status(), ErrorCode::not_found)) {
      return make_error(ErrorCode::corruption, concat("segment ", number(segment), " is missing"));
    }
    return file.status();
  }
  segment.file = *file;
  return absl::OkStatus();
}

void SegmentOpener::close_files() {
  table_.for_each([&](Segment& segment) {
    if (segment.file != FileId::none) core_.device.close_file(segment.file);
    segment.file = FileId::none;
  });
}

}  // namespace cairn::tiers
