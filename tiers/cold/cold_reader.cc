// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/cold_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/text.h"
#include "tiers/cold/cold_reader_impl.h"
#include "tiers/cold/layout.h"

namespace cairn::tiers {
namespace {

constexpr int kAttemptsMax = 3;
/// Bytes between two records that are cheaper to read than to leave out.
constexpr std::uint64_t kGapBytesMax = 16 * kKiB;

std::uint64_t round_down_to_page(std::uint64_t offset) {
  return offset / kPage * kPage;
}

}  // namespace

ColdReader::ColdReader(ColdCore& core, SegmentTable& table, IoQueue& queue, BufferPool& pool,
                       SegmentOpener& opener, CodecPool& codec, Hooks hooks)
    : core_(core),
      table_(table),
      queue_(queue),
      pool_(pool),
      opener_(opener),
      codec_(codec),
      hooks_(std::move(hooks)) {}

ColdReader::~ColdReader() {
  CAIRN_CHECK(requests_in_flight_ == 0);
}

std::shared_ptr<ColdReader::Job> ColdReader::begin(std::size_t items, Done done) {
  auto job = std::make_shared<Job>();
  job->items.resize(items);
  job->left = items + 1;  // one for ourselves, so that nothing ends while we plan
  job->done = std::move(done);
  for (Item& item : job->items) item.job = job;
  return job;
}

void ColdReader::read(std::span<TierRead> batch, Done done) {
  const std::shared_ptr<Job> job = begin(batch.size(), std::move(done));
  const TimePoint now = core_.clock.now();
  std::vector<Item*> wanted;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Item& item = job->items[i];
    item.read = &batch[i];
    item.place = unpack_location(batch[i].location);
    if (batch[i].deadline <= now) {
      finish(item,
             make_error(ErrorCode::deadline, "the deadline had passed before the read began"));
      continue;
    }
    if (const absl::Status inside = check_part(batch[i]); !inside.ok()) {
      finish(item, inside);
      continue;
    }
    if (batch[i].location.is_null() ||
        !core_.namespaces.find(batch[i].name.namespace_id, item.facts)) {
      finish(item, make_error(ErrorCode::corruption, "nothing is stored under that location"));
      continue;
    }
    const RecordLayout layout =
        lay_out_record(batch[i].name.key.size(), batch[i].payload_bytes(), item.facts.chunk_bytes);
    item.header_bytes = layout.header_length;
    if (batch[i].is_part() && item.place.record_bytes >= kLargePayload) {
      item.step = ReadStep::header;
    }
    item.payload_offset = layout.payload_offset;
    item.direct = !batch[i].is_part() && batch[i].destination.size() >= kLargePayload &&
                  batch[i].deadline == TimePoint::never() &&
                  layout.total_bytes == item.place.record_bytes &&
                  reinterpret_cast<std::uintptr_t>(batch[i].destination.data()) % kIoAlignment == 0;
    set_deadline(item);
    wanted.push_back(&item);
  }
  plan(job, wanted);
  if (--job->left == 0) job->done();
}

void ColdReader::read_images(std::span<ImageRead> batch, Done done) {
  const std::shared_ptr<Job> job = begin(batch.size(), std::move(done));
  std::vector<Item*> wanted;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Item& item = job->items[i];
    item.image = &batch[i];
    item.image->image.reset();
    item.place = unpack_location(batch[i].location);
    if (batch[i].location.is_null() ||
        !core_.namespaces.find(batch[i].name.namespace_id, item.facts)) {
      finish(item, make_error(ErrorCode::corruption, "nothing is stored under that location"));
      continue;
    }
    wanted.push_back(&item);
  }
  plan(job, wanted);
  if (--job->left == 0) job->done();
}

