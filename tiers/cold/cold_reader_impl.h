// SPDX-License-Identifier: Apache-2.0
// cold_reader_impl.h — what a ColdReader has under way. Private to cold_reader.cc and
// cold_deliver.cc.
//
// Threading:  confined to the I/O loop, but for what Decoding says.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "tiers/cold/buffer_pool.h"
#include "tiers/cold/cold_reader.h"
#include "tiers/io/aligned_buffer.h"

namespace cairn::tiers {

/// Bytes of a segment.
struct ColdReader::Extent {
  std::uint64_t begin = 0, end = 0;
};

/// What of a record the next request reads.
enum class ReadStep : std::uint8_t {
  whole,
  header,  // of a large record of which a part is wanted
  chunks,  // then those of the part
};

/// One block of a batch: to be read, or to be lent as it is stored.
struct ColdReader::Item {
  TierRead* read = nullptr;
  ImageRead* image = nullptr;  // instead
  std::shared_ptr<Job> job;    // while unfinished
  Place place;
  NamespaceFacts facts;
  bool direct = false;                    // not through a buffer that it shares with neighbours
  bool is_encoded = false;                // as was seen when it was read directly
  std::uint32_t payload_offset = 0;       // where it is read directly
  std::shared_ptr<AlignedBuffer> memory;  // an image's record
  ReadStep step = ReadStep::whole;
  std::uint32_t header_bytes = 0;  // where it is read first
  std::shared_ptr<Buffer> header;  // while the chunks are read and decoded; `fields` borrows it
  RecordFields fields;
  bool done = false;
  int attempts = 0;
  Deadlines::iterator deadline;
  bool has_deadline = false;

  std::uint64_t end() const { return place.offset + place.record_bytes; }
  /// The chunks that are wanted.
  ChunkRange chunks(const RecordFields& of) const {
    return read == nullptr ? ChunkRange{0, of.chunk_count()}
                           : chunks_of(of, read->offset, read->destination.size());
  }
  const BlockName& name() const { return read != nullptr ? read->name : image->name; }
  std::uint64_t sequence() const { return read != nullptr ? read->sequence : image->sequence; }
  absl::Status& status() { return read != nullptr ? read->status : image->status; }
};

struct ColdReader::Job {
  std::vector<Item> items;
  std::size_t left = 0;
  Done done;
};

/// One payload with the codec's threads. They read the fields, whose spans are of the buffer (of an
/// image's memory), and write the destination, where there is one; the rest is the I/O loop's.
struct ColdReader::Decoding {
  std::shared_ptr<Job> job;
  Item* item = nullptr;
  RecordFields fields;
  ChunkRange chunks;
  ByteSpan stored;  // what those take
  std::shared_ptr<Buffer> buffer;
  std::vector<absl::Status> statuses;  // by piece
  std::atomic<std::size_t> left{0};
};

struct ColdReader::Request {
  std::shared_ptr<Job> job;
  Segment* segment = nullptr;
  std::vector<Item*> items;
  bool direct = false;
};

}  // namespace cairn::tiers
