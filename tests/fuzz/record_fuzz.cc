// SPDX-License-Identifier: Apache-2.0
// Record headers, segment headers and footers from any bytes at all. What is accepted must be
// what an encoder could have written: encoded again it gives the same bytes.
#include <cstdlib>
#include <vector>

#include "engine/base/check.h"
#include "tiers/cold/index_codec.h"
#include "tiers/record/record.h"

using namespace cairn;  // a target is one function
using namespace cairn::tiers;

namespace {

void fuzz_record(ByteSpan bytes) {
  static_cast<void>(peek_header_length(bytes));
  const auto fields = parse_record_header(bytes);
  if (!fields.ok()) return;
  CAIRN_CHECK(fields->header_length <= bytes.size());
  CAIRN_CHECK(peek_header_length(bytes) == fields->header_length);
  std::vector<std::byte> again(fields->payload_offset);
  encode_record_header(*fields, again);
  // Padding between key and table is the only byte that a parser does not hold to zero.
  CAIRN_CHECK(parse_record_header(again).ok());
  static_cast<void>(check_payload(*fields, bytes.subspan(fields->header_length)));
}

void fuzz_footer(ByteSpan bytes) {
  const auto footer = parse_footer(bytes, kSegmentBytesMin);
  if (!footer.ok() || footer->headers_length > bytes.size()) return;
  const ByteSpan headers = bytes.first(footer->headers_length);
  static_cast<void>(check_footer(*footer, headers));
  static_cast<void>(for_each_header(headers, [](const RecordFields&) {}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan bytes{reinterpret_cast<const std::byte*>(data), size};
  fuzz_record(bytes);
  fuzz_footer(bytes);
  static_cast<void>(parse_segment_header(bytes));
  static_cast<void>(parse_index_key(as_text(bytes)));
  const auto entry = parse_index_entry(bytes);
  if (entry.ok()) CAIRN_CHECK(*parse_index_entry(as_bytes(encode_index_entry(*entry))) == *entry);
  static_cast<void>(parse_counters(bytes));
  return 0;
}
