// SPDX-License-Identifier: Apache-2.0
// The layout is RFC 8878's: frame header (§3.1.1.1), one compressed block for every 128 KiB
// (§3.1.1.2), in it literals of four streams behind their tree (§3.1.1.3.1, §4.2) and no sequences.
#include "tiers/codec/literal_frame.h"

#include <algorithm>
#include <cstring>

namespace cairn::tiers {
namespace {

constexpr std::size_t kBlockMax = 128 * kKiB;
constexpr std::size_t kBlockMin = 64;  // below, headers take what codes could save
constexpr std::uint32_t kLengthMax = 11;
constexpr std::uint32_t kKraft = 1U << kLengthMax;
constexpr std::uint32_t kDistanceMax = 128;  // of symbols whose weights can be written as they are
constexpr std::size_t kHeaderBytes = 6;
constexpr std::size_t kBlockHeaderBytes = 3;
constexpr std::uint32_t kRawBlock = 0, kRepeatedByte = 1, kCompressedBlock = 2;
constexpr std::size_t kJumpTableBytes = 6;
constexpr std::size_t kFlushSymbols = 5;  // 5 × 11 bits and 7 that are left fit into a word

#if defined(__x86_64__)
bool has_bmi2() {
  static const bool has = __builtin_cpu_supports("bmi2");
  return has;
}
#endif

/// A stream under way. It is read from its end, so its symbols are written from the last to the
/// first, each behind the one before, from the lowest bit up.
struct BitWriter {
  std::uint64_t word = 0;
  std::uint32_t bits = 0;
  std::byte* out = nullptr;

