// SPDX-License-Identifier: Apache-2.0
// index_codec.h — the rows of the index as bytes.
//
//   entry     namespace id (4, big-endian) ‖ key ‖ part (2, big-endian)
//             → version · flags · epoch · id · location · lengths · sequence · sum · heat
//               · [expiry] · [parent]
//   its own   ff ff ff ff ‖ letter ‖ …   (that namespace id is never given to anyone)
//             'b' the store it belongs to, 's' + segment a row, 'c' counters, 'q' the ceiling
//
// A name's first four bytes make a namespace, and a prefix of its keys, one range. Two names
// never share a key: the length gives the key's length away.
//
// Threading: pure functions over untrusted bytes. Blocking: never.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/bytes.h"
#include "tiers/cold/index.h"

namespace cairn::tiers {

constexpr std::uint8_t kIndexValueVersion = 1;
constexpr std::uint32_t kIndexOwnNamespace = 0xffffffff;

std::string index_key(const BlockName& name);
/// Everything of this namespace lies in [begin, begin of the next id).
std::string index_namespace_begin(std::uint32_t namespace_id);
/// The name that `key` encodes, borrowing from it; empty where it encodes none.
std::optional<BlockName> parse_index_key(std::string_view key);

std::string encode_index_entry(const IndexEntry& entry);
absl::StatusOr<IndexEntry> parse_index_entry(ByteSpan value);

std::string index_own_key(char letter);
std::string index_segment_key(SegmentId segment);
std::string encode_segment_row(const SegmentRow& row);
absl::StatusOr<SegmentRow> parse_segment_row(std::string_view key, ByteSpan value);
std::string encode_counters(const IndexCounters& counters);
absl::StatusOr<IndexCounters> parse_counters(ByteSpan value);

/// The index's own identity: which store's segments it speaks of.
std::string encode_binding(const StoreUuid& store);
absl::StatusOr<StoreUuid> parse_binding(ByteSpan value);

}  // namespace cairn::tiers
