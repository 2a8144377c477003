// SPDX-License-Identifier: Apache-2.0
// cold_reader.h — reads blocks and believes nothing it has not checked.
//
// Elements of a batch that lie side by side in a segment are one request of up to 8 MiB. A
// large block without a deadline is read straight into its destination (header and tail into
// pages of ours); every other one through a buffer of ours. The reason is the contract: done
// must run at the deadline though the disk hangs, and after done the destination is the
// caller's again, so the device may not be writing into it. The copy costs one pass over the
// bytes, while the checksum has them in cache.
//
// What the codec has made smaller is read into a buffer, and its chunks are checked and decoded by
// the codec's threads, straight into the destination. A deadline that strikes meanwhile waits for
// them, a matter of a millisecond: they do not stop in the middle.
//
// A part of a large record takes two reads, each of whole pages: of its header, which says where
// the chunks begin, and of those that the part lies in. The second is asked for in the same moment
// in which the first has come, so the segment is not reused between them. Small records are read
// whole. Either way only the chunks that are wanted are checked, decoded and copied.
//
// What is asked for as an image goes the same way, but is not decoded: its sums are checked by the
// codec's threads. It lies in memory of its own, never in a buffer of the pool's, because nobody
// knows for how long: large records are read straight there, small ones are copied there from the
// buffer of their request.
//
// Checked before a byte is given: header sum, store, segment, generation, offset, kind,
// namespace, epoch, full key, part, sequence, length, and every chunk's sum.
//
// What fails is looked up in the index before anybody is blamed: if the block has moved, it is
// read from where it is now; if it is gone, that is `corruption` for the caller (who held an
// old location) and nothing more; only a block that the index still names there is counted,
// and too many of them quarantine their segment.
//
// Threading:  confined to the I/O loop.
// Blocking:   never.
// Failure:    per element: `corruption`, `io`, `deadline`, `closed`. A request of several
//             that fails is tried once more one by one, so that a bad sector costs one block.
// Lifetime:   a request that outlives its deadline keeps its buffers until the device is done.
//
// Invariants: an element finishes once; a destination is not touched after that; reads in
//             flight of a segment count requests, hung ones included.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "engine/tier.h"
#include "tiers/codec/codec_pool.h"
#include "tiers/cold/cold_core.h"
#include "tiers/cold/io_queue.h"
#include "tiers/cold/location.h"
#include "tiers/cold/segment_opener.h"
#include "tiers/cold/segment_table.h"
#include "tiers/record/payload_codec.h"
#include "tiers/record/record.h"

namespace cairn::tiers {

class ColdReader {
 public:
  struct Hooks {
    std::function<void(Segment&)> corrupted;  // a block that should be there is not
    std::function<void(Segment&)> quiet;      // its last read has ended
  };
  ColdReader(ColdCore& core, SegmentTable& table, IoQueue& queue, BufferPool& pool,
             SegmentOpener& opener, CodecPool& codec, Hooks hooks);
  ~ColdReader();

  void read(std::span<TierRead> batch, Done done);
  /// Each image has memory of its own, which may outlive the tier.
  void read_images(std::span<ImageRead> batch, Done done);
  /// Requests at the device, hung ones included.
  std::size_t requests_in_flight() const { return requests_in_flight_; }

 private:
  struct Job;
  struct Item;
  struct Request;
  struct Decoding;
  struct Extent;
  using Deadlines = std::multimap<TimePoint, Item*>;

  static std::shared_ptr<Job> begin(std::size_t items, Done done);
  void plan(const std::shared_ptr<Job>& job, std::span<Item* const> items);
  static Extent extent(const Item& item);
  void start(const std::shared_ptr<Request>& request);
  void finished(const std::shared_ptr<Request>& request, Transfer& transfer);
  bool is_cut_short(const Segment& segment, const Transfer& transfer) const;
  static ByteSpan keep(Item& item, ByteSpan record);
  absl::StatusOr<RecordFields> check(Item& item, ByteSpan record) const;
  void read_chunks(const std::shared_ptr<Request>& request, Item& item, const RecordFields& fields,
                   const std::shared_ptr<Buffer>& header);
  void deliver(const std::shared_ptr<Request>& request, Item& item, const RecordFields& fields,
               ByteSpan record, const std::shared_ptr<Buffer>& buffer);
  void deliver_chunks(const std::shared_ptr<Request>& request, Item& item,
                      const RecordFields& fields, ByteSpan stored,
                      const std::shared_ptr<Buffer>& buffer);
  void lend(const std::shared_ptr<Request>& request, Item& item, const RecordFields& fields,
            ByteSpan stored);
  void decode(const std::shared_ptr<Decoding>& decoding);
  static absl::Status decode_range(const Decoding& decoding, ChunkRange range, CodecWorker& worker);
  void decoded(const std::shared_ptr<Decoding>& decoding);
  void ask_index(const std::shared_ptr<Job>& job, Item& item, absl::Status why);
  void answer(const std::shared_ptr<Job>& job, Item& item, const absl::Status& why,
              const absl::StatusOr<std::optional<IndexEntry>>& entry);
  void finish(Item& item, absl::Status status);
  void set_deadline(Item& item);
  void arm_deadline();
  void expire();

  ColdCore& core_;
  SegmentTable& table_;
  IoQueue& queue_;
  BufferPool& pool_;
  SegmentOpener& opener_;
  CodecPool& codec_;
  Hooks hooks_;
  std::size_t requests_in_flight_ = 0;
  Deadlines deadlines_;
  TimePoint armed_for_ = TimePoint::never();
};

}  // namespace cairn::tiers