  [[gnu::always_inline]] void put(std::uint32_t code, std::uint32_t length) {
    word |= std::uint64_t{code} << bits;
    bits += length;
  }
  /// Writes eight bytes, of which those that are not whole yet are written again.
  [[gnu::always_inline]] void flush() {
    std::memcpy(out, &word, sizeof word);
    out += bits / 8;
    word >>= bits & ~7U;
    bits &= 7;
  }
};

struct Stream {
  const std::byte* symbols = nullptr;
  std::size_t count = 0;
  BitWriter writer;
};

using Streams = std::array<Stream, 4>;

/// `Code` is LiteralFrameEncoder's. All four at once: each waits for its own last shift alone.
/// (Two symbols with one look into a table of pairs were no faster.)
template <typename Code>
[[gnu::always_inline]] inline void code_streams(Streams& streams, const Code* codes) {
  const auto code_of = [codes](const std::byte* symbol) {
    return codes[std::to_integer<std::size_t>(*symbol)];
  };
  // The last stream may be shorter by up to three: the others go ahead until all are as long.
  const std::size_t common = streams[3].count / kFlushSymbols * kFlushSymbols;
  for (Stream& stream : streams) {
    while (stream.count > common) {
      const Code code = code_of(stream.symbols + --stream.count);
      stream.writer.put(code.bits, code.length);
      stream.writer.flush();
    }
  }
  BitWriter a = streams[0].writer, b = streams[1].writer, c = streams[2].writer,
            d = streams[3].writer;
  const std::byte* const from_a = streams[0].symbols;
  const std::byte* const from_b = streams[1].symbols;
  const std::byte* const from_c = streams[2].symbols;
  const std::byte* const from_d = streams[3].symbols;
  for (std::size_t i = common; i > 0; i -= kFlushSymbols) {
    for (std::size_t k = 1; k <= kFlushSymbols; ++k) {
      const Code code_a = code_of(from_a + i - k), code_b = code_of(from_b + i - k);
      const Code code_c = code_of(from_c + i - k), code_d = code_of(from_d + i - k);
      a.put(code_a.bits, code_a.length);
      b.put(code_b.bits, code_b.length);
      c.put(code_c.bits, code_c.length);
      d.put(code_d.bits, code_d.length);
    }
    a.flush();
    b.flush();
    c.flush();
    d.flush();
  }
  streams[0].writer = a;
  streams[1].writer = b;
  streams[2].writer = c;
  streams[3].writer = d;
}

template <typename Code>
void code_streams_anywhere(Streams& streams, const Code* codes) {
  code_streams(streams, codes);
}

#if defined(__x86_64__)
template <typename Code>
__attribute__((target("bmi2"))) void code_streams_bmi2(Streams& streams, const Code* codes) {
  code_streams(streams, codes);
}
#endif

void store_24(MutableByteSpan out, std::uint32_t value) {
  for (std::size_t i = 0; i < 3; ++i) out[i] = static_cast<std::byte>(value >> (8 * i));
}

void store_block_header(MutableByteSpan out, bool is_last, std::uint32_t type, std::size_t bytes) {
  store_24(out, (is_last ? 1U : 0U) | type << 1 | static_cast<std::uint32_t>(bytes) << 3);
}

/// How many bytes the header of compressed literals takes, by what it has to count.
std::size_t literals_header_bytes(std::size_t plain) {
  return plain < 1024 ? 3 : plain < 16384 ? 4 : 5;
}

/// Type 2 (a tree of its own), four streams, both lengths.
void store_literals_header(MutableByteSpan out, std::size_t plain, std::size_t coded) {
  const std::size_t bytes = literals_header_bytes(plain);
  const unsigned field = bytes == 3 ? 10 : bytes == 4 ? 14 : 18;
  const std::uint64_t value =
      2U | (bytes - 2) << 2 | std::uint64_t{plain} << 4 | std::uint64_t{coded} << (4 + field);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(value >> (8 * i));
}

/// Until one says no; false then.
template <typename Visit>
bool for_each_block(ByteSpan plain, const Visit& visit) {
  for (std::size_t at = 0; at < plain.size(); at += kBlockMax) {
    const ByteSpan block = plain.subspan(at, std::min(kBlockMax, plain.size() - at));
    if (!visit(block, at + block.size() == plain.size())) return false;
  }
  return true;
}

}  // namespace

LiteralFrameEncoder::LiteralFrameEncoder(std::size_t plain_bytes_max) {
  const std::size_t block = std::min(plain_bytes_max, kBlockMax);
  for (std::vector<std::byte>& stream : streams_) {
    stream.resize((block / kStreams + 1) * kLengthMax / 8 + 16);
  }
}

std::optional<LiteralFrame> LiteralFrameEncoder::encode(ByteSpan plain, MutableByteSpan out) {
  if (plain.size() < kBlockMin || out.size() < kHeaderBytes) return std::nullopt;
  first_ = kSymbols;
  std::uint32_t highest = 0;
  for_each_block(plain, [&](ByteSpan block, bool) {
    count(block);
    const auto is_used = [](std::uint32_t times) { return times != 0; };
    const auto lowest = std::find_if(total_.begin(), total_.end(), is_used);
    const auto behind = std::find_if(total_.rbegin(), total_.rend(), is_used).base();
    first_ = std::min(first_, static_cast<std::uint32_t>(lowest - total_.begin()));
    highest = std::max(highest, static_cast<std::uint32_t>(behind - total_.begin()) - 1);
    return true;
  });
  if (highest - first_ > kDistanceMax) return std::nullopt;
  // Magic; no checksum, no content size, no dictionary; a window of 128 KiB.
  store_le(out, 0, std::uint32_t{0xFD2FB528});
  out[4] = std::byte{0};
  out[5] = std::byte{(17 - 10) << 3};
  std::size_t end = kHeaderBytes;
  const bool fits = for_each_block(plain, [&](ByteSpan block, bool is_last) {
    if (plain.size() > kBlockMax) count(block);
    const auto written = write_block(block, is_last, out.subspan(end));
    end += written.value_or(0);
    return written.has_value();
  });
  if (!fits || end >= plain.size()) return std::nullopt;
  return LiteralFrame{end, static_cast<std::byte>(first_)};
}

/// Into eight tables in turn: one that met the same symbol again would wait for its own last store.
void LiteralFrameEncoder::count(ByteSpan block) {
  for (Counts& counts : counts_) counts.fill(0);
  const std::byte* const symbols = block.data();
  std::size_t i = 0;
  for (; i + kTables <= block.size(); i += kTables) {
    const auto eight = load_le<std::uint64_t>(block, i);
    ++counts_[0][eight & 0xff];
    ++counts_[1][eight >> 8 & 0xff];
    ++counts_[2][eight >> 16 & 0xff];
    ++counts_[3][eight >> 24 & 0xff];
    ++counts_[4][eight >> 32 & 0xff];
    ++counts_[5][eight >> 40 & 0xff];
    ++counts_[6][eight >> 48 & 0xff];
    ++counts_[7][eight >> 56];
  }
  for (; i < block.size(); ++i) ++counts_[0][std::to_integer<std::size_t>(symbols[i])];
  total_ = counts_[0];
  for (std::size_t table = 1; table < kTables; ++table) {
    for (std::size_t s = 0; s < kSymbols; ++s) total_[s] += counts_[table][s];
  }
}

/// Huffman's tree, cut at 11 bits and made complete again. False where there is but one symbol.
bool LiteralFrameEncoder::choose_lengths() {
  struct Node {
    std::uint32_t weight = 0, parent = 0;
  };
  std::array<std::uint8_t, kDistanceMax + 1> order{};  // less first_, the rarest first
  std::size_t n = 0;
  for (std::uint32_t d = 0; d <= kDistanceMax && first_ + d < kSymbols; ++d) {
    if (total_[first_ + d] != 0) order[n++] = static_cast<std::uint8_t>(d);
  }
  if (n < 2) return false;
  last_ = first_ + order[n - 1];
  std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n),
            [this](std::uint8_t a, std::uint8_t b) {
              return std::pair(total_[first_ + a], a) < std::pair(total_[first_ + b], b);
            });
  // Leaves in order, then inner nodes, which come in order of weight by themselves.
  std::array<Node, std::size_t{2} * (kDistanceMax + 1)> nodes{};
  for (std::size_t i = 0; i < n; ++i) nodes[i].weight = total_[first_ + order[i]];
  std::size_t leaf = 0, inner = n;
  for (std::size_t next = n; next < 2 * n - 1; ++next) {
    for (int child = 0; child < 2; ++child) {
      const bool take_leaf =
          leaf < n && (inner >= next || nodes[leaf].weight <= nodes[inner].weight);
      Node& taken = nodes[take_leaf ? leaf++ : inner++];
      taken.parent = static_cast<std::uint32_t>(next);
      nodes[next].weight += taken.weight;
    }
  }
  nodes[2 * n - 2].weight = 0;  // from here on: depth
  for (std::size_t i = 2 * n - 2; i-- > 0;) nodes[i].weight = nodes[nodes[i].parent].weight + 1;

  lengths_.fill(0);
  std::int64_t surplus = -static_cast<std::int64_t>(kKraft);
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t length = std::min(nodes[i].weight, kLengthMax);
    lengths_[first_ + order[i]] = static_cast<std::uint8_t>(length);
    surplus += kKraft >> length;
  }
  // Too many short codes: the rarest that can grow pay for those that were cut.
  for (std::size_t i = 0; surplus > 0; i = i + 1 < n ? i + 1 : 0) {
    std::uint8_t& length = lengths_[first_ + order[i]];
    if (length == kLengthMax) continue;
    ++length;
    surplus -= kKraft >> length;
  }
  // And what that overpaid goes back to the most frequent it is enough for.
  while (surplus < 0) {
    std::size_t i = n;
    while (i > 0 && (kKraft >> lengths_[first_ + order[i - 1]]) > -surplus) --i;
    if (i == 0) return false;  // cannot be: the longest codes cost one each
    surplus += kKraft >> lengths_[first_ + order[i - 1]];
    --lengths_[first_ + order[i - 1]];
  }
  longest_ = *std::max_element(lengths_.begin(), lengths_.end());
  return true;
}

