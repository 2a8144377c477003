// SPDX-License-Identifier: Apache-2.0
#include "bench/workload/kv_model.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "bench/workload/random.h"
#include "bench/workload/small_float.h"
#include "engine/base/check.h"
#include "engine/base/hash128.h"
#include "engine/base/status.h"
#include "engine/base/text.h"

namespace cairn::workload {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kLineBytes = 64;
constexpr std::uint64_t kPoolBytes = 16 * kMiB;

constexpr std::array<ModelShape, 5> kShapes{{
    {"1b", {.layers = 16, .tensors = 2, .tokens = 16, .kv_heads = 8, .head_dim = 64}},
    {"8b", {.layers = 32, .tensors = 2, .tokens = 16, .kv_heads = 8, .head_dim = 128}},
    {"70b", {.layers = 80, .tensors = 2, .tokens = 16, .kv_heads = 8, .head_dim = 128}},
    {"mla", {.layers = 61, .tensors = 1, .tokens = 64, .kv_heads = 1, .head_dim = 576}},
    {"tiny", {.layers = 2, .tensors = 2, .tokens = 16, .kv_heads = 2, .head_dim = 32}},
}};

/// The low mantissa bits of each element in eight bytes: fewer than the mantissa has, so that a
/// value stays within an eighth of itself, and never the exponent.
std::uint64_t varied_bits(Dtype dtype) {
  switch (dtype) {
    case Dtype::bf16:
      return 0x0007'0007'0007'0007U;
    case Dtype::fp16:
      return 0x007f'007f'007f'007fU;
    case Dtype::fp8_e4m3:
    case Dtype::fp8_e5m2:
      return 0x0101'0101'0101'0101U;
    case Dtype::fp32:
      return 0x000f'ffff'000f'ffffU;
    case Dtype::opaque:
      break;
  }
  CAIRN_UNREACHABLE();
}

struct Channel {
  double mean;
  double spread;
};

/// What is drawn once per model for one (layer, K or V, head, dimension).
Channel draw_channel(std::uint64_t model_seed, std::uint64_t index, bool is_key) {
  const std::uint64_t stream = random_at(model_seed, index);
  const NormalPair z = to_normals(random_at(stream, 0), random_at(stream, 1));
  Channel channel;
  channel.spread = (is_key ? 1.5 : 0.5) * std::exp(0.4 * z.first);
  channel.mean = (is_key ? 0.8 : 0.02) * z.second;
  if (is_key && to_fraction(random_at(stream, 2)) < 1.0 / 16) channel.mean *= 6;
  return channel;
}

void store_element(Dtype dtype, std::byte* out, double value) {
  const auto store = [out](auto code) { std::memcpy(out, &code, sizeof code); };
  switch (dtype) {
    case Dtype::bf16:
      return store(round_to_bf16(static_cast<float>(value)));
    case Dtype::fp16:
      return store(static_cast<std::uint16_t>(round_to(kFp16, value)));
    case Dtype::fp8_e4m3:
      return store(static_cast<std::uint8_t>(round_to(kFp8E4m3, value)));
    case Dtype::fp8_e5m2:
      return store(static_cast<std::uint8_t>(round_to(kFp8E5m2, value)));
    case Dtype::fp32:
      return store(static_cast<float>(value));
    case Dtype::opaque:
      break;
  }
  CAIRN_UNREACHABLE();
}

/// One plane [tokens][heads][dim] after another, for each block of the pool.
void draw_pool(const BlockLayout& layout, Dtype dtype, std::uint64_t model_seed, std::byte* pool,
               std::size_t blocks) {
  const std::size_t channels = std::size_t{layout.kv_heads} * layout.head_dim;  // of a plane
  const std::size_t planes = std::size_t{layout.layers} * layout.tensors;
  const std::size_t width = dtype_bytes(dtype);
  const std::uint64_t value_stream = scatter(model_seed);
  std::vector<Channel> drawn(channels);
  for (std::size_t plane = 0; plane < planes; ++plane) {
    // MLA's single tensor is what keys are made of.
    const bool is_key = plane % layout.tensors == 0;
    for (std::size_t c = 0; c < channels; ++c) {
      drawn[c] = draw_channel(model_seed, plane * channels + c, is_key);
    }
    for (std::size_t block = 0; block < blocks; ++block) {
      const std::size_t first = (block * planes + plane) * layout.tokens * channels;
      for (std::size_t i = 0; i < layout.tokens * channels; i += 2) {
        const std::uint64_t stream = random_at(value_stream, first + i);
        const NormalPair z = to_normals(stream, random_at(stream, 0));
        const Channel& even = drawn[i % channels];
        const Channel& odd = drawn[(i + 1) % channels];
        std::byte* const out = pool + (first + i) * width;
        store_element(dtype, out, even.mean + even.spread * z.first);
        store_element(dtype, out + width, odd.mean + odd.spread * z.second);
      }
    }
  }
}

/// Two words of the stream, worked on as one: g++ turns the operators into SSE2.
using Pair = std::uint64_t __attribute__((vector_size(16)));

/// The stream of one page: eight xorshift64 generators side by side, 64 bytes a step.
class PageStream {
 public:
  PageStream(std::uint64_t stream, std::size_t page) {
    const std::uint64_t seed = random_at(stream, page);
    for (std::size_t i = 0; i < 4; ++i) {
      // Odd, because a xorshift that starts at zero stays there.
      state_[i] = Pair{random_at(seed, 2 * i) | 1, random_at(seed, 2 * i + 1) | 1};
    }
  }
  Pair& operator[](std::size_t i) { return state_[i]; }
  void step() {
    for (Pair& x : state_) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
    }
  }

