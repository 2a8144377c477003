// SPDX-License-Identifier: Apache-2.0
// codec — how much smaller a block of KV gets, and how fast, on one core: framing and sums
// included, beside zstd -1 on the raw bytes and the order-0 bound of the same planes.
#include <zstd.h>

#include <array>
#include <cmath>
#include <memory>

#include "bench/measure.h"
#include "bench/named/coded_blocks.h"
#include "bench/named/named.h"
#include "engine/base/status.h"
#include "engine/base/text.h"
#include "tiers/codec/plane_codec.h"
#include "tiers/record/record.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kKeyBytes = 32;

using Zstd = std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)>;
Zstd make_zstd() {
  return {ZSTD_createCCtx(), ZSTD_freeCCtx};
}
constexpr int kYardstickLevel = 1;  // what the tool calls -1

/// What no code of single symbols can pass: every chunk's coded bytes at their entropy, the others
/// as they are.
double order0_bound(const Blocks& blocks) {
  const std::size_t width = dtype_bytes(blocks.dtype);
  std::vector<std::byte> high, low;
  double stored_bits = 0;
  for (const auto& plain : blocks.plain) {
    for (std::size_t at = 0; at < plain.size(); at += blocks.chunk_bytes) {
      const ByteSpan chunk = ByteSpan(plain).subspan(at, blocks.chunk_bytes);
      high.resize(chunk.size() / width);
      low.resize(chunk.size() - high.size());
      if (width == 2) tiers::split16(tiers::best_simd(), chunk, high, low);
      if (width == 4) tiers::split32(tiers::best_simd(), chunk, high, low);
      if (width == 1) high.assign(chunk.begin(), chunk.end());
      std::array<std::size_t, 256> counts{};
      for (const std::byte byte : high) ++counts[std::to_integer<std::size_t>(byte)];
      stored_bits += static_cast<double>(low.size()) * 8;
      for (const std::size_t count : counts) {
        const auto times = static_cast<double>(count);
        if (count > 0) stored_bits -= times * std::log2(times / static_cast<double>(high.size()));
      }
    }
  }
  return static_cast<double>(blocks.bytes()) * 8 / stored_bits;
}

double ratio_of(const Blocks& blocks) {
  tiers::ChunkEncoder encoder(blocks.chunk_bytes);
  Image image;
  std::size_t stored = 0;
  for (std::size_t i = 0; i < blocks.plain.size(); ++i) {
    encode(encoder, blocks, i, image);
    const auto plain = static_cast<std::uint32_t>(blocks.block_bytes);
    stored +=
        image.stored_bytes +
        tiers::lay_out_record(kKeyBytes, plain, static_cast<std::uint32_t>(blocks.chunk_bytes))
            .header_length;
  }
  return static_cast<double>(blocks.bytes()) / static_cast<double>(stored);
}

double zstd_ratio(const Blocks& blocks) {
  const Zstd zstd = make_zstd();
  std::vector<std::byte> out(ZSTD_compressBound(blocks.block_bytes));
  std::size_t stored = 0;
  for (const auto& plain : blocks.plain) {
    stored += ZSTD_compressCCtx(zstd.get(), out.data(), out.size(), plain.data(), plain.size(),
                                kYardstickLevel);
  }
  return static_cast<double>(blocks.bytes()) / static_cast<double>(stored);
}

Run zstd_encode_run(const std::shared_ptr<Blocks>& blocks) {
  return [blocks]() -> absl::StatusOr<double> {
    const Zstd zstd = make_zstd();
    std::vector<std::byte> out(ZSTD_compressBound(blocks->block_bytes));
    const Stopwatch watch;
    for (const auto& plain : blocks->plain) {
      keep(ZSTD_compressCCtx(zstd.get(), out.data(), out.size(), plain.data(), plain.size(),
                             kYardstickLevel));
    }
    return blocks->giga(watch.seconds());
  };
}

