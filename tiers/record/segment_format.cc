// SPDX-License-Identifier: Apache-2.0
// The parts of record.h that concern a segment's first page and its footer.
#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/record/record.h"

namespace cairn::tiers {
namespace {

constexpr std::size_t kSummed = offsetof(SegmentHeader, sum_low);
static_assert(kSummed == offsetof(SegmentFooter, sum_low));

absl::Status corrupt(std::string_view why) {
  return make_error(ErrorCode::corruption, why);
}

absl::Status other_version(std::string_view what, std::uint16_t version) {
  return make_error(ErrorCode::format,
                    concat(what, ": format version ", version, ", not ", kFormatVersion));
}

/// The copies first, then the footer's own fields.
Hash128 footer_sum(const SegmentFooter& footer, ByteSpan headers) {
  std::string own;
  append_le(own, footer);
  const Hash128 copies = xxh3_128(headers);
  std::string both;
  append_le(both, copies.low);
  append_le(both, copies.high);
  both.append(own, 0, kSummed);
  return xxh3_128(as_bytes(both));
}

}  // namespace

void encode_segment_header(const SegmentHeader& header, MutableByteSpan page) {
  CAIRN_CHECK(page.size() == kPage);
  CAIRN_CHECK(header.segment < kSegmentsMax && header.segment_bytes % kPage == 0);
  SegmentHeader h = header;
  h.magic = kSegmentMagic;
  h.version = kFormatVersion;
  std::memset(page.data(), 0, page.size());
  store_le(page, 0, h);
  const Hash128 sum = xxh3_128(ByteSpan(page).first(kSummed));
  h.sum_low = sum.low;
  h.sum_high = sum.high;
  store_le(page, 0, h);
}

absl::StatusOr<SegmentHeader> parse_segment_header(ByteSpan page) {
  if (page.size() < sizeof(SegmentHeader)) return corrupt("segment header: cut short");
  const auto h = load_le<SegmentHeader>(page);
  if (h.magic != kSegmentMagic) return corrupt("segment header: no segment begins here");
  const Hash128 sum = xxh3_128(page.first(kSummed));
  if (h.sum_low != sum.low || h.sum_high != sum.high) return corrupt("segment header: checksum");
  if (h.version != kFormatVersion) return other_version("segment header", h.version);
  if (h.segment >= kSegmentsMax || h.segment_bytes < kSegmentBytesMin ||
      h.segment_bytes > kSegmentBytesMax || h.segment_bytes % kPage != 0) {
    return corrupt("segment header: size");
  }
  return h;
}

std::uint64_t footer_bytes(std::uint64_t headers_length) {
  return round_up(headers_length + sizeof(SegmentFooter), kPage);
}

void encode_footer(const SegmentFooter& footer, ByteSpan headers, std::uint64_t headers_offset,
                   MutableByteSpan out) {
  CAIRN_CHECK(out.size() == footer_bytes(headers.size()));
  SegmentFooter f = footer;
  f.magic = kFooterMagic;
  f.version = kFormatVersion;
  f.reserved = 0;
  f.headers_length = static_cast<std::uint32_t>(headers.size());
  f.headers_offset = headers_offset;
  const Hash128 sum = footer_sum(f, headers);
  f.sum_low = sum.low;
  f.sum_high = sum.high;
  std::memset(out.data(), 0, out.size());
  if (!headers.empty()) std::memcpy(out.data(), headers.data(), headers.size());
  store_le(out, out.size() - sizeof(f), f);
}

absl::StatusOr<SegmentFooter> parse_footer(ByteSpan last_page, std::uint64_t segment_bytes) {
  if (last_page.size() < sizeof(SegmentFooter)) return corrupt("footer: cut short");
  const auto f = load_le<SegmentFooter>(last_page, last_page.size() - sizeof(SegmentFooter));
  if (f.magic != kFooterMagic) return corrupt("footer: none here");
  if (f.version != kFormatVersion) return other_version("footer", f.version);
  const std::uint64_t bytes = footer_bytes(f.headers_length);
  if (bytes > segment_bytes - std::min(segment_bytes, kPage) ||
      f.headers_offset != segment_bytes - bytes) {
    return corrupt("footer: bounds");
  }
  if (f.record_count > f.headers_length / sizeof(RecordHeader)) return corrupt("footer: count");
  return f;
}

absl::Status check_footer(const SegmentFooter& footer, ByteSpan headers) {
  if (headers.size() != footer.headers_length) return corrupt("footer: headers cut short");
  const Hash128 sum = footer_sum(footer, headers);
  if (footer.sum_low != sum.low || footer.sum_high != sum.high) return corrupt("footer: checksum");
  return absl::OkStatus();
}

absl::Status for_each_header(ByteSpan headers,
                             const std::function<void(const RecordFields&)>& visit) {
  while (!headers.empty()) {
    absl::StatusOr<RecordFields> fields = parse_record_header(headers);
    if (!fields.ok()) return fields.status();
    visit(*fields);
    headers = headers.subspan(fields->header_length);
  }
  return absl::OkStatus();
}

}  // namespace cairn::tiers