/// Cuts the items, in their order, into requests of neighbours.
void ColdReader::plan(const std::shared_ptr<Job>& job, std::span<Item* const> items) {
  std::shared_ptr<Request> request;
  for (Item* item : items) {
    // Whole pages that are its own: a large record.
    if (item->image != nullptr) {
      item->direct = item->place.offset % kPage == 0 && item->place.record_bytes % kPage == 0;
    }
    if (item->step == ReadStep::chunks) item->step = ReadStep::header;  // once more
    Segment* segment = item->place.device == 0 ? table_.find(item->place.segment) : nullptr;
    const bool inside = segment != nullptr && segment->is_readable() &&
                        item->end() <= core_.segment_bytes && item->place.offset >= kPage &&
                        item->place.record_bytes > 0;
    if (!inside) {
      ask_index(job, *item,
                make_error(ErrorCode::corruption, "the segment of that location is not in use"));
      continue;
    }
    if (request != nullptr) {
      const Item& last = *request->items.back();
      const bool near = request->segment == segment && request->direct == item->direct &&
                        last.step == ReadStep::whole && item->step == ReadStep::whole &&
                        item->place.offset >= last.end() &&
                        item->place.offset - last.end() <= (item->direct ? 0 : kGapBytesMax) &&
                        item->end() - request->items.front()->place.offset <= kExtentBytesMax;
      if (!near) {
        start(request);
        request.reset();
      }
    }
    if (request == nullptr) {
      request = std::make_shared<Request>();
      request->job = job;
      request->segment = segment;
      request->direct = item->direct;
    }
    request->items.push_back(item);
  }
  if (request != nullptr) start(request);
}

ColdReader::Extent ColdReader::extent(const Item& item) {
  const std::uint64_t begin = item.place.offset;
  switch (item.step) {
    case ReadStep::whole:
      return {begin, item.end()};
    case ReadStep::header:
      return {begin, std::min(begin + item.header_bytes, item.end())};
    case ReadStep::chunks: {
      const StoredRange stored = stored_range(item.fields, item.chunks(item.fields));
      const std::uint64_t first = begin + item.fields.payload_offset + stored.offset;
      return {first, first + stored.bytes};
    }
  }
  CAIRN_UNREACHABLE();
}

void ColdReader::start(const std::shared_ptr<Request>& request) {
  Segment& segment = *request->segment;
  if (const absl::Status opened = opener_.ensure_file(segment); !opened.ok()) {
    for (Item* item : request->items) ask_index(request->job, *item, opened);
    return;
  }
  auto transfer = std::make_unique<Transfer>();
  transfer->kind = IoKind::read;
  transfer->file = segment.file;
  transfer->offset = round_down_to_page(extent(*request->items.front()).begin);
  const std::uint64_t bytes =
      round_up(extent(*request->items.back()).end, kPage) - transfer->offset;
  if (!request->direct) {
    transfer->buffers.push_back(pool_.take(bytes));
    transfer->add(transfer->buffers[0].span().first(bytes));
  } else {
    for (Item* item : request->items) {
      if (item->image != nullptr) {
        item->memory = std::make_shared<AlignedBuffer>(item->place.record_bytes);
        transfer->add(item->memory->span());
        continue;
      }
      const MutableByteSpan destination = item->read->destination;
      const std::size_t whole = destination.size() / kPage * kPage;
      transfer->buffers.push_back(pool_.take(item->payload_offset));
      transfer->add(transfer->buffers.back().span());
      transfer->add(destination.first(whole));
      if (whole < destination.size()) {
        transfer->buffers.push_back(pool_.take(kPage));
        transfer->add(transfer->buffers.back().span());
      }
    }
  }
  ++segment.reads_in_flight;
  ++requests_in_flight_;
  core_.codec_choice.disk_began(core_.clock.now());
  transfer->finished = [this, request](Transfer& done) { finished(request, done); };
  queue_.submit(std::move(transfer), Lane::foreground);
}