Run zstd_decode_run(const std::shared_ptr<Blocks>& blocks) {
  const auto frames = std::make_shared<std::vector<std::vector<std::byte>>>();
  const Zstd zstd = make_zstd();
  for (const auto& plain : blocks->plain) {
    auto& frame = frames->emplace_back(ZSTD_compressBound(plain.size()));
    frame.resize(ZSTD_compressCCtx(zstd.get(), frame.data(), frame.size(), plain.data(),
                                   plain.size(), kYardstickLevel));
  }
  return [blocks, frames]() -> absl::StatusOr<double> {
    const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> decoder(ZSTD_createDCtx(),
                                                                       ZSTD_freeDCtx);
    std::vector<std::byte> plain(blocks->block_bytes);
    const Stopwatch watch;
    for (const auto& frame : *frames) {
      keep(ZSTD_decompressDCtx(decoder.get(), plain.data(), plain.size(), frame.data(),
                               frame.size()));
    }
    return blocks->giga(watch.seconds());
  };
}

Run constant(double value) {
  return [value]() -> absl::StatusOr<double> { return value; };
}

}  // namespace

absl::StatusOr<Report> run_codec(const Settings& settings) {
  Report report{.name = "codec", .cases = {}};
  const std::size_t count = settings.quick ? 24 : 64;
  const int rounds = settings.quick ? 7 : 21;
  const auto add = [&](Case shape, int times, const Run& subject,
                       const Run& yardstick) -> absl::Status {
    CAIRN_ASSIGN_OR_RETURN(Case done, compare(std::move(shape), times, subject, yardstick));
    report.cases.push_back(std::move(done));
    return absl::OkStatus();
  };
  const Yardstick raw{"zstd -1 on the raw block", 0,
                      concat("libzstd ", ZSTD_versionString(), ", level 1, whole 2 MiB, one core")};
  CAIRN_ASSIGN_OR_RETURN(const auto blocks, make_blocks(Dtype::bf16, count));
  const std::string note = "model 8b, synthetic; one core, blocks out of the cache";
  CAIRN_RETURN_IF_ERROR(
      add({.name = "bf16: ratio",
           .unit = "plain / stored",
           .yardstick = raw,
           .goal = {Goal::On::figure, 1.47},
           .note = concat(note, "; order-0 bound of the planes ", order0_bound(*blocks))},
          1, constant(ratio_of(*blocks)), constant(zstd_ratio(*blocks))));
  CAIRN_RETURN_IF_ERROR(add({.name = "bf16: encode",
                             .unit = "GB/s",
                             .yardstick = raw,
                             .goal = {Goal::On::figure, 1.6},
                             .note = note},
                            rounds, encode_run(blocks), zstd_encode_run(blocks)));
  CAIRN_RETURN_IF_ERROR(add({.name = "bf16: decode",
                             .unit = "GB/s",
                             .yardstick = raw,
                             .goal = {Goal::On::figure, 3},
                             .note = note},
                            rounds, decode_run(blocks), zstd_decode_run(blocks)));
  for (const Dtype dtype : {Dtype::fp16, Dtype::fp8_e4m3, Dtype::fp8_e5m2, Dtype::fp32}) {
    CAIRN_ASSIGN_OR_RETURN(const auto others, make_blocks(dtype, settings.quick ? 4 : 16));
    const bool has_goal = dtype != Dtype::fp32;
    CAIRN_RETURN_IF_ERROR(
        add({.name = concat(dtype_name(dtype), ": ratio"),
             .unit = "plain / stored",
             .yardstick = {"order-0 bound", 0,
                           "entropy of each chunk's coded bytes, the rest as it is"},
             .goal = has_goal ? Goal{Goal::On::ratio, 0.98} : Goal{},
             .note = "model 8b, synthetic"},
            1, constant(ratio_of(*others)), constant(order0_bound(*others))));
  }
  return report;
}

}  // namespace cairn::bench
