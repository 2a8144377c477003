// SPDX-License-Identifier: Apache-2.0
#include "tools/cairn/replay_plan.h"

#include <limits>

#include "absl/container/flat_hash_map.h"
#include "bench/workload/generator.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "tools/cairn/exit_code.h"
#include "tools/cairn/signals.h"

namespace cairn::tools {

class PlanBuilder {
 public:
  explicit PlanBuilder(std::uint32_t block_tokens) : block_tokens_(block_tokens) {}

  void add(const workload::TraceRequest& request) {
    const std::size_t full = workload::full_blocks(request, block_tokens_);
    keys_.make(std::span(request.hash_ids).first(full), run_);
    for (std::size_t i = 0; i < full; ++i) {
      plan_.references_.push_back(number_of(workload::TraceKeys::key_at(run_, i)));
    }
    plan_.tokens_.push_back(request.input_length);
    plan_.first_.push_back(plan_.references_.size());
    plan_.longest_ = std::max(plan_.longest_, full);
  }

  absl::StatusOr<ReplayPlan> finish() {
    if (plan_.requests() == 0) {
      return make_error(ErrorCode::invalid_argument, "the trace has no requests");
    }
    return std::move(plan_);
  }

 private:
  BlockNumber number_of(std::string_view key) {
    // A native key is a hash of 128 bits, so it is its own.
    const Hash128 hash{load_le<std::uint64_t>(as_bytes(key), 8),
                       load_le<std::uint64_t>(as_bytes(key))};
    const auto [entry, added] =
        numbers_.try_emplace(hash, static_cast<BlockNumber>(numbers_.size()));
    if (added) plan_.keys_.append(key);
    return entry->second;
  }

  const std::uint32_t block_tokens_;
  workload::TraceKeys keys_;
  std::string run_;
  absl::flat_hash_map<Hash128, BlockNumber> numbers_;
  ReplayPlan plan_;
};

absl::StatusOr<ReplayPlan> make_plan(const ReplayOptions& options) {
  if (options.block_tokens == 0 ||
      options.block_tokens > std::numeric_limits<std::uint16_t>::max() + 1ULL) {
    return make_error(ErrorCode::invalid_argument, "--block-tokens: 1 to 65,536");
  }
  const auto block_tokens = static_cast<std::uint32_t>(options.block_tokens);
  PlanBuilder builder(block_tokens);
  workload::TraceRequest request;
  if (!options.trace) {
    if (options.generated_requests == 0) {
      return make_error(ErrorCode::invalid_argument, "--requests: at least 1");
    }
    workload::Generator generator({.seed = options.seed,
                                   .requests = options.generated_requests,
                                   .block_tokens = block_tokens});
    while (generator.next(request)) {
      if (interrupted()) return interrupted_error();
      builder.add(request);
    }
    return builder.finish();
  }
  auto opened = workload::TraceReader::open(*options.trace);
  if (has_code(opened.status(), ErrorCode::not_found)) {
    return with_hint(opened.status(), "without --trace, requests are made up");
  }
  CAIRN_ASSIGN_OR_RETURN(auto reader, std::move(opened));
  while (true) {
    if (interrupted()) return interrupted_error();
    CAIRN_ASSIGN_OR_RETURN(const bool more, reader.next(request));
    if (!more) return builder.finish();
    builder.add(request);
  }
}

}  // namespace cairn::tools
