// SPDX-License-Identifier: Apache-2.0
// overlay_index.h — an index that cannot be written to, with changes in memory on top.
//
// For a store that was not closed, whose log is torn, and that is opened for reading: what the
// segments know better than the log (an erased block above all) must hold there too, and not
// one byte may change. The changes are those few that roll_forward() makes.
//
// Threading:  thread-safe once it is filled: nobody writes any more.
// Blocking:   as the index below.
// Failure:    as the index below; writes never fail.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tiers/cold/index.h"

namespace cairn::tiers {

class OverlayIndex final : public Index {
 public:
  explicit OverlayIndex(std::unique_ptr<Index> below) : below_(std::move(below)) {}

  absl::Status write(std::span<const IndexChange> changes, std::span<const SegmentRow> rows,
                     const CounterDelta& delta, bool sync) override;
  absl::Status sync() override { return absl::OkStatus(); }
  absl::StatusOr<std::optional<IndexEntry>> get(const BlockName& name) override;
  std::vector<absl::StatusOr<std::optional<IndexEntry>>> get_batch(
      std::span<const BlockName> names) override;
  absl::Status scan(std::string& cursor, std::size_t limit,
                    const std::function<void(const BlockName&, const IndexEntry&)>& visit) override;
  absl::Status erase_namespace(NamespaceId id) override;
  absl::StatusOr<std::vector<SegmentRow>> segments() override;
  IndexCounters counters() const override;
  absl::StatusOr<std::uint64_t> reserve_sequences(std::uint64_t count) override;
  absl::Status begin_catching_up(std::uint64_t) override { return absl::OkStatus(); }
  absl::Status end_catching_up() override { return absl::OkStatus(); }
  std::uint64_t usage_bytes() override { return below_->usage_bytes(); }
  std::uint64_t bytes_written() const override { return 0; }
  std::uint64_t memory_bytes() override;
  IndexHealth health() const override { return below_->health(); }
  IndexRecovery recovery() const override { return below_->recovery(); }

 private:
  const std::unique_ptr<Index> below_;
  std::map<std::string, std::optional<IndexEntry>> changes_;  // by index key
  std::map<SegmentId, SegmentRow> rows_;
  IndexCounters delta_;
};

}  // namespace cairn::tiers