void ColdReader::finished(const std::shared_ptr<Request>& request, Transfer& transfer) {
  Segment& segment = *request->segment;
  --requests_in_flight_;
  --segment.reads_in_flight;
  core_.codec_choice.disk_ended(core_.clock.now(), transfer.error == 0 ? transfer.transferred : 0);
  if (!transfer.is_whole()) {
    if (transfer.error == 0) add(core_.counts.short_transfers);
    add(core_.counts.read_errors);
    if (request->items.size() > 1) {
      for (Item* item : request->items) {
        if (!item->done) plan(request->job, std::span<Item* const>(&item, 1));
      }
    } else {
      Item& item = *request->items.front();
      const std::string what =
          concat("read segment ", static_cast<std::uint32_t>(segment.id), " @ ", item.place.offset);
      if (transfer.error != 0) {
        finish(item, from_errno(transfer.error, what));
      } else if (is_cut_short(segment, transfer)) {
        ask_index(request->job, item,
                  make_error(ErrorCode::corruption, concat(what, ": the file ends before it")));
      } else {
        finish(item, make_error(ErrorCode::io, concat(what, ": short read")));
      }
    }
  } else {
    std::size_t buffer = 0;
    // Shared with the codec's threads, as long as they need it; they never drop it last.
    std::shared_ptr<Buffer> whole;
    if (!request->direct) whole = std::make_shared<Buffer>(std::move(transfer.buffers[0]));
    for (Item* item : request->items) {
      ByteSpan record;
      MutableByteSpan tail;
      if (!request->direct) {
        if (item->done) continue;  // its deadline has passed, and its header is gone
        const Extent lies = extent(*item);
        record =
            ByteSpan(whole->span()).subspan(lies.begin - transfer.offset, lies.end - lies.begin);
        if (item->image != nullptr) record = keep(*item, record);
      } else if (item->image != nullptr) {
        record = item->memory->span();
      } else {
        record = transfer.buffers[buffer++].span();
        if (item->read->destination.size() % kPage != 0) tail = transfer.buffers[buffer++].span();
      }
      if (item->done) continue;  // its deadline has passed
      if (item->step == ReadStep::chunks) {
        deliver_chunks(request, *item, item->fields, record, whole);
        continue;
      }
      if (!tail.empty()) {
        const MutableByteSpan destination = item->read->destination;
        const std::size_t rest = destination.size() % kPage;
        std::memcpy(destination.data() + destination.size() - rest, tail.data(), rest);
      }
      const absl::StatusOr<RecordFields> fields = check(*item, record);
      if (request->direct && item->is_encoded) {
        item->direct = false;
        plan(request->job, std::span<Item* const>(&item, 1));
      } else if (!fields.ok()) {
        ask_index(request->job, *item, fields.status());
      } else if (item->step == ReadStep::header) {
        read_chunks(request, *item, *fields, whole);
      } else {
        deliver(request, *item, *fields, record, whole);
      }
    }
  }
  if (segment.reads_in_flight == 0) hooks_.quiet(segment);
}

/// Bytes behind the end of a file are gone and bad; all others may come with the next try. Asks the
/// file system on the I/O loop, which nothing but a read that failed does.
bool ColdReader::is_cut_short(const Segment& segment, const Transfer& transfer) const {
  const auto file = core_.device.info(segment_path(core_.options.directory, segment.id));
  return file.ok() && file->bytes < transfer.offset + transfer.requested();
}

