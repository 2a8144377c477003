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
//   free:  write header  →  sync             (poisoned, or too many files: remove the file)
//
// Threading:  confined to the I/O loop; what blocks is done on the index loop.
// Blocking:   never.
// Failure:    open: `no_space` (no room for another file), `io`. A failed sync poisons.
#pragma once

#include <functional>

#include "tiers/cold/cold_core.h"
#include "tiers/cold/io_queue.h"
#include "tiers/cold/segment_table.h"

namespace cairn::tiers {

class SegmentOpener {
 public:
  using Done = std::function<void(const absl::Status&)>;

  SegmentOpener(ColdCore& core, SegmentTable& table, IoQueue& queue, BufferPool& pool)
      : core_(core), table_(table), queue_(queue), pool_(pool) {}

  /// From phase `opening` to `open`, or back to `free`.
  void open(Segment& segment, std::uint64_t opened_at_sequence, Done done);
  /// From phase `freeing` to `free`, or back to `sealed`.
  void free(Segment& segment, Done done);
  /// Opens the file for transfers. Fails with `corruption` where it is gone.
  absl::Status ensure_file(Segment& segment);
  void close_files();

 private:
  void read_header(Segment& segment, std::uint64_t opened_at_sequence, Done done);
  void write_header(Segment& segment, std::uint64_t opened_at_sequence, Done done);
  void remove(Segment& segment, Done done);

  ColdCore& core_;
  SegmentTable& table_;
  IoQueue& queue_;
  BufferPool& pool_;
};

}  // namespace cairn::tiers
