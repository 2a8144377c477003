// SPDX-License-Identifier: Apache-2.0
#include "bench/workload/trace.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::workload {
namespace {

// Deeper than any trace nests what we skip; it bounds the stack.
constexpr int kDepthMax = 32;

/// Walks one line. Every method leaves the position behind what it took and says whether it was
/// there; the first failure is kept, and nothing is read after it.
class LineParser {
 public:
  explicit LineParser(std::string_view line) : line_(line) {}

  absl::Status parse(TraceRequest& request) {
    if (parse_object(request)) return absl::OkStatus();
    return make_error(ErrorCode::invalid_argument, concat("byte ", failed_at_ + 1, ": ", reason_));
  }

 private:
  enum Field : unsigned {
    timestamp = 1,
    input_length = 2,
    output_length = 4,
    hash_ids = 8,
    type = 16
  };

  bool parse_object(TraceRequest& request) {
    if (!expect('{', "a request is an object")) return false;
    unsigned seen = 0;
    if (!take('}')) {
      do {
        if (!parse_member(request, seen)) return false;
      } while (take(','));
      if (!expect('}', "expected ',' or '}'")) return false;
    }
    skip_space();
    if (next_ != line_.size()) return fail("text behind the object");
    for (const auto& [field, reason] :
         {std::pair{timestamp, "no \"timestamp\""}, std::pair{input_length, "no \"input_length\""},
          std::pair{output_length, "no \"output_length\""},
          std::pair{hash_ids, "no \"hash_ids\""}}) {
      if ((seen & field) == 0) return fail(reason);
    }
    if ((seen & type) == 0) request.type.clear();
    return true;
  }

  bool parse_member(TraceRequest& request, unsigned& seen) {
    std::string_view name;
    skip_space();
    const std::size_t start = next_;
    if (!parse_string(name) || !expect(':', "expected ':'")) return false;
    const Field field = name == "timestamp"       ? timestamp
                        : name == "input_length"  ? input_length
                        : name == "output_length" ? output_length
                        : name == "hash_ids"      ? hash_ids
                        : name == "type"          ? type
                                                  : Field{};
    if ((seen & field) != 0) {
      next_ = start;
      return fail("a field twice");
    }
    seen |= field;
    switch (field) {
      case timestamp:
        return parse_number(request.timestamp_ms);
      case input_length:
        return parse_unsigned(request.input_length);
      case output_length:
        return parse_unsigned(request.output_length);
      case hash_ids:
        return parse_ids(request.hash_ids);
      case type:
        return parse_type(request.type);
    }
    return skip_value(0);
  }

  bool parse_ids(std::vector<std::uint64_t>& ids) {
    ids.clear();
    if (!expect('[', "\"hash_ids\" is an array")) return false;
    if (take(']')) return true;
    do {
      std::uint64_t id = 0;
      if (!parse_unsigned(id)) return false;
      ids.push_back(id);
    } while (take(','));
    return expect(']', "expected ',' or ']'");
  }

  bool parse_type(std::string& out) {
    if (skip_word("null")) {
      out.clear();
      return true;
    }
    std::string_view text;
    if (!parse_string(text)) return false;
    out.assign(text);
    return true;
  }

  /// A whole number of 64 bits, without sign, fraction or exponent.
  bool parse_unsigned(std::uint64_t& value) {
    skip_space();
    const char* const end = line_.data() + line_.size();
    const auto [stop, error] = std::from_chars(line_.data() + next_, end, value);
    if (error != std::errc()) return fail("expected a whole number of at most 64 bits");
    const bool leading_zero = line_[next_] == '0' && stop - (line_.data() + next_) > 1;
    if (leading_zero || (stop != end && (*stop == '.' || *stop == 'e' || *stop == 'E'))) {
      return fail("expected a whole number");
    }
    next_ = static_cast<std::size_t>(stop - line_.data());
    return true;
  }

  bool parse_number(double& value) {
    skip_space();
    const std::size_t start = next_;
    if (!skip_number()) return false;
    const char* const end = line_.data() + next_;
    const auto [stop, error] = std::from_chars(line_.data() + start, end, value);
    if (error == std::errc() && stop == end) return true;
    next_ = start;
    return fail("a number out of range");
  }

  /// The text between the quotes, with its escapes as they stand: no name or type that matters
  /// here has any.
  bool parse_string(std::string_view& text) {
    if (!expect('"', "expected a string")) return false;
    const std::size_t start = next_;
    for (; next_ < line_.size(); ++next_) {
      const char c = line_[next_];
      if (c == '"') {
        text = line_.substr(start, next_ - start);
        ++next_;
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20) return fail("a control character in a string");
      if (c == '\\' && !skip_escape()) return false;
    }
    return fail("a string without end");
  }

  /// At a backslash; leaves the position on the last character of the escape.
  bool skip_escape() {
    ++next_;
    if (next_ == line_.size()) return fail("a string without end");
    if (line_[next_] != 'u') {
      return std::string_view("\"\\/bfnrt").find(line_[next_]) != std::string_view::npos ||
             fail("an unknown escape");
    }
    for (int i = 0; i < 4; ++i) {
      ++next_;
      const bool hex =
          next_ < line_.size() &&
          std::string_view("0123456789abcdefABCDEF").find(line_[next_]) != std::string_view::npos;
      if (!hex) return fail("expected four hexadecimal digits");
    }
    return true;
  }

