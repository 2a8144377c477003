// SPDX-License-Identifier: Apache-2.0
#include "tiers/cold/overlay_index.h"

#include <utility>

#include "engine/base/status.h"
#include "tiers/cold/index_codec.h"

namespace cairn::tiers {

absl::Status OverlayIndex::write(std::span<const IndexChange> changes,
                                 std::span<const SegmentRow> rows, const CounterDelta& delta,
                                 bool sync) {
  static_cast<void>(sync);
  for (const IndexChange& change : changes) changes_[index_key(change.name)] = change.put;
  for (const SegmentRow& row : rows) rows_[row.segment] = row;
  delta_ += delta;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<IndexEntry>> OverlayIndex::get(const BlockName& name) {
  const auto changed = changes_.find(index_key(name));
  if (changed != changes_.end()) return changed->second;
  return below_->get(name);
}

std::vector<absl::StatusOr<std::optional<IndexEntry>>> OverlayIndex::get_batch(
    std::span<const BlockName> names) {
  auto out = below_->get_batch(names);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto changed = changes_.find(index_key(names[i]));
    if (changed != changes_.end()) out[i] = changed->second;
  }
  return out;
}

/// Both are in key order: what lies below is visited in turn with what was changed before it.
absl::Status OverlayIndex::scan(
    std::string& cursor, std::size_t limit,
    const std::function<void(const BlockName&, const IndexEntry&)>& visit) {
  auto next = cursor.empty() ? changes_.begin() : changes_.upper_bound(cursor);
  const auto visit_changes = [&](const std::string* before) {
    for (; next != changes_.end() && (before == nullptr || next->first < *before); ++next) {
      const std::optional<BlockName> name = parse_index_key(next->first);
      if (name && next->second) visit(*name, *next->second);
    }
  };
  CAIRN_RETURN_IF_ERROR(
      below_->scan(cursor, limit, [&](const BlockName& name, const IndexEntry& entry) {
        const std::string key = index_key(name);
        visit_changes(&key);
        const bool changed = next != changes_.end() && next->first == key;
        if (!changed) visit(name, entry);
        if (changed && next->second) visit(name, *next->second);
        if (changed) ++next;
      }));
  if (cursor.empty()) visit_changes(nullptr);
  return absl::OkStatus();
}

absl::Status OverlayIndex::erase_namespace(NamespaceId) {
  return make_error(ErrorCode::read_only, "the store was opened for reading");
}

absl::StatusOr<std::vector<SegmentRow>> OverlayIndex::segments() {
  CAIRN_ASSIGN_OR_RETURN(const std::vector<SegmentRow> below, below_->segments());
  std::map<SegmentId, SegmentRow> rows = rows_;
  for (const SegmentRow& row : below) rows.emplace(row.segment, row);
  std::vector<SegmentRow> out;
  out.reserve(rows.size());
  for (const auto& [id, row] : rows) out.push_back(row);
  return out;
}

IndexCounters OverlayIndex::counters() const {
  IndexCounters sum = below_->counters();
  sum += delta_;
  return sum;
}

absl::StatusOr<std::uint64_t> OverlayIndex::reserve_sequences(std::uint64_t) {
  return make_error(ErrorCode::read_only, "the store was opened for reading");
}

std::uint64_t OverlayIndex::memory_bytes() {
  constexpr std::uint64_t kEach = sizeof(IndexEntry) + 128;  // key, node
  return below_->memory_bytes() + changes_.size() * kEach;
}

}  // namespace cairn::tiers
