// SPDX-License-Identifier: Apache-2.0
// replay_plan.h — a trace, ready to be asked: each distinct full block has a number, its key
// comes from its whole prefix, and every request is a run of numbers.
//
// Threading: immutable. Blocking: make_plan: disk.
// Cost:      4 bytes a reference and 16 a block: the 34 MB of a day's trace take 25 MB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/workload/trace.h"
#include "tools/cairn/replay_options.h"

namespace cairn::tools {

using BlockNumber = std::uint32_t;

class ReplayPlan {
 public:
  std::size_t requests() const { return first_.size() - 1; }
  /// The full blocks of one prompt, in order.
  std::span<const BlockNumber> blocks_of(std::size_t request) const {
    return std::span(references_).subspan(first_[request], first_[request + 1] - first_[request]);
  }
  std::uint64_t tokens_of(std::size_t request) const { return tokens_[request]; }
  /// Distinct blocks of the whole trace.
  std::size_t blocks() const { return keys_.size() / workload::TraceKeys::kKeyBytes; }
  std::string_view key(BlockNumber block) const {
    return workload::TraceKeys::key_at(keys_, block);
  }
  std::size_t longest_request() const { return longest_; }

 private:
  friend class PlanBuilder;
  std::vector<std::size_t> first_{0};
  std::vector<std::uint64_t> tokens_;
  std::vector<BlockNumber> references_;
  std::string keys_;
  std::size_t longest_ = 0;
};

absl::StatusOr<ReplayPlan> make_plan(const ReplayOptions& options);

}  // namespace cairn::tools