/// The longest codes first, and among equals in the order of their symbols (§4.2.1.3).
void LiteralFrameEncoder::assign_codes() {
  std::array<std::uint32_t, kLengthMax + 2> next{};
  std::array<std::uint32_t, kLengthMax + 2> used{};
  for (std::uint32_t s = first_; s <= last_; ++s) ++used[lengths_[s]];
  for (std::uint32_t length = longest_; length > 1; --length) {
    next[length - 1] = (next[length] + used[length]) / 2;
  }
  codes_.fill({});
  for (std::uint32_t s = first_; s <= last_; ++s) {
    if (lengths_[s] == 0) continue;
    codes_[s] = {static_cast<std::uint16_t>(next[lengths_[s]]++), lengths_[s]};
  }
}

/// Returns how many bytes the four have together.
std::size_t LiteralFrameEncoder::write_streams(ByteSpan block) {
  const std::size_t part = (block.size() + 3) / 4;
  Streams streams;
  for (std::size_t i = 0; i < kStreams; ++i) {
    streams[i].symbols = block.data() + i * part;
    streams[i].count = i + 1 < kStreams ? part : block.size() - 3 * part;
    streams[i].writer.out = streams_[i].data();
  }
#if defined(__x86_64__)
  has_bmi2() ? code_streams_bmi2(streams, codes_.data())
             : code_streams_anywhere(streams, codes_.data());
#else
  code_streams_anywhere(streams, codes_.data());
#endif
  std::size_t total = 0;
  for (std::size_t i = 0; i < kStreams; ++i) {
    BitWriter& writer = streams[i].writer;
    writer.put(1, 1);  // where the reader begins
    writer.flush();
    stream_bytes_[i] =
        static_cast<std::size_t>(writer.out - streams_[i].data()) + (writer.bits > 0 ? 1 : 0);
    total += stream_bytes_[i];
  }
  return total;
}