 private:
  Pair state_[4];
};

}  // namespace

std::span<const ModelShape> model_shapes() {
  return kShapes;
}

std::optional<ModelShape> find_model_shape(std::string_view name) {
  for (const ModelShape& shape : kShapes) {
    if (shape.name == name) return shape;
  }
  return std::nullopt;
}

absl::StatusOr<KvModel> KvModel::make(std::string_view model, Dtype dtype) {
  const std::optional<ModelShape> shape = find_model_shape(model);
  if (!shape) {
    return make_error(ErrorCode::invalid_argument,
                      concat("no model '", model, "'; there are 1b, 8b, 70b, mla and tiny"));
  }
  if (dtype == Dtype::opaque) {
    return make_error(ErrorCode::invalid_argument, "a model's payload has a dtype");
  }
  return KvModel(*shape, dtype);
}

KvModel::KvModel(ModelShape shape, Dtype dtype)
    : shape_(shape),
      dtype_(dtype),
      block_bytes_(layout_bytes(shape.layout, dtype)),
      pool_blocks_(std::clamp<std::size_t>(kPoolBytes / block_bytes_, 4, 16)),
      model_seed_(xxh3_64(as_bytes(concat(shape.name, "/", dtype_name(dtype))))),
      varied_bits_(varied_bits(dtype)),
      pool_(pool_blocks_ * block_bytes_ / kLineBytes) {
  CAIRN_CHECK(block_bytes_ % kPageBytes == 0);
  draw_pool(shape_.layout, dtype_, model_seed_, reinterpret_cast<std::byte*>(pool_.data()),
            pool_blocks_);
}

NamespaceDescriptor KvModel::descriptor(std::string name, std::uint32_t tokens_per_block) const {
  return {.name = std::move(name),
          .model = concat("synthetic-", shape_.name),
          .revision = "1",
          .dtype = dtype_,
          .layout = shape_.layout,
          .tokens_per_block = tokens_per_block,
          .hash_scheme = "native"};
}

KvModel::Variation KvModel::variation(const PayloadName& name) const {
  const std::uint64_t namespace_sum = xxh3_64(as_bytes(name.namespace_name));
  const std::uint64_t seed =
      scatter(model_seed_ + namespace_sum) + scatter(name.version + kGoldenStep);
  const Hash128 hash = xxh3_128(as_bytes(name.key), seed);
  return {pool_.data() + hash.high % pool_blocks_ * (block_bytes_ / kLineBytes), hash.low};
}

void KvModel::fill(const PayloadName& name, MutableByteSpan out) const {
  CAIRN_CHECK(out.size() == block_bytes_);
  const Variation block = variation(name);
  const Pair mask{varied_bits_, varied_bits_};
  const auto* from = reinterpret_cast<const std::byte*>(block.base);
  std::byte* to = out.data();
  for (std::size_t page = 0; page < block_bytes_ / kPageBytes; ++page) {
    PageStream stream(block.stream, page);
    for (std::size_t line = 0; line < kPageBytes / kLineBytes; ++line) {
      stream.step();
      for (std::size_t i = 0; i < 4; ++i, from += sizeof(Pair), to += sizeof(Pair)) {
        Pair words;
        std::memcpy(&words, from, sizeof words);
        words ^= stream[i] & mask;
        std::memcpy(to, &words, sizeof words);
      }
    }
  }
}

bool KvModel::verify(const PayloadName& name, ByteSpan bytes) const {
  if (bytes.size() != block_bytes_) return false;
  const Variation block = variation(name);
  const Pair mask{varied_bits_, varied_bits_};
  const auto* from = reinterpret_cast<const std::byte*>(block.base);
  const std::byte* have = bytes.data();
  for (std::size_t page = 0; page < block_bytes_ / kPageBytes; ++page) {
    PageStream stream(block.stream, page);
    Pair difference{};
    for (std::size_t line = 0; line < kPageBytes / kLineBytes; ++line) {
      stream.step();
      for (std::size_t i = 0; i < 4; ++i, from += sizeof(Pair), have += sizeof(Pair)) {
        Pair words;
        Pair found;
        std::memcpy(&words, from, sizeof words);
        std::memcpy(&found, have, sizeof found);
        difference |= words ^ (stream[i] & mask) ^ found;
      }
    }
    if ((difference[0] | difference[1]) != 0) return false;
  }
  return true;
}

}  // namespace cairn::workload
