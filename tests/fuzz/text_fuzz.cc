// SPDX-License-Identifier: Apache-2.0
// What users and earlier processes hand over as text or lists: a line of a trace, a hot list.
#include <algorithm>

#include "bench/workload/trace.h"
#include "engine/base/check.h"
#include "engine/hot_list.h"

using namespace cairn;  // a target is one function

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  workload::TraceRequest request;
  if (workload::parse_trace_line(text, request).ok()) {
    // No id can come from nothing, so a line never asks for more memory than it is long.
    CAIRN_CHECK(request.hash_ids.size() <= size);
    CAIRN_CHECK(workload::full_blocks(request, 512) <= request.hash_ids.size());
  }
  const auto ids = detail::parse_hot_list(text);
  if (ids.ok()) CAIRN_CHECK(detail::encode_hot_list(*ids) == text);
  return 0;
}
