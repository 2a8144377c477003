// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/cleaner_job.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace cairn::tiers {
namespace {

constexpr std::uint64_t kBatchBytesMax = 4 * kMiB;
constexpr std::size_t kBatchRecordsMax = 512;
constexpr std::uint64_t kGapBytesMax = 64 * kKiB;

}  // namespace

Verdict Cleaner::Move::decide(const std::optional<IndexEntry>& existing, IndexEntry& out,
                              CounterDelta& delta) {
  static_cast<void>(delta);
  took = existing && existing->location == entry.location &&
         existing->facts.sequence == entry.facts.sequence && existing->tombstone == entry.tombstone;
  if (!took) return Verdict::leave;
  if (forget) return Verdict::erase;
  out = *existing;
  out.location = append.location();
  return Verdict::put;
}

void Cleaner::Move::finished(const absl::Status& result) {
  status = result;
  const auto when = std::move(when_finished);  // the move may be gone before it returns
  when();
}

void Cleaner::Job::add_candidate(const RecordFields& fields) {
  Candidate c;
  c.kind = fields.kind;
  c.namespace_id = fields.namespace_id;
  c.key = std::string(fields.key);
  c.part = fields.part;
  c.epoch = fields.epoch;
  c.sequence = fields.sequence;
  c.note_sequence = fields.note_sequence;
  c.expiry = fields.expiry;
  c.pinned = fields.pinned;
  c.offset = fields.offset;
  c.record_bytes = fields.total_bytes();
  candidates.push_back(std::move(c));
}

void Cleaner::Job::add_candidate(const BlockName& name, const IndexEntry& entry) {
  const Place place = unpack_location(entry.location);
  Candidate c;
  c.kind = entry.tombstone ? RecordKind::tombstone : RecordKind::block;
  c.namespace_id = name.namespace_id;
  c.key = std::string(name.key);
  c.part = name.part;
  c.epoch = entry.epoch;
  c.sequence = entry.facts.sequence;
  c.offset = place.offset;
  c.record_bytes = place.record_bytes;
  candidates.push_back(std::move(c));
}

void Cleaner::Job::sort_candidates() {
  std::sort(candidates.begin() + static_cast<std::ptrdiff_t>(next), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.offset < b.offset; });
}

void Cleaner::Job::start_batch() {
  batch.clear();
  moves.clear();
  block_moves.clear();
  buffers.clear();
  std::uint64_t bytes = 0;
  while (next < candidates.size() && batch.size() < kBatchRecordsMax) {
    const Candidate& candidate = candidates[next];
    if (!batch.empty() && bytes + candidate.record_bytes > kBatchBytesMax) break;
    bytes += candidate.record_bytes;
    batch.push_back(&candidate);
    ++next;
  }
}

std::vector<BlockName> Cleaner::Job::batch_names() const {
  std::vector<BlockName> names;
  names.reserve(batch.size());
  for (const Candidate* candidate : batch) names.push_back(candidate->name());
  return names;
}

void Cleaner::Job::judge(std::size_t i, const IndexEntry& entry, std::uint64_t oldest_opening,
                         bool is_cleared) {
  const Candidate& candidate = *batch[i];
  const Place place = unpack_location(entry.location);
  const bool is_here = place.segment == victim->id && place.offset == candidate.offset;
  bool keep = false;
  bool forget = false;
  switch (candidate.kind) {
    case RecordKind::block:
      keep = is_here && !entry.tombstone;
      break;
    case RecordKind::tombstone:
      keep = is_here && entry.tombstone;
      forget = entry.facts.plain_sum <= oldest_opening;  // its stamp
      break;
    case RecordKind::note:
      // Also where the block lies in this very segment and takes its facts along: an older note may
      // be left in another one, and a repair would take it for the last word.
      keep = !entry.tombstone && entry.facts.sequence == candidate.sequence &&
             entry.facts.expiry == candidate.expiry && entry.facts.pinned == candidate.pinned;
      break;
  }
  if (!keep || (is_cleared && candidate.kind == RecordKind::note)) return;
  forget = forget || is_cleared;
  Move& move = moves.emplace_back();
  move.candidate = &candidate;
  move.name = candidate.name();
  move.entry = entry;
  move.forget = forget;
  move.needs_append = !forget;
  if (move.is_block() && !forget) block_moves.push_back(&move);
}

