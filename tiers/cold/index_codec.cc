// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/index_codec.h"

#include <array>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::tiers {
namespace {

enum EntryFlags : std::uint8_t {
  kTombstone = 1,
  kPinned = 2,
  kHasExpiry = 4,
  kHasParent = 8,
  kFollowsTombstone = 16
};
constexpr std::uint8_t kKnownFlags =
    kTombstone | kPinned | kHasExpiry | kHasParent | kFollowsTombstone;

constexpr std::size_t kFixedBytes = 2 + 4 + 16 + 8 + 4 + 4 + 8 + 8 + 4;

absl::Status corrupt(std::string_view why) {
  return make_error(ErrorCode::corruption, concat("index row: ", why));
}

absl::Status check_version(ByteSpan value) {
  if (value.empty()) return corrupt("empty");
  const auto version = load_le<std::uint8_t>(value);
  if (version == kIndexValueVersion) return absl::OkStatus();
  return make_error(ErrorCode::format, concat("index row: version ", std::uint32_t{version},
                                              " is not known to this build"));
}

/// In the order in which they are stored; a later version adds at the end.
template <typename Counters>
auto counter_fields(Counters& c) {
  return std::array{&c.evicted,
                    &c.erased,
                    &c.expired,
                    &c.payload_bytes_written,
                    &c.media_bytes_written,
                    &c.cleaned_segments,
                    &c.cleaner_moved_bytes,
                    &c.dirty_openings};
}

}  // namespace

std::string_view segment_state_name(SegmentState state) {
  switch (state) {
    case SegmentState::free:
      return "free";
    case SegmentState::open:
      return "open";
    case SegmentState::sealed:
      return "sealed";
    case SegmentState::quarantined:
      return "quarantined";
    case SegmentState::poisoned:
      return "poisoned";
    case SegmentState::unsealed:
      return "unsealed";
  }
  CAIRN_UNREACHABLE();
}

IndexCounters& IndexCounters::operator+=(const IndexCounters& other) {
  const auto mine = counter_fields(*this);
  const auto theirs = counter_fields(other);
  for (std::size_t i = 0; i < mine.size(); ++i) *mine[i] += *theirs[i];
  return *this;
}

std::string index_key(const BlockName& name) {
  std::string out;
  out.reserve(name.key.size() + 6);
  append_be(out, static_cast<std::uint32_t>(name.namespace_id));
  out.append(name.key);
  append_be(out, name.part);
  return out;
}

std::string index_namespace_begin(std::uint32_t namespace_id) {
  std::string out;
  append_be(out, namespace_id);
  return out;
}

std::optional<BlockName> parse_index_key(std::string_view key) {
  if (key.size() < 7 || key.size() > kKeyLengthMax + 6) return std::nullopt;
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<std::uint8_t>(key[i]));
  };
  const std::uint32_t id = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
  if (id == kIndexOwnNamespace) return std::nullopt;
  const std::size_t end = key.size() - 2;
  return BlockName{static_cast<NamespaceId>(id), key.substr(4, end - 4),
                   static_cast<Part>(byte(end) << 8 | byte(end + 1))};
}

std::string encode_index_entry(const IndexEntry& e) {
  const BlockFacts& f = e.facts;
  unsigned flags = 0;
  if (e.tombstone) flags |= kTombstone;
  if (e.follows_tombstone) flags |= kFollowsTombstone;
  if (f.pinned) flags |= kPinned;
  if (f.expiry != 0) flags |= kHasExpiry;
  if (!f.parent.is_null()) flags |= kHasParent;
  std::string out;
  out.reserve(kFixedBytes + 24);
  append_le(out, kIndexValueVersion);
  append_le(out, static_cast<std::uint8_t>(flags));
  append_le(out, e.epoch);
  append_le(out, e.id.hash.high);
  append_le(out, e.id.hash.low);
  append_le(out, e.location.bits);
  append_le(out, e.stored_bytes);
  append_le(out, f.plain_bytes);
  append_le(out, f.sequence);
  append_le(out, f.plain_sum);
  append_le(out, e.heat);
  if (f.expiry != 0) append_le(out, f.expiry);
  if (!f.parent.is_null()) {
    append_le(out, f.parent.hash.high);
    append_le(out, f.parent.hash.low);
  }
  return out;
}