std::optional<std::size_t> LiteralFrameEncoder::write_block(ByteSpan block, bool is_last,
                                                            MutableByteSpan out) {
  const auto kept_raw = [&]() -> std::optional<std::size_t> {
    if (out.size() < kBlockHeaderBytes + block.size()) return std::nullopt;
    store_block_header(out, is_last, kRawBlock, block.size());
    std::transform(block.begin(), block.end(), out.begin() + kBlockHeaderBytes,
                   [this](std::byte symbol) { return less_base(symbol); });
    return kBlockHeaderBytes + block.size();
  };
  if (block.size() < kBlockMin) return kept_raw();
  if (!choose_lengths()) {
    if (total_[std::to_integer<std::size_t>(block[0])] != block.size()) return kept_raw();
    if (out.size() < kBlockHeaderBytes + 1) return std::nullopt;
    store_block_header(out, is_last, kRepeatedByte, block.size());
    out[kBlockHeaderBytes] = less_base(block[0]);
    return kBlockHeaderBytes + 1;
  }
  assign_codes();
  const std::size_t weights = last_ - first_;  // the last one follows from the others
  const std::size_t tree = 1 + (weights + 1) / 2;
  const std::size_t coded = tree + kJumpTableBytes + write_streams(block);
  const std::size_t header = literals_header_bytes(block.size());
  const std::size_t content = header + coded + 1;
  if (content >= block.size() || stream_bytes_[0] > 0xffff) return kept_raw();
  if (out.size() < kBlockHeaderBytes + content) return std::nullopt;
  store_block_header(out, is_last, kCompressedBlock, content);
  out = out.subspan(kBlockHeaderBytes);
  store_literals_header(out, block.size(), coded);
  out = out.subspan(header);
  out[0] = static_cast<std::byte>(127 + weights);
  std::fill_n(out.data() + 1, tree - 1, std::byte{0});
  for (std::size_t i = 0; i < weights; ++i) {
    const std::uint32_t length = lengths_[first_ + i];
    const std::uint32_t weight = length == 0 ? 0 : longest_ + 1 - length;
    out[1 + i / 2] |= static_cast<std::byte>(i % 2 == 0 ? weight << 4 : weight);
  }
  out = out.subspan(tree);
  for (std::size_t i = 0; i + 1 < kStreams; ++i) {
    store_le(out, 2 * i, static_cast<std::uint16_t>(stream_bytes_[i]));
  }
  out = out.subspan(kJumpTableBytes);
  for (std::size_t i = 0; i < kStreams; ++i) {
    std::memcpy(out.data(), streams_[i].data(), stream_bytes_[i]);
    out = out.subspan(stream_bytes_[i]);
  }
  out[0] = std::byte{0};  // no sequences
  return kBlockHeaderBytes + content;
}

}  // namespace cairn::tiers