  bool skip_number() {
    const auto digits = [this] {
      const std::size_t start = next_;
      while (next_ < line_.size() && line_[next_] >= '0' && line_[next_] <= '9') ++next_;
      return next_ != start;
    };
    const auto one_of = [this](std::string_view set) {
      const bool found = next_ < line_.size() && set.find(line_[next_]) != std::string_view::npos;
      next_ += found;
      return found;
    };
    one_of("-");
    if (!one_of("0") && !digits()) return fail("expected a number");
    if (one_of(".") && !digits()) return fail("expected digits behind the point");
    if (one_of("eE")) {
      one_of("+-");
      if (!digits()) return fail("expected digits of an exponent");
    }
    return true;
  }

  bool skip_value(int depth) {
    if (depth == kDepthMax) return fail("nested too deeply");
    skip_space();
    std::string_view text;
    if (next_ < line_.size() && line_[next_] == '"') return parse_string(text);
    if (take('[')) {
      if (take(']')) return true;
      do {
        if (!skip_value(depth + 1)) return false;
      } while (take(','));
      return expect(']', "expected ',' or ']'");
    }
    if (take('{')) {
      if (take('}')) return true;
      do {
        if (!parse_string(text) || !expect(':', "expected ':'") || !skip_value(depth + 1))
          return false;
      } while (take(','));
      return expect('}', "expected ',' or '}'");
    }
    return skip_word("true") || skip_word("false") || skip_word("null") || skip_number();
  }

  bool skip_word(std::string_view word) {
    skip_space();
    if (!line_.substr(next_).starts_with(word)) return false;
    next_ += word.size();
    return true;
  }

  void skip_space() {
    while (next_ < line_.size() &&
           (line_[next_] == ' ' || line_[next_] == '\t' || line_[next_] == '\r'))
      ++next_;
  }
  bool take(char wanted) {
    skip_space();
    const bool found = next_ < line_.size() && line_[next_] == wanted;
    next_ += found;
    return found;
  }
  bool expect(char wanted, std::string_view reason) { return take(wanted) || fail(reason); }
  bool fail(std::string_view reason) {
    failed_at_ = next_;
    reason_ = reason;
    return false;
  }

  std::string_view line_;
  std::size_t next_ = 0;
  std::size_t failed_at_ = 0;
  std::string_view reason_;
};

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

absl::Status parse_trace_line(std::string_view line, TraceRequest& request) {
  return LineParser(line).parse(request);
}

std::size_t full_blocks(const TraceRequest& request, std::uint32_t block_tokens) {
  CAIRN_CHECK(block_tokens > 0);
  const std::size_t ids = request.hash_ids.size();
  return ids > request.input_length / block_tokens ? ids - 1 : ids;
}

absl::StatusOr<TraceReader> TraceReader::open(const std::string& path) {
  // A pipe will do as well.
  const std::string name = path == "-" ? "/dev/stdin" : path;
  std::error_code error;
  std::ifstream file(name, std::ios::binary);
  if (!file || std::filesystem::is_directory(name, error)) {
    return make_error(ErrorCode::not_found, concat("cannot read the trace ", path));
  }
  return TraceReader(path, std::move(file));
}

absl::StatusOr<bool> TraceReader::next(TraceRequest& request) {
  while (std::getline(file_, line_)) {
    ++line_number_;
    if (is_blank(line_)) continue;
    if (const absl::Status status = parse_trace_line(line_, request); !status.ok()) {
      return with_context(status, concat(path_, ":", line_number_));
    }
    return true;
  }
  if (file_.bad()) return make_error(ErrorCode::io, concat("reading the trace ", path_));
  return false;
}

absl::StatusOr<std::vector<TraceRequest>> read_trace(const std::string& path) {
  CAIRN_ASSIGN_OR_RETURN(TraceReader reader, TraceReader::open(path));
  std::vector<TraceRequest> requests;
  TraceRequest request;
  while (true) {
    CAIRN_ASSIGN_OR_RETURN(const bool more, reader.next(request));
    if (!more) return requests;
    requests.push_back(request);
  }
}

TraceKeys::TraceKeys(std::string_view seed)
    : chain_(HashChain::make(
                 {.scheme = HashScheme::native, .seed = std::string(seed), .block_tokens = 2})
                 .value()) {}

void TraceKeys::make(std::span<const std::uint64_t> hash_ids, std::string& keys) {
  words_.resize(2 * hash_ids.size());
  if (!hash_ids.empty()) std::memcpy(words_.data(), hash_ids.data(), hash_ids.size_bytes());
  keys.resize(hash_ids.size() * kKeyBytes);
  const MutableByteSpan flat{reinterpret_cast<std::byte*>(keys.data()), keys.size()};
  CAIRN_CHECK(chain_.hash({.tokens = words_, .keys = flat}).ok());
}

}  // namespace cairn::workload