absl::StatusOr<IndexEntry> parse_index_entry(ByteSpan value) {
  CAIRN_RETURN_IF_ERROR(check_version(value));
  if (value.size() < kFixedBytes) return corrupt("cut short");
  const auto flags = load_le<std::uint8_t>(value, 1);
  if ((flags & ~kKnownFlags) != 0) return corrupt("unknown flags");
  const bool has_expiry = (flags & kHasExpiry) != 0;
  const bool has_parent = (flags & kHasParent) != 0;
  if (value.size() != kFixedBytes + (has_expiry ? 8U : 0U) + (has_parent ? 16U : 0U)) {
    return corrupt("length");
  }
  IndexEntry e;
  e.tombstone = (flags & kTombstone) != 0;
  e.follows_tombstone = (flags & kFollowsTombstone) != 0;
  e.facts.pinned = (flags & kPinned) != 0;
  e.epoch = load_le<std::uint32_t>(value, 2);
  e.id.hash = {load_le<std::uint64_t>(value, 6), load_le<std::uint64_t>(value, 14)};
  e.location.bits = load_le<std::uint64_t>(value, 22);
  e.stored_bytes = load_le<std::uint32_t>(value, 30);
  e.facts.plain_bytes = load_le<std::uint32_t>(value, 34);
  e.facts.sequence = load_le<std::uint64_t>(value, 38);
  e.facts.plain_sum = load_le<std::uint64_t>(value, 46);
  e.heat = load_le<std::uint32_t>(value, 54);
  std::size_t at = kFixedBytes;
  if (has_expiry) {
    e.facts.expiry = load_le<WallMicros>(value, at);
    at += 8;
  }
  if (has_parent) {
    e.facts.parent.hash = {load_le<std::uint64_t>(value, at),
                           load_le<std::uint64_t>(value, at + 8)};
  }
  return e;
}

std::string index_own_key(char letter) {
  std::string out = index_namespace_begin(kIndexOwnNamespace);
  out.push_back(letter);
  return out;
}

std::string index_segment_key(SegmentId segment) {
  std::string out = index_own_key('s');
  append_be(out, static_cast<std::uint32_t>(segment));
  return out;
}

std::string encode_segment_row(const SegmentRow& row) {
  std::string out;
  append_le(out, kIndexValueVersion);
  append_le(out, static_cast<std::uint8_t>(row.state));
  append_le(out, row.generation);
  append_le(out, row.opened_at_sequence);
  append_le(out, row.live_bytes);
  return out;
}

absl::StatusOr<SegmentRow> parse_segment_row(std::string_view key, ByteSpan value) {
  CAIRN_RETURN_IF_ERROR(check_version(value));
  if (key.size() != 9 || value.size() != 22) return corrupt("length");
  const auto state = load_le<std::uint8_t>(value, 1);
  if (state > static_cast<std::uint8_t>(SegmentState::unsealed)) return corrupt("segment state");
  std::uint32_t segment = 0;
  for (std::size_t i = 5; i < 9; ++i) segment = segment << 8 | static_cast<std::uint8_t>(key[i]);
  if (segment >= kSegmentsMax) return corrupt("segment number");
  return SegmentRow{static_cast<SegmentId>(segment), static_cast<SegmentState>(state),
                    load_le<std::uint32_t>(value, 2), load_le<std::uint64_t>(value, 6),
                    load_le<std::uint64_t>(value, 14)};
}

std::string encode_counters(const IndexCounters& counters) {
  std::string out;
  append_le(out, kIndexValueVersion);
  for (const std::uint64_t* field : counter_fields(counters)) append_le(out, *field);
  return out;
}

absl::StatusOr<IndexCounters> parse_counters(ByteSpan value) {
  CAIRN_RETURN_IF_ERROR(check_version(value));
  IndexCounters counters;
  std::size_t at = 1;
  for (std::uint64_t* field : counter_fields(counters)) {
    if (value.size() == at) return counters;  // of an earlier version, which did not count these
    if (value.size() < at + 8) return corrupt("length");
    *field = load_le<std::uint64_t>(value, at);
    at += 8;
  }
  return counters;
}

std::string encode_binding(const StoreUuid& store) {
  std::string out;
  append_le(out, kIndexValueVersion);
  append_le(out, store);
  return out;
}

absl::StatusOr<StoreUuid> parse_binding(ByteSpan value) {
  CAIRN_RETURN_IF_ERROR(check_version(value));
  if (value.size() != 1 + sizeof(StoreUuid)) return corrupt("length");
  return load_le<StoreUuid>(value, 1);
}

}  // namespace cairn::tiers