std::vector<ReadRun> Cleaner::Job::plan_reads() {
  std::sort(block_moves.begin(), block_moves.end(), [](const Move* a, const Move* b) {
    return a->candidate->offset < b->candidate->offset;
  });
  std::vector<ReadRun> runs;
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < block_moves.size(); ++i) {
    const Candidate& c = *block_moves[i]->candidate;
    if (runs.empty() || c.offset > end + kGapBytesMax) {
      runs.push_back({.offset = c.offset / kPage * kPage, .bytes = 0, .first = i, .count = 0});
    }
    // Entries that are wrong may overlap: the run ends where the last of them does.
    end = std::max(end, c.offset + c.record_bytes);
    ReadRun& run = runs.back();
    run.bytes = round_up(end, kPage) - run.offset;
    ++run.count;
  }
  return runs;
}

void Cleaner::Job::keep(const ReadRun& run, Buffer buffer) {
  for (std::size_t i = run.first; i < run.first + run.count; ++i) {
    const Candidate& c = *block_moves[i]->candidate;
    block_moves[i]->record = ByteSpan(buffer.span()).subspan(c.offset - run.offset, c.record_bytes);
  }
  buffers.push_back(std::move(buffer));
}

std::size_t Cleaner::Job::verify_moves(const StoreUuid& store) {
  std::size_t bad = 0;
  for (Move* move : block_moves) {
    const auto check = [&]() -> absl::Status {
      CAIRN_ASSIGN_OR_RETURN(const RecordFields fields, parse_record_header(move->record));
      CAIRN_RETURN_IF_ERROR(check_place(fields, {.store = store,
                                                 .segment = victim->id,
                                                 .generation = generation,
                                                 .offset = move->candidate->offset}));
      CAIRN_RETURN_IF_ERROR(check_name(fields, move->name));
      if (fields.kind != RecordKind::block || fields.sequence != move->entry.facts.sequence ||
          fields.total_bytes() > move->record.size()) {
        return make_error(ErrorCode::corruption, "another version is stored there");
      }
      move->append.fields = fields;
      move->append.payload = move->record.subspan(fields.payload_offset, fields.payload_length);
      return check_payload(fields, move->append.payload);
    };
    if (check().ok()) continue;
    ++bad;
    move->is_corrupt = true;
  }
  return bad;
}

void Cleaner::Job::all_moves_corrupt() {
  for (Move* move : block_moves) move->is_corrupt = true;
}

std::vector<Append*> Cleaner::Job::make_appends() {
  std::vector<Append*> out;
  for (Move& move : moves) {
    if (move.is_corrupt) {
      move.needs_append = false;
      corrupt.push_back({move.candidate->namespace_id, move.candidate->key, move.candidate->part,
                         move.entry.facts.sequence, move.entry.id, move.entry.location});
      continue;
    }
    if (!move.needs_append) continue;
    RecordFields& fields = move.append.fields;
    if (!move.is_block()) {
      fields.kind = move.candidate->kind;
      fields.sequence = move.candidate->sequence;
      fields.note_sequence = move.candidate->note_sequence;
      fields.namespace_id = move.candidate->namespace_id;
      fields.epoch = move.candidate->epoch;
      fields.part = move.candidate->part;
      if (move.candidate->kind == RecordKind::tombstone)
        fields.plain_sum = move.entry.facts.plain_sum;
    }
    fields.key = move.candidate->key;
    if (move.candidate->kind != RecordKind::tombstone) {
      fields.expiry = move.entry.facts.expiry;
      fields.pinned = move.entry.facts.pinned;
    }
    out.push_back(&move.append);
  }
  return out;
}

std::vector<IndexWork*> Cleaner::Job::make_works(const std::function<void()>& done) {
  std::vector<IndexWork*> works;
  for (Move& move : moves) {
    // A note has no entry of its own; what is corrupt is removed by another way.
    if (move.is_corrupt || move.candidate->kind == RecordKind::note) continue;
    works.push_back(&move);
    move.when_finished = [this, done] {
      if (--works_left == 0) done();
    };
  }
  works_left = works.size();
  return works;
}

}  // namespace cairn::tiers
