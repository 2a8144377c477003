// SPDX-License-Identifier: Apache-2.0
// segment_opener.h — makes a segment ready to be appended to, or free to be used again.
//
// Opening: the file is made and allocated where there is none; its generation becomes one
// more than both what the index and what the file's own header say, so that bytes which a
// power cut left behind can never carry the generation of new ones; the header is written
// and synced before the first record. Freeing: a header of a newer generation is written and
// synced, after which nothing that lies in the file can be taken for a record again.
//
//   open:  [make, allocate, sync directory]  →  read header  →  write header  →  sync
//   resume: read footer  →  row `open` on the medium  →  take the footer off  →  sync
//   free:  write header  →  sync             (poisoned, or too many files: remove the file)
//
// Threading:  confined to the I/O loop; what blocks is done on the index loop.
// Blocking:   never.
// Failure:    open: `no_space` (no room for another file), `io`. A failed sync poisons.
#pragma once

#include <functional>
#include <utility>

#include "tiers/cold/cold_core.h"
#include "tiers/cold/io_queue.h"
#include "tiers/cold/segment_table.h"
#include "tiers/record/format.h"

namespace cairn::tiers {

class SegmentOpener {
 public:
  using Done = std::function<void(const absl::Status&)>;

  SegmentOpener(ColdCore& core, SegmentTable& table, IoQueue& queue, BufferPool& pool)
      : core_(core), table_(table), queue_(queue), pool_(pool) {}

  /// From phase `opening` to `open`, or back to `free`.
  void open(Segment& segment, std::uint64_t opened_at_sequence, Done done);
  /// From phase `sealed` to `open`, with the headers that its footer lists, or back.
  void resume(Segment& segment, Done done);
  /// From phase `freeing` to `free`, or back to `sealed`.
  void free(Segment& segment, Done done);
  /// Opens the file for transfers. Fails with `corruption` where it is gone.
  absl::Status ensure_file(Segment& segment);
  void close_files();
  /// How a segment is synced: by SegmentSync, which is made later.
  void set_sync(std::function<void(Segment&, SyncDone)> sync) { sync_ = std::move(sync); }

 private:
  void learn_generation(Segment& segment, Done done);
  void begin_generation(Segment& segment, std::uint64_t opened_at_sequence, Done done);
  void write_header(Segment& segment, std::uint64_t opened_at_sequence, Done done);
  void remove(Segment& segment, Done done);
  // resuming (segment_resume.cc)
  void read_listed(Segment& segment, const SegmentFooter& footer, Done done);
  void tell_open(Segment& segment, Done done);
  void take_footer_off(Segment& segment, Done done);
  void give_up_resuming(Segment& segment, const absl::Status& status, const Done& done);

  ColdCore& core_;
  SegmentTable& table_;
  IoQueue& queue_;
  BufferPool& pool_;
  std::function<void(Segment&, SyncDone)> sync_;
};

}  // namespace cairn::tiers
