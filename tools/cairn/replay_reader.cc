// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/replay_reader.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "engine/base/check.h"

namespace cairn::tools {
namespace {

constexpr std::size_t kAlignment = 4096;
// Longer than any disk that still works takes for one window; then it is a miss.
constexpr Duration kPatience = Duration::seconds(60);

std::uint64_t nanoseconds_since(TimePoint start) {
  return static_cast<std::uint64_t>((system_clock().now() - start).ns);
}

/// What ends one read and not the replay.
bool is_miss(const absl::Status& status) {
  return has_code(status, ErrorCode::deadline) || has_code(status, ErrorCode::corruption) ||
         has_code(status, ErrorCode::io) || has_code(status, ErrorCode::busy) ||
         has_code(status, ErrorCode::no_space);
}

}  // namespace

AlignedBuffer::AlignedBuffer(std::size_t bytes)
    : bytes_(bytes),
      memory_(static_cast<std::byte*>(
          std::aligned_alloc(kAlignment, round_up(std::max<std::size_t>(bytes, 1), kAlignment)))) {
  CAIRN_CHECK(memory_ != nullptr);
}

void AlignedBuffer::Free::operator()(std::byte* memory) const {
  std::free(memory);
}

ReplayReader::ReplayReader(Engine& engine, ReplayBlocks blocks, ReplayJournal& journal,
                           std::uint64_t window_bytes)
    : engine_(engine),
      blocks_(std::move(blocks)),
      journal_(journal),
      buffer_(std::max<std::uint64_t>(window_bytes, blocks_.model.block_bytes())) {}

absl::StatusOr<std::size_t> ReplayReader::lease_prefix(std::span<const BlockNumber> run,
                                                       ReplayTotals& totals) {
  keys_.clear();
  for (const BlockNumber block : run) keys_.push_back({blocks_.plan.key(block)});
  const TimePoint start = system_clock().now();
  auto lease = engine_.acquire_sync(blocks_.namespace_id, keys_, {.deadline = start + kPatience});
  totals.get_ns += nanoseconds_since(start);
  if (has_code(lease.status(), ErrorCode::deadline)) {
    totals.late_blocks += run.size();
    return 0;
  }
  if (!lease.ok()) return lease.status();
  std::size_t found = 0;
  for (const LeasedBlock& block : lease->blocks()) {
    if (!block.found) break;
    verify(run[found], block.bytes);
    tally(block.served_from, block.bytes.size(), totals);
    ++found;
  }
  return found;
}

absl::StatusOr<std::size_t> ReplayReader::load_prefix(std::span<const BlockNumber> run,
                                                      ReplayTotals& totals) {
  std::size_t found = 0;
  while (found < run.size()) {
    const auto window = run.subspan(found, std::min(window_blocks(), run.size() - found));
    const TimePoint start = system_clock().now();
    CAIRN_RETURN_IF_ERROR(load_window(window, Read::prefix));
    totals.get_ns += nanoseconds_since(start);
    for (std::size_t i = 0; i < window.size(); ++i) {
      switch (judge(window[i], targets_[i])) {
        case ReadOutcome::right:
        case ReadOutcome::wrong:
          tally(targets_[i].served_from, targets_[i].bytes, totals);
          ++found;
          continue;
        case ReadOutcome::late:
          ++totals.late_blocks;
          return found;
        case ReadOutcome::unreadable:
          ++totals.unreadable_blocks;
          return found;
        case ReadOutcome::missing:
          return found;
      }
    }
  }
  return found;
}

absl::Status ReplayReader::load_each(std::span<const BlockNumber> blocks,
                                     const std::function<void(BlockNumber, ReadOutcome)>& visit) {
  while (!blocks.empty()) {
    const auto window = blocks.first(std::min(window_blocks(), blocks.size()));
    CAIRN_RETURN_IF_ERROR(load_window(window, Read::each));
    for (std::size_t i = 0; i < window.size(); ++i) visit(window[i], judge(window[i], targets_[i]));
    blocks = blocks.subspan(window.size());
  }
  return absl::OkStatus();
}

absl::Status ReplayReader::load_window(std::span<const BlockNumber> window, Read read) {
  const std::size_t bytes = blocks_.model.block_bytes();
  targets_.clear();
  for (std::size_t i = 0; i < window.size(); ++i) {
    LoadTarget target;
    target.key = {blocks_.plan.key(window[i])};
    target.buffer = buffer_.span(i * bytes, bytes);
    targets_.push_back(std::move(target));
  }
  absl::Status status = engine_.load_sync(
      blocks_.namespace_id, targets_, {.deadline = system_clock().now() + kPatience, .read = read});
  if (status.ok()) return status;
  if (!is_miss(status)) return status;
  // Whatever was delivered before is good; the rest has the reason.
  for (LoadTarget& target : targets_) {
    if (!target.found && target.status.ok()) target.status = status;
  }
  return absl::OkStatus();
}

ReadOutcome ReplayReader::judge(BlockNumber block, const LoadTarget& target) {
  if (target.found) {
    return verify(block,
                  target.buffer.first(std::min<std::size_t>(target.bytes, target.buffer.size())))
               ? ReadOutcome::right
               : ReadOutcome::wrong;
  }
  if (target.status.ok()) return ReadOutcome::missing;
  return has_code(target.status, ErrorCode::corruption) || has_code(target.status, ErrorCode::io)
             ? ReadOutcome::unreadable
             : ReadOutcome::late;
}

bool ReplayReader::verify(BlockNumber block, ByteSpan bytes) {
  const bool right = blocks_.model.verify(blocks_.payload_name(block), bytes);
  journal_.count_verified(blocks_.model.block_bytes(), right);
  return right;
}

void ReplayReader::tally(TierKind tier, std::uint64_t bytes, ReplayTotals& totals) {
  if (tier == TierKind::cold) {
    ++totals.cold_hits;
    totals.cold_bytes += bytes;
  } else if (tier == TierKind::warm) {
    ++totals.warm_hits;
    totals.warm_bytes += bytes;
  } else {
    ++totals.hot_hits;
    totals.hot_bytes += bytes;
  }
}

std::size_t ReplayReader::window_blocks() const {
  return std::max<std::size_t>(1, buffer_.size() / blocks_.model.block_bytes());
}

}  // namespace cairn::tools
