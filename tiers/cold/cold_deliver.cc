// SPDX-License-Identifier: Apache-2.0
// The end of a read: from a record whose header is sound to the caller's bytes, or to an image.
#include <algorithm>
#include <cstring>
#include <utility>

#include "tiers/cold/cold_reader_impl.h"
#include "tiers/record/stored_image.h"

namespace cairn::tiers {

/// The header is sound. Asks for the chunks at once: while a read is under way the segment stays.
void ColdReader::read_chunks(const std::shared_ptr<Request>& request, Item& item,
                             const RecordFields& fields, const std::shared_ptr<Buffer>& header) {
  if (item.chunks(fields).count() == 0) {
    finish(item, absl::OkStatus());
    return;
  }
  item.step = ReadStep::chunks;
  item.header = header;
  item.fields = fields;
  auto next = std::make_shared<Request>();
  next->job = request->job;
  next->segment = request->segment;
  next->items.push_back(&item);
  start(next);
}

/// The payload of a record that was read whole.
void ColdReader::deliver(const std::shared_ptr<Request>& request, Item& item,
                         const RecordFields& fields, ByteSpan record,
                         const std::shared_ptr<Buffer>& buffer) {
  if (item.image != nullptr) {
    lend(request, item, fields, record.subspan(fields.payload_offset, fields.payload_length));
    return;
  }
  if (request->direct) {
    const absl::Status status = check_payload(fields, item.read->destination);
    if (status.ok()) {
      finish(item, status);
    } else {
      ask_index(request->job, item, status);
    }
    return;
  }
  const StoredRange wanted = stored_range(fields, item.chunks(fields));
  deliver_chunks(request, item, fields,
                 record.subspan(fields.payload_offset + wanted.offset, wanted.bytes), buffer);
}

/// What the wanted chunks take: checked, and where it belongs.
void ColdReader::deliver_chunks(const std::shared_ptr<Request>& request, Item& item,
                                const RecordFields& fields, ByteSpan stored,
                                const std::shared_ptr<Buffer>& buffer) {
  const ChunkRange chunks = item.chunks(fields);
  if (fields.codec == Codec::none) {
    const absl::Status status =
        copy_part(fields, stored, chunks, item.read->offset, item.read->destination);
    if (status.ok()) {
      finish(item, status);
    } else {
      ask_index(request->job, item, status);
    }
    return;
  }
  if (item.has_deadline) deadlines_.erase(item.deadline);
  item.has_deadline = false;
  auto decoding = std::make_shared<Decoding>();
  decoding->job = request->job;
  decoding->item = &item;
  decoding->fields = fields;
  decoding->chunks = chunks;
  decoding->stored = stored;
  decoding->buffer = buffer;
  core_.codec_choice.decoding_began(core_.clock.now());
  decode(decoding);
}

/// An image: its sums are checked, and it is the caller's.
void ColdReader::lend(const std::shared_ptr<Request>& request, Item& item,
                      const RecordFields& fields, ByteSpan stored) {
  auto decoding = std::make_shared<Decoding>();
  decoding->job = request->job;
  decoding->item = &item;
  decoding->fields = fields;
  decoding->chunks = item.chunks(fields);
  decoding->stored = stored;
  decode(decoding);
}

/// Cuts the payload into pieces and hands them to the codec's threads.
void ColdReader::decode(const std::shared_ptr<Decoding>& decoding) {
  const TierRead* const read = decoding->item->read;
  const std::size_t plain_bytes =
      read != nullptr ? read->destination.size() : decoding->fields.plain_length;
  const std::vector<ChunkRange> pieces =
      share_chunks(decoding->chunks, plain_bytes, codec_.width());
  if (pieces.empty()) {
    decoded(decoding);
    return;
  }
  decoding->statuses.resize(pieces.size());
  decoding->left.store(pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    codec_.submit([this, decoding, range = pieces[i], i](CodecWorker& worker) mutable {
      decoding->statuses[i] = decode_range(*decoding, range, worker);
      const std::shared_ptr<Decoding> mine = std::move(decoding);
      // The I/O loop has to drop the buffer, so whoever is last hands over all there is.
      if (mine->left.fetch_sub(1) == 1) {
        core_.io_loop.post([this, mine] { decoded(mine); });
      }
    });
  }
}

absl::Status ColdReader::decode_range(const Decoding& decoding, ChunkRange range,
                                      CodecWorker& worker) {
  if (decoding.item->image != nullptr) {
    return check_chunks(decoding.fields, decoding.stored, range);
  }
  const RecordFields& fields = decoding.fields;
  const TierRead& read = *decoding.item->read;
  const std::uint32_t begins = stored_range(fields, decoding.chunks).offset;
  const StoredRange stored = stored_range(fields, range);
  return decode_part(worker.decoder(fields.chunk_bytes), fields,
                     decoding.stored.subspan(stored.offset - begins, stored.bytes), range,
                     read.offset, read.destination,
                     worker.scratch(read.is_part() ? fields.chunk_bytes : 0));
}

void ColdReader::decoded(const std::shared_ptr<Decoding>& decoding) {
  // A thread that was not the last may hold it a moment longer, and must not drop these.
  decoding->buffer.reset();
  const std::shared_ptr<Job> job = std::move(decoding->job);
  Item& item = *decoding->item;
  const auto failed = std::find_if(decoding->statuses.begin(), decoding->statuses.end(),
                                   [](const absl::Status& status) { return !status.ok(); });
  const bool is_whole = failed == decoding->statuses.end();
  if (item.image == nullptr) {
    core_.codec_choice.decoding_ended(core_.clock.now(),
                                      is_whole ? item.read->destination.size() : 0);
  } else if (is_whole) {
    auto image = std::make_shared<StoredImage>();
    image->fields = decoding->fields;
    if (!decoding->stored.empty()) image->payload.push_back(decoding->stored);
    image->hold = std::move(item.memory);
    item.image->image = std::move(image);
  }
  if (is_whole) {
    finish(item, absl::OkStatus());
    return;
  }
  set_deadline(item);
  ask_index(job, item, *failed);
}

/// An image that shared a buffer gets memory of its own: it may stay longer than its neighbours.
ByteSpan ColdReader::keep(Item& item, ByteSpan record) {
  item.memory = std::make_shared<AlignedBuffer>(record.size());
  std::memcpy(item.memory->data(), record.data(), record.size());
  return ByteSpan(item.memory->span()).first(record.size());
}

}  // namespace cairn::tiers
