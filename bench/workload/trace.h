// SPDX-License-Identifier: Apache-2.0
// trace.h — recorded requests: which blocks each prompt is made of, and when it came.
//
// A trace is JSON lines. Of each object `timestamp` (ms), `input_length`, `output_length`
// (tokens) and `hash_ids` are read (an id names the whole prefix up to its block) and `type`
// where it is present; every other field is checked for being JSON and skipped. Lines of white
// space are skipped.
//
// Threading: thread-compatible. Blocking: TraceReader disk, the rest cpu.
// Failure:   bytes of a trace are not trusted: what is not such an object is `invalid_argument`
//            with the file, the line and the byte in it, and nothing crashes or recurses deeply.
// Cost:      34 MB with 5 million ids in about 0.05 s; one line is held at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/hash/chain.h"

namespace cairn::workload {

struct TraceRequest {
  double timestamp_ms = 0;
  std::uint64_t input_length = 0;
  std::uint64_t output_length = 0;
  std::vector<std::uint64_t> hash_ids;
  std::string type;  // empty where the trace has none
  friend bool operator==(const TraceRequest&, const TraceRequest&) = default;
};

/// One line without its end. Reuses the request's memory. On an error the request is unspecified
/// and the message tells the byte ("byte 17: …").
absl::Status parse_trace_line(std::string_view line, TraceRequest& request);

/// The blocks of the prompt that are full, and so are stored: all but the last one when there
/// are more ids than ⌊input_length ÷ block_tokens⌋, else all.
std::size_t full_blocks(const TraceRequest& request, std::uint32_t block_tokens);

class TraceReader {
 public:
  /// A file or a pipe; - is stdin. `not_found` where it cannot be read.
  static absl::StatusOr<TraceReader> open(const std::string& path);

  /// False at the end of the trace.
  absl::StatusOr<bool> next(TraceRequest& request);

 private:
  TraceReader(std::string path, std::ifstream file)
      : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  std::ifstream file_;
  std::string line_;
  std::uint64_t line_number_ = 0;
};

absl::StatusOr<std::vector<TraceRequest>> read_trace(const std::string& path);

/// Keys for the blocks of traces: the native chain over ids instead of tokens, so that a key
/// comes from its whole prefix and two traces with other seeds share nothing.
class TraceKeys {
 public:
  static constexpr std::size_t kKeyBytes = 16;

  explicit TraceKeys(std::string_view seed = "cairn-trace");

  /// One key for each id, one after another in `keys`, which is resized.
  void make(std::span<const std::uint64_t> hash_ids, std::string& keys);
  static std::string_view key_at(std::string_view keys, std::size_t i) {
    return keys.substr(i * kKeyBytes, kKeyBytes);
  }

 private:
  HashChain chain_;
  std::vector<std::uint32_t> words_;
};

}  // namespace cairn::workload