/// All but the payload.
absl::StatusOr<RecordFields> ColdReader::check(Item& item, ByteSpan record) const {
  const bool in_place = item.read != nullptr && item.direct;
  CAIRN_ASSIGN_OR_RETURN(const RecordFields fields, parse_record_header(record));
  if (in_place && fields.codec != Codec::none) {
    // It has shrunk by less than records are rounded to, so its length did not tell.
    item.is_encoded = true;
    return make_error(ErrorCode::corruption, "an encoded record was read in place");
  }
  const Segment& segment = *table_.find(item.place.segment);
  CAIRN_RETURN_IF_ERROR(check_place(fields, {.store = core_.store,
                                             .segment = item.place.segment,
                                             .generation = segment.generation,
                                             .offset = item.place.offset}));
  CAIRN_RETURN_IF_ERROR(check_name(fields, item.name()));
  const bool is_where_it_was_read =
      in_place
          ? fields.payload_offset == item.payload_offset
          : fields.payload_offset + std::uint64_t{fields.payload_length} <= item.place.record_bytes;
  const bool same = fields.kind == RecordKind::block && fields.epoch == item.facts.epoch &&
                    fields.sequence == item.sequence() && is_where_it_was_read &&
                    (item.image != nullptr || fields.plain_length == item.read->payload_bytes());
  if (!same) return make_error(ErrorCode::corruption, "another version is stored there");
  return fields;
}

void ColdReader::ask_index(const std::shared_ptr<Job>& job, Item& item, absl::Status why) {
  if (item.done) return;
  if (++item.attempts >= kAttemptsMax) {
    finish(item, why);
    return;
  }
  // The name is the caller's until done, and a deadline may run out first.
  core_.index_loop.post([this, job, &item, why = std::move(why), name = item.name(),
                         key = std::string(item.name().key)]() mutable {
    name.key = key;
    auto entry = core_.index->get(name);
    core_.io_loop.post([this, job, &item, why = std::move(why), entry = std::move(entry)] {
      answer(job, item, why, entry);
    });
  });
}

void ColdReader::answer(const std::shared_ptr<Job>& job, Item& item, const absl::Status& why,
                        const absl::StatusOr<std::optional<IndexEntry>>& entry) {
  if (item.done) return;
  const bool is_named = entry.ok() && entry->has_value() && !(*entry)->tombstone &&
                        (*entry)->epoch == item.facts.epoch &&
                        (*entry)->facts.sequence == item.sequence();
  if (!is_named) {  // removed or replaced meanwhile: nobody's fault
    finish(item, has_code(why, ErrorCode::corruption)
                     ? why
                     : make_error(ErrorCode::corruption, message_of(why)));
    return;
  }
  if (const Place now = unpack_location((*entry)->location); now != item.place) {
    item.place = now;
    Item* again = &item;
    plan(job, std::span<Item* const>(&again, 1));
    return;
  }
  if (!has_code(why, ErrorCode::io)) {
    add(core_.counts.corruptions);
    if (Segment* segment = table_.find(item.place.segment); segment != nullptr)
      hooks_.corrupted(*segment);
  }
  finish(item, why);
}

void ColdReader::finish(Item& item, absl::Status status) {
  if (item.done) return;
  item.done = true;
  if (item.has_deadline) deadlines_.erase(item.deadline);
  item.has_deadline = false;
  item.header.reset();
  item.status() = std::move(status);
  const std::shared_ptr<Job> job = std::move(item.job);
  if (--job->left == 0) job->done();
}

void ColdReader::set_deadline(Item& item) {
  if (item.read == nullptr || item.read->deadline == TimePoint::never()) return;
  item.deadline = deadlines_.emplace(item.read->deadline, &item);
  item.has_deadline = true;
  arm_deadline();
}

void ColdReader::arm_deadline() {
  if (deadlines_.empty()) return;
  const TimePoint first = deadlines_.begin()->first;
  if (armed_for_ <= first) return;
  armed_for_ = first;
  core_.io_loop.run_at(first, [this, alive = core_.alive] {
    if (*alive) expire();
  });
}

void ColdReader::expire() {
  armed_for_ = TimePoint::never();
  const TimePoint now = core_.clock.now();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Item* item = deadlines_.begin()->second;
    const std::shared_ptr<Job> job = item->job;
    finish(*item, make_error(ErrorCode::deadline, "the device did not answer in time"));
  }
  arm_deadline();
}

}  // namespace cairn::tiers
